//! `corelane tune check --explain`: can a broker run here, what stands in its way, and what exactly helps.
//!
//! [`examine`] asks the kernel, [`judge`] says what the answers mean. Remedies are lines to copy: for a systemd
//! drop-in, for `docker run`, for a shell on the host.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::Path,
    time::{Duration, Instant},
};

use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags, statx};

use super::{
    device::mount_of,
    host::Host,
    knob::State,
    knobs::limits::{OWN_LIMITS, hard_limit, show},
};
use crate::{
    io::{
        buffer::BLOCK,
        probe::{RingRefusal, probe_io_uring},
    },
    startup::available_cores,
};

/// The least kernel: deferred task work, multishot receive, MSG_RING with data.
const KERNEL: (u32, u32) = (6, 1);
/// Locked memory that the rings and buffers of a few dozen cores need.
const LOCKED_BYTES: u64 = 8 << 20;
/// What the default settings come to on two cores.
const OPEN_FILES: u64 = 16_384;
/// File systems in memory.
const IN_MEMORY: [&str; 2] = ["tmpfs", "ramfs"];
/// A commit that takes longer than this is felt by every client with acks=all.
const SYNC_US_MAX: u128 = 2_000;
const SYNCS: usize = 25;

/// How direct I/O is taken in the data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direct {
    /// In units of so many bytes: of memory, of the file. Zero where the kernel does not say.
    Aligned(u32, u32),
    /// Not at all.
    Refused,
}

/// What was asked, and what was answered.
pub(super) struct Facts {
    kernel: String,
    ring: Result<(), RingRefusal>,
    /// `Seccomp` of /proc/self/status: 0 none, 1 strict, 2 a filter.
    seccomp: Option<u8>,
    locked: Option<u64>,
    files: Option<u64>,
    file_system: String,
    direct: Result<Direct, String>,
    /// Median and longest of some writes with fdatasync.
    sync: Result<(Duration, Duration), String>,
    /// Cores of this process with their NUMA nodes, and how many cores are online.
    cores: Vec<(usize, usize)>,
    online: usize,
    /// Cores' worth of time that a control group allows.
    quota: Option<f64>,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Symptom {
    what: &'static str,
    value: String,
    state: State,
    means: String,
}

/// Lines to copy.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Remedies {
    systemd: Vec<&'static str>,
    docker: Vec<&'static str>,
    host: Vec<&'static str>,
}

/// Asks everything, and writes a few blocks into a file without a name in the data directory.
pub(super) fn examine(host: &Host, data: &Path) -> Facts {
    let read = |path: &str| host.read(Path::new(path)).unwrap_or_default();
    let limits = read(OWN_LIMITS);
    let status = read("/proc/self/status");
    let seccomp = status.lines().find_map(|line| line.strip_prefix("Seccomp:")?.trim().parse().ok());
    let existing = data.ancestors().find(|above| host.exists(above)).unwrap_or(Path::new("/"));
    let real = host.real(existing);
    let online = super::knobs::interfaces::parse_list(&read("/sys/devices/system/cpu/online"));
    Facts {
        kernel: read("/proc/sys/kernel/osrelease"),
        ring: probe_io_uring(),
        seccomp,
        locked: hard_limit(&limits, "Max locked memory"),
        files: hard_limit(&limits, "Max open files"),
        file_system: mount_of(host, existing)
            .map_or_else(|why| why, |mount| format!("{} on {}", mount.kind, mount.source)),
        direct: direct_of(&real).map_err(|error| format!("{}: {error}", real.display())),
        sync: sync_of(&real).map_err(|error| format!("{}: {error}", real.display())),
        cores: available_cores().iter().map(|cpu| (cpu.core, cpu.numa_node)).collect(),
        online: online.map_or(0, |online| online.len()),
        quota: quota(host),
    }
}

fn without_name(directory: &Path, flags: OFlags) -> io::Result<File> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC | flags;
    Ok(File::from(rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR)?))
}

fn direct_of(directory: &Path) -> io::Result<Direct> {
    let file = match without_name(directory, OFlags::DIRECT) {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
            return Ok(Direct::Refused);
        }
        other => other?,
    };
    let found = statx(&file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN)?;
    Ok(Direct::Aligned(found.stx_dio_mem_align, found.stx_dio_offset_align))
}

fn sync_of(directory: &Path) -> io::Result<(Duration, Duration)> {
    let file = without_name(directory, OFlags::empty())?;
    // The journal writes to blocks that are there already.
    file.write_all_at(&vec![1; BLOCK * SYNCS], 0)?;
    file.sync_all()?;
    let mut took = Vec::with_capacity(SYNCS);
    for block in 0..SYNCS {
        let start = Instant::now();
        file.write_all_at(&[2; BLOCK], (block * BLOCK) as u64)?;
        file.sync_data()?;
        took.push(start.elapsed());
    }
    took.sort_unstable();
    Ok((took[SYNCS / 2], took[SYNCS - 1]))
}

