//! What is left after compaction, against a model that knows every record that was ever appended.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    path::Path,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use super::{Broker, DATA, Ledger, base_of, next_of, partition, run, small, split};
use crate::{
    io::{
        clock::Clock,
        sim::{Random, Sim, SimDisk},
    },
    log::{
        LogError, StoreOptions,
        compaction::transactions::tests::marker,
        files::file_name,
        format::{partition_directory, segment_in_name},
    },
    model::{CleanupPolicy, LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TopicSettings},
    record::{BatchBuilder, Codec, RecordBatch, for_each_record, stamp},
};

/// What a record says: key, value, timestamp.
type Content = (Vec<u8>, Option<Vec<u8>>, i64);

fn compacted(tune: impl FnOnce(&mut TopicSettings)) -> Arc<TopicSettings> {
    let mut settings = TopicSettings {
        cleanup_policy: CleanupPolicy { delete: false, compact: true },
        segment_bytes: 4_000,
        min_cleanable_dirty_ratio: 0.0,
        ..TopicSettings::default()
    };
    tune(&mut settings);
    Arc::new(settings)
}

fn view(batch: &[u8]) -> RecordBatch<'_> {
    RecordBatch::first(batch).expect("sound").expect("whole")
}

fn records(batch: &[u8]) -> Vec<(i64, Content)> {
    let mut found = Vec::new();
    for_each_record(&view(batch), &mut Vec::new(), 1 << 20, |record| {
        let key = record.key.map(<[u8]>::to_vec).unwrap_or_default();
        found.push((record.offset.get(), (key, record.value.map(<[u8]>::to_vec), record.timestamp)));
    })
    .expect("records");
    found
}

/// All batches as a consumer gets them, each fetched from where the one before ended.
async fn served(broker: &Broker, index: i32, max_bytes: usize) -> Result<Vec<Vec<u8>>, LogError> {
    let (store, log) = broker.log(index);
    let (mut from, end) = (store.log_start_offset(log)?, store.log_end_offset(log)?);
    let mut all: Vec<Vec<u8>> = Vec::new();
    while from < end {
        let run = store.read(log, from, end, max_bytes, true).await?.concat();
        assert!(!run.is_empty(), "nothing at {from} of {end}");
        for one in split(&run) {
            assert!(
                next_of(&one) > from.get() && all.last().is_none_or(|last| next_of(last) <= base_of(&one))
            );
            from = Offset::new(next_of(&one));
            all.push(one);
        }
    }
    Ok(all)
}

/// A log's history: every batch that was appended, and what its transactions came to.
#[derive(Default)]
struct History {
    records: BTreeMap<i64, Content>,
    aborted: HashSet<i64>,
    markers: HashSet<i64>,
    /// First offset of each transaction, and that of its marker.
    transactions: Vec<(i64, i64)>,
    last_of_producer: HashMap<i64, i64>,
}

impl History {
    fn of(batches: &[Vec<u8>]) -> Self {
        let mut history = Self::default();
        let mut open: HashMap<i64, Vec<i64>> = HashMap::new();
        for batch in batches {
            let producer = view(batch).producer_id().get();
            if view(batch).is_control() {
                history.markers.insert(base_of(batch));
                let of_transaction = open.remove(&producer).unwrap_or_default();
                history.transactions.extend(of_transaction.first().map(|&first| (first, base_of(batch))));
                if records(batch)[0].1.0[3] == 0 {
                    history.aborted.extend(of_transaction);
                }
                continue;
            }
            history.last_of_producer.insert(producer, next_of(batch) - 1);
            for (offset, content) in records(batch) {
                history.records.insert(offset, content);
                if view(batch).is_transactional() {
                    open.entry(producer).or_default().push(offset);
                }
            }
        }
        history.last_of_producer.remove(&-1);
        history
    }

    /// The end of what transactions decided below `end` leave open.
    fn decided(&self, end: i64) -> i64 {
        let open = self.transactions.iter().filter(|(first, marker)| *first < end && *marker >= end);
        open.map(|(first, _)| *first).fold(end, i64::min)
    }

    /// Offset of the latest record of each key below `end`.
    fn latest(&self, end: i64) -> BTreeMap<&[u8], i64> {
        let counts = |offset: &i64| !self.aborted.contains(offset);
        let below = self.records.range(..end).filter(|(offset, _)| counts(offset));
        below.map(|(&offset, content)| (&content.0[..], offset)).collect()
    }

