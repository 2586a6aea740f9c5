//! Changes of settings while the broker runs.
//!
//! Whoever holds the settings goes on with them until it is given the new ones: they are swapped whole.

use std::collections::BTreeMap;

use super::{ConfigError, Place, Settings, file::Assignment, load::Loader, table::TABLE};

/// What clients have set for brokers, by key (KIP-226).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// For all brokers, unless one has its own.
    pub all: BTreeMap<String, String>,
    /// For this one.
    pub own: BTreeMap<String, String>,
}

impl Overrides {
    fn assignments(&self) -> impl Iterator<Item = Assignment> + '_ {
        let assign = |place: Place| {
            move |(key, value): (&String, &String)| Assignment {
                key: key.clone(),
                value: value.clone(),
                place: place.clone(),
            }
        };
        self.all.iter().map(assign(Place::AllBrokers)).chain(self.own.iter().map(assign(Place::ThisBroker)))
    }
}

/// The settings with what clients have set over them.
///
/// # Errors
/// As [`apply_dynamic`], for the first that is not sound.
pub fn overlay(settings: &Settings, overrides: &Overrides) -> Result<Settings, ConfigError> {
    let mut changed = settings.clone();
    for assignment in overrides.assignments() {
        changed = apply_dynamic(&changed, &[assignment])?;
    }
    Ok(changed)
}

/// As [`overlay`], without what is not sound: it was, for another version of this broker or beside other settings.
#[must_use]
pub fn overlay_what_fits(settings: &Settings, overrides: &Overrides) -> Settings {
    let mut changed = settings.clone();
    for assignment in overrides.assignments() {
        match apply_dynamic(&changed, &[assignment]) {
            Ok(with_it) => changed = with_it,
            Err(error) => tracing::warn!("a dynamic setting has no effect: {error}"),
        }
    }
    changed
}

/// The settings with these changes.
///
/// # Errors
/// An unknown name, an unsound value, or a setting that only a restart changes.
pub fn apply_dynamic(settings: &Settings, changes: &[Assignment]) -> Result<Settings, ConfigError> {
    Loader::from_settings(settings).change(changes)
}

/// The settings with what of `wanted` is live, and the names of what else differs: that waits for a restart.
///
/// # Errors
/// As [`apply_dynamic`].
pub fn reload(settings: &Settings, wanted: &Settings) -> Result<(Settings, Vec<String>), ConfigError> {
    let is_live = |name: &str| TABLE.iter().any(|row| row.live && row.name == name);
    let (mut changes, mut later) = (Vec::new(), Vec::new());
    for difference in settings.differences(wanted) {
        match difference.second {
            Some((value, place)) if is_live(&difference.name) => {
                changes.push(Assignment { key: difference.name, value, place });
            }
            _ => later.push(difference.name),
        }
    }
    Ok((apply_dynamic(settings, &changes)?, later))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Cpu, Place, load, table::SHARDS};

    fn assign(changes: &[(&str, &str)]) -> Vec<Assignment> {
        let place = Place::Flag("--set");
        let assign = |&(key, value): &(&str, &str)| (key.to_owned(), value.to_owned());
        let pairs = changes.iter().map(assign);
        pairs.map(|(key, value)| Assignment { key, value, place: place.clone() }).collect()
    }

    fn loaded(flags: &[(&str, &str)]) -> Settings {
        load(None, &assign(flags), &[Cpu { core: 0, numa_node: 0 }]).expect("sound settings")
    }

    #[test]
    fn a_live_setting_changes_alone_and_another_is_refused() {
        let before = loaded(&[("log.retention.ms", "7")]);
        let after = apply_dynamic(&before, &assign(&[("max.connections", "9")])).expect("live");
        assert_eq!((before.connections_max, after.connections_max), (12_288, 9));
        assert_eq!(after.topic_defaults, before.topic_defaults);
        assert_eq!((&after.shards, &after.advertised), (&before.shards, &before.advertised));
        assert_eq!(before.differences(&after).len(), 1);
        for (change, sentence) in [
            (
                ("node.id", "3"),
                "--set: \"node.id\" cannot change while the broker runs; restart it with the new value",
            ),
            (
                ("max.connections", "0"),
                "--set: \"max.connections\" is \"0\", expected a number from 1 to 1000000",
            ),
            (
                ("max.connection", "1"),
                "--set: unknown setting \"max.connection\"; did you mean \"max.connections\"?",
            ),
        ] {
            let error = apply_dynamic(&before, &assign(&[change])).expect_err("refused");
            assert_eq!(error.to_string(), sentence);
        }
    }

    #[test]
    fn of_a_file_read_again_what_is_live_is_taken_and_the_rest_is_named() {
        let wanted = loaded(&[("max.connections", "9"), ("num.partitions", "2"), ("shards.spin.us", "1")]);
        let (after, later) = reload(&loaded(&[]), &wanted).expect("sound");
        assert_eq!((after.connections_max, after.num_partitions), (9, 1));
        assert_eq!(later, ["num.partitions", "shards.spin.us"]);
    }

    #[test]
    fn no_setting_of_a_shard_is_live() {
        assert!(TABLE.iter().all(|row| !(row.live && row.name.starts_with(SHARDS))));
    }
}
