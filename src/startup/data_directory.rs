//! The data directory: ours, on a disk, of a format we know, and used by nobody else.
//!
//! | file     | holds                                                                                   |
//! |----------|-----------------------------------------------------------------------------------------|
//! | `lock`   | process id of the broker that runs on it; the lock is the kernel's and dies with it     |
//! | `format` | `{"version":1}`: the layout of everything else, and written before it; 2 where a broker |
//! |          | has several directories, and then also which these are: see `directories`               |

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use rustix::fs::{Mode, OFlags};

use super::StartError;
use crate::config::io_properties::IO_PROPERTIES;

/// The newest version of the layout of a data directory that this code reads.
pub const FORMAT_VERSION: u64 = SEVERAL_VERSION;
/// The layout where a broker has one directory.
pub(super) const ONE_VERSION: u64 = 1;
/// The same where it has several: who does not know of others would take the logs in them for nobody's.
const SEVERAL_VERSION: u64 = 2;

const LOCK: &str = "lock";
const FORMAT: &str = "format";
const FORMAT_NEW: &str = "format.new";
/// What may stand in a directory that is still to become ours. `corelane tune` makes the third and fourth, ext4
/// the last one.
const NOT_FOREIGN: [&str; 5] = [LOCK, FORMAT_NEW, "ballast", IO_PROPERTIES, "lost+found"];

/// Source: statfs(2), `TMPFS_MAGIC` and `RAMFS_MAGIC`.
const IN_MEMORY: [i64; 2] = [0x0102_1994, 0x8584_58f6];

/// The right to use a data directory; given back when it is dropped, or when the process dies.
#[derive(Debug)]
pub struct DataLock {
    path: PathBuf,
    _held: File,
}

impl DataLock {
    /// The data directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The file `format`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Format {
    pub(super) version: u64,
    /// Random; only where a broker has several directories.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) id: Option<String>,
    /// In the broker's first directory: the others that may have its data.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) others: Vec<Member>,
    /// In one of the others: the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) of: Option<Member>,
}

/// A directory of a broker that has several.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Member {
    pub(super) id: String,
    pub(super) path: PathBuf,
}

impl Format {
    pub(super) const fn new() -> Self {
        Self { version: ONE_VERSION, id: None, others: Vec::new(), of: None }
    }

    /// The same, under the oldest version that knows all that it says.
    pub(super) fn versioned(self) -> Self {
        let is_alone = self.others.is_empty() && self.of.is_none();
        Self { version: if is_alone { ONE_VERSION } else { SEVERAL_VERSION }, ..self }
    }
}

/// Creates the directory if need be, takes its lock, and checks that it can hold our data; all but its format.
///
/// # Errors
/// Any [`StartError`] about a data directory.
pub(super) fn claim(path: &Path, allow_tmpfs: bool) -> Result<DataLock, StartError> {
    let failed = |step| move |source| StartError::DataDirectory { path: path.to_owned(), step, source };
    if !allow_tmpfs && is_in_memory(path).map_err(failed("ask its file system"))? {
        return Err(StartError::Tmpfs { path: path.to_owned() });
    }
    fs::create_dir_all(path).map_err(failed("create it"))?;
    refuse_foreign(path)?;
    let lock = take_lock(path)?;
    check_direct_io(path)?;
    Ok(lock)
}

/// The first directory of a broker is no other one's.
pub(super) fn refuse_member(path: &Path, format: &Format) -> Result<(), StartError> {
    match &format.of {
        Some(first) => Err(StartError::OfAnother { path: path.to_owned(), first: first.path.clone() }),
        None => Ok(()),
    }
}

/// Takes the lock of a data directory that is ours already, to read it; makes nothing else.
///
/// # Errors
/// [`StartError::Locked`] while a broker runs on it, or another [`StartError`] about a data directory.
pub fn lock_data_directory(path: &Path) -> Result<DataLock, StartError> {
    let failed =
        |source| StartError::DataDirectory { path: path.to_owned(), step: "find its format", source };
    fs::metadata(path).map_err(|source| StartError::DataDirectory {
        path: path.to_owned(),
        step: "find it",
        source,
    })?;
    match fs::metadata(path.join(FORMAT)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(StartError::NotOurs { path: path.to_owned() });
        }
        found => found.map_err(failed)?,
    };
    let lock = take_lock(path)?;
    if let Some(format) = read_format(path)? {
        refuse_member(path, &format)?;
    }
    Ok(lock)
}

