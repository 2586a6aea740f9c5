//! The one look at what members say of themselves: the topics that consumers subscribe to.

use super::classic::Snapshot;
use crate::wire::codec::{Reader, WireError};

/// The protocol type of consumers.
pub const CONSUMER: &str = "consumer";

/// The topics that a group's members subscribe to; `None` if the members are no consumers, or say it in a way
/// that is not Kafka's. Nothing else depends on these bytes.
///
/// Source: Kafka, `ConsumerProtocolSubscription.json`.
#[must_use]
pub fn topics_of(snapshot: &Snapshot) -> Option<Vec<String>> {
    if snapshot.protocol_type.as_deref() != Some(CONSUMER) {
        return None;
    }
    let mut all = Vec::new();
    for member in &snapshot.members {
        let metadata = member.joining.protocols.first().map_or(&[][..], |protocol| &protocol.metadata);
        all.extend(topics(metadata).ok()?);
    }
    Some(all)
}

fn topics(metadata: &[u8]) -> Result<Vec<String>, WireError> {
    let mut from = Reader::new(metadata, false);
    from.int16()?;
    let count = from.count(2)?;
    (0..count).map(|_| from.string().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_topics_of_a_subscription_are_read_and_nonsense_is_refused() {
        let metadata = [0, 1, 0, 0, 0, 2, 0, 1, b'a', 0, 2, b'b', b'c', 0xFF, 0xFF, 0xFF, 0xFF];
        assert_eq!(topics(&metadata).ok(), Some(vec!["a".to_owned(), "bc".to_owned()]));
        assert!(topics(b"connect").is_err());
    }
}
