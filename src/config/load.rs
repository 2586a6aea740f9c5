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
    show::Effective,
    table::{Draft, Row, SHARDS, TABLE},
    topic::{self, TopicDefaults},
    value::{CoreChoice, Endpoint},
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
        Ok(Settings {
            cores,
            numa_nodes,
            shards,
            advertised,
            topic_texts,
            topic_defaults,
            effective,
            ..settings
        })
    }

    fn check_groups(&self) -> Result<(), ConfigError> {
        let (least, most) =
            (self.draft.settings.group_session_min_ms, self.draft.settings.group_session_max_ms);
        if least <= most {
            return Ok(());
        }
        let place = self.place_of("group.min.session.timeout.ms");
        let message =
            format!("group.min.session.timeout.ms is {least}, more than the maximum, which is {most}");
        Err(ConfigError::Conflict { place, message })
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
        *known.expect("every row has its default") = effective;
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
            allow_tmpfs: false,
            cores: Vec::new(),
            numa_nodes: Vec::new(),
            metrics_log_interval_ms: 0,
            retention_check_interval_ms: 0,
            scrub_interval_ms: 0,
            disk_reserve_bytes: 0,
            cleaner_dedupe_buffer_bytes: 0,
            cleaner_io_bytes_per_second: 0,
            cleaner_backoff_ms: 0,
            listen: nowhere.clone(),
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
            group_session_min_ms: 0,
            group_session_max_ms: 0,
            offsets_retention_ms: 0,
            offsets_retention_check_ms: 0,
            topic_defaults: TopicSettings::default(),
            topic_texts: TopicDefaults::default(),
            shards: Vec::new(),
            effective: Vec::new(),
        },
        shard: ShardSettings {
            core: 0,
            memory_bytes: 0,
            unsettled_bytes_max: 0,
            tail_cache_bytes_max: 0,
            journal_file_bytes: 0,
            journal_files_max: 0,
            flush_interval_ms: 0,
            checkpoint_interval_ms: 0,
            open_files_max: 0,
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
mod tests {
    use super::*;
    use crate::config::table::Kind;

    fn load_text(text: &str, flags: &[(&str, &str)], available: &[usize]) -> Result<Settings, String> {
        let assign = |&(key, value): &(&str, &str)| Assignment {
            key: key.to_owned(),
            value: value.to_owned(),
            place: Place::Flag("--set"),
        };
        let flags: Vec<_> = flags.iter().map(assign).collect();
        file::parse(Path::new("c.toml"), text)
            .and_then(|contents| Loader::with_defaults().run(contents, &flags, &cpus(available)))
            .map_err(|error| error.to_string())
    }

    /// Two cores to a node.
    fn cpus(cores: &[usize]) -> Vec<Cpu> {
        cores.iter().map(|&core| Cpu { core, numa_node: core / 2 }).collect()
    }

    fn check_refused(text: &str, flags: &[(&str, &str)], sentence: &str) {
        match load_text(text, flags, &[0, 1]) {
            Ok(_) => panic!("accepted: {text} {flags:?}"),
            Err(error) => assert_eq!(error, sentence),
        }
    }

    #[test]
    fn without_a_word_it_is_one_shard_per_core_on_loopback() {
        let settings = load_text("", &[], &[0, 1]).unwrap();
        assert_eq!(settings.cores, [0, 1]);
        assert_eq!(settings.shards.iter().map(|shard| shard.core).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(settings.listen.to_string(), "127.0.0.1:9092");
        assert_eq!(settings.advertised, settings.listen);
        assert_eq!(settings.data_dir, Path::new("./corelane-data"));
        assert_eq!(settings.socket_request_max_bytes, 100 << 20);
        assert_eq!(settings.topic_defaults, TopicSettings::default());
        assert_eq!(settings.shards[0].spin_us, 50);
    }

    #[test]
    fn flags_win_over_the_file_and_a_shard_section_over_both() {
        let text = "num.partitions = 3\nnode.id = 7\n[shards]\nspin.us = \"1ms\"\n[[shard]]\ncore = 1\nspin.us = 0\n";
        let flags = [("num.partitions", "4"), ("shards.memory.bytes", "1GiB")];
        let settings = load_text(text, &flags, &[0, 1]).unwrap();
        assert_eq!((settings.num_partitions, settings.broker_id), (4, 7));
        assert_eq!(settings.shards.iter().map(|shard| shard.spin_us).collect::<Vec<_>>(), [1_000, 0]);
        assert!(settings.shards.iter().all(|shard| shard.memory_bytes == 1 << 30));
    }

    #[test]
    fn a_core_s_section_wins_over_that_of_its_numa_node() {
        let text = "cores = 3\n[[shard]]\ncore = 1\nspin.us = 1\n[[shard]]\nnuma = 0\nspin.us = 2\nring.entries = 64\n";
        let settings = load_text(text, &[], &[0, 1, 2, 3]).unwrap();
        let found: Vec<_> = settings.shards.iter().map(|shard| (shard.spin_us, shard.ring_entries)).collect();
        assert_eq!(found, [(2, 64), (1, 64), (50, 1024)]);
        check_refused(
            "[[shard]]\nnuma = 0\n[[shard]]\nnuma = 0\n",
            &[],
            "c.toml:4: a second [[shard]] for NUMA node 0",
        );
        check_refused(
            "[[shard]]\nnuma = 7\nspin.us = -1\n",
            &[],
            "c.toml:3: \"spin.us\" is \"-1\", expected a time such as 50us, from 0 to 10ms",
        );
    }

    #[test]
    fn of_several_names_kafkas_first_wins_in_one_place_and_a_flag_over_the_file() {
        let retention = |text: &str, flags: &[(&str, &str)]| {
            let settings = load_text(text, flags, &[0]).unwrap();
            (settings.topic_defaults.retention_ms, settings.topic_defaults.segment_ms)
        };
        let day = 86_400_000;
        assert_eq!(retention("log.retention.hours = 24\n", &[]), (day, 7 * day));
        assert_eq!(retention("log.retention.minutes = 1\nlog.retention.hours = 24\n", &[]).0, 60_000);
        assert_eq!(retention("log.retention.ms = 7\nlog.retention.minutes = 1\n", &[]).0, 7);
        assert_eq!(retention("log.retention.ms = 7\n", &[("log.retention.hours", "1")]).0, 3_600_000);
        assert_eq!(retention("log.retention.hours = -5\nlog.roll.hours = 24\n", &[]), (-1, day));
        let node = load_text("broker.id = 3\nlog.dir = \"a\"\nlog.dirs = \"b\"\n", &[], &[0]).unwrap();
        assert_eq!((node.broker_id, node.data_dir.as_path()), (3, Path::new("b")));
        let node = load_text("node.id = 4\nbroker.id = 3\n", &[], &[0]).unwrap();
        assert_eq!(node.broker_id, 4);
        check_refused(
            "log.roll.hours = \"x\"\n",
            &[],
            "c.toml:1: \"log.roll.hours\" is \"x\", expected a number up to 2147483647",
        );
        check_refused(
            "log.roll.hours = 0\n",
            &[],
            "c.toml:1: \"log.roll.hours\" is \"0\", expected a time such as 50ms or 7d, at least 1",
        );
        check_refused(
            "log.dirs = [\"a\", \"b\"]\n",
            &[],
            "c.toml:1: \"log.dirs\" is \"a,b\", expected one directory: several are not supported",
        );
    }

    #[test]
    fn a_key_of_kafkas_is_accepted_if_nothing_depends_on_it_and_refused_if_its_feature_is_absent() {
        let settings = load_text("num.io.threads = 16\n", &[], &[0]).unwrap();
        let warnings = settings.warnings();
        assert_eq!(
            warnings,
            ["c.toml:1: \"num.io.threads\" is accepted and changes nothing: Threads that \
            process requests; here every core processes its own."]
        );
        check_refused(
            "num.io.threads = \"many\"\n",
            &[],
            "c.toml:1: \"num.io.threads\" is \"many\", expected a value of type INT",
        );
        check_refused(
            "ssl.keystore.location = \"/k\"\n",
            &[],
            "c.toml:1: \"ssl.keystore.location\" is \"/k\", expected no value: what other values ask for is not supported",
        );
    }

    #[test]
    fn every_number_is_taken_at_both_ends_of_its_range_and_refused_beyond() {
        for row in TABLE.iter() {
            let (Kind::Number { range, .. } | Kind::PowerOfTwo { range, .. }) = &row.kind else { continue };
            for end in [*range.start(), *range.end()] {
                assert!(row.set(&mut empty_draft(), &end.to_string()).is_ok(), "{} = {end}", row.name);
            }
            for beyond in [range.start().checked_sub(1), range.end().checked_add(1)].into_iter().flatten() {
                assert!(row.set(&mut empty_draft(), &beyond.to_string()).is_err(), "{} = {beyond}", row.name);
            }
        }
    }

    #[test]
    fn an_unknown_name_is_refused_with_its_line_and_the_nearest_known_one() {
        check_refused(
            "\n\nnum.partition = 3\n",
            &[],
            "c.toml:3: unknown setting \"num.partition\"; did you mean \"num.partitions\"?",
        );
        check_refused(
            "",
            &[("spin.us", "0")],
            "--set: unknown setting \"spin.us\"; did you mean \"shards.spin.us\"?",
        );
        check_refused(
            "[[shard]]\ncore = 0\nspinus = 0\n",
            &[],
            "c.toml:3: unknown setting \"spinus\"; did you mean \"spin.us\"?",
        );
        check_refused("zookeeper.connect = \"\"\n", &[], "c.toml:1: unknown setting \"zookeeper.connect\"");
    }

    #[test]
    fn a_value_out_of_range_is_refused_with_its_name_line_and_range() {
        check_refused(
            "num.partitions = 0\n",
            &[],
            "c.toml:1: \"num.partitions\" is \"0\", expected a number from 1 to 100000",
        );
        check_refused(
            "",
            &[("shards.flush.interval.ms", "1s")],
            "--set: \"shards.flush.interval.ms\" is \"1s\", expected a time such as 50ms or 7d, from 1ms to 50ms",
        );
        check_refused(
            "[shards]\nring.entries = 1000\n",
            &[],
            "c.toml:2: \"shards.ring.entries\" is \"1000\", expected a power of two from 64 to 32768",
        );
        check_refused(
            "auto.create.topics.enable = 1\n",
            &[],
            "c.toml:1: \"auto.create.topics.enable\" is \"1\", expected true or false",
        );
        check_refused(
            "log.cleanup.policy = \"shred\"\n",
            &[],
            "c.toml:1: \"log.cleanup.policy\" is \"shred\", expected a list of compact, delete",
        );
        check_refused(
            "log.retention.ms = \"-2ms\"\n",
            &[],
            "c.toml:1: \"log.retention.ms\" is \"-2ms\", expected a time such as 50ms or 7d, at least -1",
        );
        check_refused(
            "log.cleaner.min.cleanable.ratio = \"2\"\n",
            &[],
            "c.toml:1: \"log.cleaner.min.cleanable.ratio\" is \"2\", expected between 0 and 1",
        );
    }

    #[test]
    fn values_that_contradict_each_other_are_refused() {
        check_refused(
            "\"node.id\" = 1\nnode.id = 2\n",
            &[],
            "c.toml:2: \"node.id\" is given twice, also at c.toml:1",
        );
        check_refused(
            "[[shard]]\ncore = 0\n[[shard]]\ncore = 0\n",
            &[],
            "c.toml:4: a second [[shard]] for core 0",
        );
        check_refused(
            "group.min.session.timeout.ms = 7\ngroup.max.session.timeout.ms = 6\n",
            &[],
            "c.toml:1: group.min.session.timeout.ms is 7, more than the maximum, which is 6",
        );
        check_refused(
            "log.cleaner.min.compaction.lag.ms = 2\nlog.cleaner.max.compaction.lag.ms = 1\n",
            &[],
            "c.toml:1: conflict with topic config setting: min.compaction.lag.ms (2) > max.compaction.lag.ms (1)",
        );
        check_refused("cores = 3\n", &[], "c.toml:1: cores is 3, but this process may use 2 only");
        check_refused(
            "cores = [1, 2]\n",
            &[],
            "c.toml:1: core 2 is not among those this process may use: [0, 1]",
        );
        check_refused(
            "[shards]\njournal.file.bytes = \"4MiB\"\n",
            &[],
            "default: shard of core 0: unsettled.bytes.max is 67108864, but the journal has room for 12582912 \
             (all files but one)",
        );
        check_refused(
            "[[shard]]\ncore = 1\nmemory.bytes = \"64MiB\"\n",
            &[],
            "c.toml:3: shard of core 1: unsettled.bytes.max and tail.cache.bytes.max are 201326592 together, more \
             than three quarters of memory.bytes, which is 67108864",
        );
        check_refused(
            "",
            &[("listeners", "0.0.0.0:9092")],
            "--set: listeners is 0.0.0.0:9092, which clients cannot connect to; set advertised.listeners to the \
             HOST:PORT that they reach this machine by",
        );
    }

    #[test]
    fn what_is_shown_reads_back_as_the_same_settings() {
        let text = "log.dir = 'a \"b\\'\nadvertised.listeners = \"h:1\"\nlog.cleanup.policy = [\"compact\"]\ncores = [1]\n\
                    [[shard]]\ncore = 1\nspin.us = 7\n[[shard]]\ncore = 5\nspin.us = 8\n";
        let once = load_text(text, &[("log.retention.bytes", "3GiB")], &[0, 1]).unwrap();
        let twice = load_text(&once.to_toml(), &[], &[0, 1]).unwrap();
        assert_eq!(once.shards, twice.shards);
        let values = |settings: &Settings| -> Vec<_> {
            settings.effective.iter().map(|e| (e.row.name, e.of, e.value.clone())).collect()
        };
        assert_eq!(values(&once), values(&twice));
    }

    #[test]
    fn names_are_unique_and_every_row_says_what_it_is_for() {
        for (at, row) in TABLE.iter().enumerate() {
            assert!(TABLE[..at].iter().all(|earlier| earlier.name != row.name), "{} twice", row.name);
            assert!(row.about.ends_with('.'), "{}: {}", row.name, row.about);
        }
    }

    #[test]
    fn every_profile_of_the_tree_is_accepted() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning");
        let profiles: Vec<_> = fs::read_dir(&directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
            .collect();
        assert!(profiles.len() >= 2, "{profiles:?}");
        for profile in profiles {
            load(Some(&profile), &[], &cpus(&[0, 1])).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}
