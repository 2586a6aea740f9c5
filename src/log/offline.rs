//! The logs of a stopped data directory, read without changing anything: for `corelane log`.
//!
//! What a start would use is what is looked at: the valid generation's checkpoints, the segments that they
//! name, up to where they vouch for them, and the journals from there on. Ordinary, buffered reads.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    ops::Range,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    log::{
        audit::Audit,
        checkpoint::{self, CHECKPOINT_BYTES_MAX},
        format::{
            BatchHead, Extent, FRAME_ALIGNMENT, FRAME_HEADER_BYTES, Frame, FrameKind, index_name,
            partition_directory, segment_name, shard_directory, sidecar_name, slot_in_name,
        },
        generation,
        index::{self, INDEX_FILE_BYTES_MAX},
        journal::ReplayFrom,
        sidecar::{SIDECAR_BYTES_MAX, Spans},
    },
    model::{Offset, TopicPartition, TopicSettings},
};

/// Largest journal file that is read, in bytes.
const JOURNAL_BYTES_MAX: u64 = 4 << 30;

/// A range of a file that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// Which bytes of it; empty if all of it, or its absence, is meant.
    pub bytes: Range<u64>,
    /// The partition whose records they are.
    pub partition: Option<TopicPartition>,
    /// Offsets that cannot be read for it, as far as they are known; empty if none is lost.
    pub offsets: Range<Offset>,
    /// What is wrong.
    pub what: String,
}

impl Damage {
    /// Of a file as a whole; no offset is lost by it.
    #[must_use]
    pub fn of_file(path: &Path, what: impl Into<String>) -> Self {
        let offsets = Offset::ZERO..Offset::ZERO;
        Self { path: path.to_path_buf(), bytes: 0..0, partition: None, offsets, what: what.into() }
    }
}

/// One segment, as far as a checkpoint vouches for it.
#[derive(Debug, Clone)]
pub struct OfflineSegment {
    /// Its file.
    pub path: PathBuf,
    /// Whose it is.
    pub partition: TopicPartition,
    /// Offset of its first record, or of what was there before compaction.
    pub base: Offset,
    /// Offset after its last record.
    pub end: Offset,
    /// Bytes in the file.
    pub length: u64,
    version: u32,
    /// Bytes that follow those in the file: the partial last block of an open segment, from the checkpoint.
    inline: Vec<u8>,
    /// Of an open segment, from the checkpoint.
    spans: Option<Spans>,
    is_sealed: bool,
}

/// The log of one partition.
#[derive(Debug, Clone)]
pub struct OfflineLog {
    /// Whose it is.
    pub partition: TopicPartition,
    /// First offset that can be read.
    pub log_start: Offset,
    /// Offset after the last record that a checkpoint knows; what follows is in the journal.
    pub end: Offset,
    /// Ascending by base offset.
    pub segments: Vec<OfflineSegment>,
    /// Batches that are in the journal only, in order.
    pub journaled: Vec<Vec<u8>>,
}

/// A frame of the journal, its file and position, and its payload if that is sound.
type Found = (Frame, PathBuf, u64, Option<Vec<u8>>);

/// What a data directory holds.
#[derive(Debug, Default)]
pub struct Survey {
    /// By partition.
    pub logs: Vec<OfflineLog>,
    /// What was found wrong so far: of generation, checkpoints and journals.
    pub damages: Vec<Damage>,
}

impl Survey {
    /// Reads the checkpoints and journals of a broker's data directories that nobody uses; the first of them says
    /// which generation is valid.
    #[must_use]
    pub fn of(all: &[PathBuf]) -> Self {
        let mut survey = Self::default();
        let Some(first) = all.first() else { return survey };
        let path = generation::current_path(first);
        let current = read_small(&path, 4096).map(|bytes| generation::Generation::parse(&bytes));
        let current = match current {
            Ok(Some(current)) => current,
            Ok(None) => {
                survey.damages.push(Damage::of_file(&path, "its checksum is wrong: no shard can be read"));
                return survey;
            }
            Err(error) => {
                survey.damages.push(Damage::of_file(&path, format!("{error}: no shard can be read")));
                return survey;
            }
        };
        let mut logs = BTreeMap::new();
        for shard in 0..current.shards {
            let directory = in_use(all.iter().map(|data| shard_directory(data, current.number, shard)));
            survey.read_shard(all, &directory, &mut logs);
        }
        survey.logs = logs.into_values().collect();
        survey
    }

