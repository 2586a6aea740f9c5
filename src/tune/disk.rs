//! `corelane tune disk`: a brief look at what the disk below a data directory can do.
//!
//! One file, without a name once it is open so that nothing is left behind, is filled and then read and written
//! as the broker does: direct I/O on one core's ring, in whole blocks. Each pattern runs at several depths.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    io,
    path::{Path, PathBuf},
    pin::Pin,
    rc::Rc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::{
    config::io_properties::{IO_PROPERTIES, IoProperties, Measured},
    io::{
        buffer::{AlignedBuffer, AlignedSlice, BLOCK},
        cores::{Queue, run_once_with, sleep, spawn},
        disk::{Disk, DiskFile, Open, Sync, disk_space},
        ring::{DiskBounds, RingOptions},
    },
    startup::available_cores,
};

/// Bytes of a sequential operation: what the broker writes to a segment at once.
const LARGE: usize = 512 << 10;
const DEPTHS: [u32; 4] = [1, 4, 16, 64];
/// Latencies kept of one pattern; further ones count in its rate only.
const SAMPLES_MAX: usize = 1 << 20;
/// Free space that the file must leave, as a share of itself.
const SPARE: u64 = 2;
/// How long one waits before it asks whether all operations have ended.
const POLL: Duration = Duration::from_millis(1);

/// What is measured.
pub(super) struct Plan {
    /// A directory that exists.
    pub(super) directory: PathBuf,
    /// Bytes of the file, whole large blocks.
    pub(super) file_bytes: u64,
    /// How long each pattern runs at each depth.
    pub(super) each: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Read,
    Write(Sync),
    /// A write, then fdatasync.
    WriteThenSync,
}

/// What is done, again and again.
#[derive(Debug, Clone, Copy)]
struct Pattern {
    name: &'static str,
    operation: Operation,
    block: usize,
    random: bool,
    depths: &'static [u32],
}

const fn pattern(name: &'static str, operation: Operation, block: usize, depths: &'static [u32]) -> Pattern {
    Pattern { name, operation, block, random: block == BLOCK, depths }
}

const PATTERNS: [Pattern; 6] = [
    pattern("sequential write", Operation::Write(Sync::None), LARGE, &DEPTHS),
    pattern("sequential read", Operation::Read, LARGE, &DEPTHS),
    pattern("random write", Operation::Write(Sync::None), BLOCK, &DEPTHS),
    pattern("random read", Operation::Read, BLOCK, &DEPTHS),
    pattern("durable write", Operation::Write(Sync::Data), BLOCK, &[1]),
    pattern("write and fdatasync", Operation::WriteThenSync, BLOCK, &[1]),
];

/// Measures, and calls `told` with each result as it comes.
///
/// # Errors
/// A sentence: too little space, or what the system refuses.
pub(super) fn measure(plan: Plan, told: impl Fn(&Measured) + Send + 'static) -> Result<IoProperties, String> {
    let place = plan.directory.display().to_string();
    let failed = |error: io::Error| format!("{place}: {error}");
    let file_bytes = (plan.file_bytes / LARGE as u64).max(1) * LARGE as u64;
    let free = disk_space(&plan.directory).map_err(failed)?.usable;
    if free / SPARE < file_bytes {
        return Err(format!(
            "{place}: {free} bytes are free, too few to measure with a file of {file_bytes}"
        ));
    }
    let options = RingOptions {
        entries: 128,
        receive_buffers: 1,
        receive_buffer_bytes: BLOCK,
        spin_max: Duration::from_micros(50),
        disk: DiskBounds::NONE,
    };
    let cpu = available_cores().first().map_or(0, |cpu| cpu.core);
    let run = move |disk: Rc<dyn Disk>| async move {
        let file = open_without_name(&*disk, &plan.directory).await?;
        fill(&file, file_bytes).await?;
        let mut measured = Vec::new();
        for pattern in PATTERNS {
            for &depth in pattern.depths {
                let one = run_pattern(&file, file_bytes, pattern, depth, plan.each).await?;
                told(&one);
                measured.push(one);
            }
        }
        Ok::<_, io::Error>(measured)
    };
    let measured = run_once_with(cpu, options, run).and_then(|measured| measured).map_err(failed)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(IoProperties::new(now.as_millis() as u64, file_bytes, measured))
}

