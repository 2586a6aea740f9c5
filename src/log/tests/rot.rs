//! Segments whose bytes have changed on the disk: never served, never cut, and everything else is.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use super::{Broker, DATA, Kept, Ledger, base_of, next_of, run, small, split, with_segments};
use crate::{
    io::sim::SimDisk,
    log::{LogError, sidecar::SPAN_BYTES},
    model::Offset,
};

const SEGMENT_BYTES: u64 = 900_000;

/// One partition of several segments; the last one is open, and most of it lies on the disk only.
fn filled(seed: u64) -> (SimDisk, Ledger) {
    let disk = SimDisk::new(seed);
    let ledger = Ledger::default();
    let theirs = ledger.clone();
    run(&disk, async move |sim, disk| {
        let settings = |_| with_segments(SEGMENT_BYTES, i64::MAX);
        let broker = Broker::start_as(&sim, &disk, 1, 0..1, &theirs, tuned, &settings);
        let broker = broker.await.expect("a fresh start");
        for i in 0..250 {
            broker.append(0, 9_000 + i * 7 % 4_000, 2, true).expect("room");
            broker.log(0).0.wait_for_room().await;
        }
        broker.drained(&disk).await;
        broker.stores[0].close(true).await.expect("a clean end");
    });
    disk.kill();
    (disk, ledger)
}

fn tuned(options: &mut super::StoreOptions) {
    small(options);
    options.unsettled_bytes_max = 400_000;
}

fn segments(disk: &SimDisk) -> Vec<(PathBuf, usize)> {
    let mut found: Vec<_> = disk
        .files(&Path::new(DATA).join("topics"))
        .into_iter()
        .filter(|(path, _)| path.extension().is_some_and(|kind| kind == "log"))
        .map(|(path, bytes)| (path, bytes.len()))
        .collect();
    found.sort();
    found
}

/// Reads all that can be read, batch by batch, and says which offsets could not.
async fn served(broker: &Broker, kept: &Kept) -> Vec<i64> {
    let (store, log) = broker.log(0);
    let end = store.log_end_offset(log).expect("a log");
    assert_eq!(end.get(), kept.end, "nothing is cut");
    let mut unreadable = Vec::new();
    let mut from = 0;
    while from < end.get() {
        match store.read(log, Offset::new(from), end, 70_000, true).await {
            Ok(slices) => {
                for one in split(&slices.concat()) {
                    assert_eq!(base_of(&one), from);
                    assert!(kept.batches.contains(&one), "wrong bytes at {from}");
                    from = next_of(&one);
                }
            }
            Err(LogError::Damaged { .. }) => {
                unreadable.push(from);
                from += 2;
            }
            Err(error) => panic!("{error} at {from}"),
        }
    }
    unreadable
}

/// The base offsets of the batches of one segment that have a byte in `range` of it.
fn batches_in(kept: &Kept, segment: i64, range: Range<u64>) -> Vec<i64> {
    let mut at = 0;
    let mut found = Vec::new();
    for one in kept.batches.iter().filter(|one| base_of(one) >= segment) {
        let end = at + one.len() as u64;
        if at < range.end && end > range.start {
            found.push(base_of(one));
        }
        at = end;
        if at >= range.end {
            break;
        }
    }
    found
}

#[test]
fn a_changed_byte_makes_exactly_its_span_unreadable() {
    let (_, ledger) = filled(71);
    let kept = ledger.borrow()[&0].clone();
    // In a batch's length, in records, and at the end; of a sealed segment and of the open one.
    for (segment, at) in [(0, 8), (0, 300_000), (1, 890_000), (1, 262_144), (2, 70_001), (2, 400_000)] {
        let (disk, ledger) = filled(71);
        let (path, length) = segments(&disk)[segment].clone();
        assert!(at < length, "segment {segment} has {length} bytes");
        disk.flip(&path, at);
        let base: i64 = path.file_stem().and_then(|name| name.to_str()?.parse().ok()).expect("a base offset");
        let start = at as u64 / SPAN_BYTES * SPAN_BYTES;
        let segment_bytes = if segment < 2 { length as u64 } else { u64::MAX };
        let expected = batches_in(&kept, base, start..(start + SPAN_BYTES).min(segment_bytes));
        let kept = kept.clone();
        run(&disk, async move |sim, disk| {
            let settings = |_| with_segments(SEGMENT_BYTES, i64::MAX);
            let broker = Broker::start_as(&sim, &disk, 1, 0..1, &ledger, tuned, &settings);
            let broker = broker.await.expect("it opens");
            let unreadable = served(&broker, &kept).await;
            assert_eq!(unreadable, expected, "segment {segment}, byte {at}");
            assert_eq!(broker.stores[0].integrity_counts().spans_damaged, 1);
            // Appends go on.
            broker.append(0, 5_000, 2, true).expect("room");
            broker.drained(&disk).await;
        })
        .expect("no crash");
    }
}

#[test]
fn damaged_or_missing_indexes_and_checksums_are_made_anew_and_serve_the_same() {
    for (kind, removed) in [("index", false), ("crc", false), ("crc", true), ("index", true)] {
        let (disk, ledger) = filled(72);
        let kept = ledger.borrow()[&0].clone();
        let files = disk.files(&Path::new(DATA).join("topics"));
        let ours: Vec<PathBuf> = files
            .into_iter()
            .map(|file| file.0)
            .filter(|path| path.extension().is_some_and(|k| k == kind))
            .collect();
        assert!(ours.len() >= 2, "{ours:?}");
        for path in &ours {
            if !removed {
                disk.flip(path, 30);
            }
        }
        let counted = ours.len() as u64;
        run(&disk, async move |sim, disk| {
            for path in ours.iter().filter(|_| removed) {
                crate::io::disk::Disk::remove_file(&disk, path).await.expect("it is there");
            }
            let settings = |_| with_segments(SEGMENT_BYTES, i64::MAX);
            let broker = Broker::start_as(&sim, &disk, 1, 0..1, &ledger, tuned, &settings);
            let broker = broker.await.expect("it opens");
            assert_eq!(served(&broker, &kept).await, Vec::<i64>::new());
            let counts = broker.stores[0].integrity_counts();
            assert_eq!(counts.sidecars_rebuilt, if kind == "crc" { counted } else { 0 });
            assert_eq!(counts.spans_damaged, 0);
        })
        .expect("no crash");
    }
}

#[test]
fn a_scrub_finds_every_damaged_span_without_a_reader() {
    let (disk, ledger) = filled(73);
    let sealed = segments(&disk);
    disk.flip(&sealed[0].0, 600_000);
    disk.flip(&sealed[1].0, 12);
    run(&disk, async move |sim, disk| {
        let settings = |_| with_segments(SEGMENT_BYTES, i64::MAX);
        let broker = Broker::start_as(&sim, &disk, 1, 0..1, &ledger, tuned, &settings);
        let broker = broker.await.expect("it opens");
        let (store, log) = broker.log(0);
        assert_eq!(store.integrity_counts().spans_damaged, 0);
        store.scrub_log(log).await;
        let counts = store.integrity_counts();
        assert_eq!(counts.spans_damaged, 2);
        assert!(counts.spans_matched >= 6, "{counts:?}");
    })
    .expect("no crash");
}
