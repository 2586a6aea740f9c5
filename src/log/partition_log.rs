//! One partition's log as plain state: its segments, its memory tail, its offsets. No I/O.

use std::{collections::VecDeque, ops::Range, sync::Arc};

use bytes::Bytes;

use crate::{
    io::buffer::{block_end, block_start},
    log::{
        LogError, Parts,
        format::BatchHead,
        index::{Entry, INDEX_INTERVAL_BYTES, NO_TIMESTAMP},
        journal::Place,
        leader_epochs::LeaderEpochs,
        recovery::Recovered,
        sidecar::Spans,
        tail::Tail,
    },
    model::{LeaderEpoch, Offset, TopicPartition, TopicSettings},
};

/// A segment that is whole on disk, cut to its exact length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) base: Offset,
    pub(super) length: u64,
    pub(super) max_timestamp: i64,
    /// How often compaction has rewritten it; names its file.
    pub(super) version: u32,
}

/// A segment of which some bytes may be in memory only: the active one, or one rolled a moment ago.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) base: Offset,
    /// Bytes appended.
    pub(super) end: u64,
    /// Bytes written to the file: whole blocks.
    pub(super) settled: u64,
    /// Bytes known to be on stable storage.
    pub(super) synced: u64,
    /// Bytes reserved in the file, as far as this start knows.
    pub(super) allocated: u64,
    /// Blocks below are written however few they are: a group of the journal waits for them.
    pub(super) extent_end: u64,
    /// The file is there and durably named. What it holds beyond `settled` is of no meaning.
    pub(super) created: bool,
    /// Nothing more is appended.
    pub(super) rolled: bool,
    pub(super) first_timestamp: i64,
    pub(super) max_timestamp: i64,
    /// Of the batches appended since this start, or since it was last saved and dropped.
    pub(super) index: Vec<Entry>,
    indexed_to: u64,
    /// Entries of the index file that lie below this are right.
    pub(super) index_valid_to: u64,
    /// Checksums of what was appended; `None` if the checkpoint did not know those of its first bytes.
    pub(super) spans: Option<Spans>,
}

impl Live {
    pub(super) fn new(base: Offset) -> Self {
        let spans = Some(Spans::new(base));
        Self { spans, ..Self::resumed(base, 0, NO_TIMESTAMP, NO_TIMESTAMP) }
    }

    /// A segment whose blocks below `settled` are in the file and durable.
    pub(super) fn resumed(base: Offset, settled: u64, first_timestamp: i64, max_timestamp: i64) -> Self {
        let (end, synced, allocated, created) = (settled, settled, settled, settled > 0);
        let (rolled, index, indexed_to) = (false, Vec::new(), 0);
        Self {
            base,
            end,
            settled,
            synced,
            allocated,
            extent_end: 0,
            created,
            rolled,
            first_timestamp,
            max_timestamp,
            index,
            indexed_to,
            index_valid_to: 0,
            spans: None,
        }
    }

    /// Where settling may go: whole blocks, and once rolled the padded last one.
    pub(super) fn settle_end(&self) -> u64 {
        if self.rolled { block_end(self.end) } else { block_start(self.end) }
    }

    fn add(&mut self, base: Offset, batch: Parts<'_>, max_timestamp: i64) {
        if let Some(spans) = &mut self.spans {
            spans.append(base, batch);
        }
        if self.index.is_empty() || self.end - self.indexed_to >= INDEX_INTERVAL_BYTES {
            self.index.push(Entry { offset: base, position: self.end, max_before: self.max_timestamp });
            self.indexed_to = self.end;
        }
        if self.first_timestamp == NO_TIMESTAMP {
            self.first_timestamp = max_timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(max_timestamp);
        self.end += (batch[0].len() + batch[1].len()) as u64;
    }
}

/// Where a reader stopped lately: the batch with this base offset starts there.
#[derive(Debug, Clone, Copy)]
struct Hint {
    offset: Offset,
    segment: Offset,
    position: u64,
}

/// Readers of one log whose place is remembered.
const HINTS_MAX: usize = 4;

/// What a reader asks for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    pub(super) from: Offset,
    pub(super) end: Offset,
    pub(super) max_bytes: usize,
    pub(super) at_least_one: bool,
}

