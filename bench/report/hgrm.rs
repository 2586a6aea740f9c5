//! A percentile distribution as text, for HdrHistogram's plotter (`.hgrm`).
//!
//! Format: that of Java's `AbstractHistogram.outputPercentileDistribution`, five ticks per half distance, values
//! in milliseconds.

use std::fmt::Write as _;

use hdrhistogram::Histogram;

/// Lines for each halving of the distance to 100 %.
const TICKS_PER_HALF_DISTANCE: u32 = 5;
/// Nanoseconds in a shown value.
const UNIT: f64 = 1e6;

/// The whole text.
pub fn text(histogram: &Histogram<u64>) -> String {
    let mut text =
        format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    for step in histogram.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
        let (value, quantile) = (step.value_iterated_to() as f64 / UNIT, step.quantile_iterated_to());
        let count = histogram.count_between(0, step.value_iterated_to());
        let _ = match quantile < 1.0 {
            true => writeln!(text, "{value:12.3} {quantile:2.12} {count:10} {:14.2}", 1.0 / (1.0 - quantile)),
            false => writeln!(text, "{value:12.3} {quantile:2.12} {count:10}"),
        };
    }
    let (mean, deviation) = (histogram.mean() / UNIT, histogram.stdev() / UNIT);
    let _ = writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]");
    let (max, total) = (histogram.max() as f64 / UNIT, histogram.len());
    let _ = writeln!(text, "#[Max     = {max:12.3}, Total count    = {total:12}]");
    let (buckets, sub) = (histogram.distinct_values(), histogram.sigfig());
    let _ = writeln!(text, "#[Buckets = {buckets:12}, SubBuckets     = {sub:12}]");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_counted_and_the_last_line_is_the_maximum() {
        let mut histogram = Histogram::<u64>::new(3).expect("a histogram");
        for ms in 1..=1000_u64 {
            histogram.record(ms * 1_000_000).expect("records");
        }
        let text = text(&histogram);
        let lines: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|field| field.parse().expect("a number")).collect())
            .collect();
        assert!(lines.windows(2).all(|pair| pair[0][0] <= pair[1][0] && pair[0][2] <= pair[1][2]), "{text}");
        let last = lines.last().expect("lines");
        assert_eq!((last[1], last[2]), (1.0, 1000.0));
        assert!((last[0] / 1000.0 - 1.0).abs() < 0.002);
        let half = lines.iter().find(|line| line[1] >= 0.5).expect("a median");
        assert!((half[0] / 500.0 - 1.0).abs() < 0.01, "{half:?}");
        assert!(text.contains("Total count    =         1000"));
    }
}
