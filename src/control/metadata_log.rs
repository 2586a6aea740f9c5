//! The metadata log: one file of commands, and the truth about the cluster.
//!
//! File `cluster/metadata.log`: [`MAGIC`], then records back to back, little-endian.
//!
//! | bytes    | field         | meaning                                                       |
//! |----------|---------------|---------------------------------------------------------------|
//! | 0..4     | `length`      | bytes of the payload                                          |
//! | 4..8     | `payload_crc` | CRC-32C of the payload                                        |
//! | 8..12    | `header_crc`  | CRC-32C of bytes 0..8                                         |
//! | 12..     | payload       | JSON: `{"commands":[...]}`, which hold together or not at all |
//!
//! A record counts once `fdatasync` has returned; nothing is published before. The file is born
//! whole (temporary file, fsync, rename, directory fsync) with its first record, and is rewritten the
//! same way at start when it has grown; so its name never stands for half a file.
//!
//! What a crash may leave is the last record, partly written. It was never acknowledged: it is cut
//! and logged. A record that does not check out *and is followed by one that does* was
//! acknowledged and then damaged: start is refused, naming file and position. (Damage to the very
//! last record cannot be told from a torn write.)

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Write as _},
    ops::Range,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::command::Command;
use crate::model::TopicId;

/// First bytes of the file: what it is, and the version of its format.
pub const MAGIC: [u8; 8] = *b"CLMETA\x00\x01";

const HEADER_BYTES: usize = 12;
const LENGTH: Range<usize> = 0..4;
const PAYLOAD_CRC: Range<usize> = 4..8;
const HEADER_CRC: Range<usize> = 8..12;
const _: () = assert!(HEADER_CRC.end == HEADER_BYTES);

/// Largest payload: far above what the most partitions one request may create come to.
const PAYLOAD_BYTES_MAX: usize = 64 << 20;

/// Largest file that is read at start.
const FILE_BYTES_MAX: u64 = 4 << 30;

/// A file below this is not worth rewriting at start.
const REWRITE_BYTES_MIN: u64 = 1 << 20;

/// Why the metadata log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MetadataLogError {
    /// An operation of the file system failed. What reached the disk is unknown.
    #[error("{path}: {doing}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// Bytes that were once acknowledged are not what they were. Nothing has been changed.
    #[error(
        "{path}: damaged at byte {position}: {what}. The file was left as it is; restore it from a copy",
        path = path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where the first bad record begins.
        position: u64,
        /// What is wrong with it.
        what: String,
    },
    /// An earlier write left the file in an unknown state; it takes no more until the next start.
    #[error("{path}: an earlier write failed; no more changes until restart", path = path.display())]
    Fenced {
        /// The file.
        path: PathBuf,
    },
    /// The commands do not fit into one record. Nothing was written.
    #[error("a change of {bytes} bytes is larger than {PAYLOAD_BYTES_MAX}")]
    TooLarge {
        /// Bytes they would take.
        bytes: usize,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    commands: Vec<Command>,
}

/// The open log. One writer: the control thread.
#[derive(Debug)]
pub struct MetadataLog {
    path: PathBuf,
    file: File,
    /// End of what has been acknowledged, in bytes; the next record goes here.
    end: u64,
    fenced: bool,
}

impl MetadataLog {
    /// Opens the log of a data directory and returns every command in it, or `None` for a new one.
    ///
    /// # Errors
    /// [`MetadataLogError::Damaged`] or [`MetadataLogError::Io`]; the file is unchanged then.
    pub fn open(data: &Path) -> Result<Option<(Self, Vec<Command>)>, MetadataLogError> {
        let path = Self::path_in(data);
        let mut file = match OpenOptions::new().read(true).write(true).open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(MetadataLogError::Io { path, doing: "open", source }),
        };
        let io_error = |doing| {
            let path = path.clone();
            move |source| MetadataLogError::Io { path, doing, source }
        };
        let length = file.metadata().map_err(io_error("read its size"))?.len();
        if length > FILE_BYTES_MAX {
            let what = format!("{length} bytes are more than {FILE_BYTES_MAX}");
            return Err(MetadataLogError::Damaged { path, position: 0, what });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        file.read_to_end(&mut bytes).map_err(io_error("read"))?;
        let (commands, end) = replay(&bytes).map_err(|(position, what)| {
            let (path, position) = (path.clone(), position as u64);
            MetadataLogError::Damaged { path, position, what }
        })?;
        let (end, length) = (end as u64, bytes.len() as u64);
        if end < length {
            tracing::warn!(
                path = %path.display(), position = end, bytes = length - end,
                "metadata log: cut a last record that was being written when the broker stopped"
            );
            file.set_len(end).map_err(io_error("cut its torn end"))?;
            file.sync_data().map_err(io_error("flush"))?;
        }
        Ok(Some((Self { path, file, end, fenced: false }, commands)))
    }

