//! What clients have set on one group (KIP-848): it wins over the broker's settings.

use std::collections::BTreeMap;

/// How long a member under the consumer protocol may be silent, in ms.
pub const CONSUMER_SESSION_TIMEOUT_MS: &str = "consumer.session.timeout.ms";
/// How often members under the consumer protocol are to send a heartbeat, in ms.
pub const CONSUMER_HEARTBEAT_INTERVAL_MS: &str = "consumer.heartbeat.interval.ms";

/// Kafka's keys and their texts; what stands there was judged when it was set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupOverrides(pub BTreeMap<String, String>);

impl GroupOverrides {
    /// See [`CONSUMER_SESSION_TIMEOUT_MS`].
    #[must_use]
    pub fn consumer_session_ms(&self) -> Option<u64> {
        self.number(CONSUMER_SESSION_TIMEOUT_MS)
    }

    /// See [`CONSUMER_HEARTBEAT_INTERVAL_MS`].
    #[must_use]
    pub fn consumer_heartbeat_ms(&self) -> Option<u64> {
        self.number(CONSUMER_HEARTBEAT_INTERVAL_MS)
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.0.get(key)?.parse().ok()
    }
}
