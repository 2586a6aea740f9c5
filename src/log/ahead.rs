//! Space that is made ahead of logs that grow: files, and room in them, in steps that follow how fast a log grows.
//!
//! It is a help: where there is none, or it is not made in time, settling makes what it needs.

use std::io;

use crate::{
    io::{buffer::block_end, disk::Open},
    log::{LogId, Store, partition_log::Log},
    model::{Offset, TopicPartition},
};

/// Smallest step in which a segment's space is reserved; slower logs have none made ahead.
const ALLOCATE_BYTES_MIN: u64 = 64 * 1024;
/// Seconds of appends, at the log's present rate, that a step is for.
const ALLOCATE_SECONDS: u64 = 4;
/// Largest step.
const ALLOCATE_BYTES_MAX: u64 = 64 << 20;

impl Log {
    /// How far to reserve a segment of which `end` bytes are needed.
    pub(super) fn space_ahead(&self, end: u64) -> u64 {
        let step = self.space_step();
        // What a segment may still grow to is no use to it beyond `segment.bytes`.
        let ahead = (end + step).min(block_end(self.settings.segment_bytes));
        block_end(ahead.max(end))
    }

    fn space_step(&self) -> u64 {
        let rate = self.rate.bytes_per_second();
        (rate * ALLOCATE_SECONDS).clamp(ALLOCATE_BYTES_MIN, ALLOCATE_BYTES_MAX)
    }

    /// Space should be made for the active segment before the appends come to its end.
    pub(super) fn wants_space(&self) -> bool {
        let live = self.active();
        let rate = self.rate.bytes_per_second();
        if self.preparing || live.rolled || rate < ALLOCATE_BYTES_MIN {
            return false;
        }
        let left = live.allocated.saturating_sub(live.end);
        !live.created || (left < self.space_step() / 2 && self.space_ahead(live.end) > live.allocated)
    }
}

impl Store {
    /// Makes files, and space in them, ahead of logs that grow.
    pub(super) async fn prepare_worker(&self) {
        while !self.is_over() {
            let next = self.logs.borrow_mut().to_prepare.pop_front();
            let Some(id) = next else {
                self.signals.settle.notified().await;
                continue;
            };
            let result = self.prepare(id).await;
            let _ = self.with_log(id, |log| log.preparing = false);
            self.signals.settled.notify();
            if let Err(error) = result {
                self.fence(format!("space for a segment: {error}"));
            }
        }
    }

    async fn prepare(&self, id: LogId) -> io::Result<()> {
        let state = |log: &mut Log| (log.partition, log.active().base, log.active().created);
        let Ok((partition, segment, created)) = self.with_log(id, state) else { return Ok(()) };
        let dir = self.log_dir(partition);
        if !self.may_make_ahead(dir) {
            return Ok(());
        }
        let made = self.prepare_segment(id, partition, segment, created).await;
        match made {
            // Settling will find the same, and say so.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                self.make_none_ahead(dir);
                Ok(())
            }
            made => made,
        }
    }

    async fn prepare_segment(
        &self,
        id: LogId,
        partition: TopicPartition,
        segment: Offset,
        created: bool,
    ) -> io::Result<()> {
        if !created {
            // A settling worker that is at the log might be making the same file.
            if self.with_log(id, |log| log.settling).unwrap_or(true) {
                return Ok(());
            }
            self.create_segment(id, partition, segment).await?;
        }
        let end = |log: &mut Log| {
            let live = log.active();
            (live.base == segment).then(|| log.space_ahead(live.end))
        };
        let Some(end) = self.with_log(id, end).ok().flatten() else { return Ok(()) };
        self.allocate(id, partition, segment, end).await
    }

    pub(super) async fn allocate(
        &self,
        id: LogId,
        partition: TopicPartition,
        segment: Offset,
        end: u64,
    ) -> io::Result<()> {
        let file = self.segment_file(id, partition, segment, Open::Existing).await?;
        file.allocate(end).await?;
        let _ = self.with_log(id, |log| {
            let live = log.live_segment(segment);
            live.map(|live| live.allocated = live.allocated.max(end))
        });
        Ok(())
    }
}
