//! What a shard counts. One writer, its core; anyone may read, at any time, without disturbing it.
//!
//! The room knows no other room: names of APIs and of errors are the caller's. A counter only grows; what is
//! open now is a difference of two. [`ShardMetrics`] counts, [`Snapshot`] is added up and shown.

mod error_counts;
mod groups;
mod latency;
mod slowest;
mod stages;
mod stalls;
mod topics;

use std::{
    fmt,
    ops::AddAssign,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use error_counts::ErrorCounts;
pub use error_counts::{ERROR_PAIRS_MAX, ErrorCount};
pub use groups::{GROUP_LAGS_MAX, GroupLag, bounded};
pub use latency::Latency;
use slowest::Slowest;
pub use slowest::{SLOWEST_MAX, Slow};
use stages::StageHistograms;
pub use stages::{Laps, RequestKind, Stage, TIMED, TIMED_EVERY, Timing};
use stalls::StallHistogram;
pub use stalls::Stalls;
pub use topics::{TOPICS_SHOWN_MAX, TopicCount, TopicCounts, TopicTable};

/// API keys that have a counter of their own: 0 up to this, exclusive. Others share the last.
pub const API_KEYS_MAX: usize = 128;

macro_rules! counters {
    ($($variant:ident, $name:literal, $about:literal;)*) => {
        /// What is counted, besides requests by API.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Counter {
            $(#[doc = $about] $variant,)*
        }

        /// Every counter with its name and meaning.
        pub const COUNTERS: &[(Counter, &str, &str)] = &[$((Counter::$variant, $name, $about),)*];
    };
}

macro_rules! gauges {
    ($($variant:ident, $name:literal, $about:literal;)*) => {
        /// What is measured anew every so often.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Gauge {
            $(#[doc = $about] $variant,)*
        }

        /// Every gauge with its name and meaning.
        pub const GAUGES: &[(Gauge, &str, &str)] = &[$((Gauge::$variant, $name, $about),)*];
    };
}

gauges! {
    Serving, "serving", "1 while the core takes requests.";
    Failed, "storage_failed", "1 once the core's disk has failed: it takes nothing more until a restart.";
    DiskFull, "disk_full", "1 while appends are refused for want of space, to all logs of the core or to those in one data directory.";
    Partitions, "partitions", "Partitions on this core.";
    UnsettledBytes, "unsettled_bytes", "Bytes in the journal that have not reached their segments.";
    UnsettledMaxBytes, "unsettled_bytes_max", "Unsettled bytes above which appends wait (shards.unsettled.bytes.max).";
    UnsyncedBytes, "unsynced_bytes", "Bytes written to the journal and not synced: what acks=1 may have been answered for and power loss could take.";
    JournalFiles, "journal_files", "Files of the journal.";
    JournalMaxBytes, "journal_bytes_max", "What the journal may come to on disk.";
    BudgetUsedBytes, "memory_budget_used_bytes", "Memory that requests in flight hold.";
    BudgetBytes, "memory_budget_bytes", "Memory that requests in flight may hold.";
    DiskBytes, "disk_bytes", "Size of the file system that the data directory is on.";
    DiskUsableBytes, "disk_usable_bytes", "What of it the broker may still use.";
    ReserveBytes, "disk_reserve_bytes", "Disk space that is kept for a full disk in the core's own data directory; 0 while it is spent.";
    SpansMatched, "checksum_spans_matched", "Spans of segments that were compared with their checksums and matched.";
    SpansDamaged, "checksum_spans_damaged", "Spans of segments that are not what was appended.";
    SidecarsRebuilt, "checksum_files_rebuilt", "Checksum files that were missing or damaged and made anew.";
    ScrubbedMs, "scrubbed_since_timestamp_ms", "When the segment that was compared longest ago was compared; 0: one never was.";
    Core, "core", "Id of the core that the shard is pinned to.";
    RingEntries, "ring_entries", "Operations that one submission of the core's I/O ring holds (shards.ring.entries).";
    ReceiveBuffers, "receive_buffers", "Buffers that arriving requests share (shards.receive.buffers).";
    SpinUs, "spin_us", "How long an idle core looks for work before it sleeps, at most (shards.spin.us).";
    ForegroundShares, "foreground_shares", "Weight of requests, appends and the journal (shards.foreground.shares).";
    HousekeepingShares, "housekeeping_shares", "Weight of settling, checkpoints, compaction and removal (shards.housekeeping.shares).";
    DiskReadsMax, "disk_reads_in_flight_max", "Reads of files under way at once, at most (io.properties); 0: no bound.";
    DiskWritesMax, "disk_writes_in_flight_max", "Writes of files under way at once, at most, besides one of the journal (io.properties); 0: no bound.";
    SparesUsed, "segment_files_recycled", "Files of freed segments that have become segments again.";
}

counters! {
    Errors, "errors", "Error codes other than NONE in responses.";
    BytesIn, "bytes_in", "Bytes received from clients.";
    BytesOut, "bytes_out", "Bytes sent to clients.";
    RecordsIn, "records_in", "Records appended.";
    Hops, "hops", "Requests, or parts of them, sent to another core.";
    BytesAppended, "bytes_appended", "Bytes of batches that have reached the disk.";
    JournalBytes, "journal_bytes", "Bytes written to the journal.";
    SegmentBytes, "segment_bytes", "Bytes written to segments.";
    CheckpointBytes, "checkpoint_bytes", "Bytes written to checkpoints and indexes.";
    ConnectionsOpened, "connections_opened", "Connections accepted.";
    FetchMemoryBytes, "fetch_memory_bytes", "Bytes of records answered from memory.";
    FetchSendfileBytes, "fetch_sendfile_bytes", "Bytes of segments sent by sendfile.";
    FetchDirectBytes, "fetch_direct_bytes", "Bytes of segments read directly and sent.";
    FetchCacheHits, "fetch_cache_hits", "Chunks of segments that were in the page cache.";
    FetchReadAheads, "fetch_read_aheads", "Chunks of segments read ahead into the page cache.";
    Throttled, "throttled", "Responses that told a client to wait, since it was beyond its quota.";
    ConnectionsClosed, "connections_closed", "Connections that have ended.";
    Parks, "parks", "Times that the core has gone to sleep for want of work.";
    DiskReadWaits, "disk_read_waits", "Reads of files that waited for others, since the disk has enough.";
    DiskWriteWaits, "disk_write_waits", "Writes of files that waited for others, since the disk has enough.";
    Beats, "beats", "Times that the core has measured its gauges, every 5 s; it stands still while the core hangs.";
}

/// The counters of one shard. Shared with readers in an `Arc`; only the shard's own core writes.
///
/// With one writer an increment is a plain load and a plain store: no locked instruction, and no cache
/// line that two cores write to (hence the alignment: two lines, since processors fetch them in pairs).
#[derive(Debug)]
#[repr(align(128))]
pub struct ShardMetrics {
    counters: [AtomicU64; COUNTERS.len()],
    requests: [AtomicU64; API_KEYS_MAX],
    gauges: [AtomicU64; GAUGES.len()],
    stalls: StallHistogram,
    stages: StageHistograms,
    errors: ErrorCounts,
    slowest: Slowest,
    /// Exchanged whole every few seconds, so the lock is held for the copy of a pointer.
    topics: Mutex<TopicCounts>,
    lags: Mutex<Arc<Vec<GroupLag>>>,
}

impl Default for ShardMetrics {
    fn default() -> Self {
        Self {
            counters: [const { AtomicU64::new(0) }; _],
            requests: [const { AtomicU64::new(0) }; _],
            gauges: [const { AtomicU64::new(0) }; _],
            stalls: StallHistogram::default(),
            stages: StageHistograms::default(),
            errors: ErrorCounts::default(),
            slowest: Slowest::default(),
            topics: Mutex::default(),
            lags: Mutex::default(),
        }
    }
}

/// Only for the one writer: two would lose counts of each other. Returns what it was before.
fn bump(cell: &AtomicU64, by: u64) -> u64 {
    let before = cell.load(Relaxed);
    cell.store(before.wrapping_add(by), Relaxed);
    before
}

impl ShardMetrics {
    /// Counts `by` more. Only on the shard's own core.
    pub fn add(&self, counter: Counter, by: u64) {
        bump(&self.counters[counter as usize], by);
    }

    /// Counts one more. Only on the shard's own core.
    pub fn count(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Says what a gauge measures now. Only on the shard's own core.
    pub fn set(&self, gauge: Gauge, value: u64) {
        self.gauges[gauge as usize].store(value, Relaxed);
    }

    /// Counts one more request of this API, and says how many there were before. Only on the shard's own core.
    pub fn count_request(&self, api_key: i16) -> u64 {
        let index = usize::try_from(api_key).unwrap_or(usize::MAX).min(API_KEYS_MAX - 1);
        bump(&self.requests[index], 1)
    }

    /// Counts error codes other than NONE in a response of this API. Only on the shard's own core.
    pub fn count_errors(&self, api_key: i16, code: i16, by: u64) {
        self.add(Counter::Errors, by);
        self.errors.count(api_key, code, by);
    }

    /// A request is over: its answer is sent. `slow` is asked for the rest only if it was among the slowest.
    /// Only on the shard's own core.
    pub fn request_over(&self, laps: &Laps, slow: impl FnOnce() -> Slow) {
        self.stages.record_all(laps);
        self.slowest.offer(laps, slow);
    }

    /// The slowest requests of the last minutes, the slowest first: at most twice [`SLOWEST_MAX`].
    #[must_use]
    pub fn slowest(&self) -> Vec<Slow> {
        self.slowest.snapshot()
    }

    /// Counts one more letter to another core. Says whether the time it takes is counted too. Only on the shard's
    /// own core.
    pub fn hops(&self) -> bool {
        bump(&self.counters[Counter::Hops as usize], 1).is_multiple_of(TIMED_EVERY)
    }

    /// A letter for such a request took this long to be taken up. Only on the shard's own core.
    pub fn hopped(&self, kind: RequestKind, us: u64) {
        self.stages.record(kind, Stage::Hop, us);
    }

    /// Tells what the core's topics have moved since the start.
    pub fn tell_topics(&self, topics: TopicCounts) {
        *self.topics.lock().unwrap_or_else(PoisonError::into_inner) = topics;
    }

    /// What it told last.
    #[must_use]
    pub fn topics(&self) -> TopicCounts {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells how far the core's groups are behind; see [`bounded`].
    pub fn tell_lags(&self, lags: Vec<GroupLag>) {
        *self.lags.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(bounded(lags));
    }

    /// What it told last.
    #[must_use]
    pub fn lags(&self) -> Arc<Vec<GroupLag>> {
        self.lags.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The core's driver took this long to look at its ring again. Only on the shard's own core.
    pub fn stalled(&self, stall: Duration) {
        self.stalls.record(stall);
    }

    /// What was counted so far. Each number is right; together they are of nearly one moment.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            counters: std::array::from_fn(|index| self.counters[index].load(Relaxed)),
            requests: std::array::from_fn(|index| self.requests[index].load(Relaxed)),
            gauges: std::array::from_fn(|index| self.gauges[index].load(Relaxed)),
            stalls: self.stalls.snapshot(),
            stages: self.stages.snapshot(),
            errors: self.errors.snapshot(),
        }
    }
}

/// Counters as they were, of one shard or, added up, of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    counters: [u64; COUNTERS.len()],
    requests: [u64; API_KEYS_MAX],
    gauges: [u64; GAUGES.len()],
    stalls: Stalls,
    stages: Vec<Latency>,
    errors: Vec<ErrorCount>,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self {
            counters: [0; _],
            requests: [0; _],
            gauges: [0; _],
            stalls: Stalls::default(),
            stages: vec![Latency::default(); TIMED.len()],
            errors: Vec::new(),
        }
    }
}

