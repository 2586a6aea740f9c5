//! Every setting of the broker, once: name, unit, range, default, meaning, and the field it fills.
//!
//! Names are Kafka's where Kafka has the setting; the rest are ours. What starts with `shards.` holds for
//! every shard and may be overridden for one core.
//!
//! **To add a setting: one row here, and the field it fills** in [`Settings`] or [`ShardSettings`] (with any
//! value in `load.rs`, `empty_draft`). The row is read by the file's parser, `--set`, `--check`, `config
//! reference` and DescribeConfigs. A default that topics may override is not declared here but once in
//! [`topic::TABLE`], as the `broker_key` of its topic-level key: the row here is made from that.

use std::{ops::RangeInclusive, path::PathBuf, sync::LazyLock};

use super::{
    Settings, ShardSettings,
    io_properties::BoundsFrom,
    kafka::{KAFKA, SECOND_NAMES, Stance},
    kind::ConfigType,
    topic::{self, TopicConfigError, TopicDefaults, TopicKey},
    value::{CoreChoice, Endpoint, Unit},
};

/// Settings while their values arrive, one row at a time.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) settings: Settings,
    pub(super) shard: ShardSettings,
    pub(super) cores: CoreChoice,
    pub(super) advertised: Option<Endpoint>,
    pub(super) topics: TopicDefaults,
}

/// One setting.
#[derive(Debug, Clone)]
pub struct Row {
    /// Kafka's name, or a dotted one of ours.
    pub name: &'static str,
    /// Value if none is given, as text.
    pub default: &'static str,
    /// Whether it can change while the broker runs.
    pub live: bool,
    /// One sentence for people.
    pub about: &'static str,
    pub(super) kind: Kind,
}

/// What values a setting takes, and where they go.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Number {
        unit: Unit,
        range: RangeInclusive<i64>,
        set: fn(&mut Draft, i64),
    },
    PowerOfTwo {
        range: RangeInclusive<i64>,
        set: fn(&mut Draft, i64),
    },
    Flag {
        set: fn(&mut Draft, bool),
    },
    Text {
        set: fn(&mut Draft, &str) -> Result<(), String>,
    },
    /// The default of a topic-level key.
    Topic(&'static TopicKey),
    /// A key of Kafka's that nothing here behaves by; `is_null`: Kafka's default is no value.
    Kafka {
        of: ConfigType,
        is_null: bool,
        stance: Stance,
    },
    /// Another name of the row `of`, whose value is this one's times `factor`. Of several the one with the
    /// lowest rank wins; the row itself stands between rank 0 and rank 1.
    SecondName {
        of: &'static str,
        factor: Option<i64>,
        rank: u8,
    },
}

impl Row {
    /// Sets the value that `text` means. Returns it as it is best shown.
    ///
    /// # Errors
    /// What would have been a sound value; nothing is set.
    pub(super) fn set(&self, draft: &mut Draft, text: &str) -> Result<String, String> {
        match &self.kind {
            Kind::Number { unit, range, set } => match unit.parse(text) {
                Some(number) if range.contains(&number) => {
                    set(draft, number);
                    Ok(unit.format(number))
                }
                _ => {
                    let (least, most) = (unit.format(*range.start()), unit.format(*range.end()));
                    Err(format!("{} from {least} to {most}", kind_of_number(*unit)))
                }
            },
            Kind::PowerOfTwo { range, set } => match text.parse::<i64>() {
                Ok(number) if range.contains(&number) && number & (number - 1) == 0 => {
                    set(draft, number);
                    Ok(number.to_string())
                }
                _ => Err(format!("a power of two from {} to {}", range.start(), range.end())),
            },
            Kind::Flag { set } => {
                let flag = text.parse().map_err(|_| "true or false".to_owned())?;
                set(draft, flag);
                Ok(text.to_owned())
            }
            Kind::Text { set } => set(draft, text).map(|()| text.to_owned()),
            Kind::Topic(key) => set_topic_default(key, draft, text),
            Kind::Kafka { .. } => self.accepts(text).map(|()| text.to_owned()),
            Kind::SecondName { factor, .. } => in_unit_of_first(factor.as_ref(), text),
        }
    }

