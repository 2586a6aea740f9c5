//! Why a configuration is refused: the sentence names the setting, where it stands, and what would do.

use std::{fmt, io, path::PathBuf};

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the table of settings.
    Default,
    /// In a configuration file.
    File {
        /// The file, as it was named.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// On the command line, after this flag.
    Flag(&'static str),
    /// By a client, for all brokers (Kafka's dynamic default).
    AllBrokers,
    /// By a client, for this broker.
    ThisBroker,
}

impl Place {
    /// Whether a client gave it while the broker ran.
    #[must_use]
    pub const fn is_dynamic(&self) -> bool {
        matches!(self, Self::AllBrokers | Self::ThisBroker)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::Flag(flag) => f.write_str(flag),
            Self::AllBrokers => f.write_str("set for all brokers"),
            Self::ThisBroker => f.write_str("set for this broker"),
        }
    }
}

/// Why no settings came of the file and the flags. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration file {}: {source}", path.display())]
    Unreadable {
        /// The file, as it was named.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("{place}: {message}")]
    Syntax {
        /// Where reading stopped.
        place: Place,
        /// What is wrong there.
        message: String,
    },
    /// No setting has this name.
    #[error("{place}: unknown setting \"{key}\"{}", did_you_mean(*.nearest))]
    UnknownKey {
        /// Where it stands.
        place: Place,
        /// The name, as it was written.
        key: String,
        /// The name that was probably meant.
        nearest: Option<&'static str>,
    },
    /// The value does not fit the setting.
    #[error("{place}: \"{key}\" is \"{value}\", expected {expected}")]
    BadValue {
        /// Where it stands.
        place: Place,
        /// The setting.
        key: String,
        /// The value, as it was written.
        value: String,
        /// What would do.
        expected: String,
    },
    /// The setting is not live.
    #[error("{place}: \"{key}\" cannot change while the broker runs; restart it with the new value")]
    NotLive {
        /// Where the change was asked for.
        place: Place,
        /// The setting.
        key: String,
    },
    /// Values that are sound, each by itself, contradict each other or this machine.
    #[error("{place}: {message}")]
    Conflict {
        /// Where one of them stands.
        place: Place,
        /// Which ones, and what would do.
        message: String,
    },
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean \"{name}\"?"))
}
