//! What survives when the process or the power goes at any moment.

use std::{io, ops::Range, rc::Rc, time::Duration};

use super::{BULK, Broker, Ledger, run};
use crate::{
    io::{
        clock::Clock,
        sim::{Random, SimDisk},
    },
    log::LogError,
};

const PARTITIONS: Range<i32> = 0..5;
const BULK_PARTITIONS: Range<i32> = BULK..BULK + 3;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Crash {
    Kill,
    PowerLoss,
}

/// The partitions of a ledger: one range.
fn partitions_of(ledger: &Ledger) -> Range<i32> {
    let ledger = ledger.borrow();
    let first = ledger.keys().next().copied().unwrap_or(PARTITIONS.start);
    first..if first < BULK { PARTITIONS.end } else { BULK_PARTITIONS.end }
}

/// Appends to all partitions, small and large, durable and not; ends early if the store refuses.
pub(super) async fn load(broker: &Broker, disk: &SimDisk, seed: u64, appends: u32) {
    let mut random = Random::new(seed);
    for _ in 0..appends {
        let partitions = partitions_of(&broker.ledger);
        let index = partitions.start + random.below(partitions.len() as u64) as i32;
        let bytes = match random.below(12) {
            ..5 if index >= BULK => 6_000 + random.below(30_000),
            0 => 20_000 + random.below(30_000),
            1..4 => 3_000 + random.below(4_000),
            _ => 80 + random.below(900),
        };
        let records = 1 + random.below(4) as i32;
        let refused = broker.append(index, bytes as usize, records, random.below(3) == 0).is_err();
        if refused {
            return;
        }
        broker.log(index).0.wait_for_room().await;
        if random.below(4) == 0 {
            disk.sleep(Duration::from_micros(random.below(900))).await;
        }
    }
}

/// Starts, checks what is there against the ledger, appends some more, and checks that too.
pub(super) fn check_start(disk: &SimDisk, ledger: &Ledger, shards: u32, crash: Crash, case: &str) {
    let promised = ledger.borrow().clone();
    let partitions = partitions_of(ledger);
    let ledger = ledger.clone();
    let case = case.to_owned();
    let done = run(disk, async move |sim, disk| {
        let broker = Broker::start(&sim, &disk, shards, partitions.clone(), &ledger).await;
        let broker = broker.unwrap_or_else(|error| panic!("{error}: {case}"));
        for (&index, kept) in &promised {
            let served = broker.read_all(index, 5_000).await.unwrap_or_else(|e| panic!("{e}: {case}"));
            let end = served.last().map_or(0, |last| super::next_of(last));
            let told = if crash == Crash::Kill { kept.written_end } else { kept.durable_end };
            assert!(end >= told, "partition {index} ends at {end}, promised {told}: {case}");
            let given = kept.batches.get(..served.len());
            assert!(given == Some(&served), "partition {index} serves what it was not given: {case}");
        }
        load(&broker, &disk, 5, 20).await;
        broker.drained(&disk).await;
        for index in partitions {
            let served = broker.read_all(index, 100_000).await.unwrap_or_else(|e| panic!("{e}: {case}"));
            assert!(served == ledger.borrow()[&index].batches, "partition {index}: {case}");
        }
    });
    assert!(done.is_some());
    disk.kill();
}

/// Runs the load on a fresh disk; it is cut after so many operations, if it comes that far.
fn loaded(seed: u64, stop_after: Option<u64>, partitions: Range<i32>) -> (SimDisk, Ledger) {
    let disk = SimDisk::new(seed);
    let ledger = Ledger::default();
    // One range of partitions, even if the cut comes before the first append.
    ledger.borrow_mut().entry(partitions.start).or_default();
    if let Some(operations) = stop_after {
        disk.stop_after(operations);
    }
    let theirs = ledger.clone();
    run(&disk, async move |sim, disk| {
        let broker = Broker::start(&sim, &disk, 2, partitions, &theirs).await.expect("a fresh start");
        load(&broker, &disk, seed, 220).await;
        broker.drained(&disk).await;
    });
    (disk, ledger)
}

pub(super) fn end(disk: &SimDisk, crash: Crash) {
    match crash {
        Crash::Kill => disk.kill(),
        Crash::PowerLoss => disk.power_loss(),
    }
}