    /// Checks what is served of a log that is compacted below `compacted_to`.
    fn check(&self, batches: &[Vec<u8>], compacted_to: i64, tombstones_stay: bool, case: &str) {
        let left: BTreeMap<i64, Content> = batches
            .iter()
            .filter(|batch| !view(batch).is_control())
            .flat_map(|batch| records(batch))
            .collect();
        for (offset, content) in &left {
            assert_eq!(self.records.get(offset), Some(content), "offset {offset}: {case}");
        }
        let latest = self.latest(compacted_to);
        for (key, offset) in &latest {
            let is_tombstone = self.records[offset].1.is_none();
            let is_left = left.contains_key(offset);
            assert!(is_left || (is_tombstone && !tombstones_stay), "{key:?} at {offset} is gone: {case}");
        }
        let wanted: HashSet<i64> = latest.values().copied().collect();
        for offset in left.range(..compacted_to).map(|(offset, _)| offset) {
            assert!(wanted.contains(offset), "offset {offset} stays though it is not the latest: {case}");
        }
        let above: Vec<_> = self.records.range(compacted_to..).collect();
        let aborted = |offset: &i64| self.aborted.contains(offset);
        let missing = above.iter().find(|(offset, _)| !left.contains_key(offset) && !aborted(offset));
        assert_eq!(missing, None, "above {compacted_to}: {case}");
    }
}

/// Appends a history of all that a log may hold, drawn from the seed.
async fn write_history(broker: &Broker, index: i32, random: &mut Random, batches: u32, keys: u64) {
    let mut sequences: HashMap<i64, i32> = HashMap::new();
    let mut open: Vec<i64> = Vec::new();
    for number in 0..batches {
        let base = broker.ledger.borrow()[&index].end;
        let is_last = number + 5 >= batches;
        if !open.is_empty() && (is_last || random.below(6) == 0) {
            let producer = open.swap_remove(random.below(open.len() as u64) as usize);
            let one = marker(base, producer, random.below(2) == 0);
            broker.append_at(index, &one, 1, true).expect("there is room");
        } else {
            let codec = Codec::ALL[random.below(5) as usize];
            let mut builder = BatchBuilder::new(codec);
            // 1 and 2: transactions. 3 and 4: idempotent. Others: neither.
            let producer = random.below(8) as i64;
            let is_transactional = (1..3).contains(&producer) && !is_last;
            if is_transactional || (3..5).contains(&producer) {
                let sequence = sequences.entry(producer).or_default();
                let first = Sequence::new(*sequence);
                builder.set_producer(ProducerId::new(producer), ProducerEpoch::new(0), first);
                builder.set_transactional(is_transactional);
                if is_transactional && !open.contains(&producer) {
                    open.push(producer);
                }
            }
            let count = 1 + random.below(6) as i32;
            for i in 0..count {
                let key = format!("key {}", random.below(keys));
                let value = format!("{number}.{i} {}", "x".repeat(random.below(120) as usize));
                let value = (random.below(5) > 0).then_some(value.as_bytes());
                let timestamp = 1_000 + random.below(1_000) as i64;
                builder.push(timestamp, Some(key.as_bytes()), value, &[("h", Some(b"x"))]);
            }
            *sequences.entry(producer).or_default() += count;
            let mut one = Vec::new();
            builder.finish(&mut one).expect("compresses");
            stamp(&mut one, Offset::new(base), LeaderEpoch::new(3)).expect("one batch");
            broker.append_at(index, &one, count, random.below(2) == 0).expect("there is room");
        }
        broker.log(index).0.wait_for_room().await;
    }
}

/// What has been compacted, once no more can be.
async fn compact_all(broker: &Broker, index: i32, disk: &SimDisk) -> i64 {
    let (store, log) = broker.log(index);
    broker.drained(disk).await;
    disk.sleep(Duration::from_millis(100)).await;
    while store.compact_dirtiest().await {}
    store.with_log(log, |log| log.compacted_to).expect("there").get()
}

/// `dedupe_buffer_bytes`: as small as wanted, so that one pass does not do.
fn tuned(dedupe_buffer_bytes: usize) -> impl Fn(&mut StoreOptions) {
    move |options| {
        small(options);
        options.compaction.backoff = Duration::from_secs(3_600);
        options.compaction.dedupe_buffer_bytes = dedupe_buffer_bytes;
    }
}

