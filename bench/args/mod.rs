//! The command line of `corelane bench`, and its checked form.

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;

use crate::limits::LimitsArgs;
use crate::report::command::{CompareArgs, ReportArgs};

mod load;
mod modes;

pub(crate) use load::LoadArgs;
pub(crate) use modes::{
    ConnectionsArgs, ConsumeArgs, E2eArgs, MixedArgs, ProduceArgs, RunArgs, Start, SweepArgs, TransactionArgs,
};

/// Most connections of a run: what an address of this host has ports for.
pub(crate) const CONNECTIONS_MAX: u32 = 20_000;

/// Arguments of `corelane bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    pub(crate) task: Task,
}

/// Measures, or shows what was measured.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    #[command(flatten)]
    Run(Box<Mode>),
    /// Do the runs of a workload file
    #[command(name = "run")]
    Workload(RunArgs),
    /// Measure what this host can do at all: disk, loopback, memory
    Limits(LimitsArgs),
    /// Draw results of earlier runs: one page of HTML
    Report(ReportArgs),
    /// Compare two results: ratios with 95 % intervals
    Compare(CompareArgs),
}

/// What the generator does.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Mode {
    /// Send records: at a rate (open loop), or as many as the broker takes
    Produce(ProduceArgs),
    /// Read a topic and verify order, completeness and bytes
    Consume(ConsumeArgs),
    /// Send and read at once: latency from the intended send time to receipt
    E2e(E2eArgs),
    /// Send, read the tail, and read from the beginning, all at once
    Mixed(MixedArgs),
    /// Find the rate at which latency bends
    Sweep(SweepArgs),
    /// Hold idle connections while others work
    Connections(ConnectionsArgs),
}

impl Mode {
    /// Its name on the command line.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Produce(_) => "produce",
            Self::Consume(_) => "consume",
            Self::E2e(_) => "e2e",
            Self::Mixed(_) => "mixed",
            Self::Sweep(_) => "sweep",
            Self::Connections(_) => "connections",
        }
    }

    /// What every mode has, and the load of those that send.
    pub fn shared(&self) -> (&CommonArgs, Option<&LoadArgs>) {
        match self {
            Self::Produce(a) => (&a.common, Some(&a.load)),
            Self::Consume(a) => (&a.common, None),
            Self::E2e(a) => (&a.common, Some(&a.load)),
            Self::Mixed(a) => (&a.common, Some(&a.load)),
            Self::Sweep(a) => (&a.common, Some(&a.load)),
            Self::Connections(a) => (&a.common, Some(&a.load)),
        }
    }

    /// The same, to be changed.
    pub fn common_mut(&mut self) -> &mut CommonArgs {
        match self {
            Self::Produce(a) => &mut a.common,
            Self::Consume(a) => &mut a.common,
            Self::E2e(a) => &mut a.common,
            Self::Mixed(a) => &mut a.common,
            Self::Sweep(a) => &mut a.common,
            Self::Connections(a) => &mut a.common,
        }
    }
}

/// What every mode needs.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct CommonArgs {
    /// Brokers to ask first, host:port,...
    #[arg(long, default_value = "127.0.0.1:9092", value_name = "HOSTS")]
    pub bootstrap: String,
    /// Topic
    #[arg(long, default_value = "bench")]
    pub topic: String,
    /// Connections over all brokers (of each role)
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub connections: u32,
    /// Threads (of each role); a connection stays on one
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub threads: u32,
    /// Pin the threads to these cores, one after the other: 2,3
    #[arg(long, value_delimiter = ',', value_name = "CORES")]
    pub pin: Vec<usize>,
    /// How long: 500ms, 10s, 2m
    #[arg(long, value_parser = parse_duration, value_name = "TIME")]
    pub duration: Option<Duration>,
    /// How many records
    #[arg(long, value_name = "N")]
    pub records: Option<u64>,
    /// A file of which each line is one record, or a directory; may repeat
    #[arg(long, value_name = "PATH")]
    pub payload_file: Vec<PathBuf>,
    /// Write the result as JSON ("-": to stdout, instead of text)
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub json: Option<PathBuf>,
    /// Write an HdrHistogram interval log
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub hlog: Option<PathBuf>,
    /// Write the latency's percentiles as text, for HdrHistogram's plotter
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub hgrm: Option<PathBuf>,
    /// Write a page with plots
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub html: Option<PathBuf>,
}

impl CommonArgs {
    /// Whether stdout belongs to the JSON document.
    pub fn is_quiet(&self) -> bool {
        self.json.as_deref().is_some_and(|path| path.as_os_str() == "-")
    }
}

