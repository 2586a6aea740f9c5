//! The cluster as a plain state machine: commands in, the next [`ClusterView`] out.
//!
//! No disk, no clock, no randomness: the same commands give the same view. Judging requests is
//! `requests.rs`, choosing shards is `placement.rs`; both read this state and change nothing.

use std::sync::Arc;

use super::{
    command::{Command, Id, Name, Placement},
    placement::{self, Move},
};
use crate::{
    config::{
        self, Overrides, Settings,
        topic::{self, TopicDefaults},
    },
    model::{
        Broker, BrokerId, ClusterView, LeaderEpoch, PartitionIndex, PartitionView, ShardId, TopicId,
        TopicView, group_overrides::GroupOverrides,
    },
};

/// Producer ids handed to a shard at a time. Source: Kafka, `ProducerIdsBlock.PRODUCER_ID_BLOCK_SIZE`.
pub const PRODUCER_ID_BLOCK: i64 = 1000;

/// What the node brings along: nothing of it is in the metadata log.
#[derive(Debug, Clone)]
pub struct NodeSettings {
    /// This node as clients are told of it: one broker, or one for each of its shards.
    pub brokers: Vec<Broker>,
    /// The settings that files and flags gave.
    pub settings: Arc<Settings>,
}

/// A command that does not fit the commands before it: they are not of one log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// It speaks of a topic that is not there.
    #[error("a command for topic {0}, which does not exist")]
    UnknownTopic(TopicId),
    /// It creates a topic whose name or id is taken.
    #[error("topic {0:?} is created twice")]
    CreatedTwice(Name),
    /// It speaks of a partition that the topic does not have.
    #[error("a command for partition {1} of topic {0}, which does not exist")]
    UnknownPartition(TopicId, i32),
    /// Producer ids would be handed out again.
    #[error("producer ids from {0} on were already reserved")]
    ProducerIdsRepeat(i64),
}

/// All that control decides about.
#[derive(Debug, Clone)]
pub struct Cluster {
    brokers: Vec<Broker>,
    /// What files and flags gave, and over it what clients have set.
    given: Arc<Settings>,
    settings: Arc<Settings>,
    topic_defaults: Arc<TopicDefaults>,
    overrides: Arc<Overrides>,
    /// Shared with the shards: copied when it changes, and only then.
    view: Arc<ClusterView>,
    shards: u16,
    partitions: usize,
    next_producer_id: i64,
}

impl Cluster {
    /// The cluster before its first command.
    #[must_use]
    pub fn new(node: NodeSettings) -> Self {
        let mut view = ClusterView::default();
        assert!(!node.brokers.is_empty(), "a node is at least one broker");
        view.controller = node.brokers[0].id;
        view.brokers.clone_from(&node.brokers);
        Self {
            brokers: node.brokers,
            topic_defaults: Arc::new(node.settings.topic_texts()),
            settings: node.settings.clone(),
            given: node.settings,
            overrides: Arc::default(),
            view: Arc::new(view),
            shards: 0,
            partitions: 0,
            next_producer_id: 0,
        }
    }

    /// Takes what files and flags give now.
    pub fn give(&mut self, settings: Arc<Settings>) {
        self.given = settings;
        self.settle_settings();
    }

    /// The settings in force follow what was given and what clients have set; topics follow them.
    fn settle_settings(&mut self) {
        self.settings = Arc::new(config::overlay_what_fits(&self.given, &self.overrides));
        let defaults = self.settings.topic_texts();
        if *self.topic_defaults == defaults {
            return;
        }
        self.topic_defaults = Arc::new(defaults);
        let topics: Vec<_> = self.view.topics().cloned().collect();
        for topic in topics {
            let settings = topic::settings(&topic.overrides, &self.topic_defaults);
            if settings != *topic.settings {
                let topic = TopicView { settings: Arc::new(settings), ..TopicView::clone(&topic) };
                self.view_mut().insert_topic(topic);
            }
        }
        self.view_mut().epoch += 1;
    }

