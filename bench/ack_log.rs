//! The log of acknowledgements: what a producer was told, kept outside the broker, to hold the broker to it.
//!
//! The file begins with [`FILE_MAGIC`]; then one entry of 40 bytes per acknowledged batch, big-endian:
//!
//! | bytes  | field          |
//! |--------|----------------|
//! | 0..4   | partition      |
//! | 4..8   | records        |
//! | 8..16  | base offset    |
//! | 16..24 | run            |
//! | 24..28 | stream         |
//! | 28..36 | first sequence |
//! | 36..40 | CRC-32C of bytes 0..36 |
//!
//! Entries are appended by one write per turn of a worker's loop, before the turn ends, so a killed producer
//! leaves at most its last turn unlogged, and perhaps a torn last entry. Several workers may append to one file.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::value::Identity;
use crate::verify::VIOLATION_TEXTS_MAX;

/// First bytes of a log.
pub const FILE_MAGIC: [u8; 8] = *b"CLBACKS1";

/// Bytes of an entry.
const ENTRY_BYTES: usize = 40;

/// An acknowledged batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack {
    /// Partition index.
    pub partition: u32,
    /// Number of records.
    pub records: u32,
    /// Offset of the first, as the broker said.
    pub base_offset: i64,
    /// The producing run.
    pub run: u64,
    /// Stream within the run.
    pub stream: u32,
    /// Sequence of the first record.
    pub first_sequence: u64,
}

impl Ack {
    fn encode(&self) -> [u8; ENTRY_BYTES] {
        let mut entry = [0; ENTRY_BYTES];
        entry[0..4].copy_from_slice(&self.partition.to_be_bytes());
        entry[4..8].copy_from_slice(&self.records.to_be_bytes());
        entry[8..16].copy_from_slice(&self.base_offset.to_be_bytes());
        entry[16..24].copy_from_slice(&self.run.to_be_bytes());
        entry[24..28].copy_from_slice(&self.stream.to_be_bytes());
        entry[28..36].copy_from_slice(&self.first_sequence.to_be_bytes());
        let check = crc32c::crc32c(&entry[..36]);
        entry[36..40].copy_from_slice(&check.to_be_bytes());
        entry
    }

    fn decode(entry: &[u8; ENTRY_BYTES]) -> Option<Self> {
        let u32_at = |at: usize| u32::from_be_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]);
        let u64_at = |at: usize| u64::from(u32_at(at)) << 32 | u64::from(u32_at(at + 4));
        (crc32c::crc32c(&entry[..36]) == u32_at(36)).then(|| Self {
            partition: u32_at(0),
            records: u32_at(4),
            base_offset: u64_at(8) as i64,
            run: u64_at(16),
            stream: u32_at(24),
            first_sequence: u64_at(28),
        })
    }
}

/// One worker's end of a log.
#[derive(Debug)]
pub struct AckLogWriter {
    file: File,
    pending: Vec<u8>,
}

impl AckLogWriter {
    /// Makes the file with its magic, or checks that an existing one has it.
    ///
    /// # Errors
    /// The file cannot be written, or is something else.
    pub fn prepare(path: &Path) -> io::Result<()> {
        let found = if path.exists() { std::fs::read(path)? } else { Vec::new() };
        if found.is_empty() {
            return std::fs::write(path, FILE_MAGIC);
        }
        if !found.starts_with(&FILE_MAGIC) {
            return Err(io::Error::other("not a log of acknowledgements"));
        }
        // A producer that was killed may have left a torn entry; what follows must be aligned again.
        let whole = found.len() - (found.len() - FILE_MAGIC.len()) % ENTRY_BYTES;
        OpenOptions::new().write(true).open(path)?.set_len(whole as u64)
    }

    /// Opens a prepared file for appending.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: OpenOptions::new().append(true).open(path)?, pending: Vec::new() })
    }

    /// Takes an entry; it is written by the next [`flush`](Self::flush).
    pub fn push(&mut self, ack: &Ack) {
        self.pending.extend_from_slice(&ack.encode());
    }

    /// Writes what was taken.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn flush(&mut self) -> io::Result<()> {
        if !self.pending.is_empty() {
            self.file.write_all(&self.pending)?;
            self.pending.clear();
        }
        Ok(())
    }
}

/// Reads logs; a torn end is left out.
///
/// # Errors
/// A file that cannot be read, is not such a log, or holds a damaged entry before its end.
pub fn read(paths: &[PathBuf]) -> Result<Vec<Ack>, String> {
    let mut acks = Vec::new();
    for path in paths {
        let name = path.display();
        let bytes = std::fs::read(path).map_err(|e| format!("{name}: {e}"))?;
        let entries = bytes
            .strip_prefix(&FILE_MAGIC)
            .ok_or_else(|| format!("{name}: not a log of acknowledgements"))?;
        let (entries, _torn) = entries.as_chunks::<ENTRY_BYTES>();
        for (index, entry) in entries.iter().enumerate() {
            acks.push(Ack::decode(entry).ok_or_else(|| format!("{name}: entry {index} is damaged"))?);
        }
    }
    Ok(acks)
}

