//! The table of topic-level configuration keys: name, type, default, bounds, documentation.
//!
//! This is the only list of them. CreateTopics checks against it, DescribeConfigs reports from it and
//! [`settings`] turns texts into what the rooms below act on ([`TopicSettings`]). A key whose
//! [`TopicKey::acted_on`] is false is checked, stored and reported like any other, and changes nothing yet.
//!
//! A value is found in this order: set on the topic, set for the broker under the key's
//! [`TopicKey::broker_key`] ([`TopicDefaults`]), the table's default.
//!
//! **To add a key: one row here**, in the order of names: name, type, default, bounds, the broker-level key
//! that gives its default, whether the broker acts on it, one sentence, and the field of [`TopicSettings`]
//! that it fills (add the field there, with the same default). The broker-level setting, its place in
//! files, flags, DescribeConfigs and the reference page follow from the row.
//!
//! Source: Kafka 4.1, `LogConfig`, `TopicConfig`, `ServerTopicConfigSynonyms`, `QuotaConfig`. Names,
//! types, defaults and bounds are Kafka's, but for two: `segment.bytes` may be as small as in Kafka
//! 4.0, and `write.caching` is ours.

use std::collections::BTreeMap;

pub use super::kind::ConfigType;
use super::kind::{Bounds, boolean, items};
use crate::model::{CleanupPolicy, CompressionType, TimestampType, TopicSettings};

/// One topic-level configuration key.
#[derive(Debug)]
pub struct TopicKey {
    /// Kafka's name.
    pub name: &'static str,
    /// Type of its values.
    pub kind: ConfigType,
    /// The value where nobody set one.
    pub default: &'static str,
    bounds: Bounds,
    field: Field,
    /// The broker-level key whose value is this key's default, if there is one.
    pub broker_key: Option<&'static str>,
    /// Whether the broker behaves by it; otherwise it is stored and reported only.
    pub acted_on: bool,
    /// One sentence for `DescribeConfigs`.
    pub documentation: &'static str,
}

const LONG_MAX: &str = "9223372036854775807";
const CODECS: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];
const POLICIES: &[&str] = &["compact", "delete"];
const CLOCKS: &[&str] = &["CreateTime", "LogAppendTime"];
/// Smallest `segment.bytes`. Source: Kafka 4.0, `LogConfig` (4.1 asks for 1 MiB).
const SEGMENT_BYTES_MIN: i64 = 14;

/// The field of [`TopicSettings`] that a key's value goes to. Casts in the table are exact: the bounds and
/// the type of their row say so.
#[derive(Debug)]
enum Field {
    /// Nothing below looks at this key.
    None,
    Number(fn(&mut TopicSettings, i64)),
    Ratio(fn(&mut TopicSettings, f64)),
    Flag(fn(&mut TopicSettings, bool)),
    Text(fn(&mut TopicSettings, &str)),
}

macro_rules! field {
    () => {
        Field::None
    };
    ($field:ident($fill:expr)) => {
        Field::$field($fill)
    };
}

macro_rules! keys {
    ($($name:literal, $kind:ident, $default:expr, $bounds:expr, $broker:expr, $acted:literal, $doc:literal
        $(, $field:ident($fill:expr))?;)*) => {
        &[$(TopicKey {
            field: field!($($field($fill))?),
            name: $name,
            kind: ConfigType::$kind,
            default: $default,
            bounds: $bounds,
            broker_key: $broker,
            acted_on: $acted,
            documentation: $doc,
        },)*]
    };
}

