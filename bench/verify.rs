//! Verification of what is consumed: per partition no gap, no duplicate, no reordering, no changed byte.
//!
//! Pure state: fed `(offset, value)` in the order of arrival. Offsets must follow one another; values must be
//! what their partition holds. What that is, a partition's first record decides: synthetic records of this
//! generator (every stream's sequence without a gap), or, if the user names payload files, their lines. Other
//! people's records are checked by offset and batch CRC only, and counted as unverified.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::payload::Lines;
use crate::value::{self, Identity, ValueFault};

/// Most violations whose text is kept; all are counted.
pub const VIOLATION_TEXTS_MAX: usize = 20;

/// Most missing stretches per stream that are remembered, to tell a late record from a duplicate.
const MISSING_RANGES_MAX: usize = 10_000;

/// How many lines around the expected one are searched to say what a foreign line is.
const DIAGNOSE_LINES_MAX: u64 = 1000;

/// What was found; all zero but `verified` and `unverified` is what one hopes for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// Records of which every byte was checked.
    pub verified: u64,
    /// Records that nobody here made: offset and CRC checked, content unknown.
    pub unverified: u64,
    /// Records missing.
    pub missing: u64,
    /// Records seen twice.
    pub duplicated: u64,
    /// Records that came after later ones.
    pub reordered: u64,
    /// Records or batches with a changed byte.
    pub changed: u64,
    /// Records that retention deleted before they were read, where that is allowed. No fault.
    pub deleted: u64,
    /// Records of aborted transactions that a reader of what is committed was rightly spared. No fault.
    pub aborted: u64,
    /// Records that such a reader should not have got, or was spared though they were committed.
    pub isolation: u64,
    /// The first [`VIOLATION_TEXTS_MAX`] violations: what, and where.
    pub violations: Vec<String>,
}

impl Verdict {
    /// Nothing missing, duplicated, reordered or changed.
    pub fn is_clean(&self) -> bool {
        self.missing + self.duplicated + self.reordered + self.changed + self.isolation == 0
            && self.violations.is_empty()
    }

    /// Adds another worker's.
    pub fn add(&mut self, other: Self) {
        self.verified += other.verified;
        self.unverified += other.unverified;
        self.missing += other.missing;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.changed += other.changed;
        self.deleted += other.deleted;
        self.aborted += other.aborted;
        self.isolation += other.isolation;
        other.violations.into_iter().for_each(|text| self.say(text));
    }

    /// Keeps a violation's text, if there is room.
    pub fn say(&mut self, text: String) {
        if self.violations.len() < VIOLATION_TEXTS_MAX {
            self.violations.push(text);
        }
    }
}

/// What a partition is expected to hold.
#[derive(Debug)]
enum Content {
    /// Its first record will tell.
    Undecided,
    /// Synthetic records; of this run only, if it is given.
    Synthetic,
    /// Not ours.
    Foreign,
    /// The lines of payload files, from the first, again and again.
    Lines { lines: Lines, next: u64 },
}

/// One run's stream in one partition.
#[derive(Debug, Default)]
struct StreamState {
    next: u64,
    /// Stretches that were skipped and have not come: first to end.
    missing: BTreeMap<u64, u64>,
}

/// Verifies one partition.
#[derive(Debug)]
pub struct PartitionVerifier {
    partition: i32,
    content: Content,
    /// Every record must be of this run.
    only_run: Option<u64>,
    /// A stream seen for the first time must begin with its first record.
    from_beginning: bool,
    /// Streams may have gaps, and are judged elsewhere.
    ignores_streams: bool,
    /// No record of an aborted transaction is to come.
    committed_only: bool,
    next_offset: i64,
    streams: HashMap<(u64, u32), StreamState>,
    /// Found so far.
    pub verdict: Verdict,
}

impl PartitionVerifier {
    /// Of a partition that is read from `start` on; `from_beginning` says that nothing lies before it.
    pub fn new(partition: i32, start: i64, from_beginning: bool) -> Self {
        Self {
            partition,
            content: Content::Undecided,
            only_run: None,
            from_beginning,
            ignores_streams: false,
            committed_only: false,
            next_offset: start,
            streams: HashMap::new(),
            verdict: Verdict::default(),
        }
    }

    /// Expects the lines of payload files.
    pub fn expect_lines(mut self, lines: Lines) -> Self {
        self.content = Content::Lines { lines, next: 0 };
        self
    }

    /// Expects records of one run only.
    pub fn expect_run(mut self, run: u64) -> Self {
        self.content = Content::Synthetic;
        self.only_run = Some(run);
        self
    }

    /// Leaves the order within streams to another judge; offsets and bytes are still checked.
    pub fn tolerate_stream_gaps(mut self) -> Self {
        self.ignores_streams = true;
        self
    }

