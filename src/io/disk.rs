//! The narrow view of a disk that the log is written against.
//!
//! Two forms implement it: direct I/O on the shard's ring (`direct.rs`) and a seeded simulation in
//! memory (`sim.rs`). A future that is dropped does not stop the kernel: buffers are therefore passed
//! by value and come back with the result.
//!
//! What a caller may rely on after power loss: bytes of a write are durable once that write was made
//! with [`Sync::Data`], or once a [`DiskFile::sync_data`] that was *called after the write had
//! completed* has returned. Names (created, renamed, removed) are durable once
//! [`Disk::sync_directory`] of their directory has returned.

use std::{future::Future, io, path::Path, pin::Pin, rc::Rc, sync::Arc};

use super::{
    buffer::{AlignedBuffer, AlignedSlice},
    file_range::SharedFile,
};

/// Bytes of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskSpace {
    /// In all.
    pub total: u64,
    /// That this process may still use.
    pub usable: u64,
}

/// Bytes of the file system that a directory is on.
///
/// # Errors
/// Those of statvfs(3).
pub fn disk_space(path: &Path) -> io::Result<DiskSpace> {
    let disk = rustix::fs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(disk.f_frsize);
    Ok(DiskSpace { total: bytes(disk.f_blocks), usable: bytes(disk.f_bavail) })
}

/// A boxed future of this core.
pub type DiskFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// How far a write must have come before it counts as done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// The device has taken it.
    None,
    /// These bytes are on stable storage. Says nothing of earlier writes.
    Data,
    /// As `Data`, and so is every write of this file that had completed before this one started.
    DataAndEarlier,
}

/// What to do if a file is there, or is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// It must be there.
    Existing,
    /// It is created if it is not there.
    OrCreate,
}

/// Names, whole small files, and files for direct I/O, below one data directory.
pub trait Disk {
    /// Does a long computation beside this core, which goes on with other things meanwhile.
    fn compute<'a>(&'a self, work: Box<dyn FnOnce() + Send>) -> DiskFuture<'a, io::Result<()>>;

    /// Opens a file for direct reading and writing.
    fn open<'a>(&'a self, path: &'a Path, how: Open) -> DiskFuture<'a, io::Result<Rc<dyn DiskFile>>>;

    /// As [`Disk::open`], for a file of the journal: its writes go past those that wait for their turn.
    fn open_journal<'a>(&'a self, path: &'a Path, how: Open) -> DiskFuture<'a, io::Result<Rc<dyn DiskFile>>> {
        self.open(path, how)
    }

    /// Opens a file that nobody writes any more, for ranges of it to be sent from any core. `None`: this
    /// disk has no such files, and its bytes are read before they are sent.
    fn open_shared<'a>(&'a self, _path: &'a Path) -> DiskFuture<'a, io::Result<Option<Arc<SharedFile>>>> {
        Box::pin(std::future::ready(Ok(None)))
    }

    /// Names in a directory, unordered. An absent directory is an error of kind `NotFound`.
    fn list<'a>(&'a self, directory: &'a Path) -> DiskFuture<'a, io::Result<Vec<String>>>;

    /// Creates a directory and those above it, where missing, and makes the names durable.
    fn create_directories<'a>(&'a self, directory: &'a Path) -> DiskFuture<'a, io::Result<()>>;

    /// Creates directories of these names in `parent`, itself created as above where missing, and makes the
    /// names durable.
    fn create_children<'a>(&'a self, parent: &'a Path, names: Vec<String>) -> DiskFuture<'a, io::Result<()>> {
        Box::pin(async move {
            for name in names {
                self.create_directories(&parent.join(name)).await?;
            }
            Ok(())
        })
    }

    /// Renames a file or a directory; an existing file of the new name is replaced.
    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> DiskFuture<'a, io::Result<()>>;

    /// Removes a file.
    fn remove_file<'a>(&'a self, path: &'a Path) -> DiskFuture<'a, io::Result<()>>;

    /// Removes a directory and all below it.
    fn remove_directory<'a>(&'a self, directory: &'a Path) -> DiskFuture<'a, io::Result<()>>;

    /// Makes the names in a directory durable.
    fn sync_directory<'a>(&'a self, directory: &'a Path) -> DiskFuture<'a, io::Result<()>>;

    /// Reads a small file whole. At most `bytes_max`; a larger one is an error of kind `InvalidData`.
    fn read_small<'a>(&'a self, path: &'a Path, bytes_max: usize) -> DiskFuture<'a, io::Result<Vec<u8>>>;

    /// Replaces a small file: temporary file, fdatasync, rename, directory sync. After a power loss
    /// the file has the old contents or the new.
    fn write_small<'a>(&'a self, path: &'a Path, bytes: Vec<u8>) -> DiskFuture<'a, io::Result<()>>;
}

/// One open file. Positions and lengths of reads and writes are whole blocks.
pub trait DiskFile {
    /// Writes all of `bytes` (block aligned) at `position`. Short writes are continued.
    fn write_at<'a>(
        &'a self,
        bytes: AlignedSlice,
        position: u64,
        sync: Sync,
    ) -> DiskFuture<'a, io::Result<()>>;

    /// Reads up to the buffer's capacity from `position`; the buffer's length says how much there was:
    /// less than the capacity only at the end of the file.
    fn read_at<'a>(
        &'a self,
        buffer: AlignedBuffer,
        position: u64,
    ) -> DiskFuture<'a, io::Result<AlignedBuffer>>;

    /// Makes every write that has completed durable (fdatasync).
    fn sync_data(&self) -> DiskFuture<'_, io::Result<()>>;

    /// Reserves blocks up to `end` bytes; the file's length becomes at least `end`, the new part reads
    /// as zeros.
    fn allocate(&self, end: u64) -> DiskFuture<'_, io::Result<()>>;

    /// Cuts or extends the file to `length` bytes (need not be whole blocks) and makes that durable.
    fn set_length(&self, length: u64) -> DiskFuture<'_, io::Result<()>>;

    /// The file's length in bytes.
    fn length(&self) -> DiskFuture<'_, io::Result<u64>>;
}
