//! Reading, rolling, looking up, wrapping, resting: without faults.

use std::{path::Path, time::Duration};

use super::{Broker, DATA, LONG, Ledger, base_of, batch, joined, next_of, partition, run, settings, small};
use crate::{
    io::{clock::Clock, sim::SimDisk},
    log::{LogError, StoreOptions, generation::move_orphans},
    model::{LeaderEpoch, Offset},
};

pub(super) fn with_broker<T: 'static>(
    seed: u64,
    partitions: std::ops::Range<i32>,
    main: impl AsyncFnOnce(Broker, SimDisk) -> T + 'static,
) -> T {
    let disk = SimDisk::new(seed);
    let done = run(&disk, async move |sim, disk| {
        let ledger = Ledger::default();
        let broker = Broker::start(&sim, &disk, 1, partitions, &ledger).await.expect("a fresh start");
        main(broker, disk).await
    });
    done.expect("nothing stops it")
}

#[test]
fn a_journal_ring_wraps_and_every_batch_is_read_back_from_segments() {
    // With 49 and 57 space was once reserved in a segment that had just been sealed.
    for seed in [1, 49, 57] {
        with_broker(seed, 0..2, async |broker, disk| {
            // 64 KiB files, three of them: more than ten times around.
            for i in 0..1500 {
                broker.append(i % 2, 1_500, 2, i % 50 == 0).expect("room");
                broker.stores[0].wait_for_room().await;
                if i % 7 == 0 {
                    disk.sleep(Duration::from_micros(300)).await;
                }
            }
            broker.drained(&disk).await;
            let journal: Vec<_> = disk.files(&Path::new(DATA).join("shards"));
            assert_eq!(
                journal.iter().filter(|(path, _)| path.to_string_lossy().contains("journal.")).count(),
                3
            );
            for index in 0..2 {
                for max_bytes in [1, 4_000, 1 << 20] {
                    let served = broker.read_all(index, max_bytes).await.expect("readable");
                    assert!(served == broker.ledger.borrow()[&index].batches, "{max_bytes}");
                }
            }
            broker.stores[0].request_checkpoint();
            disk.sleep(Duration::from_secs(1)).await;
            // Sealed segments are batches back to back and nothing else.
            let segments =
                disk.files(&super::super::format::partition_directory(Path::new(DATA), partition(0)));
            let logs: Vec<Vec<u8>> = segments
                .into_iter()
                .filter(|(path, _)| path.extension().is_some_and(|extension| extension == "log"))
                .map(|(_, bytes)| bytes)
                .collect();
            let (_, sealed) = logs.split_last().expect("there are segments");
            assert!(sealed.len() > 20, "{} sealed segments", sealed.len());
            assert!(broker.ledger.borrow()[&0].batches.concat().starts_with(&sealed.concat()));
        });
    }
}

#[test]
fn a_read_starts_with_the_batch_that_holds_the_offset_and_ends_with_whole_batches() {
    with_broker(2, 0..1, async |broker, disk| {
        for _ in 0..30 {
            broker.append(0, 1_000, 10, false).expect("room");
        }
        broker.drained(&disk).await;
        let (store, log) = broker.log(0);
        let read = async |from, end, max_bytes, at_least_one| {
            let (from, end) = (Offset::new(from), Offset::new(end));
            let direct = store.read(log, from, end, max_bytes, at_least_one).await.map(joined);
            if let (Ok(direct), Some(tail)) =
                (&direct, store.read_tail(log, from, end, max_bytes, at_least_one))
            {
                assert_eq!(&joined(tail), direct);
            }
            direct
        };
        let bases = |run: Vec<u8>| super::split(&run).iter().map(|one| base_of(one)).collect::<Vec<_>>();
        assert_eq!(bases(read(25, 300, 2_500, true).await.expect("read")), [20, 30]);
        assert_eq!(bases(read(25, 300, 1, true).await.expect("read")), [20]);
        assert_eq!(bases(read(25, 300, 1, false).await.expect("read")), [0_i64; 0]);
        assert_eq!(bases(read(0, 20, 1 << 20, true).await.expect("read")), [0, 10]);
        assert_eq!(bases(read(300, 300, 1 << 20, true).await.expect("read")), [0_i64; 0]);
        let outside = read(301, 400, 100, true).await;
        assert!(matches!(outside, Err(LogError::OffsetOutOfRange { .. })), "{outside:?}");
    });
}

