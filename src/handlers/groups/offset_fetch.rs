//! OffsetFetch (9), versions 1 to 9: the offsets that groups have committed.
//!
//! There are no transactions yet, so every offset is stable and `require_stable` asks for nothing more.
//!
//! Source: Kafka 4.1, `KafkaApis.handleOffsetFetchRequest`; KIP-709 (several groups, from version 8 on).

use std::collections::BTreeMap;

use super::{
    super::{Context, text},
    code_of,
};
use crate::{
    coordinator::{
        messages::{CoordinatorError, GroupAnswer, GroupRequest},
        offsets::{Committed, Partition},
    },
    wire::messages::{
        OffsetFetchRequest, OffsetFetchResponse,
        offset_fetch_response::{
            OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
            OffsetFetchResponseTopic, OffsetFetchResponseTopics,
        },
    },
};

const FIRST_WITH_GROUPS: i16 = 8;
const FIRST_WITH_ERROR: i16 = 2;
/// In place of an offset that was never committed.
const NO_OFFSET: i64 = -1;

type Found = BTreeMap<String, Vec<(i32, Option<Committed>)>>;

/// Looks them up.
pub async fn handle(request: OffsetFetchRequest, version: i16, context: &Context<'_>) -> OffsetFetchResponse {
    let mut response = OffsetFetchResponse::default();
    if version >= FIRST_WITH_GROUPS {
        for group in request.groups {
            let wanted = group.topics.map(|topics| {
                let of = |name: &str, indexes: &[i32]| pairs(name, indexes);
                topics.iter().flat_map(|topic| of(&topic.name, &topic.partition_indexes)).collect()
            });
            let mut answer = OffsetFetchResponseGroup::default();
            // Tools and members of old give no epoch.
            let member = group.member_id.filter(|_| group.member_epoch >= 0);
            let member = member.map(|id| (id.to_string(), group.member_epoch));
            match fetch(&group.group_id, member, wanted, context).await {
                Ok(found) => answer.topics = found.into_iter().map(|(n, p)| topic_of_group(&n, p)).collect(),
                Err(error) => answer.error_code = code_of(&error).number(),
            }
            answer.group_id = group.group_id;
            response.groups.push(answer);
        }
        return response;
    }
    let wanted: Option<Vec<Partition>> = request
        .topics
        .map(|topics| topics.iter().flat_map(|topic| pairs(&topic.name, &topic.partition_indexes)).collect());
    match fetch(&request.group_id, None, wanted.clone(), context).await {
        Ok(found) => response.topics = found.into_iter().map(|(n, p)| topic(&n, p, 0)).collect(),
        Err(error) => {
            let code = code_of(&error).number();
            if version >= FIRST_WITH_ERROR {
                response.error_code = code;
                return response;
            }
            // Only partitions can carry an error.
            let all = grouped(wanted.unwrap_or_default().into_iter().map(|partition| (partition, None)));
            response.topics =
                all.into_iter().map(|(name, partitions)| topic(&name, partitions, code)).collect();
        }
    }
    response
}

fn pairs(name: &str, indexes: &[i32]) -> Vec<Partition> {
    indexes.iter().map(|index| (name.to_owned(), *index)).collect()
}

async fn fetch(
    group: &str,
    member: Option<(String, i32)>,
    wanted: Option<Vec<Partition>>,
    context: &Context<'_>,
) -> Result<Found, CoordinatorError> {
    match context.groups.ask(group, GroupRequest::Fetch { member, partitions: wanted }).await? {
        GroupAnswer::Fetch(found) => Ok(grouped(found.into_iter())),
        _ => panic!("a fetch of offsets was answered as something else"),
    }
}

fn grouped(found: impl Iterator<Item = (Partition, Option<Committed>)>) -> Found {
    let mut topics = Found::new();
    for ((name, index), committed) in found {
        topics.entry(name).or_default().push((index, committed));
    }
    topics
}

fn topic(name: &str, partitions: Vec<(i32, Option<Committed>)>, code: i16) -> OffsetFetchResponseTopic {
    let mut answer = OffsetFetchResponseTopic::default();
    answer.name = text(name);
    let partition = |(index, committed): (i32, Option<Committed>)| {
        let mut answer = OffsetFetchResponsePartition::default();
        (answer.partition_index, answer.error_code) = (index, code);
        let (offset, epoch, metadata) = told(committed);
        (answer.committed_offset, answer.committed_leader_epoch) = (offset, epoch);
        answer.metadata = Some(text(metadata));
        answer
    };
    answer.partitions = partitions.into_iter().map(partition).collect();
    answer
}

fn topic_of_group(name: &str, partitions: Vec<(i32, Option<Committed>)>) -> OffsetFetchResponseTopics {
    let mut answer = OffsetFetchResponseTopics::default();
    answer.name = text(name);
    let partition = |(index, committed): (i32, Option<Committed>)| {
        let mut answer = OffsetFetchResponsePartitions::default();
        answer.partition_index = index;
        let (offset, epoch, metadata) = told(committed);
        (answer.committed_offset, answer.committed_leader_epoch) = (offset, epoch);
        answer.metadata = Some(text(metadata));
        answer
    };
    answer.partitions = partitions.into_iter().map(partition).collect();
    answer
}

fn told(committed: Option<Committed>) -> (i64, i32, String) {
    match committed {
        Some(committed) => (committed.offset, committed.leader_epoch, committed.metadata),
        None => (NO_OFFSET, -1, String::new()),
    }
}
