//! The disk and the clock in memory: seeded, with faults, `kill -9` and power loss.
//!
//! One [`Sim`] is one run of a process: an executor with its tasks, on a [`SimDisk`] that outlives it.
//! Tasks are polled in an order drawn from the seed; when none is ready, one of the disk operations
//! under way is completed, drawn from the seed as well, or else time moves to the next timer. The same
//! seed gives the same run.
//!
//! | event                   | writes under way        | unsynced bytes, per 512-byte sector | unsynced names    |
//! |-------------------------|-------------------------|-------------------------------------|-------------------|
//! | [`SimDisk::kill`]       | any of their sectors    | stay                                | stay              |
//! | [`SimDisk::power_loss`] | any of their sectors    | stay, vanish or turn to garbage     | each stays or not |
//!
//! An unsynced length is the old or the new one after power loss.

mod executor;
mod world;

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    future::poll_fn,
    io,
    path::{Path, PathBuf},
    rc::Rc,
    task::{Poll, Waker},
    time::Duration,
};

pub use executor::Sim;
pub use world::Random;
use world::{Fate, Node, SECTOR, Volume, World};

use super::{
    buffer::{AlignedBuffer, AlignedSlice, BLOCK},
    clock::Clock,
    disk::{Disk, DiskFile, DiskFuture, Open, Sync},
};

/// The result of an operation, and who waits for it.
type Slot<T> = (Option<io::Result<T>>, Option<Waker>);

/// Puts an operation under way; ready with its result once the executor has completed it.
async fn operation<T: 'static>(
    world: Rc<RefCell<World>>,
    end: impl FnOnce(&mut World, Fate) -> io::Result<T> + 'static,
) -> io::Result<T> {
    let slot: Rc<RefCell<Slot<T>>> = Rc::default();
    let theirs = slot.clone();
    world.borrow_mut().under_way.push(Box::new(move |world, fate| {
        let result = end(world, fate);
        let mut slot = theirs.borrow_mut();
        slot.0 = Some(result);
        if let Some(waker) = slot.1.take() {
            waker.wake();
        }
    }));
    poll_fn(move |context| {
        let mut slot = slot.borrow_mut();
        match slot.0.take() {
            Some(result) => Poll::Ready(result),
            None => {
                slot.1 = Some(context.waker().clone());
                Poll::Pending
            }
        }
    })
    .await
}