    /// Reads what is committed.
    pub fn expect_committed(mut self) -> Self {
        self.committed_only = true;
        self
    }

    /// Offsets up to `next` hold no record: a transaction's marker.
    pub fn marker(&mut self, base: i64, next: i64) {
        self.check_gap(base);
        self.next_offset = self.next_offset.max(next);
    }

    /// A record that the reader is spared, because the broker says that its transaction was aborted.
    pub fn hidden(&mut self, offset: i64, value: Option<&[u8]>) {
        self.check_offset(offset);
        let identity = value::read(value.unwrap_or_default());
        // Of others' records nobody here knows what was to become of them.
        if identity.is_ok_and(|identity| identity.stream & value::DOOMED == 0) {
            self.verdict.isolation += 1;
            self.violation(offset, "a committed record is said to be of an aborted transaction");
            return;
        }
        self.verdict.aborted += 1;
    }

    /// Retention has deleted what lay before `offset`: the order begins anew there.
    pub fn skip_deleted(&mut self, offset: i64) {
        let deleted = offset.saturating_sub(self.next_offset).max(0).unsigned_abs();
        self.verdict.deleted += deleted;
        self.next_offset = self.next_offset.max(offset);
        self.from_beginning = false;
        self.streams.clear();
        if let Content::Lines { next, .. } = &mut self.content {
            *next += deleted;
        }
    }

    /// A batch that cannot be read: `what` is why.
    pub fn unreadable(&mut self, what: &dyn std::fmt::Display) {
        self.verdict.changed += 1;
        self.violation(self.next_offset, &format!("changed bytes: {what}"));
    }

    /// One record, in order of arrival. Returns its identity, if it is a sound synthetic record.
    pub fn record(&mut self, offset: i64, value: Option<&[u8]>) -> Option<Identity> {
        self.check_offset(offset);
        let value = value.unwrap_or_default();
        if matches!(self.content, Content::Undecided) {
            let ours = value.starts_with(&value::MAGIC);
            self.content = if ours { Content::Synthetic } else { Content::Foreign };
        }
        match &mut self.content {
            Content::Foreign | Content::Undecided => {
                self.verdict.unverified += 1;
                None
            }
            Content::Lines { .. } => {
                self.check_line(offset, value);
                None
            }
            Content::Synthetic => match value::read(value) {
                Ok(identity) => {
                    if self.committed_only && identity.stream & value::DOOMED != 0 {
                        self.verdict.isolation += 1;
                        self.violation(offset, "a record of a transaction that was to be aborted");
                    }
                    self.check_sequence(offset, &identity);
                    Some(identity)
                }
                Err(fault) => {
                    self.verdict.changed += 1;
                    let what = match fault {
                        ValueFault::Foreign => "changed bytes: no record of this generator".to_owned(),
                        ValueFault::Header => "changed bytes: the header of the value".to_owned(),
                        ValueFault::Body { at } => format!("changed bytes: byte {at} of the value"),
                    };
                    self.violation(offset, &what);
                    None
                }
            },
        }
    }

    fn violation(&mut self, offset: i64, what: &str) {
        self.verdict.say(format!("partition {} offset {offset}: {what}", self.partition));
    }

    fn check_gap(&mut self, offset: i64) {
        let expected = self.next_offset;
        if offset > expected && !matches!(self.content, Content::Foreign) {
            self.verdict.missing += offset.abs_diff(expected);
            self.violation(offset, &format!("gap: offsets {expected}..{offset} are missing"));
        }
    }

    fn check_offset(&mut self, offset: i64) {
        let expected = self.next_offset;
        self.check_gap(offset);
        if offset < expected {
            self.verdict.duplicated += 1;
            self.violation(offset, &format!("duplicate: offset {expected} was next"));
        }
        self.next_offset = expected.max(offset.saturating_add(1));
    }

    fn check_sequence(&mut self, offset: i64, identity: &Identity) {
        let Identity { run, stream, sequence, .. } = *identity;
        if self.ignores_streams {
            self.verdict.verified += 1;
            return;
        }
        if self.only_run.is_some_and(|only| only != run) {
            self.verdict.changed += 1;
            self.violation(offset, &format!("a record of another run, {run:#x}"));
            return;
        }
        let start = if self.from_beginning { 0 } else { sequence };
        let fresh = || StreamState { next: start, missing: BTreeMap::new() };
        let state = self.streams.entry((run, stream)).or_insert_with(fresh);
        let next = state.next;
        if sequence == next {
            state.next += 1;
            self.verdict.verified += 1;
            return;
        }
        if sequence > next {
            if state.missing.len() < MISSING_RANGES_MAX {
                state.missing.insert(next, sequence);
            }
            state.next = sequence + 1;
            self.verdict.verified += 1;
            self.verdict.missing += sequence - next;
            self.violation(
                offset,
                &format!("gap: records {next}..{sequence} of stream {stream} are missing"),
            );
        } else if take_missing(&mut state.missing, sequence) {
            self.verdict.missing -= 1;
            self.verdict.reordered += 1;
            self.violation(
                offset,
                &format!("reordered: record {sequence} of stream {stream} came after {}", next - 1),
            );
        } else {
            self.verdict.duplicated += 1;
            self.violation(
                offset,
                &format!("duplicate: record {sequence} of stream {stream}, {next} was next"),
            );
        }
    }

