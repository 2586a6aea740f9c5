//! The system and the host, as `/proc` shows them.

use std::collections::BTreeMap;
use std::fs;

use serde::{Deserialize, Serialize};

use super::process::ticks_per_second;

/// What the whole system has used since it was started.
#[derive(Debug, Clone, Default)]
pub struct System {
    pub busy_seconds: f64,
    pub steal_seconds: f64,
    /// Microseconds in which some task waited, by what for.
    pressure_us: BTreeMap<&'static str, u64>,
}

impl System {
    /// As it is now; zeros where the kernel does not say.
    pub fn read() -> Self {
        let mut system = fs::read_to_string("/proc/stat").map(|text| parse(&text)).unwrap_or_default();
        for name in ["cpu", "io", "memory"] {
            let text = fs::read_to_string(format!("/proc/pressure/{name}")).unwrap_or_default();
            if let Some(us) = pressure(&text) {
                system.pressure_us.insert(name, us);
            }
        }
        system
    }

    /// Shares of the time between two looks.
    pub fn pressure_since(&self, earlier: &Self, seconds: f64) -> BTreeMap<&'static str, f64> {
        let share = |(name, now): (&&'static str, &u64)| {
            let then = earlier.pressure_us.get(name)?;
            Some((*name, now.saturating_sub(*then) as f64 / 1e6 / seconds))
        };
        self.pressure_us.iter().filter_map(share).collect()
    }
}

/// The first line of `/proc/stat`: user nice system idle iowait irq softirq steal. Source: proc_stat(5).
fn parse(text: &str) -> System {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu ")).unwrap_or_default();
    let ticks: Vec<u64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
    let at = |index: usize| ticks.get(index).copied().unwrap_or(0) as f64 / ticks_per_second();
    System {
        busy_seconds: at(0) + at(1) + at(2) + at(5) + at(6),
        steal_seconds: at(7),
        pressure_us: BTreeMap::new(),
    }
}

fn pressure(text: &str) -> Option<u64> {
    text.lines().find(|line| line.starts_with("some "))?.rsplit_once("total=")?.1.trim().parse().ok()
}

/// Where a run took place.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// As `uname -sr` says it.
    pub kernel: String,
    /// The processor's name.
    pub cpu: String,
    /// Processors that this process may use.
    pub cores: usize,
    /// All memory.
    pub memory_bytes: u64,
}

impl Host {
    /// This host.
    pub fn read() -> Self {
        let name = rustix::system::uname();
        let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let memory = field(&text("/proc/meminfo"), "MemTotal").unwrap_or_default();
        let kib: u64 = memory.split(' ').next().and_then(|kib| kib.parse().ok()).unwrap_or(0);
        Self {
            kernel: format!("{} {}", name.sysname().to_string_lossy(), name.release().to_string_lossy()),
            cpu: field(&text("/proc/cpuinfo"), "model name").unwrap_or_default(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: kib * 1024,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_tables_are_read() {
        let found = parse("cpu  100 0 50 1000 7 3 2 40 0 0\ncpu0 1 1 1 1\n");
        let hz = ticks_per_second();
        assert_eq!((found.busy_seconds, found.steal_seconds), (155.0 / hz, 40.0 / hz));
        let text = "some avg10=0.00 avg60=0.00 avg300=0.00 total=12345\nfull avg10=0.00 total=99\n";
        assert_eq!((pressure(text), pressure("")), (Some(12_345), None));
    }

    #[test]
    fn pressure_is_a_share_of_the_time() {
        let of = |us| System { pressure_us: [("io", us)].into(), ..System::default() };
        assert_eq!(of(3_000_000).pressure_since(&of(1_000_000), 10.0), [("io", 0.2)].into());
    }
}
