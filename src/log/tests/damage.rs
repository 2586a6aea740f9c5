//! What was durable and is damaged: never cut in silence, never served.

use std::path::{Path, PathBuf};

use super::{Broker, DATA, Ledger, open, run, small};
use crate::{
    io::sim::SimDisk,
    log::{LogError, format::Frame},
    model::Offset,
};

/// Three partitions, batch by batch durable, then killed: all of it lies in the journal.
fn journaled(seed: u64, appends: usize) -> (SimDisk, Ledger) {
    let disk = SimDisk::new(seed);
    let ledger = Ledger::default();
    let theirs = ledger.clone();
    run(&disk, async move |sim, disk| {
        let broker = Broker::start_with(&sim, &disk, 1, 0..3, &theirs, |options| {
            small(options);
            options.checkpoint_interval = std::time::Duration::from_secs(3600);
        });
        let broker = broker.await.expect("a fresh start");
        for i in 0..appends {
            broker.append((i % 3) as i32, 300, 1, true).expect("room");
            broker.drained(&disk).await;
        }
    });
    disk.kill();
    (disk, ledger)
}

/// Where the frames of the journal lie: file, position, frame.
fn frames(disk: &SimDisk) -> Vec<(PathBuf, usize, Frame)> {
    let mut found = Vec::new();
    for (path, bytes) in disk.files(&Path::new(DATA).join("shards")) {
        if path.to_string_lossy().contains("journal.") {
            for at in (0..bytes.len().saturating_sub(88)).step_by(8) {
                found.extend(Frame::parse(&bytes[at..]).map(|frame| (path.clone(), at, frame)));
            }
        }
    }
    found.sort_by_key(|(_, _, frame)| frame.sequence);
    found
}

#[test]
fn a_damaged_durable_frame_quarantines_its_partition_and_cuts_nothing() {
    // A byte of the payload: the frame is known. A byte of the header: the gap in the offsets tells.
    for at_byte in [88 + 100, 20] {
        let (disk, ledger) = journaled(61, 15);
        let victim = 6;
        let (path, at, frame) = frames(&disk)[victim].clone();
        disk.flip(&path, at + at_byte);
        let index = frame.partition.partition.get();
        let (lost, end) = (frame.base_offset, Offset::new(ledger.borrow()[&index].end));
        let given = ledger.borrow().clone();
        run(&disk, async move |_, disk| {
            let (_, stores) = open(&disk, 1, 0..3, small).await.expect("it opens");
            let (store, found) = &stores[0];
            for log in found {
                let this = log.partition.partition.get();
                let batches = &given[&this].batches;
                assert_eq!(log.log_end_offset.get(), given[&this].end, "nothing is cut");
                if this != index {
                    assert_eq!(log.quarantined, None);
                    let all = store.read(log.log, Offset::ZERO, log.log_end_offset, 1 << 20, true).await;
                    assert_eq!(all.expect("sound").concat(), batches.concat());
                    continue;
                }
                assert_eq!(log.quarantined.as_ref().map(|range| range.start), Some(lost));
                let below = store.read(log.log, Offset::ZERO, end, 1 << 20, true).await.expect("readable");
                assert_eq!(below.concat(), batches[..lost.get() as usize].concat());
                let inside = store.read(log.log, lost, end, 1 << 20, true).await;
                assert!(matches!(inside, Err(LogError::Quarantined { .. })), "{inside:?}");
                let above = Offset::new(lost.get() + 1);
                let above = store.read(log.log, above, end, 1 << 20, true).await.expect("readable");
                assert_eq!(above.concat(), batches[lost.get() as usize + 1..].concat());
            }
        });
        disk.kill();
        // The next start still knows; the damaged journal was kept.
        let kept = disk.files(&Path::new(DATA).join("orphaned"));
        assert!(kept.iter().any(|(path, _)| path.to_string_lossy().contains("journal.")), "{kept:?}");
        let ledger = Ledger::default();
        run(&disk, async move |_, disk| {
            let (_, stores) = open(&disk, 2, 0..3, small).await.expect("it opens");
            let logs = stores.iter().flat_map(|(store, found)| found.iter().map(move |log| (store, log)));
            let (store, log) =
                logs.into_iter().find(|(_, log)| log.partition.partition.get() == index).expect("found");
            assert_eq!(log.quarantined.as_ref().map(|range| range.start), Some(lost));
            let refused = store.append(
                log.log,
                &super::batch(end.get(), 1, 100, 0, 1),
                super::AppendInfo {
                    next_offset: Offset::new(end.get() + 1),
                    leader_epoch: super::LeaderEpoch::new(3),
                    max_timestamp: 0,
                    durable: true,
                    now_ms: 0,
                },
            );
            assert!(matches!(refused, Err(LogError::Quarantined { .. })), "{refused:?}");
            drop(ledger);
        });
    }
}

