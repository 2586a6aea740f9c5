//! The sending side of a run: the plan, its workers, and how they ended.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use super::reporter::Reporter;
use super::{Context, DURATION_DEFAULT, LEAD, Outcome};
use crate::ack_log::AckLogWriter;
use crate::args::{CommonArgs, LoadArgs, TransactionArgs};
use crate::client::admin::{NewTopic, Topology};
use crate::client::transactions::Transactional;
use crate::clock::{Nanos, SECOND};
use crate::keys::Keys;
use crate::payload;
use crate::pin::pin;
use crate::produce::plan::{self, Making, Plan, Seat, Source};
use crate::produce::producer::Producer;
use crate::produce::transaction::Rules;
use crate::produce::worker::coordination::Transacting;
use crate::produce::worker::{self, Task};
use crate::schedule::{Schedule, mix};
use crate::sizes::Sizes;
use crate::stats::{Meter, Role};

/// Most streams of a run: what a run keeps of each takes a few hundred bytes.
const STREAMS_MAX: usize = 1_000_000;

/// Longest time in which nothing of what has been sent is acknowledged. Kafka's `delivery.timeout.ms`.
const DELIVERY_MAX: Nanos = 120 * SECOND;

/// How records are sent, beside the load.
#[derive(Debug, Clone, Copy, Default)]
pub struct How<'a> {
    /// Where acknowledgements go.
    pub ack_log: Option<&'a Path>,
    /// Whether a lost connection is opened again.
    pub reconnect: bool,
    /// Its transactions, if there are to be any.
    pub transactions: Option<&'a TransactionArgs>,
}

/// Workers that are ready to start.
#[derive(Debug)]
pub struct Prepared {
    /// What they share.
    pub plan: Arc<Plan>,
    /// Who leads what.
    pub topology: Topology,
    tasks: Vec<Task>,
    /// Rules of transactions, and the producers of each task.
    transacting: Option<(Rules, Vec<BySlot>)>,
}

/// Transactional producers by slot.
type BySlot = Vec<(u32, Transactional)>;

impl Prepared {
    /// When the schedule ends, if time ends it.
    pub fn planned_end(&self, common: &CommonArgs) -> Option<Nanos> {
        self.plan.stop_at.filter(|_| self.plan.schedule.is_some() && common.records.is_none())
    }
}

/// Workers that have started.
#[derive(Debug)]
pub struct Running {
    threads: Vec<JoinHandle<std::io::Result<worker::Outcome>>>,
    /// Records acknowledged, complete once all threads have ended.
    pub acknowledged: Arc<AtomicU64>,
}

/// The topic, created if needed.
///
/// # Errors
/// The cluster cannot be asked.
pub fn topology(context: &Context, load: &LoadArgs) -> Result<Topology, String> {
    let new = NewTopic { partitions: load.partitions, configs: load.topic_config.clone() };
    context.admin.topology(&context.common.topic, Some(&new)).map_err(|e| e.to_string())
}

