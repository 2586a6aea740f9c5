//! What may be asked of the cluster, and why it may be refused.
//!
//! Each item of a request is judged by itself, in the order Kafka judges it, and becomes a command or
//! a [`TopicError`]; `handlers` gives the error its Kafka code.
//!
//! Source: Kafka 4.1, `ControllerApis`, `ReplicationControlManager` (rules and their order).

use std::collections::{BTreeMap, BTreeSet};

use super::{
    cluster::Cluster,
    command::{Command, Id, Name, Placement},
    internal,
    placement::place_new,
};
use crate::{
    config::topic::{self, TopicConfigError},
    model::{BrokerId, LeaderEpoch, ShardId, TopicId, TopicName, TopicNameError, TopicView},
};

/// A topic that shall be created, as it was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; -1 for the broker's default, or where `assignments` says it.
    pub partitions: i32,
    /// How many replicas of each; -1 for the broker's default, or where `assignments` says it.
    pub replication_factor: i16,
    /// Brokers of each partition, by partition; empty to let the broker choose.
    pub assignments: Vec<(i32, Vec<BrokerId>)>,
    /// Topic-level settings.
    pub configs: Vec<(String, Option<String>)>,
}

/// More partitions for a topic, as they were asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewPartitions {
    /// The topic's name.
    pub name: String,
    /// How many partitions it shall have in all.
    pub count: i32,
    /// Brokers of each new partition; `None` to let the broker choose.
    pub assignments: Option<Vec<Vec<BrokerId>>>,
}

/// A topic, by name or by id.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum TopicRef {
    /// By its name.
    Name(String),
    /// By its incarnation.
    Id(TopicId),
}

