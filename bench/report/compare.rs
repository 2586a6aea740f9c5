//! Two results side by side: ratios with their intervals of confidence.
//!
//! A run's seconds are its samples. What is compared is the median of them; the interval is that of the ratio of
//! medians over resamples of blocks of seconds, since neighbouring seconds are alike. Several files of one side,
//! say of runs in turn, are pooled.
//!
//! Source: B. Efron, R. Tibshirani, "An Introduction to the Bootstrap", ch. 13 (percentile intervals); H. Künsch,
//! "The jackknife and the bootstrap for general stationary observations" (blocks).

use super::cluster::{Difference, differences};
use super::read::{Interval, Run};

/// Seconds at the start of a run that are not compared: connections, caches and clocks come up.
const WARM_UP_SECONDS: u64 = 1;
/// Resamples; the interval's ends then move by less than one percent.
const RESAMPLES: usize = 2_000;
/// Seconds that stay together.
const BLOCK: usize = 3;
/// Most sides (senders, readers) that are compared: those of a run with a few readers.
const SIDES_MAX: usize = 12;
/// Of the interval.
const CONFIDENCE: f64 = 0.95;
/// The same comparison gives the same text.
const SEED: u64 = 0x9E37_79B9_7F4A_7C15;

/// One figure of both.
#[derive(Debug, Clone)]
pub struct Row {
    /// What is compared.
    pub name: String,
    /// Of `a` and `b`.
    pub unit: &'static str,
    /// Of the first.
    pub a: f64,
    /// Of the second.
    pub b: f64,
    /// Second over first.
    pub ratio: f64,
    /// Of the ratio, 95 %.
    pub interval: (f64, f64),
    /// Whether more is better.
    pub more_is_better: bool,
}

impl Row {
    /// By how much the second is worse at least, as a share; 0 if it may as well be better.
    #[must_use]
    pub fn worse_by(&self) -> f64 {
        let (low, high) = self.interval;
        let worse = if self.more_is_better { 1.0 - high } else { low - 1.0 };
        worse.max(0.0)
    }

    /// In a word.
    #[must_use]
    pub fn verdict(&self) -> &'static str {
        let (low, high) = self.interval;
        match (low > 1.0, high < 1.0) {
            (false, false) => "no difference seen",
            (more, _) if more == self.more_is_better => "better",
            _ => "worse",
        }
    }
}

/// Both sides.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// Name of the first.
    pub a: String,
    /// Name of the second.
    pub b: String,
    /// What could be compared.
    pub rows: Vec<Row>,
    /// What was not the same on both sides.
    pub differences: Vec<Difference>,
}

/// What is taken of a second.
type Taken = fn(&Interval) -> Option<f64>;

/// What of a second is compared: name, unit, the value, and whether more is better.
const FIGURES: [(&str, &str, bool, Taken); 5] = [
    ("throughput", "MB/s", true, |second| Some(second.bytes as f64 / 1e6)),
    ("p50", "ms", false, |second| ms(second, "p50")),
    ("p99", "ms", false, |second| ms(second, "p99")),
    ("p99.9", "ms", false, |second| ms(second, "p99.9")),
    ("longest", "ms", false, |second| ms(second, "max")),
];

fn ms(second: &Interval, quantile: &str) -> Option<f64> {
    second.latency_us.get(quantile).map(|us| us / 1e3)
}

/// Compares runs of one kind with runs of another.
///
/// # Errors
/// Which have nothing in common, or are too short.
pub fn compare(a: &[Run], b: &[Run]) -> Result<Comparison, String> {
    let mut rows = Vec::new();
    for role in sides_of(a, b) {
        let seconds = |runs: &[Run]| -> Vec<Interval> {
            let sides = runs.iter().flat_map(|run| run.sides().filter(|(name, _)| *name == role));
            sides
                .flat_map(|(_, side)| {
                    // The last second is not a whole one.
                    let last = side.intervals.last().map_or(0, |last| last.second);
                    let whole = |second: &&Interval| (WARM_UP_SECONDS..last.max(1)).contains(&second.second);
                    side.intervals.iter().filter(whole).cloned().collect::<Vec<_>>()
                })
                .collect()
        };
        let (ours, theirs) = (seconds(a), seconds(b));
        for (name, unit, more_is_better, value) in FIGURES {
            let values = |seconds: &[Interval]| seconds.iter().filter_map(value).collect::<Vec<f64>>();
            let (ours, theirs) = (values(&ours), values(&theirs));
            if ours.len() < BLOCK || theirs.len() < BLOCK {
                continue;
            }
            let (a, b) = (median(&mut ours.clone()), median(&mut theirs.clone()));
            if a <= 0.0 || b <= 0.0 {
                continue;
            }
            let interval = interval(&ours, &theirs);
            rows.push(Row {
                name: format!("{role} {name}"),
                unit,
                a,
                b,
                ratio: b / a,
                interval,
                more_is_better,
            });
        }
    }
    if rows.is_empty() {
        return Err(
            "nothing to compare: both need the same side, such as produce or consume, and five seconds"
                .to_owned(),
        );
    }
    let name = |runs: &[Run]| match runs {
        [one] => one.name.clone(),
        several => format!("{} and {} more", several[0].name, several.len() - 1),
    };
    Ok(Comparison { a: name(a), b: name(b), rows, differences: differences(a, b) })
}

/// The sides that any of them has, each once, in the order in which a run names them.
fn sides_of<'a>(a: &'a [Run], b: &'a [Run]) -> Vec<&'a str> {
    let mut names = Vec::new();
    for (name, _) in a.iter().chain(b).flat_map(Run::sides) {
        if !names.contains(&name) && names.len() < SIDES_MAX {
            names.push(name);
        }
    }
    names
}

