//! What the system grants this process: cores and open files.

use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CpuSet, sched_getaffinity},
};

use crate::config::Settings;

/// Descriptors of a shard besides connections and segments: rings, wake-ups, the journal's directory.
const OTHER_FILES_PER_SHARD: usize = 32;

/// Ids of the cores that this process may run on, ascending. Never empty.
#[must_use]
pub fn available_cores() -> Vec<usize> {
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
    fn there_is_a_core_to_run_on() {
        assert!(!available_cores().is_empty());
    }
}
