//! What is accepted, what is refused, and in which words.

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
    let text =
        "num.partitions = 3\nnode.id = 7\n[shards]\nspin.us = \"1ms\"\n[[shard]]\ncore = 1\nspin.us = 0\n";
    let flags = [("num.partitions", "4"), ("shards.memory.bytes", "1GiB")];
    let settings = load_text(text, &flags, &[0, 1]).unwrap();
    assert_eq!((settings.num_partitions, settings.broker_id), (4, 7));
    assert_eq!(settings.shards.iter().map(|shard| shard.spin_us).collect::<Vec<_>>(), [1_000, 0]);
    assert!(settings.shards.iter().all(|shard| shard.memory_bytes == 1 << 30));
}

#[test]
fn a_core_s_section_wins_over_that_of_its_numa_node() {
    let text =
        "cores = 3\n[[shard]]\ncore = 1\nspin.us = 1\n[[shard]]\nnuma = 0\nspin.us = 2\nring.entries = 64\n";
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

/// The lines of a draft's fields that a value other than the default changes.
fn changed_by(row: &Row, value: &str) -> Vec<String> {
    let text = |value: &str| {
        let mut draft = empty_draft();
        row.set(&mut draft, value).unwrap_or_else(|expected| panic!("{} = {value}: {expected}", row.name));
        format!("{draft:#?}")
    };
    let (before, after) = (text(row.default), text(value));
    let field = |line: &str| line.split(':').next().unwrap_or_default().to_owned();
    before.lines().zip(after.lines()).filter(|(old, new)| old != new).map(|(old, _)| field(old)).collect()
}

#[test]
fn every_setting_of_ours_fills_a_field_and_no_two_the_same() {
    let of_text = [
        ("log.dir", "./other-data"),
        ("cores", "3"),
        ("http.listen", "none"),
        ("listeners", "127.0.0.1:9093"),
        ("advertised.listeners", "a.example:9092"),
        ("fetch.path", "direct"),
        ("group.consumer.migration.policy", "disabled"),
        ("io.properties", "none"),
        ("shards.log.dir", "/nvme1"),
        ("shards.listeners", "127.0.0.1:9093"),
        ("shards.advertised.listeners", "a.example:9092"),
    ];
    let mut filled: Vec<(Vec<String>, &str)> = Vec::new();
    for row in TABLE.iter() {
        let value = match &row.kind {
            Kind::Number { range, .. } | Kind::PowerOfTwo { range, .. } => {
                let of_default = row.set(&mut empty_draft(), row.default);
                let ends = [*range.start(), *range.end()].map(|end| end.to_string());
                let other = ends.into_iter().find(|end| row.set(&mut empty_draft(), end) != of_default);
                // A range of one value has nothing to show.
                let Some(other) = other else { continue };
                other
            }
            Kind::Flag { .. } => (row.default == "false").to_string(),
            Kind::Text { .. } => {
                let known = of_text.iter().find(|(name, _)| *name == row.name);
                known.unwrap_or_else(|| panic!("no value to try for {}", row.name)).1.to_owned()
            }
            Kind::Topic(_) | Kind::Kafka { .. } | Kind::SecondName { .. } => continue,
        };
        let fields = changed_by(row, &value);
        assert!(!fields.is_empty(), "{} = {value} changes nothing", row.name);
        // A path or an endpoint is of several lines, of which the first with a difference may have any name.
        let place = (fields, row.name);
        let is_number = !matches!(row.kind, Kind::Text { .. });
        if let Some((_, other)) = filled.iter().find(|(fields, _)| is_number && *fields == place.0) {
            panic!("{} and {other} fill the same field", row.name);
        }
        filled.push(place);
    }
    assert!(filled.len() > 45, "{}", filled.len());
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
        "c.toml:1: group.min.session.timeout.ms is 7 ms, more than group.max.session.timeout.ms, which is 6 ms",
    );
    check_refused(
        "group.consumer.session.timeout.ms = \"10s\"\n",
        &[],
        "c.toml:1: group.consumer.min.session.timeout.ms is 45000 ms, more than group.consumer.session.timeout.ms, \
         which is 10000 ms",
    );
    check_refused(
        "group.consumer.max.heartbeat.interval.ms = \"4s\"\n",
        &[],
        "c.toml:1: group.consumer.heartbeat.interval.ms is 5000 ms, more than \
         group.consumer.max.heartbeat.interval.ms, which is 4000 ms",
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
        let earlier = TABLE[..at].iter().find(|earlier| earlier.name == row.name);
        assert!(earlier.is_none(), "{} has two rows; one that is acted on needs none in kafka.rs", row.name);
        assert!(row.about.ends_with('.'), "{}: {}", row.name, row.about);
    }
}

#[test]
fn every_profile_of_the_tree_is_accepted() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tuning/profiles");
    let profiles: Vec<_> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "toml"))
        .collect();
    assert!(profiles.len() >= 5, "{profiles:?}");
    for profile in profiles {
        load(Some(&profile), &[], &cpus(&[0, 1])).unwrap_or_else(|error| panic!("{error}"));
    }
}
