//! The life of a data directory, and what may be asked of it afterwards.
//!
//! Six partitions at a time, of five kinds by their index: plain ones with small segments, one whose batches are
//! large enough for extents, one whose log start is raised again and again, and two that are compacted. Now and then
//! the oldest is deleted and a new one created.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    ops::Range,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use super::super::{Broker, Ledger, base_of, next_of, run, small, split, with_segments};
use crate::{
    io::{
        clock::Clock,
        sim::{Random, Sim, SimDisk},
    },
    log::{LogError, OpenError},
    model::{CleanupPolicy, LeaderEpoch, Offset, TopicSettings},
    record::{BatchBuilder, Codec, RecordBatch, for_each_record, stamp},
};

/// Partitions at a time.
const WINDOW: i32 = 6;
/// What acks=1 may lose, in ms: the flush interval of these stores is 3, and a sync takes its time.
const WRITTEN_LAW_MS: u64 = 50;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Bulk,
    Raised,
    Compacted,
}

fn kind(index: i32) -> Kind {
    match index % WINDOW {
        2 => Kind::Bulk,
        3 => Kind::Raised,
        4 | 5 => Kind::Compacted,
        _ => Kind::Plain,
    }
}

fn settings(index: i32) -> Arc<TopicSettings> {
    match kind(index) {
        Kind::Plain | Kind::Raised => with_segments(40_000, i64::MAX),
        Kind::Bulk => with_segments(300_000, i64::MAX),
        Kind::Compacted => Arc::new(TopicSettings {
            cleanup_policy: CleanupPolicy { delete: false, compact: true },
            segment_bytes: 6_000,
            min_cleanable_dirty_ratio: 0.0,
            ..TopicSettings::default()
        }),
    }
}

/// What the life has come to, as far as anybody was told. Outlives the process.
#[derive(Clone, Default)]
pub(super) struct Life {
    pub(super) ledger: Ledger,
    /// Partitions that the metadata knows.
    first: Rc<Cell<i32>>,
    end: Rc<Cell<i32>>,
    /// Log starts that were promised.
    starts: Rc<RefCell<BTreeMap<i32, i64>>>,
    /// When each batch was appended, by partition and base offset.
    times: Rc<RefCell<BTreeMap<(i32, i64), u64>>>,
}

/// How the process ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    Kill,
    PowerLoss,
}

impl Life {
    pub(super) fn new() -> Self {
        let life = Self::default();
        life.end.set(WINDOW);
        life
    }

    /// What another future of the same past starts from.
    pub(super) fn copy(&self) -> Self {
        Self {
            ledger: Rc::new((*self.ledger).clone()),
            first: Rc::new((*self.first).clone()),
            end: Rc::new((*self.end).clone()),
            starts: Rc::new((*self.starts).clone()),
            times: Rc::new((*self.times).clone()),
        }
    }

    pub(super) fn is_compacted(&self, index: i32) -> bool {
        kind(index) == Kind::Compacted
    }

    pub(super) fn partitions(&self) -> Range<i32> {
        self.first.get()..self.end.get()
    }

    pub(super) async fn start(
        &self,
        sim: &Rc<Sim>,
        disk: &SimDisk,
        shards: u32,
    ) -> Result<Broker, OpenError> {
        Broker::start_as(sim, disk, shards, self.partitions(), &self.ledger, small, &settings).await
    }

    /// Lives for so many steps; ends early where a store refuses.
    pub(super) async fn live(
        &self,
        broker: &mut Broker,
        disk: &SimDisk,
        seed: u64,
        steps: u32,
    ) -> Result<(), LogError> {
        let mut random = Random::new(seed);
        for step in 0..steps {
            if step % 50 == 49 {
                self.replace_oldest(broker).await?;
            }
            let index = self.first.get() + random.below(WINDOW as u64) as i32;
            if !broker.logs.contains_key(&index) {
                continue; // its creation was refused
            }
            self.append(broker, disk, index, &mut random)?;
            if kind(index) == Kind::Raised && random.below(6) == 0 {
                self.raise(broker, index, &mut random).await?;
            }
            let (store, _) = broker.log(index);
            store.wait_for_room().await;
            if random.below(40) == 0 {
                store.request_checkpoint();
            }
            if random.below(4) == 0 {
                disk.sleep(Duration::from_micros(random.below(900))).await;
            }
        }
        broker.drained(disk).await;
        Ok(())
    }

