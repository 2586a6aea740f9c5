//! One change of the host: how it is made, how it is taken back, and the command that says the same.
//!
//! Whatever stands here can be taken back from any state in between: before it was made, half made, made.

use std::{
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::host::Host;

/// One change, with all that is needed to take it back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Change {
    /// A value of the running kernel. A reboot takes it back too.
    Value {
        /// File below /proc/sys or /sys.
        path: PathBuf,
        /// What was there.
        found: String,
        /// What is to be there; none: the kernel changes it along with another one, so it must be restored.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wanted: Option<String>,
    },
    /// A file of configuration.
    File {
        /// Its path.
        path: PathBuf,
        /// What it held; none: it was not there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        found: Option<String>,
        /// What it is to hold.
        wanted: String,
    },
    /// A symbolic link where nothing was.
    Link {
        /// Its path.
        path: PathBuf,
        /// Where it points to.
        target: PathBuf,
    },
    /// A directory where nothing was.
    Directory {
        /// Its path.
        path: PathBuf,
    },
    /// A file that holds space, where nothing was.
    Space {
        /// Its path.
        path: PathBuf,
        /// Its size.
        bytes: u64,
    },
}

/// What became of taking a change back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Undone {
    /// It is as it was found.
    Restored,
    /// It was as found already.
    AsFound,
    /// What was changed is there no more: a device that is gone, a driver that was unloaded.
    Gone,
}

impl Change {
    /// What it changes.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::Value { path, .. }
            | Self::File { path, .. }
            | Self::Link { path, .. }
            | Self::Directory { path }
            | Self::Space { path, .. } => path,
        }
    }

    /// Whether a reboot takes it back.
    #[must_use]
    pub const fn is_volatile(&self) -> bool {
        matches!(self, Self::Value { .. })
    }

    /// Makes it.
    ///
    /// # Errors
    /// What the system refuses. [`Self::undo`] works then too.
    pub fn apply(&self, host: &Host) -> io::Result<()> {
        match self {
            Self::Value { wanted: None, .. } => Ok(()),
            Self::Value { path, wanted: Some(wanted), .. } => host.set_value(path, wanted),
            Self::File { path, wanted, .. } => host.put(path, wanted),
            Self::Link { path, target } => host.make_link(path, target),
            Self::Directory { path } => host.make_directory(path),
            Self::Space { path, bytes } => host.take_space(path, *bytes),
        }
    }

    /// Takes it back, however far it came.
    ///
    /// # Errors
    /// What the system refuses. It can be tried again.
    pub fn undo(&self, host: &Host) -> io::Result<Undone> {
        let was_there = std::fs::symlink_metadata(host.real(self.path())).is_ok();
        match self {
            Self::Value { .. } if !was_there => return Ok(Undone::Gone),
            Self::Value { path, found, .. } => {
                if host.value(path)? == *found {
                    return Ok(Undone::AsFound);
                }
                host.set_value(path, found)?;
            }
            Self::File { path, found: Some(found), .. } => host.put(path, found)?,
            Self::File { path, found: None, .. } | Self::Link { path, .. } | Self::Space { path, .. } => {
                host.remove(path)?;
            }
            Self::Directory { path } => host.remove_directory(path)?,
        }
        Ok(if was_there { Undone::Restored } else { Undone::AsFound })
    }

    /// The shell command that makes it; none for what the kernel changes along.
    #[must_use]
    pub fn command(&self) -> Option<String> {
        match self {
            Self::Value { path, wanted, .. } => wanted.as_ref().map(|wanted| echo(wanted, path)),
            Self::File { path, wanted, .. } => Some(print(wanted, path)),
            Self::Link { path, target } => Some(format!("ln -s {} {}", target.display(), path.display())),
            Self::Directory { path } => Some(format!("mkdir {}", path.display())),
            Self::Space { path, bytes } => Some(format!("fallocate -l {bytes} {}", path.display())),
        }
    }

    /// The shell command that takes it back.
    #[must_use]
    pub fn undo_command(&self) -> String {
        match self {
            Self::Value { path, found, .. } => echo(found, path),
            Self::File { path, found: Some(found), .. } => print(found, path),
            Self::File { path, found: None, .. } | Self::Link { path, .. } | Self::Space { path, .. } => {
                format!("rm -f {}", path.display())
            }
            Self::Directory { path } => format!("rmdir {}", path.display()),
        }
    }
}

fn echo(value: &str, path: &Path) -> String {
    let plain = value.chars().all(|c| c.is_ascii_alphanumeric() || "-_.,+".contains(c)) && !value.is_empty();
    let value = if plain { value.to_owned() } else { format!("'{value}'") };
    format!("echo {value} > {}", path.display())
}

fn print(text: &str, path: &Path) -> String {
    format!("printf '{}' > {}", text.replace('\'', "'\\''").replace('\n', "\\n"), path.display())
}
