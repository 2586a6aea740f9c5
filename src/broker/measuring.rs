//! What a core tells of itself every so often, for whoever watches.

use std::{rc::Rc, time::Duration};

use crate::{
    coordinator::service::Coordinator,
    io::{
        cores,
        ring::{DiskBounds, Ring},
    },
    log::Store,
    metrics::{Counter, Gauge, GroupLag},
    shard::Shard,
};

/// How often a core's gauges are measured. At 10,000 partitions a look at all of them takes about a millisecond.
pub(super) const MEASURE_INTERVAL: Duration = Duration::from_secs(5);

/// How often it is found out how far groups are behind.
const LAG_INTERVAL: Duration = Duration::from_secs(10);

/// Says every so often what the core's gauges measure, until it stops.
pub(super) async fn measure(shard: Rc<Shard>, store: Rc<Store>, ring: Rc<Ring>, disk: DiskBounds) {
    show_settings(&shard, &ring, disk);
    let mut seen = [0; 3];
    let unsettled_bytes_max = shard.settings().shards[shard.id().index()].unsettled_bytes_max as u64;
    while !shard.stopping().is_asked() {
        let metrics = shard.metrics();
        let counts = store.integrity_counts();
        let scrubbed_ms = store.scrubbed_since_ms().and_then(|ms| u64::try_from(ms).ok());
        metrics.set(Gauge::Failed, u64::from(store.failure().is_some()));
        metrics.set(Gauge::DiskFull, u64::from(store.is_disk_full()));
        metrics.set(Gauge::Partitions, shard.partitions() as u64);
        metrics.set(Gauge::UnsettledBytes, store.unsettled_bytes());
        let (journal_files, journal_bytes_max) = store.journal_files();
        metrics.set(Gauge::UnsettledMaxBytes, unsettled_bytes_max);
        metrics.set(Gauge::UnsyncedBytes, store.unsynced_bytes());
        metrics.set(Gauge::JournalFiles, journal_files as u64);
        metrics.set(Gauge::JournalMaxBytes, journal_bytes_max);
        metrics.set(Gauge::BudgetBytes, shard.budget().total() as u64);
        metrics.set(Gauge::ReserveBytes, store.reserve_bytes());
        if let Ok(space) = Shard::disk_space(shard.settings().data_dir_of(shard.id())) {
            metrics.set(Gauge::DiskBytes, space.total);
            metrics.set(Gauge::DiskUsableBytes, space.usable);
        }
        metrics.set(Gauge::BudgetUsedBytes, shard.budget().used() as u64);
        metrics.set(Gauge::SpansMatched, counts.spans_matched);
        metrics.set(Gauge::SpansDamaged, counts.spans_damaged);
        metrics.set(Gauge::SidecarsRebuilt, counts.sidecars_rebuilt);
        metrics.set(Gauge::ScrubbedMs, scrubbed_ms.unwrap_or(0));
        metrics.set(Gauge::SparesUsed, store.spares_used());
        metrics.set(Gauge::Serving, 1);
        let (read_waits, write_waits) = ring.disk_waits();
        let counted = [
            (Counter::Parks, ring.parks()),
            (Counter::DiskReadWaits, read_waits),
            (Counter::DiskWriteWaits, write_waits),
        ];
        for ((counter, now), seen) in counted.into_iter().zip(&mut seen) {
            metrics.add(counter, now - std::mem::replace(seen, now));
        }
        metrics.tell_topics(shard.count_topics().await.into());
        metrics.count(Counter::Beats);
        cores::sleep(MEASURE_INTERVAL).await;
    }
    shard.metrics().set(Gauge::Serving, 0);
}

/// Says every so often how far the core's groups are behind, until it stops.
pub(super) async fn measure_lags(shard: Rc<Shard>, groups: Rc<Coordinator>) {
    while !shard.stopping().is_asked() {
        let lags = groups.lags().await.into_iter().map(|lag| GroupLag {
            of: Some((lag.group.into(), lag.topic.into())),
            records: lag.records,
            seconds: lag.age_ms.map(|ms| ms as f64 / 1e3),
        });
        shard.metrics().tell_lags(lags.collect());
        cores::sleep(LAG_INTERVAL).await;
    }
}

/// What the core was made with, as the kernel and the executor have it.
fn show_settings(shard: &Shard, ring: &Ring, disk: DiskBounds) {
    let (metrics, settings) = (shard.metrics(), shard.settings());
    let own = &settings.shards[shard.id().index()];
    let shares = cores::queue_shares();
    let bound = |max: usize| if max == usize::MAX { 0 } else { max as u64 };
    metrics.set(Gauge::Core, own.core as u64);
    metrics.set(Gauge::RingEntries, u64::from(ring.entries()));
    metrics.set(Gauge::ReceiveBuffers, u64::from(own.receive_buffers));
    metrics.set(Gauge::SpinUs, own.spin_us);
    metrics.set(Gauge::ForegroundShares, shares.foreground as u64);
    metrics.set(Gauge::HousekeepingShares, shares.housekeeping as u64);
    metrics.set(Gauge::DiskReadsMax, bound(disk.reads_max));
    metrics.set(Gauge::DiskWritesMax, bound(disk.writes_max));
}