    fn append(
        &self,
        broker: &Broker,
        disk: &SimDisk,
        index: i32,
        random: &mut Random,
    ) -> Result<(), LogError> {
        let base = broker.ledger.borrow()[&index].end;
        let durable = random.below(3) == 0;
        let time_ms = disk.monotonic_ms();
        if kind(index) == Kind::Compacted {
            let (batch, count) = keyed(base, random);
            broker.append_at(index, &batch, count, durable)?;
        } else {
            let bytes = match (kind(index), random.below(12)) {
                (Kind::Bulk, ..6) => 6_000 + random.below(40_000),
                (_, 0) => 20_000 + random.below(10_000),
                (_, 1..4) => 3_000 + random.below(4_000),
                _ => 80 + random.below(900),
            };
            broker.append(index, bytes as usize, 1 + random.below(4) as i32, durable)?;
        }
        self.times.borrow_mut().insert((index, base), time_ms);
        Ok(())
    }

    /// Raises a log start to the start of a batch that is durable.
    async fn raise(&self, broker: &Broker, index: i32, random: &mut Random) -> Result<(), LogError> {
        let target = {
            let ledger = broker.ledger.borrow();
            let kept = &ledger[&index];
            let durable: Vec<i64> = kept
                .batches
                .iter()
                .filter(|one| next_of(one) <= kept.durable_end)
                .map(|one| base_of(one))
                .collect();
            match durable.len() {
                0 => return Ok(()),
                count => durable[random.below(count as u64) as usize],
            }
        };
        let (store, log) = broker.log(index);
        store.raise_log_start(log, Offset::new(target)).await?;
        let mut starts = self.starts.borrow_mut();
        let told = starts.entry(index).or_default();
        *told = (*told).max(target);
        Ok(())
    }

    /// The metadata forgets the oldest partition and gets to know a new one; then the stores are told.
    async fn replace_oldest(&self, broker: &mut Broker) -> Result<(), LogError> {
        let (gone, new) = (self.first.get(), self.end.get());
        self.first.set(gone + 1);
        self.ledger.borrow_mut().remove(&gone);
        if let Some((store, log)) = broker.logs.remove(&gone) {
            let _ = broker.stores[store].delete_log(log).await;
        }
        self.end.set(new + 1);
        broker.create(new, settings(new)).await
    }

    /// Starts, and checks all that was promised before the end; `ended_ms`: when that was. Then lives on for a
    /// while and checks that, too.
    pub(super) fn check(&self, disk: &SimDisk, shards: u32, how: End, ended_ms: u64, case: &str) {
        let (life, case) = (self.clone(), case.to_owned());
        let promised = Rc::new((*self.ledger).clone());
        let done = run(disk, async move |sim, disk| {
            let started = life.start(&sim, &disk, shards).await;
            let mut broker = started.unwrap_or_else(|error| panic!("{error}: {case}"));
            for index in life.partitions() {
                let Some(kept) = promised.borrow().get(&index).cloned() else { continue };
                let served = served(&broker, index).await.unwrap_or_else(|error| panic!("{error}: {case}"));
                let told = match how {
                    End::Kill => kept.written_end,
                    End::PowerLoss => kept.durable_end.max(life.written_law(
                        index,
                        &kept.batches,
                        kept.written_end,
                        ended_ms,
                    )),
                };
                life.check_partition(&broker, index, &kept.batches, told, &served, &case);
            }
            life.live(&mut broker, &disk, ended_ms ^ 77, 60).await.unwrap_or_else(|e| panic!("{e}: {case}"));
            for index in life.partitions() {
                let kept = life.ledger.borrow()[&index].clone();
                let served = served(&broker, index).await.unwrap_or_else(|error| panic!("{error}: {case}"));
                life.check_partition(&broker, index, &kept.batches, kept.end, &served, &case);
            }
        });
        assert!(done.is_some());
        disk.kill();
    }

