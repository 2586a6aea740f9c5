//! What can go wrong, and what state it leaves.

use std::{
    io,
    path::{Path, PathBuf},
};

use crate::model::Offset;

/// Why the log could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A write or a sync has failed: unknown what reached the disk. Nothing is taken until a restart.
    #[error("the shard's disk has failed: {why}")]
    Failed {
        /// What failed.
        why: String,
    },
    /// Nothing written. No space for segments; clears by itself once there is.
    #[error("no space left on the disk")]
    DiskFull,
    /// The store is being closed; nothing written.
    #[error("the store is closing")]
    Closing,
    /// There is no such log: deleted, or not of this store.
    #[error("no such log")]
    UnknownLog,
    /// Acknowledged bytes cannot be read back; see [`crate::log::recovery`]. Offsets below `start` can be read.
    #[error("offsets {start} to {end} cannot be read back")]
    Quarantined {
        /// First offset that is missing.
        start: Offset,
        /// Offset after the last that is missing.
        end: Offset,
    },
    /// The offset lies outside the log.
    #[error("offset {offset} is not within {start} to {end}")]
    OffsetOutOfRange {
        /// What was asked for.
        offset: Offset,
        /// Log start offset.
        start: Offset,
        /// Log end offset.
        end: Offset,
    },
    /// Nothing written. The batch is larger than a journal file can take.
    #[error("a batch of {bytes} bytes, at most {bytes_max} fit")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The largest that fits.
        bytes_max: usize,
    },
    /// A segment does not hold what it must; nothing was changed.
    #[error("{segment}: no batch at position {position}")]
    Damaged {
        /// The segment file.
        segment: String,
        /// Where a batch should start.
        position: u64,
    },
    /// Reading or naming failed.
    #[error("{path}: {source}")]
    Io {
        /// What was worked on.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
}

/// Why a data directory could not be opened. Nothing was changed that a later start would miss.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The kernel refused.
    #[error("{path}: {source}")]
    Io {
        /// What was worked on.
        path: PathBuf,
        /// The kernel's word.
        source: io::Error,
    },
    /// A file that recovery cannot do without is missing or damaged.
    #[error("{path}: {why}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl OpenError {
    pub(super) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io { path: path.to_path_buf(), source }
    }

    pub(super) fn damaged(path: &Path, why: &str) -> Self {
        Self::Damaged { path: path.to_path_buf(), why: why.to_owned() }
    }
}
