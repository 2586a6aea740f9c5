//! check, apply and undo over all knobs.

use std::{io, path::PathBuf};

use super::{
    change::{Change, Undone},
    host::{Host, may_write_below},
    knob::{Finding, Knob, NoFinding, Scene, State},
    profile::Wanted,
    record::{Record, RecordError},
};

/// What one knob has found.
pub struct Look {
    /// The knob.
    pub knob: &'static Knob,
    /// What it found, or why not.
    pub found: Result<Vec<Finding>, NoFinding>,
}

/// Why `apply` or `undo` did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum TuneError {
    /// Nothing was changed.
    #[error("{}", refused_text(.0))]
    NotPermitted(Vec<(PathBuf, io::Error)>),
    /// What had been changed was taken back.
    #[error(
        "{}: {source}; this process lacks a right that opening the file did not ask for. What had been changed \
         before was taken back. Run it as root of the host, or print the commands with --dry-run",
        path.display()
    )]
    TakenBack {
        /// What was refused.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Some values could not be restored. They stay in the record.
    #[error("{} could not be restored and stay in the record: {}", .0.len(), list(.0))]
    NotRestored(Vec<(PathBuf, io::Error)>),
    /// The record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A profile asks for what makes no sense.
    #[error("{knob} is to be \"{wanted}\", expected {expected}; nothing was changed")]
    BadWanted {
        /// Name of the knob.
        knob: &'static str,
        /// What was wanted.
        wanted: String,
        /// What would do.
        expected: String,
    },
}

/// Files that a message names; it counts the rest.
const NAMED_MAX: usize = 4;

fn list(refused: &[(PathBuf, io::Error)]) -> String {
    let named = refused.iter().take(NAMED_MAX).map(|(path, error)| format!("{}: {error}", path.display()));
    let named = named.collect::<Vec<_>>().join("; ");
    match refused.len().saturating_sub(NAMED_MAX) {
        0 => named,
        more => format!("{named}; and {more} more"),
    }
}

fn refused_text(refused: &[(PathBuf, io::Error)]) -> String {
    let read_only = refused.iter().any(|(_, error)| error.kind() == io::ErrorKind::ReadOnlyFilesystem);
    let remedy = if read_only {
        "they are read-only here, as in a container: run it on the host (or with --privileged)"
    } else {
        "run it as root (sudo corelane tune apply ...)"
    };
    format!(
        "nothing was changed: {} of the files may not be written: {}\n{remedy}, choose what needs no such right with \
         --only, or print the commands with --dry-run",
        refused.len(),
        list(refused)
    )
}

/// Looks at every knob of `knobs` that the profile does not leave alone.
///
/// # Errors
/// [`TuneError::BadWanted`].
pub fn look(
    scene: &Scene<'_>,
    knobs: impl IntoIterator<Item = &'static Knob>,
    wanted: &Wanted,
) -> Result<Vec<Look>, TuneError> {
    let mut looks = Vec::new();
    for knob in knobs {
        let Some(wanted) = wanted.of_knob(knob) else { continue };
        let found = (knob.look)(scene, wanted);
        if let Err(NoFinding::BadWanted(expected)) = found {
            return Err(TuneError::BadWanted { knob: knob.name, wanted: wanted.to_owned(), expected });
        }
        looks.push(Look { knob, found });
    }
    Ok(looks)
}

/// Whether everything that is judged is as wanted, and could be read.
#[must_use]
pub fn all_fits(looks: &[Look]) -> bool {
    looks.iter().all(|look| match &look.found {
        Ok(findings) => {
            findings.iter().all(|finding| finding.state != State::Differs || finding.may_be_refused)
        }
        Err(NoFinding::NotHere(_)) => true,
        Err(NoFinding::BadWanted(_) | NoFinding::Unreadable(_)) => false,
    })
}

/// The changes that would make everything as wanted, each with whether the kernel may refuse it.
pub fn changes(looks: &[Look]) -> impl Iterator<Item = (&Change, bool)> {
    looks
        .iter()
        .flat_map(|look| look.found.iter().flatten())
        .flat_map(|finding| finding.changes.iter().map(|change| (change, finding.may_be_refused)))
}

/// What `apply` has done.
#[derive(Debug, Default)]
pub struct Applied {
    /// What was changed.
    pub changed: Vec<Change>,
    /// What the kernel does not take, and what it says.
    pub refused: Vec<(Change, io::Error)>,
}

/// Makes everything as wanted. What is found is in the record, durably, before the first change.
///
/// # Errors
/// After [`TuneError::NotPermitted`] nothing is changed, after [`TuneError::TakenBack`] nothing is left changed.
pub fn apply(host: &Host, looks: &[Look], record: &std::path::Path) -> Result<Applied, TuneError> {
    let planned: Vec<_> = changes(looks).map(|(change, may)| (change.clone(), may)).collect();
    if planned.is_empty() {
        return Ok(Applied::default());
    }
    let mut refused: Vec<_> = planned
        .iter()
        .filter_map(|(change, _)| Some((change.path().to_owned(), host.may_write(change.path()).err()?)))
        .collect();
    if let Err(error) = may_write_below(record) {
        refused.push((record.to_owned(), error));
    }
    if !refused.is_empty() {
        return Err(TuneError::NotPermitted(refused));
    }
    let mut record = Record::open(host, record)?;
    let before = record.changes().to_vec();
    let all: Vec<_> = planned.iter().map(|(change, _)| change.clone()).collect();
    record.add(host, &all)?;
    let mut applied = Applied::default();
    for (change, may_be_refused) in planned {
        match change.apply(host) {
            Ok(()) if change.command().is_some() => applied.changed.push(change),
            Ok(()) => {}
            Err(source) if lacks_right(&source) && !may_be_refused => {
                let path = change.path().to_owned();
                take_back(host, &all)?;
                record.keep(host, before)?;
                return Err(TuneError::TakenBack { path, source });
            }
            Err(_) if may_be_refused => {}
            Err(source) => applied.refused.push((change, source)),
        }
    }
    Ok(applied)
}

fn lacks_right(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

/// Takes changes back in the order in which they were made: a value that another one resets comes after it.
/// Directories come last, once they are empty.
fn take_back(host: &Host, changes: &[Change]) -> Result<Vec<(Change, Undone)>, TuneError> {
    let (directories, others): (Vec<_>, Vec<_>) =
        changes.iter().partition(|change| matches!(change, Change::Directory { .. }));
    let mut done = Vec::new();
    let mut failed = Vec::new();
    for change in others.into_iter().chain(directories.into_iter().rev()) {
        match change.undo(host) {
            Ok(undone) => done.push((change.clone(), undone)),
            Err(error) => failed.push((change.path().to_owned(), error)),
        }
    }
    if failed.is_empty() { Ok(done) } else { Err(TuneError::NotRestored(failed)) }
}

/// Restores what the record holds; `None` if there is none.
///
/// # Errors
/// [`TuneError::NotRestored`]: the rest is restored, and these can be tried again.
pub fn undo(host: &Host, record: &std::path::Path) -> Result<Option<Vec<(Change, Undone)>>, TuneError> {
    let Some(mut record) = Record::open_existing(host, record)? else { return Ok(None) };
    let changes = record.changes().to_vec();
    let taken = take_back(host, &changes);
    let left = match &taken {
        Err(TuneError::NotRestored(failed)) => {
            let is_left = |change: &Change| failed.iter().any(|(path, _)| path == change.path());
            changes.into_iter().filter(is_left).collect()
        }
        _ => Vec::new(),
    };
    record.keep(host, left)?;
    taken.map(Some)
}
