//! What the system grants this process: cores and open files.

use std::{fs, path::Path};

use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CpuSet, sched_getaffinity},
};

use crate::config::{CoreChoice, Cpu, Settings};

/// Descriptors of a shard besides connections and segments: rings, wake-ups, the journal's directory.
const OTHER_FILES_PER_SHARD: usize = 32;

/// Where the kernel tells which core is near to which memory.
const NUMA_NODES: &str = "/sys/devices/system/node";

/// The cores that this process may run on, ascending. Never empty.
#[must_use]
pub fn available_cores() -> Vec<Cpu> {
    let nodes = numa_nodes(Path::new(NUMA_NODES));
    let node_of = |core| nodes.iter().find(|(_, cores)| cores.contains(&core)).map_or(0, |(node, _)| *node);
    core_ids().into_iter().map(|core| Cpu { core, numa_node: node_of(core) }).collect()
}

/// Each NUMA node with its cores; none where the kernel does not tell.
fn numa_nodes(directory: &Path) -> Vec<(usize, Vec<usize>)> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let nodes = entries.filter_map(|entry| {
        let node = entry.file_name().to_str()?.strip_prefix("node")?.parse().ok()?;
        let list = fs::read_to_string(entry.path().join("cpulist")).ok()?;
        // The comma keeps one core apart from a number of cores.
        let Ok(CoreChoice::These(cores)) = format!("{},", list.trim()).parse() else { return None };
        Some((node, cores))
    });
    nodes.collect()
}

fn core_ids() -> Vec<usize> {
    match sched_getaffinity(None) {
        Ok(set) => (0..CpuSet::MAX_CPU).filter(|&core| set.is_set(core)).collect(),
        // A machine of more cores than the set can name.
        Err(_) => (0..std::thread::available_parallelism().map_or(1, usize::from)).collect(),
    }
}

/// Raises the number of files that may be open to what the system allows, and says what it is now.
#[must_use]
pub fn raise_open_files_max() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let granted = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    granted.unwrap_or(u64::MAX)
}

/// How many files may be open at once if every setting is used to its end.
pub(super) fn open_files_wanted(settings: &Settings) -> u64 {
    let of_shard = |shard: &crate::config::ShardSettings| {
        shard.open_files_max + shard.journal_files_max + OTHER_FILES_PER_SHARD
    };
    (settings.connections_max + settings.shards.iter().map(of_shard).sum::<usize>()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_open_files_is_at_its_hard_end_afterwards() {
        let granted = raise_open_files_max();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert_eq!(granted, limit.maximum.unwrap_or(u64::MAX));
    }

    #[test]
    fn cores_are_told_with_the_numa_node_they_belong_to() {
        let directory = tempfile::tempdir().unwrap();
        for (node, list) in [("node0", "0-1,4\n"), ("node1", "2-3\n"), ("node2", "\n"), ("has_cpu", "0-1\n")]
        {
            fs::create_dir(directory.path().join(node)).unwrap();
            fs::write(directory.path().join(node).join("cpulist"), list).unwrap();
        }
        let mut found = numa_nodes(directory.path());
        found.sort_unstable();
        assert_eq!(found, [(0, vec![0, 1, 4]), (1, vec![2, 3])]);
        assert_eq!(numa_nodes(&directory.path().join("nowhere")), []);
    }

    #[test]
    fn there_is_a_core_to_run_on() {
        assert!(!available_cores().is_empty());
    }
}
