//! Topics that the broker keeps for itself: made on demand, with settings that they cannot do without.

use super::requests::NewTopic;

struct InternalTopic {
    name: &'static str,
    partitions: i32,
    overrides: &'static [(&'static str, &'static str)],
}

/// Source: Kafka, `GroupCoordinatorConfig` (`offsets.topic.*`), `GroupCoordinatorService.groupMetadataTopicConfigs`.
const TOPICS: &[InternalTopic] = &[InternalTopic {
    name: "__consumer_offsets",
    partitions: 50,
    overrides: &[
        ("cleanup.policy", "compact"),
        ("compression.type", "producer"),
        ("segment.bytes", "104857600"),
    ],
}];

/// Whether the broker keeps the topic of that name for itself.
pub(super) fn is_internal(name: &str) -> bool {
    TOPICS.iter().any(|topic| topic.name == name)
}

/// A topic as it is created when a client merely names it.
pub(super) fn on_demand(name: String) -> NewTopic {
    let known = TOPICS.iter().find(|topic| topic.name == name);
    let pair = |&(key, value): &(&str, &str)| (key.to_owned(), Some(value.to_owned()));
    NewTopic {
        name,
        partitions: known.map_or(-1, |topic| topic.partitions),
        replication_factor: -1,
        configs: known.map(|topic| topic.overrides.iter().map(pair).collect()).unwrap_or_default(),
        ..NewTopic::default()
    }
}
