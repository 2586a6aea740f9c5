//! Where logs end, said once more when nothing follows: replay knows by it whose frames were lost.
//!
//! Payload of a [`FrameKind::Vouch`](super::format::FrameKind::Vouch) frame, little-endian, for each log that has
//! changed since the older of the two checkpoints: topic id (16), partition (4), log end offset (8), log start
//! offset (8).

use std::{collections::HashMap, sync::Arc};

use super::{LogId, Store, recovery::quarantine};
use crate::model::{Offset, PartitionIndex, TopicId, TopicPartition, TopicSettings};

const ENTRY_BYTES: usize = 36;

impl Store {
    /// Ends and starts of the logs that replay would touch; nothing if they do not fit into a frame.
    pub(super) fn ends(&self) -> Vec<u8> {
        let older = self.state.checkpoint_files.get().since();
        let mut bytes = Vec::new();
        let mut logs = self.logs.borrow_mut();
        for id in logs.by_id.ids() {
            if let Some(log) = logs.by_id.get_mut(id).filter(|log| log.changed_since(older)) {
                bytes.extend_from_slice(&log.partition.topic.to_bytes());
                bytes.extend_from_slice(&log.partition.partition.get().to_le_bytes());
                bytes.extend_from_slice(&log.next.get().to_le_bytes());
                bytes.extend_from_slice(&log.log_start.get().to_le_bytes());
            }
        }
        if bytes.len() > self.journal.borrow().batch_bytes_max() {
            bytes.clear();
        }
        bytes
    }

    /// Holds the logs against what a frame says of them: offsets that they lack were acknowledged. Says whether
    /// the frame speaks of any log.
    pub(super) fn replay_ends(
        &self,
        payload: &[u8],
        owned: &HashMap<TopicPartition, Arc<TopicSettings>>,
        ids: &mut HashMap<TopicPartition, LogId>,
    ) -> bool {
        let (entries, _) = payload.as_chunks::<ENTRY_BYTES>();
        for entry in entries {
            let (topic, rest) = entry.split_first_chunk::<16>().expect("36 bytes");
            let (index, rest) = rest.split_first_chunk::<4>().expect("20 bytes");
            let (end, start) = rest.split_first_chunk::<8>().expect("16 bytes");
            let start = start.first_chunk::<8>().expect("8 bytes");
            let partition = TopicPartition {
                topic: TopicId::from_bytes(*topic),
                partition: PartitionIndex::new(i32::from_le_bytes(*index)),
            };
            let Some(id) = self.log_of(partition, owned, ids) else { continue };
            let (end, start) =
                (Offset::new(i64::from_le_bytes(*end)), Offset::new(i64::from_le_bytes(*start)));
            let gone = self.with_log(id, |log| {
                if end > log.next {
                    quarantine(log, end);
                }
                if start > log.log_start && start <= log.next { log.start_at(start) } else { Vec::new() }
            });
            self.condemn(id, partition, gone.unwrap_or_default());
        }
        !entries.is_empty()
    }
}
