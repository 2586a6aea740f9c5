//! Where each core listens, what clients are told of it, and where its data lies.

use std::path::{Path, PathBuf};

use super::{ConfigError, Endpoint, Place, Settings, ShardSettings, table::SHARDS};
use crate::model::ShardId;

impl Settings {
    /// Where clients connect to a shard; port 0: a free one. All the same unless each core has its own listener.
    #[must_use]
    pub fn listen_of(&self, shard: ShardId) -> Endpoint {
        self.shard(shard).listen.clone().unwrap_or_else(|| self.counted_up(&self.listen, shard))
    }

    /// What clients are told to connect to for a shard; port 0: the port that it got.
    #[must_use]
    pub fn advertised_of(&self, shard: ShardId) -> Endpoint {
        match (&self.shard(shard).advertised, &self.shard(shard).listen) {
            (Some(told), _) => told.clone(),
            (None, Some(own)) if own.is_wildcard() => {
                Endpoint { host: self.advertised.host.clone(), port: own.port }
            }
            (None, Some(own)) => own.clone(),
            (None, None) => self.counted_up(&self.advertised, shard),
        }
    }

    /// Where a shard keeps its journal and makes new partitions.
    #[must_use]
    pub fn data_dir_of(&self, shard: ShardId) -> &Path {
        self.shard(shard).data_dir.as_deref().unwrap_or(&self.data_dir)
    }

    /// Says which directories there are, once they were found, and which of them is each shard's.
    pub fn use_data_dirs(&mut self, all: &[PathBuf], of_shards: &[PathBuf]) {
        self.data_dirs = all.to_vec();
        for (shard, own) in self.shards.iter_mut().zip(of_shards) {
            shard.data_dir = Some(own.clone());
        }
    }

    fn shard(&self, shard: ShardId) -> &ShardSettings {
        &self.shards[shard.index()]
    }

    fn counted_up(&self, first: &Endpoint, shard: ShardId) -> Endpoint {
        let by = if self.per_core_listeners && first.port != 0 { shard.0 } else { 0 };
        Endpoint { host: first.host.clone(), port: first.port.saturating_add(by) }
    }

    /// Listeners of cores are of use, and no two cores have the same.
    pub(super) fn check_listeners(&self) -> Result<(), ConfigError> {
        let refuse = |shard: &ShardSettings, name: &str, message: String| {
            let place = self.place_of_shard(shard.core, name);
            Err(ConfigError::Conflict { place, message })
        };
        for (index, shard) in (0..).zip(&self.shards) {
            for (name, own) in [("listeners", &shard.listen), ("advertised.listeners", &shard.advertised)] {
                if own.is_some() && !self.per_core_listeners {
                    let message = format!("{name} of core {} needs per_core_listeners = true", shard.core);
                    return refuse(shard, name, message);
                }
            }
            if !self.per_core_listeners {
                continue;
            }
            let first = self.listen.port.max(self.advertised.port);
            let counts_up = shard.listen.is_none();
            if counts_up && usize::from(first) + usize::from(index) > usize::from(u16::MAX) {
                let message = format!(
                    "per_core_listeners: the ports of {} cores from {first} on end above {}",
                    self.shards.len(),
                    u16::MAX
                );
                return Err(ConfigError::Conflict { place: self.place_of("per_core_listeners"), message });
            }
            type Of = fn(&Settings, ShardId) -> Endpoint;
            let both: [(&str, Of); 2] =
                [("listeners", Self::listen_of), ("advertised.listeners", Self::advertised_of)];
            for (name, of) in both {
                let own = of(self, ShardId(index));
                let same = |other: &u16| of(self, ShardId(*other)) == own;
                if let Some(other) = (0..index).find(same).filter(|_| own.port != 0) {
                    let other = self.shards[usize::from(other)].core;
                    let message =
                        format!("{name} of core {} is {own}, and so is that of core {other}", shard.core);
                    return refuse(shard, name, message);
                }
            }
        }
        Ok(())
    }

    /// Where a setting of the shard of a core was given.
    fn place_of_shard(&self, core: usize, name: &str) -> Place {
        let name = format!("{SHARDS}{name}");
        let own = self.overrides_of(core).rfind(|own| own.row.name == name);
        own.map_or_else(|| self.place_of(&name), |own| own.place.clone())
    }

    fn place_of(&self, name: &str) -> Place {
        let known = self.effective.iter().find(|known| known.of.is_none() && known.row.name == name);
        known.map_or(Place::Default, |known| known.place.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Assignment, Cpu};

    fn loaded(text: &str) -> Result<Settings, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let cpus = [0, 1].map(|core| Cpu { core, numa_node: 0 });
        crate::config::load(Some(file.path()), &[] as &[Assignment], &cpus).map_err(|error| error.to_string())
    }

    fn check_refused(text: &str, sentence: &str) {
        let error = loaded(text).expect_err(text);
        assert!(error.contains(sentence), "{error}");
    }

    #[test]
    fn a_core_s_own_listener_wins_over_the_port_that_counts_up() {
        let text = "per_core_listeners = true\nlisteners = \"127.0.0.1:9092\"\n[[shard]]\ncore = 1\n";
        let told = |text: &str| {
            let settings = loaded(text).unwrap();
            [0, 1].map(|shard| {
                (
                    settings.listen_of(ShardId(shard)).to_string(),
                    settings.advertised_of(ShardId(shard)).to_string(),
                )
            })
        };
        let same = |of: &str| (of.to_owned(), of.to_owned());
        assert_eq!(told(text), [same("127.0.0.1:9092"), same("127.0.0.1:9093")]);
        let own = format!("{text}listeners = \"127.0.0.2:19092\"\n");
        assert_eq!(told(&own), [same("127.0.0.1:9092"), same("127.0.0.2:19092")]);
        let all = format!("{text}listeners = \"0.0.0.0:7\"\n");
        assert_eq!(told(&all)[1], ("0.0.0.0:7".to_owned(), "127.0.0.1:7".to_owned()));
        let both = format!("{own}advertised.listeners = \"core1.example:9\"\n");
        assert_eq!(told(&both)[1], ("127.0.0.2:19092".to_owned(), "core1.example:9".to_owned()));
    }

    #[test]
    fn listeners_of_cores_that_cannot_be_are_refused_where_they_stand() {
        let one = "[[shard]]\ncore = 1\nlisteners = \"127.0.0.1:9092\"\n";
        check_refused(one, ":3: listeners of core 1 needs per_core_listeners = true");
        let same = format!("per_core_listeners = true\n{one}");
        check_refused(&same, ":4: listeners of core 1 is 127.0.0.1:9092, and so is that of core 0");
        let told =
            "per_core_listeners = true\n[[shard]]\ncore = 1\nadvertised.listeners = \"127.0.0.1:9092\"\n";
        check_refused(told, ":4: advertised.listeners of core 1 is 127.0.0.1:9092, and so is that of core 0");
        check_refused("per_core_listeners = true\nlisteners = \"127.0.0.1:65535\"\n", "end above 65535");
    }

    #[test]
    fn data_lies_in_the_broker_s_directory_unless_a_core_has_its_own() {
        let settings = loaded("log.dir = \"/a\"\n[[shard]]\ncore = 1\nlog.dir = \"/b\"\n").unwrap();
        assert_eq!(
            [0, 1].map(|shard| settings.data_dir_of(ShardId(shard))),
            [Path::new("/a"), Path::new("/b")]
        );
    }
}
