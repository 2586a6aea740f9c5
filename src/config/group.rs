//! Settings of one group: those that Kafka has and that take effect here.
//!
//! Source: Kafka 4.0, `GroupConfig`. Its `share.*` are refused: there are no share groups.

use std::{collections::BTreeMap, ops::RangeInclusive};

use super::Settings;
use crate::model::group_overrides::{CONSUMER_HEARTBEAT_INTERVAL_MS, CONSUMER_SESSION_TIMEOUT_MS};

/// One setting of a group: a time in ms.
#[derive(Debug)]
pub struct GroupKey {
    /// Kafka's name.
    pub name: &'static str,
    /// The broker's setting that holds for groups on which it is not set.
    pub broker_key: &'static str,
    /// The broker's settings that say how small and how large it may be.
    bounds: [&'static str; 2],
    of: fn(&Settings) -> (u64, RangeInclusive<u64>),
}

/// All of them.
pub static TABLE: [GroupKey; 2] = [
    GroupKey {
        name: CONSUMER_HEARTBEAT_INTERVAL_MS,
        broker_key: "group.consumer.heartbeat.interval.ms",
        bounds: ["group.consumer.min.heartbeat.interval.ms", "group.consumer.max.heartbeat.interval.ms"],
        of: |s| {
            let bounds = s.group_consumer_heartbeat_min_ms..=s.group_consumer_heartbeat_max_ms;
            (s.group_consumer_heartbeat_ms, bounds)
        },
    },
    GroupKey {
        name: CONSUMER_SESSION_TIMEOUT_MS,
        broker_key: "group.consumer.session.timeout.ms",
        bounds: ["group.consumer.min.session.timeout.ms", "group.consumer.max.session.timeout.ms"],
        of: |s| {
            let bounds = s.group_consumer_session_min_ms..=s.group_consumer_session_max_ms;
            (s.group_consumer_session_ms, bounds)
        },
    },
];

/// Whether a group may have these settings.
///
/// # Errors
/// What is wrong, in Kafka's words.
pub fn validate(overrides: &BTreeMap<String, String>, settings: &Settings) -> Result<(), String> {
    if let Some(name) = overrides.keys().find(|name| TABLE.iter().all(|key| key.name != **name)) {
        return Err(format!("Unknown group config name: {name}"));
    }
    let mut values = [0; TABLE.len()];
    for (key, value) in TABLE.iter().zip(&mut values) {
        let (of_broker, bounds) = (key.of)(settings);
        *value = match overrides.get(key.name) {
            None => of_broker,
            Some(text) => {
                let number = text.trim().parse::<i32>().ok().and_then(|number| u64::try_from(number).ok());
                let not_one = || {
                    format!(
                        "Invalid value {text} for configuration {}: Not a positive number of type INT",
                        key.name
                    )
                };
                let number = number.filter(|number| *number > 0).ok_or_else(not_one)?;
                if number < *bounds.start() {
                    return Err(format!("{} must be greater than or equal to {}", key.name, key.bounds[0]));
                }
                if number > *bounds.end() {
                    return Err(format!("{} must be less than or equal to {}", key.name, key.bounds[1]));
                }
                number
            }
        };
    }
    let [heartbeat_ms, session_ms] = values;
    if !overrides.is_empty() && session_ms <= heartbeat_ms {
        return Err(format!(
            "{CONSUMER_SESSION_TIMEOUT_MS} must be greater than {CONSUMER_HEARTBEAT_INTERVAL_MS}"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_may_have_what_lies_within_the_bounds_and_nothing_that_is_unknown() {
        let settings =
            super::super::load(None, &[], &[super::super::Cpu { core: 0, numa_node: 0 }]).expect("defaults");
        let refused = |pairs: &[(&str, &str)]| {
            let overrides =
                pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            validate(&overrides, &settings).err()
        };
        assert_eq!(refused(&[]), None);
        assert_eq!(refused(&[("consumer.session.timeout.ms", "50000")]), None);
        assert_eq!(refused(&[("consumer.heartbeat.interval.ms", "5000")]), None);
        for (key, value, why) in [
            (
                "consumer.session.timeout.ms",
                "44999",
                "greater than or equal to group.consumer.min.session.timeout.ms",
            ),
            (
                "consumer.session.timeout.ms",
                "60001",
                "less than or equal to group.consumer.max.session.timeout.ms",
            ),
            ("consumer.heartbeat.interval.ms", "4999", "greater than or equal to"),
            ("consumer.heartbeat.interval.ms", "15001", "less than or equal to"),
            ("consumer.heartbeat.interval.ms", "soon", "Invalid value soon"),
            ("share.session.timeout.ms", "45000", "Unknown group config name: share.session.timeout.ms"),
        ] {
            let told = refused(&[(key, value)]).unwrap_or_default();
            assert!(told.contains(why), "{key}={value}: {told}");
        }
    }
}
