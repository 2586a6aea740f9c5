//! Words that all rooms share: offsets, topics, error codes, what control last decided.
//!
//! This room knows no other room: no socket, no disk, no clock. Read it in this order:
//! [`offset`] (the integers a caller could swap), [`topic`] (names and ids), [`error_code`]
//! (Kafka's numbers), [`topic_settings`] (what a topic's configuration means),
//! [`quotas`] (who may move how much), [`group_overrides`] (what is set on a group), [`cluster_view`] (the immutable
//! picture of the cluster that every core holds), [`id_map`] (maps by ids).

pub mod cluster_view;
pub mod error_code;
pub mod group_overrides;
pub mod id_map;
pub mod offset;
pub mod quotas;
pub mod topic;
pub mod topic_settings;

pub use cluster_view::{Broker, BrokerId, ClusterView, PartitionView, ShardId, TopicView};
pub use error_code::ErrorCode;
pub use id_map::IdMap;
pub use offset::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};
pub use topic::{PartitionIndex, TopicId, TopicName, TopicNameError, TopicPartition};
pub use topic_settings::{CleanupPolicy, CompressionType, TimestampType, TopicSettings};
