//! The topics that a member reads: by name, and by regular expression (RE2).

use std::collections::BTreeSet;

use super::{ConsumerError, Outcome, Subscription};
use crate::model::{ClusterView, TopicId};

/// Longest regular expression of a subscription, in bytes.
pub const REGEX_BYTES_MAX: usize = 4096;
/// Memory of a compiled regular expression, in bytes.
const REGEX_MEMORY_MAX: usize = 1 << 20;

pub(super) fn compiled(regex: &str) -> Outcome<regex::Regex> {
    if regex.len() > REGEX_BYTES_MAX {
        return Err(ConsumerError::Regex(format!("longer than {REGEX_BYTES_MAX} bytes")));
    }
    let whole = format!("^(?:{regex})$");
    let built = regex::RegexBuilder::new(&whole).size_limit(REGEX_MEMORY_MAX).build();
    built.map_err(|error| ConsumerError::Regex(error.to_string()))
}

/// The topics that a subscription names and that are there. As in Kafka, a regular expression meets internal ones too.
pub(super) fn topics_of(is: &Subscription, view: &ClusterView) -> BTreeSet<TopicId> {
    let by_name = is.topics.iter().filter_map(|name| view.topic(name)).map(|topic| topic.id);
    let mut topics: BTreeSet<TopicId> = by_name.collect();
    if let Some(regex) = is.regex.as_deref().and_then(|regex| compiled(regex).ok()) {
        let matching = view.topics().filter(|topic| regex.is_match(topic.name.as_str()));
        topics.extend(matching.map(|topic| topic.id));
    }
    topics
}
