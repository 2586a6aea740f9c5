//! Log lines: from which level on they are written, and how that changes while the broker runs.
//!
//! A *logger* is a room of the broker, by the path of its module; `root` stands for all that has no level of its own.
//! What was given at start holds until a client sets a level (Kafka's BROKER_LOGGER). As in Kafka that is one process'
//! own affair, and gone with it.
//!
//! Source: Kafka 4.0, `RuntimeLoggerManager`, `LogLevelConfig` (levels, refusals and their texts).

use std::{
    collections::BTreeMap,
    sync::{Mutex, OnceLock, PoisonError},
};

use tracing::{Level, level_filters::LevelFilter};
use tracing_subscriber::{
    EnvFilter, Registry, filter::Targets, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

/// The logger of all that has no level of its own.
pub const ROOT: &str = "root";

/// The rooms that write log lines.
const LOGGERS: [&str; 12] = [
    "corelane::broker",
    "corelane::config",
    "corelane::control",
    "corelane::coordinator",
    "corelane::handlers",
    "corelane::http",
    "corelane::io",
    "corelane::log",
    "corelane::partition",
    "corelane::server",
    "corelane::shard",
    "corelane::startup",
];

/// Kafka's levels, and ours. Nothing here is as bad as FATAL: from there on nothing is written.
const LEVELS: [(&str, LevelFilter); 6] = [
    ("DEBUG", LevelFilter::DEBUG),
    ("ERROR", LevelFilter::ERROR),
    ("FATAL", LevelFilter::OFF),
    ("INFO", LevelFilter::INFO),
    ("TRACE", LevelFilter::TRACE),
    ("WARN", LevelFilter::WARN),
];

/// A level that is set (`Some`), or taken back.
pub type Change = (String, Option<String>);

/// Why levels were not changed; none was. The text is for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoggingError {
    /// Nobody writes under that name.
    #[error("Logger {0} does not exist!")]
    UnknownLogger(String),
    /// There is no such level.
    #[error(
        "Cannot set the log level of {0} to {1} as it is not a supported log level. Valid log levels are DEBUG, ERROR, FATAL, INFO, TRACE, WARN"
    )]
    UnknownLevel(String, String),
    /// Something has to hold for all.
    #[error("Removing the log level of the root logger is not allowed")]
    Root,
    /// Nothing takes levels any more: the process ends.
    #[error("The log levels could not be changed: {0}")]
    Gone(String),
}

/// What was given at start, and what clients have set.
#[derive(Debug, Clone)]
struct Levels {
    given: String,
    set: BTreeMap<String, LevelFilter>,
}

impl Levels {
    /// As a filter is written: of two words about one logger the later one holds.
    fn text(&self) -> String {
        let mut text = self.given.clone();
        for (logger, level) in &self.set {
            let level = level.to_string();
            text =
                if logger == ROOT { format!("{text},{level}") } else { format!("{text},{logger}={level}") };
        }
        text
    }

    fn changed(&self, changes: &[Change]) -> Result<Self, LoggingError> {
        let mut after = self.clone();
        for (logger, level) in changes {
            if logger != ROOT && !LOGGERS.contains(&logger.as_str()) {
                return Err(LoggingError::UnknownLogger(logger.clone()));
            }
            match level {
                Some(level) => {
                    let known = LEVELS.iter().find(|(name, _)| name == level);
                    let unknown = || LoggingError::UnknownLevel(logger.clone(), level.clone());
                    after.set.insert(logger.clone(), known.ok_or_else(unknown)?.1);
                }
                None if logger == ROOT => return Err(LoggingError::Root),
                None => drop(after.set.remove(logger)),
            }
        }
        Ok(after)
    }

    /// Every logger with its level in force.
    fn effective(&self) -> Vec<(&'static str, &'static str)> {
        // What looks at more than targets was given by who knows what it does: the rest of it counts.
        let targets = self.text().parse::<Targets>().unwrap_or_else(|_| {
            let of_clients = Self { given: "info".to_owned(), set: self.set.clone() };
            of_clients.text().parse().unwrap_or_default()
        });
        let level_of = |logger: &str| {
            let all = [Level::TRACE, Level::DEBUG, Level::INFO, Level::WARN, Level::ERROR];
            let most = all.into_iter().find(|level| targets.would_enable(logger, level));
            name_of(most.map_or(LevelFilter::OFF, LevelFilter::from_level))
        };
        let rooms = LOGGERS.iter().map(|logger| (*logger, level_of(logger)));
        rooms.chain([(ROOT, name_of(targets.default_level().unwrap_or(LevelFilter::OFF)))]).collect()
    }
}

