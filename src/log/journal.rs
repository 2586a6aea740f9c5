//! The shard's group commit: frames, groups, the ring of files.
//!
//! An append copies its batch behind a frame header into the *gathering* group; while one group is being
//! written the next gathers, and an append that finds nothing under way is written in the same turn. A
//! group is one write of whole blocks (layout: `format.rs`).
//!
//! **When a group is durable.** If one of its frames must be, it is written with [`Sync::Data`], provided
//! that everything before it is durable; else with [`Sync::DataAndEarlier`]. The distinction is the
//! point: a synced write says nothing of earlier unsynced ones, and replay stops at the first hole. A
//! group without such a frame is written unsynced; `run_flushes` syncs after `flush_interval`, after
//! [`UNFLUSHED_BYTES_MAX`], or when asked. Before the journal goes on in another file, what the old one
//! holds is synced: no sync ever has to cover two files.
//!
//! **The ring.** A file is `journal.<slot>`, always of full length. When a group does not fit into what is
//! left, the journal goes on at the start of a file whose frames nobody needs: all of them are below the
//! replay position of the *older* of the two checkpoints, so that losing the newer one to damage loses
//! no batch. Replay finds the next file by the sequence of its first frame. Old frames in it have lower
//! sequences, those of earlier starts another `journal_id`: neither is ever taken for a new one.
//!
//! **Extents.** The bytes of a large append do not pass through here: the log's settling writes them to the
//! segment at once (`settle.rs`), and the group gets a frame that says where they are. Such a group counts
//! as written when its own write *and* those blocks are, and as durable when both are synced (`commit.rs`);
//! only then can a later frame's `durable_end` pass it, so that replay can tell a torn extent from a damaged
//! one. Batches of the same log that follow in the same group join its extent, whatever their size: one frame
//! and one partial block per log and group. A group's extents become frames when it is closed, behind its
//! other frames; what must not overtake them closes it: a command, a batch that cannot join, a
//! checkpoint's picture.
//!
//! **The last frames.** A frame that was damaged is told from one that was never written by a later frame that
//! knew it as durable. Once nothing follows for a flush interval, a frame is written that only says so, and to
//! which offsets the logs had come (`vouch.rs`); then another one, so that two blocks that change places do not
//! take the last batch and its only witness.
//!
//! A failed write or sync is never retried: nobody knows what is on the disk (the caller fences).

use std::{collections::VecDeque, ops::Range, rc::Rc};

use bytes::Bytes;

use crate::{
    io::{
        buffer::{AlignedBuffer, BLOCK, block_end, block_start},
        disk::{DiskFile, Sync},
    },
    log::{
        LogId, Parts,
        format::{Extent, FRAME_ALIGNMENT, FRAME_HEADER_BYTES, Frame, FrameKind, frame_bytes},
    },
    model::Offset,
};

/// Written bytes that wait for a sync before one is started regardless of time.
pub const UNFLUSHED_BYTES_MAX: u64 = 1 << 20;
/// Empty group buffers, and lists of notes, kept for reuse.
const POOLED_MAX: usize = 4;
/// Frames that vouch for the last ones.
const VOUCHES: u32 = 2;
/// How far ahead of the write position a file is written with zeros.
const PREWRITE_AHEAD: u64 = 16 << 20;
/// Most zeros written at once.
const PREWRITE_STEP_MAX: u64 = 1 << 20;

/// The last frame of a log within one group: who, and the offset after it.
pub(super) type Note = (LogId, Offset);

/// Segment bytes that must be written, and synced, before a group counts as that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) log: LogId,
    pub(super) segment: Offset,
    /// Blocks of the segment below this position.
    pub(super) end: u64,
}

/// Where a batch lies in its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) segment: Offset,
    pub(super) position: u64,
}

/// Room that the frame of an extent may take.
const EXTENT_FRAME_BYTES_MAX: usize = frame_bytes(Extent::BYTES + BLOCK);

