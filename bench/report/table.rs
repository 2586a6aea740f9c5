//! Text on a screen: a row per second, or one progress line on a terminal; a table at the end.

use std::fmt::Write as _;

use super::json::{IdleConnections, SweepPoint};
use crate::ack_log::AckVerdict;
use crate::clock::{Nanos, SECOND};
use crate::produce::worker::coordination::Counted;
use crate::stats::{Counts, Role, Times};
use crate::verify::Verdict;

/// The percentiles that every report shows.
pub const QUANTILES: [(&str, f64); 6] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999), ("max", 1.0)];

/// Heading of the per-second rows.
pub fn heading() -> String {
    let mut line = format!("{:>5}  {:<7} {:>11} {:>9}", "sec", "", "records/s", "MB/s");
    for (name, _) in QUANTILES {
        let _ = write!(line, " {name:>9}");
    }
    line
}

/// One second of one role.
pub fn row(second: u64, role: Role, counts: &Counts) -> String {
    let mut line =
        format!("{second:>5}  {:<7} {:>11} {:>9.1}", role, counts.records, counts.bytes as f64 / 1e6);
    for (_, quantile) in QUANTILES {
        let _ = write!(line, " {:>9}", time(&counts.latency, quantile));
    }
    problems(&mut line, counts);
    line
}

/// The same, short enough for one line of a terminal.
pub fn progress(second: u64, role: Role, counts: &Counts) -> String {
    let mut line = format!(
        "{second:>4} s  {} {:>9} records/s {:>8.1} MB/s  p50 {}  p99 {}",
        role,
        counts.records,
        counts.bytes as f64 / 1e6,
        time(&counts.latency, 0.5),
        time(&counts.latency, 0.99)
    );
    problems(&mut line, counts);
    line
}

fn problems(line: &mut String, counts: &Counts) {
    if counts.failed > 0 {
        let _ = write!(line, "  {} refused", counts.failed);
    }
    if counts.unknown > 0 {
        let _ = write!(line, "  {} unknown", counts.unknown);
    }
}

/// What the broker wrote to its disk for each byte it took.
pub fn write_amplification(ratio: Option<f64>) -> String {
    let ratio = ratio.map_or_else(|| "unknown".to_owned(), |ratio| format!("{ratio:.3}"));
    format!("write amplification {ratio}\n")
}

/// What the codec made of the batches.
pub fn compression(ratio: f64) -> String {
    format!("  compressed {ratio:.2} : 1\n")
}

/// What became of connections that did nothing.
pub fn idle_connections(idle: &IdleConnections) -> String {
    let p99 = idle.open_us.get("p99").copied().unwrap_or_default();
    format!(
        "  {} idle connections, opened at {:.0} per second (p99 {p99:.0} us), {} lost\n",
        idle.count, idle.opened_per_second, idle.lost
    )
}

/// Heading of a sweep's rows.
pub fn point_heading() -> String {
    let mut line = format!("{:>11} {:>11}", "target/s", "achieved/s");
    for (name, _) in QUANTILES {
        let _ = write!(line, " {name:>9}");
    }
    line
}

/// One rate of a sweep.
pub fn point(point: &SweepPoint, counts: &Counts) -> String {
    let mut line =
        format!("{:>11.0} {:>11.0}", point.target_records_per_second, point.achieved_records_per_second);
    for (_, quantile) in QUANTILES {
        let _ = write!(line, " {:>9}", time(&counts.latency, quantile));
    }
    match (point.valid, point.past_knee) {
        (false, _) => line + "  not achieved",
        (true, true) => line + "  past the knee",
        (true, false) => line,
    }
}

/// What a sweep found.
pub fn knee(rate: u64, is_bounded: bool) -> String {
    let beyond = if is_bounded { "" } else { ", and no rate beyond it was tried" };
    format!("\nthe knee is at {rate} records/s{beyond}; that run:")
}

