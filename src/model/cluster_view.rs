//! What control last decided: brokers, topics, leaders, epochs. Immutable, swapped whole.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    IdMap, LeaderEpoch, PartitionIndex, TopicId, TopicName, TopicSettings, group_overrides::GroupOverrides,
    quotas::Quotas,
};

/// Number of a broker in the cluster.
pub type BrokerId = i32;

/// Number of a core's shard on this node, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

impl ShardId {
    /// As an index into per-shard tables.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// One broker as clients are told of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Broker {
    /// Its number.
    pub id: BrokerId,
    /// Host that clients can reach.
    pub host: String,
    /// Port that clients can reach.
    pub port: u16,
}

/// One partition of a topic.
#[derive(Debug, Clone, PartialEq)]
pub struct PartitionView {
    /// Its number in the topic; the place in [`TopicView::partitions`].
    pub index: PartitionIndex,
    /// Who takes appends.
    pub leader: BrokerId,
    /// Counts its leaders.
    pub leader_epoch: LeaderEpoch,
    /// Which shard of this node holds the replica.
    pub shard: ShardId,
    /// Brokers that hold a replica, the preferred leader first.
    pub replicas: Vec<BrokerId>,
    /// Of these, the ones in sync.
    pub in_sync: Vec<BrokerId>,
}

/// One topic.
#[derive(Debug, Clone, PartialEq)]
pub struct TopicView {
    /// Its name.
    pub name: TopicName,
    /// Its incarnation.
    pub id: TopicId,
    /// Kept by the broker for itself, such as `__consumer_offsets`.
    pub internal: bool,
    /// Its partitions, by index.
    pub partitions: Vec<PartitionView>,
    /// What was set on the topic itself: Kafka's key and its text.
    pub overrides: BTreeMap<String, String>,
    /// What these and the defaults come to.
    pub settings: Arc<TopicSettings>,
}

impl TopicView {
    /// The partition of that number, if the topic has it.
    #[must_use]
    pub fn partition(&self, index: PartitionIndex) -> Option<&PartitionView> {
        usize::try_from(index.get()).ok().and_then(|i| self.partitions.get(i))
    }
}

/// The cluster as of one moment. Every core holds one; a change publishes the next.
#[derive(Debug, Clone, Default)]
pub struct ClusterView {
    /// Counts the changes.
    pub epoch: u64,
    /// Kafka's 22-character cluster id; stable for the life of the data directory.
    pub cluster_id: String,
    /// The broker that clients send administration to.
    pub controller: BrokerId,
    /// All brokers, by id.
    pub brokers: Vec<Broker>,
    topics: BTreeMap<TopicName, Arc<TopicView>>,
    names: IdMap<TopicId, TopicName>,
    /// Who may move how many bytes a second.
    pub quotas: Arc<Quotas>,
    /// What clients have set on groups, by their ids.
    pub groups: Arc<BTreeMap<String, GroupOverrides>>,
}

impl ClusterView {
    /// The topic of that name.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Arc<TopicView>> {
        self.topics.get(name)
    }

    /// The topic of that id.
    #[must_use]
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<TopicView>> {
        self.names.get(&id).and_then(|name| self.topics.get(name))
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<TopicView>> {
        self.topics.values()
    }

    /// Adds a topic, or replaces the one of the same name.
    pub fn insert_topic(&mut self, topic: TopicView) {
        self.remove_topic(topic.name.as_str());
        self.names.insert(topic.id, topic.name.clone());
        self.topics.insert(topic.name.clone(), Arc::new(topic));
    }

    /// Takes a topic out.
    pub fn remove_topic(&mut self, name: &str) -> Option<Arc<TopicView>> {
        let topic = self.topics.remove(name)?;
        self.names.remove(&topic.id);
        Some(topic)
    }
}