/// Every topic-level key, by name.
#[rustfmt::skip]
pub const TABLE: &[TopicKey] = keys! {
    "cleanup.policy", List, "delete", Bounds::EachOf(POLICIES), Some("log.cleanup.policy"), true,
        "What happens to old segments: delete them, compact them by key, or both.", Text(|t, text| t.cleanup_policy = policy(text));
    "compression.gzip.level", Int, "-1", Bounds::BetweenOrMinusOne(1, 9), Some("compression.gzip.level"), true,
        "Level of gzip when compression.type is gzip.", Number(|t, n| t.gzip_level = n as i32);
    "compression.lz4.level", Int, "9", Bounds::Between(1, 17), Some("compression.lz4.level"), true,
        "Level of lz4 when compression.type is lz4; 9 is the fast one.", Number(|t, n| t.lz4_level = n as i32);
    "compression.type", String, "producer", Bounds::OneOf(CODECS), Some("compression.type"), true,
        "Codec of stored batches; producer keeps the one they were sent with.", Text(|t, text| t.compression_type = codec(text));
    "compression.zstd.level", Int, "3", Bounds::Between(-131_072, 22), Some("compression.zstd.level"), true,
        "Level of zstd when compression.type is zstd.", Number(|t, n| t.zstd_level = n as i32);
    "delete.retention.ms", Long, "86400000", Bounds::AtLeast(0), Some("log.cleaner.delete.retention.ms"), true,
        "How long a compacted topic keeps tombstones, in milliseconds.", Number(|t, n| t.delete_retention_ms = n);
    "file.delete.delay.ms", Long, "60000", Bounds::AtLeast(0), Some("log.segment.delete.delay.ms"), false,
        "How long a file that is no longer needed stays on disk, in milliseconds.";
    "flush.messages", Long, LONG_MAX, Bounds::AtLeast(1), Some("log.flush.interval.messages"), false,
        "Records after which the log is flushed; acknowledgements here follow acks instead.";
    "flush.ms", Long, LONG_MAX, Bounds::AtLeast(0), Some("log.flush.interval.ms"), false,
        "Milliseconds after which the log is flushed; acknowledgements here follow acks instead.";
    "follower.replication.throttled.replicas", List, "", Bounds::ThrottledReplicas, None, false,
        "Follower replicas whose replication is throttled, as partition:broker pairs, or * for all.";
    "index.interval.bytes", Int, "4096", Bounds::AtLeast(0), Some("log.index.interval.bytes"), false,
        "Bytes appended between two entries of the offset index.";
    "leader.replication.throttled.replicas", List, "", Bounds::ThrottledReplicas, None, false,
        "Leader replicas whose replication is throttled, as partition:broker pairs, or * for all.";
    "local.retention.bytes", Long, "-2", Bounds::AtLeast(-2), Some("log.local.retention.bytes"), false,
        "Bytes kept locally under tiered storage; -2 takes retention.bytes.";
    "local.retention.ms", Long, "-2", Bounds::AtLeast(-2), Some("log.local.retention.ms"), false,
        "Milliseconds kept locally under tiered storage; -2 takes retention.ms.";
    "max.compaction.lag.ms", Long, LONG_MAX, Bounds::AtLeast(1), Some("log.cleaner.max.compaction.lag.ms"), true,
        "Longest time a record may escape compaction, in milliseconds.", Number(|t, n| t.max_compaction_lag_ms = n);
    "max.message.bytes", Int, "1048588", Bounds::AtLeast(0), Some("message.max.bytes"), true,
        "Largest record batch in bytes, as compressed, header included.", Number(|t, n| t.max_message_bytes = n as usize);
    "message.timestamp.after.max.ms", Long, "3600000", Bounds::AtLeast(0), Some("log.message.timestamp.after.max.ms"), true,
        "How far ahead of the broker's clock a record's CreateTime may be, in milliseconds.", Number(|t, n| t.timestamp_after_max_ms = n);
    "message.timestamp.before.max.ms", Long, LONG_MAX, Bounds::AtLeast(0), Some("log.message.timestamp.before.max.ms"), true,
        "How far behind the broker's clock a record's CreateTime may be, in milliseconds.", Number(|t, n| t.timestamp_before_max_ms = n);
    "message.timestamp.type", String, "CreateTime", Bounds::OneOf(CLOCKS), Some("log.message.timestamp.type"), true,
        "Whose clock a record's timestamp is of: the producer's or the broker's at append.", Text(|t, text| t.timestamp_type = clock(text));
    "min.cleanable.dirty.ratio", Double, "0.5", Bounds::DoubleBetween(0.0, 1.0), Some("log.cleaner.min.cleanable.ratio"), true,
        "Share of a log that must be dirty before it is compacted.", Ratio(|t, ratio| t.min_cleanable_dirty_ratio = ratio);
    "min.compaction.lag.ms", Long, "0", Bounds::AtLeast(0), Some("log.cleaner.min.compaction.lag.ms"), true,
        "Shortest time a record stays uncompacted, in milliseconds.", Number(|t, n| t.min_compaction_lag_ms = n);
    "min.insync.replicas", Int, "1", Bounds::AtLeast(1), Some("min.insync.replicas"), false,
        "In-sync replicas that acks=all needs.";
    "preallocate", Boolean, "false", Bounds::Any, Some("log.preallocate"), false,
        "Whether segment files are allocated in full when created; here space follows the partition's rate.";
    "remote.log.copy.disable", Boolean, "false", Bounds::OnlyFalse, None, false,
        "Stops copying to tiered storage, which this broker does not have.";
    "remote.log.delete.on.disable", Boolean, "false", Bounds::OnlyFalse, None, false,
        "Deletes tiered data once tiered storage is disabled; this broker has none.";
    "remote.storage.enable", Boolean, "false", Bounds::OnlyFalse, None, false,
        "Turns tiered storage on, which this broker does not have.";
    "retention.bytes", Long, "-1", Bounds::Any, Some("log.retention.bytes"), true,
        "Bytes that a partition keeps before old segments are deleted; -1 for no limit.", Number(|t, n| t.retention_bytes = n);
    "retention.ms", Long, "604800000", Bounds::AtLeast(-1), Some("log.retention.ms"), true,
        "Milliseconds that a partition keeps records before old segments are deleted; -1 for no limit.", Number(|t, n| t.retention_ms = n);
    "segment.bytes", Int, "1073741824", Bounds::AtLeast(SEGMENT_BYTES_MIN), Some("log.segment.bytes"), true,
        "A segment is rolled before it grows past this many bytes.", Number(|t, n| t.segment_bytes = n as u64);
    "segment.index.bytes", Int, "10485760", Bounds::AtLeast(4), Some("log.index.size.max.bytes"), false,
        "Largest size of a segment's offset index.";
    "segment.jitter.ms", Long, "0", Bounds::AtLeast(0), Some("log.roll.jitter.ms"), false,
        "Random milliseconds by which segments roll early.";
    "segment.ms", Long, "604800000", Bounds::AtLeast(1), Some("log.roll.ms"), true,
        "A segment is rolled once its first record is older than this many milliseconds.", Number(|t, n| t.segment_ms = n);
    "unclean.leader.election.enable", Boolean, "false", Bounds::Any, Some("unclean.leader.election.enable"), false,
        "Whether a replica that is not in sync may become leader.";
    "write.caching", Boolean, "false", Bounds::Any, Some("write.caching"), true,
        "Whether acks=all is answered once written, before it is flushed: bounded loss at power failure. Not a Kafka key.", Flag(|t, flag| t.write_caching = flag);
};

