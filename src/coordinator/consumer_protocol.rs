//! What consumers say to each other through the classic protocol: the one look at bytes that are opaque elsewhere.
//!
//! A member's *subscription* travels in JoinGroup, its *assignment* in SyncGroup. Both begin with a version; what a
//! newer version adds stands at the end and is passed over.
//!
//! | from version | subscription                 | assignment              |
//! |--------------|------------------------------|-------------------------|
//! | 0            | topics, user data            | partitions, user data   |
//! | 1            | and the partitions it has    |                         |
//! | 2            | and of which generation      |                         |
//! | 3            | and the rack that it runs in |                         |
//!
//! Source: Kafka 4.0, `ConsumerProtocol`, `ConsumerProtocolSubscription.json`, `ConsumerProtocolAssignment.json`.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{classic::Snapshot, records::written};
use crate::wire::codec::{Reader, WireError};

/// The protocol type of consumers.
pub const CONSUMER: &str = "consumer";

/// The newest version that Kafka knows; an assignment is never written in a newer one.
const VERSION_MAX: i16 = 3;
const FIRST_WITH_OWNED: i16 = 1;
const FIRST_WITH_GENERATION: i16 = 2;
const FIRST_WITH_RACK: i16 = 3;

/// Partitions by the name of their topic.
pub type Named = BTreeMap<String, BTreeSet<i32>>;

/// What a member reads and has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subscribed {
    /// The version it is written in: what the member understands.
    pub version: i16,
    /// Topics by name.
    pub topics: BTreeSet<String>,
    /// What it has, and has not given back.
    pub owned: Named,
    /// Where it runs.
    pub rack_id: Option<String>,
}

/// Reads a subscription.
///
/// # Errors
/// It ends early, or holds what cannot be.
pub fn read_subscription(metadata: &[u8]) -> Result<Subscribed, WireError> {
    let mut from = Reader::new(metadata, false);
    let version = from.int16()?;
    let mut topics = BTreeSet::new();
    for _ in 0..from.count(2)? {
        topics.insert(from.string()?.to_owned());
    }
    from.nullable_bytes()?;
    let owned = if version >= FIRST_WITH_OWNED { read_named(&mut from)? } else { Named::new() };
    if version >= FIRST_WITH_GENERATION {
        from.int32()?;
    }
    let rack_id = if version >= FIRST_WITH_RACK { from.nullable_string()?.map(str::to_owned) } else { None };
    Ok(Subscribed { version, topics, owned, rack_id })
}

/// Reads an assignment; empty bytes, of a member that has none yet, are no partitions.
///
/// # Errors
/// It ends early, or holds what cannot be.
pub fn read_assignment(bytes: &[u8]) -> Result<Named, WireError> {
    if bytes.is_empty() {
        return Ok(Named::new());
    }
    let mut from = Reader::new(bytes, false);
    from.int16()?;
    read_named(&mut from)
}

fn read_named(from: &mut Reader<'_>) -> Result<Named, WireError> {
    let mut named = Named::new();
    for _ in 0..from.count(6)? {
        let topic = from.string()?.to_owned();
        let partitions = named.entry(topic).or_default();
        for _ in 0..from.count(4)? {
            partitions.insert(from.int32()?);
        }
    }
    Ok(named)
}

/// An assignment for a member that speaks this version.
#[must_use]
pub fn assignment(version: i16, partitions: &Named) -> Bytes {
    written(version.clamp(0, VERSION_MAX), |out| {
        out.count(partitions.len());
        for (topic, of_topic) in partitions {
            out.string(topic);
            out.count(of_topic.len());
            of_topic.iter().for_each(|partition| out.int32(*partition));
        }
        out.null();
    })
}

/// The topics that a group's members subscribe to; `None` if the members are no consumers, or say it in a way
/// that is not Kafka's.
#[must_use]
pub fn topics_of(snapshot: &Snapshot) -> Option<BTreeSet<String>> {
    if snapshot.protocol_type.as_deref() != Some(CONSUMER) {
        return None;
    }
    let mut all = BTreeSet::new();
    for member in &snapshot.members {
        let metadata = member.joining.protocols.first().map_or(&[][..], |protocol| &protocol.metadata);
        all.extend(read_subscription(metadata).ok()?.topics);
    }
    Some(all)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A subscription as consumers write it.
    pub(in crate::coordinator) fn subscription(version: i16, topics: &[&str], owned: &Named) -> Bytes {
        written(version, |out| {
            out.count(topics.len());
            topics.iter().for_each(|topic| out.string(topic));
            out.null();
            if version >= FIRST_WITH_OWNED {
                out.count(owned.len());
                for (topic, partitions) in owned {
                    out.string(topic);
                    out.count(partitions.len());
                    partitions.iter().for_each(|partition| out.int32(*partition));
                }
            }
            if version >= FIRST_WITH_GENERATION {
                out.int32(7);
            }
            if version >= FIRST_WITH_RACK {
                out.nullable_string(Some("r"));
            }
        })
    }

    #[test]
    fn a_subscription_is_read_in_every_version_and_nonsense_is_refused() {
        let owned: Named = [("a".to_owned(), [1, 2].into())].into();
        for version in 0..=4 {
            let bytes = subscription(version, &["a", "bc"], &owned);
            let read = read_subscription(&bytes).expect("whole");
            let owned = if version >= 1 { owned.clone() } else { Named::new() };
            let rack_id = (version >= 3).then(|| "r".to_owned());
            let topics = ["a".to_owned(), "bc".to_owned()].into();
            assert_eq!(read, Subscribed { version, topics, owned, rack_id });
            for length in 0..bytes.len() {
                assert!(read_subscription(&bytes[..length]).is_err(), "{length} bytes of version {version}");
            }
        }
        assert!(read_subscription(b"connect").is_err());
    }

    #[test]
    fn an_assignment_has_kafkas_bytes_and_reads_back() {
        let partitions: Named = [("a".to_owned(), [0, 5].into())].into();
        let bytes = assignment(9, &partitions);
        let expected = [0, 3, 0, 0, 0, 1, 0, 1, b'a', 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 5, 255, 255, 255, 255];
        assert_eq!(&bytes[..], expected, "never a version that nobody knows");
        assert_eq!(read_assignment(&bytes).ok(), Some(partitions));
        assert_eq!(read_assignment(&[]).ok(), Some(Named::new()));
    }
}
