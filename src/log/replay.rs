//! Reads a journal back, frame by frame, in sequence order.
//!
//! The next frame starts right behind the last one, or at the next block (a new group), or at the start of
//! another file of the ring. Where none of these has it, the journal ends, or it is damaged: see [`Next`].

use std::{io, path::Path, rc::Rc};

use crate::{
    io::{
        buffer::{AlignedBuffer, block_end, block_start},
        disk::{Disk, DiskFile, Open},
    },
    log::{
        files::read_blocks,
        format::{FRAME_ALIGNMENT, FRAME_HEADER_BYTES, Frame, journal_name, slot_in_name},
        journal::ReplayFrom,
    },
};

/// Read at once, in bytes.
const WINDOW_BYTES: u64 = 1 << 20;

/// What comes next in the journal.
pub(super) enum Next {
    /// A frame; its payload is [`Replay::payload`].
    Frame(Frame),
    /// Frames that had been durable cannot be read: a later one says so. Replay goes on behind them.
    Lost {
        /// The first of them, if at least its header can be read.
        frame: Option<Frame>,
        /// How many.
        count: u64,
    },
    /// Nothing durable follows.
    End {
        /// Something followed that was not durable: it is cut off.
        torn: bool,
    },
}

struct Ring {
    slot: u32,
    file: Rc<dyn DiskFile>,
    length: u64,
}

/// A journal being read.
pub(super) struct Replay {
    files: Vec<Ring>,
    journal_id: u64,
    expected: u64,
    file: usize,
    position: u64,
    window: (usize, u64, AlignedBuffer),
    payload: (u64, usize),
}

/// A place in the ring: index of the file, position in it.
type Place = (usize, u64);

impl Replay {
    /// Opens the journal in a shard's directory. `None` if the file where replay starts is missing.
    pub(super) async fn open(
        disk: &dyn Disk,
        directory: &Path,
        journal_id: u64,
        from: ReplayFrom,
    ) -> io::Result<Option<Self>> {
        let mut files = Vec::new();
        for name in disk.list(directory).await? {
            let Some(slot) = slot_in_name(&name) else { continue };
            let file = disk.open(&directory.join(journal_name(slot)), Open::Existing).await?;
            let length = file.length().await?;
            files.push(Ring { slot, file, length });
        }
        files.sort_by_key(|ring| ring.slot);
        let start = files.iter().position(|ring| Some(ring.slot) == from.slot);
        if from.slot.is_some() && start.is_none() {
            return Ok(None);
        }
        let window = (usize::MAX, 0, AlignedBuffer::with_capacity(1));
        Ok(Some(Self {
            files,
            journal_id,
            expected: from.sequence,
            file: start.unwrap_or(0),
            position: from.position,
            window,
            payload: (0, 0),
        }))
    }

    /// The name of a file that frames were written to and that is shorter than it was made, if there is one. One
    /// that is short and empty was being added when the process ended.
    pub(super) async fn cut_short(
        &mut self,
        from: ReplayFrom,
        file_bytes: u64,
    ) -> io::Result<Option<String>> {
        for at in 0..self.files.len() {
            let is_short = self.files[at].length < file_bytes;
            let is_first = from.slot == Some(self.files[at].slot);
            if is_short && (is_first || self.frame_at((at, 0)).await?.is_some()) {
                return Ok(Some(journal_name(self.files[at].slot)));
            }
        }
        Ok(None)
    }

    /// Goes one frame further.
    pub(super) async fn next(&mut self) -> io::Result<Next> {
        let here = [(self.file, self.position), (self.file, block_end(self.position))];
        let heads = (0..self.files.len()).map(|file| (file, 0));
        let mut broken = None;
        for place in here.into_iter().chain(heads) {
            let Some(frame) = self.frame_at(place).await? else { continue };
            if frame.sequence != self.expected {
                continue;
            }
            if self.payload_matches(place, &frame).await? {
                (self.file, self.position) = (place.0, place.1 + frame.stride() as u64);
                self.expected += 1;
                return Ok(Next::Frame(frame));
            }
            broken = Some((place, frame));
        }
        self.end_or_lost(broken).await
    }

    /// The payload of the frame that [`Replay::next`] returned last.
    pub(super) fn payload(&self) -> &[u8] {
        let (position, length) = self.payload;
        if length == 0 {
            return &[];
        }
        let start = (position - self.window.1) as usize;
        &self.window.2[start..start + length]
    }

    /// Whether a later frame knew the one that [`Replay::next`] returned last as durable. Its payload is gone
    /// after this.
    pub(super) async fn is_known_durable(&mut self) -> io::Result<bool> {
        let later = self.later_frames(self.file, self.position).await?;
        Ok(later.iter().any(|(_, frame)| frame.durable_end >= self.expected))
    }

