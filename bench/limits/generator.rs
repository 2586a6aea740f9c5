//! The generator alone: one thread of it against a broker that keeps nothing.

use std::fmt::Write as _;
use std::time::Duration;

use clap::Parser as _;
use serde::{Deserialize, Serialize};

use super::sink;
use crate::args::{Args, Task};
use crate::run;
use crate::stats::Role;

/// What one thread of the generator reaches.
#[derive(Debug, Serialize, Deserialize)]
pub struct Generator {
    /// With batches of 1 MiB.
    gb_per_s: f64,
    /// With batches of one record of 100 bytes.
    requests_per_s: f64,
}

impl Generator {
    pub fn text(&self) -> String {
        let mut text = String::new();
        let _ = writeln!(text, "{:<32}{:>10.2} GB/s", "this generator, one thread", self.gb_per_s);
        let _ = writeln!(text, "{:<32}{:>10.0} requests/s\n", "", self.requests_per_s);
        text
    }
}

/// The generator as its user calls it.
#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

pub fn measure(step: Duration) -> Result<Generator, String> {
    let address = sink::start().map_err(|error| format!("loopback: {error}"))?.to_string();
    let large = ["--record-size", "65536", "--batch-size", "1048576", "--in-flight", "4"];
    let small = ["--record-size", "100", "--batch-size", "1", "--in-flight", "64"];
    let mut reached = [(0, 0.0); 2];
    for (flags, reached) in [large, small].iter().zip(&mut reached) {
        // Twice: the first time memory is new.
        for _ in 0..2 {
            let time = format!("{}ms", step.as_millis());
            let words =
                ["bench", "produce", "--bootstrap", &address, "--topic", sink::TOPIC, "--duration", &time];
            let line = Line::try_parse_from(words.iter().chain(flags)).map_err(|error| error.to_string())?;
            let Task::Run(mode) = line.args.task else { return Err("that is no run".to_owned()) };
            let measured = run::measure::measure(&mode, &run::Stop::default(), true)?;
            let total = measured.reporter.total(Role::Produce).ok_or("nothing was sent")?;
            let ended = measured.outcome.ended.get(&Role::Produce).copied().unwrap_or_default();
            let seconds = ended.saturating_sub(measured.start).max(1) as f64 / 1e9;
            *reached = (total.requests, seconds);
            if flags == &large {
                *reached = (total.bytes, seconds);
            }
        }
    }
    let [(bytes, large_seconds), (requests, small_seconds)] = reached;
    Ok(Generator {
        gb_per_s: bytes as f64 / 1e9 / large_seconds,
        requests_per_s: requests as f64 / small_seconds,
    })
}