impl Snapshot {
    /// The value of one counter.
    #[must_use]
    pub const fn get(&self, counter: Counter) -> u64 {
        self.counters[counter as usize]
    }

    /// What a gauge measured last; of several shards the sum.
    #[must_use]
    pub const fn gauge(&self, gauge: Gauge) -> u64 {
        self.gauges[gauge as usize]
    }

    /// Connections that are open: an instant between two counters may make it one too few, never negative.
    #[must_use]
    pub const fn connections_open(&self) -> u64 {
        self.get(Counter::ConnectionsOpened).saturating_sub(self.get(Counter::ConnectionsClosed))
    }

    /// Bytes written to the disk for each byte appended; `None` before the first.
    #[must_use]
    pub fn write_amplification(&self) -> Option<f64> {
        let written = [Counter::JournalBytes, Counter::SegmentBytes, Counter::CheckpointBytes];
        let written: u64 = written.into_iter().map(|class| self.get(class)).sum();
        let appended = self.get(Counter::BytesAppended);
        (appended > 0).then(|| written as f64 / appended as f64)
    }

    /// How long work waited for a core that was at something else.
    #[must_use]
    pub const fn stalls(&self) -> &Stalls {
        &self.stalls
    }

    /// How long the stages of requests took, in the order of [`TIMED`].
    pub fn stages(&self) -> impl Iterator<Item = (RequestKind, Stage, &Latency)> {
        TIMED.iter().zip(&self.stages).map(|((kind, stage), latency)| (*kind, *stage, latency))
    }

