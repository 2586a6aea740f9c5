//! Two scrapes to what happened between them: per core, per API, per topic and per group.
//!
//! A counter that is less than before began anew (the broker was restarted): then all of it is new. What a broker
//! does not tell is `None` or an empty list, so that a view of an older or a newer broker still shows the rest.

use std::{collections::BTreeMap, time::Duration};

use super::scrape::{Scrape, Series};

/// What happened between two scrapes.
#[derive(Debug, Default, Clone)]
pub(super) struct Rates {
    /// Every core, in the order of the shards.
    pub(super) cores: Vec<Core>,
    /// Requests per second by API, most first.
    pub(super) apis: Vec<(String, f64)>,
    /// How long requests took, by kind.
    pub(super) latencies: Vec<Latency>,
    /// Topics and their partitions, as far as they are told, busiest first.
    pub(super) topics: Vec<Topic>,
    /// Groups, furthest behind first.
    pub(super) groups: Vec<Group>,
}

/// One core, or all of them added up. Rates are per second.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Core {
    /// Its number.
    pub(super) shard: String,
    /// Share of the time that its thread ran, 0 to 1.
    pub(super) busy: Option<f64>,
    /// Bytes from clients.
    pub(super) bytes_in: f64,
    /// Bytes to clients.
    pub(super) bytes_out: f64,
    /// Records appended.
    pub(super) records_in: f64,
    /// Requests of all APIs.
    pub(super) requests: f64,
    /// Error codes in responses.
    pub(super) errors: f64,
    /// Requests, or parts of them, handed to another core.
    pub(super) hops: f64,
    /// Connections that are open.
    pub(super) connections: f64,
    /// Partitions that it leads.
    pub(super) partitions: f64,
    /// Bytes in the journal that have not reached their segments.
    pub(super) unsettled_bytes: f64,
    /// 99th percentile of the stalls in between, in seconds; `None` where there was none.
    pub(super) stall_p99: Option<f64>,
    /// The longest stall since the start, in seconds.
    pub(super) stall_longest: f64,
    /// Serves, its disk is whole and has space.
    pub(super) well: bool,
}

/// How long one kind of request took, in seconds.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Latency {
    pub(super) what: String,
    pub(super) per_second: f64,
    pub(super) p50: f64,
    pub(super) p99: f64,
    pub(super) p999: f64,
}

/// One topic, or one of its partitions. Rates are per second.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) bytes_in: f64,
    pub(super) bytes_out: f64,
    pub(super) records_in: f64,
}

/// How far a group is behind.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Group {
    pub(super) name: String,
    pub(super) records: f64,
    pub(super) seconds: Option<f64>,
}

const REQUESTS: &str = "corelane_requests_total";
const STALLS: &str = "corelane_reactor_stall_seconds_bucket";
const STAGES: &str = "corelane_request_stage_seconds_bucket";
const TOPIC_BYTES_IN: &str = "corelane_topic_bytes_in_total";
const TOPIC_BYTES_OUT: &str = "corelane_topic_bytes_out_total";
const TOPIC_RECORDS_IN: &str = "corelane_topic_records_in_total";
const GROUP_LAG_RECORDS: &str = "corelane_group_lag_records";
const GROUP_LAG_SECONDS: &str = "corelane_group_lag_seconds";
/// Metrics of which a core is known to exist.
const OF_EVERY_CORE: &str = "corelane_serving";

impl Rates {
    /// What happened from `before` to `after`, which were `took` apart.
    pub(super) fn between(before: &Scrape, after: &Scrape, took: Duration) -> Self {
        let change = Change { before, after, seconds: took.as_secs_f64().max(f64::EPSILON) };
        let mut apis: Vec<_> =
            change.rates(REQUESTS, "api").into_iter().filter(|(_, rate)| *rate > 0.0).collect();
        apis.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        Self {
            cores: change.cores(),
            apis,
            latencies: change.latencies(),
            topics: change.topics(),
            groups: change.groups(),
        }
    }

