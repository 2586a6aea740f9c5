//! The modes' own flags.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, ValueEnum};

use super::{CommonArgs, LoadArgs};
use crate::client::admin::Isolation;

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
    #[command(flatten)]
    pub transactions: TransactionArgs,
}

/// The transactions of `corelane bench produce`.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct TransactionArgs {
    /// Transactional producers NAME-0, NAME-1, ..., one for each connection
    #[arg(long, value_name = "NAME", help_heading = "Transactions")]
    pub transactional_id: Option<String>,
    /// Records of each transaction
    #[arg(long, value_name = "N", help_heading = "Transactions")]
    pub transaction_size: Option<u64>,
    /// How long each lasts, unless it has its records before
    #[arg(long, value_name = "TIME", value_parser = super::parse_duration, help_heading = "Transactions")]
    pub transaction_duration: Option<Duration>,
    /// Of the transactions, how many are aborted
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, help_heading = "Transactions")]
    pub abort_share: f64,
}

impl TransactionArgs {
    /// `Err` names what means nothing together.
    fn validate(&self, args: &ProduceArgs) -> Result<(), String> {
        let bounded = self.transaction_size.is_some() || self.transaction_duration.is_some();
        if self.transactional_id.is_none() {
            return if bounded || self.abort_share > 0.0 {
                Err("transactions need a --transactional-id".into())
            } else {
                Ok(())
            };
        }
        if !bounded || self.transaction_size == Some(0) {
            return Err("--transactional-id needs a --transaction-size or a --transaction-duration".into());
        }
        if !(0.0..=100.0).contains(&self.abort_share) {
            return Err("--abort-share is a percentage".into());
        }
        if args.load.acks != -1 || args.load.in_flight > 5 {
            return Err("--transactional-id needs --acks all and at most --in-flight 5".into());
        }
        if args.reconnect || args.ack_log.is_some() {
            return Err(
                "a transaction does not outlive its connection, nor is it acknowledged batch by batch: no \
                        --reconnect, no --ack-log with --transactional-id"
                    .into(),
            );
        }
        if self.abort_share > 0.0 && !args.common.payload_file.is_empty() {
            return Err("a file's lines cannot say that they are to be aborted: no --abort-share".into());
        }
        Ok(())
    }
}

impl ProduceArgs {
    /// `Err` names what means nothing together.
    pub fn validate(&self) -> Result<(), String> {
        if self.ack_log.is_some() && (self.load.acks == 0 || !self.common.payload_file.is_empty()) {
            return Err("--ack-log needs --acks 1 or all and synthetic records".into());
        }
        self.transactions.validate(self)
    }
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
    /// What is seen of transactions
    #[arg(long, default_value = "read_uncommitted", value_name = "LEVEL")]
    pub isolation: Isolation,
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
