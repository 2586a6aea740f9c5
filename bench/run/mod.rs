//! How a run is put together: ask the cluster, start the workers, report while they work, judge at the end.
//!
//! [`produce`] and [`consume`] make their side's workers; `e2e` starts both. [`reporter`] gathers what the
//! workers hand over and knows when all have ended.

mod consume;
mod produce;
mod reporter;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::ack_log::AckVerdict;
use crate::args::{CommonArgs, LoadArgs, Mode};
use crate::client::admin::Admin;
use crate::clock::{Clock, Nanos, SECOND};
use crate::pin::Pins;
use crate::report::json::{Document, SCHEMA_VERSION, Side};
use crate::report::read::Run;
use crate::report::{hgrm, html, table};
use crate::resources::{Resources, Watch};
use crate::stats::{Counts, Role};
use crate::validity::{self, Offered, Validity};
use crate::verify::Verdict;
use crate::writes::Writes;
use reporter::Reporter;

/// How long a run with neither `--duration`, `--records` nor `--payload-file` sends.
const DURATION_DEFAULT: Nanos = 10 * SECOND;

/// Time between a run's set-up and its first intended send.
const LEAD: Nanos = 50_000_000;

/// Longest time in e2e without a further record, once all have been acknowledged.
const E2E_SILENCE_MAX: Nanos = 10 * SECOND;

/// What both sides are given.
#[derive(Debug)]
struct Context {
    clock: Clock,
    admin: Admin,
    common: CommonArgs,
    pins: Pins,
    /// Set by SIGINT and SIGTERM, and when e2e gives up.
    stop: Arc<AtomicBool>,
    /// When records are sent from, and intervals counted.
    start: Nanos,
}

/// What a run has come to.
#[derive(Debug, Default)]
struct Outcome {
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
    ended: BTreeMap<Role, Nanos>,
    /// What the run cost.
    resources: Option<Resources>,
    /// What the broker wrote to its disk, if that could be seen.
    written: Option<u64>,
}

impl Outcome {
    /// Whether an open loop was the load that was asked for.
    fn validity(&self, total: &Counts, start: Nanos) -> Option<Validity> {
        let gap = SECOND.checked_div(self.rate)?;
        Some(validity::judge(&Offered {
            records: total.records + total.failed + total.unknown + self.left + self.unsent,
            // The last record's share of the time lies behind it.
            span: self.last_intended.saturating_sub(start) + gap,
            acknowledged: total.records,
            elapsed: self.ended.get(&Role::Produce).map_or(0, |ended| ended.saturating_sub(start)),
        }))
    }

    /// Bytes written to the broker's disk for each byte of acknowledged batches.
    fn write_amplification(&self, total: &Counts) -> Option<f64> {
        let written = self.written.filter(|_| total.batch_bytes > 0)?;
        Some(written as f64 / total.batch_bytes as f64)
    }
}

