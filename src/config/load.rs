//! Assignments over defaults: later ones win, then what must fit together is checked.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use super::{
    Cpu, SHARDS_MAX, Settings, ShardSettings,
    error::{ConfigError, Place},
    file::{self, Assignment, FileContents, ShardSection, ShardsOf},
    io_properties::BoundsFrom,
    show::Effective,
    table::{Draft, Row, SHARDS, TABLE},
    topic::{self, TopicDefaults},
    value::{CoreChoice, Endpoint, FetchPath, GroupMigration},
};
use crate::model::TopicSettings;

/// Settings from a file, if there is one, and from flags, which win over it.
///
/// `available` are the cores that this process may use.
///
/// # Errors
/// The first thing found wrong, with its name and place. Nothing but the file was touched.
pub fn load(path: Option<&Path>, flags: &[Assignment], available: &[Cpu]) -> Result<Settings, ConfigError> {
    let contents = match path {
        None => FileContents::default(),
        Some(path) => {
            let text = fs::read_to_string(path)
                .map_err(|source| ConfigError::Unreadable { path: path.to_owned(), source })?;
            file::parse(path, &text)?
        }
    };
    Loader::with_defaults().run(contents, flags, available)
}

/// Assignments on their way to settings.
pub(super) struct Loader {
    draft: Draft,
    effective: Vec<Effective>,
}

impl Loader {
    fn with_defaults() -> Self {
        let mut loader = Self { draft: empty_draft(), effective: Vec::with_capacity(TABLE.len()) };
        for row in TABLE.iter() {
            let value = row
                .set(&mut loader.draft, row.default)
                .unwrap_or_else(|expected| panic!("default of {}: expected {expected}", row.name));
            loader.effective.push(Effective::new(row, value, Place::Default));
        }
        // Only what is given hides a topic-level key's own default.
        loader.draft.topics = TopicDefaults::default();
        loader
    }

    /// Starts from settings in force.
    pub(super) fn from_settings(settings: &Settings) -> Self {
        let draft =
            Draft { settings: settings.clone(), topics: settings.topic_texts.clone(), ..empty_draft() };
        Self { draft, effective: settings.effective.clone() }
    }

    /// Takes changes of live settings. What is of one shard, or decides where the broker listens, never is live.
    pub(super) fn change(mut self, changes: &[Assignment]) -> Result<Settings, ConfigError> {
        for change in by_rank(changes) {
            let row = row_named(&change.key, "", &change.place)?;
            let first = row_named(row.first_name().0, "", &change.place)?;
            if !first.live {
                let (place, key) = (change.place.clone(), change.key.clone());
                return Err(ConfigError::NotLive { place, key });
            }
            self.assign(change)?;
        }
        self.check_topics()?;
        let topic_defaults = topic::settings(&BTreeMap::new(), &self.draft.topics);
        let (topic_texts, effective) = (self.draft.topics, self.effective);
        Ok(Settings { topic_texts, topic_defaults, effective, ..self.draft.settings })
    }

    fn run(
        mut self,
        contents: FileContents,
        flags: &[Assignment],
        available: &[Cpu],
    ) -> Result<Settings, ConfigError> {
        refuse_twice(&contents.assignments)?;
        for assignment in by_rank(&contents.assignments).into_iter().chain(by_rank(flags)) {
            self.assign(assignment)?;
        }
        self.check_topics()?;
        self.check_groups()?;
        let ids: Vec<_> = available.iter().map(|cpu| cpu.core).collect();
        let cores = chosen_cores(&self.draft.cores, &ids)
            .map_err(|message| ConfigError::Conflict { place: self.place_of("cores"), message })?;
        let mut shards: Vec<_> =
            cores.iter().map(|&core| ShardSettings { core, ..self.draft.shard.clone() }).collect();
        // A core's own word is nearer to it than that of its node.
        let (of_nodes, of_cores): (Vec<_>, Vec<_>) =
            contents.shards.iter().partition(|section| matches!(section.of, ShardsOf::Node(_)));
        for section in of_nodes.into_iter().chain(of_cores) {
            let earlier = contents.shards.iter().find(|other| other.of == section.of);
            if earlier.is_some_and(|earlier| !std::ptr::eq(earlier, section)) {
                let message = format!("a second [[shard]] for {}", section.of);
                return Err(ConfigError::Conflict { place: section.place.clone(), message });
            }
            self.override_shards(section, &mut shards, available)?;
        }
        for shard in &shards {
            self.check_shard(shard)?;
        }
        let advertised = self.advertised()?;
        let topic_texts = self.draft.topics;
        let topic_defaults = topic::settings(&BTreeMap::new(), &topic_texts);
        let node_of =
            |core: &usize| available.iter().find(|cpu| cpu.core == *core).map_or(0, |cpu| cpu.numa_node);
        let numa_nodes = cores.iter().map(node_of).collect();
        let (effective, settings) = (self.effective, self.draft.settings);
        let settings = Settings {
            data_dirs: vec![settings.data_dir.clone()],
            cores,
            numa_nodes,
            shards,
            advertised,
            topic_texts,
            topic_defaults,
            effective,
            ..settings
        };
        settings.check_listeners()?;
        Ok(settings)
    }

