//! A knob: one thing of the host that matters to the broker, what it should be and why.
//!
//! A knob only looks: it says what is there, what is wanted, and which changes lead there. Making changes and
//! taking them back is the same for all of them ([`super::change`], [`super::record`]).

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use super::{
    change::Change,
    device::BlockDevice,
    host::{Host, choices},
};

/// One knob. Its file says more.
pub struct Knob {
    /// Name, as in `--only` and in the `[host]` section of a profile.
    pub name: &'static str,
    /// What is wanted if no profile says otherwise, as it would stand in one.
    pub wanted: &'static str,
    /// One sentence: what it does to a broker.
    pub why: &'static str,
    /// Looks at the host: what is there, what is wanted instead.
    pub look: fn(&Scene<'_>, &str) -> Result<Vec<Finding>, NoFinding>,
}

/// What a knob looks at.
pub struct Scene<'a> {
    /// The host.
    pub host: &'a Host,
    /// The data directory, absolute.
    pub data: &'a Path,
    /// The disks that it lies on, or why they are not known.
    pub disks: Result<Vec<BlockDevice>, String>,
}

/// Why a knob has found nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NoFinding {
    /// It does not apply to this host.
    NotHere(String),
    /// What is wanted makes no sense; the text says what would.
    BadWanted(String),
    /// Files that should say it cannot be read.
    Unreadable(String),
}

/// Whether a value is as wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is.
    Fits,
    /// It is not.
    Differs,
    /// It is told and not judged.
    Told,
}

/// One value of one knob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where: a file, a device, an interface.
    pub place: String,
    /// What is there.
    pub value: String,
    /// What is wanted there, as people say it.
    pub wanted: String,
    /// How they compare.
    pub state: State,
    /// What would make it so; empty if nothing here can.
    pub changes: Vec<Change>,
    /// The kernel may have its own mind about this one, and nobody needs to hear of it.
    pub may_be_refused: bool,
}

/// What a number is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// That or more.
    AtLeast(u64),
    /// That or less.
    AtMost(u64),
    /// Exactly that.
    Exactly(u64),
}

impl Bound {
    const fn holds(self, number: u64) -> bool {
        match self {
            Self::AtLeast(least) => number >= least,
            Self::AtMost(most) => number <= most,
            Self::Exactly(one) => number == one,
        }
    }

    const fn number(self) -> u64 {
        match self {
            Self::AtLeast(number) | Self::AtMost(number) | Self::Exactly(number) => number,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, "at least {least}"),
            Self::AtMost(most) => write!(f, "at most {most}"),
            Self::Exactly(one) => one.fmt(f),
        }
    }
}

impl Finding {
    /// A value that is told.
    #[must_use]
    pub fn told(place: impl Into<String>, value: impl Into<String>, wanted: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            value: value.into(),
            wanted: wanted.into(),
            state: State::Told,
            changes: Vec::new(),
            may_be_refused: false,
        }
    }

    /// A value that is as wanted, or that `changes` would make so.
    #[must_use]
    pub fn judged(
        place: impl Into<String>,
        value: impl Into<String>,
        wanted: impl Into<String>,
        fits: bool,
        changes: Vec<Change>,
    ) -> Self {
        Self {
            state: if fits { State::Fits } else { State::Differs },
            changes: if fits { Vec::new() } else { changes },
            ..Self::told(place, value, wanted)
        }
    }

    /// The same, where the kernel may refuse.
    #[must_use]
    pub fn refusable(self) -> Self {
        Self { may_be_refused: true, ..self }
    }

    /// Other values that the kernel changes along with this one, if it is to be changed.
    #[must_use]
    pub fn along_with(mut self, host: &Host, files: impl IntoIterator<Item = PathBuf>) -> Self {
        if !self.changes.is_empty() {
            let found = |path: PathBuf| {
                let found = host.value(&path).ok()?;
                Some(Change::Value { path, found, wanted: None })
            };
            self.changes.extend(files.into_iter().filter_map(found));
        }
        self
    }
}

