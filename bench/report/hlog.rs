//! An HdrHistogram interval log: every second's histograms, in nanoseconds, for HdrHistogram's own tools.
//!
//! Format: interval log with V2 histograms in their compressed form, the one that Java's
//! `HistogramLogReader` takes. Tags: `produce`, `produce-service`, `produce-lateness`, `consume`, ...

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use crate::stats::{Counts, Role};

/// What the log's column of maxima is divided by: nanoseconds shown as milliseconds, as Java's writer does.
const MAX_VALUE_DIVISOR: f64 = 1e6;

/// A log being written.
#[derive(Debug)]
pub struct HistogramLog {
    out: BufWriter<File>,
}

impl HistogramLog {
    /// Begins a log whose intervals count from `start`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(path: &Path, start: SystemTime) -> io::Result<Self> {
        let mut out = BufWriter::new(File::create(path)?);
        IntervalLogWriterBuilder::new()
            .add_comment("[Histogram log format version 1.3]")
            .with_start_time(start)
            .with_base_time(start)
            .with_max_value_divisor(MAX_VALUE_DIVISOR)
            .begin_log_with(&mut out, &mut V2DeflateSerializer::new())?;
        Ok(Self { out })
    }

    /// Appends one second of one role; empty histograms are left out.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn append(&mut self, role: Role, second: u64, counts: &Counts) -> io::Result<()> {
        let [latency, service, lateness] = ["", "-service", "-lateness"].map(|what| format!("{role}{what}"));
        let mut serializer = V2DeflateSerializer::new();
        let mut writer = IntervalLogWriterBuilder::new();
        let writer = writer.with_max_value_divisor(MAX_VALUE_DIVISOR);
        for (tag, times) in
            [(latency, &counts.latency), (service, &counts.service), (lateness, &counts.lateness)]
        {
            if times.histogram().is_empty() {
                continue;
            }
            // A builder writes its divisor as a comment each time; only the lines after it are wanted.
            let mut line = Vec::new();
            writer
                .begin_log_with(&mut line, &mut serializer)?
                .write_histogram(
                    times.histogram(),
                    Duration::from_secs(second),
                    Duration::from_secs(1),
                    Tag::new(&tag),
                )
                .map_err(|error| io::Error::other(format!("{error:?}")))?;
            let own = line.split(|b| *b == b'\n').rfind(|line| !line.is_empty()).unwrap_or_default();
            self.out.write_all(own)?;
            self.out.write_all(b"\n")?;
        }
        Ok(())
    }

    /// Ends the log.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    #[test]
    fn a_log_reads_back_as_what_was_recorded() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("run.hlog");
        let mut log = HistogramLog::create(&path, SystemTime::now()).expect("creates");
        let mut counts = Counts::default();
        counts.latency.record(1_500_000, 3);
        counts.lateness.record(20_000, 3);
        log.append(Role::Produce, 0, &counts).expect("appends");
        counts.latency.record(9_000_000, 1);
        log.append(Role::Produce, 1, &counts).expect("appends");
        log.finish().expect("flushes");

        let text = std::fs::read(&path).expect("reads");
        let mut seen = Vec::new();
        for entry in IntervalLogIterator::new(&text) {
            if let LogEntry::Interval(interval) = entry.expect("a sound line") {
                let bytes = base64(interval.encoded_histogram());
                let histogram: hdrhistogram::Histogram<u64> =
                    Deserializer::new().deserialize(&mut bytes.as_slice()).expect("a sound histogram");
                let tag = interval.tag().map(|tag| tag.as_str().to_owned()).unwrap_or_default();
                seen.push((tag, interval.start_timestamp().as_secs(), histogram.len()));
            }
        }
        let expected =
            [("produce", 0, 3), ("produce-lateness", 0, 3), ("produce", 1, 4), ("produce-lateness", 1, 3)];
        assert_eq!(seen, expected.map(|(tag, second, count)| (tag.to_owned(), second, count)));
    }

    /// Standard base64, enough for a test.
    fn base64(text: &str) -> Vec<u8> {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut bytes = Vec::new();
        let (mut bits, mut held) = (0u32, 0);
        for digit in text.bytes().filter_map(|c| alphabet.iter().position(|a| *a == c)) {
            bits = bits << 6 | u32::try_from(digit).expect("below 64");
            held += 6;
            if held >= 8 {
                held -= 8;
                bytes.push((bits >> held) as u8);
                bits &= (1 << held) - 1;
            }
        }
        bytes
    }
}
