//! Processes, as `/proc` shows them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Longest command line that is kept.
const COMMAND_BYTES_MAX: usize = 2048;
/// Most open files that are looked at to find the data directory or the archive.
const FILES_LOOKED_AT_MAX: usize = 512;

/// What one process has used.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Used {
    cpu_seconds: f64,
    voluntary: u64,
    involuntary: u64,
    resident_bytes: u64,
}

/// A process and its descendants.
#[derive(Debug, Default)]
pub struct Tree {
    by_pid: BTreeMap<u32, Used>,
}

/// What a tree has used between two looks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    pub cpu_seconds: f64,
    pub voluntary: u64,
    pub involuntary: u64,
}

impl Tree {
    /// As it is now; empty if there is no such process.
    pub fn read(root: u32) -> Self {
        let parents: Vec<(u32, u32)> = pids().filter_map(|pid| Some((pid, parent_of(pid)?))).collect();
        let mut members = vec![root];
        let mut at = 0;
        while at < members.len() {
            let parent = members[at];
            members.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
            at += 1;
        }
        Self { by_pid: members.into_iter().filter_map(|pid| Some((pid, used(pid)?))).collect() }
    }

    /// Since an earlier look; a process that was not there then counts whole. `None`: nothing is left of it.
    pub fn since(&self, earlier: &Self) -> Option<Cost> {
        let mut cost = Cost::default();
        for (pid, now) in &self.by_pid {
            let then = earlier.by_pid.get(pid).copied().unwrap_or_default();
            cost.cpu_seconds += now.cpu_seconds - then.cpu_seconds;
            cost.voluntary += now.voluntary.saturating_sub(then.voluntary);
            cost.involuntary += now.involuntary.saturating_sub(then.involuntary);
        }
        (!self.by_pid.is_empty()).then_some(cost)
    }

