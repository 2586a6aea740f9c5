//! What a result says of the cluster that it was measured against, and in what settings results differ.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::read::{Run, plain};
use crate::client::describe::{Said, Told};
use crate::client::versions::key;

/// Most settings of the broker, and of the topic, that a result keeps.
const SETTINGS_MAX: usize = 200;
/// Characters of a value that are kept.
const VALUE_CHARS_MAX: usize = 200;

/// `DEFAULT_CONFIG`. Source: Kafka, `DescribeConfigsResponse.ConfigSource`.
const SOURCE_DEFAULT: i8 = 5;

/// Settings that a result keeps even with their defaults: what a figure depends on. Of corelane and Apache Kafka,
/// of brokers and topics.
const RELEVANT: [&str; 47] = [
    "allow.tmpfs",
    "background.threads",
    "cleanup.policy",
    "compression.gzip.level",
    "compression.type",
    "compression.zstd.level",
    "connection.in.flight.max",
    "cores",
    "default.replication.factor",
    "fetch.path",
    "flush.messages",
    "flush.ms",
    "index.interval.bytes",
    "log.cleaner.threads",
    "log.flush.interval.messages",
    "log.flush.interval.ms",
    "log.flush.scheduler.interval.ms",
    "log.index.interval.bytes",
    "log.preallocate",
    "log.retention.bytes",
    "log.retention.ms",
    "log.segment.bytes",
    "max.message.bytes",
    "message.max.bytes",
    "message.timestamp.type",
    "min.insync.replicas",
    "num.io.threads",
    "num.network.threads",
    "num.replica.fetchers",
    "per_core_listeners",
    "preallocate",
    "queued.max.requests",
    "retention.bytes",
    "retention.ms",
    "segment.bytes",
    "segment.ms",
    "shards.flush.interval.ms",
    "shards.journal.file.bytes",
    "shards.journal.files.max",
    "shards.memory.bytes",
    "shards.read.ahead.max",
    "shards.spin.us",
    "shards.tail.cache.bytes.max",
    "shards.unsettled.bytes.max",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
    "write.caching",
];

/// Settings that say where a broker is and not how it works: no difference between two of them.
const PLACES: [&str; 11] = [
    "advertised.listeners",
    "broker.id",
    "broker.rack",
    "controller.quorum.bootstrap.servers",
    "controller.quorum.voters",
    "http.listen",
    "listeners",
    "log.dir",
    "log.dirs",
    "metadata.log.dir",
    "node.id",
];
/// The same of the generator's.
const OWN_PLACES: [&str; 2] = ["bootstrap", "topic"];

/// A cluster, as it told of itself when the run was over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cluster {
    /// Its id.
    pub cluster_id: String,
    /// Its brokers.
    pub brokers: usize,
    /// The broker whose settings these are.
    pub broker: i32,
    /// Levels that the cluster has agreed to, by name of the feature.
    #[serde(default)]
    pub finalized_features: BTreeMap<String, i16>,
    /// Highest levels that the broker's software knows.
    #[serde(default)]
    pub supported_features: BTreeMap<String, i16>,
    /// Highest versions of some APIs.
    #[serde(default)]
    pub api_versions: BTreeMap<String, i16>,
    /// Those that are no defaults, and those that figures depend on.
    #[serde(default)]
    pub broker_settings: BTreeMap<String, Setting>,
    /// The same of the topic.
    #[serde(default)]
    pub topic_settings: BTreeMap<String, Setting>,
    /// Settings that were left out because there are more than a result keeps.
    #[serde(default)]
    pub left_out: usize,
}

/// A setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Absent: it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// `default`, `file`, `broker`, `all brokers`, `topic`, or Kafka's number of another source.
    pub source: String,
}

impl Cluster {
    /// Of what a cluster said.
    #[must_use]
    pub fn new(said: Said) -> Self {
        let apis = [("Produce", key::PRODUCE), ("Fetch", key::FETCH), ("Metadata", key::METADATA)];
        let highest = |(name, key): (&str, i16)| Some((name.to_owned(), said.versions.highest(key)?));
        let (broker_settings, broker_left) = kept(said.broker_settings);
        let (topic_settings, topic_left) = kept(said.topic_settings);
        Self {
            cluster_id: said.cluster_id,
            brokers: said.brokers,
            broker: said.broker,
            api_versions: apis.into_iter().filter_map(highest).collect(),
            finalized_features: said.features.finalized,
            supported_features: said.features.supported,
            broker_settings,
            topic_settings,
            left_out: broker_left + topic_left,
        }
    }
}