    /// Errors in responses that have occurred, by API and code.
    #[must_use]
    pub fn errors(&self) -> &[ErrorCount] {
        &self.errors
    }

    /// APIs that were asked for, by key, with their numbers of requests.
    pub fn requests(&self) -> impl Iterator<Item = (i16, u64)> {
        (0..).zip(self.requests).filter(|&(_, count)| count > 0)
    }

    /// One line of text; `api_name` names the APIs.
    #[must_use]
    pub fn line<N: fmt::Display>(&self, api_name: impl Fn(i16) -> N) -> String {
        let by_api: Vec<_> =
            self.requests().map(|(api_key, count)| format!("{} {count}", api_name(api_key))).collect();
        let mut line = format!("requests {}", self.requests.iter().sum::<u64>());
        if !by_api.is_empty() {
            line += &format!(" ({})", by_api.join(", "));
        }
        for &(counter, name, _) in COUNTERS {
            line += &format!(", {name} {}", self.get(counter));
        }
        if let Some(ratio) = self.write_amplification() {
            line += &format!(", write_amplification {ratio:.3}");
        }
        line + &format!(", connections_open {}, reactor_stall_us {}", self.connections_open(), self.stalls)
    }
}

impl AddAssign<&Self> for Snapshot {
    fn add_assign(&mut self, other: &Self) {
        self.counters.iter_mut().zip(other.counters).for_each(|(sum, more)| *sum += more);
        self.requests.iter_mut().zip(other.requests).for_each(|(sum, more)| *sum += more);
        self.gauges.iter_mut().zip(other.gauges).for_each(|(sum, more)| *sum += more);
        self.stalls.add(&other.stalls);
        self.stages.iter_mut().zip(&other.stages).for_each(|(sum, more)| sum.add(more));
        for (pair, more) in &other.errors {
            match self.errors.iter_mut().find(|(known, _)| known == pair) {
                Some((_, sum)) => *sum += more,
                None => self.errors.push((*pair, *more)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_has_its_own_place_and_name() {
        for (at, (counter, name, _)) in COUNTERS.iter().enumerate() {
            assert_eq!(*counter as usize, at, "{name}");
            assert!(COUNTERS[..at].iter().all(|(_, earlier, _)| earlier != name), "{name} twice");
        }
    }

    #[test]
    fn shards_add_up_to_one_line() {
        let (one, two) = (ShardMetrics::default(), ShardMetrics::default());
        one.add(Counter::BytesIn, 100);
        two.add(Counter::BytesIn, 11);
        one.count(Counter::ConnectionsOpened);
        two.count(Counter::ConnectionsOpened);
        two.count(Counter::ConnectionsClosed);
        one.stalled(Duration::from_micros(64));
        one.count_request(0);
        two.count_request(0);
        two.count_request(18);
        assert_eq!(one.snapshot().write_amplification(), None);
        one.add(Counter::BytesAppended, 1000);
        one.add(Counter::JournalBytes, 50);
        two.add(Counter::SegmentBytes, 1000);
        let mut sum = Snapshot::default();
        sum += &one.snapshot();
        sum += &two.snapshot();
        assert_eq!(sum.get(Counter::BytesIn), 111);
        assert_eq!(sum.connections_open(), 1);
        assert_eq!(sum.write_amplification(), Some(1.05));
        let line = sum.line(|api_key| format!("api{api_key}"));
        assert!(line.starts_with("requests 3 (api0 2, api18 1), errors 0, bytes_in 111, "), "{line}");
        assert!(line.ends_with(", connections_open 1, reactor_stall_us p99 64 p99.9 64 max 64"), "{line}");
        assert!(Snapshot::default().line(|_| "").starts_with("requests 0, errors 0, "));
    }

    #[test]
    fn any_api_key_is_counted_somewhere() {
        let metrics = ShardMetrics::default();
        [i16::MIN, -1, 0, 127, 128, i16::MAX].into_iter().for_each(|key| {
            metrics.count_request(key);
        });
        let counted: Vec<_> = metrics.snapshot().requests().collect();
        assert_eq!(counted, [(0, 1), (127, 5)]);
    }
}