/// Why a configuration was refused; the text is what the client is shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicConfigError {
    /// The table has no such key.
    #[error("Unknown topic config name: {name}")]
    UnknownKey {
        /// As the client wrote it.
        name: String,
    },
    /// The value does not read as the key's type.
    #[error("Invalid value {value} for configuration {name}: Not a value of type {kind}")]
    NotOfType {
        /// The key.
        name: &'static str,
        /// The value as the client wrote it.
        value: String,
        /// Kafka's name of the type.
        kind: &'static str,
    },
    /// The value reads, but lies outside the key's bounds.
    #[error("Invalid value {value} for configuration {name}: Value must be {bounds}")]
    OutOfBounds {
        /// The key.
        name: &'static str,
        /// The value as the client wrote it.
        value: String,
        /// What would be accepted.
        bounds: String,
    },
    /// Two values that exclude each other.
    #[error(
        "conflict with topic config setting: min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max})"
    )]
    CompactionLags {
        /// `min.compaction.lag.ms`
        min: i64,
        /// `max.compaction.lag.ms`
        max: i64,
    },
}

/// The row of that name.
#[must_use]
pub fn key(name: &str) -> Option<&'static TopicKey> {
    TABLE.binary_search_by(|row| row.name.cmp(name)).ok().map(|place| &TABLE[place])
}

/// Values that the broker's own configuration gives to topic keys: checked, by topic key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicDefaults(BTreeMap<&'static str, String>);

impl TopicDefaults {
    /// Takes one broker-level setting, such as `log.retention.ms`. False if no topic key has it as its default.
    ///
    /// # Errors
    /// [`TopicConfigError`] if the value is none of the topic key's.
    pub fn set(&mut self, broker_key: &str, value: &str) -> Result<bool, TopicConfigError> {
        let Some(row) = TABLE.iter().find(|row| row.broker_key == Some(broker_key)) else {
            return Ok(false);
        };
        self.set_key(row, value).map(|()| true)
    }