    /// Every command in the log of a data directory that nobody uses; changes nothing.
    ///
    /// # Errors
    /// [`MetadataLogError::Damaged`] or [`MetadataLogError::Io`].
    pub fn read(data: &Path) -> Result<Vec<Command>, MetadataLogError> {
        let path = Self::path_in(data);
        let read = fs::metadata(&path).and_then(|found| match found.len() {
            0..=FILE_BYTES_MAX => fs::read(&path),
            _ => Err(io::ErrorKind::FileTooLarge.into()),
        });
        match read {
            Ok(bytes) => match replay(&bytes) {
                Ok((commands, _)) => Ok(commands),
                Err((position, what)) => {
                    Err(MetadataLogError::Damaged { path, position: position as u64, what })
                }
            },
            Err(source) => Err(MetadataLogError::Io { path, doing: "read", source }),
        }
    }

    /// Writes a new log with these commands, in place of one that may be there. Durable on return.
    ///
    /// # Errors
    /// [`MetadataLogError::Io`]: the former log, if any, is still the one under the name.
    pub fn create(data: &Path, records: &[Vec<Command>]) -> Result<Self, MetadataLogError> {
        let path = Self::path_in(data);
        let io_error = |path: &Path, doing| {
            let path = path.to_owned();
            move |source| MetadataLogError::Io { path, doing, source }
        };
        let folder = data.join("cluster");
        fs::create_dir_all(&folder).map_err(io_error(&folder, "create the directory"))?;
        sync_directory(data).map_err(io_error(data, "flush the directory"))?;
        let mut bytes = MAGIC.to_vec();
        for commands in records {
            bytes.extend_from_slice(&encode(commands)?);
        }
        let temporary = folder.join("metadata.log.new");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(&temporary)
            .map_err(io_error(&temporary, "create"))?;
        file.write_all(&bytes).map_err(io_error(&temporary, "write"))?;
        file.sync_all().map_err(io_error(&temporary, "flush"))?;
        fs::rename(&temporary, &path).map_err(io_error(&path, "rename a new one to it"))?;
        sync_directory(&folder).map_err(io_error(&folder, "flush the directory"))?;
        Ok(Self { path, file, end: bytes.len() as u64, fenced: false })
    }

    /// Appends the commands of one change as one record. They are durable when this returns.
    ///
    /// # Errors
    /// After a failed write (as on a full disk) the file is as before and takes further changes;
    /// if that could not be restored, or a flush failed, it takes no more until the next start.
    pub fn append(&mut self, commands: &[Command]) -> Result<(), MetadataLogError> {
        if self.fenced {
            return Err(MetadataLogError::Fenced { path: self.path.clone() });
        }
        let record = encode(commands)?;
        if let Err(source) = self.file.write_all_at(&record, self.end) {
            self.fenced = self.file.set_len(self.end).is_err();
            return Err(MetadataLogError::Io { path: self.path.clone(), doing: "write", source });
        }
        if let Err(source) = self.file.sync_data() {
            // The kernel may have dropped the pages: a second fdatasync would lie.
            self.fenced = true;
            return Err(MetadataLogError::Io { path: self.path.clone(), doing: "flush", source });
        }
        self.end += record.len() as u64;
        Ok(())
    }

