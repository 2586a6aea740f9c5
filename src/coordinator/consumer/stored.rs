//! What a consumer group writes to `__consumer_offsets`, in Kafka's format, so that its state survives.
//!
//! | key version | key            | value                                    | without a value    |
//! |-------------|----------------|------------------------------------------|--------------------|
//! | 3           | group          | group epoch                              | the group is gone  |
//! | 5           | group, member  | what the member is and reads             | the member is gone |
//! | 6           | group          | epoch of the target assignment           | the group is gone  |
//! | 7           | group, member  | what the member is to have               | the member is gone |
//! | 8           | group, member  | its epochs, what it has and gives back   | the member is gone |
//!
//! Source: Kafka 4.1, `ConsumerGroupMetadataValue.json` and the schemas beside it.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{Assignment, ClassicSide, Current, MemberState, Subscription};
use crate::{
    coordinator::{classic::Protocol, records::written},
    model::TopicId,
    wire::codec::{Reader, WireError, Writer},
};

/// Version of the key of [`Stored::Group`].
pub const GROUP_KEY: i16 = 3;
const MEMBER_KEY: i16 = 5;
const TARGET_EPOCH_KEY: i16 = 6;
const TARGET_KEY: i16 = 7;
const CURRENT_KEY: i16 = 8;
const VALUE_VERSION: i16 = 0;
/// Tag of `ClassicMemberMetadata` in the value of a member.
const CLASSIC_TAG: u32 = 0;

/// One stored fact; none in place of a value: it holds no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// The group's epoch.
    Group(Option<i32>),
    /// What a member is and reads.
    Member(String, Option<Subscription>),
    /// The epoch of the target assignment.
    TargetEpoch(Option<i32>),
    /// What a member is to have.
    Target(String, Option<Assignment>),
    /// What a member has.
    Current(String, Option<Current>),
}

impl Stored {
    /// Whether it says that something is no more.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        match self {
            Self::Group(value) | Self::TargetEpoch(value) => value.is_none(),
            Self::Member(_, value) => value.is_none(),
            Self::Target(_, value) => value.is_none(),
            Self::Current(_, value) => value.is_none(),
        }
    }

    /// That it holds no more.
    #[must_use]
    pub fn tombstone(&self) -> Self {
        match self {
            Self::Group(_) => Self::Group(None),
            Self::TargetEpoch(_) => Self::TargetEpoch(None),
            Self::Member(id, _) => Self::Member(id.clone(), None),
            Self::Target(id, _) => Self::Target(id.clone(), None),
            Self::Current(id, _) => Self::Current(id.clone(), None),
        }
    }

    /// Key and value.
    #[must_use]
    pub fn encode(&self, group: &str) -> (Bytes, Option<Bytes>) {
        let of_group = |version| written(version, |out| out.string(group));
        let of_member = |version, member: &str| {
            written(version, |out| {
                out.string(group);
                out.string(member);
            })
        };
        let epoch = |epoch: i32| value(|out| out.int32(epoch));
        match self {
            Self::Group(now) => (of_group(GROUP_KEY), now.map(epoch)),
            Self::TargetEpoch(now) => (of_group(TARGET_EPOCH_KEY), now.map(epoch)),
            Self::Member(id, now) => (of_member(MEMBER_KEY, id), now.as_ref().map(member_value)),
            Self::Target(id, now) => {
                let of = |target: &Assignment| value(|out| put_assignment(out, target));
                (of_member(TARGET_KEY, id), now.as_ref().map(of))
            }
            Self::Current(id, now) => (of_member(CURRENT_KEY, id), now.as_ref().map(current_value)),
        }
    }

    /// Reads what follows the version of a key, and the value; `None`: it is none of these.
    ///
    /// # Errors
    /// Key or value end early, or hold what cannot be.
    pub fn decode(
        version: i16,
        key: &mut Reader<'_>,
        value: Option<&[u8]>,
    ) -> Result<Option<(String, Self)>, WireError> {
        if !matches!(version, GROUP_KEY | MEMBER_KEY | TARGET_EPOCH_KEY | TARGET_KEY | CURRENT_KEY) {
            return Ok(None);
        }
        let group = key.string()?.to_owned();
        let mut of_value = value.map(|value| Reader::new(value, true));
        if let Some(value) = &mut of_value {
            value.int16()?;
        }
        let stored = match version {
            GROUP_KEY => Self::Group(of_value.as_mut().map(Reader::int32).transpose()?),
            TARGET_EPOCH_KEY => Self::TargetEpoch(of_value.as_mut().map(Reader::int32).transpose()?),
            _ => {
                let member = key.string()?.to_owned();
                match version {
                    MEMBER_KEY => Self::Member(member, of_value.as_mut().map(read_member).transpose()?),
                    TARGET_KEY => Self::Target(member, of_value.as_mut().map(read_assignment).transpose()?),
                    _ => Self::Current(member, of_value.as_mut().map(read_current).transpose()?),
                }
            }
        };
        Ok(Some((group, stored)))
    }
}

