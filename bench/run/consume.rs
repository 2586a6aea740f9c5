//! The reading side of a run: its partitions, its workers, and what they found.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::{self, JoinHandle};

use super::produce;
use super::reporter::Reporter;
use super::{Context, Outcome};
use crate::ack_log::{self, AckVerifier};
use crate::args::{ConsumeArgs, Start};
use crate::client::admin::Topology;
use crate::clock::Nanos;
use crate::consume::partition::Partition;
use crate::consume::worker::{self, Task, Until};
use crate::payload;
use crate::pin::pin;
use crate::stats::{Meter, Role};
use crate::verify::PartitionVerifier;

/// ListOffsets: the offset of the first record.
const EARLIEST: i64 = -2;
/// ListOffsets: the offset after the last record.
const LATEST: i64 = -1;

/// Workers that are ready to start.
#[derive(Debug)]
pub struct Prepared {
    tasks: Vec<Task>,
}

/// Workers that have started.
#[derive(Debug)]
pub struct Running {
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

/// For `consume`.
///
/// # Errors
/// The cluster cannot be asked, a file cannot be read or written.
pub fn prepare(context: &mut Context, args: &ConsumeArgs) -> Result<Prepared, String> {
    let common = context.common.clone();
    let admin = &context.admin;
    let topology = admin.topology(&common.topic, None).map_err(|e| e.to_string())?;
    let first = admin.offsets(&topology, EARLIEST).map_err(|e| e.to_string())?;
    let end = admin.offsets(&topology, LATEST).map_err(|e| e.to_string())?;
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
        let mut partition = Partition::new(number, start, bounded.then_some(end), verifier);
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
    Ok(Prepared { tasks: deal(context, partitions, &topology, until) })
}

/// For `e2e`: from the end, and records of that run only.
///
/// # Errors
/// The cluster cannot be asked.
pub fn prepare_tail(
    context: &Context,
    produced: &produce::Prepared,
    until: Until,
) -> Result<Prepared, String> {
    let topology = &produced.topology;
    let end = context.admin.offsets(topology, LATEST).map_err(|e| e.to_string())?;
    let partitions = (0..).zip(end).map(|(index, end)| {
        let verifier = PartitionVerifier::new(index, end, true).expect_run(produced.plan.run);
        Partition::new(index, end, None, verifier)
    });
    Ok(Prepared { tasks: deal(context, partitions.collect(), topology, until) })
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
fn deal(context: &Context, partitions: Vec<Partition>, topology: &Topology, until: Until) -> Vec<Task> {
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
        until: until.clone(),
    };
    by_thread.into_iter().filter(|p| !p.is_empty()).map(task).collect()
}

/// Starts the threads.
pub fn start(context: &mut Context, prepared: Prepared, reporter: &mut Reporter) -> Running {
    let threads = prepared.tasks.into_iter().map(|task| {
        let meter = Meter::new(Role::Consume, context.start, reporter.add_worker(Role::Consume));
        let core = context.pins.deal();
        thread::spawn(move || {
            pin(core)?;
            worker::run(task, meter)
        })
    });
    Running { threads: threads.collect() }
}

/// Waits for the threads and takes down what they found.
pub fn join(running: Running, outcome: &mut Outcome) {
    for thread in running.threads {
        match thread.join() {
            Ok(Ok(worker)) => {
                let ended = outcome.ended.entry(Role::Consume).or_default();
                *ended = worker.last_record.max(*ended);
                outcome.problems.extend(worker.problem);
                outcome.verdict.get_or_insert_default().add(worker.verdict);
                if let Some(acks) = worker.acks {
                    outcome.acks.get_or_insert_default().add(acks);
                }
            }
            Ok(Err(error)) => outcome.problems.push(error.to_string()),
            Err(_) => outcome.problems.push("a reading thread panicked".into()),
        }
    }
}
