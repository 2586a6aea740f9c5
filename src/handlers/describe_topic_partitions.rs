//! DescribeTopicPartitions (75), version 0: topics partition by partition, a bounded number at a time (KIP-966).
//!
//! Topics come in the order of their names; where the bound is reached, the cursor says where to go on. It may
//! name a topic that is gone meanwhile: then the next one is the first.
//!
//! Source: Kafka 4.1, `DescribeTopicPartitionsRequestHandler`.

use std::collections::BTreeSet;

use super::{Context, metadata::TOPIC_OPERATIONS, text, uuid};
use crate::{
    model::{ErrorCode, PartitionView, TopicName, TopicView},
    wire::messages::{
        DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, StrBytes,
        describe_topic_partitions_response::{
            Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
        },
    },
};

/// Partitions of one response. Source: Kafka, `max.request.partition.size.limit`.
const PARTITIONS_MAX: usize = 2_000;

/// Describes the topics asked for, or all.
pub async fn handle(
    request: DescribeTopicPartitionsRequest,
    _version: i16,
    context: &Context<'_>,
) -> DescribeTopicPartitionsResponse {
    let asked = usize::try_from(request.response_partition_limit).unwrap_or(0).max(1);
    let mut left = asked.min(PARTITIONS_MAX);
    let mut names: BTreeSet<StrBytes> = request.topics.into_iter().map(|topic| topic.name).collect();
    let named = !names.is_empty();
    if !named {
        names = context.view.topics().map(|topic| text(&topic.name)).collect();
    }
    let (from, mut first) = match &request.cursor {
        Some(cursor) => (cursor.topic_name.clone(), usize::try_from(cursor.partition_index).unwrap_or(0)),
        None => (StrBytes::default(), 0),
    };
    let mut response = DescribeTopicPartitionsResponse::default();
    response.next_cursor = None;
    for name in names.range(from.clone()..) {
        let start = if *name == from { std::mem::take(&mut first) } else { 0 };
        let Some(topic) = context.view.topic(name) else {
            response.topics.push(unknown(name));
            continue;
        };
        if left == 0 {
            response.next_cursor = Some(cursor(name, start));
            break;
        }
        let of_it = topic.partitions.iter().skip(start).take(left);
        let mut answer = found(topic);
        answer.partitions = of_it.map(partition).collect();
        left -= answer.partitions.len();
        let next = start + answer.partitions.len();
        response.topics.push(answer);
        if next < topic.partitions.len() {
            response.next_cursor = Some(cursor(name, next));
            break;
        }
    }
    response
}

fn cursor(topic: &StrBytes, partition: usize) -> Cursor {
    let mut cursor = Cursor::default();
    cursor.topic_name = topic.clone();
    cursor.partition_index = partition as i32;
    cursor
}

fn unknown(name: &StrBytes) -> DescribeTopicPartitionsResponseTopic {
    let mut answer = DescribeTopicPartitionsResponseTopic::default();
    let code = match TopicName::new(name) {
        Ok(_) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => ErrorCode::InvalidTopicException,
    };
    answer.error_code = code.number();
    answer.name = Some(name.clone());
    answer
}

fn found(topic: &TopicView) -> DescribeTopicPartitionsResponseTopic {
    let mut answer = DescribeTopicPartitionsResponseTopic::default();
    answer.name = Some(text(&topic.name));
    answer.topic_id = uuid(topic.id);
    answer.is_internal = topic.internal;
    answer.topic_authorized_operations = TOPIC_OPERATIONS;
    answer
}

fn partition(partition: &PartitionView) -> DescribeTopicPartitionsResponsePartition {
    let mut answer = DescribeTopicPartitionsResponsePartition::default();
    answer.partition_index = partition.index.get();
    answer.leader_id = partition.leader;
    answer.leader_epoch = partition.leader_epoch.get();
    answer.replica_nodes.clone_from(&partition.replicas);
    answer.isr_nodes.clone_from(&partition.in_sync);
    // In sync is whoever could be elected: none beside.
    answer.eligible_leader_replicas = Some(Vec::new());
    answer.last_known_elr = Some(Vec::new());
    answer
}
