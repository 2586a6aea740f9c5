//! A broker's worth of stores on a simulated disk, and what they were told to keep.

mod behaviour;
mod campaigns;
mod checkpoints;
mod compaction;
mod crash;
mod damage;
mod extents;
mod log_start;
mod places;
mod ranges;
mod retention;
mod rot;
mod space;

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    ops::Range,
    path::Path,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;

use crate::{
    io::{
        clock::Clock,
        sim::{Random, Sim, SimDisk},
    },
    log::{
        AppendInfo, Generation, LogError, LogId, Observer, OpenError, RecoveredLog, Store, StoreOptions,
        Written, current_generation, publish_generation,
    },
    model::{LeaderEpoch, Offset, PartitionIndex, ProducerId, TopicId, TopicPartition, TopicSettings},
};

pub(super) const DATA: &str = "/data";

pub(super) fn settings() -> Arc<TopicSettings> {
    with_segments(40_000, i64::MAX)
}

/// Partitions from here on have segments that hold several extents.
pub(super) const BULK: i32 = 100;
/// Partitions from here on have segments that hold many.
pub(super) const LONG: i32 = 200;

pub(super) fn settings_of(index: i32) -> Arc<TopicSettings> {
    match index {
        LONG.. => with_segments(32 << 20, i64::MAX),
        BULK.. => with_segments(300_000, i64::MAX),
        _ => settings(),
    }
}

pub(super) fn with_segments(segment_bytes: u64, segment_ms: i64) -> Arc<TopicSettings> {
    Arc::new(TopicSettings { segment_bytes, segment_ms, ..TopicSettings::default() })
}

pub(super) fn partition(index: i32) -> TopicPartition {
    TopicPartition { topic: TopicId::from_bytes([7; 16]), partition: PartitionIndex::new(index) }
}

/// A stamped v2 batch of `records` offsets and about `bytes` bytes, drawn from the seed.
pub(super) fn batch(base: i64, records: i32, bytes: usize, timestamp: i64, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed ^ base as u64);
    let mut batch = vec![0; bytes.max(61)];
    batch[61..].iter_mut().for_each(|byte| *byte = random.number() as u8);
    batch[0..8].copy_from_slice(&base.to_be_bytes());
    let length = batch.len() as i32 - 12;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[12..16].copy_from_slice(&3_i32.to_be_bytes());
    batch[16] = 2;
    batch[23..27].copy_from_slice(&(records - 1).to_be_bytes());
    batch[27..35].copy_from_slice(&timestamp.to_be_bytes());
    batch[35..43].copy_from_slice(&timestamp.to_be_bytes());
    batch[57..61].copy_from_slice(&records.to_be_bytes());
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

/// What one partition was given, and what it was told of it.
#[derive(Default, Clone)]
pub(super) struct Kept {
    pub(super) batches: Vec<Vec<u8>>,
    pub(super) end: i64,
    pub(super) written_end: i64,
    pub(super) durable_end: i64,
}

/// By partition index.
pub(super) type Ledger = Rc<RefCell<BTreeMap<i32, Kept>>>;

struct Listener {
    ledger: Ledger,
    names: RefCell<BTreeMap<LogId, i32>>,
    written: Rc<RefCell<[u64; 4]>>,
}

impl Observer for Listener {
    fn progressed(&self, log: LogId, written_end: Offset, durable_end: Offset) {
        let Some(index) = self.names.borrow().get(&log).copied() else { return };
        let mut ledger = self.ledger.borrow_mut();
        let kept = ledger.entry(index).or_default();
        assert!(kept.written_end <= written_end.get() && kept.durable_end <= durable_end.get());
        (kept.written_end, kept.durable_end) = (written_end.get(), durable_end.get());
    }

    fn snapshot(&self, log: LogId) -> Vec<u8> {
        let index = self.names.borrow()[&log];
        self.ledger.borrow().get(&index).map_or(0, |kept| kept.end).to_le_bytes().to_vec()
    }