/// Puts what was measured into the data directory, whole or not at all.
///
/// # Errors
/// What the system refuses.
pub(super) fn write(properties: &IoProperties, out: &Path) -> io::Result<()> {
    super::host::Host::at(Path::new("/")).put_real(out, &properties.to_text())
}

/// Where the properties of a data directory lie.
pub(super) fn default_out(data: &Path) -> PathBuf {
    data.join(IO_PROPERTIES)
}

async fn open_without_name(disk: &dyn Disk, directory: &Path) -> io::Result<Rc<dyn DiskFile>> {
    let path = directory.join(format!(".corelane-tune-{}", std::process::id()));
    let file = disk.open(&path, Open::OrCreate).await;
    disk.remove_file(&path).await?;
    file
}

/// Writes the file once: blocks that were never written are read, and overwritten, faster than others.
async fn fill(file: &Rc<dyn DiskFile>, file_bytes: u64) -> io::Result<()> {
    file.allocate(file_bytes).await?;
    let bytes = random_bytes(LARGE)?;
    let mut position = 0;
    while position < file_bytes {
        file.write_at(bytes.clone(), position, Sync::None).await?;
        position += LARGE as u64;
    }
    file.sync_data().await
}

/// Bytes that no drive can compress.
fn random_bytes(length: usize) -> io::Result<AlignedSlice> {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes).map_err(|error| io::Error::other(error.to_string()))?;
    let mut buffer = AlignedBuffer::with_capacity(length);
    buffer.extend(&bytes);
    Ok(buffer.freeze())
}

/// What the tasks of one pattern share.
struct Run {
    file: Rc<dyn DiskFile>,
    pattern: Pattern,
    blocks: u64,
    until: Instant,
    written: AlignedSlice,
    next: Cell<u64>,
    seed: Cell<u64>,
    done: Cell<u64>,
    running: Cell<u32>,
    latencies_us: RefCell<Vec<u32>>,
    failed: RefCell<Option<io::Error>>,
}

impl Run {
    /// The position of the next operation.
    fn position(&self) -> u64 {
        let block = if self.pattern.random {
            // xorshift64: any spread will do.
            let mut seed = self.seed.get();
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            self.seed.set(seed);
            seed % self.blocks
        } else {
            let next = self.next.get();
            self.next.set(next + 1);
            next % self.blocks
        };
        block * self.pattern.block as u64
    }

    async fn once(&self, buffer: AlignedBuffer) -> io::Result<AlignedBuffer> {
        let position = self.position();
        match self.pattern.operation {
            Operation::Read => return self.file.read_at(buffer, position).await,
            Operation::Write(sync) => self.file.write_at(self.written.clone(), position, sync).await?,
            Operation::WriteThenSync => {
                self.file.write_at(self.written.clone(), position, Sync::None).await?;
                self.file.sync_data().await?;
            }
        }
        Ok(buffer)
    }

    async fn repeat(self: Rc<Self>) {
        let mut buffer = AlignedBuffer::with_capacity(self.pattern.block);
        // At least one each, however late they come to it.
        loop {
            let start = Instant::now();
            match self.once(buffer).await {
                Ok(back) => buffer = back,
                Err(error) => {
                    *self.failed.borrow_mut() = Some(error);
                    break;
                }
            }
            buffer.clear();
            self.done.set(self.done.get() + 1);
            let mut latencies = self.latencies_us.borrow_mut();
            if latencies.len() < SAMPLES_MAX {
                latencies.push(start.elapsed().as_micros().try_into().unwrap_or(u32::MAX));
            }
            if Instant::now() >= self.until || self.failed.borrow().is_some() {
                break;
            }
        }
        self.running.set(self.running.get() - 1);
    }
}

