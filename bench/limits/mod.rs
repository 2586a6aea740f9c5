//! `corelane bench limits`: what this host can do at all, as the denominator of every result.
//!
//! Nothing of a broker is in it: plain files, sockets and memory. The result is kept for the user ([`kept`]), and
//! every later run on the same host carries it. `disk.rs`, `network.rs`, `memory.rs` measure, and `generator.rs` what this
//! generator reaches against a broker that keeps nothing (`sink.rs`); each step is bounded
//! by its time.

mod disk;
mod generator;
mod memory;
mod network;
mod sink;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::report::json::{Summary, summary};
use crate::resources::{Hiccups, Host};

/// Version of [`Limits`].
const SCHEMA_VERSION: u32 = 1;
/// Time of one step, and of the hiccups.
const STEP: Duration = Duration::from_secs(1);
const STEP_QUICK: Duration = Duration::from_millis(200);
const HICCUPS: Duration = Duration::from_secs(10);
const HICCUPS_QUICK: Duration = Duration::from_secs(1);

/// `corelane bench limits`.
#[derive(Debug, Clone, clap::Args)]
pub struct LimitsArgs {
    /// A directory on the disk that is meant; a file of up to 2 GiB is made there and removed
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub dir: PathBuf,
    /// A fifth of the time for each step
    #[arg(long)]
    pub quick: bool,
    /// Write the result as JSON ("-": to stdout, instead of text)
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// What a host can do.
#[derive(Debug, Serialize, Deserialize)]
pub struct Limits {
    schema: String,
    schema_version: u32,
    measured_unix_ms: u64,
    host: Host,
    disk: disk::Disk,
    network: network::Network,
    memory: memory::Memory,
    generator: generator::Generator,
    /// How late an idle thread was woken, in microseconds.
    hiccups_us: std::collections::BTreeMap<String, f64>,
}

/// Measures, prints and keeps.
///
/// # Errors
/// The directory cannot be used, or the result not be written.
pub fn run(args: &LimitsArgs) -> Result<bool, String> {
    let (step, hiccups) = if args.quick { (STEP_QUICK, HICCUPS_QUICK) } else { (STEP, HICCUPS) };
    let told = |what: &str| eprintln!("measuring {what} ...");
    told("hiccups");
    let idle = Hiccups::begin();
    std::thread::sleep(hiccups);
    let hiccups: Summary = summary(&idle.end());
    told("memory");
    let memory = memory::measure(step);
    told("loopback");
    let network = network::measure(step).map_err(|error| format!("loopback: {error}"))?;
    told("the generator");
    let generator = generator::measure(step)?;
    told("disk");
    let disk = disk::measure(&args.dir, step).map_err(|error| format!("{}: {error}", args.dir.display()))?;
    let limits = Limits {
        schema: "corelane-limits".to_owned(),
        schema_version: SCHEMA_VERSION,
        measured_unix_ms: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64),
        host: Host::read(),
        disk,
        network,
        memory,
        generator,
        hiccups_us: hiccups.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
    };
    let json = serde_json::to_string_pretty(&limits).map_err(|error| error.to_string())? + "\n";
    match args.json.as_deref() {
        Some(path) if path == Path::new("-") => print!("{json}"),
        Some(path) => {
            std::fs::write(path, &json).map_err(|error| format!("{}: {error}", path.display()))?;
            print!("{}", text(&limits));
        }
        None => print!("{}", text(&limits)),
    }
    if let Some(path) = kept() {
        let written =
            path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(&path, &json));
        match written {
            Ok(()) => eprintln!("kept in {}; results of this host carry it from now on", path.display()),
            Err(error) => eprintln!("not kept: {}: {error}", path.display()),
        }
    }
    Ok(true)
}

/// Where the limits of this host are kept: `$XDG_CACHE_HOME/corelane/limits.json`, or below `~/.cache`.
fn kept() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    Some(cache.join("corelane").join("limits.json"))
}

/// What was measured of this host before; `None` if nothing was, or of another host or kernel.
pub fn known() -> Option<Value> {
    let text = std::fs::read_to_string(kept()?).ok()?;
    let limits: Limits = serde_json::from_str(&text).ok()?;
    let sound = limits.schema_version == SCHEMA_VERSION && limits.host == Host::read();
    sound.then(|| serde_json::from_str(&text).ok()).flatten()
}

fn text(limits: &Limits) -> String {
    let mut text = String::new();
    let host = &limits.host;
    let _ = writeln!(text, "{}, {} cores, {}\n", host.cpu, host.cores, host.kernel);
    text += &limits.disk.text();
    text += &limits.network.text();
    text += &limits.memory.text();
    text += &limits.generator.text();
    let at = |name: &str| limits.hiccups_us.get(name).copied().unwrap_or(0.0);
    let _ = writeln!(
        text,
        "{:<32}{:>10.0} us, p99 {:.0} us, p99.9 {:.0} us, longest {:.0} us",
        "hiccups of an idle thread, p50",
        at("p50"),
        at("p99"),
        at("p99.9"),
        at("max")
    );
    text
}

/// Gigabytes (10^9) per second.
fn gb_per_s(bytes: u64, time: Duration) -> f64 {
    bytes as f64 / 1e9 / time.as_secs_f64().max(1e-9)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_above_zero(value: &Value) -> bool {
        match value {
            Value::Object(fields) => fields.values().all(all_above_zero),
            Value::Array(items) => items.iter().all(all_above_zero),
            other => other.as_f64().is_some_and(|number| number > 0.0),
        }
    }

    #[test]
    fn a_quick_measurement_reads_back_and_has_no_zero_in_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let step = Duration::from_millis(20);
        let disk = disk::measure(directory.path(), step);
        let Ok(disk) = disk else {
            // A directory in memory knows no direct I/O.
            return assert!(disk.is_err_and(|error| !error.to_string().is_empty()));
        };
        let limits = Limits {
            schema: "corelane-limits".to_owned(),
            schema_version: SCHEMA_VERSION,
            measured_unix_ms: 1,
            host: Host::read(),
            disk,
            network: network::measure(step).expect("loopback"),
            memory: memory::measure(step),
            // A run that is over before its threads have started sends nothing.
            generator: generator::measure(step * 10).expect("a sink"),
            hiccups_us: [("p50".to_owned(), 1.0)].into(),
        };
        let json = serde_json::to_string(&limits).expect("serializes");
        let back: Limits = serde_json::from_str(&json).expect("reads back");
        assert_eq!(text(&back), text(&limits));
        // However slow this host is at the moment, something was moved in every step.
        let figures = serde_json::to_value(&limits).expect("serializes");
        for part in ["disk", "network", "memory", "generator"] {
            assert!(all_above_zero(&figures[part]), "{figures}");
        }
        assert_eq!(std::fs::read_dir(directory.path()).expect("reads").count(), 0, "the file is gone");
    }
}
