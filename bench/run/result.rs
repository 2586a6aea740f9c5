//! The end of a run: judged, shown, written.

use std::path::Path;
use std::time::UNIX_EPOCH;

use super::measure::Measured;
use super::settings;
use crate::args::{CommonArgs, Mode};
use crate::client::admin::Admin;
use crate::clock::{Nanos, SECOND};
use crate::consume::partition::Received;
use crate::report::cluster::Cluster;
use crate::report::json::{Document, PartitionCount, SCHEMA_VERSION, Side, SweepPoint};
use crate::report::read::Run;
use crate::report::{hgrm, html, table};
use crate::stats::{Counts, Role};

/// Most partitions that a result lists for each reader.
const PARTITIONS_MAX: usize = 10_000;

impl Measured {
    fn side(&self, role: Role) -> Option<(&Counts, Nanos)> {
        let total = self.reporter.total(role)?;
        let ended = self.outcome.ended.get(&role).copied().unwrap_or_default();
        // A schedule may end with a pause, as between bursts: that is part of the run.
        let ended = ended.max(self.outcome.planned_end.unwrap_or(0));
        Some((total, ended.saturating_sub(self.start).max(1)))
    }

    fn document_side(&self, role: Role) -> Option<Side> {
        self.side(role).map(|(total, elapsed)| Side::new(total, elapsed, self.reporter.seconds(role)))
    }

    /// What was wrong with it.
    pub fn problems(&self) -> Vec<String> {
        let outcome = &self.outcome;
        let mut problems = outcome.problems.clone();
        let sent = self.reporter.total(Role::Produce);
        if let Some(failed) = sent.map(|total| total.failed).filter(|failed| *failed > 0) {
            problems.push(format!("{failed} records were refused"));
        }
        if let Some(unknown) = sent.map(|total| total.unknown).filter(|n| *n > 0 && !self.survives) {
            problems.push(format!("{unknown} records are of unknown outcome"));
        }
        // A run that survives lost connections cannot promise to have sent everything.
        let validity = sent.and_then(|total| outcome.validity(total, self.start)).filter(|_| !self.survives);
        if let Some(reason) = validity.and_then(|validity| validity.reason) {
            problems.push(format!("INVALID: {reason}"));
        }
        if outcome.unsent > 0 && !self.survives {
            problems.push(format!("{} records were due and never left", outcome.unsent));
        }
        if outcome.verdict.as_ref().is_some_and(|verdict| !verdict.is_clean()) {
            problems.push("verification found violations".into());
        }
        if outcome.acks.as_ref().is_some_and(|acks| !acks.is_clean()) {
            problems.push("acknowledged records were not kept".into());
        }
        problems
    }

    fn show(&self) {
        let outcome = &self.outcome;
        for role in self.reporter.roles() {
            let Some((total, elapsed)) = self.side(role) else { continue };
            print!("{}", table::summary(role, total, elapsed));
            if let Some(ratio) = total.compression_ratio() {
                print!("{}", table::compression(ratio));
            }
            if let (true, Some(at)) = (role != Role::Consume, outcome.caught_up.get(&role)) {
                let seconds = at.saturating_sub(self.start) as f64 / SECOND as f64;
                println!("  had all there was after {seconds:.2} s");
            }
        }
        if let (Mode::Produce(_), Some(total)) = (&self.mode, self.reporter.total(Role::Produce)) {
            print!("{}", table::write_amplification(outcome.write_amplification(total)));
        }
        if let Some(counted) = &outcome.transactions {
            print!("{}", table::transactions(counted));
        }
        if let Some(idle) = &outcome.idle {
            print!("{}", table::idle_connections(idle));
        }
        if let Some(verdict) = &outcome.verdict {
            print!("{}", table::verification(verdict));
        }
        if let Some(acks) = &outcome.acks {
            print!("{}", table::acknowledgements(acks));
        }
    }