/// As [`operation`], for what happens wholly or not at all.
fn whole<'a, T: 'static>(
    world: &Rc<RefCell<World>>,
    apply: impl FnOnce(&mut World) -> io::Result<T> + 'static,
) -> DiskFuture<'a, io::Result<T>> {
    let world = world.clone();
    Box::pin(operation(world, move |world, fate| match fate {
        Fate::Done => apply(world),
        Fate::Fails(kind) => Err(kind.into()),
        Fate::Cut => Err(io::ErrorKind::Interrupted.into()),
    }))
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    world: Rc<RefCell<World>>,
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let root = Node::Directory { live: BTreeMap::new(), durable: BTreeMap::new() };
        let world = World {
            random: Random::new(seed),
            now_us: 1_000_000,
            nodes: vec![root],
            unsynced_names: Vec::new(),
            under_way: Vec::new(),
            timers: Vec::new(),
            operations: 0,
            stop_after: None,
            fail_at: None,
            volumes: vec![Volume { path: PathBuf::new(), space: u64::MAX }],
            stopped: false,
        };
        Self { world: Rc::new(RefCell::new(world)) }
    }

    /// Operations completed so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.world.borrow().operations
    }

    /// The run ends once `operations` more have completed.
    pub fn stop_after(&self, operations: u64) {
        let mut world = self.world.borrow_mut();
        world.stop_after = Some(world.operations + operations);
    }

    /// The `k`-th operation from now (the next is 1) fails; a write leaves any of its sectors.
    pub fn fail_at(&self, k: u64, kind: io::ErrorKind) {
        let mut world = self.world.borrow_mut();
        world.fail_at = Some((world.operations + k, kind));
    }

    /// Bytes that files may reserve in all; beyond, `StorageFull`.
    pub fn set_space(&self, bytes: u64) {
        self.world.borrow_mut().volumes[0].space = bytes;
    }

    /// Bytes that files have reserved.
    #[must_use]
    pub fn allocated(&self) -> u64 {
        self.world.borrow().allocated(0)
    }

    /// Makes what will be below a directory a disk of its own, with space without bounds. Before there is a file.
    pub fn mount(&self, path: &Path) {
        self.world.borrow_mut().volumes.push(Volume { path: path.to_path_buf(), space: u64::MAX });
    }

    /// As [`SimDisk::set_space`], of the disk that a path is on: `more` than its files have reserved by now.
    pub fn set_space_beyond(&self, path: &Path, more: u64) {
        let mut world = self.world.borrow_mut();
        let volume = world.volume_of(path);
        world.volumes[volume].space = world.allocated(volume).saturating_add(more);
    }

    /// The process dies: what was written stays, what was under way is there in part.
    pub fn kill(&self) {
        let mut world = self.world.borrow_mut();
        for completion in std::mem::take(&mut world.under_way) {
            completion(&mut world, Fate::Cut);
        }
        world.timers.clear();
        world.stopped = false;
        world.stop_after = None;
        world.fail_at = None;
    }

    /// The power goes off and on again.
    pub fn power_loss(&self) {
        self.kill();
        let world = &mut *self.world.borrow_mut();
        for change in std::mem::take(&mut world.unsynced_names) {
            if world.random.below(2) == 0 {
                world.make_name_durable(change);
            }
        }
        for node in &mut world.nodes {
            match node {
                Node::Directory { live, durable } => live.clone_from(durable),
                Node::File(file) => file.lose_power(&mut world.random),
            }
        }
    }

    /// Whether the run has been stopped by [`SimDisk::stop_after`].
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.world.borrow().stopped
    }

    /// Files below a directory, with their contents, for tests that look at or damage them.
    #[must_use]
    pub fn files(&self, below: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let mut world = self.world.borrow_mut();
        let mut found = Vec::new();
        let Ok(start) = world.find(below) else { return found };
        let mut open = vec![(below.to_path_buf(), start)];
        while let Some((path, node)) = open.pop() {
            match &world.nodes[node] {
                Node::File(file) => found.push((path, file.live.clone())),
                Node::Directory { live, .. } => {
                    open.extend(live.iter().map(|(name, &node)| (path.join(name), node)));
                }
            }
        }
        found.sort();
        found
    }

    /// Changes a byte of a file behind everyone's back.
    ///
    /// # Panics
    /// If there is no such file or byte.
    pub fn flip(&self, path: &Path, position: usize) {
        let mut world = self.world.borrow_mut();
        let node = world.find(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file = world.file(node);
        file.live[position] ^= 0x5A;
        let sector = position / SECTOR;
        let length = file.live.len();
        file.make_durable([sector], length);
    }

    /// Another disk with the same contents, all of it durable. Nothing is under way.
    ///
    /// # Panics
    /// If something is.
    #[must_use]
    pub fn copy(&self, seed: u64) -> Self {
        let copy = Self::new(seed);
        let (from, mut to) = (self.world.borrow(), copy.world.borrow_mut());
        assert!(from.under_way.is_empty() && from.timers.is_empty(), "a disk at rest is copied");
        to.now_us = from.now_us;
        to.nodes.clone_from(&from.nodes);
        to.volumes.clone_from(&from.volumes);
        for node in &mut to.nodes {
            match node {
                Node::Directory { live, durable } => durable.clone_from(live),
                Node::File(file) => {
                    file.durable.clone_from(&file.live);
                    file.dirty.clear();
                }
            }
        }
        drop((from, to));
        copy
    }

    /// Replaces a file's contents behind everyone's back, durably.
    ///
    /// # Panics
    /// If there is no such file.
    pub fn replace(&self, path: &Path, contents: Vec<u8>) {
        let mut world = self.world.borrow_mut();
        let node = world.find(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let file = world.file(node);
        file.live.clone_from(&contents);
        file.durable = contents;
        file.dirty.clear();
    }
}

impl Disk for SimDisk {
    fn compute<'a>(&'a self, work: Box<dyn FnOnce() + Send>) -> DiskFuture<'a, io::Result<()>> {
        whole(&self.world, move |_| {
            work();
            Ok(())
        })
    }

    fn open<'a>(&'a self, path: &'a Path, how: Open) -> DiskFuture<'a, io::Result<Rc<dyn DiskFile>>> {
        let (path, handle) = (path.to_path_buf(), self.world.clone());
        whole(&self.world, move |world| {
            let node = match (world.find(&path), how) {
                (Err(error), Open::OrCreate) if error.kind() == io::ErrorKind::NotFound => {
                    world.create_file(&path)?
                }
                (found, _) => found?,
            };
            if matches!(world.nodes[node], Node::Directory { .. }) {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            Ok(Rc::new(SimFile { world: handle, node }) as Rc<dyn DiskFile>)
        })
    }

    fn list<'a>(&'a self, directory: &'a Path) -> DiskFuture<'a, io::Result<Vec<String>>> {
        let path = directory.to_path_buf();
        whole(&self.world, move |world| {
            let node = world.find(&path)?;
            Ok(world.names(node)?.keys().cloned().collect())
        })
    }

    fn create_directories<'a>(&'a self, directory: &'a Path) -> DiskFuture<'a, io::Result<()>> {
        let path = directory.to_path_buf();
        whole(&self.world, move |world| world.create_directories(&path))
    }

    fn rename<'a>(&'a self, from: &'a Path, to: &'a Path) -> DiskFuture<'a, io::Result<()>> {
        let (from, to) = (from.to_path_buf(), to.to_path_buf());
        whole(&self.world, move |world| world.rename(&from, &to))
    }

    fn remove_file<'a>(&'a self, path: &'a Path) -> DiskFuture<'a, io::Result<()>> {
        let path = path.to_path_buf();
        whole(&self.world, move |world| world.unlink(&path))
    }

    fn remove_directory<'a>(&'a self, directory: &'a Path) -> DiskFuture<'a, io::Result<()>> {
        let path = directory.to_path_buf();
        whole(&self.world, move |world| world.unlink(&path))
    }

    fn sync_directory<'a>(&'a self, directory: &'a Path) -> DiskFuture<'a, io::Result<()>> {
        let path = directory.to_path_buf();
        whole(&self.world, move |world| world.sync_directory(&path))
    }

    fn read_small<'a>(&'a self, path: &'a Path, bytes_max: usize) -> DiskFuture<'a, io::Result<Vec<u8>>> {
        let path = path.to_path_buf();
        whole(&self.world, move |world| {
            let node = world.find(&path)?;
            let bytes = world.file(node).live.clone();
            if bytes.len() > bytes_max {
                return Err(io::ErrorKind::InvalidData.into());
            }
            Ok(bytes)
        })
    }

    fn write_small<'a>(&'a self, path: &'a Path, bytes: Vec<u8>) -> DiskFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let temporary = path.with_extension("new");
            let file = temporary.clone();
            let node = whole(&self.world, move |world| {
                world.take_space(world.volume_of(&file), bytes.len() as u64)?;
                let node = match world.find(&file) {
                    Ok(node) => node,
                    Err(_) => world.create_file(&file)?,
                };
                world.file(node).live.clear();
                world.file(node).write(0, &bytes);
                Ok(node)
            })
            .await?;
            whole(&self.world, move |world| {
                let file = world.file(node);
                let (dirty, length) = (file.dirty.clone(), file.live.len());
                file.durable.truncate(length);
                file.make_durable(dirty, length);
                Ok(())
            })
            .await?;
            self.rename(&temporary, path).await?;
            self.sync_directory(path.parent().unwrap_or(Path::new(""))).await
        })
    }
}

