//! Version negotiation: the highest version of an API that the broker and we both speak.

use std::collections::HashMap;

/// The API keys that the generator calls.
#[allow(missing_docs, reason = "the names are Kafka's own and say what they mean")]
pub mod key {
    pub const PRODUCE: i16 = 0;
    pub const FETCH: i16 = 1;
    pub const LIST_OFFSETS: i16 = 2;
    pub const METADATA: i16 = 3;
    pub const FIND_COORDINATOR: i16 = 10;
    pub const CREATE_TOPICS: i16 = 19;
    pub const INIT_PRODUCER_ID: i16 = 22;
    pub const ADD_PARTITIONS_TO_TXN: i16 = 24;
    pub const END_TXN: i16 = 26;
    pub const DESCRIBE_CONFIGS: i16 = 32;
    pub const DESCRIBE_CLUSTER: i16 = 60;
}

/// What we speak: `(api key, lowest, highest)`. The lowest are what the message definitions still have, the
/// highest what has been tried. Produce stops at 12 and Fetch at 17, Kafka 4.0's. FindCoordinator stops where it asks for
/// several at a time, AddPartitionsToTxn where brokers ask each other.
const OURS: [(i16, i16, i16); 11] = [
    (key::PRODUCE, 3, 12),
    (key::FETCH, 4, 17),
    (key::LIST_OFFSETS, 1, 10),
    (key::METADATA, 1, 12),
    (key::CREATE_TOPICS, 2, 7),
    (key::INIT_PRODUCER_ID, 0, 5),
    (key::FIND_COORDINATOR, 1, 3),
    (key::ADD_PARTITIONS_TO_TXN, 0, 3),
    (key::END_TXN, 0, 5),
    (key::DESCRIBE_CONFIGS, 1, 4),
    (key::DESCRIBE_CLUSTER, 0, 1),
];

/// The broker and we have no version of this API in common.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no common version of API {api_key}: we speak {ours:?}, the broker {theirs:?}")]
pub struct NoCommonVersion {
    /// The API.
    pub api_key: i16,
    /// Our range.
    pub ours: (i16, i16),
    /// The broker's range, if it knows the API at all.
    pub theirs: Option<(i16, i16)>,
}

/// A broker's ApiVersions answer.
#[derive(Debug, Clone, Default)]
pub struct Versions(HashMap<i16, (i16, i16)>);

impl Versions {
    /// From `(api key, lowest, highest)` as the broker lists them.
    pub fn new(ranges: impl IntoIterator<Item = (i16, i16, i16)>) -> Self {
        Self(ranges.into_iter().map(|(key, low, high)| (key, (low, high))).collect())
    }

    /// The highest version of `api_key` that the broker speaks.
    pub fn highest(&self, api_key: i16) -> Option<i16> {
        self.0.get(&api_key).map(|(_, high)| *high)
    }

    /// The highest version of `api_key` that both sides speak.
    ///
    /// # Errors
    /// [`NoCommonVersion`].
    pub fn common(&self, api_key: i16) -> Result<i16, NoCommonVersion> {
        let ours = OURS.iter().find(|row| row.0 == api_key).map_or((0, -1), |row| (row.1, row.2));
        let theirs = self.0.get(&api_key).copied();
        theirs
            .map(|(low, high)| (ours.0.max(low), ours.1.min(high)))
            .filter(|(low, high)| low <= high)
            .map(|(_, high)| high)
            .ok_or(NoCommonVersion { api_key, ours, theirs })
    }
}

impl Versions {
    /// The highest version of `api_key`, up to `max`, that the broker speaks.
    ///
    /// # Errors
    /// [`NoCommonVersion`].
    pub fn up_to(&self, api_key: i16, max: i16) -> Result<i16, NoCommonVersion> {
        let theirs = self.0.get(&api_key).copied();
        let highest = theirs.filter(|(low, _)| *low <= max).map(|(_, high)| high.min(max));
        highest.ok_or(NoCommonVersion { api_key, ours: (0, max), theirs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_common_version_is_chosen() {
        let kafka4 = Versions::new([(key::PRODUCE, 0, 13), (key::FETCH, 4, 18), (key::METADATA, 0, 5)]);
        assert_eq!(kafka4.common(key::PRODUCE), Ok(12), "our ceiling");
        assert_eq!(kafka4.common(key::FETCH), Ok(17), "our ceiling");
        assert_eq!(kafka4.common(key::METADATA), Ok(5), "their ceiling");
    }

    #[test]
    fn an_api_without_a_common_version_is_named() {
        let odd = Versions::new([(key::PRODUCE, 0, 2)]);
        let error = odd.common(key::PRODUCE).expect_err("0-2 and 3-12 do not meet");
        assert_eq!((error.ours, error.theirs), ((3, 12), Some((0, 2))));
        assert_eq!(odd.common(key::FETCH).expect_err("unknown API").theirs, None);
    }
}
