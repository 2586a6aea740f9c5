//! The result for machines: one JSON document per run, its schema versioned.
//!
//! Times are microseconds, sizes bytes. A field may be added under the same version; one that changes its
//! meaning or goes away raises it.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::serialization::{Serializer as _, V2DeflateSerializer};
use serde::Serialize;

use super::cluster::Cluster;
use super::table::QUANTILES;
use crate::ack_log::AckVerdict;
use crate::clock::{Nanos, SECOND};
use crate::consume::partition::Received;
use crate::produce::worker::coordination::Counted;
use crate::resources::Resources;
use crate::stats::{Counts, Times};
use crate::validity::Validity;
use crate::verify::Verdict;

/// Version of [`Document`].
pub const SCHEMA_VERSION: u32 = 1;

/// A run.
#[derive(Debug, Serialize)]
pub struct Document<'a> {
    /// Always `corelane-bench`.
    pub schema: &'static str,
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// What `corelane bench` calls it.
    pub mode: &'a str,
    /// The settings of the run, by flag name.
    pub settings: BTreeMap<&'static str, serde_json::Value>,
    /// Unix time of the start.
    pub started_unix_ms: u64,
    /// `true` if the exit status is 0.
    pub ok: bool,
    /// What was wrong, if anything.
    pub problems: &'a [String],
    /// Whether an open loop was the load that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validity: Option<Validity>,
    /// Uncompressed bytes of batches for each byte that was sent. Absent: nothing was compressed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compression_ratio: Option<f64>,
    /// The sending side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub produce: Option<Side>,
    /// Bytes that the broker's process wrote to its disk for each byte of acknowledged batches. Absent: unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_amplification: Option<f64>,
    /// The reading side.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consume: Option<Side>,
    /// The others: `tail-1`, `catch-1`, ..., `commit` (whose service times are those of commits), `transaction`
    /// (from its first record to its end; service times are those of EndTxn).
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<String, Side>,
    /// When each reader first had all there was.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub caught_up_seconds: BTreeMap<String, f64>,
    /// What each reader received, partition by partition.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub partitions: BTreeMap<String, Vec<PartitionCount>>,
    /// Connections that were held and did nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_connections: Option<&'a IdleConnections>,
    /// What verification found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification: Option<&'a Verdict>,
    /// What became of acknowledged records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub acknowledgements: Option<&'a AckVerdict>,
    /// What the run cost, and where it ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<&'a Resources>,
    /// How transactions ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transactions: Option<Counted>,
    /// The cluster, as it tells of itself. Absent: it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Cluster>,
    /// What this host can do at all, if `bench limits` has measured it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<serde_json::Value>,
    /// The rates of a sweep, ascending; the rest of the document is the best rate before the knee.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub points: Vec<SweepPoint>,
}

/// What a reader received of one partition.
#[derive(Debug, Serialize)]
pub struct PartitionCount {
    /// Its index.
    pub partition: i32,
    /// What was received of it, and what verification found.
    #[serde(flatten)]
    pub received: Received,
}

/// Connections that were held and did nothing.
#[derive(Debug, Serialize)]
pub struct IdleConnections {
    /// How many.
    pub count: u64,
    /// Of them no longer there at the end.
    pub lost: u64,
    /// Opened one after the other.
    pub opened_per_second: f64,
    /// From the first packet to the answered ApiVersions.
    pub open_us: Summary,
}

/// One rate of a sweep.
#[derive(Debug, Serialize)]
pub struct SweepPoint {
    /// Records per second that the schedule held.
    pub target_records_per_second: f64,
    /// Records per second that were acknowledged.
    pub achieved_records_per_second: f64,
    /// At least 99 % of the target were achieved.
    pub valid: bool,
    /// Not achieved, or with a 99th percentile of more than five times the first rate's.
    pub past_knee: bool,
    /// From the intended time.
    pub latency_us: Summary,
    /// From send to answer.
    pub service_us: Summary,
    /// The generator's own.
    pub lateness_us: Summary,
}

/// One side of the broker over a whole run.
#[derive(Debug, Serialize)]
pub struct Side {
    /// From the start to the last acknowledgement or receipt.
    pub seconds: f64,
    /// Acknowledged, or received.
    pub records: u64,
    /// Of their values.
    pub bytes: u64,
    /// Answered.
    pub requests: u64,
    /// Refused by the broker.
    pub failed_records: u64,
    /// Of unknown outcome.
    pub unknown_records: u64,
    /// Records per second.
    pub records_per_second: f64,
    /// Bytes per second.
    pub bytes_per_second: f64,
    /// Requests per second.
    pub requests_per_second: f64,
    /// From the intended time to the acknowledgement or receipt.
    pub latency_us: Summary,
    /// From send to answer.
    pub service_us: Summary,
    /// The generator's own.
    pub lateness_us: Summary,
    /// All of `latency_us`: an HdrHistogram of nanoseconds, V2, deflated, base64. Absent: nothing was timed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_hdr: Option<String>,
    /// The same of `service_us`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service_hdr: Option<String>,
    /// Second by second.
    pub intervals: Vec<Interval>,
}

