//! The reading side of a run: its partitions, its workers, and what they found.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use super::produce;
use super::reporter::Reporter;
use super::{Context, Outcome};
use crate::ack_log::{self, AckVerifier};
use crate::args::{ConsumeArgs, MixedArgs, Start};
use crate::client::admin::{Isolation, Topology};
use crate::clock::Nanos;
use crate::consume::pace::Pace;
use crate::consume::partition::Partition;
use crate::consume::worker::{self, Task, Until};
use crate::payload;
use crate::pin::pin;
use crate::stats::{Meter, Role};
use crate::verify::PartitionVerifier;

/// ListOffsets: the offset of the first record.
pub(super) const EARLIEST: i64 = -2;
/// ListOffsets: the offset after the last record.
pub(super) const LATEST: i64 = -1;

/// Workers that are ready to start.
#[derive(Debug)]
pub struct Prepared {
    tasks: Vec<Task>,
}

/// Workers that have started.
#[derive(Debug)]
pub struct Running {
    role: Role,
    threads: Vec<JoinHandle<std::io::Result<worker::Outcome>>>,
}

/// When reading ends, by the command line.
pub fn until(context: &Context, stop_at: Option<Nanos>) -> Until {
    Until {
        received: Arc::new(AtomicU64::new(0)),
        enough: Arc::new(AtomicU64::new(context.common.records.unwrap_or(u64::MAX))),
        stop_at,
        stop: Arc::clone(&context.stop),
    }
}

/// Reading ends when somebody says how much is enough.
pub fn until_told(context: &Context) -> Until {
    let until = until(context, None);
    until.enough.store(u64::MAX, Ordering::Relaxed);
    until
}

/// For `consume`.
///
/// # Errors
/// The cluster cannot be asked, a file cannot be read or written.
pub fn prepare(context: &mut Context, args: &ConsumeArgs) -> Result<Prepared, String> {
    let common = context.common.clone();
    let admin = &context.admin;
    let topology = admin.topology(&common.topic, None).map_err(|e| e.to_string())?;
    let first = admin.offsets(&topology, EARLIEST).map_err(|e| e.to_string())?;
    let end = admin.offsets_seen(&topology, LATEST, args.isolation).map_err(|e| e.to_string())?;
    let count = topology.leaders.len();
    let mut lines = if common.payload_file.is_empty() {
        vec![None; count]
    } else {
        payload::load(&common.payload_file, u32::try_from(count).unwrap_or(u32::MAX))?
    };
    let acks = if args.verify_acks.is_empty() { None } else { Some(ack_log::read(&args.verify_acks)?) };
    // Without a limit of its own, a run from the beginning reads what is there now.
    let bounded = args.from == Start::Beginning && common.duration.is_none() && common.records.is_none();
    let mut partitions = Vec::with_capacity(count);
    for (index, (first, end)) in first.into_iter().zip(end).enumerate() {
        let number = i32::try_from(index).unwrap_or(i32::MAX);
        let start = if args.from == Start::Beginning { first } else { end };
        let mut verifier = PartitionVerifier::new(number, start, start == 0);
        if let Some(lines) = lines[index].take() {
            verifier = verifier.expect_lines(lines);
        }
        if acks.is_some() {
            // What was never acknowledged may be missing; the acknowledgements are the judge.
            verifier = verifier.tolerate_stream_gaps();
        }
        let mut partition =
            Partition::new(number, start, bounded.then_some(end), verifier).seen(args.isolation);
        partition.acks = acks.as_ref().map(|acks| AckVerifier::new(number.unsigned_abs(), acks));
        partition.output = args.output.as_deref().map(|path| output(path, index, count)).transpose()?;
        partitions.push(partition);
    }
    if let Some(lost) = acks.iter().flatten().find(|ack| ack.partition as usize >= count) {
        return Err(format!("partition {} was acknowledged and is not there", lost.partition));
    }
    context.start = context.clock.now();
    let stop_at =
        common.duration.map(|d| context.start + Nanos::try_from(d.as_nanos()).unwrap_or(Nanos::MAX / 4));
    let until = until(context, stop_at);
    let (pace, isolation) = (Pace::new(args.rate, context.start), args.isolation);
    let reading = Reading { until, pace, isolation, skips_deleted: args.skip_deleted };
    Ok(Prepared { tasks: deal(context, partitions, &topology, &reading) })
}

/// For readers of what is being written: from the end, and records of that run only.
///
/// # Errors
/// The cluster cannot be asked.
pub fn prepare_tail(
    context: &Context,
    produced: &produce::Prepared,
    until: Until,
    skips_deleted: bool,
) -> Result<Prepared, String> {
    let topology = &produced.topology;
    let end = context.admin.offsets(topology, LATEST).map_err(|e| e.to_string())?;
    let partitions = (0..).zip(end).map(|(index, end)| {
        let verifier = PartitionVerifier::new(index, end, true).expect_run(produced.plan.run);
        Partition::new(index, end, None, verifier)
    });
    let isolation = Isolation::ReadUncommitted;
    let reading = Reading { until, pace: None, isolation, skips_deleted };
    Ok(Prepared { tasks: deal(context, partitions.collect(), topology, &reading) })
}

