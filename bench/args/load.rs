//! The load, as the command line says it.

use clap::builder::ValueParser;

use super::parse_acks;
use crate::clock::{Nanos, SECOND};
use crate::compression::Compression;
use crate::keys::KeyLaw;
use crate::schedule::Shape;
use crate::sizes::SizeLaw;
use crate::value::ENTROPY_MAX;

/// The load.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct LoadArgs {
    /// Partitions of the topic, if it has to be created
    #[arg(long, default_value_t = 1, value_name = "N", help_heading = "Topic")]
    pub partitions: u32,
    /// A setting of the topic, if it has to be created; may repeat
    #[arg(long, value_name = "KEY=VALUE", value_parser = super::parse_setting, help_heading = "Topic")]
    pub topic_config: Vec<(String, String)>,

    /// Records per second, open loop (0: as many as possible)
    #[arg(long, default_value_t = 0, value_name = "N", help_heading = "Load")]
    pub rate: u64,
    /// constant, poisson, or burst:PERIOD:PERCENT (all of a period's records in that share of it)
    #[arg(long, default_value = "constant", value_parser = ValueParser::new(parse_shape), help_heading = "Load")]
    pub schedule: Shape,
    /// Make records one by one and choose each one's partition, as applications do
    #[arg(long, help_heading = "Load")]
    pub by_record: bool,
    /// Acknowledgement: 0, 1 or all
    #[arg(long, default_value = "all", value_parser = parse_acks, help_heading = "Load")]
    pub acks: i16,
    /// Idempotent producers, one for each connection
    #[arg(long, help_heading = "Load")]
    pub idempotent: bool,
    /// Unanswered requests per connection
    #[arg(long, default_value_t = 5, value_name = "N", help_heading = "Load")]
    pub in_flight: u32,

    /// Bytes of a value: N, uniform:MIN:MAX or lognormal:MEDIAN:SIGMA
    #[arg(long, default_value = "1024", value_name = "SIZE", value_parser = ValueParser::new(SizeLaw::parse), help_heading = "Records")]
    pub record_size: SizeLaw,
    /// Percent of a value that does not compress
    #[arg(long, default_value_t = ENTROPY_MAX, value_name = "PERCENT", help_heading = "Records",
        value_parser = clap::value_parser!(u8).range(0..=i64::from(ENTROPY_MAX)))]
    pub entropy: u8,
    /// none, uniform:N, zipf:N[:EXPONENT] or round-robin:N; a key decides the partition (implies --by-record)
    #[arg(long, default_value = "none", value_parser = ValueParser::new(KeyLaw::parse), help_heading = "Records")]
    pub keys: KeyLaw,
    /// Largest batch; 1: one record each
    #[arg(long, default_value_t = 16_384, value_name = "BYTES", help_heading = "Records")]
    pub batch_size: usize,
    /// How long a batch waits to fill (open loop)
    #[arg(long, default_value_t = 0.0, value_name = "MS", help_heading = "Records")]
    pub linger_ms: f64,
    /// none, snappy, or gzip, lz4, zstd with or without :LEVEL
    #[arg(long, default_value = "none", value_name = "CODEC", value_parser = ValueParser::new(Compression::parse), help_heading = "Records")]
    pub compression: Compression,
}

impl LoadArgs {
    /// Whether records are made one by one.
    pub fn makes_records(&self) -> bool {
        self.by_record || self.keys != KeyLaw::None
    }

    /// `Err` names what means nothing together.
    pub fn validate(&self, has_files: bool) -> Result<(), String> {
        if self.partitions == 0 || self.in_flight == 0 {
            return Err("--partitions and --in-flight are at least 1".into());
        }
        if !(self.linger_ms >= 0.0 && self.linger_ms <= 60_000.0) {
            return Err("--linger-ms lies between 0 and 60000".into());
        }
        if has_files && self.makes_records() {
            return Err(
                "--payload-file deals its lines to partitions itself: no --keys, no --by-record".into()
            );
        }
        if self.schedule != Shape::Constant && self.rate == 0 {
            return Err("--schedule needs a --rate".into());
        }
        if self.idempotent && (self.acks != -1 || self.in_flight > 5) {
            return Err(
                "--idempotent needs --acks all and at most --in-flight 5, as the broker keeps five batches"
                    .into(),
            );
        }
        Ok(())
    }
}

fn parse_shape(text: &str) -> Result<Shape, String> {
    match text.split(':').collect::<Vec<_>>().as_slice() {
        ["constant"] => Ok(Shape::Constant),
        ["poisson"] => Ok(Shape::Poisson),
        ["burst", period, percent] => {
            let period = super::parse_duration(period)?.as_secs_f64();
            let percent: f64 = percent.parse().map_err(|_| format!("`{percent}` is not a percentage"))?;
            let on = (period * percent / 100.0 * SECOND as f64) as Nanos;
            let period = (period * SECOND as f64) as Nanos;
            if !(0.0..=100.0).contains(&percent) || on == 0 || on > period {
                return Err("a burst takes more than 0 and at most 100 percent of its period".into());
            }
            Ok(Shape::Burst { period, on })
        }
        _ => Err("schedules are constant, poisson and burst:PERIOD:PERCENT".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::MILLISECOND;

    #[test]
    fn a_schedule_is_named_with_its_numbers() {
        assert_eq!(parse_shape("poisson"), Ok(Shape::Poisson));
        let burst = Shape::Burst { period: SECOND, on: 200 * MILLISECOND };
        assert_eq!(parse_shape("burst:1s:20"), Ok(burst));
        for text in ["burst", "burst:1s", "burst:1s:0", "burst:1s:101", "burst:0:50", "normal"] {
            assert!(parse_shape(text).is_err(), "{text}");
        }
    }
}
