//! From a directory to the disks below it: mount, block device, what that is made of.

use std::path::{Path, PathBuf};

use super::host::Host;

const MOUNTS: &str = "/proc/self/mountinfo";

/// Levels of devices upon devices (encryption on volumes on arrays) that are followed.
const LEVELS_MAX: usize = 8;

/// What names of virtual disks begin with: virtio, Xen.
const VIRTUAL: [&str; 2] = ["vd", "xvd"];

/// One disk with a queue of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockDevice {
    /// Its name in /sys/block.
    pub name: String,
}

impl BlockDevice {
    /// A file of its queue.
    #[must_use]
    pub fn queue(&self, file: &str) -> PathBuf {
        Path::new("/sys/block").join(&self.name).join("queue").join(file)
    }

    /// Whether it has a head to move. Virtual disks say so too, whatever they are made of.
    #[must_use]
    pub fn has_a_head(&self, host: &Host) -> bool {
        let is_virtual = VIRTUAL.iter().any(|prefix| self.name.starts_with(prefix));
        !is_virtual && host.value(&self.queue("rotational")).is_ok_and(|value| value != "0")
    }
}

/// The mount that a directory lies in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where it is mounted.
    pub point: PathBuf,
    /// Major and minor number of its device; the major one is 0 where it has none of its own.
    pub device: (u32, u32),
    /// Name of the file system.
    pub kind: String,
    /// What is mounted.
    pub source: String,
    /// Its options, and those of its file system.
    pub options: String,
}

/// The mount of a directory that exists, or would exist there.
///
/// # Errors
/// A sentence: the mounts cannot be read, or none matches.
pub fn mount_of(host: &Host, directory: &Path) -> Result<Mount, String> {
    let existing = directory.ancestors().find(|above| host.exists(above)).unwrap_or(Path::new("/"));
    let directory = host.resolve(existing).unwrap_or_else(|_| existing.to_owned());
    let text = host.read(Path::new(MOUNTS)).map_err(|error| format!("{MOUNTS}: {error}"))?;
    let mounts = text.lines().filter_map(parse_mount).filter(|mount| directory.starts_with(&mount.point));
    // Of two mounts at one place the later hides the earlier.
    let nearest = mounts.max_by_key(|mount| mount.point.components().count());
    nearest.ok_or_else(|| format!("{MOUNTS} has no mount for {}", directory.display()))
}

/// The disks that a directory lies on: through partitions, volumes, encryption and arrays.
///
/// # Errors
/// A sentence: it lies on none that the kernel shows.
pub fn disks_of(host: &Host, directory: &Path) -> Result<Vec<BlockDevice>, String> {
    let mount = mount_of(host, directory)?;
    let (major, minor) = mount.device;
    let node = if major > 0 {
        PathBuf::from(format!("/sys/dev/block/{major}:{minor}"))
    } else if let Some(name) = mount.source.strip_prefix("/dev/") {
        // btrfs has numbers of its own and names its device.
        Path::new("/sys/class/block").join(name)
    } else {
        return Err(format!(
            "{} is on {}, which is no disk of this host",
            directory.display(),
            if mount.kind == mount.source {
                mount.kind
            } else {
                format!("{} ({})", mount.kind, mount.source)
            }
        ));
    };
    let found = host.resolve(&node).map_err(|error| {
        format!("{} is on {}, but {}: {error}", directory.display(), mount.source, node.display())
    })?;
    let mut disks = Vec::new();
    collect(host, &found, LEVELS_MAX, &mut disks);
    disks.sort();
    disks.dedup();
    if disks.is_empty() { Err(format!("{} has no queue", found.display())) } else { Ok(disks) }
}

fn collect(host: &Host, device: &Path, levels: usize, into: &mut Vec<BlockDevice>) {
    let is_partition = host.exists(&device.join("partition"));
    let disk = if is_partition { device.parent().unwrap_or(device) } else { device };
    let below = host.names(&disk.join("slaves"));
    if levels > 0 {
        for name in &below {
            if let Ok(found) = host.resolve(&disk.join("slaves").join(name)) {
                collect(host, &found, levels - 1, into);
            }
        }
    }
    let name = disk.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let disk = BlockDevice { name };
    if below.is_empty() && host.exists(&disk.queue("scheduler")) {
        into.push(disk);
    }
}

/// One line: id, parent, device, root, mount point, options, optional fields, "-", kind, source, options.
/// Source: proc_pid_mountinfo(5).
fn parse_mount(line: &str) -> Option<Mount> {
    let (head, tail) = line.split_once(" - ")?;
    let head: Vec<_> = head.split(' ').collect();
    let tail: Vec<_> = tail.split(' ').collect();
    let (major, minor) = head.get(2)?.split_once(':')?;
    Some(Mount {
        point: PathBuf::from(unescape(head.get(4)?)),
        device: (major.parse().ok()?, minor.parse().ok()?),
        kind: (*tail.first()?).to_owned(),
        source: unescape(tail.get(1)?),
        options: format!("{},{}", head.get(5)?, tail.get(2).copied().unwrap_or_default()),
    })
}