    fn check_line(&mut self, offset: i64, value: &[u8]) {
        let Content::Lines { lines, next } = &mut self.content else { return };
        let expected = *next;
        if lines.value(expected) == value {
            *next += 1;
            self.verdict.verified += 1;
            return;
        }
        let near = DIAGNOSE_LINES_MAX.min(lines.len() - 1);
        if let Some(ahead) = (1..=near).find(|n| lines.value(expected + n) == value) {
            *next = expected + ahead + 1;
            self.verdict.missing += ahead;
            self.violation(
                offset,
                &format!("gap: {ahead} lines before this one are missing, from line {expected}"),
            );
        } else if (1..=near.min(expected)).any(|n| lines.value(expected - n) == value) {
            self.verdict.duplicated += 1;
            self.violation(
                offset,
                &format!("duplicate or reordered: an earlier line instead of line {expected}"),
            );
        } else {
            let at = lines.value(expected).iter().zip(value).take_while(|(a, b)| a == b).count();
            *next += 1;
            self.verdict.changed += 1;
            self.violation(offset, &format!("changed bytes: byte {at} of line {expected}"));
        }
    }
}

/// Whether `sequence` was missing; it no longer is.
fn take_missing(missing: &mut BTreeMap<u64, u64>, sequence: u64) -> bool {
    let Some((&first, &end)) = missing.range(..=sequence).next_back() else { return false };
    if sequence >= end {
        return false;
    }
    missing.remove(&first);
    if first < sequence {
        missing.insert(first, sequence);
    }
    if sequence + 1 < end {
        missing.insert(sequence + 1, end);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(run: u64, sequence: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        value::write(&mut bytes, &Identity { run, stream: 2, sequence, intended: 5, entropy: 100 }, 100);
        bytes
    }

    /// Feeds records of the given sequences at successive offsets.
    fn verdict_of(sequences: &[u64]) -> Verdict {
        let mut verifier = PartitionVerifier::new(0, 0, true);
        for (offset, sequence) in (0..).zip(sequences) {
            verifier.record(offset, Some(&made(1, *sequence)));
        }
        verifier.verdict
    }

    fn doomed(sequence: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        let stream = 2 | value::DOOMED;
        value::write(&mut bytes, &Identity { run: 1, stream, sequence, intended: 5, entropy: 100 }, 100);
        bytes
    }

    #[test]
    fn a_reader_of_what_is_committed_gets_no_record_that_was_to_be_aborted() {
        let mut verifier = PartitionVerifier::new(0, 0, true).expect_committed();
        verifier.record(0, Some(&made(1, 0)));
        verifier.marker(1, 2);
        verifier.hidden(2, Some(&doomed(0)));
        verifier.marker(3, 4);
        verifier.record(4, Some(&made(1, 1)));
        assert!(verifier.verdict.is_clean(), "{:?}", verifier.verdict);
        assert_eq!((verifier.verdict.verified, verifier.verdict.aborted), (2, 1));
        verifier.hidden(5, Some(&made(1, 2)));
        assert_eq!(verifier.verdict.isolation, 1, "a committed one was kept from it");
        verifier.record(6, Some(&doomed(1)));
        assert!(verifier.verdict.isolation == 2 && !verifier.verdict.is_clean());
    }

    #[test]
    fn both_fates_of_a_stream_are_checked_for_gaps_where_everything_is_read() {
        let mut verifier = PartitionVerifier::new(0, 0, true);
        for (offset, value) in (0..).zip([made(1, 0), doomed(0), made(1, 1), doomed(1)]) {
            verifier.record(offset, Some(&value));
        }
        assert!(verifier.verdict.is_clean() && verifier.verdict.verified == 4, "{:?}", verifier.verdict);
        verifier.marker(5, 6);
        assert_eq!(verifier.verdict.missing, 1, "offset 4");
        verifier.record(6, Some(&doomed(3)));
        assert_eq!(verifier.verdict.missing, 2);
    }

    fn counts(verdict: &Verdict) -> [u64; 5] {
        [verdict.verified, verdict.missing, verdict.duplicated, verdict.reordered, verdict.changed]
    }

    #[test]
    fn what_is_whole_is_clean() {
        let verdict = verdict_of(&[0, 1, 2, 3]);
        assert!(verdict.is_clean());
        assert_eq!(counts(&verdict), [4, 0, 0, 0, 0]);
    }

    #[test]
    fn a_gap_is_found_also_at_the_beginning() {
        assert_eq!(counts(&verdict_of(&[0, 1, 4, 5])), [4, 2, 0, 0, 0]);
        assert_eq!(counts(&verdict_of(&[1, 2])), [2, 1, 0, 0, 0]);
    }

    #[test]
    fn a_duplicate_is_found() {
        assert_eq!(counts(&verdict_of(&[0, 1, 1, 2])), [3, 0, 1, 0, 0]);
        assert_eq!(counts(&verdict_of(&[0, 1, 2, 0])), [3, 0, 1, 0, 0]);
    }

    #[test]
    fn a_reordering_is_not_a_gap() {
        assert_eq!(counts(&verdict_of(&[0, 2, 1, 3])), [3, 0, 0, 1, 0]);
        assert_eq!(counts(&verdict_of(&[0, 4, 2, 1, 3, 5, 2])), [3, 0, 1, 3, 0]);
    }

    #[test]
    fn a_changed_byte_is_found_and_said_where() {
        let mut verifier = PartitionVerifier::new(7, 0, true);
        verifier.record(0, Some(&made(1, 0)));
        let mut changed = made(1, 1);
        changed[99] ^= 4;
        verifier.record(1, Some(&changed));
        assert_eq!(verifier.verdict.changed, 1);
        assert_eq!(
            verifier.verdict.violations,
            ["partition 7 offset 1: changed bytes: byte 99 of the value"]
        );
    }

    #[test]
    fn offsets_follow_one_another() {
        let mut verifier = PartitionVerifier::new(0, 10, true);
        verifier.record(10, Some(&made(1, 0)));
        verifier.record(13, Some(&made(1, 1)));
        assert_eq!(counts(&verifier.verdict), [2, 2, 0, 0, 0]);
        verifier.record(13, Some(&made(1, 2)));
        assert_eq!(counts(&verifier.verdict), [3, 2, 1, 0, 0]);
    }

    #[test]
    fn runs_and_streams_interleave_freely() {
        let mut verifier = PartitionVerifier::new(0, 0, true);
        for (offset, (run, sequence)) in (0..).zip([(1, 0), (2, 0), (1, 1), (1, 2), (2, 1)]) {
            verifier.record(offset, Some(&made(run, sequence)));
        }
        assert!(verifier.verdict.is_clean(), "{:?}", verifier.verdict);
        let mut strict = PartitionVerifier::new(0, 0, true).expect_run(1);
        strict.record(0, Some(&made(2, 0)));
        assert_eq!(strict.verdict.changed, 1);
    }

    #[test]
    fn what_retention_deleted_is_counted_apart_and_the_rest_is_still_held_to_its_order() {
        let mut verifier = PartitionVerifier::new(0, 0, true);
        verifier.record(0, Some(&made(1, 0)));
        verifier.skip_deleted(10);
        verifier.record(10, Some(&made(1, 10)));
        verifier.record(11, Some(&made(1, 11)));
        assert!(verifier.verdict.is_clean());
        assert_eq!(verifier.verdict.deleted, 9);
        verifier.record(12, Some(&made(1, 13)));
        assert_eq!(verifier.verdict.missing, 1);
    }

    #[test]
    fn foreign_records_are_counted_as_unverified() {
        let mut verifier = PartitionVerifier::new(0, 0, true);
        verifier.record(0, Some(b"hello"));
        verifier.record(5, None);
        assert!(verifier.verdict.is_clean());
        assert_eq!(verifier.verdict.unverified, 2);
    }

    #[test]
    fn lines_are_compared_in_order_and_repeat() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("lines");
        std::fs::write(&path, "one\ntwo\nthree\nfour\n").expect("writes");
        let lines = crate::payload::load(&[path], 1).expect("loads").remove(0).expect("has lines");
        let verdict = |values: &[&str]| {
            let mut verifier = PartitionVerifier::new(0, 0, true).expect_lines(lines.clone());
            for (offset, value) in (0..).zip(values) {
                verifier.record(offset, Some(value.as_bytes()));
            }
            counts(&verifier.verdict)
        };
        assert_eq!(verdict(&["one", "two", "three", "four", "one"]), [5, 0, 0, 0, 0]);
        assert_eq!(verdict(&["one", "three"]), [1, 1, 0, 0, 0]);
        assert_eq!(
            verdict(&["one", "two", "one"]),
            [2, 2, 0, 0, 0],
            "the fourth line's successor is the first"
        );
        assert_eq!(verdict(&["one", "twO", "three"]), [2, 0, 0, 0, 1]);
    }
}