    /// Does what the command says.
    ///
    /// # Errors
    /// [`ApplyError`]; the state is then as it was.
    pub fn apply(&mut self, command: &Command) -> Result<(), ApplyError> {
        match command {
            Command::ClusterCreated { cluster_id } => {
                self.view_mut().cluster_id.clone_from(cluster_id);
            }
            Command::ShardsCounted { shards } => self.shards = *shards,
            Command::TopicCreated { name, id, internal, partitions, overrides } => {
                let taken =
                    self.view.topic(name.0.as_str()).is_some() || self.view.topic_by_id(id.0).is_some();
                if taken {
                    return Err(ApplyError::CreatedTwice(name.clone()));
                }
                self.partitions += partitions.len();
                let settings = topic::settings(overrides, &self.topic_defaults);
                let topic = TopicView {
                    name: name.0.clone(),
                    id: id.0,
                    internal: *internal,
                    partitions: self.partition_views(0, partitions),
                    overrides: overrides.clone(),
                    settings: Arc::new(settings),
                };
                self.view_mut().insert_topic(topic);
            }
            Command::PartitionsAdded { topic, partitions } => {
                let mut topic = self.topic(*topic)?;
                let views = self.partition_views(topic.partitions.len(), partitions);
                topic.partitions.extend(views);
                self.partitions += partitions.len();
                self.view_mut().insert_topic(topic);
            }
            Command::PartitionPlaced { topic, partition, shard } => {
                let mut topic = self.topic(*topic)?;
                let place = usize::try_from(*partition).ok();
                let Some(view) = place.and_then(|index| topic.partitions.get_mut(index)) else {
                    return Err(ApplyError::UnknownPartition(topic.id, *partition));
                };
                view.shard = ShardId(*shard);
                view.leader = self.broker_of(view.shard);
                (view.replicas, view.in_sync) = (vec![view.leader], vec![view.leader]);
                self.view_mut().insert_topic(topic);
            }
            Command::TopicConfigured { topic, overrides } => {
                let mut topic = self.topic(*topic)?;
                topic.settings = Arc::new(topic::settings(overrides, &self.topic_defaults));
                topic.overrides.clone_from(overrides);
                self.view_mut().insert_topic(topic);
            }
            Command::BrokerConfigured { broker, overrides } => {
                let own = self.broker_id();
                let known = Arc::make_mut(&mut self.overrides);
                match broker {
                    None => known.all.clone_from(overrides),
                    // Nothing is known of other nodes yet.
                    Some(broker) if *broker == own => known.own.clone_from(overrides),
                    Some(_) => {}
                }
                self.settle_settings();
            }
            Command::GroupConfigured { group, overrides } => {
                let known = Arc::make_mut(&mut self.view_mut().groups);
                if overrides.is_empty() {
                    known.remove(group);
                } else {
                    known.insert(group.clone(), GroupOverrides(overrides.clone()));
                }
            }
            Command::QuotaConfigured { entity, quotas } => {
                let known = Arc::make_mut(&mut self.view_mut().quotas);
                known.set(entity.clone(), quotas.clone());
            }
            Command::TopicDeleted { topic } => {
                let topic = self.topic(*topic)?;
                self.partitions -= topic.partitions.len();
                self.view_mut().remove_topic(topic.name.as_str());
            }
            Command::ProducerIdsReserved { next } => {
                if *next < self.next_producer_id {
                    return Err(ApplyError::ProducerIdsRepeat(*next));
                }
                self.next_producer_id = *next;
                return Ok(()); // nothing that a view shows
            }
        }
        self.view_mut().epoch += 1;
        Ok(())
    }

    fn view_mut(&mut self) -> &mut ClusterView {
        Arc::make_mut(&mut self.view)
    }

    fn topic(&self, id: Id) -> Result<TopicView, ApplyError> {
        let topic = self.view.topic_by_id(id.0).ok_or(ApplyError::UnknownTopic(id.0))?;
        Ok(TopicView::clone(topic))
    }

