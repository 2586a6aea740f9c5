//! When each record is meant to leave: the open loop's law, as plain arithmetic.
//!
//! A run has `streams` numbered streams, and [`Schedule::arrivals`] is the endless, never falling sequence of
//! one stream's intended times. Nothing in it depends on how the broker behaves, which is the whole point: a
//! stall does not delay the schedule, it shows in the latency. An [`Arrivals`] is a small value: whoever keeps
//! a copy from before a batch can compute that batch's times again, however late its acknowledgement is.
//!
//! - [`Shape::Constant`]: record number `n` of the run is due at `start + n / rate`, and belongs to stream
//!   `n % streams`: the run as a whole is evenly spaced;
//! - [`Shape::Poisson`]: every stream is a Poisson process of its share of the rate, independent of the others;
//!   so is each connection, and the run, of the sum;
//! - [`Shape::Burst`]: as constant, but squeezed into the first part of each period; between bursts nothing is
//!   due. The mean is `rate`.

use crate::clock::{Nanos, SECOND};

/// How records are spread over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Evenly.
    Constant,
    /// At random, with exponential gaps.
    Poisson,
    /// Evenly within the first `on` of every `period`.
    Burst {
        /// From the beginning of a burst to that of the next.
        period: Nanos,
        /// How long a burst lasts; at least 1, at most `period`.
        on: Nanos,
    },
}

/// The schedule of a run.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    start: Nanos,
    rate: u64,
    streams: u64,
    shape: Shape,
    seed: u64,
}

impl Schedule {
    /// `rate` records per second over `streams` streams, from `start` on. `seed` decides what is random.
    pub fn new(start: Nanos, rate: u64, streams: u64, shape: Shape, seed: u64) -> Self {
        assert!(rate > 0 && streams > 0, "rate {rate}, streams {streams}");
        if let Shape::Burst { period, on } = shape {
            assert!(0 < on && on <= period, "{on} ns of {period} ns");
        }
        Self { start, rate, streams, shape, seed }
    }

    /// The intended times of `stream`.
    pub fn arrivals(&self, stream: u64) -> Arrivals {
        let mut arrivals = Arrivals {
            schedule: *self,
            number: stream,
            random: mix(self.seed ^ mix(stream)),
            elapsed: 0.0,
            at: self.start,
        };
        if self.shape == Shape::Poisson {
            arrivals.elapsed = arrivals.gap();
        }
        arrivals.at = arrivals.time();
        arrivals
    }

    /// When record number `number` of the run is due, in a shape that is not random.
    fn of_number(&self, number: u64) -> Nanos {
        let (number, rate) = (u128::from(number), u128::from(self.rate));
        let elapsed = match self.shape {
            Shape::Constant | Shape::Poisson => number * u128::from(SECOND) / rate,
            Shape::Burst { period, on } => {
                let (period, on) = (u128::from(period), u128::from(on));
                // Time within bursts, of which there is `on` in every `period`.
                let within = number * u128::from(SECOND) * on / (rate * period);
                within / on * period + within % on
            }
        };
        self.start.saturating_add(u64::try_from(elapsed).unwrap_or(u64::MAX / 2))
    }
}

/// One stream's intended times: an endless iterator, and the time that it gives next.
#[derive(Debug, Clone, Copy)]
pub struct Arrivals {
    schedule: Schedule,
    /// Number in the run of the next record.
    number: u64,
    random: u64,
    /// Nanoseconds from the start to the next record of a Poisson process.
    elapsed: f64,
    at: Nanos,
}

impl Arrivals {
    /// The time that `next` gives next.
    pub fn at(&self) -> Nanos {
        self.at
    }

    /// The time of the `records`-th record after the next one.
    pub fn ahead(&self, records: u64) -> Nanos {
        match self.schedule.shape {
            Shape::Constant | Shape::Burst { .. } => self
                .schedule
                .of_number(self.number.saturating_add(records.saturating_mul(self.schedule.streams))),
            Shape::Poisson => {
                let mut copy = *self;
                (0..records).for_each(|_| copy.advance());
                copy.at
            }
        }
    }

    /// Leaves the next record behind.
    pub fn advance(&mut self) {
        self.number += self.schedule.streams;
        if self.schedule.shape == Shape::Poisson {
            self.elapsed += self.gap();
        }
        self.at = self.time();
    }

    /// When a batch of `count` records from here on is complete: `linger` after its first record was due, or at
    /// once when its last one is.
    pub fn batch_ready(&self, count: u64, linger: Nanos) -> Nanos {
        assert!(count > 0, "a batch holds at least one record");
        if linger == 0 || count == 1 {
            return self.at;
        }
        self.ahead(count - 1).min(self.at.saturating_add(linger))
    }

    fn time(&self) -> Nanos {
        match self.schedule.shape {
            Shape::Poisson => self.schedule.start.saturating_add(self.elapsed as u64),
            Shape::Constant | Shape::Burst { .. } => self.schedule.of_number(self.number),
        }
    }

    /// An exponential gap of a Poisson process, in nanoseconds.
    fn gap(&mut self) -> f64 {
        self.random = self.random.wrapping_add(GOLDEN);
        let mean = self.schedule.streams as f64 * SECOND as f64 / self.schedule.rate as f64;
        -unit(mix(self.random)).ln() * mean
    }
}

impl Iterator for Arrivals {
    type Item = Nanos;