/// Creates the topic if needed, and deals its partitions to streams, connections and threads.
///
/// # Errors
/// The cluster cannot be asked, a file cannot be read or written.
pub fn prepare(context: &mut Context, load: &LoadArgs, how: How<'_>) -> Result<Prepared, String> {
    let How { ack_log, reconnect, transactions } = how;
    let common = &context.common;
    let topology = topology(context, load)?;
    if let Some(path) = ack_log {
        AckLogWriter::prepare(path).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    let partitions = u32::try_from(topology.leaders.len()).unwrap_or(u32::MAX);
    let run = random().map_err(|e| e.to_string())?;
    let source = if common.payload_file.is_empty() {
        Source::Synthetic { sizes: Sizes::new(load.record_size, run), entropy: load.entropy }
    } else {
        Source::Lines(payload::load(&common.payload_file, partitions)?)
    };
    let lines = |partition: i32| match &source {
        Source::Synthetic { .. } => None,
        Source::Lines(all) => {
            let own = usize::try_from(partition).ok().and_then(|p| all[p].as_ref());
            Some(own.map_or(0, payload::Lines::len))
        }
    };
    let making = if load.makes_records() { Making::Records(Keys::new(load.keys)) } else { Making::Batches };
    let by_record = load.makes_records();
    let mut seats = if by_record {
        plan::seats_of_producers(&topology.leaders, common.connections)
    } else {
        plan::seats(&topology.leaders, common.connections, lines(0).is_some())
    };
    // A partition without lines has nothing to send.
    seats.retain(|seat| lines(seat.partition) != Some(0));
    (0..).zip(&mut seats).for_each(|(n, seat)| seat.stream = n);
    if seats.len() > STREAMS_MAX {
        return Err(format!("{} streams (producers times partitions), at most {STREAMS_MAX}", seats.len()));
    }
    let slots = seats.iter().map(|seat| seat.slot + 1).max().unwrap_or(0);
    let named = transactions.and_then(|args| Some((args, args.transactional_id.as_deref()?)));
    let transactional = named.map(|(_, name)| {
        context
            .admin
            .transactional_producers(name, slots, topology.produce_version)
            .map_err(|e| e.to_string())
    });
    let transactional = transactional.transpose()?;
    let ids = if load.idempotent && transactional.is_none() {
        context.admin.producer_ids(slots).map_err(|e| e.to_string())?
    } else {
        Vec::new()
    };
    let producer_ids: HashMap<u32, (i64, i16)> = (0..).zip(ids).collect();
    // What has a schedule of its own: a stream, or a producer.
    let sources = if by_record { u64::from(slots) } else { seats.len() as u64 };

    context.start = context.clock.now() + LEAD;
    let start = context.start;
    let once = lines(0).is_some() && common.duration.is_none() && common.records.is_none();
    let unlimited = common.records.is_none() && common.duration.is_none() && !once;
    let duration = common.duration.map(|d| Nanos::try_from(d.as_nanos()).unwrap_or(Nanos::MAX / 4));
    let duration = duration.or(unlimited.then_some(DURATION_DEFAULT));
    let stop_at = duration.map(|d| start + d);
    let schedule = (load.rate > 0).then(|| Schedule::new(start, load.rate, sources, load.schedule, run));
    let share = |nth: u64| common.records.map_or(u64::MAX, |n| n / sources + u64::from(nth < n % sources));
    let quota = |seat: &Seat| {
        let by_lines = if once { lines(seat.partition) } else { None };
        let own = if by_record { u64::MAX } else { share(u64::from(seat.stream)) };
        own.min(by_lines.unwrap_or(u64::MAX))
    };
    let seats: Vec<(Seat, u64)> = seats.iter().map(|seat| (*seat, quota(seat))).collect();
    let end = stop_at.filter(|_| schedule.is_some()).unwrap_or(Nanos::MAX);
    let producer = |slot: u32| {
        let arrivals = schedule.map(|schedule| schedule.arrivals(u64::from(slot)));
        let seed = run ^ mix(u64::from(slot));
        (slot, Producer::new(arrivals, end, share(u64::from(slot)), partitions, load.batch_size, seed))
    };
    let plan = Arc::new(Plan {
        clock: context.clock,
        topic: common.topic.clone(),
        run,
        source,
        making,
        start,
        schedule,
        batch_bytes: load.batch_size,
        linger: (load.linger_ms * 1e6) as Nanos,
        acks: load.acks,
        compression: load.compression,
        in_flight_max: load.in_flight as usize,
        stop_at,
        reconnect,
        delivery_max: DELIVERY_MAX,
    });

    // A connection, which is a leader and a slot, stays on one thread; so does a producer, which is a slot, if it makes
    // its records one by one or has transactions.
    let mut connections: HashMap<(&str, u32), usize> = HashMap::new();
    let mut by_thread: Vec<Vec<(Seat, u64)>> = vec![Vec::new(); common.threads as usize];
    for (seat, quota) in seats {
        let leader = usize::try_from(seat.partition).ok().and_then(|p| topology.leaders.get(p));
        let leader =
            if by_record || transactional.is_some() { "" } else { leader.map_or("", String::as_str) };
        let next = connections.len();
        let number = *connections.entry((leader, seat.slot)).or_insert(next);
        by_thread[number % common.threads as usize].push((seat, quota));
    }
    by_thread.retain(|seats| !seats.is_empty());
    let slots_of = |seats: &[(Seat, u64)]| {
        let slots: BTreeSet<u32> = seats.iter().map(|(seat, _)| seat.slot).collect();
        slots.into_iter()
    };
    let transacting = named.zip(transactional).map(|((args, _), all)| {
        let producers = |seats: &Vec<(Seat, u64)>| {
            slots_of(seats).map(|slot| (slot, all[slot as usize].clone())).collect()
        };
        (rules(args), by_thread.iter().map(producers).collect())
    });
    let tasks = by_thread.into_iter().map(|seats| {
        let slots = slots_of(&seats);
        Task {
            plan: Arc::clone(&plan),
            seats,
            producers: if by_record { slots.map(producer).collect() } else { Vec::new() },
            producer_ids: producer_ids.clone(),
            transacting: None,
            topology: topology.clone(),
            admin: context.admin.clone(),
            ack_log: ack_log.map(Path::to_owned),
            stop: Arc::clone(&context.stop),
        }
    });
    let tasks = tasks.collect();
    Ok(Prepared { plan, topology, tasks, transacting })
}

fn rules(args: &TransactionArgs) -> Rules {
    Rules {
        records_max: args.transaction_size.unwrap_or(u64::MAX),
        duration: args.transaction_duration.map(|d| Nanos::try_from(d.as_nanos()).unwrap_or(Nanos::MAX)),
        abort_percent: args.abort_share,
        // What the coordinator says.
        adds_by_itself: false,
    }
}

/// Starts the threads.
pub fn start(context: &mut Context, prepared: Prepared, reporter: &mut Reporter) -> Running {
    let acknowledged = Arc::new(AtomicU64::new(0));
    let mut tasks = prepared.tasks;
    if let Some((rules, producers)) = prepared.transacting {
        for (task, producers) in tasks.iter_mut().zip(producers) {
            let meter = Meter::new(Role::Transaction, context.start, reporter.add_worker(Role::Transaction));
            task.transacting = Some(Transacting { producers, rules, meter });
        }
    }
    let threads = tasks.into_iter().map(|task| {
        let meter = Meter::new(Role::Produce, context.start, reporter.add_worker(Role::Produce));
        let acknowledged = Arc::clone(&acknowledged);
        let core = context.pins.deal();
        thread::spawn(move || {
            pin(core)?;
            let outcome = worker::run(task, meter)?;
            acknowledged.fetch_add(outcome.acknowledged, Ordering::Relaxed);
            Ok(outcome)
        })
    });
    let threads = threads.collect();
    Running { threads, acknowledged }
}

/// Waits for the threads and takes down how they ended.
pub fn join(running: Running, outcome: &mut Outcome) {
    for thread in running.threads {
        match thread.join() {
            Ok(Ok(worker)) => {
                let sent = [Role::Produce].into_iter();
                for role in sent.chain(worker.transactions.is_some().then_some(Role::Transaction)) {
                    let ended = outcome.ended.entry(role).or_default();
                    *ended = worker.last_answer.max(*ended);
                }
                if let Some(counted) = worker.transactions {
                    outcome.transactions.get_or_insert_default().add(counted);
                }
                outcome.problems.extend(worker.problem);
                outcome.unsent += worker.unsent;
                outcome.left += worker.left;
                outcome.last_intended = outcome.last_intended.max(worker.last_intended);
            }
            Ok(Err(error)) => outcome.problems.push(error.to_string()),
            Err(_) => outcome.problems.push("a sending thread panicked".into()),
        }
    }
}

/// A number that no other run has.
fn random() -> std::io::Result<u64> {
    let mut bytes = [0u8; 8];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(u64::from_ne_bytes(bytes))
}