/// Space, tab, newline and backslash stand as three octal digits behind a backslash.
fn unescape(text: &str) -> String {
    let mut plain = text.to_owned();
    for (escape, character) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        plain = plain.replace(escape, character);
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn host_with(mounts: &str, directories: &[&str], links: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
        let root = tempfile::tempdir().unwrap();
        let make = |path: &str| fs::create_dir_all(root.path().join(path.trim_start_matches('/'))).unwrap();
        make("/proc/self");
        fs::write(root.path().join("proc/self/mountinfo"), mounts).unwrap();
        for path in directories {
            let (path, is_file) = path.strip_suffix('!').map_or((*path, false), |path| (path, true));
            if is_file {
                make(Path::new(path).parent().unwrap().to_str().unwrap());
                fs::write(root.path().join(path.trim_start_matches('/')), "1\n").unwrap();
            } else {
                make(path);
            }
        }
        for (from, to) in links {
            make(Path::new(from).parent().unwrap().to_str().unwrap());
            symlink(to, root.path().join(from.trim_start_matches('/'))).unwrap();
        }
        let host = Host::at(root.path());
        (root, host)
    }

    fn names(disks: Result<Vec<BlockDevice>, String>) -> Vec<String> {
        disks.unwrap().into_iter().map(|disk| disk.name).collect()
    }

    #[test]
    fn a_partition_leads_to_its_disk_and_the_nearest_mount_wins() {
        let mounts = "27 1 254:0 / / rw - ext4 /dev/vda rw\n\
                      30 27 259:2 / /mnt/big\\040one rw,noatime shared:5 master:1 - xfs /dev/nvme0n1p1 rw,attr2\n";
        let (_root, host) = host_with(
            mounts,
            &[
                "/mnt/big one/data",
                "/sys/devices/nvme0n1/nvme0n1p1/partition!",
                "/sys/block/nvme0n1/queue/scheduler!",
                "/sys/block/vda/queue/scheduler!",
                "/sys/devices/vda",
            ],
            &[
                ("/sys/dev/block/259:2", "../../devices/nvme0n1/nvme0n1p1"),
                ("/sys/dev/block/254:0", "../../devices/vda"),
            ],
        );
        let data = Path::new("/mnt/big one/data/not/there/yet");
        let mount = mount_of(&host, data).unwrap();
        assert_eq!((mount.kind.as_str(), mount.options.as_str()), ("xfs", "rw,noatime,rw,attr2"));
        assert_eq!(names(disks_of(&host, data)), ["nvme0n1"]);
        assert_eq!(names(disks_of(&host, Path::new("/mnt/bigger"))), ["vda"]);
    }

    #[test]
    fn volumes_lead_to_every_disk_that_they_are_made_of() {
        let (_root, host) = host_with(
            "27 1 253:0 / / rw - ext4 /dev/mapper/secret rw\n",
            &[
                "/sys/devices/dm-0/slaves",
                "/sys/devices/md0/slaves",
                "/sys/devices/sda/sda1/partition!",
                "/sys/devices/sdb",
                "/sys/block/sda/queue/scheduler!",
                "/sys/block/sdb/queue/scheduler!",
                "/sys/block/dm-0/queue/scheduler!",
            ],
            &[
                ("/sys/dev/block/253:0", "../../devices/dm-0"),
                ("/sys/devices/dm-0/slaves/md0", "../../md0"),
                ("/sys/devices/md0/slaves/sdb", "../../sdb"),
                ("/sys/devices/md0/slaves/sda1", "../../sda/sda1"),
            ],
        );
        assert_eq!(names(disks_of(&host, Path::new("/data"))), ["sda", "sdb"]);
    }

    #[test]
    fn btrfs_is_found_by_its_device_and_what_is_no_disk_is_named() {
        let (_root, host) = host_with(
            "1 0 0:30 / / rw - overlay overlay rw\n2 1 0:31 /sub /data rw - btrfs /dev/sdc rw\n",
            &["/data", "/sys/devices/sdc", "/sys/block/sdc/queue/scheduler!"],
            &[("/sys/class/block/sdc", "../../devices/sdc")],
        );
        assert_eq!(names(disks_of(&host, Path::new("/data/x"))), ["sdc"]);
        let error = disks_of(&host, Path::new("/elsewhere")).unwrap_err();
        assert_eq!(error, "/elsewhere is on overlay, which is no disk of this host");
    }
}
