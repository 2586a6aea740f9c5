//! What was counted as text for Prometheus: one block per metric, with its meaning and type, one line per core.
//!
//! Written by hand: the counters are plain cells of one writer each, which no metrics library has.
//!
//! Source: Prometheus, "Text-based format", version 0.0.4.

use std::fmt::Write as _;

use super::Names;
use crate::metrics::{COUNTERS, GAUGES, Latency, Snapshot, Stalls};

/// The type of the answer.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// What every name begins with.
const PREFIX: &str = "corelane_";

/// All metrics of all cores, in the order of their shards.
#[must_use]
pub fn encode(shards: &[Snapshot], names: Names) -> String {
    let mut out = String::new();
    for (counter, name, about) in COUNTERS {
        head(&mut out, &format!("{name}_total"), "counter", about);
        for (shard, counted) in shards.iter().enumerate() {
            let _ = writeln!(out, "{PREFIX}{name}_total{{shard=\"{shard}\"}} {}", counted.get(*counter));
        }
    }
    for (gauge, name, about) in GAUGES {
        head(&mut out, name, "gauge", about);
        for (shard, counted) in shards.iter().enumerate() {
            let _ = writeln!(out, "{PREFIX}{name}{{shard=\"{shard}\"}} {}", counted.gauge(*gauge));
        }
    }
    head(&mut out, "connections_open", "gauge", "Connections that are open.");
    for (shard, counted) in shards.iter().enumerate() {
        let _ = writeln!(out, "{PREFIX}connections_open{{shard=\"{shard}\"}} {}", counted.connections_open());
    }
    head(&mut out, "requests_total", "counter", "Requests by API.");
    for (shard, counted) in shards.iter().enumerate() {
        for (key, count) in counted.requests() {
            let api = names.api(key);
            let _ = writeln!(out, "{PREFIX}requests_total{{shard=\"{shard}\",api=\"{api}\"}} {count}");
        }
    }
    head(&mut out, "request_errors_total", "counter", "Error codes other than NONE in responses, by API.");
    for (shard, counted) in shards.iter().enumerate() {
        for (pair, count) in counted.errors() {
            let (api, error) = pair.map_or_else(
                || ("other".to_owned(), "other".to_owned()),
                |(key, code)| (names.api(key).to_owned(), (names.error)(code)),
            );
            let _ = writeln!(
                out,
                "{PREFIX}request_errors_total{{shard=\"{shard}\",api=\"{api}\",error=\"{error}\"}} {count}"
            );
        }
    }
    head(&mut out, "request_stage_seconds", "histogram", "Where the time of requests goes, by stage.");
    for (shard, counted) in shards.iter().enumerate() {
        for (kind, stage, latency) in counted.stages() {
            let labels = format!("shard=\"{shard}\",api=\"{}\",stage=\"{}\"", kind.name(), stage.name());
            histogram(&mut out, "request_stage_seconds", &labels, latency);
        }
    }
    let about = "How long work on a core may have waited because the core was at something else.";
    head(&mut out, "reactor_stall_seconds", "histogram", about);
    for (shard, counted) in shards.iter().enumerate() {
        stalls(&mut out, shard, counted.stalls());
    }
    head(&mut out, "reactor_stall_longest_seconds", "gauge", "The longest of them since the start.");
    for (shard, counted) in shards.iter().enumerate() {
        let longest = counted.stalls().longest_us() as f64 / 1e6;
        let _ = writeln!(out, "{PREFIX}reactor_stall_longest_seconds{{shard=\"{shard}\"}} {longest}");
    }
    out
}

fn head(out: &mut String, name: &str, kind: &str, about: &str) {
    let _ = writeln!(out, "# HELP {PREFIX}{name} {about}\n# TYPE {PREFIX}{name} {kind}");
}