/// For readers from the beginning, while the run writes. Also returns how many records lie before it.
///
/// # Errors
/// The cluster cannot be asked.
pub fn prepare_catch_up(
    context: &Context,
    produced: &produce::Prepared,
    until: Until,
    args: &MixedArgs,
) -> Result<(Prepared, u64), String> {
    let topology = &produced.topology;
    let first = context.admin.offsets(topology, EARLIEST).map_err(|e| e.to_string())?;
    let end = context.admin.offsets(topology, LATEST).map_err(|e| e.to_string())?;
    let before = first.iter().zip(&end).map(|(first, end)| end.abs_diff(*first)).sum();
    let partitions = (0..).zip(first).map(|(index, first)| {
        Partition::new(index, first, None, PartitionVerifier::new(index, first, first == 0))
    });
    let pace = Pace::new(args.catch_up_rate, context.start);
    let isolation = Isolation::ReadUncommitted;
    let reading = Reading { until, pace, isolation, skips_deleted: args.skip_deleted };
    Ok((Prepared { tasks: deal(context, partitions.collect(), topology, &reading) }, before))
}

/// How a reader reads.
struct Reading {
    until: Until,
    pace: Option<Pace>,
    isolation: Isolation,
    skips_deleted: bool,
}

fn output(path: &Path, index: usize, count: usize) -> Result<BufWriter<File>, String> {
    let mut name = path.as_os_str().to_owned();
    if count > 1 {
        name.push(format!(".{index}"));
    }
    let name = PathBuf::from(name);
    File::create(&name).map(BufWriter::new).map_err(|e| format!("{}: {e}", name.display()))
}

/// Deals partitions to threads, and connections to them.
fn deal(context: &Context, partitions: Vec<Partition>, topology: &Topology, reading: &Reading) -> Vec<Task> {
    let threads = context.common.threads.min(context.common.connections).max(1);
    let mut by_thread: Vec<Vec<Partition>> = (0..threads).map(|_| Vec::new()).collect();
    for (index, partition) in partitions.into_iter().enumerate() {
        by_thread[index % threads as usize].push(partition);
    }
    let mut leaders: Vec<&str> = topology.leaders.iter().map(String::as_str).collect();
    leaders.sort_unstable();
    leaders.dedup();
    let slots = (context.common.connections / threads / leaders.len().max(1) as u32).max(1);
    let task = |partitions| Task {
        clock: context.clock,
        partitions,
        slots,
        topology: topology.clone(),
        admin: context.admin.clone(),
        until: reading.until.clone(),
        pace: reading.pace.map(|pace| pace.shared_by(threads)),
        isolation: reading.isolation,
        skips_deleted: reading.skips_deleted,
        positions: None,
    };
    by_thread.into_iter().filter(|p| !p.is_empty()).map(task).collect()
}

/// Starts the threads.
pub fn start(context: &mut Context, prepared: Prepared, role: Role, reporter: &mut Reporter) -> Running {
    let threads = prepared.tasks.into_iter().map(|task| {
        let meter = Meter::new(role, context.start, reporter.add_worker(role));
        let core = context.pins.deal();
        thread::spawn(move || {
            pin(core)?;
            worker::run(task, meter)
        })
    });
    Running { role, threads: threads.collect() }
}

/// Waits for the threads and takes down what they found.
pub fn join(running: Running, outcome: &mut Outcome) {
    for thread in running.threads {
        match thread.join() {
            Ok(Ok(worker)) => take(running.role, worker, outcome),
            Ok(Err(error)) => outcome.problems.push(error.to_string()),
            Err(_) => outcome.problems.push("a reading thread panicked".into()),
        }
    }
}

/// Takes down what a reader's worker found.
pub fn take(role: Role, worker: worker::Outcome, outcome: &mut Outcome) {
    let ended = outcome.ended.entry(role).or_default();
    *ended = worker.last_record.max(*ended);
    // A reader has caught up when the last of its workers has.
    if let Some(at) = worker.caught_up {
        let caught_up = outcome.caught_up.entry(role).or_default();
        *caught_up = at.max(*caught_up);
    }
    let partitions = outcome.partitions.entry(role).or_default();
    for (index, progress) in worker.partitions {
        partitions.entry(index).or_default().add(progress);
    }
    outcome.problems.extend(worker.problem);
    outcome.verdict.get_or_insert_default().add(worker.verdict);
    if let Some(acks) = worker.acks {
        outcome.acks.get_or_insert_default().add(acks);
    }
}
