//! For tests: a host in a scratch directory, whose files behave as the kernel's do, and whose power can be cut.

use std::{
    cell::Cell,
    collections::BTreeMap,
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    rc::Rc,
};

use super::{device, host::Between, host::Host, knob::Scene};

/// An untuned machine: a disk with a head and an NVMe drive under the data directory, a card with two queues.
const FILES: &[(&str, &str)] = &[
    (
        "/proc/self/mountinfo",
        "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 1 259:1 / /srv rw,noatime - xfs /dev/nvme0n1p1 rw\n",
    ),
    (
        "/proc/self/limits",
        "Limit                     Soft Limit           Hard Limit           Units     \n\
         Max open files            1024                 4096                 files     \n\
         Max locked memory         65536                65536                bytes     \n",
    ),
    ("/proc/sys/kernel/random/boot_id", "b-1\n"),
    ("/proc/sys/kernel/io_uring_disabled", "1\n"),
    ("/proc/sys/net/core/somaxconn", "128\n"),
    ("/proc/sys/net/core/rps_sock_flow_entries", "0\n"),
    ("/proc/sys/net/core/rmem_max", "212992\n"),
    ("/proc/sys/net/core/wmem_max", "33554432\n"),
    ("/proc/sys/net/ipv4/tcp_max_syn_backlog", "512\n"),
    ("/proc/sys/net/ipv4/tcp_rmem", "4096\t131072\t6291456\n"),
    ("/proc/sys/net/ipv4/tcp_wmem", "4096\t16384\t4194304\n"),
    ("/proc/sys/vm/swappiness", "60\n"),
    ("/sys/kernel/mm/transparent_hugepage/enabled", "[always] madvise never\n"),
    ("/sys/devices/system/cpu/online", "0-3\n"),
    ("/sys/devices/system/cpu/cpufreq/policy0/scaling_governor", "powersave\n"),
    ("/sys/devices/system/cpu/cpufreq/policy0/scaling_available_governors", "performance powersave\n"),
    ("/sys/devices/system/cpu/cpufreq/policy0/energy_performance_preference", "balance_power\n"),
    ("/sys/devices/system/cpu/cpu0/cpuidle/state0/name", "POLL\n"),
    ("/sys/devices/system/cpu/cpu0/cpuidle/state0/latency", "0\n"),
    ("/sys/devices/system/cpu/cpu0/cpuidle/state1/name", "C6\n"),
    ("/sys/devices/system/cpu/cpu0/cpuidle/state1/latency", "133\n"),
    ("/sys/devices/system/clocksource/clocksource0/current_clocksource", "hpet\n"),
    ("/sys/devices/system/clocksource/clocksource0/available_clocksource", "tsc hpet acpi_pm\n"),
    ("/sys/devices/nvme/nvme0n1/nvme0n1p1/partition", "1\n"),
    ("/sys/block/nvme0n1/queue/scheduler", "none [mq-deadline] kyber\n"),
    ("/sys/block/nvme0n1/queue/nr_requests", "777\n"),
    ("/sys/block/nvme0n1/queue/iosched/read_expire", "333\n"),
    ("/sys/block/nvme0n1/queue/rotational", "0\n"),
    ("/sys/block/nvme0n1/queue/nomerges", "0\n"),
    ("/sys/block/nvme0n1/queue/read_ahead_kb", "128\n"),
    ("/sys/block/nvme0n1/queue/write_cache", "write back\n"),
    ("/sys/block/nvme0n1/queue/discard_max_bytes", "2147483136\n"),
    ("/sys/devices/pci/0000:01/net/eth0/queues/rx-0/rps_cpus", "0\n"),
    ("/sys/devices/pci/0000:01/net/eth0/queues/rx-0/rps_flow_cnt", "0\n"),
    ("/sys/devices/pci/0000:01/net/eth0/queues/rx-1/rps_cpus", "0\n"),
    ("/sys/devices/pci/0000:01/net/eth0/queues/rx-1/rps_flow_cnt", "0\n"),
    ("/sys/devices/pci/0000:01/net/eth0/queues/tx-0/xps_cpus", "0\n"),
    ("/sys/devices/pci/0000:01/net/eth0/queues/tx-1/xps_cpus", "0\n"),
    ("/sys/devices/pci/0000:01/msi_irqs/24", "msix\n"),
    ("/sys/devices/pci/0000:01/msi_irqs/25", "msix\n"),
    ("/proc/irq/24/smp_affinity_list", "0-3\n"),
    ("/proc/irq/25/smp_affinity_list", "0-3\n"),
    ("/usr/lib/systemd/system/fstrim.timer", "[Timer]\n"),
    ("/etc/systemd/system/multi-user.target", "\n"),
    ("/etc/security/limits.d/10-others.conf", "# theirs\n"),
    ("/srv/corelane/format", "{\"version\":1}"),
];