/// Batches of one log that go to their segment at once. Its frame is made when the group is closed.
struct OpenExtent {
    log: LogId,
    frame: Frame,
    place: Place,
    /// Where the next batch of the log goes.
    end: u64,
    /// CRC-32C from the start of the first block to `end`.
    crc: u32,
    /// What lies in the last block, as far as it belongs to this extent.
    partial: Vec<u8>,
}

impl OpenExtent {
    fn add(&mut self, batch: Parts<'_>) {
        for part in batch {
            self.crc = crc32c::crc32c_append(self.crc, part);
            let end = self.end + part.len() as u64;
            let block = block_start(end);
            if block >= self.end {
                self.partial.clear();
                self.partial.extend_from_slice(&part[(block - self.end) as usize..]);
            } else {
                self.partial.extend_from_slice(part);
            }
            self.end = end;
        }
    }

    fn mark(&self) -> Mark {
        Mark { log: self.log, segment: self.place.segment, end: block_start(self.end) }
    }

    fn payload(&self) -> Vec<u8> {
        let position = block_start(self.place.position);
        let extent = Extent {
            segment: self.place.segment,
            position,
            length: block_start(self.end) - position,
            head: (self.place.position - position) as u32,
            crc: self.crc,
        };
        let mut payload = extent.to_bytes().to_vec();
        payload.extend_from_slice(&self.partial);
        payload
    }
}

/// Frames that become one write.
struct Group {
    buffer: AlignedBuffer,
    frames: Frames,
    extents: Vec<OpenExtent>,
}

impl Group {
    /// Room for frames beside those that its extents will need.
    fn free(&self) -> usize {
        self.buffer.free().saturating_sub(self.extents.len() * EXTENT_FRAME_BYTES_MAX)
    }
}

/// What is to be told once a group has been written.
#[derive(Default)]
pub(super) struct Frames {
    notes: Vec<Note>,
    first_sequence: u64,
    end_sequence: u64,
    durable: bool,
    bytes: u64,
    marks: Vec<Mark>,
    /// Bytes of batches in extents.
    extent_bytes: u64,
    /// Bytes of batches.
    batch_bytes: u64,
}

impl Frames {
    /// What must be in segments before the group counts as written.
    pub(super) fn marks(&self) -> &[Mark] {
        &self.marks
    }

    /// Bytes of the batches that the group is about.
    pub(super) fn batch_bytes(&self) -> u64 {
        self.batch_bytes
    }
}

/// Groups that were written and wait for a sync.
struct Unsynced {
    end_sequence: u64,
    notes: Vec<Note>,
    marks: Vec<Mark>,
}

/// One file of the ring.
struct JournalFile {
    slot: u32,
    file: Rc<dyn DiskFile>,
    /// All frames in it are below this sequence.
    end_sequence: u64,
    /// Blocks below this have been written at least once.
    prewritten: u64,
    /// Zeros under way.
    zeroing: Option<Range<u64>>,
}

/// Where replay starts: the first frame there has `sequence`, unless the journal went on in another file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReplayFrom {
    /// None while the journal has no file yet.
    pub(super) slot: Option<u32>,
    pub(super) position: u64,
    pub(super) sequence: u64,
}

/// How the commit loop gets room for a group.
pub(super) enum Room {
    /// In the current file.
    Here,
    /// The current file is full; it holds unsynced frames.
    AfterSync(Rc<dyn DiskFile>),
    /// A file must be added: this slot.
    NewFile(u32),
    /// Every file is needed: a checkpoint has to free one.
    None,
}

pub(super) struct Journal {
    pub(super) id: u64,
    group_bytes_max: usize,
    file_bytes: u64,
    files_max: u32,
    gathering: Option<Group>,
    full: VecDeque<Group>,
    buffers: Vec<AlignedBuffer>,
    note_lists: Vec<Vec<Note>>,
    /// Sequence of the next frame.
    pub(super) next_sequence: u64,
    /// Frames at the end that only vouch for those before.
    vouches: u32,
    /// Every frame below has been written.
    pub(super) written_end: u64,
    /// Every frame below is on stable storage.
    pub(super) durable_end: u64,
    files: Vec<JournalFile>,
    current: Option<usize>,
    position: u64,
    /// Frames from here on are needed for recovery.
    needed_from: u64,
    unsynced: VecDeque<Unsynced>,
    pub(super) unsynced_bytes: u64,
    pub(super) unsynced_since_ms: u64,
    /// Bytes of frames not yet written.
    pub(super) queued_bytes: u64,
    /// A file is being added.
    adding: Option<u32>,
}