impl Wanted {
    /// Whether a batch that follows `taken` bytes still belongs to the answer.
    pub(super) fn takes(&self, head: &BatchHead, taken: usize) -> bool {
        let fits = taken + head.length <= self.max_bytes || (taken == 0 && self.at_least_one);
        head.next <= self.end && fits
    }
}

/// Bytes appended in the second before this one, and in this one.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Rate {
    began_ms: i64,
    now: u64,
    before: u64,
}

impl Rate {
    fn add(&mut self, bytes: u64, now_ms: i64) {
        let age_ms = now_ms - self.began_ms;
        if !(0..1_000).contains(&age_ms) {
            // A gap of seconds, or a clock set back: what was before says nothing.
            self.before = if (0..2_000).contains(&age_ms) { self.now } else { 0 };
            (self.began_ms, self.now) = (now_ms, 0);
        }
        self.now += bytes;
    }

    /// Bytes in about a second, at least.
    pub(super) fn bytes_per_second(&self) -> u64 {
        self.now.max(self.before)
    }
}

/// A batch on its way into a log.
#[derive(Clone, Copy)]
pub(super) struct NewBatch<'a> {
    pub(super) base: Offset,
    pub(super) next: Offset,
    pub(super) epoch: LeaderEpoch,
    pub(super) max_timestamp: i64,
    pub(super) parts: Parts<'a>,
    pub(super) now_ms: i64,
    /// Whether a segment starts with it; `None`: as the topic's settings say.
    pub(super) starts_segment: Option<bool>,
}

impl NewBatch<'_> {
    fn bytes(&self) -> u64 {
        (self.parts[0].len() + self.parts[1].len()) as u64
    }

    fn timestamp(&self) -> i64 {
        if self.max_timestamp < 0 { self.now_ms } else { self.max_timestamp }
    }
}

/// Where a batch has been put.
#[derive(Debug, Clone, Copy)]
pub(super) struct Appended {
    pub(super) place: Place,
    /// Its segment has space for its whole blocks.
    pub(super) has_space: bool,
    /// A settling worker is to be woken.
    pub(super) queued: bool,
}

pub(super) struct Log {
    pub(super) partition: TopicPartition,
    pub(super) settings: Arc<TopicSettings>,
    pub(super) log_start: Offset,
    /// The log end offset.
    pub(super) next: Offset,
    pub(super) written_end: Offset,
    pub(super) durable_end: Offset,
    /// Ascending by base offset.
    pub(super) sealed: Vec<Sealed>,
    /// Ascending by base offset; the last one is the active segment, and there always is one.
    pub(super) live: VecDeque<Live>,
    pub(super) tail: Tail,
    pub(super) epochs: LeaderEpochs,
    /// Offsets that were acknowledged and cannot be read back.
    pub(super) quarantined: Option<Range<Offset>>,
    /// Changed since the last checkpoint's picture of it.
    pub(super) dirty: bool,
    /// The checkpoint that pictured its last change before that.
    pub(super) pictured: u64,
    /// What recovery brought for the caller, until its first snapshot.
    pub(super) recovered: Recovered,
    /// Waits in the queue of settling.
    pub(super) settle_queued: bool,
    /// A settling worker is at it.
    pub(super) settling: bool,
    /// There was no space for it: it stays in its queue for a while.
    pub(super) waits_for_space: bool,
    /// Waits in the queue of settling that goes before all other.
    pub(super) urgent_queued: bool,
    /// Space is being made ahead of the appends.
    pub(super) preparing: bool,
    /// How fast the log grows.
    pub(super) rate: Rate,
    /// A checkpoint wants every whole block written, however few.
    pub(super) settle_all: bool,
    /// When it was appended to last, on the clock of the appends.
    pub(super) appended_ms: i64,
    /// Segments, by base offset, whose timestamps lie in the future, and when they were last appended to.
    pub(super) ahead: Vec<(Offset, i64)>,
    /// Compaction has seen every record below.
    pub(super) compacted_to: Offset,
    /// When its sealed segments were last compared with their checksums, on the clock of the day; 0: never.
    pub(super) scrubbed_ms: i64,
    /// It is appended to on a full disk too.
    pub(super) on_reserve: bool,
    /// Compaction is at it.
    pub(super) compacting: bool,
    /// The segment that compaction is writing: base offset and version.
    pub(super) being_written: Option<(Offset, u32)>,
    /// A pass over all below has found nothing decided: not worth another one.
    pub(super) undecided_below: Option<Offset>,
    /// Compaction has met something that it cannot read.
    pub(super) uncleanable: bool,
    /// How many are removing files that nobody knows.
    pub(super) sweeping: u32,
    /// To be deleted as soon as nobody is at it.
    pub(super) doomed: bool,
    /// How often segments were replaced by rewritten ones: positions found before are void then.
    pub(super) replacements: u64,
    hints: [Option<Hint>; HINTS_MAX],
    next_hint: usize,
}