/// The whole run of one role.
pub fn summary(role: Role, counts: &Counts, elapsed: Nanos) -> String {
    let seconds = elapsed.max(1) as f64 / SECOND as f64;
    if role == Role::Commit {
        let quantile = |quantile| time(&counts.service, quantile);
        return format!("{} commits: p50 {}, p99 {}\n", counts.requests, quantile(0.5), quantile(0.99));
    }
    if role == Role::Transaction {
        let quantile = |times, quantile| time(times, quantile);
        return format!(
            "{} transactions: first record to end p50 {}, p99 {}; ending p50 {}, p99 {}\n",
            counts.requests,
            quantile(&counts.latency, 0.5),
            quantile(&counts.latency, 0.99),
            quantile(&counts.service, 0.5),
            quantile(&counts.service, 0.99)
        );
    }
    let mut text = format!(
        "\n{}: {} records, {:.1} MB in {:.2} s: {:.0} records/s, {:.1} MB/s, {:.0} requests/s",
        role,
        counts.records,
        counts.bytes as f64 / 1e6,
        seconds,
        counts.records as f64 / seconds,
        counts.bytes as f64 / 1e6 / seconds,
        counts.requests as f64 / seconds
    );
    problems(&mut text, counts);
    text.push('\n');
    let what = match role {
        Role::Produce => "latency (intended send to ack)",
        Role::Consume | Role::Tail(_) | Role::CatchUp(_) => "latency (intended send to receipt)",
        Role::Commit | Role::Transaction => "latency",
    };
    let rows = [
        (what, &counts.latency),
        ("service time (send to answer)", &counts.service),
        ("generator's own lateness", &counts.lateness),
    ];
    if rows.iter().any(|(_, times)| !times.histogram().is_empty()) {
        let _ = write!(text, "  {:<34}", "");
        for (name, _) in QUANTILES {
            let _ = write!(text, " {name:>9}");
        }
        text.push('\n');
    }
    for (what, times) in rows.iter().filter(|(_, times)| !times.histogram().is_empty()) {
        let _ = write!(text, "  {what:<34}");
        for (_, quantile) in QUANTILES {
            let _ = write!(text, " {:>9}", time(times, quantile));
        }
        text.push('\n');
    }
    text
}

/// How transactions ended.
pub fn transactions(counted: &Counted) -> String {
    let Counted { committed, committed_records, aborted, aborted_records } = counted;
    format!(
        "  committed: {committed} with {committed_records} records; aborted: {aborted} with {aborted_records}\n"
    )
}

/// What verification found.
pub fn verification(verdict: &Verdict) -> String {
    let mut text = format!(
        "  verified {} records: {} missing, {} duplicated, {} reordered, {} changed",
        verdict.verified, verdict.missing, verdict.duplicated, verdict.reordered, verdict.changed
    );
    if verdict.deleted > 0 {
        let _ = write!(text, "; {} deleted by retention before they were read", verdict.deleted);
    }
    if verdict.isolation > 0 {
        let _ = write!(text, ", {} against their isolation", verdict.isolation);
    }
    if verdict.aborted > 0 {
        let _ = write!(text, "; {} aborted ones kept out", verdict.aborted);
    }
    if verdict.unverified > 0 {
        let _ = write!(text, "; {} of others, by offset and CRC only", verdict.unverified);
    }
    text.push('\n');
    with_violations(text, &verdict.violations)
}

/// What became of acknowledged records.
pub fn acknowledgements(acks: &AckVerdict) -> String {
    let text = format!(
        "  acknowledged: {} kept, {} lost, {} duplicated, {} reordered; {} there without an answer\n",
        acks.kept, acks.lost, acks.duplicated, acks.reordered, acks.unacknowledged
    );
    with_violations(text, &acks.violations)
}

fn with_violations(mut text: String, violations: &[String]) -> String {
    for violation in violations {
        let _ = writeln!(text, "  violation: {violation}");
    }
    text
}

/// A quantile with its unit, three digits; `-` where nothing was timed.
fn time(times: &Times, quantile: f64) -> String {
    if times.histogram().is_empty() {
        return "-".into();
    }
    let ns = times.at(quantile) as f64;
    let (value, unit) = match ns {
        _ if ns < 1e6 => (ns / 1e3, "us"),
        _ if ns < 1e9 => (ns / 1e6, "ms"),
        _ => (ns / 1e9, "s"),
    };
    let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.digits$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_carry_their_unit_and_three_digits() {
        let shown = |ns| {
            let mut times = Times::default();
            times.record(ns, 1);
            time(&times, 1.0)
        };
        assert_eq!(shown(1_234), "1.23 us");
        assert_eq!(shown(456_000), "456 us");
        assert_eq!(shown(12_340_000), "12.3 ms");
        assert_eq!(shown(7 * SECOND), "7.00 s");
        assert_eq!(time(&Times::default(), 0.5), "-");
    }
}
