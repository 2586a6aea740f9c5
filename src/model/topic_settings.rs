//! What a topic's configuration means to the rooms that store and serve it.
//!
//! The table of names, defaults and bounds is `config::topic`; this is its result, checked.

/// What happens to old data of a topic (`cleanup.policy`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// Old segments are deleted.
    pub delete: bool,
    /// Of each key the last record is kept.
    pub compact: bool,
}

/// Whose clock a record's timestamp is of (`message.timestamp.type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's: stored as sent.
    CreateTime,
    /// The broker's, at append.
    LogAppendTime,
}

/// Codec of stored batches (`compression.type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CompressionType {
    /// As the producer sent them.
    Producer,
    /// Plain.
    Uncompressed,
    /// gzip.
    Gzip,
    /// snappy, xerial framing.
    Snappy,
    /// lz4 frame.
    Lz4,
    /// zstd.
    Zstd,
}

/// A topic's effective settings; every field is named as its Kafka key.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicSettings {
    /// `cleanup.policy`
    pub cleanup_policy: CleanupPolicy,
    /// `compression.type`
    pub compression_type: CompressionType,
    /// `compression.gzip.level`, -1 for the codec's own.
    pub gzip_level: i32,
    /// `compression.lz4.level`
    pub lz4_level: i32,
    /// `compression.zstd.level`
    pub zstd_level: i32,
    /// `max.message.bytes`: largest batch as it is stored, header included.
    pub max_message_bytes: usize,
    /// `message.timestamp.type`
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`
    pub timestamp_after_max_ms: i64,
    /// `segment.bytes`: a segment is rolled before it would grow past this.
    pub segment_bytes: u64,
    /// `segment.ms`: a segment is rolled once its first record is older.
    pub segment_ms: i64,
    /// `retention.ms`, -1 for no limit.
    pub retention_ms: i64,
    /// `retention.bytes`, -1 for no limit.
    pub retention_bytes: i64,
    /// `delete.retention.ms`: how long compaction keeps a tombstone.
    pub delete_retention_ms: i64,
    /// `min.compaction.lag.ms`: a record younger than this is not compacted.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`: a record older than this makes its log due for compaction.
    pub max_compaction_lag_ms: i64,
    /// `min.cleanable.dirty.ratio`: share of bytes above the last compaction that makes a log due.
    pub min_cleanable_dirty_ratio: f64,
    /// `write.caching`: acks=all answers once written, before it is flushed. Not a Kafka key.
    pub write_caching: bool,
}

impl Default for TopicSettings {
    /// Kafka's defaults for a topic without overrides.
    fn default() -> Self {
        Self {
            cleanup_policy: CleanupPolicy { delete: true, compact: false },
            compression_type: CompressionType::Producer,
            gzip_level: -1,
            lz4_level: 9,
            zstd_level: 3,
            max_message_bytes: 1_048_588,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: 3_600_000,
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3_600_000,
            retention_ms: 7 * 24 * 3_600_000,
            retention_bytes: -1,
            delete_retention_ms: 24 * 3_600_000,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: i64::MAX,
            min_cleanable_dirty_ratio: 0.5,
            write_caching: false,
        }
    }
}
