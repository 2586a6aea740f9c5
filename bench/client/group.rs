//! A member of a consumer group, under the classic protocol: join, be assigned, beat, commit, leave. Blocking calls
//! over one connection to the coordinator.
//!
//! Every member subscribes to the one topic of the run; whichever leads deals its partitions in ranges.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_wire::{
    FindCoordinatorRequest, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest, join_group_request, offset_commit_request,
    offset_fetch_request, sync_group_request,
};
use kafka_wire_core::StrBytes;

use super::admin::{Admin, AdminError};
use super::connection::Connection;
use super::request::WireError;

/// A member that is silent for so long is dead to the coordinator.
const SESSION_TIMEOUT_MS: i32 = 10_000;
/// How long members may take to join anew; below what a blocking call waits.
const REBALANCE_TIMEOUT_MS: i32 = 8_000;
/// Longest time in which a member tries to become one.
const JOIN_MAX: Duration = Duration::from_secs(60);
/// Pause before another try.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// The assignor's name in the protocol.
const ASSIGNOR: &str = "range";

const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const NOT_COORDINATOR: i16 = 16;
const ILLEGAL_GENERATION: i16 = 22;
const UNKNOWN_MEMBER_ID: i16 = 25;
const REBALANCE_IN_PROGRESS: i16 = 27;
const MEMBER_ID_REQUIRED: i16 = 79;

/// Highest versions that are spoken: those that name one group, by the name of its topic.
mod version {
    pub const FIND_COORDINATOR: i16 = 3;
    pub const JOIN_GROUP: i16 = 5;
    pub const SYNC_GROUP: i16 = 3;
    pub const HEARTBEAT: i16 = 3;
    pub const OFFSET_COMMIT: i16 = 8;
    pub const OFFSET_FETCH: i16 = 7;
    pub const LEAVE_GROUP: i16 = 2;
}

/// Whether a member still has what it was assigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// It has.
    Stable,
    /// The group deals anew: join again.
    Rebalancing,
}

/// A member.
#[derive(Debug)]
pub struct Member {
    coordinator: Connection,
    group: StrBytes,
    topic: StrBytes,
    id: StrBytes,
    generation: i32,
}

impl Member {
    /// Finds the coordinator. Not a member yet: [`join`](Self::join).
    ///
    /// # Errors
    /// [`AdminError`].
    pub fn new(admin: &Admin, group: &str, topic: &str) -> Result<Self, AdminError> {
        let deadline = Instant::now() + JOIN_MAX;
        let mut request = FindCoordinatorRequest::default();
        request.key = StrBytes::from(group);
        let coordinator = loop {
            let answer = admin.any_broker()?.ask(&request, version::FIND_COORDINATOR)?;
            match answer.error_code {
                0 => break Connection::connect(&format!("{}:{}", answer.host, answer.port))?,
                code => retry_or("FindCoordinator", group, code, deadline)?,
            }
        };
        let (group, topic) = (StrBytes::from(group), StrBytes::from(topic));
        Ok(Self { coordinator, group, topic, id: StrBytes::from(""), generation: -1 })
    }

    /// Joins the group, or joins it anew, and returns the partitions of `count` that are this member's.
    ///
    /// # Errors
    /// [`AdminError`].
    pub fn join(&mut self, count: u32) -> Result<Vec<i32>, AdminError> {
        self.join_until(count, Instant::now() + JOIN_MAX)
    }

    fn join_until(&mut self, count: u32, deadline: Instant) -> Result<Vec<i32>, AdminError> {
        loop {
            let joined = self.ask_to_join()?;
            match joined.error_code {
                0 => {}
                MEMBER_ID_REQUIRED => self.id = joined.member_id.clone(),
                UNKNOWN_MEMBER_ID => self.id = StrBytes::from(""),
                REBALANCE_IN_PROGRESS => thread::sleep(RETRY_PAUSE),
                code => retry_or("JoinGroup", &self.group, code, deadline)?,
            }
            if joined.error_code != 0 {
                if Instant::now() >= deadline {
                    return Err(refused("JoinGroup", &self.group, joined.error_code));
                }
                continue;
            }
            self.id = joined.member_id.clone();
            self.generation = joined.generation_id;
            let answer = self.coordinator.ask(&self.sync_request(&joined, count), version::SYNC_GROUP)?;
            match answer.error_code {
                0 => return Ok(decode_assignment(&answer.assignment)),
                REBALANCE_IN_PROGRESS | ILLEGAL_GENERATION => {}
                UNKNOWN_MEMBER_ID => self.id = StrBytes::from(""),
                code => retry_or("SyncGroup", &self.group, code, deadline)?,
            }
            if Instant::now() >= deadline {
                return Err(refused("JoinGroup", &self.group, REBALANCE_IN_PROGRESS));
            }
        }
    }

