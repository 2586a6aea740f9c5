//! Which generation of shards is valid, and how the next one takes over.
//!
//! Every start writes the shards' journals and first checkpoints anew, as generation `G + 1`, while those
//! of `G` are still the truth; so the number of shards may change from start to start. The order is:
//!
//! 1. [`current_generation`] once: reads `shards/CURRENT` (`G`, with its number of shards) and removes
//!    what is of neither use: a `G + 1` that a crash left half made, a `G - 1` not yet removed.
//! 2. `Store::open` per shard of `G + 1`: reads `G`, writes its own directory.
//! 3. [`publish_generation`] once all have succeeded: from here on `G + 1` is the truth.
//! 4. `Store::adopt` per shard: takes over the old journal files as space, removes the old directories.
//!    Only now may anything be appended.
//!
//! `CURRENT` is 24 bytes, little-endian: `CLGN`, version 1 (4), generation (8), shards (4), CRC-32C (4).
//! Before anything else is made in a fresh data directory it is written with generation 0 and no shard:
//! a directory with data but without a sound `CURRENT` is refused, never taken for an empty one.

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
};

use crate::{
    io::disk::Disk,
    log::{OpenError, format},
    model::{PartitionIndex, TopicId, TopicPartition},
};

/// Number of a generation, and of its shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation {
    /// Counts the starts of this data directory, from 1; 0 before the first.
    pub number: u64,
    /// Shards that hold this generation's journals.
    pub shards: u32,
}

const MAGIC: &[u8; 4] = b"CLGN";
const VERSION: u32 = 1;
const CURRENT_BYTES: usize = 24;

impl Generation {
    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(CURRENT_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.shards.to_le_bytes());
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        bytes
    }

    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let (covered, crc) = bytes.split_last_chunk::<4>()?;
        let sound = bytes.len() == CURRENT_BYTES
            && covered.starts_with(MAGIC)
            && covered[4..8] == VERSION.to_le_bytes()
            && crc32c::crc32c(covered) == u32::from_le_bytes(*crc);
        let number = u64::from_le_bytes(*covered.get(8..)?.first_chunk()?);
        let shards = u32::from_le_bytes(*covered.get(16..)?.first_chunk()?);
        sound.then_some(Self { number, shards })
    }
}

pub(super) fn current_path(data: &Path) -> PathBuf {
    format::shards_directory(data).join("CURRENT")
}

/// The names in a directory; none if it is absent.
pub(super) async fn names(disk: &dyn Disk, directory: &Path) -> Result<Vec<String>, OpenError> {
    match disk.list(directory).await {
        Ok(names) => Ok(names),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(OpenError::io(directory, error)),
    }
}

/// Reads which generation is valid and removes what crashes have left of others.
///
/// # Errors
/// [`OpenError::Damaged`] if the directory holds data but no sound `CURRENT`.
pub async fn current_generation(disk: &dyn Disk, data: &Path) -> Result<Generation, OpenError> {
    let shards = format::shards_directory(data);
    let path = current_path(data);
    let current = match disk.read_small(&path, 4096).await {
        Ok(bytes) => {
            Generation::parse(&bytes).ok_or_else(|| OpenError::damaged(&path, "its checksum is wrong"))?
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let leftover = |name: &String| !name.ends_with(".new");
            let has_shards = names(disk, &shards).await?.iter().any(leftover);
            if has_shards || !names(disk, &data.join("topics")).await?.is_empty() {
                return Err(OpenError::damaged(&path, "it is missing, but the directory holds data"));
            }
            disk.create_directories(&shards).await.map_err(|error| OpenError::io(&shards, error))?;
            let fresh = Generation { number: 0, shards: 0 };
            publish_generation(disk, data, fresh).await?;
            fresh
        }
        Err(error) => return Err(OpenError::io(&path, error)),
    };
    remove_others(disk, data, current).await?;
    Ok(current)
}

/// Removes what crashes have left of other generations than the valid one, and the reserves of shards whose own
/// directory is another: they take them again if they still have logs here. [`current_generation`] has done it in the
/// directory it has read; for the broker's other data directories.
///
/// # Errors
/// A directory could not be listed or removed.
pub async fn remove_others(disk: &dyn Disk, data: &Path, current: Generation) -> Result<(), OpenError> {
    let shards = format::shards_directory(data);
    for name in names(disk, &shards).await? {
        let number = name.split_once('-').and_then(|(number, _)| number.parse::<u64>().ok());
        if number.is_some_and(|number| number != current.number) {
            let stale = shards.join(&name);
            disk.remove_directory(&stale).await.map_err(|error| OpenError::io(&stale, error))?;
        }
    }
    let reserves = format::reserve_directory(data);
    match disk.remove_directory(&reserves).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(OpenError::io(&reserves, error)),
        _ => Ok(()),
    }
}

/// Makes a generation the valid one. All of its shards have been opened.
///
/// # Errors
/// The write failed: the former generation is still the valid one.
pub async fn publish_generation(
    disk: &dyn Disk,
    data: &Path,
    generation: Generation,
) -> Result<(), OpenError> {
    let path = current_path(data);
    disk.write_small(&path, generation.to_bytes()).await.map_err(|error| OpenError::io(&path, error))
}

/// Moves the directories of partitions that nobody knows to `orphaned/`, and says which these were.
///
/// Call it after the metadata has been read and before partitions are created. Nothing is deleted.
///
/// # Errors
/// A directory could not be listed or moved.
pub async fn move_orphans(
    disk: &dyn Disk,
    data: &Path,
    known: &HashSet<TopicPartition>,
) -> Result<Vec<PathBuf>, OpenError> {
    let topics = data.join("topics");
    let mut moved = Vec::new();
    for topic in names(disk, &topics).await? {
        let topic_directory = topics.join(&topic);
        let id: Option<TopicId> = topic.parse().ok();
        for partition in names(disk, &topic_directory).await? {
            let index: Option<i32> = partition.parse().ok();
            let is_known = id.zip(index).is_some_and(|(topic, index)| {
                known.contains(&TopicPartition { topic, partition: PartitionIndex::new(index) })
            });
            if !is_known {
                moved.push(set_aside(disk, data, &topic_directory.join(&partition)).await?);
            }
        }
        let rest = names(disk, &topic_directory).await?;
        if rest.is_empty() {
            disk.remove_directory(&topic_directory).await.map_err(|e| OpenError::io(&topic_directory, e))?;
        }
    }
    Ok(moved)
}

/// Moves a directory to `orphaned/`, under its path with `-` for `/`, and a number if that is taken.
pub(super) async fn set_aside(disk: &dyn Disk, data: &Path, directory: &Path) -> Result<PathBuf, OpenError> {
    let orphaned = data.join("orphaned");
    let failed = |error| OpenError::io(directory, error);
    disk.create_directories(&orphaned).await.map_err(failed)?;
    let taken = names(disk, &orphaned).await?;
    let below = directory.strip_prefix(data).unwrap_or(directory);
    let name = below.to_string_lossy().replace('/', "-");
    let free = std::iter::once(name.clone()).chain((1..).map(|n| format!("{name}.{n}")));
    let name = free.into_iter().find(|name| !taken.contains(name)).unwrap_or(name);
    let target = orphaned.join(name);
    disk.rename(directory, &target).await.map_err(failed)?;
    disk.sync_directory(&orphaned).await.map_err(failed)?;
    if let Some(parent) = directory.parent() {
        disk.sync_directory(parent).await.map_err(failed)?;
    }
    tracing::warn!(from = %directory.display(), to = %target.display(), "moved aside what nobody knows");
    Ok(target)
}