    /// All cores as one.
    pub(super) fn total(&self) -> Core {
        let sum = |of: fn(&Core) -> f64| self.cores.iter().map(of).sum();
        let busy: Vec<f64> = self.cores.iter().filter_map(|core| core.busy).collect();
        Core {
            shard: "all".to_owned(),
            busy: (!busy.is_empty()).then(|| busy.iter().sum::<f64>() / busy.len() as f64),
            bytes_in: sum(|core| core.bytes_in),
            bytes_out: sum(|core| core.bytes_out),
            records_in: sum(|core| core.records_in),
            requests: sum(|core| core.requests),
            errors: sum(|core| core.errors),
            hops: sum(|core| core.hops),
            connections: sum(|core| core.connections),
            partitions: sum(|core| core.partitions),
            unsettled_bytes: sum(|core| core.unsettled_bytes),
            stall_p99: self.cores.iter().filter_map(|core| core.stall_p99).reduce(f64::max),
            stall_longest: self.cores.iter().map(|core| core.stall_longest).fold(0.0, f64::max),
            well: self.cores.iter().all(|core| core.well),
        }
    }
}

/// Two scrapes and the time between them.
struct Change<'a> {
    before: &'a Scrape,
    after: &'a Scrape,
    seconds: f64,
}

/// How much a counter grew.
fn growth(before: f64, after: f64) -> f64 {
    if after >= before { after - before } else { after }
}

impl Change<'_> {
    /// Per second, by the value of one label.
    fn rates(&self, name: &str, label: &str) -> BTreeMap<String, f64> {
        let before = self.before.by(name, label);
        let rate = |(label, after): (&str, f64)| {
            let before = before.get(label).copied().unwrap_or(0.0);
            (label.to_owned(), growth(before, after) / self.seconds)
        };
        self.after.by(name, label).into_iter().map(rate).collect()
    }

    fn cores(&self) -> Vec<Core> {
        let rates = |name| self.rates(name, "shard");
        let busy = rates("corelane_cpu_seconds_total");
        let (bytes_in, bytes_out) = (rates("corelane_bytes_in_total"), rates("corelane_bytes_out_total"));
        let (records_in, requests) = (rates("corelane_records_in_total"), rates(REQUESTS));
        let (errors, hops) = (rates("corelane_errors_total"), rates("corelane_hops_total"));
        let now = |name| self.after.by(name, "shard");
        let (serving, failed, full) =
            (now(OF_EVERY_CORE), now("corelane_storage_failed"), now("corelane_disk_full"));
        let (connections, partitions) = (now("corelane_connections_open"), now("corelane_partitions"));
        let (unsettled, longest) =
            (now("corelane_unsettled_bytes"), now("corelane_reactor_stall_longest_seconds"));
        let mut stalls = self.buckets(STALLS, |series| Some(series.label("shard").to_owned()));
        let mut cores: Vec<_> = serving
            .iter()
            .map(|(shard, serves)| {
                let rate = |of: &BTreeMap<String, f64>| of.get(*shard).copied().unwrap_or(0.0);
                let value = |of: &BTreeMap<&str, f64>| of.get(shard).copied().unwrap_or(0.0);
                Core {
                    shard: (*shard).to_owned(),
                    busy: busy.get(*shard).map(|busy| busy.min(1.0)),
                    bytes_in: rate(&bytes_in),
                    bytes_out: rate(&bytes_out),
                    records_in: rate(&records_in),
                    requests: rate(&requests),
                    errors: rate(&errors),
                    hops: rate(&hops),
                    connections: value(&connections),
                    partitions: value(&partitions),
                    unsettled_bytes: value(&unsettled),
                    stall_p99: stalls.remove(*shard).and_then(|buckets| quantile(&buckets, 0.99)),
                    stall_longest: value(&longest),
                    well: *serves > 0.0 && value(&failed) == 0.0 && value(&full) == 0.0,
                }
            })
            .collect();
        cores.sort_by_key(|core| core.shard.parse::<u32>().unwrap_or(u32::MAX));
        cores
    }

    /// Buckets of a histogram: bound in seconds and how much has come at or below it, summed by what `key` says.
    fn buckets(
        &self,
        name: &str,
        key: impl Fn(&Series) -> Option<String>,
    ) -> BTreeMap<String, Vec<(f64, f64)>> {
        let place = |series: &Series| {
            Some((key(series)?, series.label("shard").to_owned(), series.label("le").to_owned()))
        };
        let before: BTreeMap<_, f64> =
            self.before.of(name).iter().filter_map(|series| Some((place(series)?, series.value))).collect();
        let mut found: BTreeMap<String, BTreeMap<u64, f64>> = BTreeMap::new();
        for series in self.after.of(name) {
            let Some(place) = place(series) else { continue };
            let Ok(bound) = place.2.parse::<f64>() else { continue };
            let came = growth(before.get(&place).copied().unwrap_or(0.0), series.value);
            // Bounds are not negative: their bits are ordered as they are.
            *found.entry(place.0).or_default().entry(bound.to_bits()).or_insert(0.0) += came;
        }
        let unpack = |buckets: BTreeMap<u64, f64>| {
            buckets.into_iter().map(|(bound, came)| (f64::from_bits(bound), came)).collect()
        };
        found.into_iter().map(|(key, buckets)| (key, unpack(buckets))).collect()
    }

    fn latencies(&self) -> Vec<Latency> {
        let total =
            |series: &Series| (series.label("stage") == "total").then(|| series.label("api").to_owned());
        let latency = |(what, buckets): (String, Vec<(f64, f64)>)| {
            Some(Latency {
                what,
                per_second: buckets.last()?.1 / self.seconds,
                p50: quantile(&buckets, 0.5)?,
                p99: quantile(&buckets, 0.99)?,
                p999: quantile(&buckets, 0.999)?,
            })
        };
        self.buckets(STAGES, total).into_iter().filter_map(latency).collect()
    }

    fn topics(&self) -> Vec<Topic> {
        let rates = |name| self.rates(name, "topic");
        let (bytes_out, records_in) = (rates(TOPIC_BYTES_OUT), rates(TOPIC_RECORDS_IN));
        let mut bytes_in = rates(TOPIC_BYTES_IN);
        for name in bytes_out.keys() {
            bytes_in.entry(name.clone()).or_insert(0.0);
        }
        let topic = |(name, bytes_in): (String, f64)| {
            let of = |rates: &BTreeMap<String, f64>| rates.get(&name).copied().unwrap_or(0.0);
            Topic { bytes_in, bytes_out: of(&bytes_out), records_in: of(&records_in), name }
        };
        let mut topics: Vec<_> = bytes_in.into_iter().map(topic).collect();
        let traffic = |topic: &Topic| topic.bytes_in + topic.bytes_out;
        topics.sort_by(|one, other| traffic(other).total_cmp(&traffic(one)));
        topics
    }

    fn groups(&self) -> Vec<Group> {
        let mut seconds: BTreeMap<&str, f64> = BTreeMap::new();
        for series in self.after.of(GROUP_LAG_SECONDS) {
            let most = seconds.entry(series.label("group")).or_insert(0.0);
            *most = most.max(series.value);
        }
        let group = |(name, records): (&str, f64)| Group {
            name: name.to_owned(),
            records,
            seconds: seconds.get(name).copied(),
        };
        let mut groups: Vec<_> = self.after.by(GROUP_LAG_RECORDS, "group").into_iter().map(group).collect();
        groups.sort_by(|one, other| other.records.total_cmp(&one.records));
        groups
    }
}

