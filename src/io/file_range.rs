//! Ranges of files that no longer change, to be sent without having been read by whoever answers.
//!
//! A [`SharedFile`] has two descriptors: one for direct reads, one that reads through the page cache, for
//! `sendfile`. Both stay valid when the name is removed. The file behind them must not be written any
//! more: whoever wants to write it asks first whether anyone still holds the handle.

use std::{
    fs::{File, OpenOptions},
    io,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::fs::OpenOptionsExt,
    },
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use rustix::fs::{Advice, fadvise};

/// Number of the system call; the same on all architectures. Source: Linux 6.5, `syscall.tbl`.
const SYS_CACHESTAT: libc::c_long = 451;

/// A file that is only read, by any number of cores.
#[derive(Debug)]
pub struct SharedFile {
    direct: Arc<File>,
    buffered: File,
    length: u64,
    failed: AtomicBool,
    /// Ranges that have been given out and are not sent yet.
    readers: AtomicUsize,
    /// Where read-aheads are under way: pages that are in the cache but not yet filled.
    filling: Mutex<Vec<u64>>,
}

impl SharedFile {
    /// Opens a file that nobody writes any more. Blocks.
    ///
    /// # Errors
    /// It is not there, or cannot be read directly.
    pub fn open(path: &Path) -> io::Result<Self> {
        let direct = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(path)?;
        let buffered = File::open(path)?;
        // The kernel's own read-ahead would put pages into the cache that are not filled yet; a sendfile
        // would then wait for the disk although the cache seems to have all.
        fadvise(&buffered, 0, None, Advice::Random)?;
        let length = direct.metadata()?.len();
        Ok(Self {
            direct: Arc::new(direct),
            buffered,
            length,
            failed: AtomicBool::new(false),
            readers: AtomicUsize::new(0),
            filling: Mutex::default(),
        })
    }

    /// Its length when it was opened, in bytes.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Whether a read of it has failed: the next one had better be made before the answer is begun.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.failed.load(Relaxed)
    }

    /// Whether a range of it is still to be sent: until then the file must keep its bytes.
    #[must_use]
    pub fn is_read(&self) -> bool {
        self.readers.load(Relaxed) > 0
    }

    pub(super) fn fail(&self) {
        self.failed.store(true, Relaxed);
    }

    pub(super) fn direct(&self) -> &Arc<File> {
        &self.direct
    }

    pub(super) fn buffered(&self) -> BorrowedFd<'_> {
        self.buffered.as_fd()
    }

    fn filling(&self) -> MutexGuard<'_, Vec<u64>> {
        self.filling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings a stretch into the page cache and waits until it is there. Blocks for the disk.
    ///
    /// The pages go to `/dev/null` by reference: they are waited for, and never copied.
    fn fill_cache(&self, position: u64, length: u64) -> io::Result<()> {
        self.filling().push(position);
        let filled = (|| {
            fadvise(&self.buffered, position, std::num::NonZeroU64::new(length), Advice::WillNeed)?;
            let nowhere = OpenOptions::new().write(true).open("/dev/null")?;
            let (mut at, end) = (position, position + length);
            while at < end {
                let left = (end - at) as usize;
                if rustix::fs::sendfile(&nowhere, &self.buffered, Some(&mut at), left)? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Ok(())
        })();
        let mut filling = self.filling();
        if let Some(place) = filling.iter().position(|&start| start == position) {
            filling.swap_remove(place);
        }
        filled
    }
}

/// Whether a stretch lies in the page cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Residency {
    /// All of it: `sendfile` will not wait for the disk.
    Resident,
    /// Not all of it, or some of it is being read.
    Cold,
    /// The kernel cannot tell (before Linux 6.5).
    Unknown,
}

/// One reader of a file, until it and all copies are dropped.
#[derive(Debug)]
struct Lease(Arc<SharedFile>);

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.readers.fetch_sub(1, Relaxed);
    }
}

/// A stretch of a shared file. Goes to any core; its bytes are read when they are sent.
#[derive(Debug, Clone)]
pub struct FileRange {
    lease: Arc<Lease>,
    position: u64,
    length: u64,
}

#[repr(C)]
struct CacheRange {
    offset: u64,
    length: u64,
}

/// What the kernel tells; in pages. Source: cachestat(2).
#[repr(C)]
#[derive(Default)]
struct CacheStat {
    cached: u64,
    dirty: u64,
    writeback: u64,
    evicted: u64,
    recently_evicted: u64,
}

fn page_bytes() -> u64 {
    // SAFETY: sysconf has no preconditions.
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    u64::try_from(bytes).unwrap_or(4096).max(1)
}

impl FileRange {
    /// `length` bytes from `position` on.
    ///
    /// # Panics
    /// If they are not all within the file.
    #[must_use]
    pub fn new(file: Arc<SharedFile>, position: u64, length: u64) -> Self {
        assert!(position + length <= file.length, "{length} at {position} of {}", file.length);
        file.readers.fetch_add(1, Relaxed);
        Self { lease: Arc::new(Lease(file)), position, length }
    }

    /// Bytes in it.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(super) fn file(&self) -> &Arc<SharedFile> {
        &self.lease.0
    }

    /// Whether others have ranges of this file too.
    pub(super) fn has_other_readers(&self) -> bool {
        self.file().readers.load(Relaxed) > 1
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The start of it, up to the next multiple of `bytes` in the file.
    pub(super) fn first(&self, bytes: u64) -> Self {
        let end = (self.position / bytes + 1) * bytes;
        let length = self.length.min(end - self.position);
        Self { lease: self.lease.clone(), position: self.position, length }
    }

    /// What is left behind its first `bytes`.
    pub(super) fn after(&self, bytes: u64) -> Self {
        assert!(bytes <= self.length, "{bytes} of {}", self.length);
        Self { lease: self.lease.clone(), position: self.position + bytes, length: self.length - bytes }
    }

    /// Asks the page cache. Takes about a microsecond per 256 KiB, never waits.
    pub(super) fn residency(&self) -> Residency {
        let page = page_bytes();
        let start = self.position - self.position % page;
        let end = (self.position + self.length).next_multiple_of(page);
        let is_filling = |&at: &u64| at < end && at + super::send::FILE_CHUNK_BYTES > start;
        if self.file().filling().iter().any(is_filling) {
            return Residency::Cold;
        }
        let range = CacheRange { offset: start, length: end - start };
        let mut stat = CacheStat::default();
        // SAFETY: both structures are laid out as the kernel's and outlive the call.
        let result = unsafe {
            libc::syscall(
                SYS_CACHESTAT,
                self.file().buffered.as_raw_fd(),
                &raw const range,
                &raw mut stat,
                0_u32,
            )
        };
        match result {
            0 if stat.cached == (end - start) / page => Residency::Resident,
            0 => Residency::Cold,
            _ => Residency::Unknown,
        }
    }

    /// Brings it into the page cache and waits until it is there. Blocks for the disk.
    pub(super) fn fill_cache(&self) -> io::Result<()> {
        self.file().fill_cache(self.position, self.length)
    }

    /// All of it; blocks.
    #[cfg(test)]
    pub(crate) fn read_now(&self) -> io::Result<Vec<u8>> {
        use std::os::unix::fs::FileExt;
        let mut bytes = vec![0; self.length as usize];
        self.file().buffered.read_exact_at(&mut bytes, self.position)?;
        Ok(bytes)
    }
}
