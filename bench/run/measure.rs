//! One run: its workers started, followed and waited for.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use super::produce::How;
use super::reporter::Reporter;
use super::{Context, Outcome, Stop, consume, group, idle, produce};
use crate::args::{CommonArgs, LoadArgs, MixedArgs, Mode};
use crate::client::admin::Admin;
use crate::clock::{Clock, Nanos, SECOND};
use crate::consume::worker::Until;
use crate::pin::Pins;
use crate::resources::Watch;
use crate::stats::Role;
use crate::writes::Writes;

/// Longest time without a further record, once all have been acknowledged, before readers give up.
const SILENCE_MAX: Nanos = 10 * SECOND;

/// Descriptors beside those of the connections: files, epolls, what the process had.
const DESCRIPTORS_SPARE: u64 = 100;

/// A run that has ended.
#[derive(Debug)]
pub struct Measured {
    /// What it was.
    pub mode: Mode,
    /// When it started.
    pub started: SystemTime,
    /// The same, of its clock.
    pub start: Nanos,
    /// What its workers counted.
    pub reporter: Reporter,
    /// How they ended.
    pub outcome: Outcome,
    /// Records of unknown outcome are expected, since lost connections are.
    pub survives: bool,
}

/// A reader that is to receive everything that is acknowledged.
struct Expecting {
    role: Role,
    until: Until,
    /// Records that were there before the run.
    before: u64,
}

/// Runs a mode, but for those that are several runs.
///
/// # Errors
/// What kept it from running.
pub fn measure(mode: &Mode, stop: &Stop, quiet: bool) -> Result<Measured, String> {
    let common = mode.shared().0;
    idle::allow_descriptors(descriptors(mode) + DESCRIPTORS_SPARE)?;
    let mut context = Context {
        clock: Clock::start(),
        admin: Admin::new(&common.bootstrap),
        common: common.clone(),
        pins: Pins::new(&common.pin),
        stop: Arc::clone(stop),
        start: 0,
    };
    let started = SystemTime::now();
    let mut reporter = Reporter::new(quiet, common.hlog.as_deref())?;
    let mut outcome = Outcome { rate: mode.shared().1.map_or(0, |load| load.rate), ..Outcome::default() };
    let mut survives = false;
    let broker_pid = if let Mode::Produce(args) = mode { args.broker_pid } else { None };
    let resources = Watch::begin(&common.bootstrap, broker_pid);
    match mode {
        Mode::Produce(args) => {
            survives = args.reconnect;
            let how = How {
                ack_log: args.ack_log.as_deref(),
                reconnect: args.reconnect,
                transactions: Some(&args.transactions),
            };
            let prepared = produce::prepare(&mut context, &args.load, how)?;
            let writes = Writes::begin(&common.bootstrap, args.broker_pid);
            outcome.planned_end = prepared.planned_end(common);
            let running = produce::start(&mut context, prepared, &mut reporter);
            reporter.follow();
            produce::join(running, &mut outcome);
            outcome.written = writes.and_then(|writes| writes.end());
        }
        Mode::Connections(args) => {
            let topology = produce::topology(&context, &args.load)?;
            let mut held = idle::Idle::open(&topology, args.idle, stop)?;
            // The schedule begins when the connections are there.
            let prepared = produce::prepare(&mut context, &args.load, How::default())?;
            outcome.planned_end = prepared.planned_end(common);
            let running = produce::start(&mut context, prepared, &mut reporter);
            reporter.follow();
            produce::join(running, &mut outcome);
            let found = held.check();
            if found.lost > 0 {
                outcome.problems.push(format!("{} idle connections were lost", found.lost));
            }
            outcome.idle = Some(found);
        }
        Mode::Consume(args) if args.group.is_some() => {
            let running = group::start(&mut context, args, &mut reporter)?;
            reporter.follow();
            running.join(&mut outcome);
        }
        Mode::Consume(args) => {
            let prepared = consume::prepare(&mut context, args)?;
            let running = consume::start(&mut context, prepared, Role::Consume, &mut reporter);
            reporter.follow();
            consume::join(running, &mut outcome);
        }
        Mode::E2e(args) => together(&mut context, &args.load, None, &mut reporter, &mut outcome)?,
        Mode::Mixed(args) => together(&mut context, &args.load, Some(args), &mut reporter, &mut outcome)?,
        Mode::Sweep(_) => return Err("a sweep is several runs".into()),
    }
    reporter.finish()?;
    // Whoever interrupts a run ends its schedule where it is, and so does what went wrong.
    outcome.planned_end =
        outcome.planned_end.filter(|_| !stop.load(Ordering::Relaxed) && outcome.problems.is_empty());
    let moved = reporter.roles().filter_map(|role| reporter.total(role)).map(|counts| counts.bytes).sum();
    outcome.resources = Some(resources.end(moved));
    Ok(Measured { mode: mode.clone(), started, start: context.start, reporter, outcome, survives })
}