#[test]
fn a_batch_larger_than_one_look_at_the_disk_goes_out_first_whatever_the_limit() {
    let disk = SimDisk::new(4);
    run(&disk, async |sim, disk| {
        let tune = |options: &mut StoreOptions| {
            small(options);
            (options.journal_file_bytes, options.unsettled_bytes_max) = (4 << 20, 8 << 20);
        };
        let broker = Broker::start_with(&sim, &disk, 1, LONG..LONG + 1, &Ledger::default(), tune).await;
        let broker = broker.expect("a fresh start");
        for bytes in [1_000, 400_000, 990_000, 140_000, 1_000, 500_000] {
            broker.append(LONG, bytes, 10, false).expect("room");
            broker.stores[0].wait_for_room().await;
        }
        broker.drained(&disk).await;
        let (store, log) = broker.log(LONG);
        let end = Offset::new(60);
        for (n, given) in broker.ledger.borrow()[&LONG].batches.iter().enumerate().take(5) {
            let from = Offset::new(n as i64 * 10);
            assert!(store.read_tail(log, from, end, 1, true).is_none(), "batch {n} is on disk");
            for max_bytes in [1, 100_000, given.len()] {
                let read = joined(store.read(log, from, end, max_bytes, true).await.expect("readable"));
                assert!(read == *given, "batch {n} within {max_bytes}: {} bytes", read.len());
                let fits = given.len() <= max_bytes;
                let read = joined(store.read(log, from, end, max_bytes, false).await.expect("readable"));
                assert_eq!(read.len(), if fits { given.len() } else { 0 }, "batch {n} within {max_bytes}");
            }
        }
    });
}

#[test]
fn a_time_is_found_in_memory_and_on_disk_after_restart_with_and_without_index() {
    for clean in [true, false] {
        let disk = SimDisk::new(3);
        let ledger = Ledger::default();
        let theirs = ledger.clone();
        run(&disk, async move |sim, disk| {
            let broker = Broker::start(&sim, &disk, 1, 0..1, &theirs).await.expect("a fresh start");
            for i in 0..300_i64 {
                // Timestamps that go back and forth around a rising line.
                let timestamp = 1_000_000 + i * 10 - (i % 3) * 25;
                let one = batch(theirs.borrow()[&0].end, 2, 900, timestamp, 5);
                broker.append_at(0, &one, 2, false).expect("room");
                broker.stores[0].wait_for_room().await;
                disk.sleep(Duration::from_micros(100)).await;
            }
            broker.drained(&disk).await;
            check_times(&broker).await;
            broker.stores[0].close(clean).await.expect("it closes");
        });
        disk.kill();
        run(&disk, async move |sim, disk| {
            let broker = Broker::start(&sim, &disk, 1, 0..1, &ledger).await.expect("it opens");
            check_times(&broker).await;
        });
    }
}

async fn check_times(broker: &Broker) {
    let (store, log) = broker.log(0);
    let batches = broker.ledger.borrow()[&0].batches.clone();
    let time_of = |one: &Vec<u8>| i64::from_be_bytes(one[35..43].try_into().expect("8 bytes"));
    let end = Offset::new(next_of(batches.last().expect("some")));
    let first = |time: i64| batches.iter().find(|one| time_of(one) >= time);
    for time in (999_900..1_003_100).step_by(37) {
        let found = store.batch_for_time(log, time, end).await.expect("readable");
        assert_eq!(found.as_deref(), first(time).map(Vec::as_slice), "time {time}");
    }
    let largest = batches.iter().map(time_of).max().expect("some");
    let found = store.batch_with_max_timestamp(log, end).await.expect("readable");
    assert_eq!(found.as_deref(), first(largest).map(Vec::as_slice));
    let none = store.batch_for_time(log, largest, Offset::ZERO).await.expect("readable");
    assert_eq!(none, None);
}

#[test]
fn a_start_after_a_clean_close_replays_nothing_and_serves_everything() {
    let disk = SimDisk::new(4);
    let ledger = Ledger::default();
    let theirs = ledger.clone();
    run(&disk, async move |sim, disk| {
        let broker = Broker::start(&sim, &disk, 2, 0..4, &theirs).await.expect("a fresh start");
        for i in 0..200 {
            broker.append(i % 4, 2_000, 1, false).expect("room");
            broker.log(i % 4).0.wait_for_room().await;
        }
        for store in &broker.stores {
            store.close(true).await.expect("it closes");
            let closed = store.append(
                broker.log(0).1,
                &[0; 61],
                super::AppendInfo {
                    next_offset: Offset::new(1),
                    leader_epoch: LeaderEpoch::new(0),
                    max_timestamp: 0,
                    durable: false,
                    now_ms: 0,
                },
            );
            assert!(matches!(closed, Err(LogError::Closing)), "{closed:?}");
        }
    });
    disk.power_loss();
    let given = ledger.borrow().clone();
    run(&disk, async move |sim, disk| {
        let (_, opened) = super::open(&disk, 3, 0..4, small).await.expect("it opens");
        assert!(opened.iter().all(|(_, found)| found.iter().all(|log| log.replayed.is_empty())));
        drop(opened);
        let broker = Broker::start(&sim, &disk, 1, 0..4, &ledger).await.expect("it opens");
        for (&index, kept) in &given {
            assert!(broker.read_all(index, 3_000).await.expect("readable") == kept.batches);
        }
    });
}