fn histogram(out: &mut String, name: &str, labels: &str, latency: &Latency) {
    for (bound_us, below) in latency.below_powers() {
        let bound = bound_us as f64 / 1e6;
        let _ = writeln!(out, "{PREFIX}{name}_bucket{{{labels},le=\"{bound}\"}} {below}");
    }
    let (count, sum) = (latency.count(), latency.sum_us() as f64 / 1e6);
    let _ = writeln!(out, "{PREFIX}{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
    let _ = writeln!(out, "{PREFIX}{name}_sum{{{labels}}} {sum}\n{PREFIX}{name}_count{{{labels}}} {count}");
}

fn stalls(out: &mut String, shard: usize, stalls: &Stalls) {
    let name = format!("{PREFIX}reactor_stall_seconds");
    let mut below = 0;
    for (bound_us, count) in stalls.buckets() {
        below += count;
        let bound = bound_us as f64 / 1e6;
        let _ = writeln!(out, "{name}_bucket{{shard=\"{shard}\",le=\"{bound}\"}} {below}");
    }
    let _ = writeln!(out, "{name}_bucket{{shard=\"{shard}\",le=\"+Inf\"}} {below}");
    // The times themselves are not added up: a bound of the bucket stands for each.
    let sum: f64 = stalls.buckets().map(|(bound_us, count)| bound_us as f64 / 1e6 * count as f64).sum();
    let _ = writeln!(out, "{name}_sum{{shard=\"{shard}\"}} {sum}\n{name}_count{{shard=\"{shard}\"}} {below}");
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use super::*;
    use crate::metrics::{Counter, Gauge, Laps, RequestKind, ShardMetrics, Slow, Stage};

    fn some() -> String {
        let shards = [ShardMetrics::default(), ShardMetrics::default()];
        shards[0].add(Counter::BytesIn, 7);
        shards[1].set(Gauge::Partitions, 3);
        shards[1].count_request(18);
        shards[0].stalled(Duration::from_micros(50));
        shards[1].count_errors(18, 35, 2);
        let mut laps = Laps::new(0, RequestKind::Produce, 0);
        laps.lap(Stage::Flush, 100);
        shards[0].request_over(&laps, || Slow {
            laps,
            client_id: "c".into(),
            peer: None,
            bytes_in: 0,
            bytes_out: 0,
            ended_ms: 0,
        });
        let snapshots: Vec<_> = shards.iter().map(ShardMetrics::snapshot).collect();
        let api = |key| (key == 18).then_some("ApiVersions");
        encode(&snapshots, Names { api, error: |code| format!("E{code}") })
    }

    #[test]
    fn every_line_is_of_a_metric_that_was_explained_and_the_number_of_them_is_bounded() {
        let text = some();
        let mut explained = BTreeSet::new();
        let mut series = 0;
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').expect("name and type");
                assert!(
                    ["counter", "gauge", "histogram"].contains(&kind) && explained.insert(name),
                    "{line}"
                );
            } else if !line.starts_with('#') {
                series += 1;
                let name = line.split(['{', ' ']).next().expect("a name");
                let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
                assert!(
                    explained.contains(name) || base.is_some_and(|base| explained.contains(base)),
                    "{line}"
                );
                let value = line.rsplit(' ').next().expect("a value");
                assert!(value.parse::<f64>().is_ok(), "{line}");
            }
        }
        assert!(series <= 2 * super::super::SERIES_PER_CORE_MAX, "{series}");
    }

    #[test]
    fn values_stand_by_their_core() {
        let text = some();
        for line in [
            "corelane_bytes_in_total{shard=\"0\"} 7",
            "corelane_partitions{shard=\"1\"} 3",
            "corelane_requests_total{shard=\"1\",api=\"ApiVersions\"} 1",
            "corelane_request_errors_total{shard=\"1\",api=\"ApiVersions\",error=\"E35\"} 2",
            "corelane_request_stage_seconds_bucket{shard=\"0\",api=\"Produce\",stage=\"flush\",le=\"0.000064\"} 0",
            "corelane_request_stage_seconds_bucket{shard=\"0\",api=\"Produce\",stage=\"flush\",le=\"0.000128\"} 1",
            "corelane_request_stage_seconds_sum{shard=\"0\",api=\"Produce\",stage=\"total\"} 0.0001",
            "corelane_reactor_stall_seconds_bucket{shard=\"0\",le=\"0.000064\"} 1",
            "corelane_reactor_stall_seconds_count{shard=\"0\"} 1",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
        }
    }
}