/// Descriptors that the connections of a mode take, roughly: per role as many as it says, to each of few leaders.
fn descriptors(mode: &Mode) -> u64 {
    let CommonArgs { connections, threads, .. } = mode.shared().0;
    let each = u64::from(*connections) + u64::from(*threads);
    match mode {
        Mode::Produce(_) | Mode::Sweep(_) => each,
        Mode::Connections(args) => each + u64::from(args.idle),
        Mode::Consume(args) => each + 2 * u64::from(args.members),
        Mode::E2e(_) => 2 * each,
        Mode::Mixed(args) => each * (1 + u64::from(args.tails) + u64::from(args.catch_up)),
    }
}

/// Producers and readers at once: those of `mixed`, else one that reads the tail.
fn together(
    context: &mut Context,
    load: &LoadArgs,
    mixed: Option<&MixedArgs>,
    reporter: &mut Reporter,
    outcome: &mut Outcome,
) -> Result<(), String> {
    let produced = produce::prepare(context, load, How::default())?;
    outcome.planned_end = produced.planned_end(&context.common);
    let mut expecting = Vec::new();
    let mut readers = Vec::new();
    let tails = mixed.map_or(vec![Role::Consume], |args| (1..=args.tails).map(Role::Tail).collect());
    for role in tails {
        let until = consume::until_told(context);
        readers.push((
            role,
            consume::prepare_tail(context, &produced, until.clone(), mixed.is_some_and(|m| m.skip_deleted))?,
        ));
        expecting.push(Expecting { role, until, before: 0 });
    }
    for role in (1..=mixed.map_or(0, |args| args.catch_up)).map(Role::CatchUp) {
        let (until, args) = (consume::until_told(context), mixed.expect("has catch-up consumers"));
        let (prepared, before) = consume::prepare_catch_up(context, &produced, until.clone(), args)?;
        readers.push((role, prepared));
        expecting.push(Expecting { role, until, before });
    }
    let readers: Vec<_> = readers
        .into_iter()
        .map(|(role, prepared)| consume::start(context, prepared, role, reporter))
        .collect();
    let writers = produce::start(context, produced, reporter);
    let watch = watch(context, writers, expecting);
    reporter.follow();
    outcome.add(watch.join().map_err(|_| "the watching thread panicked")?);
    readers.into_iter().for_each(|running| consume::join(running, outcome));
    Ok(())
}

/// Waits for the senders; tells the readers how much is to come and stops them when nothing comes any more. What
/// was acknowledged has to arrive.
fn watch(context: &Context, writers: produce::Running, readers: Vec<Expecting>) -> JoinHandle<Outcome> {
    let (clock, stop) = (context.clock, Arc::clone(&context.stop));
    thread::spawn(move || {
        let acknowledged = Arc::clone(&writers.acknowledged);
        let mut outcome = Outcome::default();
        produce::join(writers, &mut outcome);
        for reader in &readers {
            let all = acknowledged.load(Ordering::Relaxed) + reader.before;
            reader.until.enough.store(all, Ordering::Relaxed);
        }
        let received = || readers.iter().map(|r| r.until.received.load(Ordering::Relaxed)).sum::<u64>();
        let missing = |r: &Expecting| {
            r.until.enough.load(Ordering::Relaxed).saturating_sub(r.until.received.load(Ordering::Relaxed))
        };
        let (mut last, mut since) = (received(), clock.now());
        while readers.iter().any(|reader| missing(reader) > 0) && !stop.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(20));
            let now = received();
            if now != last {
                (last, since) = (now, clock.now());
            } else if clock.now() - since > SILENCE_MAX {
                for reader in readers.iter().filter(|reader| missing(reader) > 0) {
                    let missing = missing(reader);
                    outcome
                        .problems
                        .push(format!("{}: {missing} acknowledged records did not arrive", reader.role));
                }
                readers.iter().for_each(|reader| reader.until.enough.store(0, Ordering::Relaxed));
                break;
            }
        }
        outcome
    })
}