    /// Whether a log rewritten to these records would be much smaller.
    ///
    /// # Errors
    /// [`MetadataLogError::TooLarge`] if a record is.
    pub fn wants_rewrite(&self, records: &[Vec<Command>]) -> Result<bool, MetadataLogError> {
        if self.end < REWRITE_BYTES_MIN {
            return Ok(false);
        }
        let mut bytes = 0;
        for commands in records {
            bytes += encode(commands)?.len() as u64;
        }
        Ok(self.end > 2 * bytes)
    }

    /// Puts another file in the log's place.
    #[cfg(test)]
    pub(super) fn replace_file(&mut self, path: &Path) -> io::Result<()> {
        self.file = OpenOptions::new().write(true).open(path)?;
        Ok(())
    }

    fn path_in(data: &Path) -> PathBuf {
        data.join("cluster").join("metadata.log")
    }
}

/// The topics that are there after these commands, and their names.
#[must_use]
pub fn topic_names(commands: &[Command]) -> HashMap<TopicId, String> {
    let mut names = HashMap::new();
    for command in commands {
        match command {
            Command::TopicCreated { name, id, .. } => {
                names.insert(id.0, name.0.to_string());
            }
            Command::TopicDeleted { topic } => {
                names.remove(&topic.0);
            }
            _ => {}
        }
    }
    names
}

