//! The file of a rewritten segment, from its first batch to its index.

use std::{io, rc::Rc};

use super::cleaning::Kept;
use crate::{
    io::{
        buffer::AlignedBuffer,
        disk::{DiskFile, Sync},
    },
    log::{
        index::{Entry, INDEX_INTERVAL_BYTES, NO_TIMESTAMP},
        partition_log::Sealed,
        sidecar::Spans,
    },
    model::Offset,
};

/// Bytes collected for one write.
const WRITE_BYTES: usize = 256 * 1024;

pub(super) struct SegmentWriter {
    file: Rc<dyn DiskFile>,
    buffer: AlignedBuffer,
    /// Bytes in the file: whole blocks.
    written: u64,
    /// Bytes so far.
    end: u64,
    max_timestamp: i64,
    /// A batch without a time is in it.
    has_untimed: bool,
    entries: Vec<Entry>,
    indexed_to: u64,
    spans: Spans,
}

impl SegmentWriter {
    /// Begins anew in a file of which nothing is needed; reserves `bytes`.
    pub(super) async fn begin(file: Rc<dyn DiskFile>, base: Offset, bytes: u64) -> io::Result<Self> {
        if file.length().await? > 0 {
            file.set_length(0).await?;
        }
        file.allocate(bytes.next_multiple_of(4096)).await?;
        Ok(Self {
            file,
            buffer: AlignedBuffer::with_capacity(WRITE_BYTES),
            written: 0,
            end: 0,
            max_timestamp: NO_TIMESTAMP,
            has_untimed: false,
            entries: vec![Entry::first(base)],
            indexed_to: 0,
            spans: Spans::new(base),
        })
    }

    /// Takes batches that lie back to back in `bytes`.
    pub(super) async fn write(&mut self, batches: &[Kept], bytes: &[u8]) -> io::Result<()> {
        for batch in batches {
            if self.end - self.indexed_to >= INDEX_INTERVAL_BYTES {
                let entry = Entry { offset: batch.base, position: self.end, max_before: self.max_timestamp };
                self.entries.push(entry);
                self.indexed_to = self.end;
            }
            self.end += batch.bytes as u64;
            if let Some(timestamp) = batch.max_timestamp {
                self.max_timestamp = self.max_timestamp.max(timestamp);
                self.has_untimed |= timestamp < 0;
            }
        }
        self.spans.append_all(bytes);
        let mut rest = bytes;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(self.buffer.free()));
            self.buffer.extend(now);
            rest = later;
            if self.buffer.free() == 0 {
                self.flush().await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> io::Result<()> {
        let mut buffer = std::mem::replace(&mut self.buffer, AlignedBuffer::with_capacity(WRITE_BYTES));
        buffer.pad_to_block();
        let bytes = buffer.len() as u64;
        if bytes > 0 {
            self.file.write_at(buffer.freeze(), self.written, Sync::None).await?;
            self.written += bytes;
        }
        Ok(())
    }

    /// Makes the segment durable at its exact length. `former_max_timestamp` is that of the segments it
    /// replaces: what a batch without a time counts as.
    pub(super) async fn finish(
        mut self,
        base: Offset,
        version: u32,
        former_max_timestamp: i64,
    ) -> io::Result<(Sealed, Vec<Entry>, Spans)> {
        self.flush().await?;
        self.file.sync_data().await?;
        self.file.set_length(self.end).await?;
        let untimed = if self.has_untimed { former_max_timestamp } else { NO_TIMESTAMP };
        let max_timestamp = self.max_timestamp.max(untimed);
        Ok((Sealed { base, length: self.end, max_timestamp, version }, self.entries, self.spans))
    }
}