    fn partition_views(&self, first: usize, placements: &[Placement]) -> Vec<PartitionView> {
        let view = |(index, placement): (usize, &Placement)| {
            let shard = ShardId(placement.shard);
            let broker = self.broker_of(shard);
            PartitionView {
                index: PartitionIndex::new(index as i32),
                leader: broker,
                leader_epoch: LeaderEpoch::new(placement.leader_epoch),
                shard,
                replicas: vec![broker],
                in_sync: vec![broker],
            }
        };
        (first..).zip(placements).map(view).collect()
    }

    /// The next block of producer ids, as a command and the first of them.
    #[must_use]
    pub fn plan_producer_ids(&self) -> (Command, i64) {
        let first = self.next_producer_id;
        (Command::ProducerIdsReserved { next: first + PRODUCER_ID_BLOCK }, first)
    }

    /// What it takes to run with this many shards: nothing if it is what ran before.
    #[must_use]
    pub fn plan_shards(&self, shards: u16) -> Vec<Command> {
        if shards == self.shards {
            return Vec::new();
        }
        let placed = |Move { topic, partition, shard }: Move| Command::PartitionPlaced {
            topic: Id(topic),
            partition,
            shard: shard.0,
        };
        let mut commands: Vec<_> = placement::rebalance(&self.view, shards).into_iter().map(placed).collect();
        commands.push(Command::ShardsCounted { shards });
        commands
    }

    /// The shortest log that leads here: one record per topic.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Vec<Command>> {
        let cluster_id = self.view.cluster_id.clone();
        let mut records = vec![vec![
            Command::ClusterCreated { cluster_id },
            Command::ShardsCounted { shards: self.shards },
            Command::ProducerIdsReserved { next: self.next_producer_id },
        ]];
        for (broker, overrides) in
            [(None, &self.overrides.all), (Some(self.broker_id()), &self.overrides.own)]
        {
            if !overrides.is_empty() {
                records[0].push(Command::BrokerConfigured { broker, overrides: overrides.clone() });
            }
        }
        records[0].extend(self.view.groups.iter().map(|(group, overrides)| Command::GroupConfigured {
            group: group.clone(),
            overrides: overrides.0.clone(),
        }));
        records[0].extend(self.view.quotas.iter().map(|(entity, quotas)| Command::QuotaConfigured {
            entity: entity.clone(),
            quotas: quotas.clone(),
        }));
        let placement = |partition: &PartitionView| Placement {
            shard: partition.shard.0,
            leader_epoch: partition.leader_epoch.get(),
        };
        records.extend(self.view.topics().map(|topic| {
            vec![Command::TopicCreated {
                name: Name(topic.name.clone()),
                id: Id(topic.id),
                internal: topic.internal,
                partitions: topic.partitions.iter().map(placement).collect(),
                overrides: topic.overrides.clone(),
            }]
        }));
        records
    }

    /// The cluster as clients and shards see it.
    #[must_use]
    pub fn view(&self) -> &Arc<ClusterView> {
        &self.view
    }

    /// The settings in force.
    #[must_use]
    pub fn settings(&self) -> &Arc<Settings> {
        &self.settings
    }

    /// What files and flags gave.
    pub(super) fn given(&self) -> &Settings {
        &self.given
    }

    /// What clients have set for brokers.
    pub(super) fn overrides(&self) -> &Overrides {
        &self.overrides
    }

    /// This node's id.
    pub(super) fn broker_id(&self) -> BrokerId {
        self.brokers[0].id
    }

    /// The broker that clients know a shard as. A shard that is no more keeps the first's until its partitions
    /// have moved.
    fn broker_of(&self, shard: ShardId) -> BrokerId {
        self.brokers.get(shard.index()).unwrap_or(&self.brokers[0]).id
    }

    /// How many shards the node runs with.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.shards
    }

    /// How many partitions there are, over all topics.
    #[must_use]
    pub fn partitions(&self) -> usize {
        self.partitions
    }

    pub(super) fn num_partitions(&self) -> i32 {
        self.settings.num_partitions
    }

    pub(super) fn default_replication_factor(&self) -> i16 {
        self.settings.default_replication_factor
    }

    pub(super) fn partitions_max(&self) -> usize {
        self.settings.partitions_max
    }

    pub(super) fn topic_defaults(&self) -> &TopicDefaults {
        &self.topic_defaults
    }
}