impl Journal {
    pub(super) fn new(id: u64, group_bytes_max: usize, file_bytes: u64, files_max: u32) -> Self {
        Self {
            id,
            group_bytes_max,
            file_bytes,
            files_max,
            gathering: None,
            full: VecDeque::new(),
            buffers: Vec::new(),
            note_lists: Vec::new(),
            next_sequence: 1,
            vouches: VOUCHES,
            written_end: 1,
            durable_end: 1,
            files: Vec::new(),
            current: None,
            position: 0,
            needed_from: 1,
            unsynced: VecDeque::new(),
            unsynced_bytes: 0,
            unsynced_since_ms: 0,
            queued_bytes: 0,
            adding: None,
        }
    }

    /// Largest batch that fits into a file.
    pub(super) fn batch_bytes_max(&self) -> usize {
        self.file_bytes as usize - frame_bytes(0)
    }

    /// Adds a frame to the gathering group and says its sequence. `frame` says what only the caller knows.
    pub(super) fn append(&mut self, log: LogId, frame: Frame, batch: Parts<'_>, durable: bool) -> u64 {
        let length = batch[0].len() + batch[1].len();
        let bytes = frame_bytes(length);
        let is_batch = frame.kind == Some(FrameKind::Batch);
        let is_late = |group: &Group| group.extents.iter().any(|extent| !is_batch || extent.log == log);
        if self.gathering.as_ref().is_some_and(|group| group.free() < bytes || is_late(group)) {
            self.close_group();
        }
        let mut group = self.gathering.take().unwrap_or_else(|| self.new_group(bytes));
        let sequence = self.push_frame(&mut group, frame, batch);
        let frames = &mut group.frames;
        // What a batch adds is told to its log; a command is waited for by its sequence.
        match frames.notes.last_mut() {
            _ if !is_batch => {}
            Some(last) if last.0 == log => last.1 = frame.next_offset,
            _ => frames.notes.push((log, frame.next_offset)),
        }
        frames.durable |= durable;
        frames.batch_bytes += length as u64;
        self.gathering = Some(group);
        sequence
    }

    /// Whether the last frames are durable and no frame says so: were one of them damaged, replay would take it
    /// for one that was never written.
    pub(super) fn wants_vouch(&self) -> bool {
        self.is_idle() && self.durable_end == self.next_sequence && self.vouches < VOUCHES
    }

    /// Adds a frame that says how much is durable, and where logs end.
    pub(super) fn vouch(&mut self, ends: &[u8]) {
        let mut group = self.gathering.take().unwrap_or_else(|| self.new_group(frame_bytes(ends.len())));
        self.push_frame(&mut group, Frame::vouch(), [ends, &[]]);
        self.gathering = Some(group);
    }

    /// Whether the gathering group holds an extent that a batch of this log, with these ends, joins.
    pub(super) fn extends(&self, log: LogId, place: Place) -> bool {
        let is_next =
            |e: &OpenExtent| e.log == log && e.place.segment == place.segment && e.end == place.position;
        self.gathering.as_ref().is_some_and(|group| group.extents.iter().any(is_next))
    }