    fn wrote(&self, what: Written, bytes: u64) {
        self.written.borrow_mut()[what as usize] += bytes;
    }

    fn stable_end(&self, _: LogId) -> Offset {
        Offset::new(i64::MAX)
    }

    fn last_offsets(&self, _: LogId) -> HashMap<ProducerId, Offset> {
        HashMap::new()
    }

    fn log_start_raised(&self, _: LogId, _: Offset) {}

    fn failed(&self, _: Option<LogId>, _: &str) {}
}

/// The stores of one start.
pub(super) struct Broker {
    pub(super) stores: Vec<Rc<Store>>,
    pub(super) logs: BTreeMap<i32, (usize, LogId)>,
    pub(super) ledger: Ledger,
    /// Bytes by class of [`Written`].
    pub(super) written: Rc<RefCell<[u64; 4]>>,
    listeners: Vec<Rc<Listener>>,
}

pub(super) const JOURNAL_FILES_MAX: u32 = 3;

pub(super) fn small(options: &mut StoreOptions) {
    options.journal_file_bytes = 64 * 1024;
    options.journal_files_max = JOURNAL_FILES_MAX;
    options.group_bytes_max = 16 * 1024;
    options.extent_bytes_min = 6_000;
    options.flush_interval = Duration::from_millis(3);
    options.checkpoint_interval = Duration::from_millis(20);
    options.unsettled_bytes_max = 100_000;
    options.tail_cache_bytes_max = 32 * 1024;
    options.open_files_max = 2;
    options.scrub_interval = Duration::MAX;
    options.spare_file_bytes_min = 4096;
    options.compaction.backoff = Duration::from_millis(4);
}

/// Opens all shards of the next generation, in the order that `generation.rs` asks for.
pub(super) async fn open(
    disk: &SimDisk,
    shards: u32,
    partitions: Range<i32>,
    tune: impl Fn(&mut StoreOptions),
) -> Result<(Generation, Vec<(Rc<Store>, Vec<RecoveredLog>)>), OpenError> {
    let settings = settings_of(partitions.start);
    open_with(disk, shards, partitions, tune, &|_| settings.clone()).await
}

async fn open_with(
    disk: &SimDisk,
    shards: u32,
    partitions: Range<i32>,
    tune: impl Fn(&mut StoreOptions),
    settings: &dyn Fn(i32) -> Arc<TopicSettings>,
) -> Result<(Generation, Vec<(Rc<Store>, Vec<RecoveredLog>)>), OpenError> {
    let data = Path::new(DATA);
    let former = current_generation(disk, data).await?;
    let generation = Generation { number: former.number + 1, shards };
    let mut stores = Vec::new();
    for shard in 0..shards {
        let journal_id = generation.number * 1000 + u64::from(shard) + 77;
        let mut options = StoreOptions::new(data.to_path_buf(), shard, generation, journal_id);
        tune(&mut options);
        let mine = partitions.clone().filter(|index| *index as u32 % shards == shard);
        let owned = mine.map(|index| (partition(index), settings(index))).collect();
        let (disk, clock) = (Rc::new(disk.clone()), Rc::new(disk.clone()));
        stores.push(Store::open(disk, clock, options, former, owned).await?);
    }
    publish_generation(disk, data, generation).await?;
    for (store, _) in &stores {
        store.adopt(former).await?;
    }
    Ok((former, stores))
}

impl Broker {
    /// Starts all shards and their tasks; what recovery did not find is created.
    pub(super) async fn start(
        sim: &Rc<Sim>,
        disk: &SimDisk,
        shards: u32,
        partitions: Range<i32>,
        ledger: &Ledger,
    ) -> Result<Self, OpenError> {
        Self::start_with(sim, disk, shards, partitions, ledger, small).await
    }

    pub(super) async fn start_with(
        sim: &Rc<Sim>,
        disk: &SimDisk,
        shards: u32,
        partitions: Range<i32>,
        ledger: &Ledger,
        tune: impl Fn(&mut StoreOptions),
    ) -> Result<Self, OpenError> {
        let settings = settings_of(partitions.start);
        Self::start_as(sim, disk, shards, partitions, ledger, tune, &|_| settings.clone()).await
    }

