//! Batches that a crash has left in their segment, and only their place in the journal.
//!
//! An extent is whole blocks of a segment, and the bytes of its partial last block in the frame; its CRC
//! covers both, from the start of the first block, so with the last bytes of the batches before it. Those are
//! in the journal too: what is replayed up to here must continue in these blocks. If it does, they are taken
//! as they lie: they hold acknowledged bytes and are never written again. Blocks before them are settled
//! first, from what was replayed.
//!
//! Where the two do not meet, because frames between were damaged, the batches are copied: they are appended
//! to a segment of their own, like batches that were in the journal.

use std::{collections::HashMap, io, sync::Arc};

use crate::{
    io::disk::Open,
    log::{
        LogId, Store,
        files::{is_absent, read_blocks},
        format::{BATCH_HEADER_BYTES, BatchHead, Extent, Frame},
        partition_log::NewBatch,
        recovery::quarantine,
    },
    model::{LeaderEpoch, Offset, TopicPartition, TopicSettings},
};

/// The batches of an extent: their bytes back to back, and where each starts.
struct Batches {
    bytes: Vec<u8>,
    heads: Vec<(usize, BatchHead)>,
}

impl Batches {
    /// `None` if the bytes are not batches from one offset to another.
    fn parse(bytes: Vec<u8>, base: Offset, next: Offset) -> Option<Self> {
        let (mut at, mut expected, mut heads) = (0, base, Vec::new());
        while at < bytes.len() {
            let head = BatchHead::parse(bytes[at..].first_chunk()?)?;
            if head.base != expected || head.length > bytes.len() - at {
                return None;
            }
            heads.push((at, head));
            at += head.length;
            expected = head.next;
        }
        (expected == next).then_some(Self { bytes, heads })
    }

    fn header(&self, at: usize) -> [u8; BATCH_HEADER_BYTES] {
        let mut header = [0; BATCH_HEADER_BYTES];
        header.copy_from_slice(&self.bytes[at..at + BATCH_HEADER_BYTES]);
        header
    }

    fn each<'a>(&'a self, now_ms: i64, first_starts_segment: bool) -> impl Iterator<Item = NewBatch<'a>> {
        self.heads.iter().enumerate().map(move |(i, (at, head))| NewBatch {
            base: head.base,
            next: head.next,
            epoch: LeaderEpoch::new(head.leader_epoch),
            max_timestamp: head.max_timestamp,
            parts: [&self.bytes[*at..at + head.length], &[]],
            now_ms,
            starts_segment: Some(i == 0 && first_starts_segment),
        })
    }
}

impl Store {
    /// Takes the batches of an extent frame into their log. `false`: they are not what the frame says.
    pub(super) async fn replay_extent(
        &self,
        frame: &Frame,
        payload: &[u8],
        owned: &HashMap<TopicPartition, Arc<TopicSettings>>,
        ids: &mut HashMap<TopicPartition, LogId>,
    ) -> io::Result<bool> {
        let Some(id) = self.log_of(frame.partition, owned, ids) else { return Ok(true) };
        if self.with_log(id, |log| frame.base_offset < log.next).unwrap_or(true) {
            tracing::error!(partition = %frame.partition, ?frame, "the journal repeats offsets; the first stay");
            return Ok(true);
        }
        let Some((extent, partial)) = Extent::parse(payload) else { return Ok(false) };
        let Some(batches) = self.extent_batches(frame, &extent, partial).await? else { return Ok(false) };
        let continues = self.with_log(id, |log| {
            if frame.starts_segment && extent.segment == log.next && log.active().end > 0 {
                log.roll();
            }
            log.next == frame.base_offset
                && log.active().base == extent.segment
                && log.active().end == extent.position + u64::from(extent.head)
        });
        if continues.unwrap_or(false) {
            self.take_extent(id, &extent, partial, &batches).await?;
        } else {
            self.copy_extent(id, frame, &batches);
        }
        Ok(true)
    }

    /// Reads and checks an extent; `None` if it is not in the segment.
    async fn extent_batches(
        &self,
        frame: &Frame,
        extent: &Extent,
        partial: &[u8],
    ) -> io::Result<Option<Batches>> {
        let path = self.segment_path(frame.partition, extent.segment, 0);
        let file = self.disk.open(&path, Open::Existing).await;
        if is_absent(&file) {
            return Ok(None);
        }
        let file = file?;
        let Some(end) = extent.position.checked_add(extent.length) else { return Ok(None) };
        if file.length().await? < end {
            return Ok(None);
        }
        let blocks = read_blocks(&*file, extent.position, end).await?;
        if crc32c::crc32c_append(crc32c::crc32c(&blocks), partial) != extent.crc {
            return Ok(None);
        }
        let mut bytes = Vec::with_capacity(blocks.len() + partial.len());
        bytes.extend_from_slice(&blocks[extent.head as usize..]);
        bytes.extend_from_slice(partial);
        Ok(Batches::parse(bytes, frame.base_offset, frame.next_offset))
    }

    /// The log goes on behind the extent, where it lies.
    async fn take_extent(
        &self,
        id: LogId,
        extent: &Extent,
        partial: &[u8],
        batches: &Batches,
    ) -> io::Result<()> {
        let settled = extent.position + extent.length;
        let _ = self.with_log(id, |log| {
            let live = log.active_mut();
            // The file must not be made anew.
            live.created = true;
            live.allocated = live.allocated.max(settled);
            log.settle_all = true;
        });
        let failed =
            |(what, error): (String, io::Error)| io::Error::new(error.kind(), format!("{what}: {error}"));
        self.settle_all_of(id).await.map_err(failed)?;
        let now_ms = self.clock.wall_ms();
        let mut logs = self.logs.borrow_mut();
        logs.forget_chunks(id);
        let Some(log) = logs.by_id.get_mut(id) else { return Ok(()) };
        assert_eq!(log.unsettled(), 0, "{}: blocks before an extent are settled", log.partition);
        for (batch, (at, _)) in batches.each(now_ms, false).zip(&batches.heads) {
            log.recovered.replayed.push(batches.header(*at));
            log.took(&batch);
        }
        log.tail.restart(extent.segment, settled, partial);
        log.active_mut().settled = settled;
        Ok(())
    }

    /// The batches become part of the log like those that were in the journal.
    fn copy_extent(&self, id: LogId, frame: &Frame, batches: &Batches) {
        let now_ms = self.clock.wall_ms();
        let logs = &mut *self.logs.borrow_mut();
        let Some(log) = logs.by_id.get_mut(id) else { return };
        tracing::warn!(partition = %log.partition, ?frame, end = %log.next,
            "an extent does not follow what was replayed; its batches are copied");
        if frame.base_offset > log.next {
            quarantine(log, frame.base_offset);
        }
        log.recovered.replayed.extend(batches.heads.iter().map(|(at, _)| batches.header(*at)));
        for batch in batches.each(now_ms, true) {
            logs.append(id, &batch);
        }
    }
}