    /// Takes the broker's value for a topic key.
    ///
    /// # Errors
    /// [`TopicConfigError`] if the value is none of the key's.
    pub(super) fn set_key(&mut self, key: &'static TopicKey, value: &str) -> Result<(), TopicConfigError> {
        key.validate(value)?;
        self.0.insert(key.name, value.trim().to_owned());
        Ok(())
    }

    /// The broker's value for a topic key, if its configuration has one.
    #[must_use]
    pub fn get(&self, topic_key: &str) -> Option<&str> {
        self.0.get(topic_key).map(String::as_str)
    }
}

impl TopicKey {
    /// Checks a value as Kafka does: type first, then bounds. Surrounding blanks do not count.
    ///
    /// # Errors
    /// [`TopicConfigError::NotOfType`] or [`TopicConfigError::OutOfBounds`].
    pub fn validate(&self, value: &str) -> Result<(), TopicConfigError> {
        let text = value.trim();
        if !self.kind.reads(text) {
            let (value, kind) = (value.to_owned(), self.kind.name());
            return Err(TopicConfigError::NotOfType { name: self.name, value, kind });
        }
        if self.bounds.hold(text) {
            return Ok(());
        }
        let (value, bounds) = (value.to_owned(), self.bounds.describe());
        Err(TopicConfigError::OutOfBounds { name: self.name, value, bounds })
    }

    /// What its values may be beyond their type.
    pub(super) fn bounds(&self) -> String {
        self.bounds.describe()
    }

    /// Puts a value that has passed [`TopicKey::validate`] where it belongs.
    fn fill(&self, settings: &mut TopicSettings, text: &str) {
        let checked = |ok: bool| assert!(ok, "{} was checked to be {}", self.name, self.kind.name());
        match self.field {
            Field::None => {}
            Field::Text(fill) => fill(settings, text),
            Field::Number(fill) => checked(text.parse().map(|number| fill(settings, number)).is_ok()),
            Field::Ratio(fill) => checked(text.parse().map(|ratio| fill(settings, ratio)).is_ok()),
            Field::Flag(fill) => checked(boolean(text).map(|flag| fill(settings, flag)).is_some()),
        }
    }
}

/// Checks a topic's own settings: every key known, every value sound, none at odds with another.
///
/// # Errors
/// [`TopicConfigError`] names the first that is not.
pub fn validate(
    overrides: &BTreeMap<String, String>,
    defaults: &TopicDefaults,
) -> Result<(), TopicConfigError> {
    for (name, value) in overrides {
        let row = key(name).ok_or_else(|| TopicConfigError::UnknownKey { name: name.clone() })?;
        row.validate(value)?;
    }
    let values = Values { overrides, defaults };
    let (min, max) = (values.number("min.compaction.lag.ms"), values.number("max.compaction.lag.ms"));
    if min > max {
        return Err(TopicConfigError::CompactionLags { min, max });
    }
    Ok(())
}

/// The effective values of one topic.
struct Values<'a> {
    overrides: &'a BTreeMap<String, String>,
    defaults: &'a TopicDefaults,
}

impl Values<'_> {
    fn text(&self, row: &TopicKey) -> &str {
        let own = self.overrides.get(row.name).map(String::as_str);
        let sound = own.filter(|value| row.validate(value).is_ok());
        sound.or_else(|| self.defaults.get(row.name)).unwrap_or(row.default).trim()
    }

    fn number(&self, name: &str) -> i64 {
        let row = key(name).unwrap_or_else(|| panic!("{name} is not in the table"));
        self.text(row).parse().unwrap_or_else(|_| panic!("{name} was checked to be a number"))
    }
}

/// What a topic's own values, the broker's and the table's defaults come to.
///
/// A value that no longer passes its checks (written by another version of this broker) counts as
/// not set; what a client sends is refused by [`validate`] before it gets here.
#[must_use]
pub fn settings(overrides: &BTreeMap<String, String>, defaults: &TopicDefaults) -> TopicSettings {
    let values = Values { overrides, defaults };
    let mut settings = TopicSettings::default();
    for row in TABLE {
        row.fill(&mut settings, values.text(row));
    }
    settings
}

fn policy(text: &str) -> CleanupPolicy {
    let names = |word: &str| items(text).any(|item| item == word);
    CleanupPolicy { delete: names("delete"), compact: names("compact") }
}