/// What a result keeps, and how many it should have kept beyond.
fn kept(told: Vec<Told>) -> (BTreeMap<String, Setting>, usize) {
    let relevant = told
        .into_iter()
        .filter(|one| one.source != SOURCE_DEFAULT || RELEVANT.binary_search(&one.name.as_str()).is_ok());
    let mut all: Vec<_> = relevant.collect();
    // Those that somebody has chosen first.
    all.sort_by_key(|one| one.source == SOURCE_DEFAULT);
    let left_out = all.len().saturating_sub(SETTINGS_MAX);
    let setting = |one: Told| {
        let value = one.value.map(|value| value.chars().take(VALUE_CHARS_MAX).collect());
        (one.name, Setting { value, source: source(one.source) })
    };
    (all.into_iter().take(SETTINGS_MAX).map(setting).collect(), left_out)
}

/// Source: Kafka, `DescribeConfigsResponse.ConfigSource`.
fn source(number: i8) -> String {
    match number {
        1 => "topic".to_owned(),
        2 => "broker".to_owned(),
        3 => "all brokers".to_owned(),
        4 => "file".to_owned(),
        SOURCE_DEFAULT => "default".to_owned(),
        other => other.to_string(),
    }
}

/// A setting that is not the same on both sides of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Of what: `run`, `broker`, `topic`.
    pub of: &'static str,
    /// Its name.
    pub name: String,
    /// What the first side has; several runs may have several.
    pub a: String,
    /// What the second side has.
    pub b: String,
}

/// What a side says where it says nothing: a default that is not listed, or a setting it does not have.
const UNSAID: &str = "not told";

/// In what settings two sides differ. Empty for `broker` and `topic` where one of them tells nothing of its cluster.
#[must_use]
pub fn differences(a: &[Run], b: &[Run]) -> Vec<Difference> {
    let mut found = Vec::new();
    differ(&mut found, "run", &OWN_PLACES, of_runs(a), of_runs(b));
    let told = |runs: &[Run]| runs.iter().all(|run| run.cluster.is_some());
    if told(a) && told(b) {
        differ(&mut found, "broker", &PLACES, versions(a), versions(b));
        let settings = |runs: &[Run]| of_clusters(runs, |cluster| &cluster.broker_settings);
        differ(&mut found, "broker", &PLACES, settings(a), settings(b));
        let settings = |runs: &[Run]| of_clusters(runs, |cluster| &cluster.topic_settings);
        differ(&mut found, "topic", &PLACES, settings(a), settings(b));
    }
    found
}

/// Values of one side, by name: of each run, `None` where it says nothing.
type Values = BTreeMap<String, BTreeSet<Option<String>>>;

fn gathered(each: impl Iterator<Item = BTreeMap<String, String>>) -> Values {
    let each: Vec<_> = each.collect();
    let names: BTreeSet<&String> = each.iter().flat_map(BTreeMap::keys).collect();
    let of = |name: &String| each.iter().map(|one| one.get(name).cloned()).collect();
    names.into_iter().map(|name| (name.clone(), of(name))).collect()
}

fn of_runs(runs: &[Run]) -> Values {
    let told = |run: &Run| {
        let said = run.settings.iter().filter(|(_, value)| !value.is_null());
        let mut told: BTreeMap<_, _> = said.map(|(name, value)| (name.clone(), plain(value))).collect();
        told.insert("mode".to_owned(), run.mode.clone());
        told
    };
    gathered(runs.iter().map(told))
}

fn versions(runs: &[Run]) -> Values {
    let told = |run: &Run| {
        let features = run.cluster.iter().flat_map(|cluster| &cluster.finalized_features);
        let mut told: BTreeMap<_, _> =
            features.map(|(name, level)| (name.clone(), level.to_string())).collect();
        told.extend(run.broker_version().map(|version| ("version".to_owned(), version.to_owned())));
        told
    };
    gathered(runs.iter().map(told))
}

