//! What is written about the metrics agrees with what is answered: `tuning/metrics.md` has every one of them, the
//! dashboard and the alert rules name no others.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
};

use serde_json::Value;

use super::text::tests::some;

/// A metric as `/metrics` tells of it.
struct Family {
    kind: String,
    about: String,
    labels: String,
}

fn families() -> BTreeMap<String, Family> {
    let text = some();
    let lines: Vec<&str> = text.lines().collect();
    let mut families = BTreeMap::new();
    for (at, line) in lines.iter().enumerate() {
        let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) else {
            continue;
        };
        let about = lines[at - 1].strip_prefix("# HELP ").and_then(|help| help.split_once(' '));
        let (_, about) = about.expect("help comes before type");
        let (_, labels) = lines[at + 1].split_once('{').expect("every metric has labels");
        let labels: Vec<&str> = labels.split("\",").filter_map(|label| label.split('=').next()).collect();
        let labels = labels.into_iter().filter(|label| *label != "le").collect::<Vec<_>>().join(", ");
        families.insert(name.to_owned(), Family { kind: kind.to_owned(), about: about.to_owned(), labels });
    }
    families
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The families that a text names, in whatever language.
fn named_in(text: &str, families: &BTreeMap<String, Family>) -> BTreeSet<String> {
    let is_of_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let words = text.split(|c: char| !is_of_name(c)).filter(|word| word.starts_with("corelane_"));
    let family = |word: &str| {
        let ends = ["_bucket", "_sum", "_count"];
        let base = ends.iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word);
        let histogram = families.get(base).is_some_and(|family| family.kind == "histogram");
        let name = if histogram { base } else { word };
        assert!(families.contains_key(name), "{word} is no metric");
        name.to_owned()
    };
    words.map(family).collect()
}

#[test]
fn every_metric_is_in_the_table_as_it_is_answered() {
    let mut table = String::new();
    for (name, Family { kind, about, labels }) in families() {
        let _ = writeln!(table, "| `{name}` | {kind} | {labels} | {about} |");
    }
    let written: Vec<String> = read("metrics.md")
        .lines()
        .filter(|line| line.starts_with("| `corelane_"))
        .map(|line| format!("{line}\n"))
        .collect();
    assert!(written.concat() == table, "the table in tuning/metrics.md must be\n{table}");
}

#[test]
fn every_stage_is_explained() {
    let text = read("metrics.md");
    for (kind, stage) in crate::metrics::TIMED {
        let row = format!("| {} | {} |", kind.name(), stage.name());
        assert!(text.contains(&row), "{row} is not in tuning/metrics.md");
    }
}

#[test]
fn alerts_are_on_metrics_that_exist() {
    let named = named_in(&read("prometheus/alerts.yml"), &families());
    for needed in ["corelane_storage_failed", "corelane_serving", "corelane_group_lag_seconds"] {
        assert!(named.contains(needed), "no alert on {needed}");
    }
}

#[test]
fn the_dashboard_shows_every_metric_but_those_of_little_use() {
    const LEFT_OUT: [&str; 11] = [
        "corelane_errors_total",
        "corelane_checksum_files_rebuilt",
        "corelane_checksum_spans_matched",
        // What was set does not change while the broker runs.
        "corelane_core",
        "corelane_ring_entries",
        "corelane_receive_buffers",
        "corelane_spin_us",
        "corelane_foreground_shares",
        "corelane_housekeeping_shares",
        "corelane_disk_reads_in_flight_max",
        "corelane_disk_writes_in_flight_max",
    ];
    let families = families();
    let named = named_in(&read("grafana/corelane.json"), &families);
    let wanted = families.keys().filter(|name| !LEFT_OUT.contains(&name.as_str()));
    let missing: Vec<_> = wanted.filter(|name| !named.contains(*name)).collect();
    assert!(missing.is_empty(), "not on the dashboard: {missing:?}");
}

#[test]
fn the_dashboard_is_one_that_grafana_loads() {
    let board: Value = serde_json::from_str(&read("grafana/corelane.json")).expect("JSON");
    assert_eq!((&board["uid"], &board["title"]), (&"corelane".into(), &"corelane".into()));
    assert!(board["schemaVersion"].as_u64() >= Some(36));
    let variables = board["templating"]["list"].as_array().expect("variables");
    assert_eq!(
        (&variables[0]["type"], &variables[0]["name"]),
        (&"datasource".into(), &"datasource".into()),
        "the source is chosen first"
    );
    let variables: BTreeSet<_> = variables.iter().filter_map(|one| one["name"].as_str()).collect();
    let panels = board["panels"].as_array().expect("panels");
    let (mut ids, mut taken, mut rows) = (BTreeSet::new(), BTreeSet::new(), 0);
    for panel in panels {
        let title = panel["title"].as_str().expect("a title");
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{title} has another's id");
        let at = |field: &str| panel["gridPos"][field].as_u64().expect("a place");
        assert!(at("x") + at("w") <= 24, "{title} is beside the page");
        for (x, y) in
            (at("x")..at("x") + at("w")).flat_map(|x| (at("y")..at("y") + at("h")).map(move |y| (x, y)))
        {
            assert!(taken.insert((x, y)), "{title} lies on another");
        }
        if panel["type"] == "row" {
            rows += 1;
            continue;
        }
        let targets = panel["targets"].as_array().expect("queries");
        assert!(!targets.is_empty(), "{title} shows nothing");
        for target in targets {
            assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
            let expr = target["expr"].as_str().expect("a query");
            for word in expr.split('$').skip(1) {
                let variable: String =
                    word.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
                let known = variable == "__rate_interval" || variables.contains(variable.as_str());
                assert!(known, "{title}: ${variable}");
            }
            for (open, close) in [('(', ')'), ('{', '}'), ('[', ']')] {
                let count = |c: char| expr.matches(c).count();
                assert_eq!(count(open), count(close), "{title}: {expr}");
            }
        }
    }
    assert!(rows >= 5, "panels stand in rows");
}
