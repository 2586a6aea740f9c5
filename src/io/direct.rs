//! The disk for real: direct I/O on the shard's ring, cold work on the pool for blocking calls.

use std::{
    fs, io,
    os::{
        fd::AsRawFd,
        unix::fs::{FileExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use io_uring::{
    opcode,
    types::{Fd, FsyncFlags},
};

use super::{
    buffer::{AlignedBuffer, AlignedSlice, BLOCK},
    disk::{Disk, DiskFile, DiskFuture, Open, Sync},
    file_range::SharedFile,
    idle::IdleThreads,
    ring::{Ring, check},
};

/// How often, and how many times, the end of a core looks for calls that have not returned: 2 s in all.
const RETURN_POLL: Duration = Duration::from_millis(2);
const RETURN_POLLS_MAX: u32 = 1_000;

/// The host's file system, through one core's ring.
pub struct DirectDisk {
    ring: Rc<Ring>,
    idle: IdleThreads,
}

impl DirectDisk {
    /// Files are read and written on `ring`.
    #[must_use]
    pub fn new(ring: Rc<Ring>) -> Self {
        Self { ring, idle: IdleThreads::default() }
    }

    fn open_file<'a>(
        &'a self,
        path: &Path,
        how: Open,
        bound: Bound,
    ) -> DiskFuture<'a, io::Result<Rc<dyn DiskFile>>> {
        let path = path.to_owned();
        Box::pin(async move {
            let file = aside(move || {
                fs::OpenOptions::new()
                    .read(true)
                    .write(true)
                    .create(how == Open::OrCreate)
                    .truncate(false)
                    .custom_flags(libc::O_DIRECT)
                    .open(path)
            })
            .await?;
            Ok(Rc::new(DirectFile { ring: self.ring.clone(), file: Arc::new(file), bound })
                as Rc<dyn DiskFile>)
        })
    }
}

thread_local! {
    /// Blocking calls of this core that have not returned.
    static ASIDE: Arc<AtomicUsize> = Arc::default();
}

/// Runs a blocking call beside the reactor.
pub(super) async fn aside<T: Send + 'static>(
    call: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let running = ASIDE.with(Arc::clone);
    running.fetch_add(1, Relaxed);
    let call = move || {
        let result = call();
        running.fetch_sub(1, Relaxed);
        result
    };
    glommio::executor().spawn_blocking(call).await
}

/// Waits, a while, for blocking calls that nobody waits for any more: glommio's threads panic if they find
/// nobody to answer to. For the end of a core.
pub(super) async fn let_calls_return() {
    for _ in 0..RETURN_POLLS_MAX {
        let running = ASIDE.with(|running| running.load(Relaxed));
        super::cores::sleep(RETURN_POLL).await;
        if running == 0 {
            return;
        }
    }
}

fn sync_directory(directory: &Path) -> io::Result<()> {
    fs::File::open(directory)?.sync_all()
}

fn create_directories(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        create_directories(parent)?;
    }
    match fs::create_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    sync_directory(parent.unwrap_or(Path::new(".")))
}

fn write_small(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".new");
    let temporary = PathBuf::from(temporary);
    let file = fs::File::create(&temporary)?;
    file.write_all_at(bytes, 0)?;
    file.sync_data()?;
    fs::rename(&temporary, path)?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

