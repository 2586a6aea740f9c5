//! A shard whose logs lie on two disks, of which one is full.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use futures_lite::future;

use super::{Broker, DATA, JOURNAL_FILES_MAX, LONG, Ledger, partition, run, small};
use crate::{
    io::{
        clock::Clock as _,
        sim::{Sim, SimDisk},
    },
    log::{
        Elsewhere, LogError, StoreOptions, current_generation, format::partition_directory, remove_others,
    },
};

const OTHER: &str = "/other";
const RESERVE_BYTES: u64 = 1 << 20;
/// Logs of this index lie in the shard's own directory, or in the other one.
const OWN_LOG: i32 = 0;
const OTHER_LOG: i32 = 1;

/// Logs with even index are shard 0's, in [`DATA`]; those with odd index shard 1's, in [`OTHER`].
fn two_disks(options: &mut StoreOptions) {
    one_disk(options);
    if options.shard == 1 {
        let elsewhere = std::mem::replace(&mut options.data, PathBuf::from(OTHER));
        options.elsewhere = vec![Elsewhere { data: elsewhere, reserve_bytes: RESERVE_BYTES }];
    }
}

/// The shard's own directory is [`DATA`].
fn one_disk(options: &mut StoreOptions) {
    small(options);
    options.reserve_bytes = RESERVE_BYTES;
    options.elsewhere = vec![Elsewhere { data: PathBuf::from(OTHER), reserve_bytes: RESERVE_BYTES }];
}

async fn start(
    sim: &Rc<Sim>,
    disk: &SimDisk,
    shards: u32,
    logs: Range<i32>,
    ledger: &Ledger,
    tune: impl Fn(&mut StoreOptions),
) -> Broker {
    let current = current_generation(disk, DATA.as_ref()).await.expect("sound");
    remove_others(disk, OTHER.as_ref(), current).await.expect("removed");
    Broker::start_with(sim, disk, shards, logs, ledger, tune).await.expect("a start")
}

/// A disk with logs in both directories, of which the next shard has all.
fn with_logs(seed: u64, logs: Range<i32>, ledger: &Ledger) -> SimDisk {
    let disk = SimDisk::new(seed);
    disk.mount(OTHER.as_ref());
    let ledger = ledger.clone();
    run(&disk, async move |sim, disk| {
        let broker = start(&sim, &disk, 2, logs.clone(), &ledger, two_disks).await;
        for index in logs {
            broker.append(index, 500, 1, true).expect("there is room");
        }
        broker.drained(&disk).await;
    });
    disk.kill();
    disk
}

fn other() -> &'static Path {
    Path::new(OTHER)
}

/// Bytes of the reserve files below a directory.
fn reserved(disk: &SimDisk, below: &str) -> Vec<usize> {
    let of_reserve = |path: &Path| path.iter().any(|name| name == "reserve");
    let files = disk.files(below.as_ref());
    files.into_iter().filter(|(path, _)| of_reserve(path)).map(|(_, bytes)| bytes.len()).collect()
}

