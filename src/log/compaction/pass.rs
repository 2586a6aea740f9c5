//! One pass over one log: reads, decides beside the core, writes, and lets new segments take their place.
//!
//! It reads and writes in pieces of [`PIECE_BYTES`]; between two pieces it waits as long as the allowed rate
//! asks for, lets appends go first when they are held up, and looks whether it is still wanted. All work on
//! records (hashing, unpacking, packing) is done beside the core.

use std::{
    io,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{
    choice::{self, Candidate},
    cleaning::{Cleaning, Fault, Indexed, Output, Rules},
    key_map::KeyMap,
    replace::Replacement,
    writer::SegmentWriter,
};
use crate::{
    io::{
        buffer::{AlignedSlice, block_start},
        disk::{DiskFile, Open},
    },
    log::{
        LogError, LogId, Store,
        files::{file_name, read_blocks},
        index,
        partition_log::Sealed,
        sidecar::SpanCheck,
    },
    model::{Offset, TopicPartition},
};

/// Bytes read, and worked on, at once, unless one batch is larger.
const PIECE_BYTES: u64 = 256 * 1024;

/// Pause before each flush of a pass. A flush holds up those of appends that come with it: spaced, no append waits for
/// more than one.
const FLUSH_PAUSE: Duration = Duration::from_millis(8);

/// How often a pass looks whether appends are still held up.
const PRESSURE_LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Why a pass ended early. The log is as sound as before.
#[derive(Debug, thiserror::Error)]
pub(super) enum Interrupted {
    /// The log or the store is not there for it any more, or the segments have gone.
    #[error("no longer wanted")]
    Unwanted,
    #[error("no space left on the disk")]
    DiskFull,
    #[error("{segment}: {why}")]
    Damaged { segment: String, why: String },
    #[error("{0}")]
    Io(io::Error),
    #[error(transparent)]
    Log(#[from] LogError),
}

impl From<io::Error> for Interrupted {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull => Self::DiskFull,
            _ => Self::Io(error),
        }
    }
}

/// What a pass has done.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Done {
    pub(super) compacted_to: Offset,
    pub(super) keys: usize,
    pub(super) bytes_before: u64,
    pub(super) bytes_after: u64,
}

/// Reads a segment piece by piece.
struct Source {
    file: Rc<dyn DiskFile>,
    name: String,
    length: u64,
    position: u64,
    piece_bytes: u64,
    check: Option<SpanCheck>,
}

impl Source {
    async fn next(&self) -> Result<Option<AlignedSlice>, Interrupted> {
        if self.position >= self.length {
            return Ok(None);
        }
        let end = (self.position + self.piece_bytes).min(self.length);
        let from = block_start(self.position);
        let buffer = read_blocks(&*self.file, self.position, end).await?;
        let (first, last) = ((self.position - from) as usize, (end - from) as usize);
        if buffer.len() < last {
            return Err(self.damaged("it is shorter than it was"));
        }
        Ok(Some(buffer.freeze().slice(first..last)))
    }

    /// So many bytes of a piece were whole batches.
    fn advance(&mut self, read: usize, piece: &[u8]) -> Result<(), Interrupted> {
        if read > 0 {
            // What was read so far is of use only if the pass comes to its end.
            if self.check.as_mut().is_some_and(|check| !check.passes(&piece[..read])) {
                return Err(self.damaged("it does not match its checksums"));
            }
            (self.position, self.piece_bytes) = (self.position + read as u64, PIECE_BYTES);
            return Ok(());
        }
        let length = piece.get(8..12).and_then(|length| length.try_into().ok()).map(i32::from_be_bytes);
        let whole = length.and_then(|length| u64::try_from(length).ok()).map(|length| length + 12);
        match whole.filter(|&whole| whole > self.piece_bytes && self.position + whole <= self.length) {
            Some(whole) => self.piece_bytes = whole,
            None => return Err(self.damaged("a batch in it is cut off")),
        }
        Ok(())
    }

