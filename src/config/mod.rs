//! Every setting once: text from a file or the command line to plain, checked values.
//!
//! The room reads a file and knows what is sound; it does not know how a setting is used, nor which cores the
//! machine has (that is passed in). Read it in this order: [`table`] (one row per setting), [`value`]
//! (quantities with units, endpoints, cores), [`topic`] (the topic-level keys; the broker's defaults of them
//! follow), [`group`] (those of one group), `kind` (types and bounds of Kafka's keys), `kafka` (Kafka's keys that
//! nothing here behaves by), `file` (TOML to assignments), `load` (assignments over defaults, then what must fit
//! together), `show` (the settings in force, and how two differ), `broker` (settings as Kafka's tools read them),
//! `dynamic` (changes while the broker runs), `places` (where each core listens and where its data lies),
//! [`mod@reference`] (the table as a page: every setting), [`io_properties`] (what a disk was measured to do),
//! `error`.

mod broker;
mod dynamic;
mod error;
mod file;
pub mod group;
pub mod io_properties;
mod kafka;
mod kind;
mod load;
mod places;
pub mod reference;
mod show;
pub mod table;
pub mod topic;
mod value;

use std::path::PathBuf;

use crate::model::{BrokerId, ShardId, TopicSettings};

pub use broker::BrokerSetting;
pub use broker::Origin;
pub use dynamic::{Overrides, apply_dynamic, overlay, overlay_what_fits, reload};
pub use error::{ConfigError, Place};
pub use file::{Assignment, ShardsOf};
pub use io_properties::BoundsFrom;
pub use load::load;
pub use reference::reference;
pub use show::{Difference, Effective};
pub use value::{CoreChoice, Endpoint, FetchPath, GroupMigration, Unit};

/// Most shards that one broker runs.
pub const SHARDS_MAX: usize = 256;

/// A core that this process may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpu {
    /// Its id.
    pub core: usize,
    /// The memory it is near to; 0 on a machine with one.
    pub numa_node: usize,
}

/// What the broker runs with. Names and meanings stand in [`table::TABLE`].
#[derive(Debug, Clone)]
pub struct Settings {
    /// `node.id`
    pub broker_id: BrokerId,
    /// `log.dir`
    pub data_dir: PathBuf,
    /// Every directory with data of this broker, `log.dir` first; see [`Settings::use_data_dirs`].
    pub data_dirs: Vec<PathBuf>,
    /// `io.properties`
    pub io_properties: BoundsFrom,
    /// `allow.tmpfs`
    pub allow_tmpfs: bool,
    /// `cores`: ids of the cores that get a shard, each once; as many as [`Settings::shards`], in their order.
    pub cores: Vec<usize>,
    /// NUMA node of each of `cores`.
    pub(crate) numa_nodes: Vec<usize>,
    /// `http.listen`; none: HTTP is not answered.
    pub http_listen: Option<Endpoint>,
    /// `metrics.log.interval.ms`
    pub metrics_log_interval_ms: u64,
    /// `listeners`
    pub listen: Endpoint,
    /// `per_core_listeners`
    pub per_core_listeners: bool,
    /// `advertised.listeners`; port 0 stands for the port that `listen` got.
    pub advertised: Endpoint,
    /// `max.connections`, on all shards together.
    pub connections_max: usize,
    /// `connections.max.idle.ms`
    pub connections_max_idle_ms: u64,
    /// `connection.in.flight.max`: requests of one connection.
    pub in_flight_max: usize,
    /// `socket.request.max.bytes`, without the four bytes of the length.
    pub socket_request_max_bytes: usize,
    /// `auto.create.topics.enable`
    pub auto_create_topics_enable: bool,
    /// `num.partitions`
    pub num_partitions: i32,
    /// `partitions.max`: of all topics together.
    pub partitions_max: usize,
    /// `default.replication.factor`
    pub default_replication_factor: i16,
    /// `max.incremental.fetch.session.cache.slots`, of all shards together.
    pub fetch_sessions_max: usize,
    /// `fetch.path`
    pub fetch_path: FetchPath,
    /// `log.retention.check.interval.ms`
    pub retention_check_interval_ms: u64,
    /// `disk.reserve.bytes`, of all shards together whose own a data directory is, and of all others with logs there.
    pub disk_reserve_bytes: u64,
    /// `scrub.interval.ms`
    pub scrub_interval_ms: u64,
    /// `log.cleaner.dedupe.buffer.size`, of all shards together.
    pub cleaner_dedupe_buffer_bytes: usize,
    /// `log.cleaner.io.max.bytes.per.second`, of all shards together.
    pub cleaner_io_bytes_per_second: u64,
    /// `log.cleaner.backoff.ms`
    pub cleaner_backoff_ms: u64,
    /// `group.initial.rebalance.delay.ms`
    pub group_initial_rebalance_delay_ms: u64,
    /// `group.max.size`
    pub group_size_max: usize,
    /// `group.min.session.timeout.ms`
    pub group_session_min_ms: u64,
    /// `group.max.session.timeout.ms`: at least the minimum.
    pub group_session_max_ms: u64,
    /// `group.consumer.session.timeout.ms`
    pub group_consumer_session_ms: u64,
    /// `group.consumer.heartbeat.interval.ms`
    pub group_consumer_heartbeat_ms: u64,
    /// `group.consumer.min.session.timeout.ms`
    pub group_consumer_session_min_ms: u64,
    /// `group.consumer.max.session.timeout.ms`
    pub group_consumer_session_max_ms: u64,
    /// `group.consumer.min.heartbeat.interval.ms`
    pub group_consumer_heartbeat_min_ms: u64,
    /// `group.consumer.max.heartbeat.interval.ms`
    pub group_consumer_heartbeat_max_ms: u64,
    /// `group.consumer.max.size`
    pub group_consumer_size_max: usize,
    /// `group.consumer.migration.policy`
    pub group_migration: GroupMigration,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: i64,
    /// `producer.id.expiration.ms`
    pub producer_expiration_ms: i64,
    /// `offsets.retention.check.interval.ms`
    pub offsets_retention_check_ms: u64,
    /// Settings of a topic without overrides.
    pub topic_defaults: TopicSettings,
    pub(crate) topic_texts: topic::TopicDefaults,
    /// One for each of `cores`, in the same order.
    pub shards: Vec<ShardSettings>,
    pub(crate) effective: Vec<Effective>,
}