/// Runs a mode to its end. `Ok(false)`: it ran, and something was wrong.
///
/// # Errors
/// What kept it from running.
pub fn run(mode: &Mode) -> Result<bool, String> {
    let (name, common) = match mode {
        Mode::Produce(args) => ("produce", &args.common),
        Mode::Consume(args) => ("consume", &args.common),
        Mode::E2e(args) => ("e2e", &args.common),
    };
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // The second signal ends the process at once.
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&stop))
            .map_err(|e| e.to_string())?;
        signal_hook::flag::register(signal, Arc::clone(&stop)).map_err(|e| e.to_string())?;
    }
    let mut context = Context {
        clock: Clock::start(),
        admin: Admin::new(&common.bootstrap),
        common: common.clone(),
        pins: Pins::new(&common.pin),
        stop,
        start: 0,
    };
    let started = SystemTime::now();
    let quiet = common.is_quiet();
    let mut outcome = Outcome::default();
    let (settings, mut reporter);
    let broker_pid = if let Mode::Produce(args) = mode { args.broker_pid } else { None };
    let watch = Watch::begin(&common.bootstrap, broker_pid);
    match mode {
        Mode::Produce(args) => {
            let prepared =
                produce::prepare(&mut context, &args.load, args.ack_log.as_deref(), args.reconnect)?;
            outcome.rate = args.load.rate;
            settings = settings_of(common, Some(&args.load));
            reporter = Reporter::new(quiet, common.hlog.as_deref())?;
            let writes = Writes::begin(&common.bootstrap, args.broker_pid);
            let running = produce::start(&mut context, prepared, &mut reporter);
            reporter.follow();
            produce::join(running, &mut outcome);
            outcome.written = writes.and_then(|writes| writes.end());
        }
        Mode::Consume(args) => {
            let prepared = consume::prepare(&mut context, args)?;
            settings = settings_of(common, None);
            reporter = Reporter::new(quiet, common.hlog.as_deref())?;
            let running = consume::start(&mut context, prepared, &mut reporter);
            reporter.follow();
            consume::join(running, &mut outcome);
        }
        Mode::E2e(args) => {
            let produced = produce::prepare(&mut context, &args.load, None, false)?;
            outcome.rate = args.load.rate;
            let until = consume::until(&context, None);
            until.enough.store(u64::MAX, Ordering::Relaxed);
            let consumed = consume::prepare_tail(&context, &produced, until.clone())?;
            settings = settings_of(common, Some(&args.load));
            reporter = Reporter::new(quiet, common.hlog.as_deref())?;
            let readers = consume::start(&mut context, consumed, &mut reporter);
            let writers = produce::start(&mut context, produced, &mut reporter);
            let watch = watch_e2e(&context, writers, until);
            reporter.follow();
            let expected = watch.join().map_err(|_| "the watching thread panicked")?;
            outcome.problems.extend(expected.problems);
            outcome.ended.extend(expected.ended);
            (outcome.left, outcome.unsent) = (expected.left, expected.unsent);
            outcome.last_intended = expected.last_intended;
            consume::join(readers, &mut outcome);
            judge_e2e(&reporter, &mut outcome);
        }
    }
    reporter.finish()?;
    let moved = [Role::Produce, Role::Consume].into_iter().filter_map(|role| reporter.total(role));
    outcome.resources = Some(watch.end(moved.map(|counts| counts.bytes).sum()));
    let survives = matches!(mode, Mode::Produce(args) if args.reconnect);
    report(name, settings, started, &context, &reporter, &outcome, survives)
}

/// Waits for the senders; tells the readers how much is to come and stops them when nothing comes any more.
fn watch_e2e(
    context: &Context,
    writers: produce::Running,
    until: crate::consume::worker::Until,
) -> std::thread::JoinHandle<Outcome> {
    let (clock, stop) = (context.clock, Arc::clone(&context.stop));
    std::thread::spawn(move || {
        let acknowledged = Arc::clone(&writers.acknowledged);
        let mut outcome = Outcome::default();
        produce::join(writers, &mut outcome);
        until.enough.store(acknowledged.load(Ordering::Relaxed), Ordering::Relaxed);
        let (mut last, mut since) = (until.received.load(Ordering::Relaxed), clock.now());
        while last < until.enough.load(Ordering::Relaxed) {
            std::thread::sleep(std::time::Duration::from_millis(20));
            let received = until.received.load(Ordering::Relaxed);
            if received != last {
                (last, since) = (received, clock.now());
            } else if clock.now() - since > E2E_SILENCE_MAX {
                stop.store(true, Ordering::Relaxed);
                break;
            }
        }
        outcome
    })
}

/// In e2e, everything acknowledged has to arrive.
fn judge_e2e(reporter: &Reporter, outcome: &mut Outcome) {
    let records = |role| reporter.total(role).map_or(0, |counts| counts.records);
    let (sent, received) = (records(Role::Produce), records(Role::Consume));
    if received < sent {
        outcome.problems.push(format!("{} acknowledged records did not arrive", sent - received));
    }
}

