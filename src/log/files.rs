//! Segment files, opened on demand; at most `open_files_max` stay open.

use std::{io, path::Path, pin::Pin, rc::Rc, task::Poll};

use futures_lite::future;

use crate::{
    io::{
        buffer::{AlignedBuffer, BLOCK, block_end, block_start},
        disk::{DiskFile, Open},
    },
    log::{Condemned, LogId, Logs, Store, format::segment_in_name, partition_log::Sealed},
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
        let version = self.version_of(id, segment);
        let open = self.files.borrow_mut().get(&(id, segment, version));
        if let Some(file) = open {
            return Ok(file);
        }
        let file = self.disk.open(&self.segment_path(partition, segment, version), how).await?;
        self.files.borrow_mut().insert((id, segment, version), file.clone());
        Ok(file)
    }

    /// How often compaction has rewritten a segment: it names the file. A segment that the log does not know
    /// any more has version 0; its file, if there is one, is not looked for.
    pub(super) fn version_of(&self, id: LogId, segment: Offset) -> u32 {
        self.with_log(id, |log| log.version_of(segment)).unwrap_or(0)
    }

    /// Lets the files of forgotten segments go with the checkpoint after the next.
    pub(super) fn condemn(&self, id: LogId, partition: TopicPartition, gone: Vec<Sealed>) {
        // A checkpoint under way may have its picture already.
        let under_way = u64::from(self.state.checkpointing.get());
        let checkpoint = self.state.checkpoint_sequence.get() + 2 + under_way;
        let condemned = gone.into_iter().map(|segment| Condemned { id, partition, segment, checkpoint });
        self.logs.borrow_mut().condemned.extend(condemned);
    }

    /// Removes files of a partition that neither its log nor a checkpoint knows: leftovers of a start whose
    /// journal did not survive as far, and of a compaction that did not come to its end. Not while logs are
    /// being recovered: what the journal still has to say may name them.
    pub(super) async fn sweep_leftovers(&self, id: LogId, partition: TopicPartition) -> io::Result<()> {
        if self.state.recovering.get() || self.with_log(id, |log| log.sweeping += 1).is_err() {
            return Ok(());
        }
        let swept = self.remove_unknown(id, partition).await;
        let _ = self.with_log(id, |log| log.sweeping -= 1);
        self.signals.settled.notify();
        swept
    }

    async fn remove_unknown(&self, id: LogId, partition: TopicPartition) -> io::Result<()> {
        let directory = self.partition_directory(partition);
        let names = self.disk.list(&directory).await;
        if is_absent(&names) {
            return Ok(());
        }
        for name in names? {
            let is_known = |segment| {
                let is_condemned = self.logs.borrow().is_condemned(id, segment);
                // Of a log that is gone nothing is removed here.
                is_condemned || self.with_log(id, |log| log.knows(segment)).unwrap_or(true)
            };
            if segment_in_name(&name).is_some_and(|segment| !is_known(segment)) {
                let removed = self.disk.remove_file(&directory.join(name)).await;
                if !is_absent(&removed) {
                    removed?;
                }
            }
        }
        Ok(())
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
            if self.spaces.any_full() {
                self.request_checkpoint();
            }
        }
    }

    /// Removes the files of a segment. What cannot be removed is a leftover: the next segment of the
    /// partition that is made, or the next start, sweeps it away.
    async fn free_segment(&self, id: LogId, partition: TopicPartition, segment: Sealed) {
        let (base, version) = (segment.base, segment.version);
        let nobody_reads =
            !self.has_readers(id, base, version) && !self.with_log(id, |log| log.compacting).unwrap_or(false);
        self.files.borrow_mut().remove(&(id, base, version));
        self.indexes.borrow_mut().remove(&(id, base, version));
        self.shared_files.borrow_mut().forget(&(id, base, version));
        self.sidecars.borrow_mut().remove(&(id, base, version));
        self.verified.borrow_mut().remove(&(id, base, version));
        let kept = self.keep_as_spare(partition, segment, nobody_reads).await;
        let file = (!kept).then(|| self.segment_path(partition, base, version));
        let beside = [self.index_path(partition, base, version), self.sidecar_path(partition, base, version)];
        for path in file.into_iter().chain(beside) {
            let removed = self.disk.remove_file(&path).await;
            if !is_absent(&removed)
                && let Err(error) = removed
            {
                tracing::warn!(file = %path.display(), %error, "a file that is no longer needed remains");
            }
        }
    }
}

impl Logs {
    /// Whether a file is one that a checkpoint may still need.
    pub(super) fn is_condemned(&self, id: LogId, segment: (Offset, u32)) -> bool {
        self.condemned.iter().any(|c| c.id == id && (c.segment.base, c.segment.version) == segment)
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
