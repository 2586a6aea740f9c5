//! The command line: what `corelane` is asked to do.
//!
//! Exit status: 0 done, 1 the operation failed, 2 wrong usage (clap's). Text for people goes to stdout, log
//! lines to stderr.

use std::{path::PathBuf, process::ExitCode};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::{
    admin_tool::{
        self, AlterConfig, ClusterCommand, DescribeConfig, GroupCommand, Target, Task, TopicCommand,
    },
    config::{self, Assignment, ConfigError, Place, Settings},
    log_tool::LogCommand,
    logging,
    startup::available_cores,
    top::TopArgs,
    tune::TuneCommand,
};

/// Where the level of log lines is taken from if `--log` is not given.
pub const LOG_VARIABLE: &str = "CORELANE_LOG";

/// Columns of a help text; it stays readable where nobody knows the width of the terminal.
const HELP_COLUMNS: usize = 80;

/// The first screen is for finding the command; options have their own.
const HELP: &str = "\
{about}

{usage-heading} {usage}

Commands:
{subcommands}

Options: those of serve, see `corelane serve --help`.";

/// What is to be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the broker (the default)
    Serve(ServeArgs),
    /// Topics of any Kafka cluster: list, describe, create, alter, delete
    Topic(ToolArgs<TopicCommand>),
    /// Consumer groups: list, describe with lag, reset offsets, delete
    Group(ToolArgs<GroupCommand>),
    /// Settings: of a running cluster, and of configuration files
    Config(ConfigArgs),
    /// Brokers and controller of a cluster
    Cluster(ToolArgs<ClusterCommand>),
    /// Put load on any Kafka broker, measure it, verify what comes back
    Bench(corelane_bench::Args),
    /// Look into the data directory of a stopped broker: verify, dump
    #[command(subcommand)]
    Log(LogCommand),
    /// Check and apply what of the host matters to a broker
    #[command(subcommand)]
    Tune(TuneCommand),
    /// Watch what the cores of a running broker do
    Top(TopArgs),
}

#[derive(Debug, Parser)]
#[command(
    name = "corelane",
    version,
    about = "A Kafka-compatible streaming broker. Alone, `corelane` means `corelane serve`.",
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    help_template = HELP,
    max_term_width = HELP_COLUMNS
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

/// What `corelane serve` is told. Flags win over the file.
#[derive(Debug, Default, Clone, clap::Args)]
pub struct ServeArgs {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Data directory [default: ./corelane-data]
    #[arg(long, value_name = "DIR")]
    pub data: Option<String>,
    /// Where clients connect [default: 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT")]
    pub listen: Option<String>,
    /// Cores: how many (2) or which (0,1) [default: all]
    #[arg(long, value_name = "CORES")]
    pub cores: Option<String>,
    /// One more setting, may repeat; --check lists all
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    pub set: Vec<(String, String)>,
    /// Accept a data directory in memory
    #[arg(long)]
    pub allow_tmpfs: bool,
    /// Print what is in force, core by core; start nothing
    #[arg(long)]
    pub check: bool,
    /// Log level [default: info, or CORELANE_LOG]
    #[arg(long, value_name = "LEVEL", value_parser = log_filter)]
    pub log: Option<String>,
}

/// What `corelane config` is told.
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true)]
pub struct ConfigArgs {
    /// What is to be done.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What `corelane config` does.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Show in what a configuration differs from another, or from the defaults
    Diff(DiffArgs),
    /// Print every setting as a page of Markdown
    Reference,
    /// Show the settings of a topic or a broker while it runs
    Describe {
        /// Where to ask.
        #[command(flatten)]
        target: Target,
        /// What to show.
        #[command(flatten)]
        what: DescribeConfig,
    },
    /// Change them while it runs
    Alter {
        /// Where to ask.
        #[command(flatten)]
        target: Target,
        /// What to change.
        #[command(flatten)]
        what: AlterConfig,
    },
}

/// What `corelane topic`, `group` and `cluster` are told.
#[derive(Debug, clap::Args)]
#[command(disable_help_subcommand = true)]
pub struct ToolArgs<C: Subcommand> {
    /// Where to ask.
    #[command(flatten)]
    pub target: Target,
    /// What is to be done.
    #[command(subcommand)]
    pub command: C,
}

/// What `corelane config diff` is told.
#[derive(Debug, clap::Args)]
pub struct DiffArgs {
    /// Configuration file (TOML)
    #[arg(value_name = "A.toml")]
    pub first: PathBuf,
    /// The one to compare it with [default: the defaults]
    #[arg(value_name = "B.toml")]
    pub second: Option<PathBuf>,
    /// As JSON: a list of name, first, second
    #[arg(long)]
    pub json: bool,
}

impl ConfigArgs {
    /// Does what is asked for, and prints it.
    #[must_use]
    pub fn run(&self) -> ExitCode {
        let text = match &self.command {
            ConfigCommand::Diff(args) => args.run(),
            ConfigCommand::Reference => Ok(config::reference()),
            ConfigCommand::Describe { target, what } => {
                return admin_tool::run(target, &Task::DescribeConfig(what));
            }
            ConfigCommand::Alter { target, what } => {
                return admin_tool::run(target, &Task::AlterConfig(what));
            }
        };
        match text {
            Ok(text) => {
                print!("{text}");
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("corelane: {error}");
                ExitCode::FAILURE
            }
        }
    }
}

