//! The command line of `corelane bench`, and its checked form.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Subcommand, ValueEnum};

use crate::report::command::{CompareArgs, ReportArgs};

mod load;

pub(crate) use load::LoadArgs;

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
    /// Draw results of earlier runs: one page of HTML
    Report(ReportArgs),
    /// Compare two results: ratios with 95 % intervals
    Compare(CompareArgs),
}

/// What the generator does.
#[derive(Debug, Subcommand)]
pub(crate) enum Mode {
    /// Send records: at a rate (open loop), or as many as the broker takes
    Produce(ProduceArgs),
    /// Read a topic and verify order, completeness and bytes
    Consume(ConsumeArgs),
    /// Send and read at once: latency from the intended send time to receipt
    E2e(E2eArgs),
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

/// `corelane bench produce`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ProduceArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    pub load: LoadArgs,
    /// Append every acknowledged batch to this file, for --verify-acks
    #[arg(long, value_name = "FILE")]
    pub ack_log: Option<PathBuf>,
    /// The broker's process, whose writes are counted (default: who listens on the port, if it is this host's)
    #[arg(long, value_name = "PID")]
    pub broker_pid: Option<u32>,
    /// Survive lost connections; what was in flight counts as unknown
    #[arg(long)]
    pub reconnect: bool,
}

/// `corelane bench consume`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ConsumeArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Where to start; from the beginning it ends at the end the topic has now
    #[arg(long, default_value = "beginning", value_name = "PLACE")]
    pub from: Start,
    /// Write values as lines: to FILE for one partition, else FILE.0, FILE.1, ...
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Check the topic against logs of `produce --ack-log`
    #[arg(long, value_name = "FILE", num_args = 1.., action = ArgAction::Append)]
    pub verify_acks: Vec<PathBuf>,
}

/// `corelane bench e2e`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct E2eArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    pub load: LoadArgs,
}

/// Where a consumer starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Start {
    Beginning,
    End,
}

/// `Err` names a combination of arguments that means nothing.
pub(crate) fn validate(mode: &Mode) -> Result<(), String> {
    let (common, load) = match mode {
        Mode::Produce(a) => (&a.common, Some(&a.load)),
        Mode::Consume(a) => (&a.common, None),
        Mode::E2e(a) => (&a.common, Some(&a.load)),
    };
    if common.connections == 0 || common.threads == 0 {
        return Err("--connections and --threads are at least 1".into());
    }
    if let Some(load) = load {
        load.validate(!common.payload_file.is_empty())?;
    }
    match mode {
        Mode::E2e(a) if !a.common.payload_file.is_empty() => {
            Err("e2e needs records that carry their intended time: no --payload-file".into())
        }
        Mode::E2e(a) if a.load.acks == 0 => Err("e2e verifies what was acknowledged: --acks 1 or all".into()),
        Mode::Produce(a)
            if a.ack_log.is_some() && (a.load.acks == 0 || !a.common.payload_file.is_empty()) =>
        {
            Err("--ack-log needs --acks 1 or all and synthetic records".into())
        }
        Mode::Produce(a) if a.reconnect && a.load.idempotent => {
            Err("--idempotent: what became of a lost connection's records is unknown, and so the next sequence: no --reconnect".into())
        }
        Mode::Consume(a)
            if !a.verify_acks.is_empty() && (a.from == Start::End || !a.common.payload_file.is_empty()) =>
        {
            Err("--verify-acks reads synthetic records from the beginning".into())
        }
        _ => Ok(()),
    }
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
            format!("b e2e {common} {load} --in-flight 9"),
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
            "b produce --idempotent --reconnect",
            "b produce --payload-file x --keys uniform:5",
            "b produce --entropy 101",
            "b consume --connections 0",
            "b consume --verify-acks x --from end",
        ] {
            assert!(check(line).is_err(), "{line}");
        }
    }

    #[test]
    fn help_fits_one_screen() {
        for mode in ["produce", "consume", "e2e"] {
            let help =
                Cli::try_parse_from(["b", mode, "--help"]).expect_err("help is an early exit").to_string();
            assert!(help.lines().count() <= 64, "{mode}: {} lines", help.lines().count());
        }
    }
}
