//! The modes' own flags.

use std::path::PathBuf;

use clap::{ArgAction, ValueEnum};

use super::{CommonArgs, LoadArgs};

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
    /// Survive lost connections; what was in flight counts as unknown, or is sent again by --idempotent
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
    /// Records per second at most (0: as many as possible)
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub rate: u64,
    /// Go on where the log starts, should retention delete what is next
    #[arg(long)]
    pub skip_deleted: bool,
    /// Read as a consumer group, from its committed offsets, and commit
    #[arg(long, value_name = "NAME", help_heading = "Group")]
    pub group: Option<String>,
    /// Members of the group, a thread and connections each
    #[arg(long, default_value_t = 1, value_name = "N", help_heading = "Group")]
    pub members: u16,
    /// Time between commits
    #[arg(long, default_value_t = 1000, value_name = "MS", help_heading = "Group")]
    pub commit_ms: u64,
    /// Write values as lines: to FILE for one partition, else FILE.0, FILE.1, ...
    #[arg(long, value_name = "FILE", help_heading = "Result")]
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

/// `corelane bench mixed`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct MixedArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    pub load: LoadArgs,
    /// Consumers that read what is being written
    #[arg(long, default_value_t = 1, value_name = "N", help_heading = "Consumers")]
    pub tails: u16,
    /// Consumers that read from the beginning, and end when they have all that was acknowledged
    #[arg(long, default_value_t = 1, value_name = "N", help_heading = "Consumers")]
    pub catch_up: u16,
    /// Records per second of each of these at most (0: as many as possible)
    #[arg(long, default_value_t = 0, value_name = "N", help_heading = "Consumers")]
    pub catch_up_rate: u64,
    /// Go on where the log starts, should retention delete what is next
    #[arg(long, help_heading = "Consumers")]
    pub skip_deleted: bool,
}

/// `corelane bench connections`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct ConnectionsArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    pub load: LoadArgs,
    /// Connections that are opened, asked once and kept, beside the active ones of --connections
    #[arg(long, default_value_t = 1000, value_name = "N")]
    pub idle: u32,
}

/// `corelane bench sweep`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SweepArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    #[command(flatten)]
    pub load: LoadArgs,
    /// What the next rate is to the last one, until one is past the knee; --rate is the first
    #[arg(long, default_value_t = 2.0, value_name = "TIMES", help_heading = "Search")]
    pub factor: f64,
    /// How precisely the knee is wanted
    #[arg(long, default_value_t = 5.0, value_name = "PERCENT", help_heading = "Search")]
    pub precision: f64,
    /// Latency to receipt instead of acknowledgement
    #[arg(long, help_heading = "Search")]
    pub end_to_end: bool,
}

/// `corelane bench run`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RunArgs {
    /// A workload file (TOML); bench/workloads has the classic ones
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// A flag's value that wins over the file; may repeat
    #[arg(long, value_name = "FLAG=VALUE", value_parser = super::parse_setting)]
    pub set: Vec<(String, String)>,
}

/// Where a consumer starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Start {
    Beginning,
    End,
}
