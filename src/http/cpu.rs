//! How long the thread of each core has run, as the kernel counts it. Read when somebody asks; no core takes part.
//!
//! A core that looks for work before it sleeps is counted as running.
//!
//! Source: Linux, `Documentation/scheduler/sched-stats.rst`: `/proc/<pid>/schedstat`, nanoseconds on a processor.

use std::{fmt::Write as _, fs, path::PathBuf};

use super::format::{PREFIX, Page};

/// The threads of this process.
const TASKS: &str = "/proc/self/task";

/// Where the kernel counts for each core; `None` where it does not.
#[derive(Debug, Clone, Default)]
pub(super) struct CpuClocks(Vec<Option<PathBuf>>);

impl CpuClocks {
    /// Finds the threads of so many shards, which must run already.
    pub(super) fn find(shards: usize) -> Self {
        let entries = fs::read_dir(TASKS).into_iter().flatten().flatten();
        let mut threads: Vec<(u32, String)> = entries
            .filter_map(|entry| {
                let id = entry.file_name().to_str()?.parse().ok()?;
                Some((id, fs::read_to_string(entry.path().join("comm")).ok()?))
            })
            .collect();
        // The helpers of a core have its name, and are younger than its own thread.
        threads.sort_unstable();
        let clock = |shard| {
            let (id, _) = threads.iter().find(|(_, name)| is_of_shard(name.trim_end(), shard))?;
            Some(PathBuf::from(format!("{TASKS}/{id}/schedstat")))
        };
        Self((0..shards).map(clock).collect())
    }

    /// One family, none where the kernel does not count.
    pub(super) fn write(&self, out: &mut Page) {
        let mut is_first = true;
        for (shard, clock) in self.0.iter().enumerate() {
            let Some(seconds) = clock.as_ref().and_then(|path| seconds(&fs::read_to_string(path).ok()?))
            else {
                continue;
            };
            if std::mem::take(&mut is_first) {
                let about = "How long the core's thread has run, looking for work included.";
                out.head("cpu_seconds_total", "counter", about);
            }
            let _ = writeln!(out, "{PREFIX}cpu_seconds_total{{shard=\"{shard}\"}} {seconds}");
        }
    }
}

/// `shard-3` or `shard-3-7`, as the executor names its thread.
fn is_of_shard(name: &str, shard: usize) -> bool {
    name.strip_prefix(&format!("shard-{shard}")).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

fn seconds(schedstat: &str) -> Option<f64> {
    let ran_ns: u64 = schedstat.split_ascii_whitespace().next()?.parse().ok()?;
    Some(ran_ns as f64 / 1e9)
}

#[cfg(test)]
mod tests {
    use super::{super::format::Format, *};

    #[test]
    fn a_thread_is_of_the_shard_of_its_name() {
        for (name, shard, is) in [
            ("shard-1", 1, true),
            ("shard-1-3", 1, true),
            ("shard-11-2", 1, false),
            ("shard-0-1", 1, false),
            ("http", 0, false),
        ] {
            assert_eq!(is_of_shard(name, shard), is, "{name}");
        }
    }

    #[test]
    fn time_on_a_processor_is_the_first_number() {
        assert_eq!(seconds("1500000000 7 9\n"), Some(1.5));
        assert_eq!((seconds(""), seconds("x 1")), (None, None));
    }

    #[test]
    fn a_core_whose_thread_is_not_found_has_no_series() {
        let mut page = Page::new(Format::Prometheus);
        CpuClocks::find(2).write(&mut page);
        assert_eq!(page.finish(), "");
    }
}
