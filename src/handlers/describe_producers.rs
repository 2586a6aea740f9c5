//! DescribeProducers (61), version 0: the producers whose last sequence a partition keeps (KIP-664).
//!
//! Source: Kafka 4.1, `ReplicaManager.activeProducerState`.

use std::rc::Rc;

use bytes::Bytes;

use super::{
    dispatch::{Close, Head, by_owner, leader_here},
    fetch::read_error_code,
    text,
};
use crate::{
    model::{ErrorCode, PartitionIndex, TopicPartition},
    partition::ActiveProducer,
    shard::{
        Shard,
        work::{Answer, Work},
    },
    wire::messages::{
        DescribeProducersRequest, DescribeProducersResponse, decode_body,
        describe_producers_response::{PartitionResponse, ProducerState, TopicResponse},
    },
};

/// Describes the producers of partitions that this broker leads.
pub async fn handle(shard: &Rc<Shard>, head: Head, body: Bytes) -> Result<DescribeProducersResponse, Close> {
    let request: DescribeProducersRequest = decode_body(body, head.version)?;
    let view = shard.view();
    let mut response = DescribeProducersResponse::default();
    let mut wanted = Vec::new();
    for asked in &request.topics {
        let mut topic = TopicResponse::default();
        topic.name = asked.name.clone();
        for &index in &asked.partition_indexes {
            let mut answer = PartitionResponse::default();
            (answer.partition_index, answer.error_message) = (index, None);
            match leader_here(shard, view.topic(&asked.name), PartitionIndex::new(index)) {
                Ok((topic_view, placed)) => {
                    let partition = TopicPartition { topic: topic_view.id, partition: placed.index };
                    wanted.push((placed.shard, partition, (response.topics.len(), topic.partitions.len())));
                }
                Err(error) => refuse(&mut answer, error),
            }
            topic.partitions.push(answer);
        }
        response.topics.push(topic);
    }
    for (owner, partitions, places) in by_owner(wanted) {
        let Answer::Producers(found) = shard.work(owner, Work::Producers(partitions)).await else {
            panic!("another answer than that to a question for producers");
        };
        for (found, (topic, partition)) in found.into_iter().zip(places) {
            let answer = &mut response.topics[topic].partitions[partition];
            match found {
                Ok(producers) => answer.active_producers = producers.iter().map(producer).collect(),
                Err(error) => refuse(answer, read_error_code(&error)),
            }
        }
    }
    Ok(response)
}

fn refuse(answer: &mut PartitionResponse, code: ErrorCode) {
    answer.error_code = code.number();
    answer.error_message = Some(text(format!("{code:?}")));
}

fn producer(active: &ActiveProducer) -> ProducerState {
    let mut state = ProducerState::default();
    state.producer_id = active.id.get();
    state.producer_epoch = i32::from(active.epoch.get());
    state.last_sequence = active.last_sequence.get();
    state.last_timestamp = active.last_ms;
    // No coordinator of transactions has written to it, and none is open.
    state.coordinator_epoch = -1;
    state.current_txn_start_offset = -1;
    state
}