    fn ask_to_join(&mut self) -> Result<JoinGroupResponse, AdminError> {
        let mut protocol = join_group_request::JoinGroupRequestProtocol::default();
        protocol.name = StrBytes::from(ASSIGNOR);
        protocol.metadata = encode_subscription(&self.topic);
        let mut request = JoinGroupRequest::default();
        request.group_id = self.group.clone();
        request.session_timeout_ms = SESSION_TIMEOUT_MS;
        request.rebalance_timeout_ms = REBALANCE_TIMEOUT_MS;
        request.member_id = self.id.clone();
        request.group_instance_id = None;
        request.protocol_type = StrBytes::from("consumer");
        request.protocols = vec![protocol];
        self.coordinator.ask(&request, version::JOIN_GROUP)
    }

    /// What the leader deals, or what everybody else says: nothing.
    fn sync_request(&self, joined: &JoinGroupResponse, count: u32) -> SyncGroupRequest {
        let mut request = SyncGroupRequest::default();
        request.group_id = self.group.clone();
        request.generation_id = self.generation;
        request.member_id = self.id.clone();
        request.group_instance_id = None;
        if joined.leader == self.id {
            let mut members: Vec<_> = joined.members.iter().map(|member| member.member_id.clone()).collect();
            members.sort();
            let dealt = assign(members.len(), count);
            let assignments = members.into_iter().zip(dealt).map(|(member, partitions)| {
                let mut assignment = sync_group_request::SyncGroupRequestAssignment::default();
                assignment.member_id = member;
                assignment.assignment = encode_assignment(&self.topic, &partitions);
                assignment
            });
            request.assignments = assignments.collect();
        }
        request
    }

    /// Says that this member lives.
    ///
    /// # Errors
    /// [`AdminError`].
    pub fn beat(&mut self) -> Result<Standing, AdminError> {
        let mut request = HeartbeatRequest::default();
        request.group_id = self.group.clone();
        request.generation_id = self.generation;
        request.member_id = self.id.clone();
        request.group_instance_id = None;
        let answer = self.coordinator.ask(&request, version::HEARTBEAT)?;
        standing("Heartbeat", &self.group, answer.error_code)
    }

    /// Committed offsets of partitions; -1 where there is none.
    ///
    /// # Errors
    /// [`AdminError`].
    pub fn committed(&mut self, partitions: &[i32]) -> Result<Vec<(i32, i64)>, AdminError> {
        let mut topic = offset_fetch_request::OffsetFetchRequestTopic::default();
        topic.name = self.topic.clone();
        topic.partition_indexes = partitions.to_vec();
        let mut request = OffsetFetchRequest::default();
        request.group_id = self.group.clone();
        request.topics = Some(vec![topic]);
        let answer = self.coordinator.ask(&request, version::OFFSET_FETCH)?;
        let found = answer.topics.iter().flat_map(|topic| &topic.partitions);
        let failed = found.clone().map(|p| p.error_code).chain([answer.error_code]).find(|code| *code != 0);
        if let Some(code) = failed {
            return Err(refused("OffsetFetch", &self.group, code));
        }
        let told: HashMap<i32, i64> = found.map(|p| (p.partition_index, p.committed_offset)).collect();
        // A partition that nothing is said of must not go unread.
        let all: Option<_> = partitions.iter().map(|index| Some((*index, *told.get(index)?))).collect();
        all.ok_or_else(|| WireError::missing("OffsetFetchResponse").into())
    }