fn of_clusters(runs: &[Run], settings: fn(&Cluster) -> &BTreeMap<String, Setting>) -> Values {
    let told = |run: &Run| {
        let all = run.cluster.iter().flat_map(settings);
        let value = |setting: &Setting| setting.value.clone().unwrap_or_else(|| "none".to_owned());
        all.map(|(name, setting)| (name.clone(), value(setting))).collect()
    };
    gathered(runs.iter().map(told))
}

fn differ(found: &mut Vec<Difference>, of: &'static str, places: &[&str], a: Values, b: Values) {
    let unsaid = BTreeSet::from([None]);
    let names: BTreeSet<&String> = a.keys().chain(b.keys()).collect();
    for name in names.into_iter().filter(|name| !places.contains(&name.as_str())) {
        let (left, right) = (a.get(name).unwrap_or(&unsaid), b.get(name).unwrap_or(&unsaid));
        if left != right {
            let text = |values: &BTreeSet<Option<String>>| {
                let each: Vec<_> = values.iter().map(|one| one.as_deref().unwrap_or(UNSAID)).collect();
                each.join(" and ")
            };
            found.push(Difference { of, name: name.clone(), a: text(left), b: text(right) });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(name: &str, value: &str, source: i8) -> Told {
        Told { name: name.to_owned(), value: Some(value.to_owned()), source }
    }

    #[test]
    fn what_was_chosen_and_what_figures_depend_on_is_kept_and_bounded() {
        assert!(RELEVANT.is_sorted());
        let few = vec![
            told("flush.ms", "9", SOURCE_DEFAULT),
            told("ssl.protocol", "x", SOURCE_DEFAULT),
            told("a", "b", 4),
        ];
        let (settings, left_out) = kept(few);
        assert_eq!(settings.keys().collect::<Vec<_>>(), ["a", "flush.ms"]);
        assert_eq!((settings["a"].source.as_str(), left_out), ("file", 0));
        let many = (0..SETTINGS_MAX + 3).map(|n| told(&n.to_string(), &"v".repeat(VALUE_CHARS_MAX + 1), 4));
        let (settings, left_out) =
            kept(std::iter::once(told("cores", "1", SOURCE_DEFAULT)).chain(many).collect());
        assert_eq!((settings.len(), left_out), (SETTINGS_MAX, 4));
        assert!(!settings.contains_key("cores"), "what was chosen comes first");
        assert_eq!(settings["0"].value.as_ref().map(String::len), Some(VALUE_CHARS_MAX));
    }

    fn run(rate: u64, flush: Option<&str>) -> Run {
        let settings = flush.map(|flush| serde_json::json!({"value": flush, "source": "file"}));
        let mut cluster = serde_json::json!({"cluster_id": "c", "brokers": 1, "broker": 1,
            "broker_settings": {"listeners": {"value": format!("x:{rate}"), "source": "file"}}});
        if let Some(settings) = settings {
            cluster["broker_settings"]["log.flush.interval.messages"] = settings;
        }
        serde_json::from_value(serde_json::json!({"schema": "corelane-bench", "schema_version": 1,
            "mode": "produce", "settings": {"rate": rate, "acks": -1, "topic": rate.to_string(), "records": null},
            "started_unix_ms": 0, "ok": true, "cluster": cluster}))
        .expect("a run")
    }

    #[test]
    fn the_settings_that_differ_are_named_and_places_are_not() {
        let found = differences(&[run(1, Some("1")), run(1, Some("2"))], &[run(3, None)]);
        let text: Vec<_> = found.iter().map(|d| format!("{} {}: {} / {}", d.of, d.name, d.a, d.b)).collect();
        assert_eq!(text, ["run rate: 1 / 3", "broker log.flush.interval.messages: 1 and 2 / not told"]);
        assert!(differences(&[run(1, Some("1"))], &[run(1, Some("1"))]).is_empty());
        let mut other = run(1, Some("1"));
        other.settings.insert("topic-config".to_owned(), serde_json::json!([["a", "1"], ["b", "2"]]));
        let [found] = &differences(&[run(1, Some("1"))], &[other])[..] else { panic!("one difference") };
        assert_eq!((found.a.as_str(), found.b.as_str()), ("not told", "a=1, b=2"));
    }

    #[test]
    fn a_result_without_a_cluster_is_not_taken_for_one_with_defaults() {
        let mut old = run(1, None);
        old.cluster = None;
        assert!(differences(&[old], &[run(1, Some("1"))]).is_empty());
    }
}