/// What one shard runs with: `[shards]`, and over it the `[[shard]]` of its core.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardSettings {
    /// Id of the core it is pinned to.
    pub core: usize,
    /// `log.dir` of this core; see [`Settings::data_dir_of`].
    pub(crate) data_dir: Option<PathBuf>,
    /// `listeners` of this core; see [`Settings::listen_of`].
    pub(crate) listen: Option<Endpoint>,
    /// `advertised.listeners` of this core; see [`Settings::advertised_of`].
    pub(crate) advertised: Option<Endpoint>,
    /// `memory.bytes`: budget for requests, tails and caches.
    pub memory_bytes: usize,
    /// `unsettled.bytes.max`: journalled, not yet in segments.
    pub unsettled_bytes_max: usize,
    /// `extent.bytes.min`: batches from this size on go to their segment at once; 0: none does.
    pub extent_bytes_min: usize,
    /// `tail.cache.bytes.max`: settled, still in memory.
    pub tail_cache_bytes_max: usize,
    /// `journal.file.bytes`: whole blocks of 4096.
    pub journal_file_bytes: u64,
    /// `journal.files.max`: at least 2.
    pub journal_files_max: usize,
    /// `flush.interval.ms`
    pub flush_interval_ms: u64,
    /// `checkpoint.interval.ms`
    pub checkpoint_interval_ms: u64,
    /// `open.files.max`
    pub open_files_max: usize,
    /// `read.ahead.max`: chunks of 512 KiB.
    pub read_ahead_max: usize,
    /// `ring.entries`: a power of two.
    pub ring_entries: u32,
    /// `receive.buffers`: a power of two.
    pub receive_buffers: u16,
    /// `foreground.shares`: 1 to 1000.
    pub foreground_shares: usize,
    /// `housekeeping.shares`: 1 to 1000.
    pub housekeeping_shares: usize,
    /// `spin.us`: 0 sleeps at once.
    pub spin_us: u64,
}

impl Settings {
    /// The broker that clients know a shard as: with [`Settings::per_core_listeners`] each is one of its own.
    #[must_use]
    pub fn broker_of(&self, shard: ShardId) -> BrokerId {
        let place = if self.per_core_listeners { BrokerId::from(shard.0) } else { 0 };
        self.broker_id.saturating_add(place)
    }

    /// Whether clients know a shard of this node as that broker.
    #[must_use]
    pub fn is_own(&self, broker: BrokerId) -> bool {
        let last = ShardId(self.shards.len().saturating_sub(1) as u16);
        (self.broker_id..=self.broker_of(last)).contains(&broker)
    }
}
