//! The data directories of a broker whose cores have disks of their own (`log.dir` of a `[[shard]]`).
//!
//! The first (`log.dir`) has the cluster's metadata and says which generation of journals is valid; any may have
//! logs and journals. Each has an id; the first remembers the others, and these name the first, so that a log is
//! found whichever core made it, and nothing is taken for empty because its disk is not mounted.
//!
//! A directory is remembered for as long as there is a log or a journal in it. It may move: then it is known by its
//! id under the name that a core has for it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{
    StartError,
    data_directory::{
        DataLock, Format, Member, ONE_VERSION, claim, lock_data_directory, read_format, refuse_member,
        take_lock, write_format,
    },
};
use crate::{config::Settings, model::ShardId};

/// Directories beyond the first that one broker has.
const OTHERS_MAX: usize = crate::config::SHARDS_MAX;

/// What a data directory has once there are logs in it, or journals.
const DATA: [&str; 3] = ["topics", "shards", "orphaned"];

/// The right to use the directories of one broker.
#[derive(Debug)]
pub struct DataDirectories {
    all: Vec<PathBuf>,
    of_shards: Vec<PathBuf>,
    #[allow(dead_code, reason = "held for their Drop")]
    pub(super) locks: Vec<DataLock>,
}

impl DataDirectories {
    /// Every directory, the first one first.
    #[must_use]
    pub fn all(&self) -> &[PathBuf] {
        &self.all
    }

    /// The one of each shard, as it is called in [`DataDirectories::all`].
    #[must_use]
    pub fn of_shards(&self) -> &[PathBuf] {
        &self.of_shards
    }
}

/// Creates and locks the directories of the settings, and those that are remembered. All are looked at before a format
/// is written in any: one that is refused leaves the others free for another broker.
///
/// # Errors
/// Any [`StartError`] about a data directory.
pub fn open_data_directories(settings: &Settings) -> Result<DataDirectories, StartError> {
    let first = &settings.data_dir;
    let (mut locks, mut wanted, mut of_shards) = (Vec::new(), Vec::<(PathBuf, PathBuf)>::new(), Vec::new());
    let own = (0..settings.shards.len() as u16).map(|shard| settings.data_dir_of(ShardId(shard)));
    for (place, path) in std::iter::once(first.as_path()).chain(own).enumerate() {
        // One that is not there yet is none that is known.
        let real = fs::canonicalize(path).ok();
        let known =
            wanted.iter().find(|(known, _)| Some(known) == real.as_ref()).map(|(_, path)| path.clone());
        let path = match known {
            Some(path) => path,
            None => {
                locks.push(claim(path, settings.allow_tmpfs)?);
                wanted.push((resolved(path)?, path.to_owned()));
                path.to_owned()
            }
        };
        if place > 0 {
            of_shards.push(path);
        }
    }
    let former = read_format(first)?;
    if let Some(format) = &former {
        refuse_member(first, format)?;
    }
    let mut format = former.clone().unwrap_or_else(Format::new);
    let mut all: Vec<PathBuf> = wanted.iter().map(|(_, path)| path.clone()).collect();
    if wanted.len() > 1 || !format.others.is_empty() {
        let id = match format.id.take() {
            Some(id) => id,
            None => new_id(first)?,
        };
        let own = Member { id: id.clone(), path: wanted[0].0.clone() };
        let others = wanted[1..].iter().map(|(real, path)| check_other(path, &own, &format.others, real));
        let known = others.collect::<Result<Vec<_>, _>>()?;
        let mut remembered = Vec::new();
        for member in std::mem::take(&mut format.others) {
            if known.contains(&Some(member.id.clone())) {
                continue;
            }
            check_member(&member, &own)?;
            if has_data(&member.path).map_err(|source| failed(&member.path, "list it", source))? {
                locks.push(take_lock(&member.path)?);
                all.push(member.path.clone());
                remembered.push(member);
            }
        }
        (format.version, format.id) = (ONE_VERSION, Some(id));
        if known.iter().any(Option::is_none) && former.as_ref().is_none_or(|former| former.id.is_none()) {
            // Before anything names it.
            write_format(first, &format)?;
        }
        for (known, (real, path)) in known.into_iter().zip(&wanted[1..]) {
            let id = match known {
                Some(id) => id,
                None => enter(path, &own)?,
            };
            format.others.push(Member { id, path: real.clone() });
        }
        format.others.extend(remembered);
        assert!(format.others.len() <= 2 * OTHERS_MAX, "{} data directories", format.others.len());
    }
    let format = format.versioned();
    if former.as_ref() != Some(&format) {
        write_format(first, &format)?;
    }
    Ok(DataDirectories { all, of_shards, locks })
}