    /// Bounds of what members and groups may ask for hold the broker's own values too, as in Kafka.
    fn check_groups(&self) -> Result<(), ConfigError> {
        let of = &self.draft.settings;
        let at_most = [
            ("group.min.session.timeout.ms", of.group_session_min_ms),
            ("group.max.session.timeout.ms", of.group_session_max_ms),
            ("group.consumer.min.session.timeout.ms", of.group_consumer_session_min_ms),
            ("group.consumer.session.timeout.ms", of.group_consumer_session_ms),
            ("group.consumer.max.session.timeout.ms", of.group_consumer_session_max_ms),
            ("group.consumer.min.heartbeat.interval.ms", of.group_consumer_heartbeat_min_ms),
            ("group.consumer.heartbeat.interval.ms", of.group_consumer_heartbeat_ms),
            ("group.consumer.max.heartbeat.interval.ms", of.group_consumer_heartbeat_max_ms),
        ];
        for rising in [&at_most[..2], &at_most[2..5], &at_most[5..]] {
            for pair in rising.windows(2) {
                let [(least, is), (most, allowed)] = [pair[0], pair[1]];
                if is > allowed {
                    let given = [least, most].into_iter().find(|name| self.place_of(name) != Place::Default);
                    let place = self.place_of(given.unwrap_or(least));
                    let message = format!("{least} is {is} ms, more than {most}, which is {allowed} ms");
                    return Err(ConfigError::Conflict { place, message });
                }
            }
        }
        Ok(())
    }

    /// What a topic without overrides gets must fit together.
    fn check_topics(&self) -> Result<(), ConfigError> {
        topic::validate(&BTreeMap::new(), &self.draft.topics).map_err(|error| ConfigError::Conflict {
            place: self.place_of("log.cleaner.min.compaction.lag.ms"),
            message: error.to_string(),
        })
    }

    /// Takes one setting of the broker, under whichever of its names.
    fn assign(&mut self, assignment: &Assignment) -> Result<(), ConfigError> {
        let named = row_named(&assignment.key, "", &assignment.place)?;
        let value = set(named, &mut self.draft, assignment)?;
        let (first, _) = named.first_name();
        if first != named.name && !value.is_empty() {
            let row = row_named(first, "", &assignment.place)?;
            let as_first = Assignment { value: value.clone(), ..assignment.clone() };
            let value = set(row, &mut self.draft, &as_first)?;
            self.force(Effective {
                given_as: named.name,
                ..Effective::new(row, value, assignment.place.clone())
            });
        }
        let value = if first == named.name { value } else { assignment.value.clone() };
        self.force(Effective::new(named, value, assignment.place.clone()));
        Ok(())
    }

    fn force(&mut self, effective: Effective) {
        let known = self.effective.iter_mut().find(|known| known.row.name == effective.row.name);
        let known = known.expect("every row has its default");
        let below = std::mem::replace(known, effective);
        if known.place.is_dynamic() && below.place != Place::Default {
            known.below = Some(Box::new(below));
        }
    }

