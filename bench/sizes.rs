//! How large values are: all the same, evenly between two bounds, or log-normal as sizes in the field are.
//!
//! A run draws a table of sizes once, and every record finds its own there by its name. So a size costs one
//! look, and a record that is sent again has the size it had.

use crate::schedule::{mix, unit};
use crate::value::HEADER_BYTES;

/// Largest value that is made.
pub const VALUE_BYTES_MAX: usize = 64 << 20;

/// Where the long tail of a log-normal law is cut: just below what a broker takes by default, unless the median
/// lies above it.
const TAIL_BYTES_MAX: usize = 1_000_000;

/// Sizes drawn; enough for the 99.9th percentile to be there.
const TABLE_ENTRIES: usize = 16_384;

/// The law of a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SizeLaw {
    /// All of that many bytes.
    Fixed(usize),
    /// Evenly from the first to the second, both included.
    Uniform(usize, usize),
    /// Log-normal: the median, and the deviation of the logarithm.
    LogNormal(usize, f64),
}

impl SizeLaw {
    /// From `BYTES`, `uniform:MIN:MAX` or `lognormal:MEDIAN:SIGMA`.
    ///
    /// # Errors
    /// Another text, or sizes out of bounds.
    pub fn parse(text: &str) -> Result<Self, String> {
        let number =
            |text: &str| text.parse::<usize>().map_err(|_| format!("`{text}` is not a number of bytes"));
        let law = match text.split(':').collect::<Vec<_>>().as_slice() {
            [bytes] => Self::Fixed(number(bytes)?),
            ["uniform", min, max] => Self::Uniform(number(min)?, number(max)?),
            ["lognormal", median, sigma] => {
                let sigma: f64 = sigma.parse().map_err(|_| format!("`{sigma}` is not a number"))?;
                if !(0.0..=5.0).contains(&sigma) {
                    return Err("SIGMA lies between 0 and 5".into());
                }
                Self::LogNormal(number(median)?, sigma)
            }
            _ => return Err("sizes are BYTES, uniform:MIN:MAX or lognormal:MEDIAN:SIGMA".into()),
        };
        let (least, most) = match law {
            Self::Fixed(bytes) | Self::LogNormal(bytes, _) => (bytes, bytes),
            Self::Uniform(min, max) => (min, max),
        };
        if least > most || least < HEADER_BYTES || most > VALUE_BYTES_MAX {
            return Err(format!(
                "a record has {HEADER_BYTES} (what names and checks it) to {VALUE_BYTES_MAX} bytes"
            ));
        }
        Ok(law)
    }
}

/// The sizes of a run.
#[derive(Debug, Clone)]
pub struct Sizes(Vec<u32>);

impl Sizes {
    /// Draws them.
    pub fn new(law: SizeLaw, seed: u64) -> Self {
        let entry = |nth: usize| {
            // Evenly spread shares instead of random ones: the table's mean and percentiles are the law's.
            let share = (nth as f64 + 0.5) / TABLE_ENTRIES as f64;
            match law {
                SizeLaw::Fixed(bytes) => bytes,
                SizeLaw::Uniform(min, max) => min + ((max - min + 1) as f64 * share) as usize,
                SizeLaw::LogNormal(median, sigma) => {
                    let random = mix(seed ^ nth as u64);
                    let angle = std::f64::consts::TAU * unit(mix(random));
                    // Box and Muller: the radius evenly spread, the angle at random.
                    let normal = (-2.0 * share.ln()).sqrt() * angle.cos();
                    let bytes = (median as f64 * (sigma * normal).exp()) as usize;
                    bytes.clamp(HEADER_BYTES, TAIL_BYTES_MAX.max(median))
                }
            }
        };
        let entries = if matches!(law, SizeLaw::Fixed(_)) { 1 } else { TABLE_ENTRIES };
        Self((0..entries).map(|nth| u32::try_from(entry(nth)).unwrap_or(u32::MAX)).collect())
    }

    /// Bytes of the value of record `sequence` of `stream`.
    pub fn of(&self, stream: u32, sequence: u64) -> usize {
        if let [only] = self.0.as_slice() {
            return *only as usize;
        }
        let place = mix(sequence ^ u64::from(stream) << 40) % self.0.len() as u64;
        self.0[usize::try_from(place).unwrap_or(0)] as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn drawn(text: &str, count: u64) -> Vec<usize> {
        let sizes = Sizes::new(SizeLaw::parse(text).expect("a law"), 7);
        (0..count).map(|sequence| sizes.of(3, sequence)).collect()
    }

    fn mean(sizes: &[usize]) -> f64 {
        sizes.iter().sum::<usize>() as f64 / sizes.len() as f64
    }

    proptest! {
        #[test]
        fn uniform_sizes_fill_their_bounds(min in HEADER_BYTES..5000, span in 0usize..5000) {
            let sizes = drawn(&format!("uniform:{min}:{}", min + span), 5000);
            prop_assert!(sizes.iter().all(|size| (min..=min + span).contains(size)));
            prop_assert!((mean(&sizes) - (min as f64 + span as f64 / 2.0)).abs() <= 0.03 * span as f64 + 1.0);
        }
    }

    #[test]
    fn log_normal_sizes_have_their_median_and_their_mean() {
        let mut sizes = drawn("lognormal:1000:1", 50_000);
        // The mean of a log-normal law is its median times exp(sigma^2 / 2).
        assert!((mean(&sizes) / (1000.0 * 0.5f64.exp()) - 1.0).abs() < 0.05, "mean {}", mean(&sizes));
        sizes.sort_unstable();
        let median = sizes[sizes.len() / 2];
        assert!((950..1050).contains(&median), "median {median}");
        assert!((2500..4000).contains(&sizes[sizes.len() * 86 / 100]), "a deviation above: {median}");
    }

    #[test]
    fn what_is_no_law_is_refused() {
        for text in ["8", "x", "uniform:100", "uniform:200:100", "lognormal:100:9", "uniform:40:99999999999"]
        {
            assert!(SizeLaw::parse(text).is_err(), "{text}");
        }
        assert_eq!(SizeLaw::parse("100"), Ok(SizeLaw::Fixed(100)));
    }
}