fn name_of(level: LevelFilter) -> &'static str {
    LEVELS.iter().find(|(_, known)| *known == level).map_or("FATAL", |(name, _)| name)
}

struct Live {
    filter: reload::Handle<EnvFilter, Registry>,
    levels: Mutex<Levels>,
}

static LIVE: OnceLock<Live> = OnceLock::new();

/// Sends log lines to stderr, as this filter says; called once, before the first line.
///
/// # Errors
/// The text is no filter; then lines are written from `info` on.
pub fn start(filter: &str) -> Result<(), String> {
    let parsed = EnvFilter::builder().parse(filter);
    let refused = parsed.as_ref().err().map(ToString::to_string);
    let given = if refused.is_some() { "info" } else { filter }.to_owned();
    let (layer, handle) = reload::Layer::new(parsed.unwrap_or_else(|_| EnvFilter::new("info")));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()));
    tracing_subscriber::registry().with(layer).with(lines).init();
    let levels = Mutex::new(Levels { given, set: BTreeMap::new() });
    let _ = LIVE.set(Live { filter: handle, levels });
    refused.map_or(Ok(()), Err)
}

/// Every logger with its level in force, by Kafka's name of it.
#[must_use]
pub fn levels() -> Vec<(&'static str, &'static str)> {
    let Some(live) = LIVE.get() else { return Vec::new() };
    live.levels.lock().unwrap_or_else(PoisonError::into_inner).effective()
}

/// Sets levels, all of them or, if one is refused, none. `judge_only`: none at all.
///
/// # Errors
/// [`LoggingError`]
pub fn change(changes: &[Change], judge_only: bool) -> Result<(), LoggingError> {
    LIVE.get().map_or(Ok(()), |live| live.change(changes, judge_only))
}

impl Live {
    fn change(&self, changes: &[Change], judge_only: bool) -> Result<(), LoggingError> {
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        let after = levels.changed(changes)?;
        if !judge_only {
            let reloaded = self.filter.reload(EnvFilter::new(after.text()));
            reloaded.map_err(|error| LoggingError::Gone(error.to_string()))?;
            *levels = after;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn levels(given: &str) -> Levels {
        Levels { given: given.to_owned(), set: BTreeMap::new() }
    }

    fn of(levels: &Levels, logger: &str) -> &'static str {
        levels.effective().into_iter().find(|(name, _)| *name == logger).map_or("", |(_, level)| level)
    }

    #[test]
    fn a_level_holds_for_its_logger_until_it_is_taken_back() {
        let given = levels("info,corelane::log=debug");
        assert_eq!(
            (of(&given, "corelane::log"), of(&given, "corelane::io"), of(&given, ROOT)),
            ("DEBUG", "INFO", "INFO")
        );
        let set = |levels: &Levels, logger: &str, level: Option<&str>| {
            levels.changed(&[(logger.to_owned(), level.map(str::to_owned))]).expect("sound")
        };
        let quiet = set(&set(&given, ROOT, Some("ERROR")), "corelane::io", Some("FATAL"));
        assert_eq!(
            (of(&quiet, "corelane::log"), of(&quiet, "corelane::io"), of(&quiet, ROOT)),
            ("DEBUG", "FATAL", "ERROR")
        );
        assert_eq!(of(&set(&quiet, "corelane::io", None), "corelane::io"), "ERROR");
        assert!(EnvFilter::builder().parse(quiet.text()).is_ok());
    }

    #[test]
    fn a_change_that_nothing_takes_is_an_error_and_changes_nothing() {
        let (layer, filter) = reload::Layer::new(EnvFilter::new("info"));
        let live = Live { filter, levels: Mutex::new(levels("info")) };
        let to_debug = [(ROOT.to_owned(), Some("DEBUG".to_owned()))];
        drop(layer);
        assert!(matches!(live.change(&to_debug, false), Err(LoggingError::Gone(_))));
        let levels = live.levels.lock().expect("nobody has panicked");
        assert_eq!(of(&levels, ROOT), "INFO");
    }

    #[test]
    fn what_is_no_logger_or_no_level_is_refused() {
        let refused = |logger: &str, level: Option<&str>| {
            levels("info").changed(&[(logger.to_owned(), level.map(str::to_owned))]).err()
        };
        assert_eq!(refused("kafka", Some("INFO")), Some(LoggingError::UnknownLogger("kafka".to_owned())));
        let unknown = LoggingError::UnknownLevel(ROOT.to_owned(), "info".to_owned());
        assert_eq!(refused(ROOT, Some("info")), Some(unknown));
        assert_eq!(refused(ROOT, None), Some(LoggingError::Root));
    }
}
