//! What was counted as text for Prometheus: one block per metric, with its meaning and type, one line per core.
//!
//! Written by hand: the counters are plain cells of one writer each, which no metrics library has.
//!
//! Which of the two formats it is, `format.rs` knows: the samples are the same in both.

use std::fmt::Write as _;

use super::{
    Names,
    cpu::CpuClocks,
    format::{Format, PREFIX, Page},
};
use crate::metrics::{COUNTERS, GAUGES, GroupLag, Latency, Snapshot, Stalls, TopicCount, TopicTable};

/// All metrics of all cores, in the order of their shards, then those of topics and groups, then `more`.
#[must_use]
pub(super) fn encode(
    format: Format,
    shards: &[Snapshot],
    topics: &TopicTable,
    lags: &[GroupLag],
    names: Names,
    more: &CpuClocks,
) -> String {
    let mut out = Page::new(format);
    of_shards(&mut out, shards, names);
    of_topics(&mut out, topics);
    of_groups(&mut out, lags);
    more.write(&mut out);
    out.finish()
}

fn of_topics(out: &mut Page, topics: &TopicTable) {
    type Value = fn(TopicCount) -> u64;
    let families: [(&str, &str, &str, Value); 4] = [
        ("topic_bytes_in_total", "counter", "Bytes of batches that were appended, by topic.", |topic| {
            topic.bytes_in
        }),
        ("topic_records_in_total", "counter", "Records that were appended, by topic.", |topic| {
            topic.records_in
        }),
        ("topic_bytes_out_total", "counter", "Bytes of batches that were sent, by topic.", |topic| {
            topic.bytes_out
        }),
        ("topic_log_bytes", "gauge", "Bytes of batches that are kept, by topic.", |topic| topic.log_bytes),
    ];
    for (name, kind, about, value) in families {
        out.head(name, kind, about);
        for (topic, count) in topics.rows() {
            let _ = writeln!(out, "{PREFIX}{name}{{topic=\"{}\"}} {}", escaped(topic), value(count));
        }
    }
}

fn of_groups(out: &mut Page, lags: &[GroupLag]) {
    let labels = |lag: &GroupLag| {
        let (group, topic) = lag.of.as_ref().map_or(("other", "other"), |(group, topic)| (group, topic));
        format!("group=\"{}\",topic=\"{}\"", escaped(group), escaped(topic))
    };
    let about = "Records that a group has not committed yet, by topic.";
    out.head("group_lag_records", "gauge", about);
    for lag in lags {
        let _ = writeln!(out, "{PREFIX}group_lag_records{{{}}} {}", labels(lag), lag.records);
    }
    let about = "Age of the first record that a group has not committed, where it is furthest behind.";
    out.head("group_lag_seconds", "gauge", about);
    for (lag, seconds) in lags.iter().filter_map(|lag| Some((lag, lag.seconds?))) {
        let _ = writeln!(out, "{PREFIX}group_lag_seconds{{{}}} {seconds}", labels(lag));
    }
}

/// A label's value between its quotes. Source: Prometheus, "Text-based format".
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn of_shards(out: &mut Page, shards: &[Snapshot], names: Names) {
    for (counter, name, about) in COUNTERS {
        out.head(&format!("{name}_total"), "counter", about);
        for (shard, counted) in shards.iter().enumerate() {
            let _ = writeln!(out, "{PREFIX}{name}_total{{shard=\"{shard}\"}} {}", counted.get(*counter));
        }
    }
    for (gauge, name, about) in GAUGES {
        out.head(name, "gauge", about);
        for (shard, counted) in shards.iter().enumerate() {
            let _ = writeln!(out, "{PREFIX}{name}{{shard=\"{shard}\"}} {}", counted.gauge(*gauge));
        }
    }
    out.head("connections_open", "gauge", "Connections that are open.");
    for (shard, counted) in shards.iter().enumerate() {
        let _ = writeln!(out, "{PREFIX}connections_open{{shard=\"{shard}\"}} {}", counted.connections_open());
    }
    out.head("requests_total", "counter", "Requests by API.");
    for (shard, counted) in shards.iter().enumerate() {
        for (key, count) in counted.requests() {
            let api = names.api(key);
            let _ = writeln!(out, "{PREFIX}requests_total{{shard=\"{shard}\",api=\"{api}\"}} {count}");
        }
    }
    out.head("request_errors_total", "counter", "Error codes other than NONE in responses, by API.");
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
    out.head("request_stage_seconds", "histogram", "Where the time of requests goes, by stage.");
    for (shard, counted) in shards.iter().enumerate() {
        for (kind, stage, latency) in counted.stages() {
            let labels = format!("shard=\"{shard}\",api=\"{}\",stage=\"{}\"", kind.name(), stage.name());
            histogram(out, "request_stage_seconds", &labels, latency);
        }
    }
    let about = "How long work on a core may have waited because the core was at something else.";
    out.head("reactor_stall_seconds", "histogram", about);
    for (shard, counted) in shards.iter().enumerate() {
        stalls(out, shard, counted.stalls());
    }
    out.head("reactor_stall_longest_seconds", "gauge", "The longest stall since the start.");
    for (shard, counted) in shards.iter().enumerate() {
        let longest = counted.stalls().longest_us() as f64 / 1e6;
        let _ = writeln!(out, "{PREFIX}reactor_stall_longest_seconds{{shard=\"{shard}\"}} {longest}");
    }
}