struct SimFile {
    world: Rc<RefCell<World>>,
    node: usize,
}

fn assert_blocks(position: u64, length: usize) {
    assert!(position.is_multiple_of(BLOCK as u64), "position {position} is not block aligned");
    assert!(length.is_multiple_of(BLOCK), "length {length} is not whole blocks");
}

impl DiskFile for SimFile {
    fn write_at<'a>(
        &'a self,
        bytes: AlignedSlice,
        position: u64,
        sync: Sync,
    ) -> DiskFuture<'a, io::Result<()>> {
        assert_blocks(position, bytes.len());
        assert!(bytes.is_block_aligned(), "memory is not block aligned");
        let (node, position) = (self.node, position as usize);
        Box::pin(async move {
            let earlier = match sync {
                Sync::DataAndEarlier => self.world.borrow_mut().file(node).dirty.clone(),
                _ => BTreeSet::new(),
            };
            operation(self.world.clone(), move |world, fate| {
                let World { nodes, random, .. } = world;
                let Node::File(file) = &mut nodes[node] else { panic!("node {node} is a directory") };
                let Fate::Done = fate else {
                    for (i, sector) in bytes.chunks(SECTOR).enumerate() {
                        if random.below(2) == 0 {
                            file.write(position + i * SECTOR, sector);
                        }
                    }
                    let Fate::Fails(kind) = fate else { return Err(io::ErrorKind::Interrupted.into()) };
                    return Err(kind.into());
                };
                file.write(position, &bytes);
                let end = position + bytes.len();
                if sync != Sync::None {
                    file.make_durable(position / SECTOR..end / SECTOR, end);
                }
                if sync == Sync::DataAndEarlier {
                    file.make_durable(earlier, end);
                }
                Ok(())
            })
            .await
        })
    }

    fn read_at<'a>(
        &'a self,
        mut buffer: AlignedBuffer,
        position: u64,
    ) -> DiskFuture<'a, io::Result<AlignedBuffer>> {
        assert_blocks(position, buffer.capacity());
        let node = self.node;
        whole(&self.world, move |world| {
            let bytes = &world.file(node).live;
            let start = (position as usize).min(bytes.len());
            let end = (start + buffer.capacity()).min(bytes.len());
            buffer.clear();
            buffer.extend(&bytes[start..end]);
            Ok(buffer)
        })
    }

    fn sync_data(&self) -> DiskFuture<'_, io::Result<()>> {
        let node = self.node;
        Box::pin(async move {
            let (earlier, length) = {
                let mut world = self.world.borrow_mut();
                let file = world.file(node);
                (file.dirty.clone(), file.live.len())
            };
            whole(&self.world, move |world| {
                world.file(node).make_durable(earlier, length);
                Ok(())
            })
            .await
        })
    }

    fn allocate(&self, end: u64) -> DiskFuture<'_, io::Result<()>> {
        let node = self.node;
        whole(&self.world, move |world| {
            let grown = end.saturating_sub(world.file(node).live.len() as u64);
            let volume = world.volume_of_file(node);
            world.take_space(volume, grown)?;
            let file = world.file(node);
            if (file.live.len() as u64) < end {
                file.live.resize(end as usize, 0);
            }
            Ok(())
        })
    }

    fn set_length(&self, length: u64) -> DiskFuture<'_, io::Result<()>> {
        let node = self.node;
        whole(&self.world, move |world| {
            let file = world.file(node);
            file.live.resize(length as usize, 0);
            file.durable.resize(length as usize, 0);
            file.dirty.retain(|&sector| sector * SECTOR < length as usize);
            Ok(())
        })
    }

    fn length(&self) -> DiskFuture<'_, io::Result<u64>> {
        let node = self.node;
        whole(&self.world, move |world| Ok(world.file(node).live.len() as u64))
    }
}

