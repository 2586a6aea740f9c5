//! One self-contained page: results of one or several runs, with plots. It asks no network for anything.

use std::collections::BTreeMap;
use std::path::Path;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde_json::Value;

use super::cluster::Cluster;
use super::compare::Comparison;
use super::plot::{self, Bar, Line, PlotError, short};
use super::read::{Interval, Run, Side, histogram};
use super::table::QUANTILES;

/// Most runs on one page: more lines than this nobody tells apart.
pub const RUNS_MAX: usize = 12;
/// Most sides (senders, readers) of all runs that are listed and drawn.
const SIDES_MAX: usize = 12;
/// With more sides than these, a plot shows one line of each.
const SIDES_IN_DETAIL: usize = 2;
/// Points of a percentile plot for each halving of the distance to 100 %.
const TICKS_PER_HALF_DISTANCE: u32 = 5;

const STYLE: &str = "
:root { color-scheme: light dark; --paper: #fdfdfc; --card: #ffffff; --ink: #1d2126; --faint: #9aa2ab; --line: #e3e6e9;
  --good: #14733b; --bad: #b3261e; --s1: #1f6feb; --s2: #d1570b; --s3: #1a7f4b; --s4: #8a3ffc; --s5: #b5179e; --s6: #5f6b7a; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171a; --card: #1b1f24; --ink: #e4e8ec; --faint: #78828d;
  --line: #2c333a; --good: #5fd38d; --bad: #ff7b72; --s1: #6cb0ff; --s2: #ffa35c; --s3: #63d297; --s4: #c39bff; --s5: #ff8ad8; --s6: #a9b4c0; } }
body { margin: 0 auto; max-width: 1040px; padding: 24px 16px 64px; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 18px; margin: 36px 0 8px; } p { margin: 6px 0; }
.quiet { color: var(--faint); } .good { color: var(--good); } .bad { color: var(--bad); font-weight: 600; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 12px 14px; margin: 10px 0; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 10px 4px 0; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th:first-child, td:first-child { text-align: left; } tr:last-child td { border-bottom: 0; }
svg { display: block; width: 100%; height: auto; } svg rect[fill='#FFFFFF'] { fill: none; }
.tree td { white-space: normal; overflow-wrap: anywhere; vertical-align: top; }
.tree table td:first-child { white-space: nowrap; }
.words th, .words td { text-align: left; white-space: normal; overflow-wrap: anywhere; vertical-align: top; }
details summary { cursor: pointer; } pre { margin: 0; white-space: pre-wrap; }";

/// The page of some runs, or of a comparison of two.
///
/// # Errors
/// A plot could not be drawn.
pub fn page(runs: &[Run], comparison: Option<&Comparison>) -> Result<String, PlotError> {
    let title = match runs {
        [one] => format!("corelane bench {}", one.mode),
        several => format!("corelane bench: {} runs", several.len()),
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) }
                @for run in runs { (heading(run, runs.len() > 1)) }
                @if let Some(comparison) = comparison { (compared(comparison)?) }
                h2 { "Throughput and latency" }
                div.card { (summary(runs)) }
                p.quiet {
                    "Latency counts from the moment a record was due, service time from when it was sent. Lateness \
                     is the generator's own."
                }
                (plots(runs)?)
                (points(runs)?)
                @for run in runs { (details(run, runs.len() > 1)) }
            }
        }
    };
    Ok(page.into_string())
}

fn heading(run: &Run, named: bool) -> Markup {
    html! {
        p {
            @if named { b { (run.name) } " " }
            @if run.ok { span.good { "sound" } } @else { span.bad { "not sound" } }
            " · " (run.mode) " · " (told_settings(run)) " · " (time_of(run.started_unix_ms))
        }
        @for problem in &run.problems { p.bad { (problem) } }
    }
}