/// Appends until there is no space.
async fn fill(broker: &Broker, disk: &SimDisk, index: i32) {
    for _ in 0..300 {
        match broker.append(index, 4_000, 1, true) {
            Ok(()) => disk.sleep(Duration::from_millis(2)).await,
            Err(LogError::DiskFull) => return,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("a disk without space takes everything");
}

fn is_journal(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("journal."))
}

fn is_refused(broker: &Broker, index: i32) -> bool {
    match broker.append(index, 4_000, 1, true) {
        Ok(()) => false,
        Err(LogError::DiskFull) => true,
        Err(error) => panic!("{error}"),
    }
}

async fn check_served(broker: &Broker, logs: i32) {
    for index in 0..logs {
        let served = broker.read_all(index, 100_000).await.expect("reads go on");
        assert!(served == broker.ledger.borrow()[&index].batches, "partition {index}");
    }
}

#[test]
fn a_full_directory_settles_what_it_took_and_refuses_its_own_logs_until_its_reserve_is_whole() {
    let ledger = Ledger::default();
    let disk = with_logs(61, 0..4, &ledger);
    run(&disk, async move |sim, disk| {
        let broker = start(&sim, &disk, 1, 0..4, &ledger, one_disk).await;
        assert_eq!(reserved(&disk, OTHER), [RESERVE_BYTES as usize]);
        let (store, internal) = broker.log(3);
        store.append_on_reserve(internal).expect("a log");
        // Less than a log has made ahead of it, more than it needs at once.
        disk.set_space_beyond(other(), 30_000);
        fill(&broker, &disk, OTHER_LOG).await;
        assert!(store.is_disk_full());
        // Several times what the journal holds: nothing that it still has is pinned by the other directory.
        for _ in 0..200 {
            broker.append(OWN_LOG, 4_000, 1, true).expect("its directory has space");
            broker.append(3, 200, 1, true).expect("the reserve takes it");
            store.wait_for_room().await;
            disk.sleep(Duration::from_millis(20)).await;
            assert!(is_refused(&broker, OTHER_LOG), "it is taken and refused in turns");
        }
        broker.drained(&disk).await;
        assert!(reserved(&disk, DATA).contains(&(RESERVE_BYTES as usize)), "the own reserve is untouched");
        // Not enough for the reserve.
        disk.set_space_beyond(other(), RESERVE_BYTES / 2);
        for _ in 0..100 {
            disk.sleep(Duration::from_millis(50)).await;
            assert!(is_refused(&broker, OTHER_LOG), "it is taken and refused in turns");
        }
        assert_eq!(store.unsettled_bytes(), 0);
        disk.set_space_beyond(other(), 2 * RESERVE_BYTES);
        disk.sleep(Duration::from_secs(5)).await;
        assert!(!store.is_disk_full());
        assert_eq!(reserved(&disk, OTHER), [RESERVE_BYTES as usize]);
        broker.append(OTHER_LOG, 4_000, 1, true).expect("there is space again");
        broker.drained(&disk).await;
        check_served(&broker, 4).await;
    })
    .expect("no crash");
}

#[test]
fn a_directory_is_full_once_what_is_needed_does_not_fit_and_not_what_is_made_ahead() {
    let ledger = Ledger::default();
    let logs = LONG..LONG + 2;
    let disk = with_logs(66, logs.clone(), &ledger);
    run(&disk, async move |sim, disk| {
        let broker = start(&sim, &disk, 1, logs, &ledger, one_disk).await;
        disk.set_space_beyond(other(), 40_000);
        for _ in 0..3 {
            broker.append(LONG + 1, 4_000, 1, true).expect("there is some room");
            for _ in 0..100 {
                disk.sleep(Duration::from_millis(10)).await;
                assert!(!broker.stores[0].is_disk_full());
            }
        }
        let files = disk.files(&partition_directory(OTHER.as_ref(), partition(LONG + 1)));
        let settled: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(settled >= 8_192, "{settled} bytes are in segments");
        fill(&broker, &disk, LONG + 1).await;
    })
    .expect("no crash");
}

#[test]
fn a_full_own_directory_refuses_the_logs_of_every_directory() {
    let ledger = Ledger::default();
    let disk = with_logs(62, 0..2, &ledger);
    run(&disk, async move |sim, disk| {
        let broker = start(&sim, &disk, 1, 0..2, &ledger, one_disk).await;
        disk.set_space_beyond(DATA.as_ref(), 0);
        fill(&broker, &disk, OWN_LOG).await;
        assert!(is_refused(&broker, OTHER_LOG), "it would go through the journal");
        broker.drained(&disk).await;
        assert_eq!(reserved(&disk, OTHER), [RESERVE_BYTES as usize], "that of the other disk is no help");
        disk.set_space(u64::MAX);
        disk.sleep(Duration::from_secs(5)).await;
        assert!(!is_refused(&broker, OWN_LOG) && !is_refused(&broker, OTHER_LOG));
        broker.drained(&disk).await;
    })
    .expect("no crash");
}

/// `files`: of the journal, there before the disk is full.
fn appends_on_the_reserve_are_refused_in_the_end(seed: u64, files: u32) {
    let ledger = Ledger::default();
    let disk = with_logs(seed, 0..2, &ledger);
    run(&disk, async move |sim, disk| {
        let broker = start(&sim, &disk, 1, 0..2, &ledger, one_disk).await;
        let journal_files =
            || disk.files(DATA.as_ref()).into_iter().filter(|(path, _)| is_journal(path)).count() as u32;
        while journal_files() < files {
            broker.append(OTHER_LOG, 4_000, 1, false).expect("there is room");
            disk.sleep(Duration::from_micros(50)).await;
        }
        broker.drained(&disk).await;
        let (store, internal) = broker.log(OWN_LOG);
        store.append_on_reserve(internal).expect("a log");
        for taken in 0.. {
            assert!(taken < 10_000, "a disk without space takes everything");
            // What the reserve gives back is gone at once.
            disk.set_space_beyond(DATA.as_ref(), 0);
            match broker.append(OWN_LOG, 200, 1, true) {
                Ok(()) => disk.sleep(Duration::from_millis(2)).await,
                Err(LogError::DiskFull) => break,
                Err(error) => panic!("{error}"),
            }
        }
        disk.set_space(u64::MAX);
        disk.sleep(Duration::from_secs(5)).await;
        assert!(!is_refused(&broker, OWN_LOG) && !is_refused(&broker, OTHER_LOG));
        broker.drained(&disk).await;
        check_served(&broker, 2).await;
    })
    .expect("no crash");
}

#[test]
fn appends_on_the_reserve_are_refused_once_it_is_gone_and_the_journal_has_no_space_to_grow() {
    appends_on_the_reserve_are_refused_in_the_end(67, 1);
}

#[test]
fn appends_on_the_reserve_are_refused_once_it_is_gone_and_all_files_of_the_journal_are_needed() {
    appends_on_the_reserve_are_refused_in_the_end(68, JOURNAL_FILES_MAX);
}

#[test]
fn a_stop_with_a_full_directory_is_clean_and_the_next_start_finds_only_that_one_full() {
    let ledger = Ledger::default();
    let disk = with_logs(63, 0..2, &ledger);
    let theirs = ledger.clone();
    run(&disk, async move |sim, disk| {
        let broker = start(&sim, &disk, 1, 0..2, &theirs, one_disk).await;
        disk.set_space_beyond(other(), 0);
        fill(&broker, &disk, OTHER_LOG).await;
        broker.append(OWN_LOG, 4_000, 1, true).expect("its directory has space");
        broker.stores[0].close(true).await.expect("a clean end");
        assert_eq!(broker.stores[0].unsettled_bytes(), 0);
    })
    .expect("no crash");
    disk.kill();
    run(&disk, async move |sim, disk| {
        let broker = start(&sim, &disk, 1, 0..2, &ledger, one_disk).await;
        assert!(is_refused(&broker, OTHER_LOG), "there is no space for its reserve");
        broker.append(OWN_LOG, 4_000, 1, true).expect("its directory has space");
        disk.set_space_beyond(other(), 2 * RESERVE_BYTES);
        disk.sleep(Duration::from_secs(5)).await;
        broker.append(OTHER_LOG, 4_000, 1, true).expect("there is space again");
        broker.drained(&disk).await;
        check_served(&broker, 2).await;
    })
    .expect("no crash");
}

#[test]
fn logs_that_wait_for_space_hold_up_no_other_and_can_be_deleted() {
    let ledger = Ledger::default();
    let disk = with_logs(64, 0..16, &ledger);
    run(&disk, async move |sim, disk| {
        let tune = |options: &mut StoreOptions| {
            one_disk(options);
            options.elsewhere[0].reserve_bytes = 0;
            options.journal_files_max = 16;
            options.unsettled_bytes_max = 1 << 20;
            options.extent_bytes_min = usize::MAX;
        };
        let broker = start(&sim, &disk, 1, 0..16, &ledger, tune).await;
        disk.set_space_beyond(other(), 0);
        // Each has more than a segment, before anybody finds that there is no space.
        for index in (0..16).filter(|index| index % 2 == 1) {
            for _ in 0..11 {
                broker.append(index, 4_000, 1, true).expect("nobody knows yet");
            }
        }
        broker.drained(&disk).await;
        disk.sleep(Duration::from_secs(2)).await;
        assert!(is_refused(&broker, OTHER_LOG));
        for _ in 0..11 {
            broker.append(OWN_LOG, 4_000, 1, true).expect("its directory has space");
        }
        broker.drained(&disk).await;
        disk.sleep(Duration::from_secs(10)).await;
        let files = disk.files(&partition_directory(DATA.as_ref(), partition(OWN_LOG)));
        let settled: usize = files.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(settled >= 32_000, "{settled} bytes are in segments");
        for index in (0..16).filter(|index| index % 2 == 1) {
            let (store, log) = broker.log(index);
            let deleted = async { store.delete_log(log).await.map_err(|error| error.to_string()) };
            let late = async {
                disk.sleep(Duration::from_secs(60)).await;
                Err(format!("partition {index} is not deleted"))
            };
            future::or(deleted, late).await.expect("deleted");
        }
        disk.sleep(Duration::from_secs(2)).await;
        assert!(!broker.stores[0].is_disk_full(), "nobody has use for it");
        broker.stores[0].close(true).await.expect("a clean end");
    })
    .expect("no crash");
}

#[test]
fn a_reserve_elsewhere_goes_with_the_last_log_there_and_with_the_next_start() {
    let ledger = Ledger::default();
    let disk = with_logs(65, 0..4, &ledger);
    for life in 0..2 {
        let theirs = ledger.clone();
        run(&disk, async move |sim, disk| {
            // Shard 1 is at home there now, and shard 0 is not.
            let broker = start(&sim, &disk, 2, 0..4, &theirs, two_disks).await;
            assert_eq!(disk.files(&other().join("reserve")), [], "life {life}");
            check_served(&broker, 4).await;
        });
        disk.kill();
        let theirs = ledger.clone();
        run(&disk, async move |sim, disk| {
            let broker = start(&sim, &disk, 1, 0..4, &theirs, one_disk).await;
            let reserves = || disk.files(&other().join("reserve")).len();
            assert_eq!(reserves(), 1);
            if life == 0 {
                // It is left behind.
                return;
            }
            for index in [1, 3] {
                assert_eq!(reserves(), 1, "partition {index} is still there");
                let (store, log) = broker.log(index);
                store.delete_log(log).await.expect("deleted");
                disk.sleep(Duration::from_secs(2)).await;
            }
            assert_eq!(reserves(), 0);
            assert!(!is_refused(&broker, OWN_LOG));
        });
        disk.kill();
    }
}