fn codec(text: &str) -> CompressionType {
    match text {
        "uncompressed" => CompressionType::Uncompressed,
        "gzip" => CompressionType::Gzip,
        "snappy" => CompressionType::Snappy,
        "lz4" => CompressionType::Lz4,
        "zstd" => CompressionType::Zstd,
        _ => CompressionType::Producer,
    }
}

fn clock(text: &str) -> TimestampType {
    match text {
        "LogAppendTime" => TimestampType::LogAppendTime,
        _ => TimestampType::CreateTime,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, value: &str) -> Result<(), TopicConfigError> {
        let overrides = BTreeMap::from([(name.to_owned(), value.to_owned())]);
        validate(&overrides, &TopicDefaults::default())
    }

    #[test]
    fn the_table_is_sorted_and_every_default_passes_its_own_checks() {
        assert!(TABLE.is_sorted_by(|a, b| a.name < b.name));
        for row in TABLE {
            assert_eq!(row.validate(row.default), Ok(()), "{}", row.name);
            assert_eq!(key(row.name).map(|found| found.name), Some(row.name));
        }
    }

    #[test]
    fn the_tables_defaults_are_the_models_defaults() {
        let none = BTreeMap::new();
        assert_eq!(settings(&none, &TopicDefaults::default()), TopicSettings::default());
    }

    #[test]
    fn keys_that_connect_streams_and_schema_registry_look_for_exist() {
        for name in [
            "cleanup.policy",
            "retention.ms",
            "retention.bytes",
            "min.compaction.lag.ms",
            "min.insync.replicas",
            "message.timestamp.type",
            "segment.ms",
            "delete.retention.ms",
        ] {
            assert!(key(name).is_some(), "{name}");
        }
    }

    #[test]
    fn values_are_checked_by_type_and_bounds() {
        let good = [
            ("cleanup.policy", "compact, delete"),
            ("compression.gzip.level", "-1"),
            ("compression.type", "zstd"),
            ("retention.ms", " -1 "),
            ("retention.bytes", "-1"),
            ("write.caching", "TRUE"),
            ("min.cleanable.dirty.ratio", "0.25"),
            ("leader.replication.throttled.replicas", "0:1,1:2"),
            ("leader.replication.throttled.replicas", "*"),
            ("remote.storage.enable", "false"),
        ];
        for (name, value) in good {
            assert_eq!(check(name, value), Ok(()), "{name}={value}");
        }
        let bad = [
            ("cleanup.policy", "shred"),
            ("compression.gzip.level", "0"),
            ("compression.gzip.level", "10"),
            ("compression.type", "brotli"),
            ("retention.ms", "-2"),
            ("retention.ms", "7d"),
            ("max.message.bytes", "2147483648"),
            ("segment.bytes", "13"),
            ("write.caching", "yes"),
            ("min.cleanable.dirty.ratio", "1.1"),
            ("min.cleanable.dirty.ratio", "NaN"),
            ("leader.replication.throttled.replicas", "0-1"),
            ("remote.storage.enable", "true"),
            ("retention.msec", "1"),
        ];
        for (name, value) in bad {
            assert!(check(name, value).is_err(), "{name}={value}");
        }
    }

    #[test]
    fn a_minimum_compaction_lag_above_the_maximum_is_refused() {
        let lags = [("min.compaction.lag.ms", "20"), ("max.compaction.lag.ms", "10")];
        let overrides = lags.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let found = validate(&overrides, &TopicDefaults::default());
        assert_eq!(found, Err(TopicConfigError::CompactionLags { min: 20, max: 10 }));
    }

    #[test]
    fn a_topics_own_value_wins_over_the_brokers_and_that_over_the_tables() {
        let mut defaults = TopicDefaults::default();
        assert_eq!(defaults.set("log.retention.ms", "1000"), Ok(true));
        assert_eq!(defaults.set("log.segment.bytes", "4096"), Ok(true));
        assert_eq!(defaults.set("num.io.threads", "8"), Ok(false));
        assert!(defaults.set("log.retention.ms", "soon").is_err());
        let overrides = BTreeMap::from([("segment.bytes".to_owned(), "8192".to_owned())]);
        let found = settings(&overrides, &defaults);
        assert_eq!((found.retention_ms, found.segment_bytes, found.segment_ms), (1000, 8192, 604_800_000));
    }
}