fn histogram(out: &mut Page, name: &str, labels: &str, latency: &Latency) {
    for (bound_us, below) in latency.below_powers() {
        let bound = bound_us as f64 / 1e6;
        let _ = writeln!(out, "{PREFIX}{name}_bucket{{{labels},le=\"{bound}\"}} {below}");
    }
    let (count, sum) = (latency.count(), latency.sum_us() as f64 / 1e6);
    let _ = writeln!(out, "{PREFIX}{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
    let _ = writeln!(out, "{PREFIX}{name}_sum{{{labels}}} {sum}\n{PREFIX}{name}_count{{{labels}}} {count}");
}

fn stalls(out: &mut Page, shard: usize, stalls: &Stalls) {
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
pub(super) mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use super::*;
    use crate::metrics::{Counter, Gauge, Laps, RequestKind, ShardMetrics, Slow, Stage, Timing};

    /// Answers with at least one series of each metric.
    pub fn some() -> String {
        some_in(Format::Prometheus)
    }

    fn some_in(format: Format) -> String {
        let shards = [ShardMetrics::default(), ShardMetrics::default()];
        shards[0].add(Counter::BytesIn, 7);
        shards[1].set(Gauge::Partitions, 3);
        shards[1].count_request(18);
        shards[0].stalled(Duration::from_micros(50));
        shards[1].count_errors(18, 35, 2);
        let mut laps = Laps::new(0, RequestKind::Produce, Timing::Counted, 0);
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
        let mut topics = TopicTable::default();
        let count = TopicCount { bytes_in: 5, records_in: 2, bytes_out: 4, log_bytes: 3 };
        topics.update(&[vec![("t".into(), count)].into()], Duration::ZERO);
        let of = Some(("a \"group\"\n".into(), "t".into()));
        let lags = [
            GroupLag { of, records: 7, seconds: Some(1.5) },
            GroupLag { of: None, records: 1, seconds: None },
        ];
        let names = Names { api, error: |code| format!("E{code}") };
        encode(format, &snapshots, &topics, &lags, names, &CpuClocks::default())
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
    fn both_formats_have_the_same_samples() {
        let samples = |text: &str| -> Vec<String> {
            text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
        };
        let (prometheus, open_metrics) = (some(), some_in(Format::OpenMetrics));
        assert_eq!(samples(&prometheus), samples(&open_metrics));
        assert!(open_metrics.ends_with("# EOF\n") && !prometheus.contains("# EOF"));
    }

    #[test]
    fn values_stand_by_their_core() {
        let text = some();
        for line in [
            "corelane_bytes_in_total{shard=\"0\"} 7",
            "corelane_partitions{shard=\"1\"} 3",
            "corelane_requests_total{shard=\"1\",api=\"ApiVersions\"} 1",
            "corelane_topic_records_in_total{topic=\"t\"} 2",
            "corelane_topic_log_bytes{topic=\"other\"} 0",
            "corelane_group_lag_records{group=\"a \\\"group\\\"\\n\",topic=\"t\"} 7",
            "corelane_group_lag_seconds{group=\"a \\\"group\\\"\\n\",topic=\"t\"} 1.5",
            "corelane_group_lag_records{group=\"other\",topic=\"other\"} 1",
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
