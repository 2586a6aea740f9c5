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

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    future::{Future, poll_fn},
    io,
    path::{Component, Path, PathBuf},
    pin::Pin,
    rc::Rc,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use super::{
    buffer::{AlignedBuffer, AlignedSlice, BLOCK},
    clock::Clock,
    disk::{Disk, DiskFile, DiskFuture, Open, Sync},
};

/// The smallest part of a write that survives or is lost as one.
const SECTOR: usize = 512;

/// Numbers drawn from a seed (SplitMix64).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end.max(1)
    }
}

#[derive(Clone)]
enum Node {
    Directory { live: BTreeMap<String, usize>, durable: BTreeMap<String, usize> },
    File(File),
}

#[derive(Clone, Default)]
struct File {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// Sectors written since they were last made durable.
    dirty: BTreeSet<usize>,
}

impl File {
    fn write(&mut self, position: usize, bytes: &[u8]) {
        let end = position + bytes.len();
        if self.live.len() < end {
            self.live.resize(end, 0);
        }
        self.live[position..end].copy_from_slice(bytes);
        self.dirty.extend(position / SECTOR..end.div_ceil(SECTOR));
    }

    fn make_durable(&mut self, sectors: impl IntoIterator<Item = usize>, length: usize) {
        if self.durable.len() < length {
            self.durable.resize(length, 0);
        }
        for sector in sectors {
            let end = ((sector + 1) * SECTOR).min(self.live.len());
            let start = (sector * SECTOR).min(end);
            if self.durable.len() < end {
                self.durable.resize(end, 0);
            }
            self.durable[start..end].copy_from_slice(&self.live[start..end]);
            self.dirty.remove(&sector);
        }
    }

    fn lose_power(&mut self, random: &mut Random) {
        let length = if random.below(2) == 0 { self.live.len() } else { self.durable.len() };
        let mut image = self.durable.clone();
        image.resize(length, 0);
        for sector in std::mem::take(&mut self.dirty) {
            let end = ((sector + 1) * SECTOR).min(length).min(self.live.len());
            let start = (sector * SECTOR).min(end);
            match random.below(4) {
                0 => {}
                1 => image[start..end].iter_mut().for_each(|byte| *byte = random.number() as u8),
                _ => image[start..end].copy_from_slice(&self.live[start..end]),
            }
        }
        self.live.clone_from(&image);
        self.durable = image;
    }
}

/// A change of names that is not durable yet.
enum NameChange {
    Link { directory: usize, name: String, node: usize },
    Unlink { directory: usize, name: String },
    Rename { from: (usize, String), to: (usize, String), node: usize },
}

impl NameChange {
    fn touches(&self, directory: usize) -> bool {
        match self {
            Self::Link { directory: d, .. } | Self::Unlink { directory: d, .. } => *d == directory,
            Self::Rename { from, to, .. } => from.0 == directory || to.0 == directory,
        }
    }
}

/// How an operation under way ends.
enum Fate {
    Done,
    Fails(io::ErrorKind),
    /// The process or the power is gone: no one hears of the result.
    Cut,
}

type Completion = Box<dyn FnOnce(&mut World, Fate)>;

struct World {
    random: Random,
    now_us: u64,
    nodes: Vec<Node>,
    unsynced_names: Vec<NameChange>,
    under_way: Vec<Completion>,
    timers: Vec<(u64, Waker)>,
    operations: u64,
    stop_after: Option<u64>,
    fail_at: Option<(u64, io::ErrorKind)>,
    space: u64,
    stopped: bool,
}

const ROOT: usize = 0;

impl World {
    fn file(&mut self, node: usize) -> &mut File {
        match &mut self.nodes[node] {
            Node::File(file) => file,
            Node::Directory { .. } => panic!("node {node} is a directory"),
        }
    }