/// The change of a value of the kernel.
#[must_use]
pub fn set(path: &Path, found: &str, wanted: impl Into<String>) -> Change {
    Change::Value { path: path.to_owned(), found: found.to_owned(), wanted: Some(wanted.into()) }
}

/// A number as a profile gives it.
///
/// # Errors
/// It is none.
pub fn number(wanted: &str) -> Result<u64, NoFinding> {
    wanted.parse().map_err(|_| NoFinding::BadWanted("a number".to_owned()))
}

/// That the host has no such thing.
pub fn not_here<T>(why: impl Into<String>) -> Result<T, NoFinding> {
    Err(NoFinding::NotHere(why.into()))
}

/// What it means that a file cannot be read.
#[must_use]
pub fn unreadable(path: &Path, error: &io::Error) -> NoFinding {
    match error.kind() {
        io::ErrorKind::NotFound => NoFinding::NotHere(format!("there is no {}", path.display())),
        _ => NoFinding::Unreadable(format!("{}: {error}", path.display())),
    }
}

impl Scene<'_> {
    /// The value of a file.
    ///
    /// # Errors
    /// The file is not there, or cannot be read.
    pub fn value(&self, path: &Path) -> Result<String, NoFinding> {
        self.host.value(path).map_err(|error| unreadable(path, &error))
    }

    /// A file that holds one number.
    ///
    /// # Errors
    /// The file is not there, or holds no number.
    pub fn number_in(&self, path: &Path, bound: Bound) -> Result<Finding, NoFinding> {
        let value = self.value(path)?;
        let held: u64 = value
            .parse()
            .map_err(|_| NoFinding::Unreadable(format!("{} holds \"{value}\"", path.display())))?;
        let change = set(path, &value, bound.number().to_string());
        let fits = bound.holds(held);
        Ok(Finding::judged(path.display().to_string(), value, bound.to_string(), fits, vec![change]))
    }

    /// A file that holds one word, or a list of words of which one is chosen. `offered` is where the words
    /// stand that it takes.
    ///
    /// # Errors
    /// The file is not there, or does not take that word.
    pub fn word_in(&self, path: &Path, offered: &Path, wanted: &str) -> Result<Finding, NoFinding> {
        let offers = self.host.read(offered).map_err(|error| unreadable(offered, &error))?;
        let value = self.value(path)?;
        if !choices(&offers).any(|choice| choice == wanted) {
            let why =
                format!("{} offers {}, not {wanted}", offered.display(), offers.replace(['[', ']'], ""));
            return not_here(why);
        }
        let change = set(path, &value, wanted);
        let fits = value == wanted;
        Ok(Finding::judged(path.display().to_string(), value, wanted, fits, vec![change]))
    }

    /// The disks below the data directory.
    ///
    /// # Errors
    /// They are not known.
    pub fn disks(&self) -> Result<&[BlockDevice], NoFinding> {
        match &self.disks {
            Ok(disks) => Ok(disks),
            Err(why) => not_here(why.clone()),
        }
    }

    /// What one file of each disk's queue should hold.
    ///
    /// # Errors
    /// None of the disks has it.
    pub fn each_queue(
        &self,
        file: &str,
        look: impl Fn(&BlockDevice, &Path) -> Result<Finding, NoFinding>,
    ) -> Result<Vec<Finding>, NoFinding> {
        let found = self.disks()?.iter().map(|disk| look(disk, &disk.queue(file)));
        some_of(found)
    }
}

/// What was found where there was something; the last reason if there was nothing at all.
///
/// # Errors
/// Nothing was found, or something could not be read.
pub fn some_of(found: impl Iterator<Item = Result<Finding, NoFinding>>) -> Result<Vec<Finding>, NoFinding> {
    let mut findings = Vec::new();
    let mut absent = NoFinding::NotHere("there is none".to_owned());
    for each in found {
        match each {
            Ok(finding) => findings.push(finding),
            Err(why @ NoFinding::NotHere(_)) => absent = why,
            Err(error) => return Err(error),
        }
    }
    if findings.is_empty() { Err(absent) } else { Ok(findings) }
}
