//! What the simulated disk holds: directories and files, each as it is and as power loss would leave it.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Component, Path, PathBuf},
    rc::Rc,
    task::Waker,
};

/// The smallest part of a write that survives or is lost as one.
pub(super) const SECTOR: usize = 512;

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
pub(super) enum Node {
    Directory { live: BTreeMap<String, usize>, durable: BTreeMap<String, usize> },
    File(File),
}

#[derive(Clone, Default)]
pub(super) struct File {
    pub(super) live: Vec<u8>,
    pub(super) durable: Vec<u8>,
    /// Sectors written since they were last made durable.
    pub(super) dirty: BTreeSet<usize>,
    /// Which of the volumes it is on.
    volume: usize,
}

/// A directory with space of its own, and all below it.
#[derive(Clone)]
pub(super) struct Volume {
    pub(super) path: PathBuf,
    /// Bytes that its files may reserve in all.
    pub(super) space: u64,
}

impl File {
    pub(super) fn write(&mut self, position: usize, bytes: &[u8]) {
        let end = position + bytes.len();
        if self.live.len() < end {
            self.live.resize(end, 0);
        }
        self.live[position..end].copy_from_slice(bytes);
        self.dirty.extend(position / SECTOR..end.div_ceil(SECTOR));
    }

    pub(super) fn make_durable(&mut self, sectors: impl IntoIterator<Item = usize>, length: usize) {
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

    pub(super) fn lose_power(&mut self, random: &mut Random) {
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
pub(super) enum NameChange {
    Link { directory: usize, name: String, node: usize },
    Unlink { directory: usize, name: String },
    Rename { from: (usize, String), to: (usize, String), node: usize },
}

impl NameChange {
    pub(super) fn touches(&self, directory: usize) -> bool {
        match self {
            Self::Link { directory: d, .. } | Self::Unlink { directory: d, .. } => *d == directory,
            Self::Rename { from, to, .. } => from.0 == directory || to.0 == directory,
        }
    }
}

/// How an operation under way ends.
pub(super) enum Fate {
    Done,
    Fails(io::ErrorKind),
    /// The process or the power is gone: no one hears of the result.
    Cut,
}

pub(super) type Completion = Box<dyn FnOnce(&mut World, Fate)>;

pub(super) struct World {
    pub(super) random: Random,
    pub(super) now_us: u64,
    pub(super) nodes: Vec<Node>,
    pub(super) unsynced_names: Vec<NameChange>,
    pub(super) under_way: Vec<Completion>,
    pub(super) timers: Vec<(u64, Waker)>,
    pub(super) operations: u64,
    pub(super) stop_after: Option<u64>,
    pub(super) fail_at: Option<(u64, io::ErrorKind)>,
    /// The first one is the whole disk, less the others.
    pub(super) volumes: Vec<Volume>,
    pub(super) stopped: bool,
}

pub(super) const ROOT: usize = 0;

impl World {
    pub(super) fn file(&mut self, node: usize) -> &mut File {
        match &mut self.nodes[node] {
            Node::File(file) => file,
            Node::Directory { .. } => panic!("node {node} is a directory"),
        }
    }

    pub(super) fn names(&mut self, node: usize) -> io::Result<&mut BTreeMap<String, usize>> {
        match &mut self.nodes[node] {
            Node::Directory { live, .. } => Ok(live),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn durable_names(&mut self, node: usize) -> &mut BTreeMap<String, usize> {
        match &mut self.nodes[node] {
            Node::Directory { durable, .. } => durable,
            Node::File(_) => panic!("node {node} is a file"),
        }
    }

    pub(super) fn find(&mut self, path: &Path) -> io::Result<usize> {
        let mut node = ROOT;
        for name in parts(path) {
            node = *self.names(node)?.get(&name).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(node)
    }

    /// The directory a path lies in, and its last name.
    pub(super) fn place(&mut self, path: &Path) -> io::Result<(usize, String)> {
        let name = parts(path).pop().ok_or(io::ErrorKind::InvalidInput)?;
        let directory = self.find(path.parent().unwrap_or(Path::new("")))?;
        Ok((directory, name))
    }

    pub(super) fn create_file(&mut self, path: &Path) -> io::Result<usize> {
        let (directory, name) = self.place(path)?;
        let node = self.nodes.len();
        self.nodes.push(Node::File(File { volume: self.volume_of(path), ..File::default() }));
        self.names(directory)?.insert(name.clone(), node);
        self.unsynced_names.push(NameChange::Link { directory, name, node });
        Ok(node)
    }

    pub(super) fn create_directories(&mut self, path: &Path) -> io::Result<()> {
        let mut node = ROOT;
        for name in parts(path) {
            node = match self.names(node)?.get(&name) {
                Some(&there) => there,
                None => {
                    // The sync of the directory takes with it what else changed there, such as an earlier
                    // directory of that name being removed.
                    self.make_names_durable(node);
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

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        if self.volume_of(from) != self.volume_of(to) {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        let (from, to) = (self.place(from)?, self.place(to)?);
        let node = self.names(from.0)?.remove(&from.1).ok_or(io::ErrorKind::NotFound)?;
        self.names(to.0)?.insert(to.1.clone(), node);
        self.unsynced_names.push(NameChange::Rename { from, to, node });
        Ok(())
    }

    pub(super) fn unlink(&mut self, path: &Path) -> io::Result<()> {
        let (directory, name) = self.place(path)?;
        self.names(directory)?.remove(&name).ok_or(io::ErrorKind::NotFound)?;
        self.unsynced_names.push(NameChange::Unlink { directory, name });
        Ok(())
    }

    pub(super) fn make_name_durable(&mut self, change: NameChange) {
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

    pub(super) fn sync_directory(&mut self, path: &Path) -> io::Result<()> {
        let directory = self.find(path)?;
        self.names(directory)?;
        self.make_names_durable(directory);
        Ok(())
    }

    fn make_names_durable(&mut self, directory: usize) {
        let (now, later) = std::mem::take(&mut self.unsynced_names)
            .into_iter()
            .partition::<Vec<_>, _>(|change| change.touches(directory));
        self.unsynced_names = later;
        now.into_iter().for_each(|change| self.make_name_durable(change));
    }

    /// Takes an operation from those under way, at random, and ends it.
    pub(super) fn complete_one(world: &Rc<RefCell<Self>>) {
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

    pub(super) fn volume_of(&self, path: &Path) -> usize {
        let within = |volume: &Volume| path.starts_with(&volume.path);
        self.volumes.iter().rposition(within).unwrap_or(0)
    }

    /// Bytes that the files of a volume have reserved.
    pub(super) fn allocated(&self, volume: usize) -> u64 {
        let (mut bytes, mut open) = (0, vec![ROOT]);
        while let Some(node) = open.pop() {
            match &self.nodes[node] {
                Node::File(file) if file.volume == volume => bytes += file.live.len() as u64,
                Node::File(_) => {}
                Node::Directory { live, .. } => open.extend(live.values()),
            }
        }
        bytes
    }

    /// Whether there is room for so many more bytes.
    pub(super) fn take_space(&self, volume: usize, bytes: u64) -> io::Result<()> {
        let space = self.volumes[volume].space;
        // Most disks have no limit: their files are not counted.
        match space == u64::MAX || self.allocated(volume).saturating_add(bytes) <= space {
            true => Ok(()),
            false => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    pub(super) fn volume_of_file(&mut self, node: usize) -> usize {
        self.file(node).volume
    }
}

pub(super) fn parts(path: &Path) -> Vec<String> {
    let name = |part| match part {
        Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
        _ => None,
    };
    path.components().filter_map(name).collect()
}