fn check_every_operation(seed: u64, crash: Crash, step: usize, partitions: &Range<i32>) {
    let operations = loaded(seed, None, partitions.clone()).0.operations();
    assert!(operations > 200, "the load is too light: {operations} operations");
    for stop_after in (1..operations).step_by(step) {
        let (disk, ledger) = loaded(seed, Some(stop_after), partitions.clone());
        end(&disk, crash);
        let shards = 1 + (stop_after % 3) as u32;
        let case = format!("seed {seed}, {crash:?} after {stop_after} of {operations}, then {shards} shards");
        check_start(&disk, &ledger, shards, crash, &case);
    }
}

#[test]
fn durable_batches_survive_power_loss_after_any_operation() {
    check_every_operation(11, Crash::PowerLoss, 5, &PARTITIONS);
    check_every_operation(12, Crash::PowerLoss, 11, &PARTITIONS);
}

#[test]
fn written_batches_survive_a_kill_after_any_operation() {
    check_every_operation(21, Crash::Kill, 7, &PARTITIONS);
}

#[test]
fn extents_and_small_batches_survive_power_loss_after_any_operation() {
    check_every_operation(13, Crash::PowerLoss, 7, &BULK_PARTITIONS);
    check_every_operation(14, Crash::PowerLoss, 11, &BULK_PARTITIONS);
}

#[test]
fn extents_and_small_batches_survive_a_kill_after_any_operation() {
    check_every_operation(23, Crash::Kill, 7, &BULK_PARTITIONS);
}

#[test]
fn a_crash_at_any_point_of_recovery_is_repaired_by_the_next_one() {
    let bulk = &BULK_PARTITIONS;
    for (seed, crash, partitions) in [
        (31, Crash::PowerLoss, &PARTITIONS),
        (32, Crash::Kill, &PARTITIONS),
        (33, Crash::PowerLoss, bulk),
        (34, Crash::Kill, bulk),
    ] {
        for stop_after in (1..).step_by(3) {
            let (disk, ledger) = loaded(seed, Some(300), partitions.clone());
            end(&disk, crash);
            disk.stop_after(stop_after);
            let theirs = Rc::new((*ledger).clone());
            let partitions = partitions.clone();
            let finished = run(&disk, async move |sim, disk| {
                let started = Broker::start(&sim, &disk, 3, partitions, &theirs).await;
                started.map(|_| ()).expect("only the crash stops it");
            });
            end(&disk, crash);
            let case = format!("seed {seed}, {crash:?} after {stop_after} operations of recovery");
            check_start(&disk, &ledger, 2, crash, &case);
            if finished.is_some() {
                assert!(stop_after > 20, "recovery took only {stop_after} operations");
                break;
            }
        }
    }
}

#[test]
fn an_operation_that_fails_leads_to_no_false_acknowledgement() {
    check_every_failure(41, 3, &PARTITIONS);
}

#[test]
fn an_operation_that_fails_beside_extents_leads_to_no_false_acknowledgement() {
    check_every_failure(42, 5, &BULK_PARTITIONS);
}

fn check_every_failure(seed: u64, step: usize, partitions: &Range<i32>) {
    let operations = loaded(seed, None, partitions.clone()).0.operations();
    for k in (1..operations).step_by(step) {
        let disk = SimDisk::new(seed);
        let ledger = Ledger::default();
        ledger.borrow_mut().entry(partitions.start).or_default();
        let partitions = partitions.clone();
        let theirs = ledger.clone();
        run(&disk, async move |sim, disk| {
            disk.fail_at(k, io::ErrorKind::Other);
            let Ok(broker) = Broker::start(&sim, &disk, 2, partitions.clone(), &theirs).await else { return };
            if broker.logs.len() < partitions.len() {
                return;
            }
            load(&broker, &disk, seed, 220).await;
            broker.drained(&disk).await;
            for index in partitions {
                let (store, log) = broker.log(index);
                if store.failure().is_some() {
                    let refused = store.append(
                        log,
                        &[0; 61],
                        super::AppendInfo {
                            next_offset: super::Offset::new(1),
                            leader_epoch: super::LeaderEpoch::new(0),
                            max_timestamp: 0,
                            durable: false,
                            now_ms: 0,
                        },
                    );
                    assert!(matches!(refused, Err(LogError::Failed { .. })), "{refused:?}");
                }
            }
        });
        disk.power_loss();
        check_start(&disk, &ledger, 1, Crash::PowerLoss, &format!("operation {k} of {operations} fails"));
    }
}