impl Log {
    /// A log without records, from `start` on.
    pub(super) fn new(partition: TopicPartition, settings: Arc<TopicSettings>, start: Offset) -> Self {
        Self {
            partition,
            settings,
            log_start: start,
            next: start,
            written_end: start,
            durable_end: start,
            sealed: Vec::new(),
            live: VecDeque::from([Live::new(start)]),
            tail: Tail::default(),
            epochs: LeaderEpochs::default(),
            quarantined: None,
            dirty: true,
            pictured: 0,
            recovered: Recovered::default(),
            settle_queued: false,
            settling: false,
            waits_for_space: false,
            urgent_queued: false,
            preparing: false,
            rate: Rate::default(),
            settle_all: false,
            appended_ms: 0,
            ahead: Vec::new(),
            compacted_to: start,
            scrubbed_ms: 0,
            on_reserve: false,
            compacting: false,
            being_written: None,
            undecided_below: None,
            uncleanable: false,
            sweeping: 0,
            doomed: false,
            replacements: 0,
            hints: [None; HINTS_MAX],
            next_hint: 0,
        }
    }

    /// Whether a checkpoint after the one of that sequence has pictured, or is to picture, a change; every
    /// log has changed since 0.
    pub(super) fn changed_since(&self, sequence: u64) -> bool {
        self.dirty || sequence == 0 || self.pictured > sequence
    }

    pub(super) fn active(&self) -> &Live {
        self.live.back().expect("a log has an active segment")
    }

    pub(super) fn active_mut(&mut self) -> &mut Live {
        self.live.back_mut().expect("a log has an active segment")
    }

    pub(super) fn live_segment(&mut self, base: Offset) -> Option<&mut Live> {
        self.live.iter_mut().find(|live| live.base == base)
    }

    /// Bytes that settling could write now.
    pub(super) fn unsettled(&self) -> u64 {
        self.live.iter().map(|live| live.settle_end() - live.settled).sum()
    }

    /// Takes a batch whose base offset is the log end offset: rolls if due, copies it to the tail.
    pub(super) fn append(&mut self, batch: &NewBatch<'_>) -> Appended {
        let &NewBatch { base, next, parts, now_ms, starts_segment, .. } = batch;
        assert!(base == self.next && next > base, "{}: {base}..{next} at {}", self.partition, self.next);
        let rolls_before = || self.rolls_before(batch.bytes(), next, batch.timestamp());
        let rolls = starts_segment.unwrap_or_else(rolls_before);
        if rolls && self.active().end > 0 {
            self.roll();
        }
        let (segment, position) = (self.active().base, self.active().end);
        self.tail.append(segment, position, base, parts, now_ms);
        self.took(batch);
        let live = self.active();
        let has_space = live.created && block_start(live.end) <= live.allocated;
        Appended { place: Place { segment, position }, has_space, queued: false }
    }