    fn document<'a>(&'a self, problems: &'a [String], points: Vec<SweepPoint>) -> Document<'a> {
        let outcome = &self.outcome;
        let sent = self.reporter.total(Role::Produce);
        let others = || self.reporter.roles().filter(|role| !matches!(role, Role::Produce | Role::Consume));
        let seconds = |at: &Nanos| at.saturating_sub(self.start) as f64 / SECOND as f64;
        Document {
            schema: "corelane-bench",
            schema_version: SCHEMA_VERSION,
            mode: self.mode.name(),
            settings: settings::of(&self.mode),
            started_unix_ms: self.started.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64),
            ok: problems.is_empty(),
            problems,
            validity: sent.and_then(|total| outcome.validity(total, self.start)),
            compression_ratio: sent.and_then(Counts::compression_ratio),
            produce: self.document_side(Role::Produce),
            write_amplification: sent.and_then(|total| outcome.write_amplification(total)),
            consume: self.document_side(Role::Consume),
            roles: others().filter_map(|role| Some((role.to_string(), self.document_side(role)?))).collect(),
            caught_up_seconds: outcome.caught_up.iter().map(|(r, at)| (r.to_string(), seconds(at))).collect(),
            partitions: outcome
                .partitions
                .iter()
                .map(|(role, partitions)| {
                    let count = |(index, received): (&i32, &Received)| PartitionCount {
                        partition: *index,
                        received: *received,
                    };
                    (role.to_string(), partitions.iter().take(PARTITIONS_MAX).map(count).collect())
                })
                .collect(),
            idle_connections: outcome.idle.as_ref(),
            verification: outcome.verdict.as_ref(),
            acknowledgements: outcome.acks.as_ref(),
            resources: outcome.resources.as_ref(),
            transactions: outcome.transactions,
            cluster: described(self.mode.shared().0),
            limits: crate::limits::known(),
            points,
        }
    }
}

/// The cluster of a run. What it does not want to say is no fault of the run.
fn described(common: &CommonArgs) -> Option<Cluster> {
    let said = Admin::new(&common.bootstrap).describe(&common.topic);
    let said = said.inspect_err(|error| eprintln!("the cluster does not tell its settings: {error}"));
    Some(Cluster::new(said.ok()?))
}

/// Shows a run and writes what its flags ask for; `points` are those of a sweep. `Ok(false)`: something was wrong.
///
/// # Errors
/// A file that cannot be written.
pub fn report(measured: &Measured, points: Vec<SweepPoint>, quiet: bool) -> Result<bool, String> {
    let common = measured.mode.shared().0;
    let problems = measured.problems();
    if !quiet {
        measured.show();
    }
    problems.iter().for_each(|problem| eprintln!("error: {problem}"));
    let failed = |path: &Path| {
        let path = path.display().to_string();
        move |e| format!("{path}: {e}")
    };
    if let Some(path) = &common.hgrm {
        // Of both sides the one that sees a record last.
        let mut timed =
            [Role::Produce, Role::Consume].into_iter().filter_map(|role| measured.reporter.total(role));
        if let Some(total) = timed.next_back() {
            std::fs::write(path, hgrm::text(total.latency.histogram())).map_err(failed(path))?;
        }
    }
    if common.json.is_some() || common.html.is_some() {
        let document = measured.document(&problems, points);
        let text = serde_json::to_string_pretty(&document).map_err(|e| e.to_string())?;
        if let Some(path) = &common.html {
            let mut run: Run = serde_json::from_str(&text).map_err(|e| e.to_string())?;
            run.name = measured.mode.name().to_owned();
            html::write(path, &[run], None)?;
        }
        match &common.json {
            Some(_) if common.is_quiet() => println!("{text}"),
            Some(path) => std::fs::write(path, text + "\n").map_err(failed(path))?,
            None => {}
        }
    }
    Ok(problems.is_empty())
}
