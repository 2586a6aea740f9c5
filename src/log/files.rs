//! Segment files, opened on demand; at most `open_files_max` stay open.

use std::{io, path::Path, rc::Rc};

use crate::{
    io::{
        buffer::{AlignedBuffer, BLOCK, block_end, block_start},
        disk::{DiskFile, Open},
    },
    log::{LogId, Store},
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
