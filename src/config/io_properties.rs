//! `io-properties.toml`: what a data directory can do, as `corelane tune disk` measured it.
//!
//! The file lies in the data directory it is about. Its `[bounds]` say how many operations its disk takes at
//! once before more of them only wait for each other; the rest tells where they come from.

use std::{
    fs, io,
    ops::RangeInclusive,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// Name of the file.
pub const IO_PROPERTIES: &str = "io-properties.toml";

const VERSION: u32 = 1;

/// What a bound may be.
const IN_FLIGHT: RangeInclusive<u32> = 1..=1024;

/// Where the bounds of a broker come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BoundsFrom {
    /// The file in each data directory, where there is one.
    DataDirectory,
    /// There are none.
    Nowhere,
    /// One file, for every data directory.
    File(PathBuf),
}

/// One pattern at one depth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// `sequential write`, `random read`, ...
    pub pattern: String,
    /// Bytes of one operation.
    pub block_bytes: u32,
    /// Operations in flight at once.
    pub depth: u32,
    /// Operations completed in a second.
    pub per_second: u64,
    /// Half of them took at most this long, in microseconds.
    pub p50_us: u32,
    /// All but one in a hundred took at most this long, in microseconds.
    pub p99_us: u32,
}

impl Measured {
    /// Bytes moved in a second.
    #[must_use]
    pub const fn bytes_per_second(&self) -> u64 {
        self.per_second * self.block_bytes as u64
    }
}

/// How many operations are worth having in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// Reads of the whole broker.
    pub reads_in_flight_max: u32,
    /// Writes of the whole broker.
    pub writes_in_flight_max: u32,
}

/// The file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IoProperties {
    /// Of this layout.
    pub version: u32,
    /// When it was measured, in milliseconds since 1970.
    pub measured_at_ms: u64,
    /// Bytes of the file that was read and written.
    pub file_bytes: u64,
    /// What follows from it.
    pub bounds: Bounds,
    /// What was measured.
    #[serde(default)]
    pub measured: Vec<Measured>,
}

/// Why a file is not to be gone by.
#[derive(Debug, thiserror::Error)]
pub enum IoPropertiesError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is not what `corelane tune disk` writes.
    #[error("{}: {message}; measure anew with: corelane tune disk --data DIR", path.display())]
    Unsound {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
}

impl IoProperties {
    /// With bounds that follow from what was measured: for reads and for writes the least depth of random
    /// operations that reaches nine tenths of the most that any depth does.
    #[must_use]
    pub fn new(measured_at_ms: u64, file_bytes: u64, measured: Vec<Measured>) -> Self {
        let bound = |pattern: &str| {
            let of_pattern = || measured.iter().filter(|one| one.pattern == pattern);
            let most = of_pattern().map(|one| one.per_second).max().unwrap_or_default();
            let enough =
                of_pattern().filter(|one| one.per_second * 10 >= most * 9).map(|one| one.depth).min();
            enough.unwrap_or(1).clamp(*IN_FLIGHT.start(), *IN_FLIGHT.end())
        };
        let bounds =
            Bounds { reads_in_flight_max: bound("random read"), writes_in_flight_max: bound("random write") };
        Self { version: VERSION, measured_at_ms, file_bytes, bounds, measured }
    }

    /// Those of a data directory; `None` if it was never measured.
    ///
    /// # Errors
    /// See [`IoPropertiesError`].
    pub fn of(data: &Path) -> Result<Option<Self>, IoPropertiesError> {
        match Self::read(&data.join(IO_PROPERTIES)) {
            Err(IoPropertiesError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            found => found.map(Some),
        }
    }

    /// Those in a file.
    ///
    /// # Errors
    /// See [`IoPropertiesError`].
    pub fn read(path: &Path) -> Result<Self, IoPropertiesError> {
        let path = path.to_owned();
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text).map_err(|message| IoPropertiesError::Unsound { path, message }),
            Err(source) => Err(IoPropertiesError::Io { path, source }),
        }
    }

    /// From the text of a file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let found: Self = toml::from_str(text).map_err(|error| error.message().replace('\n', ", "))?;
        let Bounds { reads_in_flight_max, writes_in_flight_max } = found.bounds;
        if found.version != VERSION {
            return Err(format!("it has version {}, this corelane knows {VERSION}", found.version));
        }
        if let Some(wrong) =
            [reads_in_flight_max, writes_in_flight_max].iter().find(|bound| !IN_FLIGHT.contains(bound))
        {
            return Err(format!("{wrong} in flight, expected {} to {}", IN_FLIGHT.start(), IN_FLIGHT.end()));
        }
        Ok(found)
    }

    /// The text of the file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let body =
            toml::to_string(self).unwrap_or_else(|error| unreachable!("plain numbers and text: {error}"));
        format!("# Measured by `corelane tune disk`.\n{body}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(pattern: &str, depth: u32, per_second: u64) -> Measured {
        Measured {
            pattern: pattern.to_owned(),
            block_bytes: 4096,
            depth,
            per_second,
            p50_us: 80,
            p99_us: 200,
        }
    }

    fn example() -> IoProperties {
        let reads = [(1, 10_000), (4, 39_000), (16, 95_000), (64, 100_000)];
        let writes = [(1, 20_000), (4, 21_000), (16, 19_000)];
        let all = reads.map(|(depth, rate)| measured("random read", depth, rate)).into_iter();
        let all = all.chain(writes.map(|(depth, rate)| measured("random write", depth, rate)));
        IoProperties::new(1_700_000_000_000, 1 << 29, all.collect())
    }

    #[test]
    fn the_least_depth_that_is_nearly_as_fast_as_any_is_the_bound() {
        assert_eq!(example().bounds, Bounds { reads_in_flight_max: 16, writes_in_flight_max: 1 });
        let nothing = IoProperties::new(0, 0, Vec::new());
        assert_eq!(nothing.bounds, Bounds { reads_in_flight_max: 1, writes_in_flight_max: 1 });
    }

    #[test]
    fn what_is_written_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(IoProperties::of(directory.path()).unwrap(), None);
        fs::write(directory.path().join(IO_PROPERTIES), example().to_text()).unwrap();
        assert_eq!(IoProperties::of(directory.path()).unwrap(), Some(example()));
    }

    #[test]
    fn what_is_not_sound_is_refused_with_the_remedy() {
        let directory = tempfile::tempdir().unwrap();
        let text = example().to_text();
        for (text, sentence) in [
            (text.replace("version = 1", "version = 2"), "it has version 2"),
            (
                text.replace("reads_in_flight_max = 16", "reads_in_flight_max = 0"),
                "0 in flight, expected 1 to",
            ),
            (text.replace("file_bytes", "file_byte"), "unknown field `file_byte`"),
            (String::new(), "missing field"),
        ] {
            fs::write(directory.path().join(IO_PROPERTIES), text).unwrap();
            let error = IoProperties::of(directory.path()).unwrap_err().to_string();
            assert!(error.contains(sentence) && error.contains("corelane tune disk"), "{error}");
        }
    }
}