    fn names(&mut self, node: usize) -> io::Result<&mut BTreeMap<String, usize>> {
        match &mut self.nodes[node] {
            Node::Directory { live, .. } => Ok(live),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn durable_names(&mut self, node: usize) -> &mut BTreeMap<String, usize> {
        match &mut self.nodes[node] {
            Node::Directory { durable, .. } => durable,
            Node::File(_) => panic!("node {node} is a file"),
        }
    }

    fn find(&mut self, path: &Path) -> io::Result<usize> {
        let mut node = ROOT;
        for name in parts(path) {
            node = *self.names(node)?.get(&name).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(node)
    }

    /// The directory a path lies in, and its last name.
    fn place(&mut self, path: &Path) -> io::Result<(usize, String)> {
        let name = parts(path).pop().ok_or(io::ErrorKind::InvalidInput)?;
        let directory = self.find(path.parent().unwrap_or(Path::new("")))?;
        Ok((directory, name))
    }

    fn create_file(&mut self, path: &Path) -> io::Result<usize> {
        let (directory, name) = self.place(path)?;
        let node = self.nodes.len();
        self.nodes.push(Node::File(File::default()));
        self.names(directory)?.insert(name.clone(), node);
        self.unsynced_names.push(NameChange::Link { directory, name, node });
        Ok(node)
    }

    fn create_directories(&mut self, path: &Path) -> io::Result<()> {
        let mut node = ROOT;
        for name in parts(path) {
            node = match self.names(node)?.get(&name) {
                Some(&there) => there,
                None => {
                    let new = self.nodes.len();
                    self.nodes.push(Node::Directory { live: BTreeMap::new(), durable: BTreeMap::new() });
                    self.names(node)?.insert(name.clone(), new);
                    self.durable_names(node).insert(name, new);
                    new
                }
            };
        }
        Ok(())
    }

    fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (self.place(from)?, self.place(to)?);
        let node = self.names(from.0)?.remove(&from.1).ok_or(io::ErrorKind::NotFound)?;
        self.names(to.0)?.insert(to.1.clone(), node);
        self.unsynced_names.push(NameChange::Rename { from, to, node });
        Ok(())
    }

    fn unlink(&mut self, path: &Path) -> io::Result<()> {
        let (directory, name) = self.place(path)?;
        self.names(directory)?.remove(&name).ok_or(io::ErrorKind::NotFound)?;
        self.unsynced_names.push(NameChange::Unlink { directory, name });
        Ok(())
    }

    fn make_name_durable(&mut self, change: NameChange) {
        match change {
            NameChange::Link { directory, name, node } => {
                self.durable_names(directory).insert(name, node);
            }
            NameChange::Unlink { directory, name } => {
                self.durable_names(directory).remove(&name);
            }
            NameChange::Rename { from, to, node } => {
                let names = self.durable_names(from.0);
                if names.get(&from.1) == Some(&node) {
                    names.remove(&from.1);
                }
                self.durable_names(to.0).insert(to.1, node);
            }
        }
    }

    fn sync_directory(&mut self, path: &Path) -> io::Result<()> {
        let directory = self.find(path)?;
        self.names(directory)?;
        let (now, later) = std::mem::take(&mut self.unsynced_names)
            .into_iter()
            .partition::<Vec<_>, _>(|change| change.touches(directory));
        self.unsynced_names = later;
        now.into_iter().for_each(|change| self.make_name_durable(change));
        Ok(())
    }

    /// Takes an operation from those under way, at random, and ends it.
    fn complete_one(world: &Rc<RefCell<Self>>) {
        let mut w = world.borrow_mut();
        let count = w.under_way.len() as u64;
        let chosen = w.random.below(count) as usize;
        let completion = w.under_way.swap_remove(chosen);
        w.now_us += 20 + w.random.number() % 200;
        w.operations += 1;
        let fate = match w.fail_at {
            Some((at, kind)) if at == w.operations => Fate::Fails(kind),
            _ => Fate::Done,
        };
        completion(&mut w, fate);
        if w.stop_after.is_some_and(|after| w.operations >= after) {
            w.stopped = true;
        }
    }

    fn allocated(&self) -> u64 {
        let length = |node: &Node| if let Node::File(file) = node { file.live.len() as u64 } else { 0 };
        self.nodes.iter().map(length).sum()
    }
}

fn parts(path: &Path) -> Vec<String> {
    let name = |part| match part {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    };
    path.components().filter_map(name).collect()
}

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
            space: u64::MAX,
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
        self.world.borrow_mut().space = bytes;
    }

