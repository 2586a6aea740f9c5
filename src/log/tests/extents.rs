//! Large batches: what reaches the disk how often, in what order, and what of it is believed after a crash.

use std::{
    cell::{Cell, RefCell},
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use super::{
    BULK, Broker, DATA, LONG, Ledger,
    crash::{Crash, check_start, load},
    open, run, small,
};
use crate::{
    io::{clock::Clock, sim::SimDisk},
    log::{
        LogError,
        format::{Extent, Frame, FrameKind, partition_directory, segment_name},
    },
    model::Offset,
};

/// The frames in a directory's journals: file, position, frame; in order.
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

fn extents(disk: &SimDisk) -> Vec<(Frame, Extent)> {
    let files = disk.files(&Path::new(DATA).join("shards"));
    let bytes_of = |path: &Path| &files.iter().find(|file| file.0 == path).expect("it was there").1;
    let extent = |(path, at, frame): (PathBuf, usize, Frame)| {
        let payload = &bytes_of(&path)[at + 88..][..frame.payload_length];
        (frame.kind == Some(FrameKind::Extent))
            .then(|| (frame, Extent::parse(payload).expect("a whole payload").0))
    };
    frames(disk).into_iter().filter_map(extent).collect()
}

/// A partition with extents behind each other, each durable before the next, then killed: no checkpoint has
/// pictured any of it.
fn with_extents(seed: u64) -> (SimDisk, Ledger) {
    let disk = SimDisk::new(seed);
    let ledger = Ledger::default();
    let theirs = ledger.clone();
    run(&disk, async move |sim, disk| {
        let broker = Broker::start_with(&sim, &disk, 1, BULK..BULK + 2, &theirs, |options| {
            small(options);
            options.checkpoint_interval = Duration::from_secs(3600);
            options.journal_file_bytes = 1 << 20;
        });
        let broker = broker.await.expect("a fresh start");
        for bytes in [40_000, 30_000, 20_000, 700, 20_000, 9_000, 300, 15_000, 100] {
            broker.append(BULK, bytes, 1, true).expect("room");
            broker.append(BULK + 1, 500, 1, true).expect("room");
            broker.drained(&disk).await;
            disk.sleep(Duration::from_millis(5)).await;
        }
    });
    disk.kill();
    (disk, ledger)
}

fn segment_path(base: Offset) -> PathBuf {
    partition_directory(Path::new(DATA), super::partition(BULK)).join(segment_name(base, 0))
}

#[test]
fn a_large_batch_passes_the_journal_once_its_segment_has_space() {
    let (disk, ledger) = with_extents(71);
    let extents = extents(&disk);
    assert!(extents.len() >= 4, "{extents:?}");
    let given = ledger.borrow()[&BULK].batches.concat();
    let files = disk.files(Path::new(DATA));
    for (frame, extent) in &extents {
        let file = files.iter().find(|file| file.0 == segment_path(extent.segment)).expect("its segment");
        let (start, end) = (extent.position as usize, (extent.position + extent.length) as usize);
        assert_eq!(file.1[start..end], given[start..end], "{extent:?}");
        assert!(frame.payload_length < 4096 + 32, "{frame:?}");
    }
    check_start(&disk, &ledger, 2, Crash::Kill, "extents");
}

#[test]
fn a_torn_extent_is_cut_off_and_what_was_durable_before_it_stays() {
    let (disk, ledger) = with_extents(72);
    // The last extent, as if nothing behind it had ever been written.
    let (last, extent) = *extents(&disk).last().expect("some");
    for (path, at, _) in frames(&disk).into_iter().filter(|f| f.2.sequence > last.sequence) {
        disk.flip(&path, at);
    }
    disk.flip(&segment_path(extent.segment), extent.position as usize + 5_000);
    let given = ledger.borrow()[&BULK].batches.clone();
    run(&disk, async move |_, disk| {
        let (_, stores) = open(&disk, 1, BULK..BULK + 2, small).await.expect("it opens");
        let (store, found) = &stores[0];
        let log = found.iter().find(|log| log.partition == super::partition(BULK)).expect("it is known");
        assert_eq!(log.log_end_offset, last.base_offset);
        assert_eq!(log.quarantined, None);
        let all = store.read(log.log, Offset::ZERO, log.log_end_offset, 1 << 20, true).await.expect("sound");
        assert_eq!(all.concat(), given[..last.base_offset.get() as usize].concat());
    });
}

#[test]
fn a_damaged_extent_that_was_durable_is_quarantined_and_later_extents_are_kept() {
    for damage_frame in [false, true] {
        let (disk, ledger) = with_extents(73);
        let (frame, extent) = extents(&disk)[1];
        if damage_frame {
            let all = frames(&disk);
            let (path, at, _) = all.iter().find(|f| f.2.sequence == frame.sequence).expect("it is there");
            disk.flip(path, at + 20);
        } else {
            disk.flip(&segment_path(extent.segment), (extent.position + extent.length) as usize - 1);
        }
        let given = ledger.borrow()[&BULK].batches.clone();
        run(&disk, async move |_, disk| {
            let (_, stores) = open(&disk, 1, BULK..BULK + 2, small).await.expect("it opens");
            let (store, found) = &stores[0];
            let log = found.iter().find(|log| log.partition == super::partition(BULK)).expect("it is known");
            let (lost, end) = (frame.base_offset, log.log_end_offset);
            assert_eq!(end.get(), given.len() as i64, "nothing is cut");
            let range = log.quarantined.clone().expect("offsets are lost");
            assert_eq!(range.start, lost);
            let below = store.read(log.log, Offset::ZERO, end, 1 << 20, true).await.expect("readable");
            assert_eq!(below.concat(), given[..lost.get() as usize].concat());
            let inside = store.read(log.log, lost, end, 1 << 20, true).await;
            assert!(matches!(inside, Err(LogError::Quarantined { .. })), "{inside:?}");
            let (mut from, mut above) = (range.end, Vec::new());
            while from < end {
                let run = store.read(log.log, from, end, 1 << 20, true).await.expect("readable").concat();
                from = Offset::new(
                    super::split(&run).iter().map(|one| super::next_of(one)).max().expect("some"),
                );
                above.push(run);
            }
            assert_eq!(above.concat(), given[range.end.get() as usize..].concat());
            assert!(range.end < end, "an extent behind the damage is kept");
        });
    }
}

#[test]
fn segment_blocks_are_written_once_and_bulk_is_not_written_twice() {
    let written = Rc::new(RefCell::new([0_u64; 4]));
    let theirs = written.clone();
    let disk = SimDisk::new(74);
    run(&disk, async move |sim, disk| {
        let ledger = Ledger::default();
        let broker = Broker::start_with(&sim, &disk, 1, LONG..LONG + 2, &ledger, |options| {
            small(options);
            options.journal_file_bytes = 4 << 20;
            options.group_bytes_max = 1 << 20;
            options.unsettled_bytes_max = 8 << 20;
        });
        let broker = broker.await.expect("a fresh start");
        let mut steady = None;
        for i in 0..60 {
            for index in LONG..LONG + 2 {
                broker.append(index, 100_000, 1, true).expect("room");
                broker.append(index, 1_000, 1, true).expect("room");
            }
            broker.drained(&disk).await;
            disk.sleep(Duration::from_millis(5)).await;
            if i == 5 {
                steady = Some(broker.written.borrow().to_owned());
            }
        }
        let before = steady.expect("six rounds");
        let after = broker.written.borrow();
        let mut grown = theirs.borrow_mut();
        (0..4).for_each(|class| grown[class] = after[class] - before[class]);
    });
    let [appended, journal, segments, _] = *written.borrow();
    assert!(appended >= 54 * 2 * 101_000, "{appended}");
    assert!(
        segments <= appended + appended / 50,
        "blocks of segments were rewritten: {segments} of {appended}"
    );
    assert!(journal <= appended / 10, "bulk went to the journal: {journal} of {appended}");
}

#[test]
fn batches_of_one_log_and_group_share_one_extent_frame() {
    let disk = SimDisk::new(75);
    let ledger = Ledger::default();
    let theirs = ledger.clone();
    let first = Rc::new(Cell::new(0));
    let seen = first.clone();
    run(&disk, async move |sim, disk| {
        let broker = Broker::start_with(&sim, &disk, 1, BULK..BULK + 1, &theirs, |options| {
            small(options);
            options.checkpoint_interval = Duration::from_secs(3600);
            options.journal_file_bytes = 1 << 20;
            options.group_bytes_max = 256 * 1024;
        });
        let broker = broker.await.expect("a fresh start");
        broker.append(BULK, 100_000, 1, true).expect("room");
        broker.drained(&disk).await;
        disk.sleep(Duration::from_millis(50)).await;
        seen.set(extents(&disk).len());
        for bytes in [10_000, 200, 7_000, 4_096, 90, 61] {
            broker.append(BULK, bytes, 1, false).expect("room");
        }
        broker.drained(&disk).await;
    });
    let all = extents(&disk);
    assert_eq!(all.len(), first.get() + 1, "{all:?}");
    let (frame, _) = all.last().expect("one");
    assert_eq!(frame.next_offset.get() - frame.base_offset.get(), 6);
    disk.kill();
    check_start(&disk, &ledger, 1, Crash::Kill, "a shared extent");
}

#[test]
fn bulk_on_a_full_disk_takes_the_journal_and_goes_on_when_there_is_space() {
    let disk = SimDisk::new(76);
    let ledger = Ledger::default();
    let theirs = ledger.clone();
    run(&disk, async move |sim, disk| {
        let broker = Broker::start(&sim, &disk, 1, BULK..BULK + 3, &theirs).await.expect("a fresh start");
        load(&broker, &disk, 76, 60).await;
        broker.drained(&disk).await;
        disk.set_space(disk.allocated());
        let refused = loop {
            match broker.append(BULK, 20_000, 1, true) {
                Ok(()) => disk.sleep(Duration::from_millis(2)).await,
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, LogError::DiskFull), "{refused}");
        disk.set_space(u64::MAX);
        disk.sleep(Duration::from_secs(5)).await;
        broker.append(BULK, 20_000, 1, true).expect("there is room again");
        broker.drained(&disk).await;
        assert_eq!(broker.stores[0].failure(), None);
    });
    disk.power_loss();
    check_start(&disk, &ledger, 1, Crash::PowerLoss, "bulk on a full disk");
}

#[test]
fn a_log_at_rest_gives_back_the_space_made_ahead_of_it_and_goes_on_where_it_was() {
    let disk = SimDisk::new(78);
    let ledger = Ledger::default();
    run(&disk, async move |sim, disk| {
        let broker = Broker::start_with(&sim, &disk, 1, LONG..LONG + 1, &ledger, small);
        let broker = broker.await.expect("a fresh start");
        let (store, log) = broker.log(LONG);
        let length = |disk: &SimDisk| {
            let directory = partition_directory(Path::new(DATA), super::partition(LONG));
            let files = disk.files(&directory);
            files.into_iter().map(|(_, bytes)| bytes.len()).max().unwrap_or(0)
        };
        let grow = async |disk: &SimDisk| {
            for _ in 0..12 {
                broker.append(LONG, 20_000, 1, true).expect("room");
                store.wait_for_room().await;
                broker.drained(disk).await;
            }
        };
        grow(&disk).await;
        let ahead = length(&disk);
        store.give_back(log).await.expect("a sound disk");
        let given_back = length(&disk);
        assert!(ahead > given_back, "{ahead} bytes, then {given_back}");
        grow(&disk).await;
        let served = broker.read_all(LONG, 50_000).await.expect("readable");
        assert!(served == ledger.borrow()[&LONG].batches);
    });
}