fn value(write: impl FnOnce(&mut Writer<'_>)) -> Bytes {
    let mut out = bytes::BytesMut::new();
    let mut writer = Writer::new(&mut out, true);
    writer.int16(VALUE_VERSION);
    write(&mut writer);
    writer.no_tagged_fields();
    out.freeze()
}

/// The value of [`Stored::Member`]; its tagged fields are not always none.
fn member_value(subscription: &Subscription) -> Bytes {
    let mut out = bytes::BytesMut::new();
    let mut writer = Writer::new(&mut out, true);
    writer.int16(VALUE_VERSION);
    put_member(&mut writer, subscription);
    match &subscription.classic {
        None => writer.no_tagged_fields(),
        Some(classic) => {
            let side = classic_side(classic);
            writer.unsigned_varint(1);
            writer.unsigned_varint(CLASSIC_TAG);
            writer.unsigned_varint(side.len() as u32);
            out.extend_from_slice(&side);
        }
    }
    out.freeze()
}

/// A nullable structure begins with whether it is there.
fn classic_side(classic: &ClassicSide) -> bytes::BytesMut {
    let mut out = bytes::BytesMut::new();
    let mut writer = Writer::new(&mut out, true);
    writer.int8(1);
    writer.int32(i32::try_from(classic.session_timeout_ms).unwrap_or(i32::MAX));
    writer.count(classic.protocols.len());
    for protocol in &classic.protocols {
        writer.string(&protocol.name);
        writer.bytes(&protocol.metadata);
        writer.no_tagged_fields();
    }
    writer.no_tagged_fields();
    out
}

fn read_classic_side(from: &mut Reader<'_>) -> Result<Option<ClassicSide>, WireError> {
    if from.int8()? < 0 {
        return Ok(None);
    }
    let session_timeout_ms = u64::try_from(from.int32()?).unwrap_or(0);
    let mut protocols = Vec::new();
    for _ in 0..from.count(3)? {
        let name = from.string()?.to_owned();
        let metadata = Bytes::copy_from_slice(from.nullable_bytes()?.unwrap_or_default());
        from.skip_tagged_fields()?;
        protocols.push(Protocol { name, metadata });
    }
    from.skip_tagged_fields()?;
    Ok(Some(ClassicSide { session_timeout_ms, protocols }))
}

fn put_assignment(out: &mut Writer<'_>, assignment: &Assignment) {
    out.count(assignment.len());
    for (topic, partitions) in assignment {
        out.uuid(topic.to_bytes());
        out.count(partitions.len());
        partitions.iter().for_each(|partition| out.int32(*partition));
        out.no_tagged_fields();
    }
}

fn read_assignment(from: &mut Reader<'_>) -> Result<Assignment, WireError> {
    let mut assignment = Assignment::new();
    for _ in 0..from.count(18)? {
        let topic = TopicId::from_bytes(from.uuid()?);
        let mut partitions = BTreeSet::new();
        for _ in 0..from.count(4)? {
            partitions.insert(from.int32()?);
        }
        from.skip_tagged_fields()?;
        assignment.insert(topic, partitions);
    }
    Ok(assignment)
}

fn put_member(out: &mut Writer<'_>, subscription: &Subscription) {
    out.nullable_string(subscription.instance_id.as_deref());
    out.nullable_string(subscription.rack_id.as_deref());
    out.string(&subscription.client_id);
    out.string(&subscription.client_host);
    out.count(subscription.topics.len());
    subscription.topics.iter().for_each(|name| out.string(name));
    out.nullable_string(subscription.regex.as_deref());
    out.int32(subscription.rebalance_timeout_ms);
    out.nullable_string(subscription.assignor.as_deref());
}

fn read_member(from: &mut Reader<'_>) -> Result<Subscription, WireError> {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    let instance_id = owned(from.nullable_string()?);
    let rack_id = owned(from.nullable_string()?);
    let (client_id, client_host) = (from.string()?.to_owned(), from.string()?.to_owned());
    let mut topics = BTreeSet::new();
    for _ in 0..from.count(1)? {
        topics.insert(from.string()?.to_owned());
    }
    let regex = owned(from.nullable_string()?);
    let rebalance_timeout_ms = from.int32()?;
    let assignor = owned(from.nullable_string()?);
    let mut classic = None;
    from.tagged_fields(|tag, value| {
        if tag == CLASSIC_TAG {
            classic = read_classic_side(value)?;
        }
        Ok(tag == CLASSIC_TAG)
    })?;
    Ok(Subscription {
        instance_id,
        rack_id,
        client_id,
        client_host,
        topics,
        regex,
        rebalance_timeout_ms,
        assignor,
        classic,
    })
}

fn current_value(current: &Current) -> Bytes {
    value(|out| {
        out.int32(current.epoch);
        out.int32(current.previous_epoch);
        out.int8(match current.state {
            MemberState::Stable => 0,
            MemberState::Unrevoked => 1,
            MemberState::Unreleased => 2,
        });
        put_assignment(out, &current.assigned);
        put_assignment(out, &current.revoking);
    })
}

fn read_current(from: &mut Reader<'_>) -> Result<Current, WireError> {
    let (epoch, previous_epoch) = (from.int32()?, from.int32()?);
    let state = match from.int8()? {
        1 => MemberState::Unrevoked,
        2 => MemberState::Unreleased,
        _ => MemberState::Stable,
    };
    let (assigned, revoking) = (read_assignment(from)?, read_assignment(from)?);
    Ok(Current { epoch, previous_epoch, state, assigned, revoking })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_and_tombstones_read_back_and_epochs_have_kafkas_bytes() {
        let topic = TopicId::from_bytes([7; 16]);
        let assignment: Assignment = [(topic, [1, 3].into())].into();
        let subscription = Subscription {
            instance_id: Some("i".to_owned()),
            rack_id: None,
            client_id: "c".to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            topics: ["a".to_owned(), "b".to_owned()].into(),
            regex: Some("x.*".to_owned()),
            rebalance_timeout_ms: 5,
            assignor: Some("range".to_owned()),
            classic: None,
        };
        let protocol = |name: &str| Protocol { name: name.to_owned(), metadata: Bytes::from_static(b"meta") };
        let protocols = vec![protocol("range"), protocol("sticky")];
        let classic = Some(ClassicSide { session_timeout_ms: 45_000, protocols });
        let classic_member = Subscription { classic, ..subscription.clone() };
        let current = Current {
            epoch: 4,
            previous_epoch: 3,
            state: MemberState::Unrevoked,
            assigned: assignment.clone(),
            revoking: assignment.clone(),
        };
        let id = || "m".to_owned();
        for stored in [
            Stored::Group(Some(7)),
            Stored::Group(None),
            Stored::TargetEpoch(Some(8)),
            Stored::TargetEpoch(None),
            Stored::Member(id(), Some(subscription)),
            Stored::Member(id(), Some(classic_member)),
            Stored::Member(id(), None),
            Stored::Target(id(), Some(assignment)),
            Stored::Target(id(), None),
            Stored::Current(id(), Some(current)),
            Stored::Current(id(), None),
        ] {
            let (key, value) = stored.encode("g");
            let mut from = Reader::new(&key, false);
            let version = from.int16().expect("a version");
            let read = Stored::decode(version, &mut from, value.as_deref()).expect("whole");
            assert_eq!(read, Some(("g".to_owned(), stored)));
        }
        let protocols = vec![Protocol { name: "r".to_owned(), metadata: Bytes::from_static(b"m") }];
        let classic = Some(ClassicSide { session_timeout_ms: 1, protocols });
        let (_, value) =
            Stored::Member(id(), Some(Subscription { classic, ..Subscription::default() })).encode("g");
        let tagged = [1, 0, 12, 1, 0, 0, 0, 1, 2, 2, b'r', 2, b'm', 0, 0];
        assert!(value.is_some_and(|value| value.ends_with(&tagged)), "one field, tag 0, 12 bytes, not null");
        let (key, value) = Stored::Group(Some(7)).encode("g");
        assert_eq!((&key[..], value.as_deref()), (&[0, 3, 0, 1, b'g'][..], Some(&[0, 0, 0, 0, 0, 7, 0][..])));
    }
}