#[test]
fn a_segment_rolls_by_time_of_its_batches() {
    with_broker(5, 0..1, async |broker, disk| {
        let (store, log) = broker.log(0);
        let settings = super::with_segments(1 << 30, 1_000);
        store.update_settings(log, settings).expect("there");
        for time in [5_000, 5_900, 6_000, 6_001, 6_002] {
            let one = batch(broker.ledger.borrow()[&0].end, 1, 200, time, 1);
            broker.append_at(0, &one, 1, true).expect("room");
        }
        broker.drained(&disk).await;
        store.request_checkpoint();
        disk.sleep(Duration::from_secs(1)).await;
        let files = disk.files(&super::super::format::partition_directory(Path::new(DATA), partition(0)));
        let first = files.iter().find(|(path, _)| path.ends_with("00000000000000000000.log"));
        assert_eq!(first.map(|(_, bytes)| bytes.len()), Some(600), "rolled before the batch at 6001");
    });
}

#[test]
fn a_resting_partition_takes_little_memory_and_the_cache_is_bounded() {
    let disk = SimDisk::new(6);
    run(&disk, async move |sim, disk| {
        let ledger = Ledger::default();
        let tune = |options: &mut StoreOptions| {
            small(options);
            options.journal_file_bytes = 4 << 20;
            options.tail_cache_bytes_max = 512 * 1024;
            options.unsettled_bytes_max = 1 << 20;
        };
        let broker = Broker::start_with(&sim, &disk, 1, 0..3, &ledger, tune).await.expect("a fresh start");
        let (store, busy) = broker.log(0);
        for (_, log) in broker.logs.values() {
            let settings = super::with_segments(1 << 30, i64::MAX);
            store.update_settings(*log, settings).expect("there");
        }
        for _ in 0..400 {
            broker.append(0, 30_000, 1, false).expect("room");
            store.wait_for_room().await;
        }
        broker.append(1, 100, 1, true).expect("room");
        broker.drained(&disk).await;
        assert!(store.memory_bytes(busy).expect("there") < 3 << 20);
        assert!(store.memory_bytes(broker.log(1).1).expect("there") <= 8 * 1024);
        assert!(store.memory_bytes(broker.log(2).1).expect("there") < 1024);
        // Others push its chunks out of the cache; then it rests.
        disk.sleep(Duration::from_secs(60)).await;
        for _ in 0..60 {
            broker.append(1, 30_000, 1, true).expect("room");
            store.wait_for_room().await;
        }
        broker.drained(&disk).await;
        disk.sleep(Duration::from_secs(60)).await;
        let resting = store.memory_bytes(busy).expect("there");
        assert!(resting <= 64 * 1024, "{resting} bytes");
        for index in 0..2 {
            let served = broker.read_all(index, 100_000).await.expect("readable");
            assert!(served == ledger.borrow()[&index].batches);
        }
    });
}

#[test]
fn a_deleted_log_is_gone_and_its_directory_with_it_and_others_stay() {
    let disk = SimDisk::new(7);
    let ledger = Ledger::default();
    let theirs = ledger.clone();
    run(&disk, async move |sim, disk| {
        let broker = Broker::start(&sim, &disk, 1, 0..2, &theirs).await.expect("a fresh start");
        for i in 0..100 {
            broker.append(i % 2, 3_000, 1, false).expect("room");
        }
        let (store, log) = broker.log(0);
        store.delete_log(log).await.expect("removed");
        assert!(matches!(store.log_end_offset(log), Err(LogError::UnknownLog)));
        theirs.borrow_mut().remove(&0);
        broker.drained(&disk).await;
        store.request_checkpoint();
        disk.sleep(Duration::from_millis(500)).await;
        assert_eq!(store.failure(), None);
        let again = store.create_log(partition(0), settings()).await.expect("made again");
        assert_eq!(store.log_end_offset(again).expect("there"), Offset::ZERO);
        assert_ne!(again, log);
    });
    disk.kill();
    run(&disk, async move |_, disk| {
        // The metadata no longer knows partition 1: its files are moved, not deleted.
        let known = [partition(0)].into();
        let moved = move_orphans(&disk, Path::new(DATA), &known).await.expect("moved");
        assert_eq!(moved.len(), 1);
        assert!(!disk.files(&moved[0]).is_empty());
    });
}