    fn next(&mut self) -> Option<Nanos> {
        let at = self.at;
        self.advance();
        Some(at)
    }
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// splitmix64's finalizer: neighbouring numbers become unrelated ones.
pub fn mix(number: u64) -> u64 {
    let z = number.wrapping_add(GOLDEN);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A random number to a fraction above 0, at most 1.
pub fn unit(random: u64) -> f64 {
    ((random >> 11) + 1) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::MILLISECOND;
    use proptest::prelude::*;

    fn any_shape() -> impl Strategy<Value = Shape> {
        prop_oneof![
            Just(Shape::Constant),
            Just(Shape::Poisson),
            (1u64..2 * SECOND, 1u64..=100)
                .prop_map(|(period, share)| { Shape::Burst { period, on: (period * share / 100).max(1) } }),
        ]
    }

    proptest! {
        #[test]
        fn times_never_fall_and_a_copy_tells_them_again(
            rate in 1u64..3_000_000, streams in 1u64..70, stream in 0u64..70, start in 0u64..SECOND,
            shape in any_shape(), seed in any::<u64>(), skip in 0usize..200, ahead in 0usize..200,
        ) {
            let mut arrivals = Schedule::new(start, rate, streams, shape, seed).arrivals(stream % streams);
            arrivals.by_ref().take(skip).for_each(drop);
            let copy = arrivals;
            prop_assert_eq!(copy.at(), arrivals.at());
            let times: Vec<_> = arrivals.take(ahead + 1).collect();
            prop_assert!(times[0] >= start && times.is_sorted());
            prop_assert_eq!(copy.ahead(ahead as u64), times[ahead]);
            prop_assert_eq!(copy.take(ahead + 1).collect::<Vec<_>>(), times);
        }

        #[test]
        fn every_shape_keeps_its_rate(
            rate in 200u64..2_000_000, streams in 1u64..8, share in 1u64..=100, seed in any::<u64>(),
        ) {
            let burst = Shape::Burst { period: 50 * MILLISECOND, on: 50 * MILLISECOND * share / 100 };
            for (shape, tolerance) in [(Shape::Constant, 0.0), (burst, 0.0), (Shape::Poisson, 0.1)] {
                let schedule = Schedule::new(0, rate, streams, shape, seed);
                let records = 4000 / streams;
                // The mean over whole streams: the last records are due when that many have been.
                let end = (0..streams).map(|s| schedule.arrivals(s).ahead(records)).max().unwrap_or(0) as f64;
                let expected = (records * streams) as f64 * SECOND as f64 / rate as f64;
                let slack = expected * tolerance + 50.0 * MILLISECOND as f64 * f64::from(shape == burst)
                    + streams as f64 * SECOND as f64 / rate as f64 * if tolerance > 0.0 { 60.0 } else { 1.0 };
                prop_assert!((end - expected).abs() <= slack * 1.5 + 1.0, "{:?}: {} for {}", shape, end, expected);
            }
        }

        #[test]
        fn between_bursts_nothing_is_due(
            rate in 1u64..1_000_000, period in 1000u64..SECOND, share in 1u64..=100, sequence in 0u64..1_000_000,
        ) {
            let on = (period * share / 100).max(1);
            let arrivals = Schedule::new(7, rate, 3, Shape::Burst { period, on }, 0).arrivals(1);
            prop_assert!((arrivals.ahead(sequence) - 7) % period < on);
        }
    }

    #[test]
    fn the_streams_together_send_one_record_every_rate_th_of_a_second() {
        let schedule = Schedule::new(50, 1000, 4, Shape::Constant, 0);
        let mut all: Vec<_> = (0..4).flat_map(|s| schedule.arrivals(s).take(3)).collect();
        all.sort_unstable();
        let expected: Vec<_> = (0..12).map(|n| 50 + n * SECOND / 1000).collect();
        assert_eq!(all, expected);
    }

    /// Exponential gaps: their deviation is their mean, and a share of 1/e of them is longer than it.
    #[test]
    fn poisson_gaps_are_exponential_and_differ_from_stream_to_stream() {
        let schedule = Schedule::new(0, 1000, 2, Shape::Poisson, 42);
        let times: Vec<_> = schedule.arrivals(0).take(50_001).collect();
        let gaps: Vec<_> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 2e6).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|gap| (gap - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        let longer = gaps.iter().filter(|gap| **gap > 1.0).count() as f64 / gaps.len() as f64;
        assert!((mean - 1.0).abs() < 0.03, "mean {mean}");
        assert!((variance.sqrt() - 1.0).abs() < 0.05, "deviation {}", variance.sqrt());
        assert!((longer - (-1f64).exp()).abs() < 0.01, "{longer} are longer than the mean");
        assert!(schedule.arrivals(1).zip(&times).take(100).all(|(a, b)| a != *b));
    }

    #[test]
    fn a_batch_leaves_after_linger_or_when_it_is_full() {
        let mut arrivals = Schedule::new(0, 1000, 1, Shape::Constant, 0).arrivals(0);
        arrivals.by_ref().take(10).for_each(drop);
        assert_eq!(arrivals.batch_ready(5, 2_000_000), 12_000_000, "linger is over first");
        assert_eq!(arrivals.batch_ready(2, 2_000_000), 11_000_000, "full first");
        assert_eq!(arrivals.batch_ready(9, 0), 10_000_000, "no linger");
    }
}
