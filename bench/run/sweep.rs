//! A sweep: one run after the other, at the rates that the search asks for.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::measure::{Measured, measure};
use super::{Stop, result};
use crate::args::{E2eArgs, Mode, ProduceArgs, SweepArgs, TransactionArgs};
use crate::report::json::{SweepPoint, summary};
use crate::report::table;
use crate::stats::Role;
use crate::sweep::Search;

/// First rate, if `--rate` does not say one: far below what any broker can do.
const FIRST_RATE: u64 = 1000;

/// How long each rate is held, if `--duration` does not say it.
const STEP: Duration = Duration::from_secs(5);

/// Runs a sweep to its end. `Ok(false)`: something was wrong that was not the rate.
///
/// # Errors
/// What kept a run from running.
pub fn run(args: &SweepArgs, mode: &Mode, stop: &Stop) -> Result<bool, String> {
    let quiet = args.common.is_quiet();
    let first = if args.load.rate > 0 { args.load.rate } else { FIRST_RATE };
    let mut search = Search::new(first, args.factor, args.precision / 100.0);
    let mut points: Vec<SweepPoint> = Vec::new();
    let mut best: Option<Measured> = None;
    if !quiet {
        println!("{}", table::point_heading());
    }
    // A first run pays for what later ones find done: the topic, warm caches, grown buffers.
    measure(&step_of(args, first), stop, true)?;
    while let Some(rate) = search.next_rate() {
        let step = measure(&step_of(args, rate), stop, true)?;
        if stop.load(Ordering::Relaxed) {
            return Err("interrupted".into());
        }
        let role = if args.end_to_end { Role::Consume } else { Role::Produce };
        let counts = step.reporter.total(role).cloned().unwrap_or_default();
        let validity =
            step.reporter.total(Role::Produce).and_then(|total| step.outcome.validity(total, step.start));
        let (achieved, target) =
            validity.as_ref().map_or((0.0, rate as f64), |v| (v.achieved_rate, v.target_rate));
        let valid = validity.is_some_and(|validity| validity.valid);
        let past = search.observe(valid, counts.latency.at(0.99));
        let point = SweepPoint {
            target_records_per_second: target,
            achieved_records_per_second: achieved,
            valid,
            past_knee: past,
            latency_us: summary(&counts.latency),
            service_us: summary(&counts.service),
            lateness_us: summary(&counts.lateness),
        };
        if !quiet {
            println!("{}", table::point(&point, &counts));
        }
        points.push(point);
        let others = step.problems().into_iter().filter(|problem| !is_overload(problem)).collect::<Vec<_>>();
        if !others.is_empty() {
            others.iter().for_each(|problem| eprintln!("error: at {rate} records/s: {problem}"));
            return Ok(false);
        }
        // The best run before the knee stands for the sweep.
        if !past && best.as_ref().is_none_or(|best| best.outcome.rate < rate) {
            best = Some(step);
        }
    }
    let Some(mut best) = best else {
        return Err(format!("the first rate, {first} records/s, was not achieved: begin lower with --rate"));
    };
    if !quiet {
        println!("{}", table::knee(search.knee().unwrap_or_default(), search.is_bounded()));
    }
    best.mode = mode.clone();
    points.sort_by(|a, b| a.target_records_per_second.total_cmp(&b.target_records_per_second));
    result::report(&best, points, quiet)
}

/// What a rate that is too high does to a run; anything else is a fault.
fn is_overload(problem: &str) -> bool {
    problem.starts_with("INVALID")
        || problem.ends_with("never left")
        || problem.ends_with("of unknown outcome")
}

fn step_of(args: &SweepArgs, rate: u64) -> Mode {
    let (mut common, mut load) = (args.common.clone(), args.load.clone());
    common.duration.get_or_insert(STEP);
    (common.json, common.hlog, common.hgrm, common.html) = (None, None, None, None);
    load.rate = rate;
    if args.end_to_end {
        return Mode::E2e(E2eArgs { common, load });
    }
    let transactions = TransactionArgs::default();
    Mode::Produce(ProduceArgs {
        common,
        load,
        ack_log: None,
        broker_pid: None,
        reconnect: false,
        transactions,
    })
}
