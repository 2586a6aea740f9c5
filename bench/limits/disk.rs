//! The disk, by direct I/O: the same writes to a file that grows, to allocated space, and to blocks that were
//! written before; and reads.
//!
//! A queue depth is that many threads with one file: no ring of the broker's is involved.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, Mode, OFlags};
use serde::{Deserialize, Serialize};

use super::gb_per_s;
use crate::stats::Times;

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
/// What direct I/O has to be aligned to on any disk of today.
const BLOCK: usize = 4 * KIB;
/// Blocks that are written before, and read; a cycle over them is longer than any cache of a drive should be.
const WRITTEN_BYTES: u64 = 512 << 20;
/// Most that a growing or allocated file takes.
const FILE_BYTES_MAX: u64 = 2 << 30;
/// Syncs that are timed at most.
const SYNCS_MAX: u64 = 20_000;
/// Writes between two syncs, where several share one.
const GROUP: u64 = 8;

/// Where writes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    Append,
    Allocated,
    Written,
}

/// One row of writes, in the three layouts.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    append: f64,
    allocated: f64,
    written: f64,
}

/// What the disk can do.
#[derive(Debug, Serialize, Deserialize)]
pub struct Disk {
    write_64k_depth_8_gb_per_s: Row,
    write_4k_synced_p50_us: Row,
    write_8_of_64k_then_sync_gb_per_s: Row,
    write_1m_synced_gb_per_s: Row,
    read_1m_depth_4_gb_per_s: f64,
    read_128k_depth_8_gb_per_s: f64,
}

impl Disk {
    pub fn text(&self) -> String {
        let mut text =
            format!("{:<32}{:>10} {:>10} {:>10}\n", "direct I/O", "append", "allocated", "written");
        for (name, row, unit) in [
            ("64 KiB, depth 8", &self.write_64k_depth_8_gb_per_s, "GB/s"),
            ("4 KiB and fdatasync, p50", &self.write_4k_synced_p50_us, "us"),
            ("64 KiB x 8, then fdatasync", &self.write_8_of_64k_then_sync_gb_per_s, "GB/s"),
            ("1 MiB and fdatasync", &self.write_1m_synced_gb_per_s, "GB/s"),
        ] {
            let digits = if unit == "us" { 0 } else { 2 };
            let (append, allocated, written) = (row.append, row.allocated, row.written);
            let _ = writeln!(
                text,
                "{name:<32}{append:>10.digits$} {allocated:>10.digits$} {written:>10.digits$} {unit}"
            );
        }
        let _ = writeln!(text, "{:<32}{:>10.2} GB/s", "read, 1 MiB, depth 4", self.read_1m_depth_4_gb_per_s);
        let _ = writeln!(
            text,
            "{:<32}{:>10.2} GB/s\n",
            "read, 128 KiB, depth 8", self.read_128k_depth_8_gb_per_s
        );
        text
    }
}

/// A buffer of whole blocks that begins on one.
struct Aligned {
    bytes: Vec<u8>,
    begin: usize,
    length: usize,
}

impl Aligned {
    fn new(length: usize) -> Self {
        // Not zeros: some disks treat them apart.
        let bytes: Vec<u8> = (0..length + BLOCK).map(|at| ((at * 31) >> 3) as u8).collect();
        let begin = bytes.as_ptr().align_offset(BLOCK);
        Self { bytes, begin, length }
    }

    fn get(&self) -> &[u8] {
        &self.bytes[self.begin..self.begin + self.length]
    }

    fn get_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.begin..self.begin + self.length]
    }
}

/// The file, removed when it is dropped.
struct Scratch {
    path: PathBuf,
    file: File,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Scratch {
    fn new(directory: &Path, layout: Layout) -> io::Result<Self> {
        let path = directory.join(format!(".corelane-limits.{}", std::process::id()));
        let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::RDWR | OFlags::DIRECT | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR)?);
        let scratch = Self { path, file };
        match layout {
            Layout::Append => {}
            Layout::Allocated => {
                rustix::fs::fallocate(&scratch.file, FallocateFlags::empty(), 0, FILE_BYTES_MAX)?;
                scratch.file.sync_all()?;
            }
            Layout::Written => scratch.write_all_blocks()?,
        }
        Ok(scratch)
    }

    fn write_all_blocks(&self) -> io::Result<()> {
        let block = Aligned::new(MIB);
        for at in (0..WRITTEN_BYTES).step_by(MIB) {
            whole(rustix::io::pwrite(&self.file, block.get(), at)?, MIB)?;
        }
        self.file.sync_all()
    }
}

