//! What groups write to `__consumer_offsets`: Kafka's own keys and values, since lag exporters and
//! `kafka-console-consumer` read them raw.
//!
//! | key version | key                      | value                    | without a value (tombstone)       |
//! |-------------|--------------------------|--------------------------|-----------------------------------|
//! | 0, 1        | group, topic, partition  | offset, epoch, metadata  | the offset was deleted or expired |
//! | 2           | group                    | state of a classic group | the group is gone                 |
//! | 3, 5 to 8   | see [`super::consumer::stored`]                                                         |
//!
//! Values are written in version 3, the newest that every reader in the field knows; 0 to 4 are read.
//! Source: Kafka 4.1, `OffsetCommitKey.json`, `OffsetCommitValue.json`, `GroupMetadataKey.json`,
//! `GroupMetadataValue.json`.

use bytes::{Bytes, BytesMut};

use super::{
    classic::{Joining, MemberSnapshot, Protocol, Snapshot},
    consumer::stored::Stored,
    offsets::Committed,
};
use crate::wire::codec::{Reader, WireError, Writer};

const OFFSET_KEY: i16 = 1;
const GROUP_KEY: i16 = 2;
const VALUE_VERSION: i16 = 3;

/// One record of a group.
#[derive(Debug, Clone, PartialEq)]
pub enum GroupRecord {
    /// The committed offset of one partition; none: there is none any more.
    Offset {
        /// Whose it is.
        group: String,
        /// Topic and partition index.
        partition: (String, i32),
        /// What was committed.
        committed: Option<Committed>,
    },
    /// The state of a classic group; none: the group is gone.
    Group {
        /// Whose it is.
        group: String,
        /// Its state, and the wall clock when it was stored, in ms.
        state: Option<(Snapshot, i64)>,
    },
    /// A fact of a group under the consumer protocol.
    Consumer {
        /// Whose it is.
        group: String,
        /// Which.
        stored: Stored,
    },
}

/// A record's key and value as they are stored.
pub type KeyAndValue = (Bytes, Option<Bytes>);

impl GroupRecord {
    /// Whose it is.
    #[must_use]
    pub fn group(&self) -> &str {
        match self {
            Self::Offset { group, .. } | Self::Group { group, .. } | Self::Consumer { group, .. } => group,
        }
    }

    /// The bytes to store.
    #[must_use]
    pub fn encode(&self) -> KeyAndValue {
        match self {
            Self::Offset { group, partition, committed } => {
                let key = written(OFFSET_KEY, |out| {
                    out.string(group);
                    out.string(&partition.0);
                    out.int32(partition.1);
                });
                (key, committed.as_ref().map(offset_value))
            }
            Self::Group { group, state } => {
                let key = written(GROUP_KEY, |out| out.string(group));
                (key, state.as_ref().map(|(snapshot, now_ms)| group_value(snapshot, *now_ms)))
            }
            Self::Consumer { group, stored } => stored.encode(group),
        }
    }

    /// Reads a stored record; `None` for a key of a kind that this program does not know.
    ///
    /// # Errors
    /// Key or value end early, or hold what cannot be.
    pub fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Option<Self>, WireError> {
        let mut from = Reader::new(key, false);
        match from.int16()? {
            0 | OFFSET_KEY => {
                let group = from.string()?.to_owned();
                let partition = (from.string()?.to_owned(), from.int32()?);
                let committed = value.map(read_offset).transpose()?;
                Ok(Some(Self::Offset { group, partition, committed }))
            }
            GROUP_KEY => {
                let group = from.string()?.to_owned();
                let state = value.map(read_group).transpose()?;
                Ok(Some(Self::Group { group, state }))
            }
            version => {
                let found = Stored::decode(version, &mut from, value)?;
                Ok(found.map(|(group, stored)| Self::Consumer { group, stored }))
            }
        }
    }
}