    /// Whether a key that nothing behaves by may have that value.
    ///
    /// # Errors
    /// What it may have.
    pub(super) fn accepts(&self, text: &str) -> Result<(), String> {
        match &self.kind {
            Kind::Kafka { stance: Stance::NotSupported, .. } if text != self.default => {
                let default = if self.default.is_empty() { "no value" } else { self.default };
                Err(format!("{default}: what other values ask for is not supported"))
            }
            Kind::Kafka { of, .. } if !text.is_empty() && !of.reads(text) => {
                Err(format!("a value of type {}", of.name()))
            }
            _ => Ok(()),
        }
    }

    /// What it may be, in a few words.
    pub(super) fn values(&self) -> String {
        let between = |unit: &Unit, range: &RangeInclusive<i64>| {
            format!("{} to {}", unit.format(*range.start()), unit.format(*range.end()))
        };
        match &self.kind {
            Kind::Number { unit, range, .. } => between(unit, range),
            Kind::PowerOfTwo { range, .. } => format!("{}, a power of two", between(&Unit::Count, range)),
            Kind::Flag { .. } => "true, false".to_owned(),
            Kind::Text { .. } => "text".to_owned(),
            Kind::Topic(key) => format!("{}, {}", key.kind.name().to_lowercase(), key.bounds()),
            Kind::Kafka { .. } | Kind::SecondName { .. } => self.config_type().name().to_lowercase(),
        }
    }

    /// Whether a value changes what the broker does.
    #[must_use]
    pub fn acted_on(&self) -> bool {
        match &self.kind {
            Kind::Kafka { .. } => false,
            Kind::Topic(key) => key.acted_on,
            _ => true,
        }
    }

    /// The row that this one is another name of, and which of several names wins: the lowest.
    pub(super) fn first_name(&self) -> (&'static str, u8) {
        match self.kind {
            // Twice the rank, so that the first name itself fits between 0 and 1.
            Kind::SecondName { of, rank, .. } => (of, 2 * rank),
            _ => (self.name, 1),
        }
    }

    /// Whether the shown form of a value stands in a file without quotes.
    pub(super) fn is_bare(&self, shown: &str) -> bool {
        !matches!(self.kind, Kind::Text { .. } | Kind::Kafka { of: ConfigType::String, .. })
            && (shown.parse::<i64>().is_ok() || shown.parse::<bool>().is_ok())
    }
}

const fn kind_of_number(unit: Unit) -> &'static str {
    match unit {
        Unit::Count => "a number",
        Unit::Bytes => "a size such as 64MiB,",
        Unit::Milliseconds => "a time such as 50ms or 7d,",
        Unit::Microseconds => "a time such as 50us,",
    }
}

/// What the names of settings of one shard begin with.
pub(super) const SHARDS: &str = "shards.";

/// The broker-level setting that gives a topic-level key its default.
fn of_topic_key(key: &'static TopicKey) -> Option<Row> {
    let name = key.broker_key?;
    Some(Row { name, default: key.default, live: true, about: key.documentation, kind: Kind::Topic(key) })
}

/// The value of a second name as that of the first. Kafka: any number below zero means no limit.
fn in_unit_of_first(factor: Option<&i64>, text: &str) -> Result<String, String> {
    let Some(factor) = factor else { return Ok(text.to_owned()) };
    match text.trim().parse::<i64>() {
        Ok(number) if number < 0 => Ok("-1".to_owned()),
        Ok(number) if number <= I32_MAX => Ok((number * factor).to_string()),
        _ if text.is_empty() => Ok(String::new()),
        _ => Err(format!("a number up to {I32_MAX}")),
    }
}

/// Units are for the broker's own file: a topic's values have none.
fn set_topic_default(key: &'static TopicKey, draft: &mut Draft, text: &str) -> Result<String, String> {
    let unit = Unit::of_name(key.name);
    let number = if key.kind.is_whole() { unit.parse(text) } else { None };
    // A list of one, as a file's list is joined, ends with a comma.
    let text = if key.kind == ConfigType::List { text.trim_end_matches(',') } else { text };
    let plain = number.map_or_else(|| text.trim().to_owned(), |number| number.to_string());
    draft.topics.set_key(key, &plain).map_err(|error| match error {
        TopicConfigError::NotOfType { .. } if !key.kind.is_whole() => {
            format!("a value of type {}", key.kind.name())
        }
        _ if key.kind.is_whole() => format!("{} {}", kind_of_number(unit), key.bounds()),
        _ => key.bounds(),
    })?;
    Ok(number.map_or(plain, |number| unit.format(number)))
}