const LINKS: &[(&str, &str)] = &[
    ("/sys/dev/block/259:1", "../../devices/nvme/nvme0n1/nvme0n1p1"),
    ("/sys/class/net/eth0", "../../devices/pci/0000:01/net/eth0"),
    ("/sys/devices/pci/0000:01/net/eth0/device", "../.."),
];

/// Where the data lies on that host.
pub(super) const DATA: &str = "/srv/corelane";

/// The directory of a host.
pub(super) struct Scratch(tempfile::TempDir);

/// A path with what it is: text, or where it points to; a directory has neither.
pub(super) type Tree = BTreeMap<PathBuf, String>;

impl Scratch {
    pub(super) fn new() -> Self {
        // Beside this program: the directory for temporary files may be in memory, where no space can be held.
        let beside = std::env::current_exe().unwrap();
        let root = tempfile::tempdir_in(beside.parent().unwrap()).unwrap();
        let make = |path: &str| {
            let real = root.path().join(path.trim_start_matches('/'));
            fs::create_dir_all(real.parent().unwrap()).unwrap();
            real
        };
        FILES.iter().for_each(|(path, text)| fs::write(make(path), text).unwrap());
        LINKS.iter().for_each(|(path, target)| symlink(target, make(path)).unwrap());
        Self(root)
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn write(&self, path: &str, text: &str) {
        fs::write(self.path().join(path.trim_start_matches('/')), text).unwrap();
    }

    /// The host, which works without end.
    pub(super) fn host(&self) -> Host {
        self.dying_after(u32::MAX).0
    }

    /// The host, and how many steps it has left before every further one fails.
    pub(super) fn dying_after(&self, steps: u32) -> (Host, Rc<Cell<u32>>) {
        let left = Rc::new(Cell::new(steps));
        let kernel = Kernel { root: self.path().to_owned(), steps: left.clone(), refuses: Vec::new() };
        (Host::with(self.path(), kernel), left)
    }

    /// The host whose kernel answers writes to these files with an error.
    pub(super) fn refusing(&self, refuses: &[(&'static str, io::ErrorKind)]) -> Host {
        let steps = Rc::new(Cell::new(u32::MAX));
        Host::with(self.path(), Kernel { root: self.path().to_owned(), steps, refuses: refuses.to_vec() })
    }

    /// Everything in it, but the record.
    pub(super) fn tree(&self) -> Tree {
        let mut tree = Tree::new();
        collect(self.path(), self.path(), &mut tree);
        tree
    }
}

fn collect(root: &Path, below: &Path, into: &mut Tree) {
    for entry in fs::read_dir(below).unwrap() {
        let path = entry.unwrap().path();
        let kind = path.symlink_metadata().unwrap().file_type();
        let what = if kind.is_symlink() {
            format!("-> {}", fs::read_link(&path).unwrap().display())
        } else if kind.is_dir() {
            collect(root, &path, into);
            String::new()
        } else {
            fs::read_to_string(&path).unwrap()
        };
        into.insert(path.strip_prefix(root).unwrap().to_owned(), what);
    }
}

/// What the host's data directory is looked at with.
pub(super) fn scene(host: &Host) -> Scene<'_> {
    Scene { host, data: Path::new(DATA), disks: device::disks_of(host, Path::new(DATA)) }
}

struct Kernel {
    root: PathBuf,
    steps: Rc<Cell<u32>>,
    refuses: Vec<(&'static str, io::ErrorKind)>,
}

impl Between for Kernel {
    fn before(&self, path: &Path) -> io::Result<()> {
        if let Some((_, kind)) = self.refuses.iter().find(|(refused, _)| Path::new(refused) == path) {
            return Err((*kind).into());
        }
        match self.steps.get().checked_sub(1) {
            Some(left) => self.steps.set(left),
            None => return Err(io::Error::other("killed")),
        }
        Ok(())
    }

    /// Lists keep their choices; a new scheduler begins with defaults of its own.
    fn becomes(&self, path: &Path, held: &str, text: &str) -> String {
        if path.ends_with("queue/scheduler") {
            let queue = self.root.join(path.parent().unwrap().strip_prefix("/").unwrap());
            fs::write(queue.join("nr_requests"), "256\n").unwrap();
            let tunables = queue.join("iosched/read_expire");
            if text == "none" {
                fs::remove_dir_all(queue.join("iosched")).unwrap();
            } else {
                fs::create_dir_all(queue.join("iosched")).unwrap();
                fs::write(tunables, "500\n").unwrap();
            }
        }
        if path.ends_with("scaling_governor") {
            let preference = self.root.join(path.parent().unwrap().strip_prefix("/").unwrap());
            fs::write(preference.join("energy_performance_preference"), "performance\n").unwrap();
        }
        if !held.contains('[') {
            return text.to_owned();
        }
        let bare = held.replace(['[', ']'], "");
        let words =
            bare.split(' ').map(|word| if word == text { format!("[{word}]") } else { word.to_owned() });
        words.collect::<Vec<_>>().join(" ")
    }
}