/// Why one item of a request was refused; nothing of it was done. The text is for the client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// The name is none.
    #[error("Topic name is invalid: {0}")]
    InvalidName(#[from] TopicNameError),
    /// The name is Kafka's own for cluster metadata.
    #[error("Creation of internal topic {0} is prohibited.")]
    ReservedName(&'static str),
    /// Its metrics could not be told from another topic's.
    #[error("Topic '{name}' collides with existing topic: {with}")]
    Collision {
        /// The new name.
        name: TopicName,
        /// The topic that is there.
        with: TopicName,
    },
    /// The request names the topic more than once.
    #[error("Duplicate topic name.")]
    DuplicateName,
    /// The request names the topic more than once, by its id.
    #[error("Duplicate topic id.")]
    DuplicateId,
    /// There is such a topic already.
    #[error("Topic '{0}' already exists.")]
    AlreadyExists(TopicName),
    /// There is no topic of that name.
    #[error("This server does not host this topic-partition.")]
    UnknownName,
    /// There is no topic of that id.
    #[error("This server does not host this topic ID.")]
    UnknownId,
    /// The topic is the broker's own.
    #[error("Topic '{0}' is internal and cannot be deleted.")]
    Internal(TopicName),
    /// A count of partitions that is neither positive nor -1.
    #[error("Number of partitions was set to an invalid non-positive value.")]
    PartitionsNotPositive,
    /// More partitions than the broker may hold.
    #[error("{wanted} more partitions would exceed the broker's limit of {partitions_max} (partitions.max).")]
    TooManyPartitions {
        /// How many were asked for.
        wanted: usize,
        /// How many there may be in all.
        partitions_max: usize,
    },
    /// The topic has as many or more partitions.
    #[error("The topic {name} currently has {current} partition(s); {count} would not be an increase.")]
    NoIncrease {
        /// The topic.
        name: TopicName,
        /// Partitions it has.
        current: usize,
        /// Partitions it was to have.
        count: i32,
    },
    /// A replication factor that is neither positive nor -1.
    #[error("Replication factor must be larger than 0, or -1 to use the default value.")]
    ReplicationFactorNotPositive,
    /// More replicas than there are brokers.
    #[error(
        "Unable to replicate the partition {wanted} time(s): The target replication factor of {wanted} cannot be reached because only {brokers} broker(s) are registered."
    )]
    TooFewBrokers {
        /// Replicas asked for.
        wanted: i16,
        /// Brokers there are.
        brokers: usize,
    },
    /// Both an assignment and a count: which one is named here.
    #[error("A manual partition assignment was specified, but {0} was not set to -1.")]
    AssignmentAndCount(&'static str),
    /// The assignment is unsound.
    #[error("{0}")]
    InvalidAssignment(String),
    /// A setting is unsound.
    #[error("{0}")]
    InvalidConfig(#[from] TopicConfigError),
    /// Settings without a value.
    #[error("Null value not supported for topic configs: {0}")]
    NullConfig(String),
    /// It was made durable, but a shard could not follow; it does on restart.
    #[error("The change is durable, but a shard could not apply it: {0}")]
    NotApplied(String),
}

/// Kafka keeps its own metadata under this name. Source: Kafka, `Topic.CLUSTER_METADATA_TOPIC_NAME`.
const CLUSTER_METADATA_TOPIC: &str = "__cluster_metadata";

/// Replicas of one partition: a node keeps one, also where clients know each of its cores as a broker.
const REPLICAS_MAX: usize = 1;

impl Cluster {
    /// Judges one topic that shall be created under `id`.
    ///
    /// # Errors
    /// [`TopicError`] for the client.
    pub fn plan_create(&self, new: &NewTopic, id: TopicId) -> Result<Command, TopicError> {
        if new.name == CLUSTER_METADATA_TOPIC {
            return Err(TopicError::ReservedName(CLUSTER_METADATA_TOPIC));
        }
        let name = TopicName::new(&new.name)?;
        if self.view().topic(name.as_str()).is_some() {
            return Err(TopicError::AlreadyExists(name));
        }
        if let Some(with) = self.collision(&name) {
            return Err(TopicError::Collision { name, with });
        }
        let overrides = self.checked_overrides(&new.configs)?;
        let count =
            if new.assignments.is_empty() { self.chosen_count(new)? } else { self.assigned_count(new)? };
        self.validate_room_for(count)?;
        let mut shards = place_new(self.view(), self.shards(), None, count);
        for (partition, brokers) in &new.assignments {
            let shard = usize::try_from(*partition).ok().and_then(|at| shards.get_mut(at));
            self.assign(shard.expect("assignments are numbered from 0"), brokers);
        }
        let partitions = placements(shards);
        let internal = internal::is_internal(name.as_str());
        Ok(Command::TopicCreated { name: Name(name), id: Id(id), internal, partitions, overrides })
    }

    /// Judges one topic that shall be deleted.
    ///
    /// # Errors
    /// [`TopicError`] for the client.
    pub fn plan_delete(&self, topic: &TopicRef) -> Result<Command, TopicError> {
        let topic = match topic {
            TopicRef::Name(name) => self.view().topic(name).ok_or(TopicError::UnknownName)?,
            TopicRef::Id(id) => self.view().topic_by_id(*id).ok_or(TopicError::UnknownId)?,
        };
        if topic.internal {
            return Err(TopicError::Internal(topic.name.clone()));
        }
        Ok(Command::TopicDeleted { topic: Id(topic.id) })
    }

    /// Judges more partitions for one topic.
    ///
    /// # Errors
    /// [`TopicError`] for the client.
    pub fn plan_partitions(&self, new: &NewPartitions) -> Result<Command, TopicError> {
        let topic = self.view().topic(&new.name).ok_or(TopicError::UnknownName)?;
        let current = topic.partitions.len();
        let added = usize::try_from(new.count).unwrap_or(0).saturating_sub(current);
        if added == 0 {
            let name = topic.name.clone();
            return Err(TopicError::NoIncrease { name, current, count: new.count });
        }
        if let Some(assignments) = &new.assignments {
            if assignments.len() != added {
                return Err(TopicError::InvalidAssignment(format!(
                    "Attempted to add {added} additional partition(s), but only {} assignment(s) were specified.",
                    assignments.len()
                )));
            }
            let replicas = replicas_of(topic);
            for brokers in assignments {
                self.validate_assignment(brokers, Some(replicas))?;
            }
        }
        self.validate_room_for(added)?;
        let mut shards = place_new(self.view(), self.shards(), Some(topic), added);
        for (shard, brokers) in shards.iter_mut().zip(new.assignments.iter().flatten()) {
            self.assign(shard, brokers);
        }
        Ok(Command::PartitionsAdded { topic: Id(topic.id), partitions: placements(shards) })
    }

    fn collision(&self, name: &TopicName) -> Option<TopicName> {
        if !name.as_str().contains(['.', '_']) {
            return None;
        }
        self.view().topics().map(|topic| &topic.name).find(|other| other.collides_with(name)).cloned()
    }

    fn checked_overrides(
        &self,
        configs: &[(String, Option<String>)],
    ) -> Result<BTreeMap<String, String>, TopicError> {
        let null = |(key, value): &(String, Option<String>)| value.is_none().then(|| key.clone());
        let nulls: Vec<String> = configs.iter().filter_map(null).collect();
        if !nulls.is_empty() {
            return Err(TopicError::NullConfig(nulls.join(",")));
        }
        let pair = |(key, value): &(String, Option<String>)| Some((key.clone(), value.clone()?));
        let overrides = configs.iter().filter_map(pair).collect();
        topic::validate(&overrides, self.topic_defaults())?;
        Ok(overrides)
    }

    fn chosen_count(&self, new: &NewTopic) -> Result<usize, TopicError> {
        let factor = match new.replication_factor {
            -1 => self.default_replication_factor(),
            factor if factor > 0 => factor,
            _ => return Err(TopicError::ReplicationFactorNotPositive),
        };
        let count = match new.partitions {
            -1 => self.num_partitions(),
            count if count > 0 => count,
            _ => return Err(TopicError::PartitionsNotPositive),
        };
        let brokers = REPLICAS_MAX;
        if usize::try_from(factor).unwrap_or(0) > brokers {
            return Err(TopicError::TooFewBrokers { wanted: factor, brokers });
        }
        usize::try_from(count).map_err(|_| TopicError::PartitionsNotPositive)
    }

    fn assigned_count(&self, new: &NewTopic) -> Result<usize, TopicError> {
        if new.replication_factor != -1 {
            return Err(TopicError::AssignmentAndCount("replication factor"));
        }
        if new.partitions != -1 {
            return Err(TopicError::AssignmentAndCount("numPartitions"));
        }
        let mut seen = BTreeSet::new();
        let mut replicas = None;
        for (partition, brokers) in &new.assignments {
            if !seen.insert(*partition) {
                return Err(TopicError::InvalidAssignment(format!(
                    "Found multiple manual partition assignments for partition {partition}"
                )));
            }
            self.validate_assignment(brokers, replicas)?;
            replicas = Some(brokers.len());
        }
        let consecutive = seen.iter().zip(0..).all(|(index, expected)| *index == expected);
        if !consecutive {
            return Err(TopicError::InvalidAssignment(
                "partitions should be a consecutive 0-based integer sequence".to_owned(),
            ));
        }
        Ok(seen.len())
    }

    fn validate_assignment(&self, brokers: &[BrokerId], replicas: Option<usize>) -> Result<(), TopicError> {
        let refuse = |what: String| {
            Err(TopicError::InvalidAssignment(format!("The manual partition assignment includes {what}")))
        };
        if brokers.is_empty() {
            return refuse("an empty replica list.".to_owned());
        }
        let mut seen = BTreeSet::new();
        for broker in brokers {
            if !self.view().brokers.iter().any(|known| known.id == *broker) {
                return refuse(format!("broker {broker}, but no such broker is registered."));
            }
            if !seen.insert(broker) {
                return refuse(format!("the broker {broker} more than once."));
            }
        }
        if brokers.len() > REPLICAS_MAX {
            return refuse(format!(
                "{} replicas; this node keeps {REPLICAS_MAX} of each partition.",
                brokers.len()
            ));
        }
        match replicas {
            Some(replicas) if replicas != brokers.len() => refuse(format!(
                "a partition with {} replica(s), but this is not consistent with previous partitions, which have {replicas} replica(s).",
                brokers.len()
            )),
            _ => Ok(()),
        }
    }

    /// A broker that clients know one shard as gets what it is assigned; otherwise we choose.
    fn assign(&self, shard: &mut ShardId, brokers: &[BrokerId]) {
        let known = &self.view().brokers;
        if let Some(at) = known.iter().position(|known| brokers.first() == Some(&known.id))
            && known.len() > 1
        {
            *shard = ShardId(at as u16);
        }
    }

    fn validate_room_for(&self, wanted: usize) -> Result<(), TopicError> {
        let partitions_max = self.partitions_max();
        if self.partitions().saturating_add(wanted) > partitions_max {
            return Err(TopicError::TooManyPartitions { wanted, partitions_max });
        }
        Ok(())
    }
}

fn replicas_of(topic: &TopicView) -> usize {
    topic.partitions.first().map_or(1, |partition| partition.replicas.len())
}

fn placements(shards: Vec<ShardId>) -> Vec<Placement> {
    let leader_epoch = LeaderEpoch::FIRST.get();
    shards.into_iter().map(|shard| Placement { shard: shard.0, leader_epoch }).collect()
}
