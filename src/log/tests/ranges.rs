//! Answers as ranges of files, on a real disk: the simulated one has no shared files.

use std::{path::Path, rc::Rc, time::Duration};

use super::{base_of, batch, next_of, partition, split, with_segments};
use crate::{
    io::{
        cores::{CoreClock, Queue, sleep, spawn},
        direct::DirectDisk,
        ring::tests::on_a_core,
        sim::Random,
    },
    log::{AppendInfo, Generation, LogId, Piece, ReadLimits, Store, StoreOptions},
    model::{LeaderEpoch, Offset},
};

const SEGMENT_BYTES: u64 = 400_000;

fn bytes_of(pieces: &[Piece]) -> Vec<u8> {
    let one = |piece: &Piece| match piece {
        Piece::Memory(bytes) => bytes.to_vec(),
        Piece::File(range) => range.read_now().expect("readable"),
    };
    pieces.iter().flat_map(one).collect()
}

/// A log with sealed segments below `data`, and the batches in it.
async fn filled(ring: Rc<crate::io::ring::Ring>, data: &Path) -> (Rc<Store>, LogId, Vec<Vec<u8>>) {
    let disk = Rc::new(DirectDisk::new(ring));
    let nothing = Generation { number: 0, shards: 0 };
    let mut options = StoreOptions::new(data.to_path_buf(), 0, Generation { number: 1, shards: 1 }, 77);
    options.journal_file_bytes = 4 << 20;
    options.tail_cache_bytes_max = 100_000;
    let clock = Rc::new(CoreClock::new());
    let (store, _) = Store::open(disk, clock, options, nothing, Vec::new()).await.expect("opens");
    spawn(Queue::Foreground, store.clone().run_commits());
    spawn(Queue::Foreground, store.clone().run_flushes());
    spawn(Queue::Housekeeping, store.clone().run_settling());
    spawn(Queue::Housekeeping, store.clone().run_checkpoints());
    let log = store.create_log(partition(0), with_segments(SEGMENT_BYTES, i64::MAX)).await.expect("created");
    let mut random = Random::new(5);
    let (mut base, mut batches) = (0, Vec::new());
    for _ in 0..250 {
        let (records, bytes) = (1 + random.below(20) as i32, 100 + random.below(20_000) as usize);
        let one = batch(base, records, bytes, 1_000 + base, 9);
        base += i64::from(records);
        let info = AppendInfo {
            next_offset: Offset::new(base),
            leader_epoch: LeaderEpoch::new(3),
            max_timestamp: 1_000 + base,
            durable: false,
            now_ms: 1_700_000_000_000,
        };
        store.append(log, &one, info).expect("room");
        store.wait_for_room().await;
        batches.push(one);
    }
    while store.with_log(log, |log| log.sealed.len()).expect("log") < 5 {
        sleep(Duration::from_millis(5)).await;
    }
    (store, log, batches)
}

#[test]
fn ranges_hold_the_same_whole_batches_as_the_walk_and_outlive_their_segments_name() {
    let directory = tempfile::tempdir_in(".").expect("a directory that takes direct I/O");
    let data = directory.path().to_path_buf();
    on_a_core(move |ring| async move {
        let (store, log, batches) = filled(ring, &data).await;
        let end = store.log_end_offset(log).expect("log").get();
        let mut random = Random::new(8);
        let (mut ranges, mut held) = (0, Vec::new());
        for case in 0..400 {
            let from = random.below(end as u64) as i64;
            let view = from + 1 + random.below((end - from) as u64) as i64;
            let bytes_max = [1, 30_000, 150_000, 1 << 20][random.below(4) as usize];
            let memory_max = [0, 30_000, 1 << 20][random.below(3) as usize];
            let limits = ReadLimits { bytes_max, memory_max, ranges: true };
            let at_least_one = random.below(2) == 0;
            let (from, view) = (Offset::new(from), Offset::new(view));
            let pieces = store.read_pieces(log, from, view, limits, at_least_one).await.expect("read");
            let read = bytes_of(&pieces);
            let case =
                format!("case {case}: {from}..{view}, {limits:?}, {at_least_one}: {} bytes", read.len());
            let got = split(&read);
            let first = batches.iter().position(|one| next_of(one) > from.get()).expect("in the log");
            assert!(batches[first..].starts_with(&got), "{case}");
            assert!(got.last().is_none_or(|last| next_of(last) <= view.get()), "{case}");
            let in_memory: usize =
                pieces.iter().filter(|p| matches!(p, Piece::Memory(_))).map(Piece::len).sum();
            assert!(read.len() <= bytes_max || (at_least_one && got.len() == 1), "{case}");
            assert!(in_memory <= memory_max || (at_least_one && got.len() == 1), "{case}");
            let fits = next_of(&batches[first]) <= view.get();
            assert!(!got.is_empty() || !fits || !at_least_one, "{case}");
            if let [Piece::File(_)] = pieces[..] {
                ranges += 1;
                held = pieces;
            }
        }
        assert!(ranges > 50, "{ranges} of 400 answers were ranges");

        let first = split(&bytes_of(&held)).first().map(|one| base_of(one)).expect("a batch");
        let segment = store.with_log(log, |log| log.segment_of(Offset::new(first))).expect("log");
        let before = bytes_of(&held);
        assert!(store.has_readers(log, segment, 0));
        store.shared_files.borrow_mut().forget(&(log, segment, 0));
        store.files.borrow_mut().remove(&(log, segment, 0));
        std::fs::remove_file(store.segment_path(partition(0), segment, 0)).expect("remove");
        assert!(store.has_readers(log, segment, 0), "known also once the handle is forgotten");
        assert_eq!(bytes_of(&held), before);
        drop(held);
        assert!(!store.has_readers(log, segment, 0));
        let limits = ReadLimits { bytes_max: 1 << 20, memory_max: 1 << 20, ranges: true };
        let gone = store.read_pieces(log, segment, Offset::new(end), limits, true).await;
        assert!(gone.is_err(), "without its file the segment cannot be read");
    });
}