/// The settings that tell runs apart, in a few words.
fn told_settings(run: &Run) -> String {
    let names = [
        "bootstrap",
        "partitions",
        "rate",
        "record-size",
        "batch-size",
        "acks",
        "compression",
        "connections",
    ];
    let told = |name: &str| {
        let value = run.settings.get(name).filter(|value| !value.is_null())?;
        let value = if name == "acks" && value == -1 { "all".to_owned() } else { plain(value) };
        Some(format!("{name} {value}"))
    };
    names.iter().filter_map(|name| told(name)).collect::<Vec<_>>().join(", ")
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Unix time as a date, without a calendar of our own: what a reader's tools take.
fn time_of(unix_ms: u64) -> Markup {
    let seconds = unix_ms / 1000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date_of(days as i64);
    html! { (format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", second / 3600, second / 60 % 60)) }
}

/// The Gregorian date of a day since 1970. Source: H. Hinnant, "chrono-compatible low-level date algorithms".
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let (month, day) =
        (if shifted < 10 { shifted + 3 } else { shifted - 9 }, of_year - (153 * shifted + 2) / 5 + 1);
    (year + era * 400 + i64::from(month <= 2), month, day)
}

fn summary(runs: &[Run]) -> Markup {
    let rows = |side: &Side| {
        [
            ("latency", side.latency_us.clone()),
            ("service", side.service_us.clone()),
            ("lateness", side.lateness_us.clone()),
        ]
    };
    let sides = sides(runs);
    let left_out = runs.iter().map(|run| run.sides().count()).sum::<usize>() - sides.len();
    html! {
        table {
            tr {
                th { "" } th { "records" } th { "seconds" } th { "records/s" } th { "MB/s" } th { "requests/s" } th { "" }
                @for (name, _) in QUANTILES { th { (name) } }
            }
            @for (run, role, side) in &sides {
                @for (at, (what, times)) in rows(side).into_iter().filter(|(_, times)| times.len() > 1).enumerate() {
                    tr {
                        @if at == 0 {
                            td { @if runs.len() > 1 { (run.name) " " } (role) }
                            td { (side.records) } td { (short(side.seconds)) }
                            td { (format!("{:.0}", side.records_per_second)) }
                            td { (format!("{:.1}", side.bytes_per_second / 1e6)) }
                            td { (format!("{:.0}", side.requests_per_second)) }
                        } @else {
                            td { } td { } td { } td { } td { } td { }
                        }
                        td { (what) }
                        @for (name, _) in QUANTILES {
                            td { (times.get(name).map_or_else(|| "-".to_owned(), |us| format!("{} ms", short(us / 1e3)))) }
                        }
                    }
                }
            }
        }
        @if left_out > 0 { p.quiet { (left_out) " more are in the result and not on this page." } }
        @for run in runs {
            @for (role, seconds) in run.caught_up_seconds.iter().filter(|(role, _)| run.roles.contains_key(*role)).take(SIDES_MAX) {
                p.quiet { @if runs.len() > 1 { (run.name) " " } (role) " had all there was after " (short(*seconds)) " s." }
            }
        }
    }
}

/// What is listed and drawn: the sides of all runs, as many as one can still tell apart.
fn sides(runs: &[Run]) -> Vec<(&Run, &str, &Side)> {
    let sides = runs.iter().flat_map(|run| run.sides().map(move |(role, side)| (run, role, side)));
    sides.take(SIDES_MAX).collect()
}

/// A side's name on a page of several runs.
fn name_of(run: &Run, role: &str, what: &str, several: bool) -> String {
    if several { format!("{} {role} {what}", run.name) } else { format!("{role} {what}") }
}

fn plots(runs: &[Run]) -> Result<Markup, PlotError> {
    let several = runs.len() > 1;
    let sides = sides(runs);
    let in_detail = !several && sides.len() <= SIDES_IN_DETAIL;
    let mut lines = Vec::new();
    for (run, role, side) in &sides {
        for (what, encoded) in [("latency", &side.latency_hdr), ("service", &side.service_hdr)] {
            let Some(times) = histogram(encoded.as_deref()).filter(|_| what == "latency" || in_detail) else {
                continue;
            };
            let point = |step: hdrhistogram::iterators::IterationValue<u64>| {
                let quantile = step.quantile_iterated_to();
                (quantile < 1.0).then(|| (1.0 / (1.0 - quantile), step.value_iterated_to() as f64 / 1e6))
            };
            let points = times.iter_quantiles(TICKS_PER_HALF_DISTANCE).filter_map(point).collect();
            lines.push(Line { name: name_of(run, role, what, several), points });
        }
    }
    let over_time = |what: &str, value: &dyn Fn(&Interval) -> Option<f64>| {
        let line = |(run, role, side): &(&Run, &str, &Side)| {
            let point = |interval: &Interval| Some((interval.second as f64, value(interval)?));
            // The last second is not a whole one.
            let whole = side.intervals.len().saturating_sub(1).max(1);
            let points: Vec<_> = side.intervals.iter().take(whole).filter_map(point).collect();
            Line { name: name_of(run, role, what, several), points }
        };
        // Commits move no bytes and have no latency.
        let is_something = |line: &Line| line.points.iter().any(|(_, value)| *value > 0.0);
        sides.iter().map(line).filter(is_something).collect::<Vec<_>>()
    };
    let quantile =
        |name: &'static str| move |interval: &Interval| interval.latency_us.get(name).map(|us| us / 1e3);
    let mut latency = over_time("p99", &quantile("p99"));
    if in_detail {
        latency.splice(0..0, over_time("p50", &quantile("p50")));
        latency.extend(over_time("max", &quantile("max")));
    }
    let throughput = over_time("", &|interval| Some(interval.bytes as f64 / 1e6));
    Ok(html! {
        @if lines.iter().any(|line| !line.points.is_empty()) {
            h2 { "Latency by percentile" } div.card { (PreEscaped(plot::percentiles(&lines)?)) }
        }
        @if latency.iter().any(|line| !line.points.is_empty()) {
            h2 { "Latency over time" } div.card { (PreEscaped(plot::over_time(&latency, "ms", true)?)) }
        }
        h2 { "Throughput over time" } div.card { (PreEscaped(plot::over_time(&throughput, "MB/s", false)?)) }
    })
}

fn points(runs: &[Run]) -> Result<Markup, PlotError> {
    if runs.iter().all(|run| run.points.is_empty()) {
        return Ok(html! {});
    }
    let mut lines = Vec::new();
    for run in runs {
        for quantile in ["p50", "p99"] {
            let point = |point: &super::read::Point| {
                Some((point.achieved_records_per_second, point.latency_us.get(quantile)? / 1e3))
            };
            let mut points: Vec<_> = run.points.iter().filter_map(point).collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            lines.push(Line { name: name_of(run, "", quantile, runs.len() > 1), points });
        }
    }
    Ok(html! {
        h2 { "Latency over throughput" }
        div.card { (PreEscaped(plot::curve(&lines)?)) }
        div.card {
            table {
                tr { th { "" } th { "target records/s" } th { "achieved" } @for (name, _) in QUANTILES { th { (name) } } }
                @for run in runs {
                    @for point in &run.points {
                        tr {
                            td { (run.name) }
                            td { (format!("{:.0}", point.target_records_per_second)) }
                            td { (format!("{:.0}", point.achieved_records_per_second)) }
                            @for (name, _) in QUANTILES {
                                td { (point.latency_us.get(name).map_or_else(|| "-".to_owned(), |us| format!("{} ms", short(us / 1e3)))) }
                            }
                        }
                    }
                }
            }
        }
    })
}

fn compared(comparison: &Comparison) -> Result<Markup, PlotError> {
    let bar =
        |row: &super::compare::Row| Bar { name: row.name.clone(), value: row.ratio, interval: row.interval };
    let bars: Vec<_> = comparison.rows.iter().map(bar).collect();
    Ok(html! {
        h2 { (comparison.b) " as a multiple of " (comparison.a) }
        div.card { (PreEscaped(plot::bars(&bars)?)) }
        div.card {
            table {
                tr { th { "" } th { (comparison.a) } th { (comparison.b) } th { "ratio" } th { "95 % interval" } th { "" } }
                @for row in &comparison.rows {
                    tr {
                        td { (row.name) } td { (short(row.a)) " " (row.unit) } td { (short(row.b)) " " (row.unit) }
                        td { (format!("{:.3}", row.ratio)) }
                        td { (format!("{:.3} to {:.3}", row.interval.0, row.interval.1)) }
                        td { (row.verdict()) }
                    }
                }
            }
        }
        @if !comparison.differences.is_empty() {
            h2 { "Settings that differ" }
            div.card.words {
                table {
                    tr { th { "" } th { (comparison.a) } th { (comparison.b) } }
                    @for one in &comparison.differences {
                        tr { td { (one.of) " " (one.name) } td { (one.a) } td { (one.b) } }
                    }
                }
            }
        }
    })
}

fn details(run: &Run, named: bool) -> Markup {
    let parts = [
        ("Transactions", run.transactions.as_ref()),
        ("Verification", run.verification.as_ref()),
        ("Resources", run.resources.as_ref()),
        ("What this host can do", run.limits.as_ref()),
    ];
    html! {
        @if named { h2 { (run.name) } } @else { h2 { "Details" } }
        @if let Some(ratio) = run.write_amplification {
            p { "Bytes written to the broker's disk for each byte taken: " (format!("{ratio:.3}")) }
        }
        @for (name, value) in parts {
            @if let Some(value) = value { h2 { (name) } div.card.tree { (tree(value)) } }
        }
        @if let Some(cluster) = &run.cluster { (told(cluster, run.broker_version())) }
        details.card {
            summary { "Settings of the run" }
            table { @for (name, value) in &run.settings { @if !value.is_null() { tr { td { (name) } td { (plain(value)) } } } } }
        }
    }
}

/// What the cluster told of itself.
fn told(cluster: &Cluster, version: Option<&str>) -> Markup {
    let levels = |levels: &BTreeMap<String, i16>| {
        let each: Vec<_> = levels.iter().map(|(name, level)| format!("{name} {level}")).collect();
        each.join(", ")
    };
    let rows = [
        ("version", version.unwrap_or("not told by the protocol, and not this host's").to_owned()),
        ("cluster", cluster.cluster_id.clone()),
        ("brokers", cluster.brokers.to_string()),
        ("broker that was asked", cluster.broker.to_string()),
        ("APIs up to", levels(&cluster.api_versions)),
        ("features agreed to", levels(&cluster.finalized_features)),
        ("features supported up to", levels(&cluster.supported_features)),
    ];
    let settings = [("of the topic", &cluster.topic_settings), ("of the broker", &cluster.broker_settings)];
    html! {
        h2 { "Broker" }
        div.card.words {
            table {
                @for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
                    tr { td { (name) } td { (value) } }
                }
            }
        }
        @for (of, settings) in settings.iter().filter(|(_, settings)| !settings.is_empty()) {
            details.card.words {
                summary { "Settings " (of) ": those that are no defaults, and those that figures depend on" }
                table {
                    tr { th { "setting" } th { "value" } th { "from" } }
                    @for (name, setting) in settings.iter() {
                        tr.quiet[setting.source == "default"] {
                            td { (name) } td { (setting.value.as_deref().unwrap_or("none")) } td { (setting.source) }
                        }
                    }
                }
            }
        }
        @if cluster.left_out > 0 { p.quiet { (cluster.left_out) " more settings were left out." } }
    }
}

/// A JSON value as nested tables.
fn tree(value: &Value) -> Markup {
    match value {
        Value::Object(fields) => html! {
            table {
                @for (name, value) in fields {
                    @if !is_nothing(value) { tr { td { (name.replace('_', " ")) } td { (tree(value)) } } }
                }
            }
        },
        Value::Array(items) => html! { @for item in items { div { (tree(item)) } } },
        Value::Number(number) => html! { (number.as_f64().map_or_else(|| number.to_string(), figure)) },
        other => html! { (plain(other)) },
    }
}

fn is_nothing(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(Vec::is_empty)
}

/// Whole numbers as they are, others with three digits.
fn figure(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 1e15 { format!("{value:.0}") } else { short(value) }
}

/// Writes a page.
///
/// # Errors
/// It could not be drawn, or written.
pub fn write(path: &Path, runs: &[Run], comparison: Option<&Comparison>) -> Result<(), String> {
    let page = page(runs, comparison).map_err(|error| format!("a plot could not be drawn: {error}"))?;
    std::fs::write(path, page).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date_of(0), (1970, 1, 1));
        assert_eq!(date_of(19_782), (2024, 2, 29));
        assert_eq!(date_of(20_778), (2026, 11, 21));
    }
}
