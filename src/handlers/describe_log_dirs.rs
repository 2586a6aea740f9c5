//! DescribeLogDirs (35), versions 1 to 4: each data directory, what of it each partition takes, and its disk.
//!
//! A partition takes the bytes of its batches; its files may have space beyond, made ahead or to be removed.
//!
//! Source: Kafka 4.1, `ReplicaManager.describeLogDirs`; KIP-827 (bytes of the disk).

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    rc::Rc,
};

use bytes::Bytes;

use super::{
    dispatch::{Close, Head, by_owner},
    text,
};
use crate::{
    model::{PartitionIndex, TopicName, TopicPartition},
    shard::{
        Shard,
        work::{Answer, Work},
    },
    wire::messages::{
        DescribeLogDirsRequest, DescribeLogDirsResponse, decode_body,
        describe_log_dirs_response::{DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic},
    },
};

/// Where the bytes of a disk are not known.
const UNKNOWN_BYTES: i64 = -1;

/// Describes the partitions asked for, or all; those that are not here are left out.
pub async fn handle(shard: &Rc<Shard>, head: Head, body: Bytes) -> Result<DescribeLogDirsResponse, Close> {
    let request: DescribeLogDirsRequest = decode_body(body, head.version)?;
    let view = shard.view();
    let mut asked = Vec::new();
    match &request.topics {
        None => {
            for topic in view.topics() {
                asked.extend(topic.partitions.iter().map(|placed| (topic, placed)));
            }
        }
        Some(topics) => {
            for wanted in topics {
                let Some(topic) = view.topic(&wanted.topic) else { continue };
                let placed = |index: &i32| topic.partition(PartitionIndex::new(*index));
                asked.extend(wanted.partitions.iter().filter_map(placed).map(|placed| (topic, placed)));
            }
        }
    }
    // Every broker is asked for its own.
    let own = shard.settings().broker_of(shard.id());
    asked.retain(|(_, placed)| placed.leader == own);
    let questions = asked.into_iter().map(|(topic, placed)| {
        let partition = TopicPartition { topic: topic.id, partition: placed.index };
        (placed.shard, partition, (topic.name.clone(), placed.index))
    });
    let mut sizes: BTreeMap<PathBuf, BTreeMap<_, BTreeMap<PartitionIndex, u64>>> = BTreeMap::new();
    for (owner, partitions, places) in by_owner(questions.collect()) {
        let Answer::Sizes(found) = shard.work(owner, Work::Sizes(partitions)).await else {
            panic!("another answer than that to a question for sizes");
        };
        for ((topic, index), bytes) in places.into_iter().zip(found) {
            if let Some((bytes, directory)) = bytes {
                sizes.entry(directory).or_default().entry(topic).or_default().insert(index, bytes);
            }
        }
    }
    let mut response = DescribeLogDirsResponse::default();
    let of_directory =
        |directory: &PathBuf| describe(directory, sizes.remove(directory).unwrap_or_default(), head.version);
    response.results = shard.settings().data_dirs.iter().map(of_directory).collect();
    Ok(response)
}

fn describe(
    directory: &Path,
    sizes: BTreeMap<TopicName, BTreeMap<PartitionIndex, u64>>,
    version: i16,
) -> DescribeLogDirsResult {
    let mut result = DescribeLogDirsResult::default();
    let space = Shard::disk_space(directory).ok();
    let bytes =
        |bytes: Option<u64>| bytes.map_or(UNKNOWN_BYTES, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX));
    if version >= 4 {
        result.total_bytes = bytes(space.map(|space| space.total));
        result.usable_bytes = bytes(space.map(|space| space.usable));
    }
    result.log_dir = text(std::path::absolute(directory).unwrap_or_else(|_| directory.to_owned()).display());
    result.topics = sizes
        .into_iter()
        .map(|(name, partitions)| {
            let mut topic = DescribeLogDirsTopic::default();
            topic.name = text(name);
            topic.partitions = partitions
                .into_iter()
                .map(|(index, bytes)| {
                    let mut partition = DescribeLogDirsPartition::default();
                    partition.partition_index = index.get();
                    partition.partition_size = i64::try_from(bytes).unwrap_or(i64::MAX);
                    partition
                })
                .collect();
            topic
        })
        .collect();
    result
}