impl DiffArgs {
    fn run(&self) -> Result<String, ConfigError> {
        let cores = available_cores();
        let one = config::load(Some(&self.first), &[], &cores)?;
        let other = config::load(self.second.as_deref(), &[], &cores)?;
        // Against the defaults, the file is what is new.
        let (before, after) = if self.second.is_some() { (one, other) } else { (other, one) };
        let differences = before.differences(&after);
        let value = |side: &Option<(String, Place)>| side.as_ref().map(|(value, _)| value.clone());
        if self.json {
            let list = differences.iter().map(|difference| {
                serde_json::json!({
                    "name": difference.name,
                    "first": value(&difference.first),
                    "second": value(&difference.second),
                })
            });
            return Ok(format!("{:#}\n", serde_json::Value::from_iter(list)));
        }
        let line = |sign: char, name: &str, side: &Option<(String, Place)>| {
            let Some((value, place)) = side else { return String::new() };
            format!("{:<60} # {place}\n", format!("{sign} {name} = {value}"))
        };
        let lines = differences.iter().map(|difference| {
            line('-', &difference.name, &difference.first) + &line('+', &difference.name, &difference.second)
        });
        Ok(lines.collect())
    }
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE, such as num.partitions=3")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

fn log_filter(text: &str) -> Result<String, String> {
    EnvFilter::builder().parse(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// Reads the command line. Help, version and wrong usage are answered here, and end the process.
#[must_use]
pub fn parse() -> Command {
    let matches = Cli::command().get_matches();
    match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli.command.unwrap_or(Command::Serve(cli.serve)),
        Err(error) => error.exit(),
    }
}

/// Sends log lines to stderr, at the level of `--log`, else of `CORELANE_LOG`, else `info`.
pub fn start_logging(level: Option<&str>) {
    let wanted = level.map(str::to_owned).or_else(|| std::env::var(LOG_VARIABLE).ok());
    let filter = wanted.as_deref().unwrap_or("info");
    if let Err(reason) = logging::start(filter) {
        tracing::warn!("{LOG_VARIABLE}={filter} is no log level ({reason}); logging at info");
    }
}

impl Settings {
    /// Settings of the file and the flags, for the cores that this process may use.
    ///
    /// # Errors
    /// The first thing found wrong, with its name and place.
    pub fn from_args(args: &ServeArgs) -> Result<Self, ConfigError> {
        config::load(args.config.as_deref(), &args.assignments(), &available_cores())
    }
}

impl ServeArgs {
    /// What the flags say, `--set` first: a flag of its own is the plainer word.
    fn assignments(&self) -> Vec<Assignment> {
        let assign = |flag, key: &str, value: &str| Assignment {
            key: key.to_owned(),
            value: value.to_owned(),
            place: Place::Flag(flag),
        };
        let set = self.set.iter().map(|(key, value)| assign("--set", key, value));
        let named = [
            ("--data", "log.dir", self.data.as_deref()),
            ("--listen", "listeners", self.listen.as_deref()),
            ("--cores", "cores", self.cores.as_deref()),
            ("--allow-tmpfs", "allow.tmpfs", self.allow_tmpfs.then_some("true")),
        ];
        let named = named.iter().filter_map(|&(flag, key, value)| Some(assign(flag, key, value?)));
        set.chain(named).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELP_LINES_MAX: usize = 24;

    fn parse_words(words: &[&str]) -> Result<Command, clap::Error> {
        let words = ["corelane"].iter().chain(words);
        Cli::try_parse_from(words).map(|cli| cli.command.unwrap_or(Command::Serve(cli.serve)))
    }

    fn serve(words: &[&str]) -> ServeArgs {
        match parse_words(words) {
            Ok(Command::Serve(args)) => args,
            other => panic!("{words:?}: {other:?}"),
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn alone_it_serves_with_and_without_flags() {
        for words in [
            &["--cores", "1", "--set", "num.partitions = 3"][..],
            &["serve", "--cores", "1", "--set", "num.partitions=3"],
        ] {
            let settings = Settings::from_args(&serve(words)).unwrap();
            assert_eq!((settings.shards.len(), settings.num_partitions), (1, 3));
        }
        assert!(!serve(&[]).check);
    }

    #[test]
    fn a_wrong_value_names_its_flag() {
        for (words, start) in [
            (["--listen", "9092"], "--listen: \"listeners\" is \"9092\", expected HOST:PORT"),
            (["--cores", "x"], "--cores: \"cores\" is \"x\", expected all, a number"),
            (["--set", "num.partition=1"], "--set: unknown setting \"num.partition\"; did you mean"),
            (["--config", "/nowhere.toml"], "configuration file /nowhere.toml: No such file"),
        ] {
            let error = Settings::from_args(&serve(&words)).unwrap_err().to_string();
            assert!(error.starts_with(start), "{error}");
        }
    }

    #[test]
    fn wrong_usage_ends_with_status_2() {
        for words in [&["--nonsense"][..], &["nonsense"], &["--set", "x"], &["--log", "a=b=c"], &["--cores"]]
        {
            assert_eq!(parse_words(words).unwrap_err().exit_code(), 2, "{words:?}");
        }
        assert_eq!(parse_words(&["--help"]).unwrap_err().exit_code(), 0);
    }

    #[test]
    fn help_fits_one_screen() {
        let commands: [&[&str]; 15] = [
            &[],
            &["serve"],
            &["bench"],
            &["config"],
            &["config", "diff"],
            &["config", "reference"],
            &["log"],
            &["log", "verify"],
            &["log", "dump"],
            &["tune"],
            &["tune", "check"],
            &["tune", "apply"],
            &["tune", "undo"],
            &["tune", "disk"],
            &["top"],
        ];
        for words in commands.map(|words| [words, &["--help"]].concat()) {
            let help = parse_words(&words).unwrap_err().to_string();
            let widest = help.lines().map(|line| line.chars().count()).max();
            assert!(help.lines().count() <= HELP_LINES_MAX, "{words:?}:\n{help}");
            assert!(widest <= Some(HELP_COLUMNS), "{words:?}:\n{help}");
        }
    }
}