/// `Err` names a combination of arguments that means nothing.
pub(crate) fn validate(mode: &Mode) -> Result<(), String> {
    let (common, load) = mode.shared();
    if common.connections == 0 || common.threads == 0 {
        return Err("--connections and --threads are at least 1".into());
    }
    if let Some(load) = load {
        load.validate(!common.payload_file.is_empty())?;
    }
    if matches!(mode, Mode::E2e(_) | Mode::Mixed(_)) {
        if !common.payload_file.is_empty() {
            return Err("records have to carry their intended time: no --payload-file".into());
        }
        if load.is_some_and(|load| load.acks == 0) {
            return Err("what was acknowledged is verified: --acks 1 or all".into());
        }
    }
    match mode {
        Mode::Produce(a) => a.validate(),
        Mode::Consume(a)
            if !a.verify_acks.is_empty() && (a.from == Start::End || !a.common.payload_file.is_empty()) =>
        {
            Err("--verify-acks reads synthetic records from the beginning".into())
        }
        Mode::Consume(a)
            if a.group.is_some()
                && (a.output.is_some() || !a.verify_acks.is_empty() || !a.common.payload_file.is_empty()) =>
        {
            Err("--group shares partitions among members: no --output, --verify-acks or --payload-file"
                .into())
        }
        Mode::Consume(a) if a.members == 0 || a.commit_ms == 0 => {
            Err("--members and --commit-ms are at least 1".into())
        }
        Mode::Sweep(a)
            if !(a.factor > 1.0 && a.factor <= 10.0 && a.precision >= 0.5 && a.precision <= 50.0) =>
        {
            Err("--factor lies above 1 and up to 10, --precision between 0.5 and 50".into())
        }
        Mode::Sweep(a) if a.common.records.is_some() || !a.common.payload_file.is_empty() => {
            Err("each rate of a sweep lasts --duration: no --records, no --payload-file".into())
        }
        Mode::Connections(a) if a.idle > CONNECTIONS_MAX || a.common.connections > CONNECTIONS_MAX => {
            Err(format!("at most {CONNECTIONS_MAX} connections"))
        }
        _ => Ok(()),
    }
}

fn parse_setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or_else(|| format!("`{text}` is not KEY=VALUE"))?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| format!("`{text}` is not a duration such as 10s"))?;
    let seconds = match unit {
        "ms" => number / 1e3,
        "" | "s" => number,
        "m" | "min" => number * 60.0,
        "h" => number * 3600.0,
        _ => return Err(format!("`{unit}` is not ms, s, m or h")),
    };
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|d| *d > Duration::ZERO && *d < Duration::from_secs(1_000_000))
        .ok_or_else(|| format!("`{text}` is not a usable duration"))
}

fn parse_acks(text: &str) -> Result<i16, String> {
    match text {
        "0" => Ok(0),
        "1" => Ok(1),
        "all" | "-1" => Ok(-1),
        _ => Err("acks are 0, 1 or all".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    fn check(line: &str) -> Result<(), String> {
        let cli = Cli::try_parse_from(line.split_whitespace()).map_err(|e| e.to_string())?;
        match &cli.args.task {
            Task::Run(mode) => validate(mode),
            other => panic!("{other:?} is no run"),
        }
    }

    #[test]
    fn the_contract_s_flags_are_accepted() {
        let common =
            "--bootstrap h:1 --topic t --connections 2 --duration 500ms --records 5 --json a --hlog b";
        let load = "--partitions 3 --rate 10 --record-size 100 --batch-size 1 --linger-ms 0.5 --acks all --compression zstd";
        for line in [
            format!("b produce {common} {load} --ack-log x --reconnect"),
            format!("b produce {common} {load} --payload-file x --payload-file y"),
            "b produce --rate 5 --schedule burst:1s:20 --record-size lognormal:200:1 --entropy 30 --pin 0,1"
                .to_owned(),
            "b produce --keys zipf:100:0.9 --idempotent --compression zstd:3 --topic-config a=b".to_owned(),
            format!("b consume {common} --from end --output o"),
            "b consume --verify-acks a b".to_owned(),
            "b produce --idempotent --reconnect".to_owned(),
            "b produce --transactional-id x --transaction-size 10 --abort-share 12.5".to_owned(),
            "b produce --transactional-id x --transaction-duration 100ms --keys uniform:9".to_owned(),
            "b consume --isolation read_committed".to_owned(),
            format!("b e2e {common} {load} --in-flight 9"),
            format!("b mixed {common} {load} --tails 2 --catch-up 1 --catch-up-rate 500 --skip-deleted"),
            "b sweep --rate 100 --duration 5s --factor 1.5 --precision 10 --end-to-end".to_owned(),
            "b connections --idle 10000 --connections 4 --rate 10".to_owned(),
            "b consume --group g --members 4 --commit-ms 500".to_owned(),
        ] {
            assert_eq!(check(&line), Ok(()), "{line}");
        }
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for line in [
            "b produce --record-size 8",
            "b produce --acks 2",
            "b produce --duration 5x",
            "b produce --duration 0",
            "b produce --ack-log x --acks 0",
            "b e2e --acks 0",
            "b produce --schedule poisson",
            "b produce --idempotent --acks 1",
            "b produce --payload-file x --keys uniform:5",
            "b produce --entropy 101",
            "b consume --connections 0",
            "b consume --verify-acks x --from end",
            "b consume --group g --output x",
            "b produce --transactional-id x",
            "b produce --transaction-size 10",
            "b produce --transactional-id x --transaction-size 0",
            "b produce --transactional-id x --transaction-size 5 --acks 1",
            "b produce --transactional-id x --transaction-size 5 --reconnect",
            "b produce --transactional-id x --transaction-size 5 --abort-share 101",
            "b produce --transactional-id x --transaction-size 5 --abort-share 1 --payload-file x",
            "b consume --isolation read_some",
            "b mixed --payload-file x",
            "b sweep --factor 1",
            "b sweep --records 5",
            "b connections --idle 100000",
        ] {
            assert!(check(line).is_err(), "{line}");
        }
    }

    #[test]
    fn help_fits_one_screen() {
        for mode in ["produce", "consume", "e2e", "mixed", "sweep", "connections", "run"] {
            let help =
                Cli::try_parse_from(["b", mode, "--help"]).expect_err("help is an early exit").to_string();
            assert!(help.lines().count() <= 64, "{mode}: {} lines", help.lines().count());
        }
    }
}
