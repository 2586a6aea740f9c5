//! How a run is put together: ask the cluster, start the workers, report while they work, judge at the end.
//!
//! [`produce`] and [`consume`] make their side's workers, [`measure`] starts what a mode needs of them and waits,
//! [`group`] reads as a consumer group, [`idle`] holds connections; [`reporter`] gathers what the workers hand over
//! and knows when all have ended; [`result`] judges, shows and writes. [`sweep`] and workload files are many runs.

mod consume;
mod group;
mod idle;
pub mod measure;
mod produce;
mod reporter;
mod result;
mod settings;
mod sweep;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::ack_log::AckVerdict;
use crate::args::{CommonArgs, Mode, RunArgs};
use crate::client::admin::Admin;
use crate::clock::{Clock, Nanos, SECOND};
use crate::consume::partition::Received;
use crate::pin::Pins;
use crate::produce::worker::coordination::Counted;
use crate::report::json::IdleConnections;
use crate::resources::Resources;
use crate::stats::{Counts, Role};
use crate::validity::{self, Offered, Validity};
use crate::verify::Verdict;
use crate::workload;

/// How long a run with neither `--duration`, `--records` nor `--payload-file` sends.
const DURATION_DEFAULT: Nanos = 10 * SECOND;

/// Time between a run's set-up and its first intended send.
const LEAD: Nanos = 50_000_000;

/// Set by SIGINT and SIGTERM.
pub type Stop = Arc<AtomicBool>;

/// What both sides are given.
#[derive(Debug)]
struct Context {
    clock: Clock,
    admin: Admin,
    common: CommonArgs,
    pins: Pins,
    /// Set by SIGINT and SIGTERM, and when nothing arrives any more.
    stop: Stop,
    /// When records are sent from, and intervals counted.
    start: Nanos,
}

/// What a run has come to.
#[derive(Debug, Default)]
pub struct Outcome {
    problems: Vec<String>,
    verdict: Option<Verdict>,
    acks: Option<AckVerdict>,
    /// Records that were due and never left.
    unsent: u64,
    /// Records that were due and had not left when the run was stopped from outside.
    left: u64,
    /// When the last record was meant to leave.
    last_intended: Nanos,
    /// Records per second that were asked for; 0 in a closed loop.
    rate: u64,
    /// When the schedule ends, if time ends it and nothing else did.
    planned_end: Option<Nanos>,
    pub ended: BTreeMap<Role, Nanos>,
    /// When each reader first had all there was.
    caught_up: BTreeMap<Role, Nanos>,
    /// What each reader received of each partition.
    partitions: BTreeMap<Role, BTreeMap<i32, Received>>,
    /// How transactions ended, if there were any.
    transactions: Option<Counted>,
    /// What the run cost.
    resources: Option<Resources>,
    /// What the broker wrote to its disk, if that could be seen.
    written: Option<u64>,
    idle: Option<IdleConnections>,
}

impl Outcome {
    /// Whether an open loop was the load that was asked for.
    fn validity(&self, total: &Counts, start: Nanos) -> Option<Validity> {
        let gap = SECOND.checked_div(self.rate)?;
        Some(validity::judge(&Offered {
            records: total.records + total.failed + total.unknown + self.left + self.unsent,
            // The last record's share of the time lies behind it.
            span: self.planned_end.unwrap_or(self.last_intended + gap).saturating_sub(start),
            acknowledged: total.records,
            elapsed: self.ended.get(&Role::Produce).map_or(0, |ended| ended.saturating_sub(start)),
        }))
    }

    /// Bytes written to the broker's disk for each byte of acknowledged batches.
    fn write_amplification(&self, total: &Counts) -> Option<f64> {
        let written = self.written.filter(|_| total.batch_bytes > 0)?;
        Some(written as f64 / total.batch_bytes as f64)
    }