type Range = RangeInclusive<i64>;

const fn row(name: &'static str, default: &'static str, kind: Kind, about: &'static str) -> Row {
    Row { name, default, live: false, about, kind }
}

const fn live(row: Row) -> Row {
    Row { live: true, ..row }
}

const fn number(unit: Unit, range: Range, set: fn(&mut Draft, i64)) -> Kind {
    Kind::Number { unit, range, set }
}

const fn text(set: fn(&mut Draft, &str) -> Result<(), String>) -> Kind {
    Kind::Text { set }
}

/// Casts below are exact: the range of their row says so.
const I32_MAX: i64 = i32::MAX as i64;
const KIB: i64 = 1 << 10;
const MIB: i64 = 1 << 20;
const GIB: i64 = 1 << 30;
const DAY_MS: i64 = 24 * 3_600_000;

use Unit::{Bytes, Count, Microseconds, Milliseconds};

/// Every setting. `corelane serve --check` prints them with the values in force.
pub static TABLE: LazyLock<Vec<Row>> = LazyLock::new(|| {
    let (of_shards, of_the_broker): (Vec<_>, Vec<_>) =
        OWN.iter().cloned().partition(|row| row.name.starts_with(SHARDS));
    let of_topics = topic::TABLE.iter().filter_map(of_topic_key);
    of_the_broker
        .into_iter()
        .chain(of_topics)
        .chain(of_shards)
        .chain(SECOND_NAMES.iter().cloned())
        .chain(KAFKA.iter().cloned())
        .collect()
});

