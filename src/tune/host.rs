//! The host as a tree of files below one root: `/`, or a scratch directory in tests.
//!
//! Everything that this room reads or changes goes through here, so that nothing escapes the root. Paths are
//! those of the host (`/proc/sys/vm/swappiness`), wherever the root may be.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, FallocateFlags};

/// Largest file that is read whole; those of /proc and /sys are far smaller.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Stands between the host and whatever changes it. Only tests put something there.
pub(super) trait Between {
    /// Asked before each step that changes something; an error is what that step ends with.
    fn before(&self, path: &Path) -> io::Result<()>;
    /// What a file reads as after `text` was written to it, where `held` stood before.
    fn becomes(&self, path: &Path, held: &str, text: &str) -> String;
}

/// A host, seen below a root directory.
pub struct Host {
    root: PathBuf,
    between: Option<Box<dyn Between>>,
}

impl Host {
    /// The host whose `/` is `root`.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned(), between: None }
    }

    #[cfg(test)]
    pub(super) fn with(root: &Path, between: impl Between + 'static) -> Self {
        Self { root: root.to_owned(), between: Some(Box::new(between)) }
    }

    /// Where a path of the host really lies.
    pub(super) fn real(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    pub(super) fn exists(&self, path: &Path) -> bool {
        self.real(path).exists()
    }

    /// The text of a file, without white space around it.
    pub(super) fn read(&self, path: &Path) -> io::Result<String> {
        let real = self.real(path);
        if fs::metadata(&real)?.len() > FILE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("over {FILE_BYTES_MAX} bytes")));
        }
        Ok(String::from_utf8_lossy(&fs::read(real)?).trim().to_owned())
    }

    /// The value in a file of the kernel: of `none [mq-deadline] kyber` what is chosen.
    pub(super) fn value(&self, path: &Path) -> io::Result<String> {
        self.read(path).map(|text| chosen(&text).to_owned())
    }

    /// Names in a directory, in order; none if it is not there.
    pub(super) fn names(&self, directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(self.real(directory)).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        // queue-2 before queue-10.
        names.sort_by_cached_key(|name| (number_at_end(name), name.clone()));
        names
    }

    /// The path that symbolic links lead to, as the host names it.
    pub(super) fn resolve(&self, path: &Path) -> io::Result<PathBuf> {
        let root = self.root.canonicalize()?;
        let found = self.real(path).canonicalize()?;
        match found.strip_prefix(&root) {
            Ok(inside) => Ok(Path::new("/").join(inside)),
            Err(_) => Err(io::Error::new(io::ErrorKind::NotFound, "it leads out of the root")),
        }
    }

    /// Where a symbolic link points to; `None` if there is nothing of that name.
    pub(super) fn link(&self, path: &Path) -> io::Result<Option<PathBuf>> {
        match fs::read_link(self.real(path)) {
            Ok(target) => Ok(Some(target)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Whether this process may write to a file, or put one into its directory; changes nothing.
    pub(super) fn may_write(&self, path: &Path) -> io::Result<()> {
        let real = self.real(path);
        match OpenOptions::new().write(true).open(&real) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => may_write_below(&real),
            other => other.map(drop),
        }
    }

    fn before(&self, path: &Path) -> io::Result<()> {
        self.between.as_ref().map_or(Ok(()), |between| between.before(path))
    }

    /// Gives a file of the kernel a value, in one write.
    pub(super) fn set_value(&self, path: &Path, value: &str) -> io::Result<()> {
        self.before(path)?;
        let mut text = value.to_owned();
        if let Some(between) = &self.between {
            text = between.becomes(path, &self.read(path)?, value);
        }
        // The kernel takes no notice of the truncation; a scratch tree needs it.
        let mut file = OpenOptions::new().write(true).truncate(true).open(self.real(path))?;
        file.write_all(format!("{text}\n").as_bytes())
    }

    /// Replaces or creates a file: its old contents or its new ones, after any crash.
    pub(super) fn put(&self, path: &Path, text: &str) -> io::Result<()> {
        self.put_real(&self.real(path), text)
    }

    /// As `put`, for a path that lies where it says, whatever the root.
    pub(super) fn put_real(&self, real: &Path, text: &str) -> io::Result<()> {
        self.before(real)?;
        let new = half_done(real);
        let mut file = File::create(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        self.before(real)?;
        fs::rename(&new, real)?;
        sync_above(real)
    }

    /// Removes a file or a link, and what a `put` of it may have left half done.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        self.remove_real(&self.real(path))
    }

    /// As `remove`, for a path that lies where it says.
    pub(super) fn remove_real(&self, real: &Path) -> io::Result<()> {
        for each in [&half_done(real), real] {
            self.before(each)?;
            absent_is_fine(fs::remove_file(each))?;
        }
        if real.parent().is_some_and(Path::exists) { sync_above(real) } else { Ok(()) }
    }

    pub(super) fn make_link(&self, path: &Path, target: &Path) -> io::Result<()> {
        self.before(path)?;
        symlink(target, self.real(path))?;
        sync_above(&self.real(path))
    }

    pub(super) fn make_directory(&self, path: &Path) -> io::Result<()> {
        self.before(path)?;
        match fs::create_dir(self.real(path)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    /// Removes a directory, unless somebody has put something into it.
    pub(super) fn remove_directory(&self, path: &Path) -> io::Result<()> {
        self.before(path)?;
        match fs::remove_dir(self.real(path)) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            other => absent_is_fine(other),
        }
    }

    /// Makes a file that holds `bytes` of the disk and says nothing.
    pub(super) fn take_space(&self, path: &Path, bytes: u64) -> io::Result<()> {
        self.before(path)?;
        let file = File::create(self.real(path))?;
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes)?;
        file.sync_all()?;
        sync_above(&self.real(path))
    }
}

/// Whether this process may make a file of that name, and the directories above it that are missing.
pub(super) fn may_write_below(real: &Path) -> io::Result<()> {
    let real = std::path::absolute(real)?;
    let above = real.ancestors().skip(1).find(|above| above.exists()).unwrap_or(Path::new("/"));
    Ok(rustix::fs::access(above, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// What `put` writes before it takes the name.
fn half_done(real: &Path) -> PathBuf {
    let mut new = real.as_os_str().to_owned();
    new.push(".new");
    new.into()
}

fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn sync_above(real: &Path) -> io::Result<()> {
    let above = real.parent().filter(|above| !above.as_os_str().is_empty());
    File::open(above.unwrap_or(Path::new(".")))?.sync_all()
}

fn number_at_end(name: &str) -> Option<u64> {
    name[name.trim_end_matches(|c: char| c.is_ascii_digit()).len()..].parse().ok()
}

/// Of a list of choices that in brackets, of anything else the whole.
fn chosen(text: &str) -> &str {
    let inside = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    inside.map_or(text, |(inside, _)| inside)
}

/// What a file of choices offers.
pub(super) fn choices(text: &str) -> impl Iterator<Item = &str> {
    text.split_whitespace().map(|choice| choice.trim_matches(['[', ']']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_list_of_choices_the_chosen_one_is_the_value() {
        assert_eq!(chosen("mq-deadline kyber [none]"), "none");
        assert_eq!(chosen("[none]"), "none");
        assert_eq!(chosen("60"), "60");
        assert_eq!(choices("mq-deadline [none]").collect::<Vec<_>>(), ["mq-deadline", "none"]);
    }

    #[test]
    fn nothing_escapes_the_root() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("a"), "1\n").unwrap();
        symlink("/", root.path().join("out")).unwrap();
        let host = Host::at(root.path());
        assert_eq!(host.value(Path::new("/a")).unwrap(), "1");
        assert_eq!(host.resolve(Path::new("/a")).unwrap(), Path::new("/a"));
        assert!(host.resolve(Path::new("/out")).is_err());
        assert!(!host.exists(Path::new("/proc")));
    }

    #[test]
    fn names_are_counted_not_spelt() {
        let root = tempfile::tempdir().unwrap();
        for name in ["tx-10", "tx-2", "rx-0", "x"] {
            fs::write(root.path().join(name), "").unwrap();
        }
        assert_eq!(Host::at(root.path()).names(Path::new("/")), ["x", "rx-0", "tx-2", "tx-10"]);
    }
}