#[test]
fn a_full_disk_refuses_appends_and_recovers_by_itself() {
    let disk = SimDisk::new(51);
    let ledger = Ledger::default();
    let theirs = ledger.clone();
    run(&disk, async move |sim, disk| {
        let broker = Broker::start(&sim, &disk, 1, PARTITIONS, &theirs).await.expect("a fresh start");
        broker.append(0, 500, 1, true).expect("there is room");
        broker.drained(&disk).await;
        disk.set_space(disk.allocated());
        let mut refused = false;
        for _ in 0..300 {
            match broker.append(0, 4_000, 1, true) {
                Ok(()) => disk.sleep(Duration::from_millis(2)).await,
                Err(LogError::DiskFull) => {
                    refused = true;
                    break;
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert!(refused, "a disk without space takes everything");
        let served = broker.read_all(0, 10_000).await.expect("reads go on");
        assert_eq!(served, theirs.borrow()[&0].batches);
        disk.set_space(u64::MAX);
        disk.sleep(Duration::from_secs(5)).await;
        broker.append(0, 4_000, 1, true).expect("there is room again");
        broker.drained(&disk).await;
        assert_eq!(broker.stores[0].failure(), None);
    });
    disk.power_loss();
    check_start(&disk, &ledger, 1, Crash::PowerLoss, "after a full disk");
}

#[test]
fn a_log_for_which_space_was_to_be_made_is_deleted_also_where_the_disk_has_failed_meanwhile() {
    let disk = SimDisk::new(53);
    let ledger = Ledger::default();
    run(&disk, async move |sim, disk| {
        let broker = Broker::start(&sim, &disk, 1, PARTITIONS, &ledger).await.expect("a fresh start");
        let (store, log) = broker.log(0);
        while !store.with_log(log, |log| log.preparing).expect("a log") {
            broker.append(0, 4_000, 1, true).expect("there is room");
        }
        store.fence("a write has failed".to_owned());
        let deleted = async { store.delete_log(log).await.is_ok() };
        let time_is_over = async {
            disk.sleep(Duration::from_secs(60)).await;
            false
        };
        assert!(futures_lite::future::or(deleted, time_is_over).await);
    });
}

#[test]
fn a_reserve_lets_a_full_disk_settle_commit_offsets_and_stop_cleanly() {
    let disk = SimDisk::new(52);
    let ledger = Ledger::default();
    let theirs = ledger.clone();
    run(&disk, async move |sim, disk| {
        let tune = |options: &mut super::StoreOptions| {
            super::small(options);
            options.reserve_bytes = 1 << 20;
        };
        let broker = Broker::start_with(&sim, &disk, 1, PARTITIONS, &theirs, tune).await;
        let broker = broker.expect("a fresh start");
        let (store, internal) = broker.log(1);
        store.append_on_reserve(internal).expect("a log");
        broker.append(0, 500, 1, true).expect("there is room");
        broker.drained(&disk).await;
        disk.set_space(disk.allocated());
        let mut refused = false;
        for _ in 0..300 {
            match broker.append(0, 4_000, 1, true) {
                Ok(()) => disk.sleep(Duration::from_millis(2)).await,
                Err(LogError::DiskFull) => {
                    refused = true;
                    break;
                }
                Err(other) => panic!("{other}"),
            }
        }
        assert!(refused, "a disk without space takes everything");
        for _ in 0..20 {
            broker.append(1, 200, 1, true).expect("the reserve takes it");
        }
        broker.drained(&disk).await;
        disk.sleep(Duration::from_secs(30)).await;
        assert!(matches!(broker.append(0, 4_000, 1, true), Err(LogError::DiskFull)), "it is still full");
        // A stop is clean: the next start has nothing to replay.
        broker.stores[0].close(true).await.expect("a clean end");
        assert_eq!(broker.stores[0].unsettled_bytes(), 0);
    })
    .expect("no crash");
    disk.kill();
    disk.set_space(u64::MAX);
    check_start(&disk, &ledger, 1, Crash::Kill, "after a stop on a full disk");
}
