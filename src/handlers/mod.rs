//! One file per API: from a request to its response. The only room that chooses error codes.
//!
//! Read [`dispatch`] first: from a frame to the handler of its API. Then the two hot ones, [`produce`]
//! and [`fetch`], which ask the shard for work, and any of the others; those of consumer groups are in [`groups`].
//!
//! A cold handler knows no socket and no frame. What it needs beyond the request is in [`Context`]:
//! the cluster as of now, settings, and a way to `control`. Fields that a version does not have
//! are left at their defaults, so that a response encodes in every version of its API.

pub mod account;
pub mod alter_configs;
pub mod alter_partition_reassignments;
pub mod api_versions;
mod broker_loggers;
mod client_quotas;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_log_dirs;
pub mod describe_producers;
pub mod describe_topic_partitions;
pub mod dispatch;
pub mod elect_leaders;
mod errors;
pub mod fetch;
pub mod fetch_sessions;
pub mod groups;
pub mod init_producer_id;
pub mod list_offsets;
pub mod list_partition_reassignments;
pub mod metadata;
pub mod offset_for_leader_epoch;
pub mod produce;
mod producer_ids;

use std::{pin::Pin, sync::Arc};

pub use self::{
    account::Peer,
    dispatch::{Answer, Close, Handlers, Response},
    producer_ids::ProducerIds,
};
use crate::{
    config::{BrokerSetting, Settings},
    control::{ControlFailure, ControlReply, ControlRequest, TopicError},
    coordinator::messages::{CoordinatorError, GroupRequest, GroupResult, Listed},
    model::{ClusterView, ErrorCode, TopicId},
    wire::messages::{StrBytes, Uuid},
};

/// "Not asked for" in fields of authorized operations. Source: Kafka, the message schemas.
const OPERATIONS_NOT_ASKED: i32 = i32::MIN;

/// The way to control: a bounded queue that the shard's mailbox leads to.
pub trait ControlClient {
    /// Hands the request over and waits for the reply.
    ///
    /// A full queue or a control that has stopped answers [`ControlFailure::Unavailable`].
    fn call(&self, request: ControlRequest) -> Pin<Box<dyn Future<Output = ControlReply> + '_>>;
}

/// The way to the groups, on whichever core they are.
pub trait GroupClient {
    /// Asks the coordinator of a group.
    fn ask<'a>(
        &'a self,
        group: &'a str,
        request: GroupRequest,
    ) -> Pin<Box<dyn Future<Output = GroupResult> + 'a>>;

    /// All groups.
    fn list_all(&self) -> Pin<Box<dyn Future<Output = Result<Vec<Listed>, CoordinatorError>> + '_>>;
}

/// Who sent a request.
#[derive(Debug, Clone, Default)]
pub struct Client {
    /// `client.id`, empty if it did not say.
    pub id: String,
    /// Its address, as Kafka shows it: `/127.0.0.1`.
    pub host: String,
}

/// Settings that handlers answer by or tell of.
#[derive(Debug, Clone)]
pub struct HandlerSettings {
    /// `auto.create.topics.enable`
    pub auto_create_topics: bool,
    /// The broker's own settings, for DescribeConfigs.
    pub broker: Vec<BrokerSetting>,
}

impl HandlerSettings {
    /// What of the broker's settings handlers need.
    #[must_use]
    pub fn new(settings: &Settings) -> Self {
        Self { auto_create_topics: settings.auto_create_topics_enable, broker: settings.broker_settings() }
    }

    /// The broker's setting of that name.
    #[must_use]
    pub fn broker_setting(&self, name: &str) -> Option<&BrokerSetting> {
        self.broker.iter().find(|setting| setting.name == name)
    }
}

/// What a handler needs beyond its request.
pub struct Context<'a> {
    /// The cluster as of the request's arrival.
    pub view: Arc<ClusterView>,
    /// Settings of the broker.
    pub settings: &'a HandlerSettings,
    /// The way to control.
    pub control: &'a dyn ControlClient,
    /// Producer ids this shard may hand out.
    pub producer_ids: &'a ProducerIds,
    /// The way to the groups.
    pub groups: &'a dyn GroupClient,
    /// Who asks.
    pub client: Client,
}

/// Kafka's code for one refused item.
///
/// Source: Kafka 4.1, `ControllerApis`, `ReplicationControlManager`.
fn code_of(error: &TopicError) -> ErrorCode {
    match error {
        // Kafka has no code for "the broker's own"; an append to such a topic is answered so too.
        TopicError::InvalidName(_) | TopicError::Collision { .. } | TopicError::Internal(_) => {
            ErrorCode::InvalidTopicException
        }
        TopicError::ReservedName(_)
        | TopicError::DuplicateName
        | TopicError::DuplicateId
        | TopicError::AssignmentAndCount(_) => ErrorCode::InvalidRequest,
        TopicError::AlreadyExists(_) => ErrorCode::TopicAlreadyExists,
        TopicError::UnknownName => ErrorCode::UnknownTopicOrPartition,
        TopicError::UnknownId => ErrorCode::UnknownTopicId,
        TopicError::PartitionsNotPositive | TopicError::NoIncrease { .. } => ErrorCode::InvalidPartitions,
        // As Kafka answers for too many partitions in one request.
        TopicError::TooManyPartitions { .. } => ErrorCode::PolicyViolation,
        TopicError::ReplicationFactorNotPositive | TopicError::TooFewBrokers { .. } => {
            ErrorCode::InvalidReplicationFactor
        }
        TopicError::InvalidAssignment(_) => ErrorCode::InvalidReplicaAssignment,
        TopicError::InvalidConfig(_) | TopicError::NullConfig(_) => ErrorCode::InvalidConfig,
        TopicError::NotApplied(_) => ErrorCode::KafkaStorageError,
    }
}

/// Kafka's code for a change of topics that failed as a whole.
fn failure_code(failure: &ControlFailure) -> ErrorCode {
    match failure {
        ControlFailure::Storage(_) => ErrorCode::KafkaStorageError,
        // Clients look the controller up again and send the same request.
        ControlFailure::Unavailable => ErrorCode::NotController,
    }
}

/// One item's outcome as code and text, from a reply that has one result per item.
enum Outcomes {
    Each(Vec<Result<Arc<crate::model::TopicView>, TopicError>>),
    All(ControlFailure),
}

impl Outcomes {
    fn of(reply: ControlReply, items: usize) -> Self {
        match reply {
            ControlReply::Topics(results) => {
                assert_eq!(results.len(), items, "control answers every item");
                Self::Each(results)
            }
            ControlReply::Failed(failure) => Self::All(failure),
            ControlReply::ProducerIds(_) | ControlReply::Altered(_) => {
                panic!("control answered another request")
            }
        }
    }

    /// Item `index`: the topic, or the code and the text that the client is given.
    fn item(&self, index: usize) -> Result<&Arc<crate::model::TopicView>, (ErrorCode, StrBytes)> {
        match self {
            Self::Each(results) => results[index].as_ref().map_err(|error| (code_of(error), text(error))),
            Self::All(failure) => Err((failure_code(failure), text(failure))),
        }
    }
}

fn text(value: impl ToString) -> StrBytes {
    StrBytes::from(value.to_string())
}

fn uuid(id: TopicId) -> Uuid {
    Uuid::from_bytes(id.to_bytes())
}

fn topic_id(id: Uuid) -> TopicId {
    TopicId::from_bytes(id.to_bytes())
}

#[cfg(test)]
mod tests;