    /// Adds a batch whose bytes go to its segment at once. `head` is what its first block holds before it.
    pub(super) fn append_extent(
        &mut self,
        log: LogId,
        frame: Frame,
        place: Place,
        head: impl FnOnce() -> Vec<Bytes>,
        batch: Parts<'_>,
        durable: bool,
    ) {
        let joins = self.extends(log, place);
        let is_late = |group: &Group| group.extents.iter().any(|extent| extent.log == log);
        if !joins && self.gathering.as_ref().is_some_and(|g| g.free() < EXTENT_FRAME_BYTES_MAX || is_late(g))
        {
            self.close_group();
        }
        let mut group = self.gathering.take().unwrap_or_else(|| self.new_group(EXTENT_FRAME_BYTES_MAX));
        if !joins {
            let crc = head().iter().fold(0, |crc, slice| crc32c::crc32c_append(crc, slice));
            let (end, partial) = (place.position, Vec::new());
            group.extents.push(OpenExtent { log, frame, place, end, crc, partial });
        }
        let extent =
            group.extents.iter_mut().find(|extent| extent.log == log).expect("pushed if it was not there");
        extent.add(batch);
        extent.frame.next_offset = frame.next_offset;
        let bytes = (batch[0].len() + batch[1].len()) as u64;
        group.frames.durable |= durable;
        group.frames.extent_bytes += bytes;
        group.frames.batch_bytes += bytes;
        let is_full = group.frames.extent_bytes >= self.group_bytes_max as u64;
        self.gathering = Some(group);
        if is_full {
            self.close_group();
        }
    }

    fn new_group(&mut self, bytes: usize) -> Group {
        let bytes_max = self.group_bytes_max.max(bytes);
        let pooled = self.buffers.pop_if(|buffer| buffer.capacity() >= bytes);
        let buffer = pooled.unwrap_or_else(|| AlignedBuffer::with_capacity(bytes_max));
        let notes = self.note_lists.pop().unwrap_or_default();
        let frames = Frames { notes, first_sequence: self.next_sequence, ..Frames::default() };
        Group { buffer, frames, extents: Vec::new() }
    }

    fn push_frame(&mut self, group: &mut Group, mut frame: Frame, payload: Parts<'_>) -> u64 {
        let length = payload[0].len() + payload[1].len();
        let bytes = frame_bytes(length);
        let sequence = self.next_sequence;
        frame.journal_id = self.id;
        frame.sequence = sequence;
        frame.durable_end = self.durable_end;
        self.vouches = if frame.kind == Some(FrameKind::Vouch) { self.vouches + 1 } else { 0 };
        frame.payload_length = length;
        frame.payload_crc = crc32c::crc32c_append(crc32c::crc32c(payload[0]), payload[1]);
        group.buffer.extend(&frame.to_bytes());
        group.buffer.extend(payload[0]);
        group.buffer.extend(payload[1]);
        group.buffer.extend(&[0; FRAME_ALIGNMENT][..bytes - FRAME_HEADER_BYTES - length]);
        group.frames.end_sequence = sequence + 1;
        group.frames.bytes += bytes as u64;
        self.next_sequence = sequence + 1;
        self.queued_bytes += bytes as u64;
        sequence
    }

    /// Nothing more joins the gathering group: its extents become frames.
    pub(super) fn close_group(&mut self) {
        let Some(mut group) = self.gathering.take() else { return };
        for extent in std::mem::take(&mut group.extents) {
            let payload = extent.payload();
            self.push_frame(&mut group, extent.frame, [&payload, &[]]);
            group.frames.notes.push((extent.log, extent.frame.next_offset));
            group.frames.marks.push(extent.mark());
        }
        self.full.push_back(group);
    }

    /// The next group to be written, as whole blocks.
    pub(super) fn take_group(&mut self) -> Option<(Frames, AlignedBuffer)> {
        if self.full.is_empty() {
            self.close_group();
        }
        let mut group = self.full.pop_front()?;
        group.buffer.pad_to_block();
        Some((group.frames, group.buffer))
    }