fn check_history(seed: u64) {
    let disk = SimDisk::new(seed);
    let ledger = Ledger::default();
    let done = run(&disk, async move |sim, disk| {
        let mut random = Random::new(seed);
        let keys = [3, 20, 400][random.below(3) as usize];
        let buffer = if random.below(2) == 0 { 0 } else { 1 << 20 };
        let case = format!("seed {seed}, {keys} keys, buffer {buffer}");
        let broker = Broker::start_with(&sim, &disk, 1, 0..1, &ledger, tuned(buffer)).await.expect("fresh");
        let (store, log) = broker.log(0);
        let tombstones_stay = random.below(2) == 0;
        let retention = if tombstones_stay { i64::MAX } else { 0 };
        store.update_settings(log, compacted(|s| s.delete_retention_ms = retention)).expect("there");
        let mut before = 0;
        for round in 0..3 {
            let case = format!("{case}, round {round}");
            write_history(&broker, 0, &mut random, 60, keys).await;
            let compacted_to = compact_all(&broker, 0, &disk).await;
            let first_live = store.with_log(log, |log| log.live[0].base.get()).expect("there");
            assert!(compacted_to > before, "{case}");
            let history = History::of(&ledger.borrow()[&0].batches);
            let batches = served(&broker, 0, 3_000).await.unwrap_or_else(|error| panic!("{error}: {case}"));
            let decided = history.decided(first_live);
            assert_eq!(compacted_to, decided, "{first_live} is the first that is not sealed: {case}");
            history.check(&batches, compacted_to, tombstones_stay, &case);
            check_lookups(&broker, &batches, compacted_to, &case).await;
            if tombstones_stay {
                let left: HashSet<i64> = batches.iter().map(|batch| base_of(batch)).collect();
                let lost: Vec<_> = history.markers.difference(&left).collect();
                assert!(lost.is_empty(), "markers {lost:?} are gone: {case}");
            }
            before = compacted_to;
        }
        let files = disk.files(Path::new(DATA));
        let rewritten = files.iter().filter(|(path, _)| path.to_string_lossy().contains(".1.log")).count();
        assert!(rewritten > 0 || before > 0, "{case}");
        served(&broker, 0, 100_000).await.expect("readable")
    });
    let before = done.expect("it runs to its end");
    // The next start serves the same.
    disk.kill();
    run(&disk, async move |sim, disk| {
        let broker = Broker::start(&sim, &disk, 1, 0..1, &Ledger::default()).await.expect("it opens");
        assert!(served(&broker, 0, 2_000).await.expect("readable") == before, "seed {seed}, after a kill");
    });
}

/// Every offset and every time leads to the batch it should.
async fn check_lookups(broker: &Broker, batches: &[Vec<u8>], compacted_to: i64, case: &str) {
    let (store, log) = broker.log(0);
    let end = store.log_end_offset(log).expect("there");
    for from in (0..compacted_to).step_by(3) {
        let found = store.read(log, Offset::new(from), end, 1, true).await.expect("readable").concat();
        let wanted = batches.iter().find(|batch| next_of(batch) > from).expect("there is a next batch");
        assert!(found == *wanted, "from {from}: {case}");
    }
    let times = |batch: &Vec<u8>| records(batch).iter().map(|record| record.1.2).max();
    for timestamp in (990..2_010).step_by(97) {
        let found = store.batch_for_time(log, timestamp, end).await.expect("readable");
        let wanted = batches.iter().find(|batch| times(batch) >= Some(timestamp));
        assert!(found.as_deref() == wanted.map(|batch| &batch[..]), "time {timestamp}: {case}");
    }
    let largest = batches.iter().filter_map(times).max();
    let found = store.batch_with_max_timestamp(log, end).await.expect("readable");
    assert_eq!(found.and_then(|batch| times(&batch.to_vec())), largest, "{case}");
}

#[test]
fn of_any_history_the_latest_record_of_each_key_is_left_and_nothing_else_below() {
    (0..40).for_each(check_history);
}