fn sync_directory(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn encode(commands: &[Command]) -> Result<Vec<u8>, MetadataLogError> {
    let payload = Payload { commands: commands.to_vec() };
    // Maps with text keys and plain numbers: there is nothing in it that JSON cannot say.
    let payload = serde_json::to_vec(&payload).unwrap_or_else(|error| panic!("{error}"));
    if payload.len() > PAYLOAD_BYTES_MAX {
        return Err(MetadataLogError::TooLarge { bytes: payload.len() });
    }
    let mut record = vec![0; HEADER_BYTES];
    record[LENGTH].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    record[PAYLOAD_CRC].copy_from_slice(&crc32c::crc32c(&payload).to_le_bytes());
    let crc = crc32c::crc32c(&record[..HEADER_CRC.start]);
    record[HEADER_CRC].copy_from_slice(&crc.to_le_bytes());
    record.extend_from_slice(&payload);
    Ok(record)
}

/// The payload of the record that begins `bytes`, if both of its checksums hold.
fn payload(bytes: &[u8]) -> Option<&[u8]> {
    let header = bytes.get(..HEADER_BYTES)?;
    let field =
        |at: Range<usize>| header[at].iter().rev().fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
    if crc32c::crc32c(&header[..HEADER_CRC.start]) != field(HEADER_CRC) {
        return None;
    }
    let length = usize::try_from(field(LENGTH)).ok().filter(|n| *n <= PAYLOAD_BYTES_MAX)?;
    let payload = bytes.get(HEADER_BYTES..HEADER_BYTES + length)?;
    (crc32c::crc32c(payload) == field(PAYLOAD_CRC)).then_some(payload)
}

/// All commands, and the end of the last whole record; or the first bad position and what is wrong.
fn replay(bytes: &[u8]) -> Result<(Vec<Command>, usize), (usize, String)> {
    if !bytes.starts_with(&MAGIC) {
        return Err((0, "it does not begin as a metadata log of this version".to_owned()));
    }
    let mut commands = Vec::new();
    let mut at = MAGIC.len();
    while at < bytes.len() {
        let Some(payload) = payload(&bytes[at..]) else {
            // The first record came with the file's name: it cannot be torn.
            let first = at == MAGIC.len();
            if first || (at + 1..bytes.len()).any(|next| self::payload(&bytes[next..]).is_some()) {
                return Err((at, "a record does not match its checksum".to_owned()));
            }
            break;
        };
        let record: Payload = serde_json::from_slice(payload).map_err(|error| (at, error.to_string()))?;
        commands.extend(record.commands);
        at += HEADER_BYTES + payload.len();
    }
    if commands.is_empty() {
        return Err((at, "it holds no command".to_owned()));
    }
    Ok((commands, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reserved(next: i64) -> Vec<Command> {
        vec![Command::ProducerIdsReserved { next }]
    }

    fn three_records(data: &Path) -> Vec<u8> {
        let mut log = MetadataLog::create(data, &[reserved(1)]).expect("create");
        log.append(&reserved(2)).expect("append");
        log.append(&reserved(3)).expect("append");
        fs::read(MetadataLog::path_in(data)).expect("read back")
    }

    /// Puts these bytes in the log's place and opens it.
    fn reopen(data: &Path, bytes: &[u8]) -> Result<Vec<Command>, MetadataLogError> {
        fs::write(MetadataLog::path_in(data), bytes).expect("write");
        MetadataLog::open(data).map(|log| log.expect("the file is there").1)
    }

    #[test]
    fn a_log_cut_at_any_byte_keeps_every_whole_record_and_takes_new_ones() {
        let data = tempfile::tempdir().expect("directory");
        let whole = three_records(data.path());
        let record = (whole.len() - MAGIC.len()) / 3;
        let first_end = MAGIC.len() + record;
        for cut in 0..whole.len() {
            let opened = reopen(data.path(), &whole[..cut]);
            if cut < first_end {
                assert!(opened.is_err(), "cut at {cut}: the first record is never torn");
                continue;
            }
            let kept = (cut - MAGIC.len()) / record;
            let expected: Vec<_> = (1..=kept as i64).flat_map(reserved).collect();
            assert_eq!(opened.expect("opens"), expected, "cut at {cut}");
            let (mut log, _) = MetadataLog::open(data.path()).expect("opens").expect("is there");
            log.append(&reserved(9)).expect("append");
            let (_, again) = MetadataLog::open(data.path()).expect("opens").expect("is there");
            assert_eq!(again, [expected, reserved(9)].concat(), "cut at {cut}, then appended");
        }
    }

    #[test]
    fn a_last_record_of_which_some_pages_are_missing_is_cut() {
        let data = tempfile::tempdir().expect("directory");
        let whole = three_records(data.path());
        let record = (whole.len() - MAGIC.len()) / 3;
        let last = whole.len() - record;
        for hole in last..whole.len() {
            let mut bytes = whole.clone();
            bytes[hole..].fill(0);
            if bytes == whole {
                continue;
            }
            let opened = reopen(data.path(), &bytes).expect("opens");
            assert_eq!(opened, [reserved(1), reserved(2)].concat(), "zeros from {hole}");
        }
    }

    #[test]
    fn a_damaged_byte_before_the_last_record_refuses_start_and_names_its_record() {
        let data = tempfile::tempdir().expect("directory");
        let whole = three_records(data.path());
        let record = (whole.len() - MAGIC.len()) / 3;
        for at in 0..whole.len() - record {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x40;
            let error = reopen(data.path(), &bytes).expect_err("refused");
            let begin = if at < MAGIC.len() { 0 } else { at - (at - MAGIC.len()) % record };
            let MetadataLogError::Damaged { path, position, .. } = error else {
                panic!("byte {at}: {error}");
            };
            assert_eq!(position, begin as u64, "byte {at}");
            assert!(path.ends_with("cluster/metadata.log"));
            let found = fs::read(MetadataLog::path_in(data.path())).expect("read");
            assert_eq!(found, bytes, "byte {at}: a damaged file is left as it is");
        }
    }

    #[test]
    fn a_data_directory_without_a_log_is_new() {
        let data = tempfile::tempdir().expect("directory");
        assert!(MetadataLog::open(data.path()).expect("opens").is_none());
    }

    #[test]
    fn a_log_asks_to_be_rewritten_once_it_is_large_and_mostly_history() {
        let data = tempfile::tempdir().expect("directory");
        let big = || vec![Command::ClusterCreated { cluster_id: "x".repeat(600_000) }];
        let mut log = MetadataLog::create(data.path(), &[big()]).expect("create");
        assert!(!log.wants_rewrite(&[reserved(1)]).expect("small"));
        log.append(&big()).expect("append");
        assert!(!log.wants_rewrite(&[big(), big()]).expect("all of it current"));
        assert!(log.wants_rewrite(&[reserved(1)]).expect("mostly history"));
        let log = MetadataLog::create(data.path(), &[reserved(7)]).expect("rewrite");
        assert!(log.end < 200);
        let (_, commands) = MetadataLog::open(data.path()).expect("opens").expect("is there");
        assert_eq!(commands, reserved(7));
    }
}