/// Locks a data directory that is a broker's first, and those it remembers, to read them; makes nothing else.
///
/// # Errors
/// [`StartError::Locked`] while a broker runs on one, or another [`StartError`] about a data directory.
pub fn lock_data_directories(first: &Path) -> Result<DataDirectories, StartError> {
    let (mut locks, mut all) = (vec![lock_data_directory(first)?], vec![first.to_owned()]);
    let format = read_format(first)?.unwrap_or_else(Format::new);
    let own = Member { id: format.id.unwrap_or_default(), path: first.to_owned() };
    for member in format.others {
        check_member(&member, &own)?;
        locks.push(take_lock(&member.path)?);
        all.push(member.path);
    }
    Ok(DataDirectories { all, of_shards: Vec::new(), locks })
}

/// Whether a directory may be taken for a core. Says what its id is; `None`: it has none yet.
fn check_other(
    path: &Path,
    first: &Member,
    remembered: &[Member],
    real: &Path,
) -> Result<Option<String>, StartError> {
    match read_format(path)? {
        Some(Format { id: Some(id), of: Some(of), .. }) if of.id == first.id => Ok(Some(id)),
        Some(Format { of: Some(of), .. }) => {
            Err(StartError::OfAnother { path: path.to_owned(), first: of.path })
        }
        Some(_) => Err(StartError::First { path: path.to_owned() }),
        None if remembered.iter().any(|member| member.path == real) => {
            Err(StartError::Missing { path: path.to_owned(), first: first.path.clone() })
        }
        None => Ok(None),
    }
}

/// Makes a directory one of the broker's; says what its id is from now on.
fn enter(path: &Path, first: &Member) -> Result<String, StartError> {
    let id = new_id(path)?;
    let format = Format { id: Some(id.clone()), of: Some(first.clone()), ..Format::new() };
    write_format(path, &format.versioned())?;
    Ok(id)
}

/// Whether a remembered directory is where it was.
fn check_member(member: &Member, first: &Member) -> Result<(), StartError> {
    match read_format(&member.path)? {
        Some(Format { id: Some(id), .. }) if id == member.id => Ok(()),
        _ => Err(StartError::Missing { path: member.path.clone(), first: first.path.clone() }),
    }
}

