//! Old segments go, and nothing else does.

use std::{path::Path, rc::Rc, sync::Arc, time::Duration};

use super::{Broker, DATA, Ledger, batch, partition, run, small};
use crate::{
    io::{
        clock::Clock,
        sim::{Sim, SimDisk},
    },
    log::format::{partition_directory, shard_directory},
    model::{Offset, TopicSettings},
};

async fn start(sim: &Rc<Sim>, disk: &SimDisk, ledger: &Ledger, settings: TopicSettings) -> Broker {
    let tune = |options: &mut crate::log::StoreOptions| {
        small(options);
        options.retention_check_interval = Duration::from_millis(50);
    };
    let broker = Broker::start_with(sim, disk, 1, 0..1, ledger, tune).await.expect("it opens");
    let (store, log) = broker.log(0);
    store.update_settings(log, Arc::new(settings)).expect("there");
    sim.spawn(store.clone().run_retention());
    broker
}

fn settings() -> TopicSettings {
    TopicSettings {
        segment_bytes: 10_000,
        segment_ms: i64::MAX,
        retention_ms: -1,
        ..TopicSettings::default()
    }
}

async fn append(broker: &Broker, disk: &SimDisk, timestamp: i64) {
    let base = broker.ledger.borrow()[&0].end;
    broker.append_at(0, &batch(base, 1, 3_000, timestamp, 9), 1, true).expect("room");
    broker.log(0).0.wait_for_room().await;
    broker.drained(disk).await;
}

fn segments(disk: &SimDisk) -> usize {
    let files = disk.files(&partition_directory(Path::new(DATA), partition(0)));
    files.iter().filter(|(path, _)| path.to_string_lossy().ends_with(".log")).count()
}

fn start_of(broker: &Broker) -> i64 {
    let (store, log) = broker.log(0);
    store.log_start_offset(log).expect("there").get()
}

/// The wall clock of appends in these tests; see `Broker::append_at`.
const NOW_MS: i64 = 1_700_000_000_000;

#[test]
fn a_log_larger_than_retention_bytes_loses_its_oldest_segments_with_their_files() {
    let disk = SimDisk::new(3);
    run(&disk, async move |sim, disk| {
        let ledger = Ledger::default();
        let broker =
            start(&sim, &disk, &ledger, TopicSettings { retention_bytes: 20_000, ..settings() }).await;
        for _ in 0..30 {
            append(&broker, &disk, NOW_MS).await;
        }
        disk.sleep(Duration::from_secs(1)).await;
        // Three batches to a segment: 7 whole ones of 9,000 bytes would stay above 20,000 with 3.
        assert_eq!(start_of(&broker), 21);
        append(&broker, &disk, NOW_MS).await;
        disk.sleep(Duration::from_secs(1)).await;
        assert!(segments(&disk) <= 4, "{} files", segments(&disk));
        let served = broker.read_all(0, 5_000).await.expect("readable");
        let start = start_of(&broker) as usize;
        assert!(served == ledger.borrow()[&0].batches[start..]);
    })
    .expect("it runs to its end");
}

#[test]
fn a_log_whose_records_are_all_older_than_retention_ms_is_emptied_and_goes_on() {
    let disk = SimDisk::new(4);
    run(&disk, async move |sim, disk| {
        let ledger = Ledger::default();
        let broker = start(&sim, &disk, &ledger, settings()).await;
        for _ in 0..10 {
            append(&broker, &disk, 1_000).await;
        }
        disk.sleep(Duration::from_secs(1)).await;
        assert_eq!(start_of(&broker), 0);
        let (store, log) = broker.log(0);
        store.update_settings(log, Arc::new(TopicSettings { retention_ms: 0, ..settings() })).expect("there");
        disk.sleep(Duration::from_secs(1)).await;
        assert_eq!(start_of(&broker), 10);
        append(&broker, &disk, i64::MAX / 2).await;
        assert_eq!(broker.read_all(0, 5_000).await.expect("readable").len(), 1);
    })
    .expect("it runs to its end");
}

#[test]
fn a_timestamp_in_the_future_neither_keeps_data_for_ever_nor_takes_other_data_along() {
    let disk = SimDisk::new(5);
    let ledger = Ledger::default();
    let theirs = ledger.clone();
    run(&disk, async move |sim, disk| {
        let broker = start(&sim, &disk, &theirs, settings()).await;
        append(&broker, &disk, NOW_MS + 1_000_000_000).await;
        for _ in 0..9 {
            append(&broker, &disk, NOW_MS).await;
        }
        // The simulated clock is far behind these appends: nothing is old yet.
        let (store, log) = broker.log(0);
        let day = TopicSettings { retention_ms: 86_400_000, ..settings() };
        store.update_settings(log, Arc::new(day)).expect("there");
        disk.sleep(Duration::from_secs(1)).await;
        assert_eq!(start_of(&broker), 0);
        store.request_checkpoint();
        disk.sleep(Duration::from_secs(1)).await;
    })
    .expect("it runs to its end");
    disk.kill();
    run(&disk, async move |sim, disk| {
        // Whatever the clock says now: by it the first segment is as old as the others.
        let broker = start(&sim, &disk, &ledger, settings()).await;
        let (store, log) = broker.log(0);
        let ages = store.retention_times(log);
        assert_eq!(ages.len(), 4);
        assert!(ages.iter().all(|time_ms| *time_ms <= NOW_MS), "{ages:?}");
        assert_eq!(store.log_end_offset(log).ok(), Some(Offset::new(10)));
    })
    .expect("it runs to its end");
}

#[test]
fn files_of_freed_segments_become_segments_again_and_what_they_held_is_never_read() {
    let disk = SimDisk::new(6);
    let ledger = Ledger::default();
    let theirs = ledger.clone();
    let read = async |broker: &Broker, ledger: &Ledger| {
        let start = start_of(broker) as usize;
        let served = broker.read_all(0, 5_000).await.expect("readable");
        assert!(served == ledger.borrow()[&0].batches[start..]);
    };
    run(&disk, async move |sim, disk| {
        let kept = TopicSettings { retention_bytes: 20_000, ..settings() };
        let broker = start(&sim, &disk, &theirs, kept).await;
        for _ in 0..300 {
            append(&broker, &disk, NOW_MS).await;
            disk.sleep(Duration::from_millis(4)).await;
        }
        let used = broker.log(0).0.spares_used();
        assert!(used > 5, "{used} of 100 segments");
        read(&broker, &theirs).await;
        disk.sleep(Duration::from_secs(1)).await;
        let spares = |disk: &SimDisk| {
            let shard = shard_directory(Path::new(DATA), 1, 0);
            let is_spare = |path: &Path| path.to_string_lossy().contains("spare-");
            disk.files(&shard).iter().filter(|(path, _)| is_spare(path)).count()
        };
        assert_eq!(spares(&disk), 0, "what nobody takes is given back");
        append(&broker, &disk, NOW_MS).await;
    })
    .expect("it runs to its end");
    disk.kill();
    run(&disk, async move |sim, disk| {
        let broker = start(&sim, &disk, &ledger, settings()).await;
        read(&broker, &ledger).await;
    })
    .expect("it runs to its end");
}