/// Whether what we would write there would live in memory. Asks the nearest directory that exists.
fn is_in_memory(path: &Path) -> io::Result<bool> {
    let path = std::path::absolute(path)?;
    let existing = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
    // The width of the field differs between targets; the magic numbers fit all of them.
    let kind = rustix::fs::statfs(existing)?.f_type as u32;
    Ok(IN_MEMORY.iter().any(|&magic| magic as u32 == kind))
}

/// Refuses before anything is written, so that `--data /home` leaves no trace.
fn refuse_foreign(path: &Path) -> Result<(), StartError> {
    let failed = |source| StartError::DataDirectory { path: path.to_owned(), step: "list it", source };
    if path.join(FORMAT).exists() {
        return Ok(());
    }
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
        if !NOT_FOREIGN.contains(&entry.as_str()) {
            return Err(StartError::Foreign { path: path.to_owned(), entry });
        }
    }
    Ok(())
}

pub(super) fn take_lock(path: &Path) -> Result<DataLock, StartError> {
    let failed = |step| move |source| StartError::DataDirectory { path: path.to_owned(), step, source };
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path.join(LOCK))
        .map_err(failed("open its lock"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            // The pid is a courtesy: without it the sentence is still true.
            let _ = file.read_to_string(&mut holder);
            let holder = if holder.is_empty() { "unknown".to_owned() } else { holder.trim().to_owned() };
            return Err(StartError::Locked { path: path.to_owned(), holder });
        }
        Err(TryLockError::Error(source)) => return Err(failed("lock it")(source)),
    }
    file.set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(failed("write its lock"))?;
    Ok(DataLock { path: path.to_owned(), _held: file })
}

/// Opens the lock a second time, for direct I/O: no file is created for the question.
fn check_direct_io(path: &Path) -> Result<(), StartError> {
    match rustix::fs::open(path.join(LOCK), OFlags::RDWR | OFlags::DIRECT | OFlags::CLOEXEC, Mode::empty()) {
        Ok(_) => Ok(()),
        Err(rustix::io::Errno::INVAL) => Err(StartError::NoDirectIo { path: path.to_owned() }),
        Err(errno) => Err(StartError::DataDirectory {
            path: path.to_owned(),
            step: "open a file in it for direct I/O",
            source: errno.into(),
        }),
    }
}