    fn damaged(&self, why: &str) -> Interrupted {
        Interrupted::Damaged { segment: self.name.clone(), why: why.to_owned() }
    }

    fn faulty(&self, fault: &Fault) -> Interrupted {
        self.damaged(&fault.to_string())
    }
}

/// Spreads the bytes of a pass over time.
struct Pace {
    bytes_per_second: u64,
    due_ms: f64,
}

impl Store {
    /// Compacts `candidate` of a log.
    pub(super) async fn compact_log(&self, id: LogId, candidate: &Candidate) -> Result<Done, Interrupted> {
        let options = &self.options.compaction;
        let partition = self.with_log(id, |log| log.partition)?;
        let mut pace = Pace { bytes_per_second: options.io_bytes_per_second.max(1), due_ms: 0.0 };
        self.sweep_leftovers(id, partition).await?;

        let last_offsets = self.observer.borrow().clone().map(|observer| observer.last_offsets(id));
        let rules = Rules {
            dirty: candidate.dirty.clone(),
            now_ms: self.clock.wall_ms(),
            delete_retention_ms: self.with_log(id, |log| log.settings.delete_retention_ms)?,
            last_offsets: Arc::new(last_offsets.unwrap_or_default()),
        };
        let keys = (rules.dirty.end.get() - rules.dirty.start.get()).unsigned_abs();
        let (bytes_max, seed) = (options.dedupe_buffer_bytes, self.options.journal_id);
        let begin = async |rules: Rules| {
            self.beside(move || Cleaning::new(rules, KeyMap::new(bytes_max, keys, seed))).await
        };

        let dirty = self.segments_within(id, rules.dirty.start, rules.dirty.end)?;
        let indexed = self.index(id, begin(rules.clone()).await?, &dirty, &mut pace).await?;
        let (mut cleaning, ended) = match indexed {
            (_, Some(Indexed::NeedsScan)) => {
                let scanned = self.scan(id, begin(rules).await?, &dirty, &mut pace).await?;
                self.index(id, scanned, &dirty, &mut pace).await?
            }
            indexed => indexed,
        };
        let compacted_to = cleaning.indexed(ended.is_some());
        let mut done = Done { compacted_to, keys: cleaning.keys(), ..Done::default() };
        if compacted_to <= candidate.dirty.start {
            return Ok(done);
        }

        let (segments, bytes_max) = self.with_log(id, |log| {
            let within = log.sealed.iter().filter(|segment| segment.base < compacted_to);
            let segments = within.map(|segment| (*segment, choice::segment_end(log, segment)));
            (segments.collect::<Vec<_>>(), log.settings.segment_bytes)
        })?;
        for group in choice::groups(&segments, bytes_max) {
            let rewritten = self.rewrite(id, partition, cleaning, &group, &mut pace).await;
            let _ = self.with_log(id, |log| log.being_written = None);
            let bytes_after;
            (cleaning, bytes_after) = rewritten?;
            done.bytes_before += group.iter().map(|segment| segment.length).sum::<u64>();
            done.bytes_after += bytes_after;
        }
        self.beside(move || drop(cleaning)).await?;
        self.with_log(id, |log| {
            log.compacted_to = log.compacted_to.max(compacted_to);
            log.dirty = true;
        })?;
        self.state.dirty.set(true);
        self.signals.checkpoint.notify();
        Ok(done)
    }

    fn segments_within(&self, id: LogId, start: Offset, end: Offset) -> Result<Vec<Sealed>, LogError> {
        self.with_log(id, |log| {
            let within = |segment: &&Sealed| segment.base < end && choice::segment_end(log, segment) > start;
            log.sealed.iter().filter(within).copied().collect()
        })
    }