    pub(super) async fn start_as(
        sim: &Rc<Sim>,
        disk: &SimDisk,
        shards: u32,
        partitions: Range<i32>,
        ledger: &Ledger,
        tune: impl Fn(&mut StoreOptions),
        settings: &dyn Fn(i32) -> Arc<TopicSettings>,
    ) -> Result<Self, OpenError> {
        let (_, opened) = open_with(disk, shards, partitions.clone(), tune, settings).await?;
        let mut logs = BTreeMap::new();
        let (mut stores, mut listeners) = (Vec::new(), Vec::new());
        let written: Rc<RefCell<[u64; 4]>> = Rc::default();
        for (at, (store, recovered)) in opened.into_iter().enumerate() {
            let mut names = BTreeMap::new();
            for found in &recovered {
                check_recovered(found, &store);
                let index = found.partition.partition.get();
                logs.insert(index, (at, found.log));
                names.insert(found.log, index);
                // From here on the ledger counts from what was found.
                let mut ledger = ledger.borrow_mut();
                let kept = ledger.entry(index).or_default();
                kept.truncate(found.log_end_offset.get());
            }
            let (names, written) = (RefCell::new(names), written.clone());
            let listener = Rc::new(Listener { ledger: ledger.clone(), names, written });
            store.set_observer(listener.clone());
            sim.spawn(store.clone().run_commits());
            sim.spawn(store.clone().run_flushes());
            sim.spawn(store.clone().run_settling());
            sim.spawn(store.clone().run_checkpoints());
            sim.spawn(store.clone().run_compaction());
            sim.spawn(store.clone().run_scrub());
            sim.spawn(store.clone().run_reserve());
            for index in partitions.clone().filter(|index| *index as usize % shards as usize == at) {
                if logs.contains_key(&index) {
                    continue;
                }
                let Ok(log) = store.create_log(partition(index), settings(index)).await else { continue };
                listener.names.borrow_mut().insert(log, index);
                logs.insert(index, (at, log));
                ledger.borrow_mut().entry(index).or_default().truncate(0);
            }
            stores.push(store);
            listeners.push(listener);
        }
        Ok(Self { stores, logs, ledger: ledger.clone(), written, listeners })
    }

    pub(super) fn log(&self, index: i32) -> (&Rc<Store>, LogId) {
        let (store, log) = self.logs[&index];
        (&self.stores[store], log)
    }

    /// Makes one more partition, on the shard that the next start would give it.
    pub(super) async fn create(&mut self, index: i32, settings: Arc<TopicSettings>) -> Result<(), LogError> {
        let at = index as usize % self.stores.len();
        let log = self.stores[at].create_log(partition(index), settings).await?;
        self.listeners[at].names.borrow_mut().insert(log, index);
        self.logs.insert(index, (at, log));
        self.ledger.borrow_mut().entry(index).or_default().truncate(0);
        Ok(())
    }

    pub(super) fn append(
        &self,
        index: i32,
        bytes: usize,
        records: i32,
        durable: bool,
    ) -> Result<(), LogError> {
        let base = self.ledger.borrow()[&index].end;
        self.append_at(index, &batch(base, records, bytes, 1_000_000 + base, 99), records, durable)
    }

    pub(super) fn append_at(
        &self,
        index: i32,
        batch: &[u8],
        records: i32,
        durable: bool,
    ) -> Result<(), LogError> {
        let (store, log) = self.log(index);
        let base = self.ledger.borrow()[&index].end;
        let next = base + i64::from(records);
        let timestamp = i64::from_be_bytes(batch[35..43].try_into().expect("8 bytes"));
        let info = AppendInfo {
            next_offset: Offset::new(next),
            leader_epoch: LeaderEpoch::new(3),
            max_timestamp: timestamp,
            durable,
            now_ms: 1_700_000_000_000,
        };
        store.append(log, batch, info)?;
        let mut ledger = self.ledger.borrow_mut();
        let kept = ledger.entry(index).or_default();
        kept.batches.push(batch.to_vec());
        kept.end = next;
        Ok(())
    }