/// The bound of the bucket that this share of all lies at or below; `None` where there is none. What is beyond
/// the last finite bound counts as that.
fn quantile(buckets: &[(f64, f64)], share: f64) -> Option<f64> {
    let all = buckets.last()?.1;
    if all <= 0.0 {
        return None;
    }
    let found = buckets.iter().find(|(_, below)| *below >= share * all).map(|(bound, _)| *bound)?;
    match found.is_finite() {
        true => Some(found),
        false => buckets.iter().rev().map(|(bound, _)| *bound).find(|bound| bound.is_finite()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(before: &str, after: &str) -> Rates {
        Rates::between(&Scrape::parse(before), &Scrape::parse(after), Duration::from_secs(2))
    }

    #[test]
    fn rates_are_per_second_and_by_core() {
        let before = "corelane_serving{shard=\"0\"} 1\ncorelane_bytes_in_total{shard=\"0\"} 100\n\
            corelane_cpu_seconds_total{shard=\"0\"} 5\n\
            corelane_requests_total{shard=\"0\",api=\"Fetch\"} 10\n";
        let after = "corelane_serving{shard=\"10\"} 1\ncorelane_serving{shard=\"2\"} 0\n\
            corelane_serving{shard=\"0\"} 1\ncorelane_bytes_in_total{shard=\"0\"} 300\n\
            corelane_bytes_in_total{shard=\"2\"} 50\ncorelane_cpu_seconds_total{shard=\"0\"} 6.5\n\
            corelane_requests_total{shard=\"0\",api=\"Fetch\"} 30\n\
            corelane_requests_total{shard=\"2\",api=\"Fetch\"} 4\n\
            corelane_requests_total{shard=\"2\",api=\"Produce\"} 100\n\
            corelane_requests_total{shard=\"2\",api=\"Metadata\"} 0\n";
        let rates = between(before, after);
        let shards: Vec<_> = rates.cores.iter().map(|core| core.shard.as_str()).collect();
        assert_eq!(shards, ["0", "2", "10"]);
        let first = &rates.cores[0];
        assert_eq!((first.bytes_in, first.busy, first.requests, first.well), (100.0, Some(0.75), 10.0, true));
        assert_eq!((rates.cores[1].busy, rates.cores[1].well), (None, false));
        assert_eq!(rates.apis, [("Produce".to_owned(), 50.0), ("Fetch".to_owned(), 12.0)]);
        let total = rates.total();
        assert_eq!(
            (total.bytes_in, total.requests, total.busy, total.well),
            (125.0, 62.0, Some(0.75), false)
        );
    }

    #[test]
    fn a_counter_that_began_anew_counts_from_nothing() {
        let (before, after) =
            ("corelane_errors_total{shard=\"0\"} 1000\n", "corelane_errors_total{shard=\"0\"} 6\n");
        let serving = "corelane_serving{shard=\"0\"} 1\n";
        assert_eq!(between(before, &format!("{serving}{after}")).cores[0].errors, 3.0);
    }

    #[test]
    fn a_percentile_is_of_what_came_in_between() {
        let stalls = |shard: u32, low: u32, high: u32, all: u32| {
            let name = format!("{STALLS}{{shard=\"{shard}\",le=");
            format!(
                "corelane_serving{{shard=\"{shard}\"}} 1\n{name}\"0.001\"}} {low}\n{name}\"0.01\"}} {high}\n\
                 {name}\"+Inf\"}} {all}\n"
            )
        };
        let before = stalls(0, 0, 5000, 5000) + &stalls(1, 7, 7, 7);
        let after = stalls(0, 1000, 6000, 6000) + &stalls(1, 7, 7, 8);
        let rates = between(&before, &after);
        assert_eq!(rates.cores[0].stall_p99, Some(0.001));
        assert_eq!(rates.cores[1].stall_p99, Some(0.01), "beyond the last bound counts as the last bound");
        assert_eq!(between(&after, &after).cores[0].stall_p99, None);
    }

    #[test]
    fn latencies_topics_and_groups_are_told_where_the_broker_tells_them() {
        let stage = |shard, total: [u32; 3]| {
            let name = format!("{STAGES}{{shard=\"{shard}\",api=\"Produce\",stage=");
            format!(
                "{name}\"total\",le=\"0.001\"}} {}\n{name}\"total\",le=\"0.004\"}} {}\n\
                 {name}\"total\",le=\"+Inf\"}} {}\n{name}\"flush\",le=\"0.002\"}} 7\n",
                total[0], total[1], total[2]
            )
        };
        let others = "corelane_topic_bytes_in_total{topic=\"a\"} 10\ncorelane_topic_bytes_out_total{topic=\"b\"} 40\n\
            corelane_group_lag_records{group=\"g\",topic=\"a\"} 3\ncorelane_group_lag_records{group=\"g\",topic=\"b\"} 4\n\
            corelane_group_lag_seconds{group=\"g\",topic=\"a\"} 9\ncorelane_group_lag_records{group=\"h\"} 70\n";
        let rates = between("", &format!("{}{}{others}", stage(0, [60, 90, 90]), stage(1, [0, 10, 10])));
        let latency =
            Latency { what: "Produce".to_owned(), per_second: 50.0, p50: 0.001, p99: 0.004, p999: 0.004 };
        assert_eq!(rates.latencies, [latency]);
        let topics: Vec<_> =
            rates.topics.iter().map(|one| (one.name.as_str(), one.bytes_in, one.bytes_out)).collect();
        assert_eq!(topics, [("b", 0.0, 20.0), ("a", 5.0, 0.0)]);
        let groups: Vec<_> =
            rates.groups.iter().map(|one| (one.name.as_str(), one.records, one.seconds)).collect();
        assert_eq!(groups, [("h", 70.0, None), ("g", 7.0, Some(9.0))]);
    }
}
