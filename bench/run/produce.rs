//! The sending side of a run: the plan, its workers, and how they ended.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use super::reporter::Reporter;
use super::{Context, DURATION_DEFAULT, LEAD, Outcome};
use crate::ack_log::AckLogWriter;
use crate::args::LoadArgs;
use crate::client::admin::Topology;
use crate::clock::Nanos;
use crate::payload;
use crate::produce::plan::{self, Plan, Seat, Source};
use crate::produce::worker::{self, Task};
use crate::schedule::Schedule;
use crate::stats::{Meter, Role};

/// Workers that are ready to start.
#[derive(Debug)]
pub struct Prepared {
    /// What they share.
    pub plan: Arc<Plan>,
    /// Who leads what.
    pub topology: Topology,
    tasks: Vec<Task>,
}

/// Workers that have started.
#[derive(Debug)]
pub struct Running {
    threads: Vec<JoinHandle<std::io::Result<worker::Outcome>>>,
    /// Records acknowledged, complete once all threads have ended.
    pub acknowledged: Arc<AtomicU64>,
}

/// Creates the topic if needed, and deals its partitions to streams, connections and threads.
///
/// # Errors
/// The cluster cannot be asked, a file cannot be read or written.
pub fn prepare(
    context: &mut Context,
    load: &LoadArgs,
    ack_log: Option<&Path>,
    reconnect: bool,
) -> Result<Prepared, String> {
    let common = &context.common;
    let topology = context.admin.topology(&common.topic, Some(load.partitions)).map_err(|e| e.to_string())?;
    if let Some(path) = ack_log {
        AckLogWriter::prepare(path).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    let partitions = u32::try_from(topology.leaders.len()).unwrap_or(u32::MAX);
    let source = if common.payload_file.is_empty() {
        Source::Synthetic(load.record_size)
    } else {
        Source::Lines(payload::load(&common.payload_file, partitions)?)
    };
    let lines = |partition: i32| match &source {
        Source::Synthetic(_) => None,
        Source::Lines(all) => {
            let own = usize::try_from(partition).ok().and_then(|p| all[p].as_ref());
            Some(own.map_or(0, payload::Lines::len))
        }
    };
    let mut seats = plan::seats(&topology.leaders, common.connections, lines(0).is_some());
    // A partition without lines has nothing to send.
    seats.retain(|seat| lines(seat.partition) != Some(0));
    (0..).zip(&mut seats).for_each(|(n, seat)| seat.stream = n);
    let streams = seats.len() as u64;

    context.start = context.clock.now() + LEAD;
    let start = context.start;
    let once = lines(0).is_some() && common.duration.is_none() && common.records.is_none();
    let unlimited = common.records.is_none() && common.duration.is_none() && !once;
    let duration = common.duration.map(|d| Nanos::try_from(d.as_nanos()).unwrap_or(Nanos::MAX / 4));
    let duration = duration.or(unlimited.then_some(DURATION_DEFAULT));
    let schedule = (load.rate > 0).then(|| Schedule::new(start, load.rate, streams));
    let quota = |seat: &Seat| {
        let stream = u64::from(seat.stream);
        let by_records = common.records.map(|n| n / streams + u64::from(stream < n % streams));
        let by_lines = if once { lines(seat.partition) } else { None };
        // The last record that is due lies before the end, not at it.
        let by_time = schedule.zip(duration).map(|(s, d)| s.due(stream, start + d - 1));
        [by_records, by_lines, by_time].into_iter().flatten().min().unwrap_or(u64::MAX)
    };
    let seats: Vec<(Seat, u64)> = seats.iter().map(|seat| (*seat, quota(seat))).collect();
    let plan = Arc::new(Plan {
        clock: context.clock,
        topic: common.topic.clone(),
        run: random().map_err(|e| e.to_string())?,
        source,
        start,
        schedule,
        batch_bytes: load.batch_size,
        linger: (load.linger_ms * 1e6) as Nanos,
        acks: load.acks,
        codec: load.compression,
        in_flight_max: load.in_flight as usize,
        stop_at: duration.map(|d| start + d),
        reconnect,
    });

    // A connection, which is a leader and a slot, stays on one thread.
    let mut connections: Vec<(&str, u32)> = Vec::new();
    let mut by_thread: Vec<Vec<(Seat, u64)>> = vec![Vec::new(); common.threads as usize];
    for (seat, quota) in seats {
        let leader = usize::try_from(seat.partition).ok().and_then(|p| topology.leaders.get(p));
        let connection = (leader.map_or("", String::as_str), seat.slot);
        let number = connections.iter().position(|c| *c == connection).unwrap_or_else(|| {
            connections.push(connection);
            connections.len() - 1
        });
        by_thread[number % common.threads as usize].push((seat, quota));
    }
    let tasks = by_thread.into_iter().filter(|seats| !seats.is_empty()).map(|seats| Task {
        plan: Arc::clone(&plan),
        seats,
        topology: topology.clone(),
        admin: context.admin.clone(),
        ack_log: ack_log.map(Path::to_owned),
        stop: Arc::clone(&context.stop),
    });
    let tasks = tasks.collect();
    Ok(Prepared { plan, topology, tasks })
}

/// Starts the threads.
pub fn start(context: &Context, prepared: Prepared, reporter: &mut Reporter) -> Running {
    let acknowledged = Arc::new(AtomicU64::new(0));
    let threads = prepared.tasks.into_iter().map(|task| {
        let meter = Meter::new(Role::Produce, context.start, reporter.add_worker(Role::Produce));
        let acknowledged = Arc::clone(&acknowledged);
        thread::spawn(move || {
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
                let ended = outcome.ended.entry(Role::Produce).or_default();
                *ended = worker.last_answer.max(*ended);
                outcome.problems.extend(worker.problem);
                outcome.unsent += worker.unsent;
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