pub(super) fn written(version: i16, write: impl FnOnce(&mut Writer<'_>)) -> Bytes {
    let mut out = BytesMut::new();
    let mut writer = Writer::new(&mut out, false);
    writer.int16(version);
    write(&mut writer);
    out.freeze()
}

fn offset_value(committed: &Committed) -> Bytes {
    written(VALUE_VERSION, |out| {
        out.int64(committed.offset);
        out.int32(committed.leader_epoch);
        out.string(&committed.metadata);
        out.int64(committed.committed_ms);
    })
}

fn read_offset(value: &[u8]) -> Result<Committed, WireError> {
    let version = Reader::new(value, false).int16()?;
    let mut from = Reader::new(value, version >= 4);
    from.int16()?;
    let offset = from.int64()?;
    let leader_epoch = if version >= 3 { from.int32()? } else { -1 };
    let metadata = from.string()?.to_owned();
    Ok(Committed { offset, leader_epoch, metadata, committed_ms: from.int64()? })
}

fn group_value(snapshot: &Snapshot, now_ms: i64) -> Bytes {
    written(VALUE_VERSION, |out| {
        out.string(snapshot.protocol_type.as_deref().unwrap_or_default());
        out.int32(snapshot.generation);
        out.nullable_string(snapshot.protocol.as_deref());
        out.nullable_string(snapshot.leader.as_deref());
        out.int64(now_ms);
        out.count(snapshot.members.len());
        for member in &snapshot.members {
            let joining = &member.joining;
            out.string(&member.member_id);
            out.nullable_string(joining.instance_id.as_deref());
            out.string(&joining.client_id);
            out.string(&joining.client_host);
            out.int32(i32::try_from(joining.rebalance_timeout_ms).unwrap_or(i32::MAX));
            out.int32(i32::try_from(joining.session_timeout_ms).unwrap_or(i32::MAX));
            out.bytes(joining.protocols.first().map_or(&[], |protocol| &protocol.metadata));
            out.bytes(&member.assignment);
        }
    })
}

fn read_group(value: &[u8]) -> Result<(Snapshot, i64), WireError> {
    let version = Reader::new(value, false).int16()?;
    let mut from = Reader::new(value, version >= 4);
    from.int16()?;
    let protocol_type = Some(from.string()?.to_owned()).filter(|kind| !kind.is_empty());
    let generation = from.int32()?;
    let protocol = from.nullable_string()?.map(str::to_owned);
    let leader = from.nullable_string()?.map(str::to_owned);
    let stored_ms = if version >= 2 { from.int64()? } else { -1 };
    let mut members = Vec::new();
    for _ in 0..from.count(MEMBER_BYTES_MIN)? {
        members.push(read_member(&mut from, version, protocol_type.as_deref(), protocol.as_deref())?);
    }
    Ok((Snapshot { generation, protocol_type, protocol, leader, members }, stored_ms))
}

/// A member of empty fields.
const MEMBER_BYTES_MIN: usize = 8;

fn read_member(
    from: &mut Reader<'_>,
    version: i16,
    protocol_type: Option<&str>,
    protocol: Option<&str>,
) -> Result<MemberSnapshot, WireError> {
    let member_id = from.string()?.to_owned();
    let instance_id = if version >= 3 { from.nullable_string()?.map(str::to_owned) } else { None };
    let (client_id, client_host) = (from.string()?.to_owned(), from.string()?.to_owned());
    let rebalance = if version >= 1 { Some(from.int32()?) } else { None };
    let session = from.int32()?;
    let ms = |value: i32| u64::try_from(value).unwrap_or(0);
    let metadata = Bytes::copy_from_slice(from.nullable_bytes()?.unwrap_or_default());
    let assignment = Bytes::copy_from_slice(from.nullable_bytes()?.unwrap_or_default());
    if version >= 4 {
        from.skip_tagged_fields()?;
    }
    let joining = Joining {
        instance_id,
        client_id,
        client_host,
        rebalance_timeout_ms: ms(rebalance.unwrap_or(session)),
        session_timeout_ms: ms(session),
        protocol_type: protocol_type.unwrap_or_default().to_owned(),
        protocols: vec![Protocol { name: protocol.unwrap_or_default().to_owned(), metadata }],
    };
    Ok(MemberSnapshot { member_id, joining, assignment })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committed() -> Committed {
        Committed { offset: 42, leader_epoch: 7, metadata: "é".to_owned(), committed_ms: 1_700_000_000_000 }
    }

    fn state() -> Snapshot {
        let joining = Joining {
            instance_id: Some("i".to_owned()),
            client_id: "c".to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            rebalance_timeout_ms: 60_000,
            session_timeout_ms: 10_000,
            protocol_type: "consumer".to_owned(),
            protocols: vec![Protocol { name: "range".to_owned(), metadata: Bytes::from_static(b"meta") }],
        };
        let member =
            MemberSnapshot { member_id: "m".to_owned(), joining, assignment: Bytes::from_static(b"a") };
        Snapshot {
            generation: 3,
            protocol_type: Some("consumer".to_owned()),
            protocol: Some("range".to_owned()),
            leader: Some("m".to_owned()),
            members: vec![member],
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn an_offset_has_kafkas_bytes() {
        let partition = ("t".to_owned(), 5);
        let record = GroupRecord::Offset { group: "g".to_owned(), partition, committed: Some(committed()) };
        let (key, value) = record.encode();
        assert_eq!(hex(&key), "0001000167000174 00000005".replace(' ', ""));
        let expected = "0003 000000000000002a 00000007 0002c3a9 0000018bcfe56800".replace(' ', "");
        assert_eq!(value.map(|value| hex(&value)), Some(expected));
    }

    #[test]
    fn records_and_tombstones_read_back() {
        let partition = ("t".to_owned(), 5);
        let offset = |committed| GroupRecord::Offset {
            group: "g".to_owned(),
            partition: partition.clone(),
            committed,
        };
        let group = |state| GroupRecord::Group { group: "g".to_owned(), state };
        for record in [offset(Some(committed())), offset(None), group(Some((state(), 99))), group(None)] {
            let (key, value) = record.encode();
            assert_eq!(GroupRecord::decode(&key, value.as_deref()).ok().flatten(), Some(record));
        }
    }

    #[test]
    fn unknown_kinds_are_passed_over_and_short_records_are_errors() {
        assert_eq!(GroupRecord::decode(&[0, 99], None).ok(), Some(None));
        let (key, value) = GroupRecord::Group { group: "g".to_owned(), state: Some((state(), 99)) }.encode();
        let value = value.expect("it has one");
        for length in 0..value.len() {
            assert!(GroupRecord::decode(&key, Some(&value[..length])).is_err(), "{length} bytes");
        }
        for length in 0..key.len() {
            assert!(GroupRecord::decode(&key[..length], None).is_err(), "{length} bytes");
        }
    }
}