/// One second.
#[derive(Debug, Clone, Serialize)]
pub struct Interval {
    /// Counted from the start.
    pub second: u64,
    /// In this second.
    pub records: u64,
    /// In this second.
    pub bytes: u64,
    /// In this second.
    pub latency_us: Summary,
}

/// Count, mean and quantiles of one histogram; only `count` if it is empty.
pub type Summary = BTreeMap<&'static str, f64>;

/// Of a histogram, in microseconds.
pub fn summary(times: &Times) -> Summary {
    let histogram = times.histogram();
    let mut summary = Summary::from([("count", histogram.len() as f64)]);
    if !histogram.is_empty() {
        summary.insert("mean", histogram.mean() / 1e3);
        summary.extend(QUANTILES.iter().map(|(name, quantile)| (*name, times.at(*quantile) as f64 / 1e3)));
    }
    summary
}

fn encoded(times: &Times) -> Option<String> {
    let mut bytes = Vec::new();
    // Into memory: it cannot fail but for a histogram that is too large for its own format.
    let written = V2DeflateSerializer::new().serialize(times.histogram(), &mut bytes);
    (written.is_ok() && !times.histogram().is_empty()).then(|| STANDARD.encode(bytes))
}

impl Interval {
    /// What is told of a second.
    pub fn new(second: u64, counts: &Counts) -> Self {
        let latency_us = summary(&counts.latency);
        Self { second, records: counts.records, bytes: counts.bytes, latency_us }
    }
}

impl Side {
    /// From the run's totals and its seconds.
    pub fn new<'a>(total: &Counts, elapsed: Nanos, seconds: impl IntoIterator<Item = &'a Interval>) -> Self {
        let elapsed = elapsed.max(1) as f64 / SECOND as f64;
        Self {
            seconds: elapsed,
            records: total.records,
            bytes: total.bytes,
            requests: total.requests,
            failed_records: total.failed,
            unknown_records: total.unknown,
            records_per_second: total.records as f64 / elapsed,
            bytes_per_second: total.bytes as f64 / elapsed,
            requests_per_second: total.requests as f64 / elapsed,
            latency_us: summary(&total.latency),
            service_us: summary(&total.service),
            lateness_us: summary(&total.lateness),
            latency_hdr: encoded(&total.latency),
            service_hdr: encoded(&total.service),
            intervals: seconds.into_iter().cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::read::{Run, histogram};

    #[test]
    fn the_document_has_the_fields_that_readers_rely_on() {
        let mut counts = Counts { records: 10, bytes: 1000, ..Counts::default() };
        counts.latency.record(2_000_000, 10);
        let side = Side::new(&counts, 2 * SECOND, [&Interval::new(0, &counts)]);
        let document = Document {
            schema: "corelane-bench",
            schema_version: SCHEMA_VERSION,
            mode: "produce",
            settings: BTreeMap::new(),
            started_unix_ms: 1,
            ok: true,
            problems: &[],
            produce: Some(side),
            consume: None,
            validity: None,
            compression_ratio: None,
            verification: None,
            acknowledgements: None,
            roles: BTreeMap::new(),
            caught_up_seconds: BTreeMap::new(),
            partitions: BTreeMap::new(),
            idle_connections: None,
            points: Vec::new(),
            write_amplification: None,
            resources: None,
            transactions: None,
            cluster: None,
            limits: None,
        };
        let value = serde_json::to_value(&document).expect("serializes");
        assert_eq!(value["schema_version"], 1);
        assert_eq!(value["produce"]["records_per_second"], 5.0);
        let p99 = value["produce"]["latency_us"]["p99"].as_f64().expect("a number");
        assert!((p99 / 2000.0 - 1.0).abs() < 0.01, "p99 {p99} us");
        assert_eq!(value["produce"]["intervals"][0]["records"], 10);
        assert_eq!(value["produce"]["service_us"]["count"], 0.0);
        assert!(value.get("consume").is_none());
        let latency = histogram(value["produce"]["latency_hdr"].as_str()).expect("reads back");
        assert_eq!((latency.len(), latency.max() / 100_000), (10, counts.latency.at(1.0) / 100_000));
        let text = serde_json::to_string(&document).expect("serializes");
        let run: Run = serde_json::from_str(&text).expect("reads back");
        assert_eq!(
            run.sides().map(|(name, side)| (name, side.records)).collect::<Vec<_>>(),
            [("produce", 10)]
        );
    }
}