    /// Commits the offsets to read next.
    ///
    /// # Errors
    /// [`AdminError`].
    pub fn commit(&mut self, offsets: &[(i32, i64)]) -> Result<Standing, AdminError> {
        let partitions = offsets.iter().map(|(index, offset)| {
            let mut partition = offset_commit_request::OffsetCommitRequestPartition::default();
            partition.partition_index = *index;
            partition.committed_offset = *offset;
            partition.committed_leader_epoch = -1;
            partition
        });
        let mut topic = offset_commit_request::OffsetCommitRequestTopic::default();
        topic.name = self.topic.clone();
        topic.partitions = partitions.collect();
        let mut request = OffsetCommitRequest::default();
        request.group_id = self.group.clone();
        request.generation_id_or_member_epoch = self.generation;
        request.member_id = self.id.clone();
        request.group_instance_id = None;
        request.retention_time_ms = -1;
        request.topics = vec![topic];
        let answer = self.coordinator.ask(&request, version::OFFSET_COMMIT)?;
        let codes = answer.topics.iter().flat_map(|topic| &topic.partitions).map(|p| p.error_code);
        standing("OffsetCommit", &self.group, codes.into_iter().find(|code| *code != 0).unwrap_or(0))
    }

    /// Leaves the group.
    ///
    /// # Errors
    /// [`AdminError`]; the coordinator notices by itself after a while.
    pub fn leave(mut self) -> Result<(), AdminError> {
        let mut request = LeaveGroupRequest::default();
        request.group_id = self.group.clone();
        request.member_id = self.id.clone();
        self.coordinator.ask(&request, version::LEAVE_GROUP).map(drop)
    }
}

fn refused(what: &'static str, group: &str, code: i16) -> AdminError {
    AdminError::Broker { what, topic: group.to_owned(), code, text: String::new() }
}

fn standing(what: &'static str, group: &str, code: i16) -> Result<Standing, AdminError> {
    match code {
        0 => Ok(Standing::Stable),
        REBALANCE_IN_PROGRESS | ILLEGAL_GENERATION | UNKNOWN_MEMBER_ID => Ok(Standing::Rebalancing),
        code => Err(refused(what, group, code)),
    }
}

/// Waits for a coordinator that is not ready yet; any other error, and one that lasts, is passed on.
fn retry_or(what: &'static str, group: &str, code: i16, deadline: Instant) -> Result<(), AdminError> {
    let passes = [COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR];
    if !passes.contains(&code) || Instant::now() >= deadline {
        return Err(refused(what, group, code));
    }
    thread::sleep(RETRY_PAUSE);
    Ok(())
}

/// Deals `count` partitions to members in ranges, the first ones one longer where they do not divide.
fn assign(members: usize, count: u32) -> Vec<Vec<i32>> {
    let (members, count) = (members.max(1), i32::try_from(count).unwrap_or(i32::MAX));
    let (each, more) = (count as usize / members, count as usize % members);
    let mut next = 0;
    let range = |nth: usize| {
        let first = next;
        next += i32::try_from(each + usize::from(nth < more)).unwrap_or(0);
        (first..next).collect()
    };
    (0..members).map(range).collect()
}

/// `ConsumerProtocolSubscription`, version 0: one topic, no user data.
fn encode_subscription(topic: &str) -> Bytes {
    let mut bytes = vec![0, 0, 0, 0, 0, 1];
    push_text(&mut bytes, topic);
    bytes.extend_from_slice(&(-1i32).to_be_bytes());
    bytes.into()
}

/// `ConsumerProtocolAssignment`, version 0: one topic, no user data.
fn encode_assignment(topic: &str, partitions: &[i32]) -> Bytes {
    let mut bytes = vec![0, 0, 0, 0, 0, 1];
    push_text(&mut bytes, topic);
    bytes.extend_from_slice(&u32::try_from(partitions.len()).unwrap_or(0).to_be_bytes());
    partitions.iter().for_each(|partition| bytes.extend_from_slice(&partition.to_be_bytes()));
    bytes.extend_from_slice(&(-1i32).to_be_bytes());
    bytes.into()
}

fn push_text(bytes: &mut Vec<u8>, text: &str) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&text.as_bytes()[..usize::from(length)]);
}

