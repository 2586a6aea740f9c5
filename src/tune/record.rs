//! The record: what was found before it was changed, written down and made durable before the first change.
//!
//! One TOML file, always whole: a new one replaces the old one by rename. A crash anywhere between leaves either
//! a record of changes of which some were not made yet, or no record and no change; [`Change::undo`] takes
//! both. What is found is written down once: a later `apply` finds our own values and does not record them.
//! Values of the running kernel end with its boot, and so does what the record says of them.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{change::Change, host::Host};

/// Where it lies if nobody says otherwise.
pub const RECORD: &str = "/var/lib/corelane/tune.toml";

const VERSION: u32 = 1;

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// Why there is no record to go by.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It cannot be read or written.
    #[error("record {}: cannot {step}: {source}", path.display())]
    Io {
        /// The record.
        path: PathBuf,
        /// What we were at.
        step: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// It is no record of ours.
    #[error("record {} cannot be understood: {message}; nothing was changed", path.display())]
    Damaged {
        /// The record.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// Somebody else is at it.
    #[error("another `corelane tune` is at work with {}", path.display())]
    Busy {
        /// The record.
        path: PathBuf,
    },
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Contents {
    version: u32,
    /// Of the kernel that the values were found in.
    boot_id: String,
    #[serde(default, rename = "change")]
    changes: Vec<Change>,
}

/// The record of one host, held by one process.
pub struct Record {
    path: PathBuf,
    contents: Contents,
    /// The kernel's lock on the record's directory; dies with the process.
    _lock: File,
}

impl Record {
    /// Reads it, or begins one; its directory is created if need be.
    ///
    /// # Errors
    /// See [`RecordError`].
    pub fn open(host: &Host, path: &Path) -> Result<Self, RecordError> {
        let above = directory_of(path);
        fs::create_dir_all(above).map_err(failed(path, "create its directory"))?;
        Self::open_in(host, path)
    }

    /// Reads it; `None` if there is none.
    ///
    /// # Errors
    /// See [`RecordError`].
    pub fn open_existing(host: &Host, path: &Path) -> Result<Option<Self>, RecordError> {
        if path.exists() {
            return Self::open_in(host, path).map(Some);
        }
        // Killed before the first record was whole: then nothing was changed, and this is all there is.
        match host.remove_real(path) {
            Err(source) if source.kind() != io::ErrorKind::PermissionDenied => {
                Err(failed(path, "remove what is left of it")(source))
            }
            _ => Ok(None),
        }
    }

    fn open_in(host: &Host, path: &Path) -> Result<Self, RecordError> {
        let lock = File::open(directory_of(path)).map_err(failed(path, "open its directory"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Err(RecordError::Busy { path: path.to_owned() }),
            Err(fs::TryLockError::Error(error)) => return Err(failed(path, "lock its directory")(error)),
        }
        let boot_id = host.read(Path::new(BOOT_ID)).unwrap_or_default();
        let mut contents = match fs::read_to_string(path) {
            Ok(text) => {
                parse(&text).map_err(|message| RecordError::Damaged { path: path.to_owned(), message })?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Contents::default(),
            Err(error) => return Err(failed(path, "read it")(error)),
        };
        if contents.boot_id != boot_id {
            contents.changes.retain(|change| !change.is_volatile());
        }
        contents = Contents { version: VERSION, boot_id, ..contents };
        Ok(Self { path: path.to_owned(), contents, _lock: lock })
    }

    /// All that may have been changed, in the order in which it is to be taken back.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.contents.changes
    }

    /// Adds what is about to be changed, and returns when that is durable.
    ///
    /// # Errors
    /// It could not be written; the former record stands.
    pub fn add(&mut self, host: &Host, changes: &[Change]) -> Result<(), RecordError> {
        for change in changes {
            let known = self.contents.changes.iter().any(|known| known.path() == change.path());
            if !known {
                self.contents.changes.push(change.clone());
            }
        }
        self.write(host)
    }

    /// Keeps only `changes`, those that could not be taken back; without any, the record goes.
    ///
    /// # Errors
    /// It could not be written; the former record stands, and `undo` can be run again.
    pub fn keep(&mut self, host: &Host, changes: Vec<Change>) -> Result<(), RecordError> {
        self.contents.changes = changes;
        if !self.contents.changes.is_empty() {
            return self.write(host);
        }
        host.remove_real(&self.path).map_err(failed(&self.path, "remove it"))?;
        if self.path.ends_with(RECORD.trim_start_matches('/')) {
            // Ours, unless somebody keeps something there: then it stays.
            let _ = fs::remove_dir(directory_of(&self.path));
        }
        Ok(())
    }

    fn write(&self, host: &Host) -> Result<(), RecordError> {
        let text = toml::to_string(&self.contents)
            .map_err(|error| RecordError::Damaged { path: self.path.clone(), message: error.to_string() })?;
        let text = format!("# What `corelane tune apply` found; `corelane tune undo` restores it.\n{text}");
        host.put_real(&self.path, &text).map_err(failed(&self.path, "write it"))
    }
}

fn parse(text: &str) -> Result<Contents, String> {
    let contents: Contents = toml::from_str(text).map_err(|error| error.message().to_owned())?;
    if contents.version != VERSION {
        return Err(format!("it has version {}, this corelane knows {VERSION}", contents.version));
    }
    Ok(contents)
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn failed<'a>(path: &'a Path, step: &'static str) -> impl FnOnce(io::Error) -> RecordError + 'a {
    move |source| RecordError::Io { path: path.to_owned(), step, source }
}