/// What became of the acknowledged records.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct AckVerdict {
    /// Acknowledged and there, at its offset, with its bytes.
    pub kept: u64,
    /// Acknowledged and not there.
    pub lost: u64,
    /// There more than once, acknowledged or not.
    pub duplicated: u64,
    /// There after a later record of its stream.
    pub reordered: u64,
    /// There without an acknowledgement: the answer did not arrive. No fault.
    pub unacknowledged: u64,
    /// Acknowledged offsets that two acknowledgements claim.
    pub contradictory: u64,
    /// The first violations: what, and where.
    pub violations: Vec<String>,
}

impl AckVerdict {
    /// Nothing lost, duplicated, reordered or contradictory.
    pub fn is_clean(&self) -> bool {
        self.lost + self.duplicated + self.reordered + self.contradictory == 0
    }

    fn say(&mut self, text: String) {
        if self.violations.len() < VIOLATION_TEXTS_MAX {
            self.violations.push(text);
        }
    }

    /// Adds another partition's.
    pub fn add(&mut self, other: Self) {
        self.kept += other.kept;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.unacknowledged += other.unacknowledged;
        self.contradictory += other.contradictory;
        other.violations.into_iter().for_each(|text| self.say(text));
    }
}

/// Holds one partition to its acknowledgements. Fed every record in offset order.
#[derive(Debug)]
pub struct AckVerifier {
    partition: u32,
    /// By base offset, ascending.
    acks: Vec<Ack>,
    /// The acknowledgement that the next offset may belong to.
    at: usize,
    /// Records of `acks[at]` that have been seen.
    seen: u32,
    /// Per stream, the sequences seen: first to end.
    streams: std::collections::HashMap<(u64, u32), std::collections::BTreeMap<u64, u64>>,
    verdict: AckVerdict,
}

impl AckVerifier {
    /// Takes the acknowledgements of `partition` out of all.
    pub fn new(partition: u32, all: &[Ack]) -> Self {
        let mut acks: Vec<_> = all.iter().filter(|ack| ack.partition == partition).copied().collect();
        acks.sort_by_key(|ack| ack.base_offset);
        let mut verdict = AckVerdict::default();
        for pair in acks.windows(2) {
            if pair[0].base_offset + i64::from(pair[0].records) > pair[1].base_offset {
                verdict.contradictory += 1;
                verdict
                    .say(format!("partition {partition} offset {}: acknowledged twice", pair[1].base_offset));
            }
        }
        Self { partition, acks, at: 0, seen: 0, streams: Default::default(), verdict }
    }

    /// One record; `identity` is `None` if its bytes are not sound.
    pub fn record(&mut self, offset: i64, identity: Option<&Identity>) {
        self.skip_acks_below(offset);
        let expected = self.acks.get(self.at).filter(|ack| ack.base_offset <= offset).copied();
        if let Some(ack) = expected {
            let sequence = ack.first_sequence + offset.abs_diff(ack.base_offset);
            let there =
                identity.is_some_and(|i| (i.run, i.stream, i.sequence) == (ack.run, ack.stream, sequence));
            if there {
                self.verdict.kept += 1;
            } else {
                self.verdict.lost += 1;
                let found = identity.map_or("damaged bytes".into(), |i| {
                    format!("record {} of stream {}", i.sequence, i.stream)
                });
                self.verdict.say(format!(
                    "partition {} offset {offset}: record {sequence} of stream {} was acknowledged, {found} is there",
                    self.partition, ack.stream
                ));
            }
            self.seen += 1;
        } else {
            self.verdict.unacknowledged += 1;
        }
        if let Some(identity) = identity {
            self.check_stream(offset, identity);
        }
    }

    /// Everything has been read up to the end of the log.
    pub fn finish(mut self) -> AckVerdict {
        self.skip_acks_below(i64::MAX);
        self.verdict
    }

    /// Leaves acknowledgements that end at or before `offset`; what was not seen of them is lost.
    fn skip_acks_below(&mut self, offset: i64) {
        while let Some(ack) =
            self.acks.get(self.at).filter(|ack| ack.base_offset + i64::from(ack.records) <= offset)
        {
            let unseen = u64::from(ack.records.saturating_sub(self.seen));
            if unseen > 0 {
                self.verdict.lost += unseen;
                let text = format!(
                    "partition {} offset {}: {unseen} of {} acknowledged records are not there",
                    self.partition, ack.base_offset, ack.records
                );
                self.verdict.say(text);
            }
            self.at += 1;
            self.seen = 0;
        }
    }