    /// Where what was written long enough before the end ends.
    fn written_law(&self, index: i32, batches: &[Vec<u8>], written_end: i64, ended_ms: u64) -> i64 {
        let times = self.times.borrow();
        let is_old = |base: i64| {
            times.get(&(index, base)).is_some_and(|appended_ms| appended_ms + WRITTEN_LAW_MS < ended_ms)
        };
        let old = batches.iter().filter(|one| next_of(one) <= written_end && is_old(base_of(one)));
        old.map(|one| next_of(one)).max().unwrap_or(0)
    }

    fn check_partition(
        &self,
        broker: &Broker,
        index: i32,
        given: &[Vec<u8>],
        told: i64,
        served: &[Vec<u8>],
        case: &str,
    ) {
        let (store, log) = broker.log(index);
        let end = store.log_end_offset(log).map_or(-1, Offset::get);
        assert!(end >= told, "partition {index} ends at {end}, promised {told}: {case}");
        let start = store.log_start_offset(log).map_or(-1, Offset::get);
        let promised = self.starts.borrow().get(&index).copied().unwrap_or(0);
        assert!(start >= promised, "partition {index} starts at {start}, promised {promised}: {case}");
        if kind(index) == Kind::Compacted {
            return check_compacted(index, given, told, served, case);
        }
        let above: Vec<&Vec<u8>> = given.iter().filter(|one| base_of(one) >= start).collect();
        let same = served.len() <= above.len() && served.iter().zip(&above).all(|(one, other)| one == *other);
        assert!(same, "partition {index} serves what it was not given: {case}");
        let reaches = served.last().map_or(start, |last| next_of(last));
        assert!(
            reaches >= told.min(end),
            "partition {index} serves up to {reaches}, promised {told}: {case}"
        );
    }
}

/// A batch with keys, some of them without a value.
fn keyed(base: i64, random: &mut Random) -> (Vec<u8>, i32) {
    let mut builder = BatchBuilder::new(Codec::ALL[random.below(5) as usize]);
    let count = 1 + random.below(3) as i32;
    for i in 0..count {
        let key = format!("key {}", random.below(9));
        let value = format!("{base}.{i} {}", "x".repeat(random.below(300) as usize));
        builder.push(1_000_000 + base, Some(key.as_bytes()), Some(value.as_bytes()), &[]);
    }
    let mut batch = Vec::new();
    builder.finish(&mut batch).expect("compresses");
    stamp(&mut batch, Offset::new(base), LeaderEpoch::new(3)).expect("one batch");
    (batch, count)
}

/// Offset to key and value.
type Records = BTreeMap<i64, (Vec<u8>, Vec<u8>)>;

fn records(batches: &[Vec<u8>]) -> Records {
    let mut found = Records::new();
    for batch in batches {
        let batch = RecordBatch::first(batch).expect("sound").expect("whole");
        for_each_record(&batch, &mut Vec::new(), 1 << 20, |record| {
            let content =
                (record.key.unwrap_or_default().to_vec(), record.value.unwrap_or_default().to_vec());
            found.insert(record.offset.get(), content);
        })
        .expect("records");
    }
    found
}

/// Every record that is served was given; of each key the last one that was promised is there, or a later one.
fn check_compacted(index: i32, given: &[Vec<u8>], told: i64, served: &[Vec<u8>], case: &str) {
    let (given, served) = (records(given), records(served));
    for (offset, content) in &served {
        assert_eq!(given.get(offset), Some(content), "partition {index}, offset {offset}: {case}");
    }
    let mut latest: BTreeMap<&[u8], i64> = BTreeMap::new();
    for (&offset, (key, _)) in given.range(..told) {
        latest.insert(key, offset);
    }
    for (key, offset) in latest {
        let there = served.range(offset..).any(|(_, (other, _))| other == key);
        assert!(there, "partition {index}: the record of {key:?} at {offset} is gone: {case}");
    }
}

/// All batches as a consumer gets them.
pub(super) async fn served(broker: &Broker, index: i32) -> Result<Vec<Vec<u8>>, LogError> {
    let (store, log) = broker.log(index);
    let (mut from, end) = (store.log_start_offset(log)?, store.log_end_offset(log)?);
    let mut all = Vec::new();
    while from < end {
        let run = store.read(log, from, end, 9_000, true).await?.concat();
        if run.is_empty() {
            break; // nothing but what compaction has taken
        }
        for one in split(&run) {
            from = Offset::new(next_of(&one));
            all.push(one);
        }
    }
    Ok(all)
}