/// As `create_directories` for each, with one sync for all.
fn create_children(parent: &Path, names: &[String]) -> io::Result<()> {
    create_directories(parent)?;
    for name in names {
        match fs::create_dir(parent.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    sync_directory(parent)
}

impl Disk for DirectDisk {
    fn compute<'a>(&'a self, work: Box<dyn FnOnce() + Send>) -> DiskFuture<'a, io::Result<()>> {
        let (wait, beside) = (self.idle.doing(work), self.ring.computes_beside());
        Box::pin(async move {
            let _beside = beside;
            aside(wait?).await
        })
    }

    fn open<'a>(&'a self, path: &'a Path, how: Open) -> DiskFuture<'a, io::Result<Rc<dyn DiskFile>>> {
        self.open_file(path, how, Bound::Turns)
    }

    fn open_journal<'a>(&'a self, path: &'a Path, how: Open) -> DiskFuture<'a, io::Result<Rc<dyn DiskFile>>> {
        self.open_file(path, how, Bound::None)
    }

    fn open_shared<'a>(&'a self, path: &'a Path) -> DiskFuture<'a, io::Result<Option<Arc<SharedFile>>>> {
        let path = path.to_owned();
        Box::pin(aside(move || SharedFile::open(&path).map(|file| Some(Arc::new(file)))))
    }

    fn list<'a>(&'a self, directory: &'a Path) -> DiskFuture<'a, io::Result<Vec<String>>> {
        let directory = directory.to_owned();
        Box::pin(aside(move || {
            let name =
                |entry: io::Result<fs::DirEntry>| Ok(entry?.file_name().to_string_lossy().into_owned());
            fs::read_dir(directory)?.map(name).collect()
        }))
    }

    fn create_directories<'a>(&'a self, directory: &'a Path) -> DiskFuture<'a, io::Result<()>> {
        let directory = directory.to_owned();
        Box::pin(aside(move || create_directories(&directory)))
    }

    fn create_children<'a>(&'a self, parent: &'a Path, names: Vec<String>) -> DiskFuture<'a, io::Result<()>> {
        let parent = parent.to_owned();
        Box::pin(aside(move || create_children(&parent, &names)))
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> DiskFuture<'a, io::Result<()>> {
        let (from, to) = (from.to_owned(), to.to_owned());
        Box::pin(aside(move || fs::rename(from, to)))
    }

    fn remove_file<'a>(&'a self, path: &'a Path) -> DiskFuture<'a, io::Result<()>> {
        let path = path.to_owned();
        Box::pin(aside(move || fs::remove_file(path)))
    }

    fn remove_directory<'a>(&'a self, directory: &'a Path) -> DiskFuture<'a, io::Result<()>> {
        let directory = directory.to_owned();
        Box::pin(aside(move || fs::remove_dir_all(directory)))
    }

    fn sync_directory<'a>(&'a self, directory: &'a Path) -> DiskFuture<'a, io::Result<()>> {
        let directory = directory.to_owned();
        Box::pin(aside(move || sync_directory(&directory)))
    }

    fn read_small<'a>(&'a self, path: &'a Path, bytes_max: usize) -> DiskFuture<'a, io::Result<Vec<u8>>> {
        let path = path.to_owned();
        Box::pin(aside(move || {
            let length = fs::metadata(&path)?.len();
            if length > bytes_max as u64 {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("{length} bytes, at most {bytes_max}"),
                ));
            }
            fs::read(path)
        }))
    }

    fn write_small<'a>(&'a self, path: &'a Path, bytes: Vec<u8>) -> DiskFuture<'a, io::Result<()>> {
        let path = path.to_owned();
        Box::pin(aside(move || write_small(&path, &bytes)))
    }
}

struct DirectFile {
    ring: Rc<Ring>,
    file: Arc<fs::File>,
    bound: Bound,
}

/// Whether writes of a file wait for their turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    Turns,
    None,
}

impl DirectFile {
    fn fd(&self) -> Fd {
        Fd(self.file.as_raw_fd())
    }