    fn check_stream(&mut self, offset: i64, identity: &Identity) {
        let Identity { run, stream, sequence, .. } = *identity;
        let seen = self.streams.entry((run, stream)).or_default();
        let last = seen.last_entry().map(|entry| *entry.get());
        match last {
            // The usual case: directly after the last one.
            Some(end) if sequence == end => {
                if let Some(mut entry) = seen.last_entry() {
                    *entry.get_mut() += 1;
                }
            }
            Some(end) if sequence < end => {
                let twice = seen.range(..=sequence).next_back().is_some_and(|(_, end)| sequence < *end);
                let what = if twice { "duplicate" } else { "reordered" };
                if twice {
                    self.verdict.duplicated += 1;
                } else {
                    self.verdict.reordered += 1;
                    seen.insert(sequence, sequence + 1);
                }
                self.verdict.say(format!(
                    "partition {} offset {offset}: {what}: record {sequence} of stream {stream} after {}",
                    self.partition,
                    end - 1
                ));
            }
            // The first, or after records that were never acknowledged and never arrived.
            _ => drop(seen.insert(sequence, sequence + 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ack(base_offset: i64, first_sequence: u64, records: u32) -> Ack {
        Ack { partition: 3, records, base_offset, run: 9, stream: 1, first_sequence }
    }

    /// Feeds sequences at successive offsets from 0; `None` is a damaged record.
    fn verdict(acks: &[Ack], sequences: &[Option<u64>]) -> [u64; 5] {
        let mut verifier = AckVerifier::new(3, acks);
        for (offset, sequence) in (0..).zip(sequences) {
            let identity =
                sequence.map(|sequence| Identity { run: 9, stream: 1, sequence, intended: 0, entropy: 100 });
            verifier.record(offset, identity.as_ref());
        }
        let v = verifier.finish();
        [v.kept, v.lost, v.duplicated, v.reordered, v.unacknowledged]
    }

    #[test]
    fn acknowledged_records_that_are_there_are_kept() {
        assert_eq!(verdict(&[ack(2, 2, 2), ack(0, 0, 2)], &[0, 1, 2, 3].map(Some)), [4, 0, 0, 0, 0]);
    }

    #[test]
    fn what_was_not_acknowledged_may_be_there_or_not() {
        // 2 and 3 arrived without an answer, 4 and 5 never arrived.
        assert_eq!(verdict(&[ack(0, 0, 2), ack(4, 6, 1)], &[0, 1, 2, 3, 6].map(Some)), [3, 0, 0, 0, 2]);
    }

    #[test]
    fn a_lost_record_is_counted_wherever_it_was() {
        assert_eq!(
            verdict(&[ack(0, 0, 2), ack(2, 2, 2)], &[0, 1, 2].map(Some)),
            [3, 1, 0, 0, 0],
            "the last one"
        );
        assert_eq!(verdict(&[ack(0, 0, 2), ack(2, 2, 2)], &[]), [0, 4, 0, 0, 0], "all");
        assert_eq!(verdict(&[ack(0, 0, 2)], &[Some(0), None]), [1, 1, 0, 0, 0], "damaged");
        assert_eq!(verdict(&[ack(0, 0, 2)], &[0, 7].map(Some)), [1, 1, 0, 0, 0], "another in its place");
    }

    #[test]
    fn duplicates_and_reordering_are_told_apart() {
        assert_eq!(verdict(&[ack(0, 0, 2)], &[0, 1, 1].map(Some)), [2, 0, 1, 0, 1]);
        assert_eq!(verdict(&[ack(0, 0, 1)], &[0, 2, 1].map(Some)), [1, 0, 0, 1, 2]);
    }

    #[test]
    fn an_offset_acknowledged_twice_is_a_contradiction() {
        let verifier = AckVerifier::new(3, &[ack(0, 0, 2), ack(1, 5, 1)]);
        assert_eq!(verifier.verdict.contradictory, 1);
    }

    #[test]
    fn a_log_reads_back_and_survives_a_torn_end() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("acks");
        AckLogWriter::prepare(&path).expect("prepares");
        let mut writer = AckLogWriter::open(&path).expect("opens");
        writer.push(&ack(0, 0, 5));
        writer.push(&ack(5, 5, 1));
        writer.flush().expect("writes");
        OpenOptions::new().append(true).open(&path).expect("opens").write_all(b"torn").expect("writes");
        assert_eq!(read(std::slice::from_ref(&path)), Ok(vec![ack(0, 0, 5), ack(5, 5, 1)]));

        AckLogWriter::prepare(&path).expect("cuts the torn end");
        let mut writer = AckLogWriter::open(&path).expect("opens");
        writer.push(&ack(6, 6, 1));
        writer.flush().expect("writes");
        assert_eq!(read(&[path]).map(|acks| acks.len()), Ok(3));
    }
}
