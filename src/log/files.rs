//! Segment files, opened on demand; at most `open_files_max` stay open.

use std::{io, path::Path, pin::Pin, rc::Rc, task::Poll};

use futures_lite::future;

use crate::{
    io::{
        buffer::{AlignedBuffer, BLOCK, block_end, block_start},
        disk::{DiskFile, Open},
    },
    log::{Condemned, LogId, Store},
    model::{Offset, TopicPartition},
};

impl Store {
    /// A segment's file; `how` says whether it must be there.
    pub(super) async fn segment_file(
        &self,
        id: LogId,
        partition: TopicPartition,
        segment: Offset,
        how: Open,
    ) -> io::Result<Rc<dyn DiskFile>> {
        let open = self.files.borrow_mut().get(&(id, segment));
        if let Some(file) = open {
            return Ok(file);
        }
        let file = self.disk.open(&self.segment_path(partition, segment), how).await?;
        self.files.borrow_mut().insert((id, segment), file.clone());
        Ok(file)
    }

    /// Lets the files of forgotten segments go with the checkpoint after the next.
    pub(super) fn condemn(&self, id: LogId, partition: TopicPartition, gone: Vec<Offset>) {
        // A checkpoint under way may have its picture already.
        let under_way = u64::from(self.state.checkpointing.get());
        let checkpoint = self.state.checkpoint_sequence.get() + 2 + under_way;
        let condemned = gone.into_iter().map(|segment| Condemned { id, partition, segment, checkpoint });
        self.logs.borrow_mut().condemned.extend(condemned);
    }

    /// Removes the files that neither of the two checkpoints knows any more.
    pub(super) async fn free_condemned(&self) {
        let sequence = self.state.checkpoint_sequence.get();
        let next_due = || {
            let condemned = &mut self.logs.borrow_mut().condemned;
            let is_due = condemned.front().is_some_and(|next| next.checkpoint <= sequence);
            if is_due { condemned.pop_front() } else { None }
        };
        while let Some(due) = next_due() {
            self.free_segment(due.id, due.partition, due.segment).await;
        }
        if !self.logs.borrow().condemned.is_empty() {
            self.state.dirty.set(true);
            if self.state.disk_full.get() {
                self.request_checkpoint();
            }
        }
    }

    /// Removes the files of a segment. What cannot be removed is a leftover: the next segment of the
    /// partition that is made sweeps it away.
    async fn free_segment(&self, id: LogId, partition: TopicPartition, segment: Offset) {
        self.files.borrow_mut().remove(&(id, segment));
        self.indexes.borrow_mut().remove(&(id, segment));
        for path in [self.segment_path(partition, segment), self.index_path(partition, segment)] {
            let removed = self.disk.remove_file(&path).await;
            if !is_absent(&removed)
                && let Err(error) = removed
            {
                tracing::warn!(file = %path.display(), %error, "a file that is no longer needed remains");
            }
        }
    }
}

/// Runs futures side by side until all are ready; their results in the same order.
pub(super) async fn join_all<F: Future + Unpin>(mut futures: Vec<F>) -> Vec<F::Output> {
    let mut results: Vec<Option<F::Output>> = futures.iter().map(|_| None).collect();
    future::poll_fn(|context| {
        let mut all = true;
        for (future, result) in futures.iter_mut().zip(&mut results).filter(|(_, result)| result.is_none()) {
            match Pin::new(future).poll(context) {
                Poll::Ready(ready) => *result = Some(ready),
                Poll::Pending => all = false,
            }
        }
        if all { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    results.into_iter().flatten().collect()
}

/// Reads a stretch of a file, whole blocks around `start..end`; says what is missing by being shorter.
///
/// The first byte of the buffer is that of the block in which `start` lies.
pub(super) async fn read_blocks(file: &dyn DiskFile, start: u64, end: u64) -> io::Result<AlignedBuffer> {
    let from = block_start(start);
    let bytes = (block_end(end) - from) as usize;
    file.read_at(AlignedBuffer::with_capacity(bytes.max(BLOCK)), from).await
}

/// Whether a path names something.
pub(super) fn is_absent<T>(result: &io::Result<T>) -> bool {
    matches!(result, Err(error) if error.kind() == io::ErrorKind::NotFound)
}

/// The last part of a path as text.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}