impl Clock for SimDisk {
    fn monotonic_us(&self) -> u64 {
        self.world.borrow().now_us
    }

    fn wall_ms(&self) -> i64 {
        1_700_000_000_000 + self.monotonic_ms() as i64
    }

    fn sleep<'a>(&'a self, duration: Duration) -> DiskFuture<'a, ()> {
        let mut due = None;
        Box::pin(poll_fn(move |context| {
            let mut world = self.world.borrow_mut();
            let due = *due.get_or_insert(world.now_us + duration.as_micros().max(1) as u64);
            if world.now_us >= due {
                return Poll::Ready(());
            }
            world.timers.push((due, context.waker().clone()));
            Poll::Pending
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(byte: u8) -> AlignedSlice {
        let mut buffer = AlignedBuffer::with_capacity(BLOCK);
        buffer.extend(&[byte; BLOCK]);
        buffer.freeze()
    }

    #[test]
    fn synced_bytes_survive_power_loss_and_unsynced_ones_may_not() {
        let (mut kept, mut lost) = (0, 0);
        for seed in 0..20 {
            let disk = SimDisk::new(seed);
            let d = disk.clone();
            Sim::new(&disk).run(async move {
                let file = d.open(Path::new("/a"), Open::OrCreate).await.unwrap();
                d.sync_directory(Path::new("/")).await.unwrap();
                file.write_at(block(1), 0, Sync::Data).await.unwrap();
                file.write_at(block(2), 4096, Sync::None).await.unwrap();
            });
            disk.power_loss();
            let files = disk.files(Path::new("/"));
            let bytes = &files[0].1;
            assert!(bytes[..4096].iter().all(|&b| b == 1), "seed {seed}");
            if bytes.len() == 8192 && bytes[4096..].iter().all(|&b| b == 2) {
                kept += 1;
            } else {
                lost += 1;
            }
        }
        assert!(lost > 0, "nothing was ever lost, {kept} kept");
    }

    #[test]
    fn a_small_file_has_the_old_or_the_new_contents_after_power_loss() {
        for seed in 0..40 {
            let disk = SimDisk::new(seed);
            let d = disk.clone();
            Sim::new(&disk).run(async move { d.write_small(Path::new("/s"), vec![1; 600]).await.unwrap() });
            let d = disk.clone();
            disk.stop_after(1 + seed % 4);
            Sim::new(&disk).run(async move { d.write_small(Path::new("/s"), vec![2; 700]).await.unwrap() });
            disk.power_loss();
            let files = disk.files(Path::new("/s"));
            assert!(files[0].1 == vec![1; 600] || files[0].1 == vec![2; 700], "seed {seed}");
        }
    }
}
