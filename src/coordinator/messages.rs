//! What is asked of the core that coordinates a group, and what it answers. All of it moves between threads.

use super::{
    classic::{GroupError, JoinRequest, Joined, Snapshot, State, SyncRequest, Synced},
    consumer::{Beat, ConsumerError, Description, Heartbeat},
    offsets::{Committed, Partition},
};

/// One request about one group; [`GroupRequest::List`] is about all of a core's.
#[derive(Debug)]
pub enum GroupRequest {
    /// JoinGroup.
    Join(JoinRequest),
    /// SyncGroup.
    Sync(SyncRequest),
    /// Heartbeat.
    Heartbeat(MemberOf),
    /// LeaveGroup: member id and instance id of each that leaves.
    Leave(Vec<(String, Option<String>)>),
    /// OffsetCommit.
    Commit {
        /// Who commits; see [`super::classic::ClassicGroup::validate_commit`].
        member: MemberOf,
        /// Offset, leader epoch and metadata by partition.
        offsets: Vec<(Partition, NewOffset)>,
    },
    /// ConsumerGroupHeartbeat.
    Beat(Box<Heartbeat>),
    /// OffsetFetch; none: all partitions that have one.
    Fetch {
        /// Member id and epoch of the member that asks, if it says.
        member: Option<(String, i32)>,
        /// Which.
        partitions: Option<Vec<Partition>>,
    },
    /// DescribeGroups.
    Describe,
    /// ConsumerGroupDescribe.
    DescribeConsumer,
    /// DeleteGroups.
    Delete,
    /// OffsetDelete.
    DeleteOffsets(Vec<Partition>),
}

/// Who says so.
#[derive(Debug, Clone, Default)]
pub struct MemberOf {
    /// Given by the coordinator; empty for a client that assigns by itself.
    pub member_id: String,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<String>,
    /// The generation it has joined, -1 for none.
    pub generation: i32,
}

/// An offset to be committed.
#[derive(Debug, Clone)]
pub struct NewOffset {
    /// The next offset to read.
    pub offset: i64,
    /// Leader epoch of the record before it, -1 if not known.
    pub leader_epoch: i32,
    /// The client's own words.
    pub metadata: String,
}

/// A request on its way to the group's core.
#[derive(Debug)]
pub struct GroupCall {
    /// Whose.
    pub group: String,
    /// What.
    pub request: GroupRequest,
}

/// The answer to a [`GroupRequest`] of the same name.
#[derive(Debug)]
pub enum GroupAnswer {
    /// See [`GroupRequest::Join`].
    Join(Joined),
    /// See [`GroupRequest::Sync`].
    Sync(Synced),
    /// The request was carried out; there is nothing more to say.
    Done,
    /// See [`GroupRequest::Beat`].
    Beat(Beat),
    /// See [`GroupRequest::DescribeConsumer`]; none: it is no group under the consumer protocol.
    DescribeConsumer(Option<Box<Description>>),
    /// See [`GroupRequest::Leave`]: the member id of each that left, in the request's order.
    Leave(Vec<Result<String, GroupError>>),
    /// See [`GroupRequest::Commit`]: for each offset whether it was taken, in the request's order.
    Commit(Vec<bool>),
    /// See [`GroupRequest::Fetch`].
    Fetch(Vec<(Partition, Option<Committed>)>),
    /// See [`GroupRequest::Describe`]; none: there is no such group.
    Describe(Option<(State, Snapshot)>),
    /// See [`GroupRequest::DeleteOffsets`]: whether the topic is free of subscribers, in the request's order.
    DeleteOffsets(Vec<bool>),
}

/// A group as ListGroups shows it.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Its id.
    pub group: String,
    /// Empty for a group that never had a member.
    pub protocol_type: String,
    /// Kafka's name of its state.
    pub state: &'static str,
    /// Whether it is one under the consumer protocol.
    pub is_consumer: bool,
}

/// Why a request about a group was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CoordinatorError {
    /// Another core or broker coordinates the group.
    #[error("not the coordinator of the group")]
    NotCoordinator,
    /// The group's state is being read.
    #[error("the groups are being loaded")]
    Loading,
    /// A group needs a name.
    #[error("the group id is not valid")]
    InvalidGroupId,
    /// The session timeout lies outside the broker's bounds.
    #[error("the session timeout is out of bounds")]
    InvalidSessionTimeout,
    /// There is no such group.
    #[error("there is no such group")]
    NoSuchGroup,
    /// The group has members.
    #[error("the group is not empty")]
    NotEmpty,
    /// What was to be kept could not be stored.
    #[error("could not be stored")]
    NotStored,
    /// There are as many groups as the core takes.
    #[error("there are too many groups")]
    TooManyGroups,
    /// The group has members under the other protocol.
    #[error("the group has members that use another protocol")]
    OtherProtocol,
    /// The group refused it.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// The group refused it, under the consumer protocol.
    #[error(transparent)]
    Consumer(#[from] ConsumerError),
}

/// What comes back.
pub type GroupResult = Result<GroupAnswer, CoordinatorError>;