    /// Of all of them.
    pub fn resident_bytes(&self) -> u64 {
        self.by_pid.values().map(|used| used.resident_bytes).sum()
    }
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// The fields of `/proc/PID/stat` behind the command, which may itself hold anything. Source: proc_pid_stat(5).
fn stat_fields(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

fn parent_of(pid: u32) -> Option<u32> {
    stat_fields(pid)?.get(1)?.parse().ok()
}

fn used(pid: u32) -> Option<Used> {
    let fields = stat_fields(pid)?;
    // utime and stime are fields 14 and 15, state is the third and the first of ours.
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    let mut used = Used { cpu_seconds: ticks as f64 / ticks_per_second(), ..Used::default() };
    for task in fs::read_dir(format!("/proc/{pid}/task")).ok()?.filter_map(Result::ok) {
        let Ok(status) = fs::read_to_string(task.path().join("status")) else { continue };
        used.voluntary += number(&status, "voluntary_ctxt_switches:").unwrap_or(0);
        used.involuntary += number(&status, "nonvoluntary_ctxt_switches:").unwrap_or(0);
    }
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    used.resident_bytes = number(&status, "VmRSS:").unwrap_or(0) * 1024;
    Some(used)
}

/// The first number of the line that begins with `name`.
fn number(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// `USER_HZ`.
pub fn ticks_per_second() -> f64 {
    rustix::param::clock_ticks_per_second().max(1) as f64
}

/// User and system time of this process.
pub fn own_cpu_seconds() -> f64 {
    used(std::process::id()).map_or(0.0, |used| used.cpu_seconds)
}

/// How a process was started.
pub fn command(pid: u32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let words: Vec<_> = bytes.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let mut text = words.join(" ").trim_end().to_owned();
    if text.len() > COMMAND_BYTES_MAX {
        let end = (0..=COMMAND_BYTES_MAX).rfind(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.push_str(" ...");
    }
    Some(text)
}

/// What a corelane says of its version, or the archive that a Kafka runs from.
pub fn version(pid: u32) -> Option<String> {
    let program = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let name = program.file_name()?.to_str()?;
    if name == "java" {
        let names = open_files(pid).filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
        return names.filter_map(|name| kafka_of(&name)).next();
    }
    if !name.starts_with("corelane") {
        return None;
    }
    let said = Command::new(&program).arg("--version").output().ok()?;
    Some(String::from_utf8_lossy(&said.stdout).trim().to_owned())
}

/// `kafka_2.13-4.1.0.jar` is Apache Kafka 4.1.0; the first number is Scala's.
fn kafka_of(file: &str) -> Option<String> {
    let (_, version) = file.strip_prefix("kafka_")?.strip_suffix(".jar")?.split_once('-')?;
    Some(format!("Apache Kafka {version}"))
}

fn open_files(pid: u32) -> impl Iterator<Item = PathBuf> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().take(FILES_LOOKED_AT_MAX);
    files.filter_map(|file| fs::read_link(file.ok()?.path()).ok())
}

/// Resident memory with what is shared divided among those who share it.
pub fn proportional_bytes(pid: u32) -> Option<u64> {
    number(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?, "Pss:").map(|kib| kib * 1024)
}

/// Filesystem, device and options of the mount that holds most of the `.log` files and journals it has open.
pub fn data_mount(pid: u32) -> Option<String> {
    let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).ok()?;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for path in open_files(pid) {
        if is_data(&path)
            && let Some(mount) = mount_of(&mounts, &path)
        {
            *counts.entry(mount).or_default() += 1;
        }
    }
    counts.into_iter().max_by_key(|(_, count)| *count).map(|(mount, _)| mount)
}

fn is_data(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    path.is_absolute() && (name.ends_with(".log") || name.starts_with("journal"))
}

/// The line of the longest mount point that the path lies below. Source: proc_pid_mountinfo(5).
fn mount_of(mounts: &str, path: &Path) -> Option<String> {
    let mut best: Option<(PathBuf, String)> = None;
    for line in mounts.lines() {
        let (before, after) = line.split_once(" - ")?;
        let before: Vec<&str> = before.split(' ').collect();
        let after: Vec<&str> = after.split(' ').collect();
        let (Some(point), Some(options)) = (before.get(4), before.get(5)) else { continue };
        let point = PathBuf::from(point);
        let longer =
            best.as_ref().is_none_or(|(known, _)| point.as_os_str().len() >= known.as_os_str().len());
        if path.starts_with(&point) && longer && after.len() >= 3 {
            let text = format!("{} on {}: {options},{}", after[0], after[1], after[2]);
            best = Some((point, text));
        }
    }
    best.map(|(_, text)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_belongs_to_its_parents_tree() {
        let mut child = Command::new("sleep").arg("30").spawn().expect("starts");
        let tree = Tree::read(std::process::id());
        let found = tree.by_pid.contains_key(&child.id());
        child.kill().expect("is ours");
        child.wait().expect("ends");
        assert!(found && tree.resident_bytes() > 0);
        assert!(Tree::read(u32::MAX).since(&tree).is_none());
    }

    #[test]
    fn a_kafka_is_known_by_the_archive_that_it_runs_from() {
        assert_eq!(kafka_of("kafka_2.13-4.1.0.jar").as_deref(), Some("Apache Kafka 4.1.0"));
        assert_eq!(kafka_of("kafka-clients-4.1.0.jar"), None);
    }

    #[test]
    fn the_mount_of_a_file_is_the_innermost() {
        let mounts = "22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
                      30 22 259:0 / /data rw,noatime - xfs /dev/nvme0n1 rw,attr2\n";
        let of = |path: &str| mount_of(mounts, Path::new(path));
        assert_eq!(of("/data/a.log").as_deref(), Some("xfs on /dev/nvme0n1: rw,noatime,rw,attr2"));
        assert_eq!(of("/database/a.log").as_deref(), Some("ext4 on /dev/vda: rw,relatime,rw"));
    }
}