    /// Finds room for `bytes`, and makes a file current that has it if there is a free one.
    pub(super) fn find_room(&mut self, bytes: u64) -> Room {
        if self.current.is_some() && self.position + bytes <= self.file_bytes {
            return Room::Here;
        }
        if let Some(current) = self.current {
            let file = &mut self.files[current];
            file.end_sequence = self.written_end;
            if self.durable_end < self.written_end {
                return Room::AfterSync(file.file.clone());
            }
        }
        let needed_from = self.needed_from;
        let is_free = |&at: &usize| {
            let file = &self.files[at];
            Some(at) != self.current && file.end_sequence <= needed_from
        };
        // Of the free ones the file most of which has been written before: those blocks are the cheapest.
        match (0..self.files.len()).filter(is_free).max_by_key(|&at| self.files[at].prewritten) {
            Some(free) => {
                self.current = Some(free);
                self.position = 0;
                Room::Here
            }
            None => self.new_slot().map_or(Room::None, Room::NewFile),
        }
    }

    /// A slot for one more file; [`Journal::add_file`] or [`Journal::not_added`] follows.
    pub(super) fn new_slot(&mut self) -> Option<u32> {
        let taken = |slot: &u32| self.files.iter().any(|file| file.slot == *slot);
        let may_add = self.adding.is_none() && self.files.len() < self.files_max as usize;
        self.adding = if may_add { (0..self.files_max).find(|slot| !taken(slot)) } else { return None };
        self.adding
    }

    /// A file could not be added.
    pub(super) fn not_added(&mut self) {
        self.adding = None;
    }

    /// Adds a file of full length; `prewritten` says how much of it has been written before.
    pub(super) fn add_file(&mut self, slot: u32, file: Rc<dyn DiskFile>, prewritten: u64) {
        self.adding = None;
        self.files.push(JournalFile { slot, file, end_sequence: 0, prewritten, zeroing: None });
    }

    pub(super) fn file_count(&self) -> usize {
        self.files.len()
    }

    /// Where and how a group goes; `None` while zeros are being written to the same place.
    pub(super) fn place(&mut self, frames: &Frames, bytes: u64) -> Option<(Rc<dyn DiskFile>, u64, Sync)> {
        let file = &mut self.files[self.current?];
        let end = self.position + bytes;
        if file.zeroing.as_ref().is_some_and(|zeros| zeros.start < end && self.position < zeros.end) {
            return None;
        }
        // From here on no zeros are begun below `end`.
        file.prewritten = file.prewritten.max(end);
        let sync = match (frames.durable, self.durable_end == frames.first_sequence) {
            (false, _) => Sync::None,
            (true, true) => Sync::Data,
            (true, false) => Sync::DataAndEarlier,
        };
        Some((file.file.clone(), self.position, sync))
    }

    /// A group has been written. Hands out its notes, and those that became durable with it.
    pub(super) fn written(
        &mut self,
        frames: Frames,
        bytes: u64,
        sync: Sync,
        now_ms: u64,
        mut note: impl FnMut(&[Note], bool),
    ) {
        self.position += bytes;
        self.written_end = frames.end_sequence;
        self.queued_bytes -= frames.bytes;
        note(&frames.notes, false);
        if self.unsynced_bytes == 0 {
            self.unsynced_since_ms = now_ms;
        }
        self.unsynced_bytes += bytes + frames.extent_bytes;
        let Frames { end_sequence, notes, marks, .. } = frames;
        self.unsynced.push_back(Unsynced { end_sequence, notes, marks });
        if sync != Sync::None {
            self.synced(end_sequence, note);
        }
    }

    /// Segment bytes that written frames below `end` speak of, and that may not be durable yet.
    pub(super) fn unsynced_marks(&self, end: u64) -> Vec<Mark> {
        let below = self.unsynced.iter().take_while(|waiting| waiting.end_sequence <= end);
        below.flat_map(|waiting| waiting.marks.iter().copied()).collect()
    }