    /// Notes keys until the segments, the range or the map end. `None`: the segments.
    async fn index(
        &self,
        id: LogId,
        mut cleaning: Cleaning,
        segments: &[Sealed],
        pace: &mut Pace,
    ) -> Result<(Cleaning, Option<Indexed>), Interrupted> {
        for segment in segments {
            let mut source = self.source(id, segment).await?;
            while let Some(piece) = source.next().await? {
                self.go_on(id, pace, piece.len()).await?;
                let (after, indexed, piece) = self
                    .beside(move || {
                        let indexed = cleaning.index(&piece);
                        (cleaning, indexed, piece)
                    })
                    .await?;
                cleaning = after;
                let (read, how) = indexed.map_err(|fault| source.faulty(&fault))?;
                if how != Indexed::Through {
                    return Ok((cleaning, Some(how)));
                }
                source.advance(read, &piece)?;
            }
        }
        Ok((cleaning, None))
    }

    /// Finds the aborted transactions of the dirty range.
    async fn scan(
        &self,
        id: LogId,
        mut cleaning: Cleaning,
        segments: &[Sealed],
        pace: &mut Pace,
    ) -> Result<Cleaning, Interrupted> {
        for segment in segments {
            let mut source = self.source(id, segment).await?;
            while let Some(piece) = source.next().await? {
                self.go_on(id, pace, piece.len()).await?;
                let (after, read, piece) = self
                    .beside(move || {
                        let read = cleaning.scan(&piece);
                        (cleaning, read, piece)
                    })
                    .await?;
                cleaning = after;
                let read = read.map_err(|fault| source.faulty(&fault))?;
                source.advance(read, &piece)?;
            }
        }
        cleaning.scanned();
        Ok(cleaning)
    }

    /// Writes what is kept of a group to a new segment, which takes the group's place.
    async fn rewrite(
        &self,
        id: LogId,
        partition: TopicPartition,
        mut cleaning: Cleaning,
        group: &[Sealed],
        pace: &mut Pace,
    ) -> Result<(Cleaning, u64), Interrupted> {
        let base = group[0].base;
        let version = group.iter().map(|segment| segment.version).max().unwrap_or(0) + 1;
        while self.with_log(id, |log| log.sweeping > 0)? {
            self.signals.settled.notified().await;
        }
        self.with_log(id, |log| log.being_written = Some((base, version)))?;
        let path = self.segment_path(partition, base, version);
        let former_bytes = group.iter().map(|segment| segment.length).sum();
        let result = async {
            let file = self.disk.open(&path, Open::OrCreate).await?;
            let mut writer = SegmentWriter::begin(file, base, former_bytes).await?;
            let mut changed = group.len() > 1;
            for segment in group {
                let mut source = self.source(id, segment).await?;
                while let Some(piece) = source.next().await? {
                    self.go_on(id, pace, piece.len()).await?;
                    let (after, read, output, piece) = self
                        .beside(move || {
                            let mut output = Output::default();
                            let read = cleaning.clean(&piece, &mut output);
                            (cleaning, read, output, piece)
                        })
                        .await?;
                    cleaning = after;
                    let read = read.map_err(|fault| source.faulty(&fault))?;
                    source.advance(read, &piece)?;
                    changed |= output.changed;
                    writer.write(&output.batches, &output.bytes).await?;
                    self.go_on(id, pace, output.bytes.len()).await?;
                }
            }
            if !changed {
                return Ok((cleaning, None));
            }
            self.before_flushes(id, pace, 1).await?;
            let former_max = group.iter().map(|segment| segment.max_timestamp).max().unwrap_or(-1);
            let (new, entries, spans) = writer.finish(base, version, former_max).await?;
            // Each of the two small files is flushed, and its directory, which has the segment too.
            self.before_flushes(id, pace, 2).await?;
            let index = self.index_path(partition, base, version);
            self.disk.write_small(&index, index::encode(base, &entries)).await?;
            self.before_flushes(id, pace, 2).await?;
            self.save_spans(partition, base, version, &spans).await?;
            self.before_flushes(id, pace, 1).await?;
            let old = group.iter().map(|segment| (segment.base, segment.version)).collect();
            if !self.replace(id, &Replacement { old, new }).await? {
                return Err(Interrupted::Unwanted);
            }
            Ok((cleaning, Some(new.length)))
        };
        match result.await {
            Ok((cleaning, Some(bytes))) => Ok((cleaning, bytes)),
            other => {
                // Not in use: unless it is removed here, the next sweep finds it.
                if self.version_of(id, base) != version {
                    let _ = self.disk.remove_file(&path).await;
                    let _ = self.disk.remove_file(&self.index_path(partition, base, version)).await;
                    let _ = self.disk.remove_file(&self.sidecar_path(partition, base, version)).await;
                }
                other.map(|(cleaning, _)| (cleaning, former_bytes))
            }
        }
    }

