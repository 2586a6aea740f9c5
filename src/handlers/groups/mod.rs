//! The APIs of consumer groups and their offsets, one file each. They map messages and errors; what a group
//! does is decided in the room `coordinator`.

pub mod consumer_describe;
pub mod consumer_heartbeat;
pub mod delete_groups;
pub mod describe_groups;
pub mod find_coordinator;
pub mod heartbeat;
pub mod join_group;
pub mod leave_group;
pub mod list_groups;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod sync_group;

use crate::{
    coordinator::{classic::GroupError, consumer::ConsumerError, messages::CoordinatorError},
    model::ErrorCode,
    wire::messages::StrBytes,
};

/// Kafka's code for a request that a group or its coordinator refused.
///
/// Source: Kafka 4.1, `GroupCoordinatorService`, `GroupMetadataManager`.
fn code_of(error: &CoordinatorError) -> ErrorCode {
    match error {
        CoordinatorError::NotCoordinator => ErrorCode::NotCoordinator,
        CoordinatorError::Loading => ErrorCode::CoordinatorLoadInProgress,
        CoordinatorError::InvalidGroupId => ErrorCode::InvalidGroupId,
        CoordinatorError::InvalidSessionTimeout => ErrorCode::InvalidSessionTimeout,
        CoordinatorError::NoSuchGroup => ErrorCode::GroupIdNotFound,
        CoordinatorError::NotEmpty => ErrorCode::NonEmptyGroup,
        CoordinatorError::NotStored => ErrorCode::CoordinatorNotAvailable,
        CoordinatorError::TooManyGroups => ErrorCode::PolicyViolation,
        CoordinatorError::OtherProtocol => ErrorCode::InconsistentGroupProtocol,
        CoordinatorError::Group(error) => group_code(error),
        CoordinatorError::Consumer(error) => consumer_code(error),
    }
}

fn group_code(error: &GroupError) -> ErrorCode {
    match error {
        GroupError::UnknownMember => ErrorCode::UnknownMemberId,
        GroupError::IllegalGeneration => ErrorCode::IllegalGeneration,
        GroupError::RebalanceInProgress => ErrorCode::RebalanceInProgress,
        GroupError::InconsistentProtocol => ErrorCode::InconsistentGroupProtocol,
        GroupError::MemberIdRequired(_) => ErrorCode::MemberIdRequired,
        GroupError::FencedInstance => ErrorCode::FencedInstanceId,
        GroupError::Full => ErrorCode::GroupMaxSizeReached,
        GroupError::NotStored => ErrorCode::CoordinatorNotAvailable,
    }
}

fn consumer_code(error: &ConsumerError) -> ErrorCode {
    match error {
        ConsumerError::UnknownMember(_) => ErrorCode::UnknownMemberId,
        ConsumerError::FencedEpoch { .. } => ErrorCode::FencedMemberEpoch,
        ConsumerError::IllegalGeneration { .. } => ErrorCode::IllegalGeneration,
        ConsumerError::StaleEpoch { .. } => ErrorCode::StaleMemberEpoch,
        ConsumerError::UnreleasedInstance(_) => ErrorCode::UnreleasedInstanceId,
        ConsumerError::FencedInstance(_) => ErrorCode::FencedInstanceId,
        ConsumerError::Full(_) => ErrorCode::GroupMaxSizeReached,
        ConsumerError::Regex(_) => ErrorCode::InvalidRegularExpression,
    }
}

fn owned(text: Option<StrBytes>) -> Option<String> {
    text.map(|text| text.to_string())
}

/// Bits of Kafka's `AclOperation`s that apply to a group: READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS, ALTER_CONFIGS.
const GROUP_OPERATIONS: i32 = 1 << 3 | 1 << 6 | 1 << 8 | 1 << 10 | 1 << 11;