    fn read_shard(
        &mut self,
        all: &[PathBuf],
        directory: &Path,
        logs: &mut BTreeMap<(String, i32), OfflineLog>,
    ) {
        let mut files = Vec::new();
        for name in checkpoint::FILES {
            let path = directory.join(name);
            match read_small(&path, CHECKPOINT_BYTES_MAX) {
                Ok(bytes) => match checkpoint::File::parse(bytes) {
                    Some(file) => files.push(file),
                    None => self.damages.push(Damage::of_file(&path, "its checksum is wrong")),
                },
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.damages.push(Damage::of_file(&path, error.to_string())),
            }
        }
        let Some(loaded) = checkpoint::Loaded::newest(files) else {
            self.damages
                .push(Damage::of_file(directory, "it has no checkpoint: its partitions cannot be read"));
            return;
        };
        let Some(entries) = loaded.entries() else {
            self.damages.push(Damage::of_file(directory, "an entry of its checkpoint cannot be read"));
            return;
        };
        for entry in entries {
            match offline_log(all, entry.bytes) {
                // A topic that was deleted may still stand in a checkpoint.
                Some(log) if directory_of(all, log.partition).exists() || log.end == log.log_start => {
                    logs.insert(key(log.partition), log);
                }
                Some(_) => {}
                None => self.damages.push(Damage {
                    partition: Some(entry.partition),
                    ..Damage::of_file(directory, "the partition's entry in the checkpoint cannot be read")
                }),
            }
        }
        let head = loaded.checkpoint;
        if !head.clean {
            self.read_journal(all, directory, head.journal_id, head.replay_from, logs);
        }
    }

    fn read_journal(
        &mut self,
        all: &[PathBuf],
        directory: &Path,
        journal_id: u64,
        from: ReplayFrom,
        logs: &mut BTreeMap<(String, i32), OfflineLog>,
    ) {
        let mut frames: BTreeMap<u64, Found> = BTreeMap::new();
        let names = fs::read_dir(directory).into_iter().flatten().flatten();
        let mut names: Vec<_> = names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        for path in names.iter().filter(|name| slot_in_name(name).is_some()).map(|name| directory.join(name))
        {
            let bytes = match fs::metadata(&path).and_then(|found| match found.len() {
                0..=JOURNAL_BYTES_MAX => fs::read(&path),
                _ => Err(io::ErrorKind::FileTooLarge.into()),
            }) {
                Ok(bytes) => bytes,
                Err(error) => {
                    self.damages.push(Damage::of_file(&path, error.to_string()));
                    continue;
                }
            };
            let mut at = 0;
            while at + FRAME_HEADER_BYTES <= bytes.len() {
                let found = Frame::may_start(&bytes[at..]).then(|| Frame::parse(&bytes[at..])).flatten();
                let Some(frame) = found.filter(|frame| frame.journal_id == journal_id) else {
                    at += FRAME_ALIGNMENT;
                    continue;
                };
                let payload =
                    bytes.get(at + FRAME_HEADER_BYTES..at + FRAME_HEADER_BYTES + frame.payload_length);
                let payload = payload.filter(|payload| crc32c::crc32c(payload) == frame.payload_crc);
                if frame.sequence >= from.sequence {
                    let payload = payload.map(<[u8]>::to_vec);
                    frames.insert(frame.sequence, (frame, path.clone(), at as u64, payload.clone()));
                }
                at += if payload.is_some() { frame.stride() } else { FRAME_ALIGNMENT };
            }
        }
        let durable = frames.values().map(|(frame, ..)| frame.durable_end).max().unwrap_or(from.sequence);
        let mut expected = from.sequence;
        for (sequence, (frame, path, at, payload)) in frames {
            if sequence > expected {
                if expected >= durable {
                    break;
                }
                let what = format!("frames {expected} to {} of the journal are missing", sequence - 1);
                self.damages.push(Damage::of_file(directory, what));
            }
            expected = sequence + 1;
            let batches = payload.and_then(|payload| journaled(all, &frame, payload));
            match batches {
                Some(batches) => {
                    // One that was made after the checkpoint is in the journal only.
                    let log = logs.entry(key(frame.partition)).or_insert_with(|| OfflineLog {
                        partition: frame.partition,
                        log_start: Offset::ZERO,
                        end: Offset::ZERO,
                        segments: Vec::new(),
                        journaled: Vec::new(),
                    });
                    if frame.base_offset >= log.end {
                        log.journaled.extend(batches);
                    }
                }
                None if sequence < durable => self.damages.push(Damage {
                    path,
                    bytes: at..at + frame.stride() as u64,
                    partition: Some(frame.partition),
                    offsets: frame.base_offset..frame.next_offset,
                    what: "a frame of the journal that was durable cannot be read".to_owned(),
                }),
                // The torn end: nobody was told that it is there.
                None => break,
            }
        }
        if expected < durable {
            let what = format!("frames {expected} to {} of the journal are missing", durable - 1);
            self.damages.push(Damage::of_file(directory, what));
        }
    }
}

