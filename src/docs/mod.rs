//! Guides for people who run corelane, as pages of this documentation. The room has no code but what ties
//! them to the rest.
//!
//! - [`architecture`]: the threads, the way of a request, what lies on the disk
//! - [`operating`]: start, stop, upgrade, watch, what to do when something is wrong
//! - [`configuration`]: every setting, written from the table of `config`
//! - [`compatibility`]: the report card: which clients were tried, and what of their own test suites passes
//! - [`metrics`]: what `/metrics` answers
//! - [`benchmarking`]: how to measure a broker so that the figures mean something
//! - [`migrating`]: from Apache Kafka to corelane, and what differs

#[doc = include_str!("architecture.md")]
pub mod architecture {}

#[doc = include_str!("operating.md")]
pub mod operating {}

#[doc = include_str!("../config/reference.md")]
pub mod configuration {}

#[doc = include_str!("../../tests/clients/REPORT.md")]
pub mod compatibility {}

#[doc = include_str!("../../tuning/metrics.md")]
pub mod metrics {}

#[doc = include_str!("benchmarking.md")]
pub mod benchmarking {}

#[doc = include_str!("migrating.md")]
pub mod migrating {}

#[cfg(test)]
mod tests {
    use std::path::Path;

    const GUIDES: [&str; 4] = [
        include_str!("architecture.md"),
        include_str!("operating.md"),
        include_str!("benchmarking.md"),
        include_str!("migrating.md"),
    ];

    /// What stands between backticks.
    fn quoted(text: &str) -> impl Iterator<Item = &str> {
        text.split('`').skip(1).step_by(2)
    }

    #[test]
    fn paths_that_the_guides_name_are_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let paths = GUIDES.iter().flat_map(|guide| quoted(guide)).filter(|text| {
            ["tuning/", "scripts/", "bench/", "tests/"].iter().any(|below| text.starts_with(below))
        });
        let mut found = 0;
        for path in paths {
            assert!(root.join(path.trim_end_matches("*.toml")).exists(), "{path} is not there");
            found += 1;
        }
        assert!(found > 5, "{found}");
    }

    #[test]
    fn settings_that_the_guides_name_are_in_the_reference() {
        let reference = include_str!("../config/reference.md");
        let ours =
            |text: &&str| text.starts_with("shards.") || ["http.listen", "flush.interval.ms"].contains(text);
        for setting in GUIDES.iter().flat_map(|guide| quoted(guide)).filter(ours) {
            assert!(reference.contains(setting), "{setting} is no setting");
        }
    }
}