fn interval(a: &[f64], b: &[f64]) -> (f64, f64) {
    let mut random = SEED;
    let mut ratios: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let (below, above) = (resampled(a, &mut random), resampled(b, &mut random));
            median(&mut { above }) / median(&mut { below }).max(f64::MIN_POSITIVE)
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let at = |share: f64| ratios[((ratios.len() - 1) as f64 * share).round() as usize];
    (at((1.0 - CONFIDENCE) / 2.0), at((1.0 + CONFIDENCE) / 2.0))
}

/// As many values, in blocks that begin anywhere, around the end.
fn resampled(values: &[f64], random: &mut u64) -> Vec<f64> {
    let mut drawn = Vec::with_capacity(values.len() + BLOCK);
    while drawn.len() < values.len() {
        let begin = next(random) as usize % values.len();
        drawn.extend((0..BLOCK).map(|step| values[(begin + step) % values.len()]));
    }
    drawn.truncate(values.len());
    drawn
}

/// SplitMix64. Source: G. Steele et al., "Fast splittable pseudorandom number generators".
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31)) >> 1
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        even if even % 2 == 0 => (values[middle - 1] + values[middle]) / 2.0,
        _ => values[middle],
    }
}

/// The comparison as text.
pub fn text(comparison: &Comparison) -> String {
    use std::fmt::Write as _;

    use super::plot::short;
    let mut text = format!("A {}\nB {}\n\n", comparison.a, comparison.b);
    let _ = writeln!(text, "{:<20} {:>14} {:>14} {:>7}  {:<16}", "", "A", "B", "B / A", "95 % interval");
    for row in &comparison.rows {
        let (a, b) = (format!("{} {}", short(row.a), row.unit), format!("{} {}", short(row.b), row.unit));
        let between = format!("{:.3} to {:.3}", row.interval.0, row.interval.1);
        let verdict = row.verdict();
        let _ =
            writeln!(text, "{:<20} {a:>14} {b:>14} {:>7.3}  {between:<16}  {verdict}", row.name, row.ratio);
    }
    if !comparison.differences.is_empty() {
        text.push_str("\nSettings that differ\n");
    }
    for Difference { of, name, a, b } in &comparison.differences {
        let _ = writeln!(text, "{:<44} {a}  ->  {b}", format!("{of} {name}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A run of one side whose seconds have these p99.
    fn run(p99: impl Iterator<Item = f64>) -> Run {
        let intervals: Vec<_> = p99
            .enumerate()
            .map(|(second, us)| {
                serde_json::json!({"second": second, "records": 10, "bytes": 1_000_000, "latency_us": {"p99": us}})
            })
            .collect();
        let side = serde_json::json!({"seconds": 1.0, "records": 1, "records_per_second": 1.0, "bytes_per_second": 1.0,
            "requests_per_second": 1.0, "intervals": intervals});
        serde_json::from_value(
            serde_json::json!({"schema": "corelane-bench", "schema_version": 1, "mode": "produce",
            "started_unix_ms": 0, "ok": true, "produce": side}),
        )
        .expect("a run")
    }

    fn noisy(middle: f64) -> impl Iterator<Item = f64> {
        (0..60).map(move |second| middle * (1.0 + f64::from(second * 7 % 13) / 100.0))
    }

    fn p99(a: &Run, b: &Run) -> Row {
        let found = compare(std::slice::from_ref(a), std::slice::from_ref(b)).expect("comparable");
        found.rows.into_iter().find(|row| row.name == "produce p99").expect("p99 is compared")
    }

    #[test]
    fn a_run_is_as_good_as_itself() {
        let one = run(noisy(1000.0));
        let row = p99(&one, &one);
        assert_eq!((row.ratio, row.verdict(), row.worse_by()), (1.0, "no difference seen", 0.0));
    }

    #[test]
    fn a_slower_one_is_worse_by_what_is_certain() {
        let row = p99(&run(noisy(1000.0)), &run(noisy(1500.0)));
        assert!((row.ratio - 1.5).abs() < 0.01, "{row:?}");
        assert_eq!(row.verdict(), "worse");
        assert!(row.worse_by() > 0.4 && row.worse_by() < 0.5, "{row:?}");
        assert_eq!(p99(&run(noisy(1500.0)), &run(noisy(1000.0))).verdict(), "better");
    }

    #[test]
    fn what_differs_less_than_it_varies_is_no_difference() {
        let row = p99(&run(noisy(1000.0)), &run(noisy(1005.0)));
        assert_eq!((row.verdict(), row.worse_by()), ("no difference seen", 0.0), "{row:?}");
    }

    #[test]
    fn further_readers_are_compared_each_with_its_like() {
        let with_tail = |p99: f64| {
            let mut run = run(noisy(1000.0));
            run.roles.insert("tail-1".to_owned(), self::run(noisy(p99)).produce.expect("a side"));
            run
        };
        let found = compare(&[with_tail(10.0)], &[with_tail(20.0)]).expect("comparable");
        let row = found.rows.iter().find(|row| row.name == "tail-1 p99").expect("is compared");
        assert!((row.ratio - 2.0).abs() < 0.01, "{row:?}");
        assert!(found.differences.is_empty());
    }

    #[test]
    fn runs_without_anything_in_common_are_refused() {
        assert!(compare(&[run(std::iter::empty())], &[run(noisy(1.0))]).is_err());
    }
}