fn key(partition: TopicPartition) -> (String, i32) {
    (partition.topic.to_string(), partition.partition.get())
}

/// Where a partition's files are.
fn directory_of(all: &[PathBuf], partition: TopicPartition) -> PathBuf {
    in_use(all.iter().map(|data| partition_directory(data, partition)))
}

/// The first of the directories with something in it, as a start finds it (`places.rs`); of those that are all empty
/// the first that is there. One that cannot be listed has something in it: who opens that will say why not.
fn in_use(places: impl Iterator<Item = PathBuf>) -> PathBuf {
    let (mut first, mut empty) = (None, None);
    for place in places {
        match fs::read_dir(&place).map(|mut names| names.next().is_none()) {
            Ok(true) => empty = empty.or(Some(place)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => first = first.or(Some(place)),
            _ => return place,
        }
    }
    empty.or(first).unwrap_or_default()
}

/// The batches of a frame; `None` if they cannot be read.
fn journaled(all: &[PathBuf], frame: &Frame, payload: Vec<u8>) -> Option<Vec<Vec<u8>>> {
    match frame.kind? {
        FrameKind::Batch => Some(vec![payload]),
        FrameKind::Extent => {
            let (extent, partial) = Extent::parse(&payload)?;
            let path = directory_of(all, frame.partition).join(segment_name(extent.segment, 0));
            let mut bytes = vec![0; usize::try_from(extent.length).ok()?];
            File::open(path).ok()?.read_exact_at(&mut bytes, extent.position).ok()?;
            bytes.extend_from_slice(partial);
            if crc32c::crc32c(&bytes) != extent.crc {
                return None;
            }
            let mut rest = bytes.get(extent.head as usize..)?;
            let mut batches = Vec::new();
            while !rest.is_empty() {
                let head = BatchHead::parse(rest.first_chunk()?)?;
                let (batch, after) = rest.split_at_checked(head.length)?;
                batches.push(batch.to_vec());
                rest = after;
            }
            Some(batches)
        }
        FrameKind::LogStart | FrameKind::Replaced | FrameKind::Vouch => Some(Vec::new()),
    }
}

fn offline_log(all: &[PathBuf], entry: &[u8]) -> Option<OfflineLog> {
    let log = checkpoint::decode_log(entry, Arc::new(TopicSettings::default()))?;
    let directory = directory_of(all, log.partition);
    let active = log.active();
    let inline = log.tail.slices(active.base, active.settled..active.end).concat();
    let mut segments: Vec<OfflineSegment> = log
        .segments()
        .map(|segment| OfflineSegment {
            path: directory.join(segment_name(segment.base, segment.version)),
            partition: log.partition,
            base: segment.base,
            end: log.next,
            length: segment.length,
            version: segment.version,
            inline: Vec::new(),
            spans: None,
            is_sealed: true,
        })
        .collect();
    let bases: Vec<Offset> = segments.iter().map(|segment| segment.base).collect();
    segments.iter_mut().zip(bases.into_iter().skip(1)).for_each(|(segment, next)| segment.end = next);
    if let Some(last) = segments.last_mut() {
        last.length = active.settled;
        last.inline = inline;
        last.spans = active.spans.clone();
        last.is_sealed = false;
    }
    let (partition, log_start, end) = (log.partition, log.log_start, log.next);
    Some(OfflineLog { partition, log_start, end, segments, journaled: Vec::new() })
}

impl OfflineSegment {
    /// Reads the whole segment, and compares it with its checksums and its batches with theirs. `batch` sees
    /// the sound ones, with their positions; `progress` hears of bytes read.
    ///
    /// # Errors
    /// The file can be opened and yet not be read.
    pub fn verify(
        &self,
        mut batch: impl FnMut(u64, &[u8]),
        mut progress: impl FnMut(u64),
    ) -> io::Result<Vec<Damage>> {
        let mut damages = Vec::new();
        let total = self.length + self.inline.len() as u64;
        if total == 0 {
            return Ok(damages);
        }
        let file = match File::open(&self.path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let spans = self.spans(&mut damages);
        let index_path = self.path.with_file_name(index_name(self.base, self.version));
        let index = read_small(&index_path, INDEX_FILE_BYTES_MAX);
        let entries = match index.as_ref().map(|bytes| index::decode(self.base, bytes)) {
            Ok(None) => {
                damages.push(Damage {
                    partition: Some(self.partition),
                    ..Damage::of_file(
                        &index_path,
                        "the index's checksum is wrong; it is made anew when needed",
                    )
                });
                Vec::new()
            }
            Ok(Some(entries)) => entries,
            Err(_) => Vec::new(),
        };
        let entries = entries.into_iter().filter(|entry| entry.position < total).collect();
        let mut audit = Audit::new(self.base, total, self.version > 0, entries);
        let mut found = Vec::new();
        while let Some(range) = audit.wants() {
            let bytes = self.read(file.as_ref(), range)?;
            progress(bytes.len() as u64);
            audit.look(&bytes, |sound, bytes| {
                found.push((sound.position, sound.head));
                batch(sound.position, bytes);
            });
        }
        let (mut ranges, seen) = audit.finish();
        if let Some(expected) = &spans {
            for at in 0..expected.count() {
                let (Some((known, range)), Some((now, _))) = (expected.get(at), seen.get(at)) else {
                    continue;
                };
                if known.crc != now.crc || known.is_damaged() {
                    ranges.push(range);
                }
            }
        }
        ranges.sort_by_key(|range| range.start);
        for range in merged(ranges) {
            let offsets = self.offsets_in(&range, &found);
            let what =
                if file.is_none() { "the file is missing" } else { "these bytes are not what was appended" };
            let (path, partition) = (self.path.clone(), Some(self.partition));
            damages.push(Damage { path, bytes: range, partition, offsets, what: what.to_owned() });
        }
        Ok(damages)
    }

    /// The offsets of batches with a byte in a range, from the sound ones around it.
    fn offsets_in(&self, range: &Range<u64>, found: &[(u64, BatchHead)]) -> Range<Offset> {
        let before = found.iter().rev().find(|(at, head)| at + head.length as u64 <= range.start);
        let after = found.iter().find(|(at, _)| *at >= range.end);
        before.map_or(self.base, |(_, head)| head.next)..after.map_or(self.end, |(_, head)| head.base)
    }

    fn spans(&self, damages: &mut Vec<Damage>) -> Option<Spans> {
        if !self.is_sealed {
            return self.spans.clone();
        }
        let path = self.path.with_file_name(sidecar_name(self.base, self.version));
        let bytes = read_small(&path, SIDECAR_BYTES_MAX).ok()?;
        let spans = Spans::decode(self.base, &bytes).filter(|spans| spans.length() == self.length);
        if spans.is_none() {
            damages.push(Damage {
                partition: Some(self.partition),
                ..Damage::of_file(
                    &path,
                    "the checksums' own checksum is wrong; they are made anew when needed",
                )
            });
        }
        spans
    }

    /// The bytes of a range, fewer if the file ends before.
    fn read(&self, file: Option<&File>, range: Range<u64>) -> io::Result<Vec<u8>> {
        let in_file = range.start.min(self.length)..range.end.min(self.length);
        let mut bytes = vec![0; (in_file.end - in_file.start) as usize];
        let mut filled = 0;
        while filled < bytes.len() {
            let Some(file) = file else { break };
            match file.read_at(&mut bytes[filled..], in_file.start + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if filled < bytes.len() {
            bytes.truncate(filled);
            return Ok(bytes);
        }
        let from = (range.start.max(self.length) - self.length) as usize;
        let to = (range.end.max(self.length) - self.length) as usize;
        bytes.extend_from_slice(&self.inline[from..to]);
        Ok(bytes)
    }
}

/// Ranges that touch become one.
fn merged(ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match merged.last_mut().filter(|last| range.start <= last.end) {
            Some(last) => last.end = last.end.max(range.end),
            None => merged.push(range),
        }
    }
    merged
}

fn read_small(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    if fs::metadata(path)?.len() > bytes_max as u64 {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is too large for what it should be"));
    }
    fs::read(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{PartitionIndex, TopicId};

    #[test]
    fn a_partition_is_read_where_it_has_files_and_not_from_an_empty_directory() {
        let directory = tempfile::tempdir().unwrap();
        let all = ["a", "b", "c"].map(|name| directory.path().join(name));
        let partition =
            TopicPartition { topic: TopicId::from_bytes([7; 16]), partition: PartitionIndex::new(3) };
        let places = all.clone().map(|data| partition_directory(&data, partition));
        assert_eq!(directory_of(&all, partition), places[0], "nowhere");
        fs::create_dir_all(&places[1]).unwrap();
        assert_eq!(directory_of(&all, partition), places[1], "all of it is in the journal");
        fs::create_dir_all(&places[2]).unwrap();
        fs::write(places[2].join(segment_name(Offset::ZERO, 0)), "x").unwrap();
        assert_eq!(directory_of(&all, partition), places[2]);
    }
}