    /// Takes a group's memory back.
    pub(super) fn recycle(&mut self, mut buffer: AlignedBuffer) {
        if self.buffers.len() < POOLED_MAX && buffer.capacity() <= self.group_bytes_max {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }

    /// Every frame below `end` is durable. Hands out the notes of those that were waiting.
    pub(super) fn synced(&mut self, end: u64, mut note: impl FnMut(&[Note], bool)) {
        self.durable_end = self.durable_end.max(end);
        while self.unsynced.front().is_some_and(|waiting| waiting.end_sequence <= end)
            && let Some(waiting) = self.unsynced.pop_front()
        {
            note(&waiting.notes, true);
            if self.note_lists.len() < POOLED_MAX {
                let mut notes = waiting.notes;
                notes.clear();
                self.note_lists.push(notes);
            }
        }
        if self.unsynced.is_empty() {
            self.unsynced_bytes = 0;
        }
    }

    /// The file that holds unsynced frames, and the sequence below which a sync of it makes them durable.
    pub(super) fn to_sync(&self) -> Option<(Rc<dyn DiskFile>, u64)> {
        (self.durable_end < self.written_end).then(|| {
            (self.files[self.current.expect("written frames lie in a file")].file.clone(), self.written_end)
        })
    }

    /// A sync has begun: bytes written from now on count for the next one.
    pub(super) fn sync_begins(&mut self, now_ms: u64) {
        self.unsynced_bytes = 0;
        self.unsynced_since_ms = now_ms;
    }

    /// Where the next group to be written goes, if the file has room for it.
    pub(super) fn replay_from(&self) -> ReplayFrom {
        ReplayFrom {
            slot: self.current.map(|at| self.files[at].slot),
            position: self.position,
            sequence: self.written_end,
        }
    }

    /// Two checkpoints are durable, the older of which needs frames from `sequence` on.
    pub(super) fn release_before(&mut self, sequence: u64) {
        self.needed_from = self.needed_from.max(sequence);
    }

    /// Slot of a file to be added, if more than half of the current one is used and no other is free.
    pub(super) fn wants_spare(&mut self) -> Option<u32> {
        let half_used = self.position > self.file_bytes / 2;
        let current = self.current.filter(|_| half_used)?;
        let is_free =
            |(at, file): (usize, &JournalFile)| at != current && file.end_sequence <= self.needed_from;
        if self.files.iter().enumerate().any(is_free) { None } else { self.new_slot() }
    }

    /// Zeros to be written now: a stretch of the current file ahead of the write position, else the start of
    /// a free file that is needed soon. Ends with [`Journal::zeroed`].
    pub(super) fn next_zeros(&mut self) -> Option<(u32, Rc<dyn DiskFile>, Range<u64>)> {
        let current = self.current?;
        let (position, needed_from, length) = (self.position, self.needed_from, self.file_bytes);
        let step = block_end((length / 16).min(PREWRITE_STEP_MAX));
        let soon = position > length / 2;
        let is_free =
            |(at, file): &(usize, &mut JournalFile)| *at != current && file.end_sequence <= needed_from;
        let spare = self.files.iter_mut().enumerate().filter(|_| soon).find(is_free).map(|(at, _)| at);
        for (at, from) in [(Some(current), position + 2 * step), (spare, 0)] {
            let Some(file) = at.map(|at| &mut self.files[at]) else { continue };
            // Close behind the write position it would only be in the way.
            let start = file.prewritten.max(block_start(from));
            let end = (start + step).min(length).min(from + PREWRITE_AHEAD);
            if start < end && file.zeroing.is_none() {
                file.prewritten = end;
                file.zeroing = Some(start..end);
                return Some((file.slot, file.file.clone(), start..end));
            }
        }
        None
    }

    pub(super) fn zeroed(&mut self, slot: u32) {
        if let Some(file) = self.files.iter_mut().find(|file| file.slot == slot) {
            file.zeroing = None;
        }
    }

    /// All files there may be are there, and none is free.
    pub(super) fn is_short_of_files(&self) -> bool {
        let is_free = |(at, file): (usize, &JournalFile)| {
            Some(at) != self.current && file.end_sequence <= self.needed_from
        };
        self.files.len() >= self.files_max as usize && !self.files.iter().enumerate().any(is_free)
    }

    /// Nothing is gathered or queued.
    pub(super) fn is_idle(&self) -> bool {
        self.gathering.is_none() && self.written_end == self.next_sequence
    }
}