/// What stands nowhere else. The defaults of topic-level keys follow from [`topic::TABLE`].
#[rustfmt::skip]
const OWN: &[Row] = &[
    // The node.
    row("node.id", "1", number(Count, 0..=I32_MAX, |d, n| d.settings.broker_id = n as i32),
        "Number of this broker in its cluster."),
    row("log.dir", "./corelane-data", text(|d, t| directory(t).map(|t| d.settings.data_dir = PathBuf::from(t))),
        "Data directory; created if it is not there, used by one broker at a time."),
    row("io.properties", "auto", text(|d, t| io_properties(t).map(|from| d.settings.io_properties = from)),
        "What bounds the reads and writes of files under way at once: auto (io-properties.toml of each data directory, if corelane tune disk has written it), none, or a file."),
    row("allow.tmpfs", "false", Kind::Flag { set: |d, flag| d.settings.allow_tmpfs = flag },
        "Accept a data directory in memory, where nothing survives a reboot."),
    row("cores", "all", text(|d, t| t.parse().map(|cores| d.cores = cores)),
        "Cores that get a shard: all, a number of them, or a list of ids such as 0,2 or 0-3."),
    row("http.listen", "127.0.0.1:9644", text(|d, t| http_listen(t).map(|endpoint| d.settings.http_listen = endpoint)),
        "Where metrics and health are answered over HTTP; none: nowhere. If it is not given and in use, another port is taken."),
    row("metrics.log.interval.ms", "1min", number(Milliseconds, 1_000..=DAY_MS, |d, n| d.settings.metrics_log_interval_ms = n as u64),
        "How often the counters are logged, at level debug."),

    // Connections.
    row("listeners", "127.0.0.1:9092", text(|d, t| t.parse().map(|endpoint| d.settings.listen = endpoint)),
        "Where clients connect: HOST:PORT; port 0 takes a free one."),
    row("advertised.listeners", "", text(|d, t| advertised(t).map(|endpoint| d.advertised = endpoint)),
        "What clients are told to connect to; empty: the same as listeners."),
    row("per_core_listeners", "false", Kind::Flag { set: |d, flag| d.settings.per_core_listeners = flag },
        "Each core is a broker to clients: node.id and the port of listeners count up with the cores, and clients reach each partition on the core that owns it."),
    live(row("max.connections", "12288", number(Count, 1..=1_000_000, |d, n| d.settings.connections_max = n as usize),
        "Connections open at once on the whole broker; one more is closed at once.")),
    live(row("connections.max.idle.ms", "10min", number(Milliseconds, 1_000..=365 * DAY_MS, |d, n| d.settings.connections_max_idle_ms = n as u64),
        "A connection without a request for this long is closed.")),
    live(row("connection.in.flight.max", "64", number(Count, 1..=65_536, |d, n| d.settings.in_flight_max = n as usize),
        "Requests of one connection in work at once; further ones stay in its socket. A change holds for new connections.")),
    live(row("socket.request.max.bytes", "100MiB", number(Bytes, 64 * KIB..=I32_MAX, |d, n| d.settings.socket_request_max_bytes = n as usize),
        "Largest request; a longer one closes its connection. A change holds for new connections.")),

    row("fetch.path", "auto", text(|d, t| t.parse().map(|path| d.settings.fetch_path = path)),
        "How closed segments are sent: auto (sendfile for what the page cache has or several consumers read, else direct), sendfile or direct."),

    row("max.incremental.fetch.session.cache.slots", "1000", number(Count, 0..=I32_MAX, |d, n| d.settings.fetch_sessions_max = n as usize),
        "Most incremental fetch sessions kept; clients without one name all partitions in every fetch."),

    // Topics, as they are created.
    live(row("auto.create.topics.enable", "true", Kind::Flag { set: |d, flag| d.settings.auto_create_topics_enable = flag },
        "Create a topic when a client asks for it.")),
    row("num.partitions", "1", number(Count, 1..=100_000, |d, n| d.settings.num_partitions = n as i32),
        "Partitions of a topic whose creator does not say."),
    row("partitions.max", "100000", number(Count, 1..=1_000_000, |d, n| d.settings.partitions_max = n as usize),
        "Partitions that the broker takes; each costs memory also when it is idle."),
    row("default.replication.factor", "1", number(Count, 1..=1, |d, n| d.settings.default_replication_factor = n as i16),
        "Replicas of a topic whose creator does not say."),

    row("log.retention.check.interval.ms", "5min", number(Milliseconds, 1..=i64::MAX, |d, n| d.settings.retention_check_interval_ms = n as u64),
        "How often partitions are looked through for segments that have expired."),
    row("disk.reserve.bytes", "64MiB", number(Bytes, 0..=1 << 40, |d, n| d.settings.disk_reserve_bytes = n as u64),
        "Space kept in each data directory for a full disk, at most a twentieth of it, by the cores whose own it is, and at most as much again by others with logs in it: then produce to logs in it, and to all of the cores whose own it is, is refused, all else goes on, and a stop ends cleanly; 0: none."),
    row("scrub.interval.ms", "7d", number(Milliseconds, 1..=i64::MAX, |d, n| d.settings.scrub_interval_ms = n as u64),
        "Every sealed segment is compared with its checksums once in this time."),

    // Groups.
    row("group.initial.rebalance.delay.ms", "3s", number(Milliseconds, 0..=I32_MAX, |d, n| d.settings.group_initial_rebalance_delay_ms = n as u64),
        "How long a new classic group waits for more members before it assigns."),
    row("group.max.size", "10000", number(Count, 1..=I32_MAX, |d, n| d.settings.group_size_max = n as usize),
        "Most members of one classic group."),
    row("group.min.session.timeout.ms", "6s", number(Milliseconds, 1..=I32_MAX, |d, n| d.settings.group_session_min_ms = n as u64),
        "Shortest session timeout a classic member may ask for."),
    row("group.max.session.timeout.ms", "30min", number(Milliseconds, 1..=I32_MAX, |d, n| d.settings.group_session_max_ms = n as u64),
        "Longest session timeout a classic member may ask for."),
    row("group.consumer.session.timeout.ms", "45s", number(Milliseconds, 1..=I32_MAX, |d, n| d.settings.group_consumer_session_ms = n as u64),
        "How long a member under the consumer protocol may be silent."),
    row("group.consumer.heartbeat.interval.ms", "5s", number(Milliseconds, 1..=I32_MAX, |d, n| d.settings.group_consumer_heartbeat_ms = n as u64),
        "How often members under the consumer protocol are told to send a heartbeat."),
    row("group.consumer.min.session.timeout.ms", "45s", number(Milliseconds, 1..=I32_MAX, |d, n| d.settings.group_consumer_session_min_ms = n as u64),
        "Shortest session timeout that may be set on a group under the consumer protocol."),
    row("group.consumer.max.session.timeout.ms", "60s", number(Milliseconds, 1..=I32_MAX, |d, n| d.settings.group_consumer_session_max_ms = n as u64),
        "Longest session timeout that may be set on a group under the consumer protocol."),
    row("group.consumer.min.heartbeat.interval.ms", "5s", number(Milliseconds, 1..=I32_MAX, |d, n| d.settings.group_consumer_heartbeat_min_ms = n as u64),
        "Shortest heartbeat interval that may be set on a group under the consumer protocol."),
    row("group.consumer.max.heartbeat.interval.ms", "15s", number(Milliseconds, 1..=I32_MAX, |d, n| d.settings.group_consumer_heartbeat_max_ms = n as u64),
        "Longest heartbeat interval that may be set on a group under the consumer protocol."),
    row("group.consumer.max.size", "2147483647", number(Count, 1..=I32_MAX, |d, n| d.settings.group_consumer_size_max = n as usize),
        "Most members of one group under the consumer protocol."),
    row("group.consumer.migration.policy", "bidirectional", text(|d, t| t.parse().map(|policy| d.settings.group_migration = policy)),
        "Which way groups with live members may go over to the other protocol: disabled, upgrade (to the consumer protocol), downgrade or bidirectional."),
    row("offsets.retention.minutes", "10080", number(Count, 1..=I32_MAX, |d, n| d.settings.offsets_retention_ms = n * 60_000),
        "Minutes that offsets of an empty group are kept."),
    row("offsets.retention.check.interval.ms", "10min", number(Milliseconds, 1..=I32_MAX, |d, n| d.settings.offsets_retention_check_ms = n as u64),
        "How often expired offsets are looked for."),

    row("producer.id.expiration.ms", "1d", number(Milliseconds, 1..=I32_MAX, |d, n| d.settings.producer_expiration_ms = n),
        "How long the sequence numbers of a silent idempotent producer are kept."),

    // Compaction.
    row("log.cleaner.dedupe.buffer.size", "32MiB", number(Bytes, MIB..=1 << 40, |d, n| d.settings.cleaner_dedupe_buffer_bytes = n as usize),
        "Memory for the keys of logs being compacted, 24 bytes each; shared among the shards."),
    row("log.cleaner.io.max.bytes.per.second", "64MiB", number(Bytes, KIB..=1 << 50, |d, n| d.settings.cleaner_io_bytes_per_second = n as u64),
        "Bytes that compaction reads and writes per second at most; shared among the shards."),
    row("log.cleaner.backoff.ms", "15s", number(Milliseconds, 0..=i64::MAX, |d, n| d.settings.cleaner_backoff_ms = n as u64),
        "How long compaction waits when no log is due."),

    // Every shard, unless a [[shard]] overrides it.
    row("shards.log.dir", "", text(|d, t| own_directory(t).map(|own| d.shard.data_dir = own)),
        "Directory of the core's journal and new partitions, as on a disk of its own; empty: log.dir. One that was used is remembered."),
    row("shards.listeners", "", text(|d, t| own_endpoint(t).map(|own| d.shard.listen = own)),
        "Where clients connect to this core, with per_core_listeners; empty: listeners, the port counted up."),
    row("shards.advertised.listeners", "", text(|d, t| advertised(t).map(|own| d.shard.advertised = own)),
        "What clients are told to connect to for this core; empty: its listeners if it has its own, else advertised.listeners, the port counted up."),
    row("shards.memory.bytes", "512MiB", number(Bytes, 32 * MIB..=1 << 44, |d, n| d.shard.memory_bytes = n as usize),
        "Memory for requests, tails and caches of one core."),
    row("shards.unsettled.bytes.max", "64MiB", number(Bytes, MIB..=1 << 40, |d, n| d.shard.unsettled_bytes_max = n as usize),
        "Bytes in the journal that have not reached their segments."),
    row("shards.extent.bytes.min", "32KiB", number(Bytes, 0..=1 << 40, |d, n| d.shard.extent_bytes_min = n as usize),
        "Batches from this size on are written once, to their segment; smaller ones to the journal first. 0: no batch."),
    row("shards.tail.cache.bytes.max", "128MiB", number(Bytes, MIB..=1 << 44, |d, n| d.shard.tail_cache_bytes_max = n as usize),
        "Settled bytes kept in memory for consumers that follow the end."),
    row("shards.journal.file.bytes", "64MiB", number(Bytes, 4 * MIB..=4 * GIB, |d, n| d.shard.journal_file_bytes = n as u64),
        "Size of one file of the journal, a multiple of 4096."),
    row("shards.journal.files.max", "4", number(Count, 2..=1_024, |d, n| d.shard.journal_files_max = n as usize),
        "Files in the ring of the journal."),
    row("shards.flush.interval.ms", "50ms", number(Milliseconds, 1..=50, |d, n| d.shard.flush_interval_ms = n as u64),
        "Written bytes are flushed at the latest after this, or once they are 1 MiB."),
    row("shards.checkpoint.interval.ms", "5s", number(Milliseconds, 100..=3_600_000, |d, n| d.shard.checkpoint_interval_ms = n as u64),
        "How often the state that shortens recovery is saved."),
    row("shards.open.files.max", "2048", number(Count, 16..=1_000_000, |d, n| d.shard.open_files_max = n as usize),
        "Segment files of one core open at once."),
    row("shards.read.ahead.max", "4", number(Count, 0..=1_024, |d, n| d.shard.read_ahead_max = n as usize),
        "Reads of 512 KiB into the page cache that one core has under way at once; what is beyond is read directly."),
    row("shards.ring.entries", "1024", Kind::PowerOfTwo { range: 64..=32_768, set: |d, n| d.shard.ring_entries = n as u32 },
        "Operations that one submission of the core's I/O ring holds."),
    row("shards.receive.buffers", "1024", Kind::PowerOfTwo { range: 16..=32_768, set: |d, n| d.shard.receive_buffers = n as u16 },
        "Buffers that arriving requests of one core share."),
    row("shards.foreground.shares", "1000", number(Count, 1..=1_000, |d, n| d.shard.foreground_shares = n as usize),
        "Weight of requests, appends and the journal where they compete with housekeeping for a core."),
    row("shards.housekeeping.shares", "100", number(Count, 1..=1_000, |d, n| d.shard.housekeeping_shares = n as usize),
        "Weight of settling, checkpoints, compaction and removal of files."),
    row("shards.spin.us", "50us", number(Microseconds, 0..=10_000, |d, n| d.shard.spin_us = n as u64),
        "How long an idle core looks for work before it sleeps; 0 where cores are shared."),
];

