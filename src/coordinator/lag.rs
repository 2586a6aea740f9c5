//! How far the groups of a core are behind: asked now and then of the cores that own the partitions.

use std::{collections::BTreeMap, rc::Rc};

use super::service::Coordinator;
use crate::{
    model::{Offset, PartitionIndex, ShardId, TopicPartition},
    record::RecordBatch,
    shard::work::{
        Answer, OffsetQuestion, PartitionRead, ReadAnswer, ReadLimits, ReadWork, WantedOffset, Work,
    },
};

/// Committed offsets that one look takes in; those of groups further on in the alphabet are left out.
pub const OFFSETS_LOOKED_AT_MAX: usize = 10_000;
/// Groups and topics whose lag in seconds one look finds out: each costs a read of one batch.
pub const SECONDS_MAX: usize = 64;

/// How far a group is behind in one topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lag {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// Records from what it has committed to the high watermark, of all partitions.
    pub records: u64,
    /// Age in ms of the first record that it has not committed, in the partition with the most of them: 0 if
    /// there is none, not known for all but the [`SECONDS_MAX`] furthest behind.
    pub age_ms: Option<i64>,
}

/// A committed offset, and who can say how far it is from the end.
struct Position {
    group: String,
    topic: String,
    owner: ShardId,
    partition: TopicPartition,
    committed: i64,
    lag: u64,
}

impl Coordinator {
    /// How far each group of this core is behind, by topic, the furthest first. Partitions that are not there,
    /// or cannot be read, do not count.
    pub async fn lags(self: &Rc<Self>) -> Vec<Lag> {
        let positions = self.measured().await;
        let mut topics: BTreeMap<(&str, &str), (u64, &Position)> = BTreeMap::new();
        for one in &positions {
            let (sum, furthest) = topics.entry((&one.group, &one.topic)).or_insert((0, one));
            *sum += one.lag;
            if one.lag > furthest.lag {
                *furthest = one;
            }
        }
        let mut topics: Vec<_> = topics.into_values().collect();
        topics.sort_by_key(|(records, _)| std::cmp::Reverse(*records));
        let mut lags = Vec::with_capacity(topics.len());
        for (at, (records, furthest)) in topics.into_iter().enumerate() {
            let age_ms = match records {
                0 => Some(0),
                _ if at < SECONDS_MAX => self.age_ms(furthest).await,
                _ => None,
            };
            let (group, topic) = (furthest.group.clone(), furthest.topic.clone());
            lags.push(Lag { group, topic, records, age_ms });
        }
        lags
    }

    async fn measured(self: &Rc<Self>) -> Vec<Position> {
        let view = self.shard().view();
        let mut of_owners: BTreeMap<ShardId, Vec<Position>> = BTreeMap::new();
        for (group, (topic, index), committed) in self.committed(OFFSETS_LOOKED_AT_MAX) {
            let Some(known) = view.topic(&topic) else { continue };
            let Some(placed) = known.partition(PartitionIndex::new(index)) else { continue };
            let partition = TopicPartition { topic: known.id, partition: placed.index };
            let owner = placed.shard;
            let position = Position { group, topic, owner, partition, committed, lag: 0 };
            of_owners.entry(owner).or_default().push(position);
        }
        let mut measured = Vec::new();
        for (owner, positions) in of_owners {
            let questions = positions.iter().map(|one| OffsetQuestion {
                partition: one.partition,
                leader_epoch: None,
                wanted: WantedOffset::Latest,
            });
            let Answer::ListOffsets(ends) =
                self.shard().work(owner, Work::ListOffsets(questions.collect())).await
            else {
                panic!("another answer than that to a question for offsets")
            };
            measured.extend(positions.into_iter().zip(ends).filter_map(|(mut one, end)| {
                let end = end.ok()??.offset.get();
                one.lag = u64::try_from(end.saturating_sub(one.committed.max(0))).unwrap_or(0);
                Some(one)
            }));
        }
        measured
    }

    /// How long ago the batch at the committed offset was written, by its largest timestamp.
    async fn age_ms(self: &Rc<Self>, of: &Position) -> Option<i64> {
        let read = PartitionRead {
            partition: of.partition,
            from: Offset::new(of.committed),
            bytes_max: 1, // the first batch comes whatever its size
            leader_epoch: None,
        };
        let work = ReadWork {
            reads: vec![read],
            limits: ReadLimits { bytes_max: 1, memory_max: 1, ranges: false },
            until_bytes: 0,
            wait_max: std::time::Duration::ZERO,
        };
        let Answer::Read(ReadAnswer { results, .. }) = self.shard().work(of.owner, Work::Read(work)).await
        else {
            panic!("another answer than that to a read")
        };
        let found = results.into_iter().next()?.ok()?.in_memory().into_iter().next()?;
        let batch = RecordBatch::first(&found).ok().flatten()?;
        Some(self.shard().clock().wall_ms().saturating_sub(batch.max_timestamp()).max(0))
    }
}