async fn run_pattern(
    file: &Rc<dyn DiskFile>,
    file_bytes: u64,
    pattern: Pattern,
    depth: u32,
    each: Duration,
) -> io::Result<Measured> {
    let start = Instant::now();
    let run = Rc::new(Run {
        file: file.clone(),
        pattern,
        blocks: file_bytes / pattern.block as u64,
        until: start + each,
        written: random_bytes(pattern.block)?,
        next: Cell::new(0),
        seed: Cell::new(0x9e37_79b9_7f4a_7c15),
        done: Cell::new(0),
        running: Cell::new(depth),
        latencies_us: RefCell::default(),
        failed: RefCell::default(),
    });
    for _ in 0..depth {
        let task: Pin<Box<dyn Future<Output = ()>>> = Box::pin(run.clone().repeat());
        spawn(Queue::Foreground, task);
    }
    while run.running.get() > 0 {
        sleep(POLL).await;
    }
    let elapsed = start.elapsed();
    // What the drive still holds of one pattern is not to slow the next one down.
    file.sync_data().await?;
    if let Some(error) = run.failed.take() {
        return Err(error);
    }
    let mut latencies = run.latencies_us.take();
    latencies.sort_unstable();
    Ok(Measured {
        pattern: pattern.name.to_owned(),
        block_bytes: pattern.block as u32,
        depth,
        per_second: (run.done.get() as f64 / elapsed.as_secs_f64()).ceil() as u64,
        p50_us: percentile(&latencies, 50),
        p99_us: percentile(&latencies, 99),
    })
}

/// The least of them that so many in a hundred do not exceed; 0 of none.
fn percentile(sorted: &[u32], percent: usize) -> u32 {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// One line for people.
pub(super) fn line(one: &Measured) -> String {
    format!(
        "{:<20} {:>4} KiB  depth {:>2}  {:>8} /s  {:>7.1} MB/s  p50 {:>6} us  p99 {:>6} us",
        one.pattern,
        one.block_bytes >> 10,
        one.depth,
        one.per_second,
        one.bytes_per_second() as f64 / 1e6,
        one.p50_us,
        one.p99_us
    )
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn percentiles_are_of_what_was_measured() {
        let hundred: Vec<_> = (1..=100).collect();
        assert_eq!((percentile(&hundred, 50), percentile(&hundred, 99)), (50, 99));
        assert_eq!((percentile(&[7], 50), percentile(&[7], 99), percentile(&[], 99)), (7, 7, 0));
    }

    #[test]
    fn a_directory_is_measured_and_nothing_is_left_in_it() {
        if crate::io::probe::probe_io_uring().is_err() {
            return;
        }
        let beside = std::env::current_exe().unwrap();
        let directory = tempfile::tempdir_in(beside.parent().unwrap()).unwrap();
        let (sender, told) = channel();
        let plan = Plan {
            directory: directory.path().to_owned(),
            file_bytes: 4 << 20,
            each: Duration::from_millis(5),
        };
        let properties = measure(plan, move |one| sender.send(one.clone()).unwrap()).unwrap();
        assert_eq!(properties.measured, told.iter().collect::<Vec<_>>());
        let depths: usize = PATTERNS.iter().map(|pattern| pattern.depths.len()).sum();
        assert_eq!(properties.measured.len(), depths);
        for one in &properties.measured {
            assert!(one.per_second > 0 && one.p50_us <= one.p99_us, "{one:?}");
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        let out = default_out(directory.path());
        write(&properties, &out).unwrap();
        assert_eq!(IoProperties::of(directory.path()).unwrap(), Some(properties));
    }

    #[test]
    fn a_disk_with_too_little_space_is_not_filled() {
        let directory = tempfile::tempdir().unwrap();
        let plan = Plan {
            directory: directory.path().to_owned(),
            file_bytes: u64::MAX / 2,
            each: Duration::from_millis(1),
        };
        let error = measure(plan, |_| ()).unwrap_err();
        assert!(error.contains("too few to measure"), "{error}");
    }
}