    /// A batch has been put at the end of the active segment.
    pub(super) fn took(&mut self, batch: &NewBatch<'_>) {
        self.active_mut().add(batch.base, batch.parts, batch.timestamp());
        let (segment, now_ms) = (self.active().base, batch.now_ms);
        if self.active().max_timestamp > now_ms {
            self.ahead.retain(|(other, _)| *other != segment);
            self.ahead.push((segment, now_ms));
        }
        self.epochs.appended(batch.epoch, batch.base);
        self.next = batch.next;
        self.dirty = true;
        self.appended_ms = batch.now_ms;
        self.rate.add(batch.bytes(), batch.now_ms);
    }

    /// The block of a place, as far as it lies before that place. It is in memory.
    pub(super) fn head_of(&self, place: Place) -> Vec<Bytes> {
        self.tail.slices(place.segment, block_start(place.position)..place.position)
    }

    /// `segment.ms`; of a compacted log no longer than a record may wait for compaction.
    ///
    /// Source: Kafka, `LogConfig.maxSegmentMs`.
    fn segment_ms(&self) -> i64 {
        let settings = &self.settings;
        match settings.cleanup_policy.compact {
            true => settings.segment_ms.min(settings.max_compaction_lag_ms),
            false => settings.segment_ms,
        }
    }

    /// Source: Kafka, `LogSegment.shouldRoll`.
    fn rolls_before(&self, bytes: u64, next: Offset, timestamp: i64) -> bool {
        let active = self.active();
        active.end > 0
            && (active.end + bytes > self.settings.segment_bytes
                || timestamp.saturating_sub(active.first_timestamp) > self.segment_ms()
                || next.get() - active.base.get() > i64::from(i32::MAX))
    }

    pub(super) fn roll(&mut self) {
        let base = self.active().base;
        self.tail.pad_last_block(base);
        self.active_mut().rolled = true;
        self.live.push_back(Live::new(self.next));
    }

    /// Lets the log start at `start`, which lies within it. Returns the segments that lie wholly below.
    pub(super) fn start_at(&mut self, start: Offset) -> Vec<Sealed> {
        assert!(start <= self.next, "{}: start {start} above end {}", self.partition, self.next);
        self.log_start = self.log_start.max(start);
        self.dirty = true;
        self.epochs.start_at(self.log_start);
        self.quarantined.take_if(|range| range.end <= self.log_start);
        self.forget_below_start()
    }

    /// Forgets the sealed segments that lie wholly below the log start.
    pub(super) fn forget_below_start(&mut self) -> Vec<Sealed> {
        let bases = self.segments().map(|segment| segment.base).collect::<Vec<_>>();
        let below = bases.windows(2).take(self.sealed.len()).take_while(|pair| pair[1] <= self.log_start);
        let gone = below.count();
        let gone = self.sealed.drain(..gone).collect();
        let first = self.segments().next().map_or(self.log_start, |segment| segment.base);
        self.ahead.retain(|(base, _)| *base >= first);
        gone
    }

    /// What the age of a segment with these offsets counts from: its largest timestamp, or the time of its last
    /// append where that lies in the future of it.
    pub(super) fn retention_time_ms(&self, segment: Range<Offset>, max_timestamp: i64) -> i64 {
        let of_it = self.ahead.iter().filter(|(base, _)| segment.contains(base));
        of_it.map(|(_, appended_ms)| *appended_ms).max().map_or(max_timestamp, |time| time.min(max_timestamp))
    }

    /// Leaves out the offsets up to `end`, which cannot be read back.
    pub(super) fn quarantine_to(&mut self, end: Offset) {
        let start = self.quarantined.as_ref().map_or(self.next, |range| range.start);
        self.quarantined = Some(start..end);
        self.next = end;
        self.dirty = true;
    }

    /// The segment that holds an offset, or would.
    pub(super) fn segment_of(&self, offset: Offset) -> Offset {
        if let Some(live) = self.live.iter().rev().find(|live| live.base <= offset) {
            return live.base;
        }
        let after = self.sealed.partition_point(|sealed| sealed.base <= offset);
        after.checked_sub(1).map_or(self.log_start, |at| self.sealed[at].base)
    }

    /// All segments: base offset, bytes, largest timestamp; ascending.
    pub(super) fn segments(&self) -> impl Iterator<Item = Sealed> {
        let live = self.live.iter().map(|live| Sealed {
            base: live.base,
            length: live.end,
            max_timestamp: live.max_timestamp,
            version: 0,
        });
        self.sealed.iter().copied().chain(live)
    }