#[test]
fn a_large_rewritten_segment_is_searched_by_its_index() {
    let disk = SimDisk::new(9);
    let ledger = Ledger::default();
    run(&disk, async move |sim, disk| {
        let broker = Broker::start_with(&sim, &disk, 1, 0..1, &ledger, tuned(1 << 20)).await.expect("fresh");
        let (store, log) = broker.log(0);
        store.update_settings(log, compacted(|s| s.segment_bytes = 1 << 20)).expect("there");
        let mut random = Random::new(9);
        for n in 0..700 {
            let base = broker.ledger.borrow()[&0].end;
            let mut builder = BatchBuilder::new(Codec::None);
            let (key, value) = (random.below(400).to_string(), "x".repeat(2_000));
            builder.push(1_000 + n, Some(key.as_bytes()), Some(value.as_bytes()), &[]);
            let mut one = Vec::new();
            builder.finish(&mut one).expect("plain");
            stamp(&mut one, Offset::new(base), LeaderEpoch::new(3)).expect("one batch");
            broker.append_at(0, &one, 1, false).expect("there is room");
            store.wait_for_room().await;
        }
        let compacted_to = compact_all(&broker, 0, &disk).await;
        let batches = served(&broker, 0, 100_000).await.expect("readable");
        check_lookups(&broker, &batches, compacted_to, "large").await;
        let files = disk.files(Path::new(DATA));
        let index = files.iter().find(|(path, _)| path.to_string_lossy().ends_with(".1.index"));
        let entries = (index.expect("a rewritten segment has an index").1.len() - 12) / 16;
        assert!(entries > 5, "{entries} entries");
    })
    .expect("it runs to its end");
}

/// Keeps appending, while compaction is at it, until the disk ends it.
async fn load(broker: &Broker, disk: &SimDisk, seed: u64, batches: u32) -> Result<(), LogError> {
    let mut random = Random::new(seed);
    for number in 0..batches {
        let base = broker.ledger.borrow()[&0].end;
        let mut builder = BatchBuilder::new(Codec::ALL[random.below(5) as usize]);
        let count = 1 + random.below(3) as i32;
        for i in 0..count {
            let (key, value) = (format!("{}", random.below(9)), format!("{seed}.{number}.{i}"));
            builder.push(1_000 + base, Some(key.as_bytes()), Some(value.repeat(20).as_bytes()), &[]);
        }
        let mut one = Vec::new();
        builder.finish(&mut one).expect("compresses");
        stamp(&mut one, Offset::new(base), LeaderEpoch::new(3)).expect("one batch");
        broker.append_at(0, &one, count, random.below(3) == 0)?;
        broker.log(0).0.wait_for_room().await;
        disk.sleep(Duration::from_micros(random.below(900))).await;
    }
    broker.drained(disk).await;
    Ok(())
}

/// `segment_bytes`: another than before, and what is replayed makes other segments.
async fn start(sim: &Rc<Sim>, disk: &SimDisk, ledger: &Ledger, segment_bytes: u64, case: &str) -> Broker {
    let settings = compacted(|settings| settings.segment_bytes = segment_bytes);
    let broker = Broker::start_as(sim, disk, 1, 0..1, ledger, small, &|_| settings.clone()).await;
    broker.unwrap_or_else(|error| panic!("{error}: {case}"))
}

/// Files of the partition that neither its log nor a checkpoint needs.
fn unknown_files(broker: &Broker, disk: &SimDisk) -> Vec<String> {
    let (store, log) = broker.log(0);
    let is_known = |segment| {
        let is_condemned = store.logs.borrow().is_condemned(log, segment);
        is_condemned || store.with_log(log, |log| log.knows(segment)).unwrap_or(false)
    };
    let directory = partition_directory(Path::new(DATA), partition(0));
    let names = disk.files(&directory).into_iter().map(|(path, _)| file_name(&path));
    names.filter(|name| !segment_in_name(name).is_some_and(is_known)).collect()
}