    /// Frames with the expected sequence or a later one: behind a place, and in files that start with one.
    async fn later_frames(&mut self, start_file: usize, start: u64) -> io::Result<Vec<(Place, Frame)>> {
        let mut later = Vec::new();
        if start_file < self.files.len() {
            self.scan(start_file, start, &mut later).await?;
        }
        for file in (0..self.files.len()).filter(|&file| file != start_file) {
            if self.frame_at((file, 0)).await?.is_some_and(|head| head.sequence >= self.expected) {
                self.scan(file, 0, &mut later).await?;
            }
        }
        Ok(later)
    }

    /// There is no sound frame with the expected sequence: looks for one that was written after it.
    async fn end_or_lost(&mut self, broken: Option<(Place, Frame)>) -> io::Result<Next> {
        let start = broken.map_or(self.position, |((_, position), frame)| position + frame.stride() as u64);
        let start_file = broken.map_or(self.file, |((file, _), _)| file);
        let mut later = self.later_frames(start_file, start).await?;
        // The broken one may be found again, from the start of its file.
        later.retain(|(_, frame)| frame.sequence > self.expected);
        let durable_end = later.iter().map(|(_, frame)| frame.durable_end).max().unwrap_or(0);
        if durable_end <= self.expected {
            return Ok(Next::End { torn: broken.is_some() || !later.is_empty() });
        }
        let first = later.iter().min_by_key(|(_, frame)| frame.sequence);
        let Some(&((file, position), next)) = first else { return Ok(Next::End { torn: true }) };
        let count = next.sequence - self.expected;
        (self.file, self.position, self.expected) = (file, position, next.sequence);
        Ok(Next::Lost { frame: broken.map(|(_, frame)| frame), count })
    }

    /// Collects the headers of frames behind the expected one.
    async fn scan(&mut self, file: usize, start: u64, later: &mut Vec<(Place, Frame)>) -> io::Result<()> {
        let mut at = start.next_multiple_of(FRAME_ALIGNMENT as u64);
        while at + FRAME_HEADER_BYTES as u64 <= self.files[file].length {
            match self.frame_at((file, at)).await? {
                Some(frame) if frame.sequence >= self.expected => {
                    later.push(((file, at), frame));
                    at += frame.stride() as u64;
                }
                _ => at = self.next_magic(file, at + FRAME_ALIGNMENT as u64),
            }
        }
        Ok(())
    }

    /// The next place in the window that could be a frame, or the first behind it.
    fn next_magic(&self, file: usize, from: u64) -> u64 {
        let (window_file, start, bytes) = &self.window;
        let end = start + bytes.len() as u64;
        if *window_file != file || from < *start || from >= end {
            return from;
        }
        let rest = &bytes[(from - start) as usize..];
        let found = rest.chunks(FRAME_ALIGNMENT).position(Frame::may_start);
        from + (found.unwrap_or(rest.len().div_ceil(FRAME_ALIGNMENT)) * FRAME_ALIGNMENT) as u64
    }

    async fn frame_at(&mut self, (file, position): Place) -> io::Result<Option<Frame>> {
        let end = position + FRAME_HEADER_BYTES as u64;
        if self.files.get(file).is_none_or(|ring| end > ring.length) {
            return Ok(None);
        }
        let Some(bytes) = self.bytes(file, position, FRAME_HEADER_BYTES).await? else { return Ok(None) };
        Ok(Frame::parse(bytes).filter(|frame| frame.journal_id == self.journal_id))
    }

    async fn payload_matches(&mut self, (file, position): Place, frame: &Frame) -> io::Result<bool> {
        let start = position + FRAME_HEADER_BYTES as u64;
        self.payload = (start, frame.payload_length);
        let bytes = self.bytes(file, start, frame.payload_length).await?;
        Ok(bytes.is_some_and(|bytes| crc32c::crc32c(bytes) == frame.payload_crc))
    }

    /// A stretch of a file, through the window; `None` if the file ends before.
    async fn bytes(&mut self, file: usize, position: u64, length: usize) -> io::Result<Option<&[u8]>> {
        if length == 0 {
            return Ok(Some(&[]));
        }
        let end = position + length as u64;
        let ring = &self.files[file];
        if end > ring.length {
            return Ok(None);
        }
        let (window_file, start, buffer) = &self.window;
        let inside = *window_file == file && *start <= position && end <= start + buffer.len() as u64;
        if !inside {
            let until = end.max(position + WINDOW_BYTES).min(block_end(ring.length));
            let buffer = read_blocks(&*ring.file, position, until).await?;
            self.window = (file, block_start(position), buffer);
        }
        let (_, start, buffer) = &self.window;
        let from = (position - start) as usize;
        Ok(buffer.get(from..from + length))
    }
}