    async fn source(&self, id: LogId, segment: &Sealed) -> Result<Source, Interrupted> {
        let partition = self.with_log(id, |log| log.partition)?;
        let path = self.segment_path(partition, segment.base, segment.version);
        let file = self.disk.open(&path, Open::Existing).await?;
        let name = file_name(&path);
        let check = self.span_check(id, partition, segment.base).await?;
        Ok(Source { file, name, length: segment.length, position: 0, piece_bytes: PIECE_BYTES, check })
    }

    /// First timestamp of the first segment that a pass would compact, -1 for none.
    pub(super) async fn first_dirty_timestamp(
        &self,
        id: LogId,
        candidate: &Candidate,
    ) -> Result<i64, Interrupted> {
        let dirty = self.segments_within(id, candidate.dirty.start, candidate.dirty.end)?;
        let Some(first) = dirty.iter().find(|segment| segment.length > 0) else { return Ok(-1) };
        let source = self.source(id, first).await?;
        let header = Source { piece_bytes: 61, ..source }.next().await?;
        let timestamp = header.as_ref().and_then(|header| header.get(35..43)?.try_into().ok());
        Ok(timestamp.map_or(-1, i64::from_be_bytes))
    }

    /// Computes beside the core.
    async fn beside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let result = Arc::new(Mutex::new(None));
        let theirs = result.clone();
        let work = Box::new(move || {
            let done = work();
            *theirs.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
        });
        self.disk.compute(work).await?;
        let done = result.lock().unwrap_or_else(PoisonError::into_inner).take();
        done.ok_or_else(|| io::Error::other("a computation was given up"))
    }

    /// Waits until `bytes` more may be read or written; an error if the pass is no longer wanted.
    async fn go_on(&self, id: LogId, pace: &mut Pace, bytes: usize) -> Result<(), Interrupted> {
        let cost_ms = bytes as f64 * 1_000.0 / pace.bytes_per_second as f64;
        self.pause(id, pace, cost_ms).await
    }

    /// Waits until it is time for so many flushes one after the other; an error as before.
    async fn before_flushes(&self, id: LogId, pace: &mut Pace, flushes: u32) -> Result<(), Interrupted> {
        self.pause(id, pace, f64::from(flushes) * FLUSH_PAUSE.as_secs_f64() * 1_000.0).await
    }

    async fn pause(&self, id: LogId, pace: &mut Pace, cost_ms: f64) -> Result<(), Interrupted> {
        while self.under_pressure() {
            self.check_wanted(id)?;
            self.clock.sleep(PRESSURE_LOOK_INTERVAL).await;
        }
        let now_ms = self.clock.monotonic_ms() as f64;
        pace.due_ms = pace.due_ms.max(now_ms) + cost_ms;
        let wait_ms = pace.due_ms - now_ms;
        if wait_ms >= 1.0 {
            self.clock.sleep(Duration::from_micros((wait_ms * 1_000.0) as u64)).await;
        }
        self.check_wanted(id)
    }

    fn check_wanted(&self, id: LogId) -> Result<(), Interrupted> {
        let is_wanted = self.with_log(id, |log| !log.doomed && log.settings.cleanup_policy.compact)?;
        if !is_wanted || self.state.closing.get() || self.is_over() {
            return Err(Interrupted::Unwanted);
        }
        Ok(())
    }
}