#[test]
fn a_damaged_last_frame_that_nothing_vouches_for_is_a_torn_tail() {
    let (disk, _) = journaled(62, 15);
    let (path, at, frame) = frames(&disk).pop().expect("frames");
    disk.flip(&path, at + 100);
    let partition = frame.partition;
    run(&disk, async move |_, disk| {
        let (_, stores) = open(&disk, 1, 0..3, small).await.expect("it opens");
        let log = stores[0].1.iter().find(|log| log.partition == partition).expect("found");
        assert_eq!((log.log_end_offset, &log.quarantined), (frame.base_offset, &None));
    });
}

#[test]
fn a_damaged_checkpoint_falls_back_to_the_older_one_and_loses_nothing() {
    // Two files, and checkpoints only when the ring is full: a file is used again as soon as it may be.
    let tune = |options: &mut super::StoreOptions| {
        small(options);
        options.journal_files_max = 2;
        options.checkpoint_interval = std::time::Duration::from_secs(3600);
    };
    let mut fell_back = 0;
    for (case, stop_after) in (250..900).step_by(31).enumerate() {
        let disk = SimDisk::new(63);
        let ledger = Ledger::default();
        let theirs = ledger.clone();
        disk.stop_after(stop_after);
        run(&disk, async move |sim, disk| {
            let broker =
                Broker::start_with(&sim, &disk, 1, 0..3, &theirs, tune).await.expect("a fresh start");
            for i in 0..400 {
                broker.append(i % 3, 3_700, 1, true).expect("room");
                broker.drained(&disk).await;
            }
        });
        disk.kill();
        let path = Path::new(DATA).join(format!("shards/1-0/checkpoint.{}", case % 2));
        let other = Path::new(DATA).join(format!("shards/1-0/checkpoint.{}", 1 - case % 2));
        if disk.files(&path).is_empty() || disk.files(&other).is_empty() {
            continue;
        }
        fell_back += 1;
        disk.flip(&path, 40);
        let given = ledger.borrow().clone();
        run(&disk, async move |sim, disk| {
            let broker = Broker::start(&sim, &disk, 1, 0..3, &ledger).await.expect("the other one is sound");
            for (&index, kept) in &given {
                let served = broker.read_all(index, 50_000).await.expect("readable");
                let end = served.last().map_or(0, |last| super::next_of(last));
                assert!(end >= kept.durable_end, "{end} of {}, stop after {stop_after}", kept.durable_end);
                assert!(kept.batches.starts_with(&served));
            }
        });
    }
    assert!(fell_back > 10, "only {fell_back} cases had two checkpoints");
}

#[test]
fn missing_small_files_are_named_and_never_taken_for_an_empty_directory() {
    let lost = |names: &[&str]| {
        let (disk, _) = journaled(64, 9);
        let names: Vec<PathBuf> =
            names.iter().map(|name| Path::new(DATA).join("shards").join(name)).collect();
        run(&disk, async move |_, disk| {
            for name in &names {
                crate::io::disk::Disk::remove_file(&disk, name).await.expect("it was there");
            }
            open(&disk, 1, 0..3, small).await.map(|_| ()).expect_err("it must not open").to_string()
        })
    };
    let error = lost(&["CURRENT"]).expect("no crash");
    assert!(error.contains("CURRENT"), "{error}");
    let error = lost(&["1-0/checkpoint.0"]).expect("no crash");
    assert!(error.contains("checkpoint"), "{error}");
}