    /// Adds what a thread that worked aside has come to.
    fn add(&mut self, other: Self) {
        self.problems.extend(other.problems);
        self.unsent += other.unsent;
        self.left += other.left;
        self.last_intended = self.last_intended.max(other.last_intended);
        // A role has ended, and has caught up, when the last of its threads has.
        for (own, its) in [(&mut self.ended, other.ended), (&mut self.caught_up, other.caught_up)] {
            for (role, at) in its {
                let last = own.entry(role).or_default();
                *last = at.max(*last);
            }
        }
        for (role, partitions) in other.partitions {
            let own = self.partitions.entry(role).or_default();
            for (index, received) in partitions {
                own.entry(index).or_default().add(received);
            }
        }
        if let Some(verdict) = other.verdict {
            self.verdict.get_or_insert_default().add(verdict);
        }
        if let Some(acks) = other.acks {
            self.acks.get_or_insert_default().add(acks);
        }
    }
}

/// Runs a mode to its end. `Ok(false)`: it ran, and something was wrong.
///
/// # Errors
/// What kept it from running.
pub fn run(mode: &Mode) -> Result<bool, String> {
    run_one(mode, &listen_to_signals()?)
}

fn run_one(mode: &Mode, stop: &Stop) -> Result<bool, String> {
    match mode {
        Mode::Sweep(args) => sweep::run(args, mode, stop),
        _ => {
            let quiet = mode.shared().0.is_quiet();
            result::report(&measure::measure(mode, stop, quiet)?, Vec::new(), quiet)
        }
    }
}

/// Does the runs of a workload file, one after the other, until one fails.
///
/// # Errors
/// A file that cannot be read or means nothing; what kept a run from running.
pub fn run_workload(args: &RunArgs) -> Result<bool, String> {
    let failed = |why: String| format!("{}: {why}", args.file.display());
    let text = std::fs::read_to_string(&args.file).map_err(|e| failed(e.to_string()))?;
    let workload = workload::parse(&text, &args.set).map_err(failed)?;
    let stop = listen_to_signals()?;
    let several = workload.runs.len() > 1;
    for (nth, mut mode) in (1..).zip(workload.runs) {
        let (name, common) = (mode.name(), mode.common_mut());
        if !common.is_quiet() {
            println!("{}, run {nth}: {name}", workload.about);
        }
        if several {
            for path in [&mut common.json, &mut common.hlog, &mut common.hgrm, &mut common.html] {
                *path = path.take().map(|path| numbered(&path, nth));
            }
        }
        if !run_one(&mode, &stop)? {
            return Ok(false);
        }
        if stop.load(Ordering::Relaxed) {
            return Err("interrupted".into());
        }
    }
    Ok(true)
}

/// `result.json` of run 2 is `result.2.json`; stdout stays what it is.
fn numbered(path: &Path, nth: usize) -> PathBuf {
    match path.extension() {
        Some(extension) => path.with_extension(format!("{nth}.{}", extension.display())),
        None if path.as_os_str() == "-" => path.to_owned(),
        None => path.with_extension(nth.to_string()),
    }
}

fn listen_to_signals() -> Result<Stop, String> {
    let stop = Stop::default();
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // The second signal ends the process at once.
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))
            .map_err(|e| e.to_string())?;
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(|e| e.to_string())?;
    }
    Ok(stop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_has_ended_when_the_last_of_its_threads_has() {
        let ended = |at| Outcome {
            ended: [(Role::Consume, at)].into(),
            caught_up: [(Role::Consume, at + 1)].into(),
            ..Outcome::default()
        };
        let mut all = Outcome::default();
        // The last one was dealt no partition, and never had a record.
        [5, 9, 0].into_iter().for_each(|at| all.add(ended(at)));
        assert_eq!((all.ended[&Role::Consume], all.caught_up[&Role::Consume]), (9, 10));
    }

    #[test]
    fn results_of_several_runs_go_to_files_of_their_own() {
        let name = |text: &str| numbered(Path::new(text), 2).display().to_string();
        assert_eq!(name("a/b.json"), "a/b.2.json");
        assert_eq!(name("-"), "-");
        assert_eq!(name("plain"), "plain.2");
    }
}