    /// Checks the section even if none of its cores is used: one may be the next time.
    fn override_shards(
        &mut self,
        section: &ShardSection,
        shards: &mut [ShardSettings],
        available: &[Cpu],
    ) -> Result<(), ConfigError> {
        refuse_twice(&section.assignments)?;
        let of = |shard: &ShardSettings| match section.of {
            ShardsOf::Core(core) => shard.core == core,
            ShardsOf::Node(node) => available.contains(&Cpu { core: shard.core, numa_node: node }),
        };
        for assignment in &section.assignments {
            let row = row_named(&assignment.key, SHARDS, &assignment.place)?;
            let value = set(row, &mut self.draft.clone(), assignment)?;
            for shard in shards.iter_mut().filter(|shard| of(shard)) {
                let mut draft = Draft { shard: shard.clone(), ..self.draft.clone() };
                set(row, &mut draft, assignment)?;
                *shard = draft.shard;
            }
            let place = assignment.place.clone();
            self.effective.push(Effective { of: Some(section.of), ..Effective::new(row, value, place) });
        }
        Ok(())
    }

    fn check_shard(&self, shard: &ShardSettings) -> Result<(), ConfigError> {
        let conflict = |name: &str, message: String| {
            let name = format!("{SHARDS}{name}");
            let core = Some(ShardsOf::Core(shard.core));
            let own = self.effective.iter().rev().find(|e| e.row.name == name && e.of == core);
            let place = own.map_or_else(|| self.place_of(&name), |e| e.place.clone());
            Err(ConfigError::Conflict { place, message: format!("shard of core {}: {message}", shard.core) })
        };
        if !shard.journal_file_bytes.is_multiple_of(4096) {
            let message =
                format!("journal.file.bytes is {}, not a multiple of 4096", shard.journal_file_bytes);
            return conflict("journal.file.bytes", message);
        }
        // One file of the ring is always being emptied while the others fill.
        let room = shard.journal_file_bytes * (shard.journal_files_max as u64 - 1);
        if shard.unsettled_bytes_max as u64 > room {
            let message = format!(
                "unsettled.bytes.max is {}, but the journal has room for {room} (all files but one)",
                shard.unsettled_bytes_max
            );
            return conflict("unsettled.bytes.max", message);
        }
        let kept = shard.unsettled_bytes_max + shard.tail_cache_bytes_max;
        if kept > shard.memory_bytes / 4 * 3 {
            let message = format!(
                "unsettled.bytes.max and tail.cache.bytes.max are {kept} together, more than three quarters \
                 of memory.bytes, which is {}",
                shard.memory_bytes
            );
            return conflict("memory.bytes", message);
        }
        Ok(())
    }

    fn advertised(&self) -> Result<Endpoint, ConfigError> {
        match &self.draft.advertised {
            Some(endpoint) => Ok(endpoint.clone()),
            None if self.draft.settings.listen.is_wildcard() => Err(ConfigError::Conflict {
                place: self.place_of("listeners"),
                message: format!(
                    "listeners is {}, which clients cannot connect to; set advertised.listeners to the HOST:PORT \
                     that they reach this machine by",
                    self.draft.settings.listen
                ),
            }),
            None => Ok(self.draft.settings.listen.clone()),
        }
    }

    fn place_of(&self, name: &str) -> Place {
        let effective = self.effective.iter().find(|effective| effective.row.name == name);
        effective.expect("every row has its default").place.clone()
    }
}

fn set(row: &Row, draft: &mut Draft, assignment: &Assignment) -> Result<String, ConfigError> {
    row.set(draft, &assignment.value).map_err(|expected| ConfigError::BadValue {
        place: assignment.place.clone(),
        key: assignment.key.clone(),
        value: assignment.value.clone(),
        expected,
    })
}

/// The row whose name is `prefix` and `key`.
fn row_named(key: &str, prefix: &str, place: &Place) -> Result<&'static Row, ConfigError> {
    let names = || TABLE.iter().filter_map(|row| Some((row, row.name.strip_prefix(prefix)?)));
    if let Some((row, _)) = names().find(|(_, name)| *name == key) {
        return Ok(row);
    }
    let in_section = names().find(|(_, name)| name.strip_prefix(SHARDS) == Some(key));
    let nearest = in_section.map(|(_, name)| name).or_else(|| {
        let distance = |name: &str| strsim::damerau_levenshtein(name, key);
        let near = names().map(|(_, name)| (distance(name), name)).min()?;
        (near.0 <= key.chars().count().div_ceil(3).max(2)).then_some(near.1)
    });
    Err(ConfigError::UnknownKey { place: place.clone(), key: key.to_owned(), nearest })
}

/// Weaker names before stronger ones, else as they stand, so that the last one wins.
fn by_rank(assignments: &[Assignment]) -> Vec<&Assignment> {
    let rank = |key: &str| TABLE.iter().find(|row| row.name == key).map_or(1, |row| row.first_name().1);
    let mut sorted: Vec<_> = assignments.iter().collect();
    sorted.sort_by_key(|assignment| std::cmp::Reverse(rank(&assignment.key)));
    sorted
}