fn has_data(path: &Path) -> io::Result<bool> {
    for name in DATA {
        match fs::read_dir(path.join(name)) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Ok(true);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// The one name of a directory that exists.
fn resolved(path: &Path) -> Result<PathBuf, StartError> {
    fs::canonicalize(path).map_err(|source| failed(path, "find it", source))
}

fn failed(path: &Path, step: &'static str, source: io::Error) -> StartError {
    StartError::DataDirectory { path: path.to_owned(), step, source }
}

fn new_id(of: &Path) -> Result<String, StartError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| failed(of, "give it an id", io::Error::other(error.to_string())))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Assignment, Cpu, load};

    /// Beside this program, since the directory for temporary files may be in memory.
    fn directory() -> tempfile::TempDir {
        tempfile::tempdir_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap()
    }

    /// The broker with its first directory `first`, and one for each of these cores; "": none.
    fn open(first: &Path, own: &[&Path]) -> Result<DataDirectories, StartError> {
        let mut text = format!("allow.tmpfs = true\nlog.dir = \"{}\"\n", first.display());
        for (core, path) in own.iter().enumerate() {
            text += &format!("[[shard]]\ncore = {core}\nlog.dir = \"{}\"\n", path.display());
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        let cpus = [0, 1].map(|core| Cpu { core, numa_node: 0 });
        open_data_directories(&load(Some(file.path()), &[] as &[Assignment], &cpus).unwrap())
    }

    #[test]
    fn one_directory_stays_as_it_always_was() {
        let directory = directory();
        let first = directory.path().join("a");
        assert_eq!(open(&first, &[Path::new(""), &first]).unwrap().all(), std::slice::from_ref(&first));
        assert_eq!(fs::read_to_string(first.join("format")).unwrap(), "{\"version\":1}");
    }

    #[test]
    fn a_directory_with_data_is_remembered_and_one_without_is_not() {
        let directory = directory();
        let [a, b, c] = ["a", "b", "c"].map(|name| directory.path().join(name));
        assert_eq!(open(&a, &[&b, &c]).unwrap().all(), [a.clone(), b.clone(), c.clone()]);
        fs::create_dir_all(b.join("topics/t")).unwrap();
        assert_eq!(open(&a, &[]).unwrap().all(), [a.clone(), b.clone()], "b has a log, c has none");
        assert_eq!(lock_data_directories(&a).unwrap().all(), [a.clone(), b.clone()]);
        let held = open(&a, &[]).unwrap();
        let error = open(&a, &[]).unwrap_err();
        assert!(matches!(error, StartError::Locked { .. }), "{error}");
        drop(held);
        assert_eq!(open(&a, &[Path::new(""), &c]).unwrap().all(), [a.clone(), c, b.clone()], "c again");
        fs::remove_dir_all(b.join("topics")).unwrap();
        assert_eq!(open(&a, &[]).unwrap().all(), [a]);
    }

    #[test]
    fn a_disk_that_is_not_mounted_is_missed_and_a_moved_one_is_known() {
        let directory = directory();
        let [a, b, c] = ["a", "b", "c"].map(|name| directory.path().join(name));
        drop(open(&a, &[&b]).unwrap());
        fs::create_dir_all(b.join("topics/t")).unwrap();
        fs::rename(&b, &c).unwrap();
        for own in [&[][..], &[b.as_path()]] {
            let error = open(&a, own).unwrap_err();
            assert!(matches!(error, StartError::Missing { .. }), "{error}");
            assert!(error.to_string().contains("mount its disk"), "{error}");
            fs::create_dir_all(&b).unwrap();
        }
        assert_eq!(open(&a, &[&c]).unwrap().all(), [a.clone(), c.clone()]);
        assert_eq!(open(&a, &[]).unwrap().all(), [a, c]);
    }

    #[test]
    fn a_start_that_is_refused_gives_no_directory_to_the_broker() {
        let directory = directory();
        let [a, b, c, other] = ["a", "b", "c", "other"].map(|name| directory.path().join(name));
        fs::create_dir_all(&c).unwrap();
        fs::write(c.join("thesis.odt"), "precious").unwrap();
        let error = open(&a, &[&b, &c]).unwrap_err();
        assert!(matches!(error, StartError::Foreign { .. }), "{error}");
        assert_eq!([&a, &b].map(|path| read_format(path).unwrap()), [None, None]);
        assert_eq!(open(&other, &[&b]).unwrap().all(), [other, b]);
    }

    #[test]
    fn memory_is_refused_for_a_core_too_and_leaves_no_trace() {
        let Ok(shm) = tempfile::tempdir_in("/dev/shm") else { return };
        let directory = directory();
        let (first, own) = (directory.path().join("a"), shm.path().join("b"));
        let text = format!("log.dir = {first:?}\n[[shard]]\ncore = 1\nlog.dir = {own:?}\n");
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        let cpus = [0, 1].map(|core| Cpu { core, numa_node: 0 });
        let settings = load(Some(file.path()), &[] as &[Assignment], &cpus).unwrap();
        let error = open_data_directories(&settings).unwrap_err();
        assert!(matches!(error, StartError::Tmpfs { .. }), "{error}");
        assert!(!own.exists());
    }

    #[test]
    fn an_older_broker_refuses_directories_that_it_would_not_understand() {
        let directory = directory();
        let [a, b] = ["a", "b"].map(|name| directory.path().join(name));
        drop(open(&a, &[&b]).unwrap());
        for path in [&a, &b] {
            let text = fs::read_to_string(path.join("format")).unwrap();
            assert!(text.starts_with("{\"version\":2,"), "{text}");
        }
        drop(open(&a, &[]).unwrap());
        let text = fs::read_to_string(a.join("format")).unwrap();
        assert!(
            text.starts_with("{\"version\":1,"),
            "b had nothing, and one directory is as it always was: {text}"
        );
    }

    #[test]
    fn what_is_another_broker_s_is_refused() {
        let directory = directory();
        let [a, b, other] = ["a", "b", "other"].map(|name| directory.path().join(name));
        drop(open(&a, &[&b]).unwrap());
        drop(open(&other, &[]).unwrap());
        let error = open(&a, &[&other]).unwrap_err();
        assert!(matches!(error, StartError::First { .. }), "{error}");
        for error in [open(&other, &[&b]).unwrap_err(), open(&b, &[]).unwrap_err()] {
            assert!(matches!(error, StartError::OfAnother { .. }), "{error}");
            assert!(error.to_string().contains("belongs to the broker whose data directory is"), "{error}");
        }
    }
}
