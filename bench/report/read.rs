//! Results read back: what `json.rs` writes, of this version of the schema.
//!
//! Fields that an older generator did not write are absent here, never guessed.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use serde::Deserialize;
use serde_json::Value;

use super::cluster::Cluster;
use super::json::SCHEMA_VERSION;

/// Largest file that is taken for a result.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// A run.
#[derive(Debug, Clone, Deserialize)]
pub struct Run {
    schema: String,
    schema_version: u32,
    /// `produce`, `consume`, `e2e`, ...
    pub mode: String,
    /// By flag name.
    #[serde(default)]
    pub settings: BTreeMap<String, Value>,
    /// Unix time of the start.
    pub started_unix_ms: u64,
    /// Nothing was wrong.
    pub ok: bool,
    /// What was wrong.
    #[serde(default)]
    pub problems: Vec<String>,
    /// The sending side.
    pub produce: Option<Side>,
    /// The reading side.
    pub consume: Option<Side>,
    /// Further ones: `tail-1`, `catch-1`, `commit`.
    #[serde(default)]
    pub roles: BTreeMap<String, Side>,
    /// When each reader first had all there was.
    #[serde(default)]
    pub caught_up_seconds: BTreeMap<String, f64>,
    /// Bytes written to the broker's disk for each byte taken.
    pub write_amplification: Option<f64>,
    /// How transactions ended.
    pub transactions: Option<Value>,
    /// What verification found.
    pub verification: Option<Value>,
    /// What the run cost, and where it ran.
    pub resources: Option<Value>,
    /// The cluster, as it told of itself.
    pub cluster: Option<Cluster>,
    /// What this host can do at all.
    pub limits: Option<Value>,
    /// The points of a sweep.
    #[serde(default)]
    pub points: Vec<Point>,
    /// What it is called in plots.
    #[serde(skip)]
    pub name: String,
}

/// One side of the broker.
#[derive(Debug, Clone, Deserialize)]
pub struct Side {
    /// How long it took.
    pub seconds: f64,
    /// Acknowledged or received.
    pub records: u64,
    /// Per second.
    pub records_per_second: f64,
    /// Per second.
    pub bytes_per_second: f64,
    /// Per second.
    pub requests_per_second: f64,
    /// Quantiles, from the intended time.
    #[serde(default)]
    pub latency_us: BTreeMap<String, f64>,
    /// Quantiles, from the send.
    #[serde(default)]
    pub service_us: BTreeMap<String, f64>,
    /// Quantiles of the generator's own lateness.
    #[serde(default)]
    pub lateness_us: BTreeMap<String, f64>,
    /// The whole histogram: V2, deflated, base64, in nanoseconds.
    pub latency_hdr: Option<String>,
    /// The same of service times.
    pub service_hdr: Option<String>,
    /// Second by second.
    #[serde(default)]
    pub intervals: Vec<Interval>,
}

/// One second.
#[derive(Debug, Clone, Deserialize)]
pub struct Interval {
    /// From the start.
    pub second: u64,
    /// In it.
    pub bytes: u64,
    /// In it.
    #[serde(default)]
    pub latency_us: BTreeMap<String, f64>,
}

/// One rate of a sweep.
#[derive(Debug, Clone, Deserialize)]
pub struct Point {
    /// Records per second that were to be sent.
    pub target_records_per_second: f64,
    /// Records per second that were acknowledged.
    pub achieved_records_per_second: f64,
    /// Quantiles, from the intended time.
    pub latency_us: BTreeMap<String, f64>,
}

impl Run {
    /// Reads a result. `Err` says which file, and why it is none.
    pub fn read(path: &Path) -> Result<Self, String> {
        let failed = |why: String| format!("{}: {why}", path.display());
        let bytes = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
        if bytes > FILE_BYTES_MAX {
            return Err(failed(format!(
                "{bytes} bytes are more than a result has ({FILE_BYTES_MAX} at most)"
            )));
        }
        let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
        let mut run: Self = serde_json::from_str(&text)
            .map_err(|error| failed(format!("not a result of corelane bench: {error}")))?;
        if run.schema != "corelane-bench" || run.schema_version != SCHEMA_VERSION {
            let (schema, version) = (&run.schema, run.schema_version);
            return Err(failed(format!(
                "it is of schema {schema} {version}; corelane-bench {SCHEMA_VERSION} can be read"
            )));
        }
        run.name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(run)
    }

    /// The sides that took part, with their names: the sending one, the reading ones.
    pub fn sides(&self) -> impl Iterator<Item = (&str, &Side)> {
        let sides = [("produce", &self.produce), ("consume", &self.consume)];
        let sides = sides.into_iter().filter_map(|(name, side)| Some((name, side.as_ref()?)));
        sides.chain(self.roles.iter().map(|(name, side)| (name.as_str(), side)))
    }

    /// Version of the broker's software, where it ran on the generator's host.
    pub fn broker_version(&self) -> Option<&str> {
        self.resources.as_ref()?.pointer("/broker/version")?.as_str()
    }
}

/// Decodes a histogram of nanoseconds; `None` if there is none, or it is damaged.
pub fn histogram(encoded: Option<&str>) -> Option<Histogram<u64>> {
    let bytes = STANDARD.decode(encoded?).ok()?;
    Deserializer::new().deserialize(&mut bytes.as_slice()).ok()
}