/// Partitions of an assignment; none if it is empty or makes no sense.
fn decode_assignment(bytes: &[u8]) -> Vec<i32> {
    let decode = || {
        let (length, rest) = bytes.get(6..)?.split_first_chunk::<2>()?;
        let rest = rest.get(usize::from(u16::from_be_bytes(*length))..)?;
        let (count, rest) = rest.split_first_chunk::<4>()?;
        let (partitions, _) = rest.as_chunks::<4>();
        Some(
            partitions
                .iter()
                .take(u32::from_be_bytes(*count) as usize)
                .map(|p| i32::from_be_bytes(*p))
                .collect(),
        )
    };
    decode().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fake;
    use kafka_wire::{FindCoordinatorResponse, OffsetFetchResponse, offset_fetch_response};
    use proptest::prelude::*;

    const FIND_COORDINATOR: i16 = 10;
    const JOIN_GROUP: i16 = 11;
    const OFFSET_FETCH: i16 = 9;

    /// A member whose coordinator answers a request with `answer`, always.
    fn member(key: i16, version: i16, answer: Vec<u8>) -> Member {
        let served: &'static [_] = vec![(FIND_COORDINATOR, 2), (key, version)].leak();
        let here = std::sync::Arc::new(std::sync::OnceLock::<String>::new());
        let address = std::sync::Arc::clone(&here);
        let broker = fake::start(served, move |asked| {
            if asked != FIND_COORDINATOR {
                return Some(answer.clone());
            }
            let mut found = FindCoordinatorResponse::default();
            let (host, port) = here.wait().split_once(':').expect("an address");
            (found.host, found.port) = (StrBytes::from(host), port.parse().expect("a port"));
            Some(fake::encoded(&found, 2))
        });
        address.set(broker.clone()).expect("once");
        Member::new(&Admin::new(&broker), "g", "t").expect("finds its coordinator")
    }

    #[test]
    fn a_coordinator_that_never_lets_a_member_in_is_given_up() {
        for code in [UNKNOWN_MEMBER_ID, REBALANCE_IN_PROGRESS, MEMBER_ID_REQUIRED] {
            let mut refusal = JoinGroupResponse::default();
            refusal.error_code = code;
            let mut member = member(JOIN_GROUP, 5, fake::encoded(&refusal, 5));
            let said = member.join_until(1, Instant::now()).expect_err("it is not let in").to_string();
            assert!(said.contains(&code.to_string()), "{said}");
        }
    }

    #[test]
    fn a_partition_whose_committed_offset_is_not_told_is_not_left_out() {
        let mut partition = offset_fetch_response::OffsetFetchResponsePartition::default();
        (partition.partition_index, partition.committed_offset) = (3, 8);
        let mut topic = offset_fetch_response::OffsetFetchResponseTopic::default();
        topic.partitions = vec![partition];
        let mut told = OffsetFetchResponse::default();
        told.topics = vec![topic];
        let mut member = member(OFFSET_FETCH, 5, fake::encoded(&told, 5));
        assert_eq!(member.committed(&[3]).expect("told"), [(3, 8)]);
        assert!(member.committed(&[3, 4]).is_err(), "nothing is said of 4");
    }

    proptest! {
        #[test]
        fn every_partition_has_one_member_and_no_member_has_two_more_than_another(
            members in 1usize..50, count in 0u32..500,
        ) {
            let dealt = assign(members, count);
            let all: Vec<_> = dealt.iter().flatten().copied().collect();
            prop_assert_eq!(all, (0..i32::try_from(count).expect("small")).collect::<Vec<_>>());
            let sizes = || dealt.iter().map(Vec::len);
            prop_assert!(dealt.len() == members && sizes().max() <= sizes().min().map(|least| least + 1));
        }

        #[test]
        fn an_assignment_reads_back_and_any_bytes_are_read(
            partitions in prop::collection::vec(0i32..10_000, 0..50), noise in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            prop_assert_eq!(decode_assignment(&encode_assignment("a topic", &partitions)), partitions);
            decode_assignment(&noise);
        }
    }

    #[test]
    fn a_subscription_has_the_bytes_that_kafka_s_clients_write() {
        assert_eq!(encode_subscription("t")[..], [0, 0, 0, 0, 0, 1, 0, 1, b't', 0xff, 0xff, 0xff, 0xff]);
    }
}
