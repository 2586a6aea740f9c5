//! Assignments over defaults: later ones win, then what must fit together is checked.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use super::{
    SHARDS_MAX, Settings, ShardSettings,
    error::{ConfigError, Place},
    file::{self, Assignment, FileContents, ShardSection},
    table::{Draft, Row, SHARDS, TABLE},
    topic::{self, TopicDefaults},
    value::{CoreChoice, Endpoint},
};
use crate::model::TopicSettings;

/// A setting with the value in force.
#[derive(Debug, Clone)]
pub struct Effective {
    /// The setting.
    pub row: &'static Row,
    /// The core it holds for, if it holds for one only.
    pub core: Option<usize>,
    /// The value, as it may stand in a file.
    pub value: String,
    /// Where it was given.
    pub place: Place,
}

/// Settings from a file, if there is one, and from flags, which win over it.
///
/// `available` are the ids of the cores that this process may use.
///
/// # Errors
/// The first thing found wrong, with its name and place. Nothing but the file was touched.
pub fn load(path: Option<&Path>, flags: &[Assignment], available: &[usize]) -> Result<Settings, ConfigError> {
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

struct Loader {
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
            loader.effective.push(Effective { row, core: None, value, place: Place::Default });
        }
        // Only what is given hides a topic-level key's own default.
        loader.draft.topics = TopicDefaults::default();
        loader
    }

    fn run(
        mut self,
        contents: FileContents,
        flags: &[Assignment],
        available: &[usize],
    ) -> Result<Settings, ConfigError> {
        refuse_twice(&contents.assignments)?;
        for assignment in contents.assignments.iter().chain(flags) {
            let row = row_named(&assignment.key, "", &assignment.place)?;
            let value = set(row, &mut self.draft, assignment)?;
            let place = assignment.place.clone();
            let known = self.effective.iter_mut().find(|known| known.row.name == row.name);
            *known.expect("every row has its default") = Effective { row, core: None, value, place };
        }
        self.check_topics()?;
        let cores = chosen_cores(&self.draft.cores, available)
            .map_err(|message| ConfigError::Conflict { place: self.place_of("cores"), message })?;
        let mut shards: Vec<_> =
            cores.iter().map(|&core| ShardSettings { core, ..self.draft.shard.clone() }).collect();
        for (at, section) in contents.shards.iter().enumerate() {
            if contents.shards[..at].iter().any(|earlier| earlier.core == section.core) {
                let message = format!("a second [[shard]] for core {}", section.core);
                return Err(ConfigError::Conflict { place: section.place.clone(), message });
            }
            let shard = shards.iter_mut().find(|shard| shard.core == section.core);
            self.override_shard(section, shard)?;
        }
        for shard in &shards {
            self.check_shard(shard)?;
        }
        let advertised = self.advertised()?;
        let topic_texts = self.draft.topics;
        let topic_defaults = topic::settings(&BTreeMap::new(), &topic_texts);
        let (effective, settings) = (self.effective, self.draft.settings);
        Ok(Settings { cores, shards, advertised, topic_texts, topic_defaults, effective, ..settings })
    }

    /// What a topic without overrides gets must fit together.
    fn check_topics(&self) -> Result<(), ConfigError> {
        topic::validate(&BTreeMap::new(), &self.draft.topics).map_err(|error| ConfigError::Conflict {
            place: self.place_of("log.cleaner.min.compaction.lag.ms"),
            message: error.to_string(),
        })
    }

    /// Checks the section even if its core is not among those used: it may be the next time.
    fn override_shard(
        &mut self,
        section: &ShardSection,
        shard: Option<&mut ShardSettings>,
    ) -> Result<(), ConfigError> {
        refuse_twice(&section.assignments)?;
        let mut draft = self.draft.clone();
        draft.shard.core = section.core;
        for assignment in &section.assignments {
            let row = row_named(&assignment.key, SHARDS, &assignment.place)?;
            let value = set(row, &mut draft, assignment)?;
            let place = assignment.place.clone();
            self.effective.push(Effective { row, core: Some(section.core), value, place });
        }
        if let Some(shard) = shard {
            *shard = draft.shard;
        }
        Ok(())
    }

    fn check_shard(&self, shard: &ShardSettings) -> Result<(), ConfigError> {
        let conflict = |name: &str, message: String| {
            let name = format!("{SHARDS}{name}");
            let own = self.effective.iter().rev().find(|e| e.row.name == name && e.core == Some(shard.core));
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

impl Settings {
    /// Every setting with the value in force and where it was given, in the order of the table.
    #[must_use]
    pub fn effective(&self) -> &[Effective] {
        &self.effective
    }

    /// The configuration in force as a file that gives the same settings again.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut section = String::new();
        for effective in &self.effective {
            let (wanted, name) = match (effective.row.name.strip_prefix(SHARDS), effective.core) {
                (Some(name), Some(core)) => (format!("\n[[shard]]\ncore = {core}\n"), name),
                (Some(name), None) => ("\n[shards]\n".to_owned(), name),
                (None, _) => (String::new(), effective.row.name),
            };
            if wanted != section {
                text += &wanted;
                section = wanted;
            }
            let shown = if effective.row.is_bare(&effective.value) {
                effective.value.clone()
            } else {
                toml::Value::from(effective.value.as_str()).to_string()
            };
            let line = format!("{name} = {shown}");
            let _ = writeln!(text, "{line:<44} # {}", effective.place);
        }
        text
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
            metrics_log_interval_ms: 0,
            retention_check_interval_ms: 0,
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
            default_replication_factor: 0,
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

    fn load_text(text: &str, flags: &[(&str, &str)], available: &[usize]) -> Result<Settings, String> {
        let assign = |&(key, value): &(&str, &str)| Assignment {
            key: key.to_owned(),
            value: value.to_owned(),
            place: Place::Flag("--set"),
        };
        let flags: Vec<_> = flags.iter().map(assign).collect();
        file::parse(Path::new("c.toml"), text)
            .and_then(|contents| Loader::with_defaults().run(contents, &flags, available))
            .map_err(|error| error.to_string())
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
            settings.effective.iter().map(|e| (e.row.name, e.core, e.value.clone())).collect()
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
            load(Some(&profile), &[], &[0, 1]).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}