fn whole(moved: usize, wanted: usize) -> io::Result<()> {
    if moved == wanted {
        Ok(())
    } else {
        Err(io::Error::other(format!("{moved} of {wanted} bytes were moved")))
    }
}

/// Where the piece number `turn` lies; `None` once the file is as large as it may be.
fn place(layout: Layout, turn: u64, bytes: usize) -> Option<u64> {
    let at = turn * bytes as u64;
    match layout {
        Layout::Written => Some(at % WRITTEN_BYTES),
        _ => (at + bytes as u64 <= FILE_BYTES_MAX).then_some(at),
    }
}

/// Moves pieces with `depth` threads for the time of a step; GB/s.
fn parallel(
    scratch: &Scratch,
    layout: Layout,
    bytes: usize,
    depth: usize,
    write: bool,
    step: Duration,
) -> io::Result<f64> {
    let (turn, done) = (AtomicU64::new(0), AtomicU64::new(0));
    let began = Instant::now();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..depth)
            .map(|_| {
                scope.spawn(|| -> io::Result<()> {
                    let mut piece = Aligned::new(bytes);
                    // One piece at least: on a host that is slow to start threads the time may be over by now.
                    while let Some(at) = place(layout, turn.fetch_add(1, Ordering::Relaxed), bytes) {
                        let moved = if write {
                            rustix::io::pwrite(&scratch.file, piece.get(), at)?
                        } else {
                            rustix::io::pread(&scratch.file, piece.get_mut(), at)?
                        };
                        whole(moved, bytes)?;
                        done.fetch_add(bytes as u64, Ordering::Relaxed);
                        if began.elapsed() >= step {
                            break;
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        let join = |worker: std::thread::ScopedJoinHandle<'_, io::Result<()>>| {
            worker.join().unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
        };
        workers.into_iter().try_for_each(join)
    })?;
    Ok(gb_per_s(done.into_inner(), began.elapsed()))
}

/// Writes groups of pieces, each followed by a sync. GB/s, and the time of a group.
fn synced(
    scratch: &Scratch,
    layout: Layout,
    bytes: usize,
    group: u64,
    step: Duration,
) -> io::Result<(f64, Times)> {
    let piece = Aligned::new(bytes);
    let (mut times, mut turn) = (Times::default(), 0);
    let began = Instant::now();
    'time: while began.elapsed() < step && times.histogram().len() < SYNCS_MAX {
        let group_began = Instant::now();
        for _ in 0..group {
            let Some(at) = place(layout, turn, bytes) else { break 'time };
            whole(rustix::io::pwrite(&scratch.file, piece.get(), at)?, bytes)?;
            turn += 1;
        }
        scratch.file.sync_data()?;
        times.record(group_began.elapsed().as_nanos() as u64, 1);
    }
    Ok((gb_per_s(turn * bytes as u64, began.elapsed()), times))
}

fn row(directory: &Path, measure: impl Fn(&Scratch, Layout) -> io::Result<f64>) -> io::Result<Row> {
    let one = |layout| measure(&Scratch::new(directory, layout)?, layout);
    Ok(Row {
        append: one(Layout::Append)?,
        allocated: one(Layout::Allocated)?,
        written: one(Layout::Written)?,
    })
}

pub fn measure(directory: &Path, step: Duration) -> io::Result<Disk> {
    let read = |bytes, depth| {
        let scratch = Scratch::new(directory, Layout::Written)?;
        parallel(&scratch, Layout::Written, bytes, depth, false, step)
    };
    Ok(Disk {
        write_64k_depth_8_gb_per_s: row(directory, |scratch, layout| {
            parallel(scratch, layout, 64 * KIB, 8, true, step)
        })?,
        write_4k_synced_p50_us: row(directory, |scratch, layout| {
            Ok(synced(scratch, layout, BLOCK, 1, step)?.1.at(0.5) as f64 / 1e3)
        })?,
        write_8_of_64k_then_sync_gb_per_s: row(directory, |scratch, layout| {
            Ok(synced(scratch, layout, 64 * KIB, GROUP, step)?.0)
        })?,
        write_1m_synced_gb_per_s: row(directory, |scratch, layout| {
            Ok(synced(scratch, layout, MIB, 1, step)?.0)
        })?,
        read_1m_depth_4_gb_per_s: read(MIB, 4)?,
        read_128k_depth_8_gb_per_s: read(128 * KIB, 8)?,
    })
}