fn refuse_twice(assignments: &[Assignment]) -> Result<(), ConfigError> {
    for (at, assignment) in assignments.iter().enumerate() {
        if let Some(earlier) = assignments[..at].iter().find(|earlier| earlier.key == assignment.key) {
            let message = format!("\"{}\" is given twice, also at {}", assignment.key, earlier.place);
            return Err(ConfigError::Conflict { place: assignment.place.clone(), message });
        }
    }
    Ok(())
}

fn chosen_cores(choice: &CoreChoice, available: &[usize]) -> Result<Vec<usize>, String> {
    let cores = match choice {
        CoreChoice::All => available.iter().copied().take(SHARDS_MAX).collect(),
        CoreChoice::First(count) if *count <= available.len() => available[..*count].to_vec(),
        CoreChoice::First(count) => {
            return Err(format!("cores is {count}, but this process may use {} only", available.len()));
        }
        CoreChoice::These(cores) => match cores.iter().find(|core| !available.contains(core)) {
            Some(core) => {
                return Err(format!("core {core} is not among those this process may use: {available:?}"));
            }
            None => cores.clone(),
        },
    };
    if cores.len() > SHARDS_MAX {
        return Err(format!("{} cores, more than the {SHARDS_MAX} shards of one broker", cores.len()));
    }
    Ok(cores)
}

/// Nothing in here is a default: every row of the table is set before it is read.
fn empty_draft() -> Draft {
    let nowhere = Endpoint { host: String::new(), port: 0 };
    Draft {
        settings: Settings {
            broker_id: 0,
            data_dir: PathBuf::new(),
            data_dirs: Vec::new(),
            io_properties: BoundsFrom::DataDirectory,
            allow_tmpfs: false,
            cores: Vec::new(),
            numa_nodes: Vec::new(),
            http_listen: None,
            metrics_log_interval_ms: 0,
            retention_check_interval_ms: 0,
            scrub_interval_ms: 0,
            disk_reserve_bytes: 0,
            cleaner_dedupe_buffer_bytes: 0,
            cleaner_io_bytes_per_second: 0,
            cleaner_backoff_ms: 0,
            listen: nowhere.clone(),
            per_core_listeners: false,
            advertised: nowhere,
            connections_max: 0,
            connections_max_idle_ms: 0,
            in_flight_max: 0,
            socket_request_max_bytes: 0,
            auto_create_topics_enable: false,
            num_partitions: 0,
            partitions_max: 0,
            default_replication_factor: 0,
            group_initial_rebalance_delay_ms: 0,
            group_size_max: 0,
            group_consumer_session_ms: 0,
            group_consumer_heartbeat_ms: 0,
            group_consumer_session_min_ms: 0,
            group_consumer_session_max_ms: 0,
            group_consumer_heartbeat_min_ms: 0,
            group_consumer_heartbeat_max_ms: 0,
            group_consumer_size_max: 0,
            group_migration: GroupMigration { upgrade: false, downgrade: false },
            group_session_min_ms: 0,
            group_session_max_ms: 0,
            offsets_retention_ms: 0,
            offsets_retention_check_ms: 0,
            producer_expiration_ms: 0,
            fetch_sessions_max: 0,
            fetch_path: FetchPath::Auto,
            topic_defaults: TopicSettings::default(),
            topic_texts: TopicDefaults::default(),
            shards: Vec::new(),
            effective: Vec::new(),
        },
        shard: ShardSettings {
            core: 0,
            data_dir: None,
            listen: None,
            advertised: None,
            memory_bytes: 0,
            unsettled_bytes_max: 0,
            extent_bytes_min: 0,
            tail_cache_bytes_max: 0,
            journal_file_bytes: 0,
            journal_files_max: 0,
            flush_interval_ms: 0,
            checkpoint_interval_ms: 0,
            open_files_max: 0,
            read_ahead_max: 0,
            ring_entries: 0,
            receive_buffers: 0,
            foreground_shares: 0,
            housekeeping_shares: 0,
            spin_us: 0,
        },
        cores: CoreChoice::All,
        advertised: None,
        topics: TopicDefaults::default(),
    }
}

#[cfg(test)]
mod tests;