fn http_listen(text: &str) -> Result<Option<Endpoint>, String> {
    if text == "none" { Ok(None) } else { text.parse().map(Some) }
}

fn io_properties(text: &str) -> Result<BoundsFrom, String> {
    match text {
        "" => Err("auto, none or a file".to_owned()),
        "auto" => Ok(BoundsFrom::DataDirectory),
        "none" => Ok(BoundsFrom::Nowhere),
        file => Ok(BoundsFrom::File(PathBuf::from(file))),
    }
}

fn own_endpoint(text: &str) -> Result<Option<Endpoint>, String> {
    if text.is_empty() { Ok(None) } else { text.parse().map(Some) }
}

fn own_directory(text: &str) -> Result<Option<PathBuf>, String> {
    if text.is_empty() { Ok(None) } else { directory(text).map(|one| Some(PathBuf::from(one))) }
}

fn directory(text: &str) -> Result<&str, String> {
    match text.strip_suffix(',').unwrap_or(text) {
        "" => Err("a path".to_owned()),
        several if several.contains(',') => Err("one directory: several are not supported".to_owned()),
        one => Ok(one),
    }
}

fn advertised(text: &str) -> Result<Option<Endpoint>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let endpoint: Endpoint = text.parse()?;
    if endpoint.is_wildcard() {
        return Err(format!("a host that clients can reach, which {} is not", endpoint.host));
    }
    Ok(Some(endpoint))
}
