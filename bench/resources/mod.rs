//! What a run cost and where it ran: the broker's processes, the system, the host.
//!
//! Everything is read from the kernel before and after the run. The broker's part is there only if it runs on this
//! host; what cannot be read is absent, never guessed. `process.rs` reads processes, `system.rs` the system,
//! `hiccup.rs` measures how late this host wakes a thread that wants nothing but to be woken.

mod hiccup;
mod process;
mod system;

use std::collections::BTreeMap;

use serde::Serialize;

pub use self::hiccup::Hiccups;
use self::process::Tree;
pub use self::system::Host;
use self::system::System;
use crate::report::json::{Summary, summary};
use crate::writes;

/// Costs of a run.
#[derive(Debug, Serialize)]
pub struct Resources {
    /// The broker's processes, if they are on this host.
    #[serde(skip_serializing_if = "Option::is_none")]
    broker: Option<Broker>,
    /// All that ran, without the generator.
    system: SystemCost,
    /// The generator itself.
    generator_cpu_seconds: f64,
    /// How late this host woke an idle thread, in microseconds, while the run went on.
    hiccups_us: Summary,
    /// Where it ran.
    host: Host,
}

#[derive(Debug, Serialize)]
struct Broker {
    /// Its process.
    pid: u32,
    /// As it was started.
    command: String,
    /// What `--version` says, of a corelane; of an Apache Kafka, the name of the archive it runs from.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    /// Of it and its children.
    cpu_seconds: f64,
    /// Processors busy on average.
    cpu_cores: f64,
    /// CPU for each gigabyte (10^9) that was acknowledged or received.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_seconds_per_gb: Option<f64>,
    /// It waited for something.
    voluntary_context_switches: u64,
    /// It was made to wait.
    involuntary_context_switches: u64,
    /// At the end.
    resident_bytes: u64,
    /// The same, what is shared divided among those who share it.
    #[serde(skip_serializing_if = "Option::is_none")]
    proportional_bytes: Option<u64>,
    /// Filesystem and mount options of the files it writes.
    #[serde(skip_serializing_if = "Option::is_none")]
    data_mount: Option<String>,
}

#[derive(Debug, Serialize)]
struct SystemCost {
    /// User and system time of all processors, less the generator's.
    cpu_seconds_without_generator: f64,
    /// Time that a hypervisor gave to others.
    steal_seconds: f64,
    /// Share of the time in which at least one task waited for `cpu`, `io` or `memory`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pressure: BTreeMap<&'static str, f64>,
}

/// A run being watched.
#[derive(Debug)]
pub struct Watch {
    pid: Option<u32>,
    tree: Tree,
    system: System,
    own_cpu_seconds: f64,
    began: std::time::Instant,
    hiccups: Hiccups,
}

impl Watch {
    /// Begins. Which process the broker is, `pid` says, or who listens on the first address of `bootstrap`.
    pub fn begin(bootstrap: &str, pid: Option<u32>) -> Self {
        let pid = pid.or_else(|| writes::listener_of(bootstrap));
        Self {
            pid,
            tree: pid.map(Tree::read).unwrap_or_default(),
            system: System::read(),
            own_cpu_seconds: process::own_cpu_seconds(),
            began: std::time::Instant::now(),
            hiccups: Hiccups::begin(),
        }
    }

    /// Ends. `bytes`: acknowledged and received.
    pub fn end(self, bytes: u64) -> Resources {
        let seconds = self.began.elapsed().as_secs_f64().max(1e-9);
        let hiccups = self.hiccups.end();
        let generator_cpu_seconds = process::own_cpu_seconds() - self.own_cpu_seconds;
        let broker = self.pid.and_then(|pid| {
            let now = Tree::read(pid);
            let cost = now.since(&self.tree)?;
            Some(Broker {
                pid,
                command: process::command(pid)?,
                version: process::version(pid),
                cpu_seconds: cost.cpu_seconds,
                cpu_cores: cost.cpu_seconds / seconds,
                cpu_seconds_per_gb: (bytes > 0).then(|| cost.cpu_seconds / (bytes as f64 / 1e9)),
                voluntary_context_switches: cost.voluntary,
                involuntary_context_switches: cost.involuntary,
                resident_bytes: now.resident_bytes(),
                proportional_bytes: process::proportional_bytes(pid),
                data_mount: process::data_mount(pid),
            })
        });
        let system = System::read();
        Resources {
            broker,
            system: SystemCost {
                cpu_seconds_without_generator: (system.busy_seconds
                    - self.system.busy_seconds
                    - generator_cpu_seconds)
                    .max(0.0),
                steal_seconds: (system.steal_seconds - self.system.steal_seconds).max(0.0),
                pressure: system.pressure_since(&self.system, seconds),
            },
            generator_cpu_seconds,
            hiccups_us: summary(&hiccups),
            host: Host::read(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_process_is_seen_to_be_busy() {
        let watch = Watch::begin("192.0.2.1:1", Some(std::process::id()));
        let began = std::time::Instant::now();
        let mut sum = 0_u64;
        while began.elapsed().as_millis() < 200 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let found = watch.end(2_000_000_000);
        let broker = found.broker.expect("this process can be read");
        assert!(broker.cpu_seconds > 0.0 && broker.cpu_seconds_per_gb == Some(broker.cpu_seconds / 2.0));
        assert!(found.generator_cpu_seconds > 0.0 && broker.resident_bytes > 0);
        assert!(!found.host.kernel.is_empty() && found.host.cores > 0);
        assert!(found.hiccups_us["count"] > 0.0);
    }

    #[test]
    fn a_broker_elsewhere_is_absent() {
        let found = Watch::begin("192.0.2.1:1", None).end(0);
        let text = serde_json::to_value(&found).expect("serializes");
        assert!(text.get("broker").is_none() && text["host"]["kernel"].is_string());
    }
}
