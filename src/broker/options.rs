//! What a core's parts are told, from the settings: its ring, its logs, its groups, its way of sending files.

use std::{path::Path, time::Duration};

use crate::{
    config::{FetchPath, Settings, ShardSettings},
    coordinator::{
        classic::GroupLimits, consumer::ConsumerLimits, migration::MigrationPolicy,
        service::CoordinatorSettings,
    },
    io::{
        disk::disk_space,
        ring::{DiskBounds, RingOptions},
        send::FilePath,
    },
    log::{CompactionOptions, Elsewhere, Generation, StoreOptions},
    model::ShardId,
};

/// Bytes of one receive buffer; a larger request is received into memory of its own.
const RECEIVE_BUFFER_BYTES: usize = 16 << 10;

/// The reserve is at most this part of the disk, however much was asked for.
const RESERVE_SHARE: u64 = 20;

pub(super) const fn file_path(path: FetchPath) -> FilePath {
    match path {
        FetchPath::Auto => FilePath::Auto,
        FetchPath::Sendfile => FilePath::Sendfile,
        FetchPath::Direct => FilePath::Direct,
    }
}

pub(super) fn coordinator_settings(settings: &Settings) -> CoordinatorSettings {
    CoordinatorSettings {
        limits: GroupLimits {
            initial_delay_ms: settings.group_initial_rebalance_delay_ms,
            members_max: settings.group_size_max,
        },
        consumer: ConsumerLimits {
            session_ms: settings.group_consumer_session_ms,
            heartbeat_ms: settings.group_consumer_heartbeat_ms,
            members_max: settings.group_consumer_size_max,
        },
        migration: MigrationPolicy {
            upgrade: settings.group_migration.upgrade,
            downgrade: settings.group_migration.downgrade,
        },
        session_min_ms: settings.group_session_min_ms,
        session_max_ms: settings.group_session_max_ms,
        offsets_retention_ms: settings.offsets_retention_ms,
        retention_check_ms: settings.offsets_retention_check_ms,
    }
}

pub(super) fn ring_options(own: &ShardSettings, disk: DiskBounds) -> RingOptions {
    RingOptions {
        entries: own.ring_entries,
        receive_buffers: own.receive_buffers,
        receive_buffer_bytes: RECEIVE_BUFFER_BYTES,
        spin_max: Duration::from_micros(own.spin_us),
        disk,
    }
}

/// What each of so many cores keeps in a data directory.
fn reserve_share(settings: &Settings, data: &Path, cores: usize) -> Result<u64, String> {
    let disk =
        disk_space(data).map_err(|error| format!("the size of the disk with {}: {error}", data.display()))?;
    let bytes = settings.disk_reserve_bytes.min(disk.total / RESERVE_SHARE);
    Ok((bytes / cores as u64).next_multiple_of(4096))
}

pub(super) fn store_options(
    settings: &Settings,
    id: ShardId,
    former: Generation,
) -> Result<StoreOptions, String> {
    let own = &settings.shards[id.index()];
    let mut journal_id = [0; 8];
    getrandom::fill(&mut journal_id).map_err(|error| format!("no random bytes from the kernel: {error}"))?;
    let next = Generation { number: former.number + 1, shards: settings.shards.len() as u32 };
    let data = settings.data_dir_of(id).to_owned();
    let shards = settings.shards.len();
    let shards_of = |data: &Path| {
        (0..shards as u16).filter(|other| settings.data_dir_of(ShardId(*other)) == data).count()
    };
    let others = settings.data_dirs.iter().filter(|other| **other != data).map(|other| {
        // Nobody knows which of the other cores have logs there: each has its share.
        let reserve_bytes = reserve_share(settings, other, shards - shards_of(other))?;
        Ok::<_, String>(Elsewhere { data: other.clone(), reserve_bytes })
    });
    let elsewhere = others.collect::<Result<_, _>>()?;
    let mut options = StoreOptions::new(data.clone(), u32::from(id.0), next, u64::from_ne_bytes(journal_id));
    options.elsewhere = elsewhere;
    options.journal_file_bytes = own.journal_file_bytes;
    options.journal_files_max = own.journal_files_max as u32;
    options.flush_interval = Duration::from_millis(own.flush_interval_ms);
    options.checkpoint_interval = Duration::from_millis(own.checkpoint_interval_ms);
    options.extent_bytes_min = if own.extent_bytes_min == 0 { usize::MAX } else { own.extent_bytes_min };
    options.unsettled_bytes_max = own.unsettled_bytes_max as u64;
    options.tail_cache_bytes_max = own.tail_cache_bytes_max;
    options.open_files_max = own.open_files_max;
    options.retention_check_interval = Duration::from_millis(settings.retention_check_interval_ms);
    options.scrub_interval = Duration::from_millis(settings.scrub_interval_ms);
    options.reserve_bytes = reserve_share(settings, &data, shards_of(&data))?;
    options.compaction = CompactionOptions {
        dedupe_buffer_bytes: settings.cleaner_dedupe_buffer_bytes / shards,
        io_bytes_per_second: settings.cleaner_io_bytes_per_second / shards as u64,
        backoff: Duration::from_millis(settings.cleaner_backoff_ms),
    };
    Ok(options)
}
