//! At start: the groups of a partition are read back from its records.

use std::{rc::Rc, time::Duration};

use super::{super::records::GroupRecord, Coordinator, Loaded};
use crate::{
    io::cores::{Queue, spawn},
    model::{Offset, TopicPartition},
    record::{self, RecordBatch},
    shard::work::{Answer, PartitionRead, ReadAnswer, ReadLimits, ReadWork, Work},
};

/// Bytes of one read while groups are loaded.
const LOAD_BYTES: usize = 1 << 20;

impl Coordinator {
    /// Begins to load every partition of this core that is not loaded.
    pub(super) fn load_all(self: &Rc<Self>) {
        let Some(topic) = self.topic() else { return };
        for placed in topic.partitions.iter().filter(|placed| placed.shard == self.shard.id()) {
            self.load(TopicPartition { topic: topic.id, partition: placed.index });
        }
    }

    pub(super) fn load(self: &Rc<Self>, home: TopicPartition) -> Loaded {
        if let Some(&loaded) = self.loaded.borrow().get(&home) {
            return loaded;
        }
        self.loaded.borrow_mut().insert(home, Loaded::Loading);
        let coordinator = self.clone();
        spawn(Queue::Foreground, async move {
            match coordinator.read_all(home).await {
                Ok(()) => {
                    coordinator.loaded.borrow_mut().insert(home, Loaded::Yes);
                }
                Err(why) => {
                    tracing::error!(partition = %home, why, "groups cannot be loaded; trying again when asked");
                    coordinator.loaded.borrow_mut().remove(&home);
                }
            }
            coordinator.loads_ended.notify();
        });
        Loaded::Loading
    }

    async fn read_all(&self, home: TopicPartition) -> Result<(), String> {
        let mut from = Offset::ZERO;
        loop {
            let read = PartitionRead { partition: home, from, bytes_max: LOAD_BYTES, leader_epoch: None };
            let work = ReadWork {
                reads: vec![read],
                limits: ReadLimits::in_memory(LOAD_BYTES),
                until_bytes: 0,
                wait_max: Duration::ZERO,
            };
            let Answer::Read(ReadAnswer { results, .. }) =
                self.shard.work(self.shard.id(), Work::Read(work)).await
            else {
                panic!("another answer than that to a read")
            };
            let outcome = match results.into_iter().next() {
                Some(Ok(outcome)) => outcome,
                Some(Err(crate::partition::ReadError::OutOfRange { log_start_offset, .. }))
                    if from < log_start_offset =>
                {
                    from = log_start_offset;
                    continue;
                }
                Some(Err(error)) => return Err(error.to_string()),
                None => return Err("no answer".to_owned()),
            };
            let bytes = outcome.in_memory().concat();
            if bytes.is_empty() {
                return Ok(());
            }
            for batch in record::batches(&bytes) {
                let batch = batch.map_err(|error| error.to_string())?;
                self.replay(&batch)?;
                from = batch.next_offset();
            }
        }
    }

    fn replay(&self, batch: &RecordBatch<'_>) -> Result<(), String> {
        if batch.is_control() {
            return Ok(());
        }
        let view = self.shard.view();
        let mut scratch = Vec::new();
        record::for_each_record(batch, &mut scratch, record::DECOMPRESSED_BYTES_MAX, |record| {
            let Some(key) = record.key else { return };
            let decoded = match GroupRecord::decode(key, record.value) {
                Ok(Some(decoded)) => decoded,
                Ok(None) => return,
                Err(error) => {
                    tracing::error!(offset = %record.offset, %error, "a group's record cannot be read");
                    return;
                }
            };
            let group = decoded.group().to_owned();
            let world = self.world(&group, &view);
            let mut groups = self.groups.borrow_mut();
            let held = groups.entry(group.clone()).or_insert_with(|| self.held(world.wall_ms));
            held.group.replay(world, decoded);
            let gone = held.is_nothing();
            if gone {
                groups.remove(&group);
            }
            drop(groups);
            self.set_timer(&group);
        })
        .map_err(|error| error.to_string())
    }
}
