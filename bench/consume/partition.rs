//! One partition being read: from fetched bytes to verified records.

use std::fs::File;
use std::io::{self, BufWriter, Write};

use crate::ack_log::AckVerifier;
use crate::client::admin::Isolation;
use crate::clock::{Clock, Nanos};
use crate::consume::aborted::Aborted;
use crate::reader;
use crate::stats::Counts;
use crate::verify::{PartitionVerifier, Verdict};

/// The state of a partition being read.
#[derive(Debug)]
pub struct Partition {
    /// Index in the topic.
    pub index: i32,
    /// Offset to fetch next.
    pub next_offset: i64,
    /// Where reading ends; `None` is nowhere.
    pub end: Option<i64>,
    /// Offset below which records are not wanted: the first fetch may begin inside a batch.
    start: i64,
    /// Checks every record.
    pub verifier: PartitionVerifier,
    /// Checks against acknowledgements.
    pub acks: Option<AckVerifier>,
    /// What of it belongs to aborted transactions, if only what is committed is read.
    pub aborted: Option<Aborted>,
    /// Takes every value as a line.
    pub output: Option<BufWriter<File>>,
    /// Received so far.
    pub total: Progress,
    /// Where the broker last said that records end which this reader may have.
    pub readable_end: i64,
}

/// What came of one partition's bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Progress {
    /// Records taken.
    pub records: u64,
    /// Bytes of their values.
    pub bytes: u64,
}

impl Progress {
    /// Adds another's.
    pub fn add(&mut self, other: Self) {
        self.records += other.records;
        self.bytes += other.bytes;
    }
}

/// What was received of a partition in the end, and what verification found of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Received {
    /// Records and bytes of their values.
    #[serde(flatten)]
    pub total: Progress,
    /// Records missing.
    pub missing: u64,
    /// Records seen twice.
    pub duplicated: u64,
    /// Records that came after later ones.
    pub reordered: u64,
    /// Records or batches with a changed byte.
    pub changed: u64,
}

impl Received {
    /// Adds what another reader received of the same partition.
    pub fn add(&mut self, other: Self) {
        self.total.add(other.total);
        self.missing += other.missing;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.changed += other.changed;
    }
}

impl Partition {
    /// What was received so far, and what verification found.
    pub fn received(&self) -> Received {
        let Verdict { missing, duplicated, reordered, changed, .. } = self.verifier.verdict;
        Received { total: self.total, missing, duplicated, reordered, changed }
    }

    /// Only what is committed.
    pub fn seen(mut self, isolation: Isolation) -> Self {
        if isolation == Isolation::ReadCommitted {
            self.aborted = Some(Aborted::default());
            self.verifier = self.verifier.expect_committed();
        }
        self
    }

    /// To be read from `start`.
    pub fn new(index: i32, start: i64, end: Option<i64>, verifier: PartitionVerifier) -> Self {
        Self {
            index,
            next_offset: start,
            end,
            start,
            verifier,
            acks: None,
            aborted: None,
            output: None,
            total: Progress::default(),
            readable_end: i64::MAX,
        }
    }

    /// Whether all that could be read when last asked has been.
    pub fn has_caught_up(&self) -> bool {
        self.next_offset >= self.readable_end
    }

    /// Whether there is nothing left to read.
    pub fn is_done(&self) -> bool {
        self.end.is_some_and(|end| self.next_offset >= end)
    }

    /// Takes fetched bytes that arrived at `now`; times records that were meant to leave after the clock began.
    ///
    /// # Errors
    /// The output cannot be written. Bytes that are no sound batch are a violation, and the end of this
    /// partition: nothing behind them can be trusted.
    pub fn take(
        &mut self,
        mut bytes: &[u8],
        (clock, now): (Clock, Nanos),
        counts: &mut Counts,
        scratch: &mut Vec<u8>,
    ) -> io::Result<Progress> {
        let mut progress = Progress::default();
        let mut written = Ok(());
        loop {
            let batch = match reader::next_batch(&mut bytes) {
                Ok(Some(batch)) => batch,
                Ok(None) => break,
                Err(fault) => {
                    self.give_up(&fault);
                    break;
                }
            };
            let Self { start, verifier, acks, aborted, output, .. } = self;
            let is_hidden = aborted.as_mut().is_some_and(|aborted| aborted.hides(&batch));
            let each = |record: reader::Record<'_>| {
                if record.offset < *start {
                    return;
                }
                if is_hidden {
                    verifier.hidden(record.offset, record.value);
                    return;
                }
                let value = record.value.unwrap_or_default();
                let identity = verifier.record(record.offset, record.value);
                if let Some(acks) = acks {
                    acks.record(record.offset, identity.as_ref());
                }
                if let (Some(output), true) = (output.as_mut(), written.is_ok()) {
                    written = output.write_all(value).and_then(|()| output.write_all(b"\n"));
                }
                if let Some(intended) = identity.and_then(|identity| clock.at_unix(identity.intended)) {
                    counts.latency.record(now.saturating_sub(intended), 1);
                }
                progress.records += 1;
                progress.bytes += value.len() as u64;
            };
            // Transaction markers take an offset and hold no record.
            let read = if batch.is_control() {
                verifier.marker(batch.base_offset(), batch.next_offset());
                Ok(())
            } else {
                batch.for_each_record(scratch, each)
            };
            if let Err(fault) = read {
                self.give_up(&fault);
                break;
            }
            self.next_offset = self.next_offset.max(batch.next_offset());
        }
        self.total.add(progress);
        counts.records += progress.records;
        counts.bytes += progress.bytes;
        written.map(|()| progress)
    }

    /// Goes on at `offset`, because retention has deleted what lay before it. Returns how many records that is.
    pub fn skip_deleted(&mut self, offset: i64) -> u64 {
        let deleted = offset.saturating_sub(self.next_offset).max(0).unsigned_abs();
        self.verifier.skip_deleted(offset);
        self.next_offset = self.next_offset.max(offset);
        deleted
    }

    fn give_up(&mut self, fault: &dyn std::fmt::Display) {
        self.verifier.unreadable(fault);
        self.end = Some(self.next_offset);
    }
}