    /// Waits until all that was appended is durable, or the store is over.
    pub(super) async fn drained(&self, disk: &SimDisk) {
        let is_open = |broker: &Self| {
            let ledger = broker.ledger.borrow();
            ledger.values().any(|kept| kept.durable_end < kept.end)
                && broker.stores.iter().all(|store| store.failure().is_none())
        };
        while is_open(self) {
            self.stores.iter().for_each(|store| store.request_flush());
            disk.sleep(Duration::from_millis(1)).await;
        }
    }

    /// All batches of a partition, read `max_bytes` at a time.
    pub(super) async fn read_all(&self, index: i32, max_bytes: usize) -> Result<Vec<Vec<u8>>, LogError> {
        let (store, log) = self.log(index);
        let end = store.log_end_offset(log)?;
        let mut from = store.log_start_offset(log)?;
        let mut all = Vec::new();
        while from < end {
            let slices = store.read(log, from, end, max_bytes, true).await?;
            let run: Vec<u8> = slices.concat();
            assert!(!run.is_empty(), "nothing at {from} of {end}");
            for one in split(&run) {
                assert_eq!(base_of(&one), from.get(), "partition {index}");
                from = Offset::new(next_of(&one));
                all.push(one);
            }
        }
        Ok(all)
    }
}

impl Kept {
    /// Forgets batches from `end` on: the log does not have them.
    pub(super) fn truncate(&mut self, end: i64) {
        self.batches.retain(|batch| next_of(batch) <= end);
        (self.end, self.written_end, self.durable_end) = (end, end, end);
    }
}

pub(super) fn base_of(batch: &[u8]) -> i64 {
    i64::from_be_bytes(batch[0..8].try_into().expect("8 bytes"))
}

pub(super) fn next_of(batch: &[u8]) -> i64 {
    base_of(batch) + i64::from(i32::from_be_bytes(batch[23..27].try_into().expect("4 bytes"))) + 1
}

/// Cuts a run into its batches; each must be whole and have its CRC.
pub(super) fn split(run: &[u8]) -> Vec<Vec<u8>> {
    let mut batches = Vec::new();
    let mut rest = run;
    while !rest.is_empty() {
        let length = 12 + i32::from_be_bytes(rest[8..12].try_into().expect("4 bytes")) as usize;
        let (one, after) = rest.split_at(length);
        assert_eq!(one[17..21], crc32c::crc32c(&one[21..]).to_be_bytes(), "a torn batch was served");
        batches.push(one.to_vec());
        rest = after;
    }
    batches
}

pub(super) fn joined(slices: Vec<Bytes>) -> Vec<u8> {
    slices.concat()
}

/// The snapshot and the headers after it account for every offset.
fn check_recovered(found: &RecoveredLog, store: &Store) {
    let snapshot = found.snapshot.first_chunk().map_or(0, |bytes| i64::from_le_bytes(*bytes));
    let mut at = snapshot;
    if found.quarantined.is_none() {
        for header in &found.replayed {
            assert_eq!(base_of(header), at, "{}", found.partition);
            at = next_of(header);
        }
        assert_eq!(at, found.log_end_offset.get(), "{}", found.partition);
    }
    assert_eq!(store.log_end_offset(found.log).ok(), Some(found.log_end_offset));
}

/// A run of a fresh process on the disk.
pub(super) fn run<T: 'static, F: Future<Output = T> + 'static>(
    disk: &SimDisk,
    main: impl FnOnce(Rc<Sim>, SimDisk) -> F,
) -> Option<T> {
    let sim = Rc::new(Sim::new(disk));
    let result = sim.run(main(sim.clone(), disk.clone()));
    sim.end();
    result
}