/// The least that any control group above this process allows.
pub(super) fn quota(host: &Host) -> Option<f64> {
    let read = |path: &Path| host.read(path).unwrap_or_default();
    let own = read(Path::new("/proc/self/cgroup"));
    let own = own.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    let groups = Path::new("/sys/fs/cgroup");
    let inside = groups.join(own);
    let above = inside.ancestors().take_while(|group| group.starts_with(groups));
    let second = above.filter_map(|group| quota_of(&read(&group.join("cpu.max"))));
    let first = groups.join("cpu");
    let of_first = |file: &str| read(&first.join(file));
    let first = quota_of(&format!("{} {}", of_first("cpu.cfs_quota_us"), of_first("cpu.cfs_period_us")));
    second.chain(first).min_by(f64::total_cmp)
}

/// `200000 100000`: microseconds of each period. Source: the kernel's cgroup-v2 documentation, `cpu.max`.
fn quota_of(text: &str) -> Option<f64> {
    let (quota, period) = text.split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.parse().ok()?);
    (quota > 0.0 && period > 0.0).then_some(quota / period)
}

fn version_of(kernel: &str) -> Option<(u32, u32)> {
    let mut parts = kernel.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// What the answers mean, and what helps.
pub(super) fn judge(facts: &Facts) -> (Vec<Symptom>, Remedies) {
    let mut remedies = Remedies::default();
    let told = |what, value: String, means: &str| Symptom {
        what,
        value,
        state: State::Told,
        means: means.to_owned(),
    };
    let judged = |what, value: String, fits: bool, means: &str| Symptom {
        what,
        value,
        state: if fits { State::Fits } else { State::Differs },
        means: if fits { String::new() } else { means.to_owned() },
    };
    let mut symptoms = vec![judged(
        "kernel",
        facts.kernel.clone(),
        version_of(&facts.kernel).is_some_and(|version| version >= KERNEL),
        "corelane needs Linux 6.1 or newer",
    )];

    let means = facts.ring.as_ref().err().map(ToString::to_string).unwrap_or_default();
    let value = if facts.ring.is_ok() { "available" } else { "refused" };
    symptoms.push(judged("io_uring", value.to_owned(), facts.ring.is_ok(), &means));
    match facts.ring {
        Err(RingRefusal::DisabledForAll | RingRefusal::DisabledForGroup) => {
            remedies.host.push("sysctl -w kernel.io_uring_disabled=0");
            remedies.host.push("echo 'kernel.io_uring_disabled = 0' > /etc/sysctl.d/90-corelane.conf");
        }
        Err(RingRefusal::Forbidden) => {
            remedies.systemd.push("SystemCallFilter=@system-service @aio");
            remedies.docker.push("--security-opt seccomp=tuning/container/seccomp.json");
        }
        Err(RingRefusal::LockedMemory) => need_locked_memory(&mut remedies),
        _ => {}
    }
    let filter = match facts.seccomp {
        Some(0) => ("none", ""),
        Some(_) => ("a filter", "system calls of this process are filtered, by a container or by systemd"),
        None => ("unknown", "/proc/self/status does not say"),
    };
    symptoms.push(told("seccomp", filter.0.to_owned(), filter.1));

    let limit = |what, held: Option<u64>, wanted: u64, means| {
        judged(
            what,
            held.map_or_else(|| "unknown".to_owned(), show),
            held.is_none_or(|held| held >= wanted),
            means,
        )
    };
    let locked = limit(
        "locked memory",
        facts.locked,
        LOCKED_BYTES,
        "bytes; the rings' buffers are locked memory, and more cores need more of it",
    );
    if locked.state == State::Differs {
        need_locked_memory(&mut remedies);
    }
    let files =
        limit("open files", facts.files, OPEN_FILES, "each connection and each open segment takes one");
    if files.state == State::Differs {
        remedies.systemd.push("LimitNOFILE=262144");
        remedies.docker.push("--ulimit nofile=65536");
    }
    symptoms.extend([locked, files]);

    let kind = facts.file_system.split(' ').next().unwrap_or_default();
    symptoms.push(judged(
        "file system",
        facts.file_system.clone(),
        !IN_MEMORY.contains(&kind),
        "it is in memory, where nothing survives a reboot; choose a directory on a disk with --data DIR",
    ));
    symptoms.push(match &facts.direct {
        Ok(Direct::Aligned(0, 0)) => {
            told("direct I/O", "taken".to_owned(), "the kernel does not say how it must be aligned")
        }
        Ok(Direct::Aligned(memory, file)) => judged(
            "direct I/O",
            format!("in units of {file} bytes of the file, {memory} of memory"),
            *memory <= BLOCK as u32 && *file <= BLOCK as u32,
            "the broker writes in blocks of 4096 bytes, too small for this disk",
        ),
        Ok(Direct::Refused) => judged(
            "direct I/O",
            "refused".to_owned(),
            false,
            "choose a directory on ext4 or XFS with --data DIR; in a container, a volume: -v corelane:/var/lib/corelane",
        ),
        Err(error) => judged("direct I/O", "unknown".to_owned(), false, error),
    });
    if facts.direct == Ok(Direct::Refused) {
        remedies.docker.push("-v corelane:/var/lib/corelane");
    }
    symptoms.push(match &facts.sync {
        Ok((median, longest)) => judged(
            "fdatasync",
            format!("{} us, at most {} us", median.as_micros(), longest.as_micros()),
            median.as_micros() <= SYNC_US_MAX,
            "acks=all waits for it; a drive with power-loss protection answers in tens of microseconds, and \
             write.caching=true on a topic does without it",
        ),
        Err(error) => judged("fdatasync", "unknown".to_owned(), false, error),
    });

    symptoms.extend(judge_cores(facts, &mut remedies));
    (symptoms, remedies)
}

fn need_locked_memory(remedies: &mut Remedies) {
    if !remedies.systemd.contains(&"LimitMEMLOCK=infinity") {
        remedies.systemd.push("LimitMEMLOCK=infinity");
        remedies.docker.push("--ulimit memlock=-1");
    }
}

fn judge_cores(facts: &Facts, remedies: &mut Remedies) -> Vec<Symptom> {
    let told = |what, value: String, means: &str| Symptom {
        what,
        value,
        state: State::Told,
        means: means.to_owned(),
    };
    let ids: Vec<_> = facts.cores.iter().map(|(core, _)| core.to_string()).collect();
    let means = if facts.cores.len() < facts.online {
        "a cpuset leaves out the others; shards run on these"
    } else {
        ""
    };
    let mut symptoms =
        vec![told("cores", format!("{} of {}: {}", ids.len(), facts.online, ids.join(",")), means)];
    let mut nodes: Vec<_> = facts.cores.iter().map(|(_, node)| *node).collect();
    nodes.sort_unstable();
    nodes.dedup();
    let means = if nodes.len() > 1 {
        "give the cores of the disk's and the card's node their shards: cores, [[shard]] numa"
    } else {
        ""
    };
    symptoms.push(told("NUMA", format!("{} node(s)", nodes.len()), means));
    let cores = facts.cores.len() as f64;
    if let Some(quota) = facts.quota {
        let fits = quota >= cores;
        symptoms.push(Symptom {
            what: "CPU quota",
            value: format!("{quota:.1} cores"),
            state: if fits { State::Fits } else { State::Differs },
            means: "the kernel stops all cores once it is used up, in the middle of whatever they do; give whole cores \
                    instead, and set shards.spin.us = 0"
                .to_owned(),
        });
        if !fits {
            remedies.systemd.push("CPUQuota=");
            remedies.systemd.push("AllowedCPUs=0-1   # the cores it may have");
            remedies.docker.push("--cpuset-cpus 0,1   # instead of --cpus");
        }
    }
    symptoms
}

/// Whether nothing stands in a broker's way.
pub(super) fn is_well(symptoms: &[Symptom]) -> bool {
    symptoms.iter().all(|symptom| symptom.state != State::Differs)
}

/// For people: each finding, and then what to copy.
pub(super) fn text(symptoms: &[Symptom], remedies: &Remedies) -> String {
    let mut text = String::new();
    for Symptom { what, value, state, means } in symptoms {
        let mark = match state {
            State::Fits => "ok",
            State::Differs => "BAD",
            State::Told => "told",
        };
        text += &format!("{mark:<6} {what:<17} {value}\n");
        if !means.is_empty() {
            text += &format!("       {means}\n");
        }
    }
    if !remedies.systemd.is_empty() {
        let lines = remedies.systemd.join("\n");
        text += &format!(
            "\nunder systemd, /etc/systemd/system/corelane.service.d/tune.conf:\n[Service]\n{lines}\n"
        );
    }
    if !remedies.docker.is_empty() {
        text += &format!("\nin a container, docker run:\n{}\n", remedies.docker.join("\n"));
    }
    if !remedies.host.is_empty() {
        text += &format!("\non the host, as root:\n{}\n", remedies.host.join("\n"));
    }
    if *remedies == Remedies::default() && is_well(symptoms) {
        text += "\nnothing stands in a broker's way here\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy() -> Facts {
        Facts {
            kernel: "6.8.0-45-generic".to_owned(),
            ring: Ok(()),
            seccomp: Some(0),
            locked: Some(u64::MAX),
            files: Some(1 << 20),
            file_system: "xfs on /dev/nvme0n1".to_owned(),
            direct: Ok(Direct::Aligned(512, 512)),
            sync: Ok((Duration::from_micros(40), Duration::from_micros(90))),
            cores: vec![(0, 0), (1, 0)],
            online: 2,
            quota: None,
        }
    }

    #[test]
    fn a_host_without_faults_is_left_alone() {
        let (symptoms, remedies) = judge(&healthy());
        assert!(is_well(&symptoms), "{symptoms:?}");
        assert_eq!(remedies, Remedies::default());
        assert!(text(&symptoms, &remedies).ends_with("nothing stands in a broker's way here\n"));
    }

    #[test]
    fn each_fault_is_named_with_lines_to_copy() {
        let slow = Duration::from_millis(9);
        let cases: [(&str, Facts, &str); 10] = [
            ("file system", Facts { file_system: "tmpfs on tmpfs".to_owned(), ..healthy() }, "in memory"),
            ("kernel", Facts { kernel: "5.15.0".to_owned(), ..healthy() }, "needs Linux 6.1"),
            (
                "io_uring",
                Facts { ring: Err(RingRefusal::Forbidden), ..healthy() },
                "--security-opt seccomp=tuning",
            ),
            (
                "io_uring",
                Facts { ring: Err(RingRefusal::DisabledForAll), ..healthy() },
                "sysctl -w kernel.io_uring_disabled=0",
            ),
            (
                "io_uring",
                Facts { ring: Err(RingRefusal::LockedMemory), ..healthy() },
                "LimitMEMLOCK=infinity",
            ),
            ("locked memory", Facts { locked: Some(65_536), ..healthy() }, "--ulimit memlock=-1"),
            ("open files", Facts { files: Some(1024), ..healthy() }, "LimitNOFILE=262144"),
            (
                "direct I/O",
                Facts { direct: Ok(Direct::Refused), ..healthy() },
                "-v corelane:/var/lib/corelane",
            ),
            ("fdatasync", Facts { sync: Ok((slow, slow)), ..healthy() }, "power-loss protection"),
            ("CPU quota", Facts { quota: Some(1.5), ..healthy() }, "--cpuset-cpus"),
        ];
        for (what, facts, remedy) in cases {
            let (symptoms, remedies) = judge(&facts);
            let bad: Vec<_> =
                symptoms.iter().filter(|one| one.state == State::Differs).map(|one| one.what).collect();
            assert_eq!(bad, [what]);
            let text = text(&symptoms, &remedies);
            assert!(text.contains(remedy), "{what}: {text}");
            assert!(!text.contains("nothing stands"), "{text}");
        }
    }

    #[test]
    fn a_disk_of_larger_blocks_than_ours_is_no_disk_for_us() {
        for (direct, fits) in [
            (Direct::Aligned(4, 4096), true),
            (Direct::Aligned(512, 16_384), false),
            (Direct::Aligned(0, 0), true),
        ] {
            let (symptoms, _) = judge(&Facts { direct: Ok(direct), ..healthy() });
            assert_eq!(is_well(&symptoms), fits, "{direct:?}");
        }
    }

    #[test]
    fn the_kernel_and_its_groups_are_read_as_they_write() {
        assert_eq!(version_of("6.18.44-fc-v669"), Some((6, 18)));
        assert_eq!(version_of("6.1.0"), Some((6, 1)));
        assert_eq!(version_of("x"), None);
        assert_eq!(quota_of("150000 100000"), Some(1.5));
        assert_eq!(quota_of("max 100000"), None);
        assert_eq!(quota_of("-1 100000"), None);
    }

    #[test]
    fn of_all_control_groups_the_tightest_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        let host = Host::at(root.path());
        assert_eq!(quota(&host), None);
        write("proc/self/cgroup", "0::/system.slice/corelane.service\n");
        write("sys/fs/cgroup/system.slice/cpu.max", "300000 100000\n");
        write("sys/fs/cgroup/system.slice/corelane.service/cpu.max", "max 100000\n");
        assert_eq!(quota(&host), Some(3.0));
        write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "50000\n");
        write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
        assert_eq!(quota(&host), Some(0.5));
    }

    #[test]
    fn this_machine_answers_and_nothing_is_left_in_the_directory() {
        let beside = std::env::current_exe().unwrap();
        let directory = tempfile::tempdir_in(beside.parent().unwrap()).unwrap();
        let facts = examine(&Host::at(Path::new("/")), &directory.path().join("not/there/yet"));
        assert!(version_of(&facts.kernel).is_some(), "{}", facts.kernel);
        assert!(facts.direct.is_ok() && facts.sync.is_ok(), "{:?} {:?}", facts.direct, facts.sync);
        assert!(!facts.cores.is_empty() && facts.online >= facts.cores.len());
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