fn report(
    mode: &str,
    settings: BTreeMap<&'static str, Value>,
    started: SystemTime,
    context: &Context,
    reporter: &Reporter,
    outcome: &Outcome,
    survives: bool,
) -> Result<bool, String> {
    let common = &context.common;
    let quiet = common.is_quiet();
    let mut problems = outcome.problems.clone();
    let side = |role: Role| {
        let total = reporter.total(role)?;
        let ended = outcome.ended.get(&role).copied().unwrap_or_default();
        Some((total, ended.saturating_sub(context.start).max(1)))
    };
    for role in [Role::Produce, Role::Consume] {
        let Some((total, elapsed)) = side(role) else { continue };
        problems.extend(problems_of(role, total, survives));
        if !quiet {
            print!("{}", table::summary(role, total, elapsed));
            if let Some(ratio) = total.compression_ratio() {
                print!("{}", table::compression(ratio));
            }
            if mode == "produce" {
                print!("{}", table::write_amplification(outcome.write_amplification(total)));
            }
        }
    }
    let validity = reporter.total(Role::Produce).and_then(|total| outcome.validity(total, context.start));
    // A run that survives lost connections cannot promise to have sent everything.
    if let Some(reason) =
        validity.as_ref().and_then(|validity| validity.reason.as_ref()).filter(|_| !survives)
    {
        problems.push(format!("INVALID: {reason}"));
    }
    if outcome.unsent > 0 && !survives {
        problems.push(format!("{} records were due and never left", outcome.unsent));
    }
    if let Some(verdict) = &outcome.verdict {
        if !quiet {
            print!("{}", table::verification(verdict));
        }
        if !verdict.is_clean() {
            problems.push("verification found violations".into());
        }
    }
    if let Some(acks) = &outcome.acks {
        if !quiet {
            print!("{}", table::acknowledgements(acks));
        }
        if !acks.is_clean() {
            problems.push("acknowledged records were not kept".into());
        }
    }
    problems.iter().for_each(|problem| eprintln!("error: {problem}"));
    if let Some(path) = &common.hgrm {
        let mut timed = [Role::Produce, Role::Consume].into_iter().filter_map(|role| reporter.total(role));
        // Of both sides the one that sees a record last.
        if let Some(total) = timed.next_back() {
            let text = hgrm::text(total.latency.histogram());
            std::fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()))?;
        }
    }
    if common.json.is_some() || common.html.is_some() {
        let document = Document {
            schema: "corelane-bench",
            schema_version: SCHEMA_VERSION,
            mode,
            settings,
            started_unix_ms: started.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64),
            ok: problems.is_empty(),
            problems: &problems,
            produce: side(Role::Produce).map(|(t, e)| Side::new(t, e, reporter.seconds(Role::Produce))),
            write_amplification: reporter.total(Role::Produce).and_then(|t| outcome.write_amplification(t)),
            consume: side(Role::Consume).map(|(t, e)| Side::new(t, e, reporter.seconds(Role::Consume))),
            validity,
            compression_ratio: reporter.total(Role::Produce).and_then(Counts::compression_ratio),
            verification: outcome.verdict.as_ref(),
            acknowledgements: outcome.acks.as_ref(),
            resources: outcome.resources.as_ref(),
        };
        let text = serde_json::to_string_pretty(&document).map_err(|e| e.to_string())?;
        if let Some(path) = &common.html {
            let mut run: Run = serde_json::from_str(&text).map_err(|e| e.to_string())?;
            run.name = mode.to_owned();
            html::write(path, &[run], None)?;
        }
        match &common.json {
            Some(_) if quiet => println!("{text}"),
            Some(path) => {
                std::fs::write(path, text + "\n").map_err(|e| format!("{}: {e}", path.display()))?;
            }
            None => {}
        }
    }
    Ok(problems.is_empty())
}

/// `survives`: records of unknown outcome are expected, since lost connections are.
fn problems_of(role: Role, total: &Counts, survives: bool) -> Vec<String> {
    let mut problems = Vec::new();
    if role == Role::Produce && total.failed > 0 {
        problems.push(format!("{} records were refused", total.failed));
    }
    if role == Role::Produce && total.unknown > 0 && !survives {
        problems.push(format!("{} records are of unknown outcome", total.unknown));
    }
    problems
}

fn settings_of(common: &CommonArgs, load: Option<&LoadArgs>) -> BTreeMap<&'static str, Value> {
    let mut settings = BTreeMap::from([
        ("bootstrap", json!(common.bootstrap)),
        ("topic", json!(common.topic)),
        ("connections", json!(common.connections)),
        ("threads", json!(common.threads)),
        ("duration", json!(common.duration.map(|d| d.as_secs_f64()))),
        ("records", json!(common.records)),
        ("pin", json!(common.pin)),
        ("payload-file", json!(common.payload_file)),
    ]);
    if let Some(load) = load {
        settings.extend([
            ("partitions", json!(load.partitions)),
            ("rate", json!(load.rate)),
            ("schedule", json!(format!("{:?}", load.schedule).to_lowercase())),
            ("record-size", json!(format!("{:?}", load.record_size).to_lowercase())),
            ("entropy", json!(load.entropy)),
            ("keys", json!(format!("{:?}", load.keys).to_lowercase())),
            ("by-record", json!(load.makes_records())),
            ("idempotent", json!(load.idempotent)),
            ("topic-config", json!(load.topic_config)),
            ("batch-size", json!(load.batch_size)),
            ("linger-ms", json!(load.linger_ms)),
            ("acks", json!(load.acks)),
            ("compression", json!(load.compression.to_string())),
            ("in-flight", json!(load.in_flight)),
        ]);
    }
    settings
}