/// Crashes twice, and checks after each what is left.
fn check_crash(seed: u64, stop_after: u64, kills: bool, segment_bytes: [u64; 3]) -> bool {
    let disk = SimDisk::new(seed);
    let ledger = Ledger::default();
    disk.stop_after(stop_after);
    let mut ended = false;
    for (round, segment_bytes) in (0..3).zip(segment_bytes) {
        let case = format!("seed {seed}, round {round}, crash after {stop_after}, kill: {kills}");
        let promised = ledger.borrow().get(&0).cloned().unwrap_or_default();
        let promised = if kills { promised.written_end } else { promised.durable_end };
        let theirs = ledger.clone();
        let whole = run(&disk, async move |sim, disk| {
            let broker = start(&sim, &disk, &theirs, segment_bytes, &case).await;
            let check = async || {
                let batches = served(&broker, 0, 2_000).await.unwrap_or_else(|e| panic!("{e}: {case}"));
                let history = History::of(&theirs.borrow()[&0].batches);
                let end = theirs.borrow()[&0].end;
                assert!(end >= promised, "the log ends at {end}, promised {promised}: {case}");
                let left: BTreeMap<i64, Content> = batches.iter().flat_map(|b| records(b)).collect();
                for (offset, content) in &left {
                    assert_eq!(history.records.get(offset), Some(content), "{case}");
                }
                for (key, offset) in history.latest(end) {
                    assert!(left.contains_key(&offset), "{key:?} at {offset} is gone: {case}");
                }
                left.len() < history.records.len()
            };
            check().await;
            load(&broker, &disk, seed + round, 60).await.unwrap_or_else(|error| panic!("{error}: {case}"));
            disk.sleep(Duration::from_millis(60)).await;
            assert!(check().await, "nothing was compacted: {case}");
            for look in 0.. {
                let left_over = unknown_files(&broker, &disk);
                if left_over.is_empty() {
                    break;
                }
                // They may be on their way.
                assert!(look < 20, "{left_over:?} is left over: {case}");
                disk.sleep(Duration::from_millis(1)).await;
            }
        });
        ended |= round == 0 && whole.is_some();
        if kills {
            disk.kill()
        } else {
            disk.power_loss()
        }
        if round == 0 {
            disk.stop_after(stop_after);
        }
    }
    ended
}

#[test]
fn a_crash_at_any_operation_leaves_the_old_segments_or_the_new() {
    for (seed, kills, segment_bytes) in
        [(1, false, [4_000; 3]), (2, true, [4_000; 3]), (3, false, [3_000, 7_000, 2_000])]
    {
        let mut crashes = 0;
        for stop_after in (1..).step_by(3) {
            crashes += 1;
            if check_crash(seed, stop_after, kills, segment_bytes) {
                break;
            }
        }
        assert!(crashes > 70, "{crashes} crashes");
    }
}

#[test]
fn a_reader_amid_a_replaced_segment_goes_on_with_the_new_one() {
    let disk = SimDisk::new(3);
    let ledger = Ledger::default();
    run(&disk, async move |sim, disk| {
        let broker = Rc::new(start(&sim, &disk, &ledger, 4_000, "readers").await);
        let done = Rc::new(std::cell::Cell::new(0));
        for reader in 0..4 {
            let (broker, disk, done) = (broker.clone(), disk.clone(), done.clone());
            sim.spawn(async move {
                for _ in 0..300 {
                    served(&broker, 0, 700 + 900 * reader).await.expect("readable");
                    disk.sleep(Duration::from_micros(300)).await;
                }
                done.set(done.get() + 1);
            });
        }
        load(&broker, &disk, 5, 250).await.expect("nothing fails");
        while done.get() < 4 {
            disk.sleep(Duration::from_millis(1)).await;
        }
        let (store, log) = broker.log(0);
        let replacements = store.with_log(log, |log| log.replacements).expect("there");
        assert!(replacements > 3, "{replacements} replacements");
    })
    .expect("it runs to its end");
}

#[test]
fn an_operation_that_fails_costs_no_record() {
    let mut failures = 0;
    for k in (1..).step_by(7) {
        let disk = SimDisk::new(4);
        let ledger = Ledger::default();
        let theirs = ledger.clone();
        let ended = run(&disk, async move |sim, disk| {
            let broker = start(&sim, &disk, &theirs, 4_000, "before").await;
            disk.fail_at(k, std::io::ErrorKind::Other);
            let before = disk.operations();
            let _ = load(&broker, &disk, 6, 80).await;
            disk.sleep(Duration::from_millis(60)).await;
            disk.operations() - before < k
        });
        failures += 1;
        disk.power_loss();
        let case = format!("operation {k} fails");
        let promised = ledger.borrow()[&0].durable_end;
        let theirs = ledger.clone();
        run(&disk, async move |sim, disk| {
            let broker = start(&sim, &disk, &theirs, 4_000, &case).await;
            let batches = served(&broker, 0, 2_000).await.unwrap_or_else(|e| panic!("{e}: {case}"));
            let history = History::of(&theirs.borrow()[&0].batches);
            let end = theirs.borrow()[&0].end;
            assert!(end >= promised, "{case}");
            let left: BTreeMap<i64, Content> = batches.iter().flat_map(|b| records(b)).collect();
            assert!(history.latest(end).values().all(|offset| left.contains_key(offset)), "{case}");
        })
        .expect("it runs to its end");
        if ended == Some(true) {
            break;
        }
    }
    assert!(failures > 30, "{failures}");
}
