//! Offsets of partitions by their leaders, and how far behind them a group is, in records and in seconds.

use std::collections::{BTreeMap, HashMap};

use corelane_bench::client::{
    StrBytes,
    messages::{
        FetchRequest, ListOffsetsRequest, MetadataResponse,
        fetch_request::{FetchPartition, FetchTopic},
        list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic},
    },
};

use super::{Cluster, ToolError, refusal};

/// Offset by topic and partition.
pub(super) type Offsets = BTreeMap<(String, i32), i64>;

pub(super) const LATEST: i64 = -1;
pub(super) const EARLIEST: i64 = -2;
const LIST_OFFSETS_MAX: i16 = 7;
/// The last version that names topics by their names.
const FETCH_MAX: i16 = 11;
/// Where a batch has the timestamp of its first record. Source: Kafka, `DefaultRecordBatch`.
const BASE_TIMESTAMP_AT: std::ops::Range<usize> = 27..35;

/// The leaders' addresses, each with its partitions.
fn by_leader(
    answer: &MetadataResponse,
    partitions: &[(String, i32)],
) -> Result<HashMap<String, Vec<(String, i32)>>, ToolError> {
    let addresses: HashMap<i32, String> =
        answer.brokers.iter().map(|one| (one.node_id, format!("{}:{}", one.host, one.port))).collect();
    let leaders: HashMap<(&str, i32), i32> = answer
        .topics
        .iter()
        .filter_map(|topic| Some((topic.name.as_ref()?.as_str(), topic)))
        .flat_map(|(name, topic)| {
            topic.partitions.iter().map(move |one| ((name, one.partition_index), one.leader_id))
        })
        .collect();
    let mut found: HashMap<String, Vec<_>> = HashMap::new();
    for (topic, index) in partitions {
        let leader = leaders.get(&(topic.as_str(), *index)).and_then(|id| addresses.get(id));
        let no_leader = || ToolError::Usage(format!("partition {index} of topic {topic} has no leader"));
        found.entry(leader.ok_or_else(no_leader)?.clone()).or_default().push((topic.clone(), *index));
    }
    Ok(found)
}

/// The offsets that a time stands for: [`LATEST`], [`EARLIEST`], or milliseconds since 1970.
pub(super) fn offsets(
    cluster: &mut Cluster,
    answer: &MetadataResponse,
    partitions: &[(String, i32)],
    timestamp: i64,
) -> Result<Offsets, ToolError> {
    let mut offsets = Offsets::new();
    for (leader, partitions) in by_leader(answer, partitions)? {
        let mut topics: BTreeMap<String, Vec<ListOffsetsPartition>> = BTreeMap::new();
        for (topic, index) in partitions {
            let mut asked = ListOffsetsPartition::default();
            (asked.partition_index, asked.current_leader_epoch, asked.timestamp) = (index, -1, timestamp);
            topics.entry(topic).or_default().push(asked);
        }
        let mut request = ListOffsetsRequest::default();
        request.replica_id = -1;
        request.topics = topics
            .into_iter()
            .map(|(name, partitions)| {
                let mut topic = ListOffsetsTopic::default();
                (topic.name, topic.partitions) = (StrBytes::from(name), partitions);
                topic
            })
            .collect();
        let answer = cluster.at(&leader)?.ask(&request, LIST_OFFSETS_MAX)?;
        for topic in &answer.topics {
            for found in &topic.partitions {
                let what = format!("offsets of {}-{}", topic.name, found.partition_index);
                if let Some(error) = refusal(what, found.error_code, None) {
                    return Err(error);
                }
                offsets.insert((topic.name.to_string(), found.partition_index), found.offset);
            }
        }
    }
    Ok(offsets)
}

/// When the record at each offset was written, in ms since 1970, as far as there is one.
pub(super) fn written_ms(
    cluster: &mut Cluster,
    answer: &MetadataResponse,
    offsets: &Offsets,
) -> Result<BTreeMap<(String, i32), i64>, ToolError> {
    let mut times = BTreeMap::new();
    let partitions: Vec<_> = offsets.keys().cloned().collect();
    for (leader, partitions) in by_leader(answer, &partitions)? {
        // One at a time: a fetch is only bound to bring the first batch of its first partition.
        for (topic, index) in partitions {
            let mut asked = FetchPartition::default();
            (asked.partition, asked.current_leader_epoch) = (index, -1);
            asked.fetch_offset = offsets[&(topic.clone(), index)];
            asked.partition_max_bytes = 1;
            let mut of_topic = FetchTopic::default();
            (of_topic.topic, of_topic.partitions) = (StrBytes::from(topic.as_str()), vec![asked]);
            let mut request = FetchRequest::default();
            (request.max_wait_ms, request.min_bytes, request.max_bytes) = (0, 0, 1);
            (request.session_id, request.session_epoch) = (0, -1);
            request.topics = vec![of_topic];
            let answer = cluster.at(&leader)?.ask(&request, FETCH_MAX)?;
            let found = answer.responses.first().and_then(|topic| topic.partitions.first());
            let records =
                found.filter(|found| found.error_code == 0).and_then(|found| found.records.as_ref());
            let timestamp =
                records.and_then(|records| records.get(BASE_TIMESTAMP_AT)?.first_chunk().copied());
            if let Some(timestamp) = timestamp {
                times.insert((topic, index), i64::from_be_bytes(timestamp));
            }
        }
    }
    Ok(times)
}