    /// Bytes that files have reserved.
    #[must_use]
    pub fn allocated(&self) -> u64 {
        self.world.borrow().allocated()
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
}

impl Disk for SimDisk {
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
                if world.allocated() + bytes.len() as u64 > world.space {
                    return Err(io::ErrorKind::StorageFull.into());
                }
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
            if world.allocated().saturating_add(grown) > world.space {
                return Err(io::ErrorKind::StorageFull.into());
            }
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
    fn monotonic_ms(&self) -> u64 {
        self.world.borrow().now_us / 1000
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

type Task = Pin<Box<dyn Future<Output = ()>>>;

/// One run of a process on a [`SimDisk`].
pub struct Sim {
    disk: SimDisk,
    tasks: RefCell<Vec<Option<Task>>>,
    ready: Arc<Mutex<Vec<usize>>>,
}

struct TaskWaker {
    task: usize,
    ready: Arc<Mutex<Vec<usize>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
        if !ready.contains(&self.task) {
            ready.push(self.task);
        }
    }
}

impl Sim {
    /// An executor without tasks.
    #[must_use]
    pub fn new(disk: &SimDisk) -> Self {
        Self { disk: disk.clone(), tasks: RefCell::default(), ready: Arc::default() }
    }

    /// Starts a task; it ends with the run.
    pub fn spawn(&self, task: impl Future<Output = ()> + 'static) {
        let mut tasks = self.tasks.borrow_mut();
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).push(tasks.len());
        tasks.push(Some(Box::pin(task)));
    }

    /// Runs until `main` is done; `None` if the disk stopped the run before.
    ///
    /// # Panics
    /// If everyone waits for someone else.
    pub fn run<T: 'static>(&self, main: impl Future<Output = T> + 'static) -> Option<T> {
        let result = Rc::new(RefCell::new(None));
        let theirs = result.clone();
        self.spawn(async move { *theirs.borrow_mut() = Some(main.await) });
        loop {
            if let Some(result) = result.borrow_mut().take() {
                return Some(result);
            }
            if self.disk.stopped() {
                return None;
            }
            let next = {
                let mut ready = self.ready.lock().unwrap_or_else(PoisonError::into_inner);
                let count = ready.len() as u64;
                let chosen = self.disk.world.borrow_mut().random.below(count) as usize;
                (count > 0).then(|| ready.swap_remove(chosen))
            };
            match next {
                Some(task) => self.poll(task),
                None => self.pass_time(),
            }
        }
    }

    /// Drops every task, in the middle of whatever it does.
    pub fn end(&self) {
        let tasks = std::mem::take(&mut *self.tasks.borrow_mut());
        drop(tasks);
    }

    fn poll(&self, task: usize) {
        let Some(mut future) = self.tasks.borrow_mut()[task].take() else { return };
        let waker = Waker::from(Arc::new(TaskWaker { task, ready: self.ready.clone() }));
        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
            self.tasks.borrow_mut()[task] = Some(future);
        }
    }

    fn pass_time(&self) {
        let mut world = self.disk.world.borrow_mut();
        if world.under_way.is_empty() {
            let next = world.timers.iter().map(|timer| timer.0).min();
            world.now_us = next.unwrap_or_else(|| panic!("every task waits for another")).max(world.now_us);
        } else {
            drop(world);
            World::complete_one(&self.disk.world);
            world = self.disk.world.borrow_mut();
        }
        let now = world.now_us;
        let (due, later) = std::mem::take(&mut world.timers).into_iter().partition(|timer| timer.0 <= now);
        world.timers = later;
        drop(world);
        let due: Vec<(u64, Waker)> = due;
        due.into_iter().for_each(|timer| timer.1.wake());
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