    /// Bytes of a segment.
    pub(super) fn segment_end(&self, segment: Offset) -> Option<u64> {
        self.live
            .iter()
            .find(|live| live.base == segment)
            .map(|live| live.end)
            .or_else(|| self.sealed_segment(segment).map(|sealed| sealed.length))
    }

    /// Whether a file is that of one of its segments, or will be.
    pub(super) fn knows(&self, segment: (Offset, u32)) -> bool {
        self.being_written == Some(segment) || self.segments().any(|s| (s.base, s.version) == segment)
    }

    /// How often compaction has rewritten a segment.
    pub(super) fn version_of(&self, segment: Offset) -> u32 {
        self.sealed_segment(segment).map_or(0, |sealed| sealed.version)
    }

    pub(super) fn sealed_segment(&self, segment: Offset) -> Option<&Sealed> {
        self.sealed.binary_search_by_key(&segment, |sealed| sealed.base).ok().map(|at| &self.sealed[at])
    }

    /// Where a reader that asks for `offset` was told to go on.
    pub(super) fn hint(&self, offset: Offset) -> Option<(Offset, u64)> {
        let hint = self.hints.iter().flatten().find(|hint| hint.offset == offset)?;
        Some((hint.segment, hint.position))
    }

    pub(super) fn remember(&mut self, offset: Offset, segment: Offset, position: u64) {
        if self.hint(offset).is_none() {
            self.hints[self.next_hint] = Some(Hint { offset, segment, position });
            self.next_hint = (self.next_hint + 1) % HINTS_MAX;
        }
    }

    pub(super) fn forget_hints(&mut self) {
        self.hints = [None; HINTS_MAX];
    }

    /// The part of a request that can be answered.
    pub(super) fn narrow(&self, wanted: Wanted) -> Result<Wanted, LogError> {
        let (offset, start, end) = (wanted.from, self.log_start, self.next);
        if offset < start || offset > end {
            return Err(LogError::OffsetOutOfRange { offset, start, end });
        }
        match &self.quarantined {
            Some(range) if range.contains(&offset) => {
                Err(LogError::Quarantined { start: range.start, end: range.end })
            }
            Some(range) if offset < range.start => Ok(Wanted { end: wanted.end.min(range.start), ..wanted }),
            _ => Ok(wanted),
        }
    }

    /// The answer, if all of it is in memory.
    pub(super) fn read_tail(&mut self, wanted: &Wanted) -> Option<Vec<Bytes>> {
        let active = self.active().base;
        let in_memory = |&(segment, position): &(Offset, u64)| {
            self.tail.start_of(segment).is_some_and(|start| start <= position)
                && (segment == active || self.segment_end(segment).is_some_and(|end| position < end))
        };
        let start = self.hint(wanted.from).filter(in_memory).or_else(|| self.tail.batch_before(wanted.from));
        let (segment, mut at) = start?;
        let end = self.segment_end(segment)?;
        let (mut start, mut taken, mut next) = (at, 0, wanted.from);
        while at < end {
            let head = self.tail.head_at(segment, at)?;
            if head.next > wanted.from {
                if !wanted.takes(&head, taken) {
                    break;
                }
                if taken == 0 {
                    start = at;
                }
                taken += head.length;
                next = head.next;
            }
            at += head.length as u64;
        }
        if taken == 0 {
            // Nothing of this segment: an offset at its end belongs to the next one.
            let has_next = self.live.iter().any(|live| live.base > segment && live.base < wanted.end);
            return if at == end && has_next { None } else { Some(Vec::new()) };
        }
        self.remember(next, segment, at);
        Some(self.tail.slices(segment, start..start + taken as u64))
    }

    /// Bytes of memory that grow with use: chunks and the index of live segments.
    pub(super) fn memory_bytes(&self) -> usize {
        let entries: usize = self.live.iter().map(|live| live.index.capacity()).sum();
        self.tail.memory_bytes() + entries * size_of::<Entry>()
    }
}