/// What the file `format` says; `None` if there is none yet.
pub(super) fn read_format(path: &Path) -> Result<Option<Format>, StartError> {
    let failed =
        |source| StartError::DataDirectory { path: path.to_owned(), step: "read its format", source };
    let text = match fs::read_to_string(path.join(FORMAT)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    match serde_json::from_str::<Format>(&text) {
        Ok(Format { version: found, .. }) if found > FORMAT_VERSION => {
            Err(StartError::NewerFormat { path: path.to_owned(), found, known: FORMAT_VERSION })
        }
        Ok(format @ Format { version: 1.., .. }) => Ok(Some(format)),
        _ => Err(StartError::BadFormat { path: path.to_owned(), known: ONE_VERSION }),
    }
}

/// Durable before it returns: data without its format would be taken for someone else's.
pub(super) fn write_format(path: &Path, format: &Format) -> Result<(), StartError> {
    assert_eq!(*format, format.clone().versioned());
    let write = || -> io::Result<()> {
        let mut file = File::create(path.join(FORMAT_NEW))?;
        file.write_all(&serde_json::to_vec(format)?)?;
        file.sync_all()?;
        fs::rename(path.join(FORMAT_NEW), path.join(FORMAT))?;
        File::open(path)?.sync_all()?;
        match std::path::absolute(path)?.parent() {
            Some(parent) => File::open(parent)?.sync_all(),
            None => Ok(()),
        }
    };
    write().map_err(|source| StartError::DataDirectory {
        path: path.to_owned(),
        step: "write its format",
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::{super::directories::open_data_directories, *};
    use crate::config::{Assignment, Cpu, load};

    /// Beside this program, since the directory for temporary files may be in memory.
    fn directory() -> tempfile::TempDir {
        tempfile::tempdir_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap()
    }

    /// The only directory of a broker.
    fn open_data_directory(path: &Path, allow_tmpfs: bool) -> Result<DataLock, StartError> {
        let text = format!("log.dir = {path:?}\nallow.tmpfs = {allow_tmpfs}\n");
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        let settings = load(Some(file.path()), &[] as &[Assignment], &[Cpu { core: 0, numa_node: 0 }]);
        open_data_directories(&settings.unwrap()).map(|mut directories| directories.locks.remove(0))
    }

    fn refusal(path: &Path) -> StartError {
        open_data_directory(path, true).expect_err("accepted")
    }

    #[test]
    fn a_second_start_is_refused_with_the_pid_of_the_first_until_that_has_gone() {
        let directory = directory();
        let path = directory.path().join("new/data");
        let lock = open_data_directory(&path, true).unwrap();
        let error = refusal(&path);
        assert!(matches!(&error, StartError::Locked { .. }), "{error}");
        assert!(error.to_string().contains(&format!("by process {};", std::process::id())), "{error}");
        drop(lock);
        assert_eq!(open_data_directory(&path, true).unwrap().path(), path);
    }

    #[test]
    fn memory_is_refused_unless_allowed_and_leaves_no_trace() {
        let Ok(shm) = tempfile::tempdir_in("/dev/shm") else { return };
        if !is_in_memory(shm.path()).unwrap() {
            return;
        }
        let path = shm.path().join("data");
        let error = open_data_directory(&path, false).expect_err("accepted");
        assert!(matches!(error, StartError::Tmpfs { .. }), "{error}");
        assert!(error.to_string().contains("--allow-tmpfs"), "{error}");
        assert!(!path.exists());
        // Kernels before 6.6 have no direct I/O in memory, and say so.
        let allowed = open_data_directory(&path, true);
        assert!(matches!(allowed, Ok(_) | Err(StartError::NoDirectIo { .. })), "{allowed:?}");
    }

    #[test]
    fn a_newer_or_damaged_format_is_refused_and_stays_as_it_is() {
        let directory = directory();
        let format = directory.path().join(FORMAT);
        for (text, sentence) in [
            ("{\"version\":3}", "has format 3, this corelane knows up to 2"),
            ("{\"version\":0}", "damaged"),
            ("{\"version\":-1}", "damaged"),
            ("", "damaged"),
        ] {
            fs::write(&format, text).unwrap();
            let error = refusal(directory.path()).to_string();
            assert!(error.contains(sentence), "{error}");
            assert_eq!(fs::read_to_string(&format).unwrap(), text);
        }
        fs::write(&format, "{\"version\":1}").unwrap();
        open_data_directory(directory.path(), true).unwrap();
    }

    #[test]
    fn a_directory_of_something_else_is_refused_without_a_trace() {
        let directory = directory();
        fs::write(directory.path().join("thesis.odt"), "precious").unwrap();
        let error = refusal(directory.path());
        assert!(error.to_string().contains("holds \"thesis.odt\""), "{error}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_start_cut_off_before_the_format_was_written_is_taken_up_again() {
        let directory = directory();
        fs::write(directory.path().join(LOCK), "1\n").unwrap();
        fs::write(directory.path().join(FORMAT_NEW), "{\"ver").unwrap();
        drop(open_data_directory(directory.path(), true).unwrap());
        assert_eq!(fs::read_to_string(directory.path().join(FORMAT)).unwrap(), "{\"version\":1}");
        assert!(!directory.path().join(FORMAT_NEW).exists());
    }

    #[test]
    fn a_file_in_its_place_is_refused() {
        let directory = directory();
        let path = directory.path().join("file");
        fs::write(&path, "").unwrap();
        assert!(matches!(refusal(&path), StartError::DataDirectory { step: "create it", .. }));
    }
}