    async fn write_all(&self, bytes: AlignedSlice, position: u64, sync: Sync) -> io::Result<()> {
        assert!(
            bytes.is_block_aligned() && position.is_multiple_of(BLOCK as u64),
            "write of {} at {position}",
            bytes.len()
        );
        let mut turn = match self.bound {
            Bound::Turns => Some(self.ring.write_turn().await),
            Bound::None => None,
        };
        let mut done = 0;
        while done < bytes.len() {
            let part = bytes.slice(done..bytes.len());
            let mut entry = opcode::Write::new(self.fd(), part.as_ptr(), part.len() as u32)
                .offset(position + done as u64);
            if sync == Sync::Data {
                entry = entry.rw_flags(libc::RWF_DSYNC);
            }
            // The turn is over once the kernel is done, even if nobody waits any more.
            let resource = (part, self.file.clone(), turn);
            let written = if sync == Sync::DataAndEarlier {
                let flush = opcode::Fsync::new(self.fd()).flags(FsyncFlags::DATASYNC).build();
                let (write, flush) = self.ring.start_linked(entry.build(), resource, flush);
                let (written, _, (.., back)) = write.await;
                turn = back;
                let (flushed, ..) = flush.await;
                let written = check(written)?;
                if done + written == bytes.len() {
                    check(flushed)?;
                } // else: a short write cancels the flush; the rest is written and flushed next
                written
            } else {
                let (written, _, (.., back)) = self.ring.start(entry.build(), resource).await;
                turn = back;
                check(written)?
            };
            if written == 0 || written % BLOCK != 0 {
                return Err(io::Error::new(io::ErrorKind::WriteZero, format!("wrote {written} bytes")));
            }
            done += written;
        }
        Ok(())
    }
}

/// Fills the buffer from `position` on, as far as the file goes.
pub(super) async fn read_direct(
    ring: &Rc<Ring>,
    file: &Arc<fs::File>,
    mut buffer: AlignedBuffer,
    position: u64,
) -> io::Result<AlignedBuffer> {
    let wanted = buffer.capacity();
    let mut turn = ring.read_turn().await;
    let mut done = 0;
    while done < wanted {
        // SAFETY: `done` is below the capacity of the allocation.
        let start = unsafe { buffer.as_mut_ptr().add(done) };
        let entry = opcode::Read::new(Fd(file.as_raw_fd()), start, (wanted - done) as u32)
            .offset(position + done as u64);
        let (result, _, resource) = ring.start(entry.build(), (buffer, file.clone(), turn)).await;
        (buffer, turn) = (resource.0, resource.2);
        let length = check(result)?;
        done += length;
        // A length that is no whole block, or none, is the end of the file.
        if length % BLOCK != 0 || length == 0 {
            break;
        }
    }
    buffer.set_filled(done);
    Ok(buffer)
}

impl DiskFile for DirectFile {
    fn write_at<'a>(
        &'a self,
        bytes: AlignedSlice,
        position: u64,
        sync: Sync,
    ) -> DiskFuture<'a, io::Result<()>> {
        Box::pin(self.write_all(bytes, position, sync))
    }

    fn read_at<'a>(
        &'a self,
        buffer: AlignedBuffer,
        position: u64,
    ) -> DiskFuture<'a, io::Result<AlignedBuffer>> {
        Box::pin(read_direct(&self.ring, &self.file, buffer, position))
    }

    fn sync_data(&self) -> DiskFuture<'_, io::Result<()>> {
        Box::pin(async move {
            let entry = opcode::Fsync::new(self.fd()).flags(FsyncFlags::DATASYNC).build();
            let (result, _, _) = self.ring.start(entry, self.file.clone()).await;
            check(result).map(drop)
        })
    }

    fn allocate(&self, end: u64) -> DiskFuture<'_, io::Result<()>> {
        let file = self.file.clone();
        Box::pin(aside(move || {
            let length = file.metadata()?.len();
            if end > length {
                rustix::fs::fallocate(&*file, rustix::fs::FallocateFlags::empty(), length, end - length)?;
            }
            Ok(())
        }))
    }

    fn set_length(&self, length: u64) -> DiskFuture<'_, io::Result<()>> {
        let file = self.file.clone();
        Box::pin(aside(move || {
            file.set_len(length)?;
            file.sync_all()
        }))
    }

    fn length(&self) -> DiskFuture<'_, io::Result<u64>> {
        let file = self.file.clone();
        Box::pin(aside(move || Ok(file.metadata()?.len())))
    }
}
