//! Cluster metadata, aside from the way of the data: decides, makes durable, publishes.
//!
//! Control runs on a thread of its own and is the only writer of the metadata log. A change is
//! durable there first, then published to every shard as the next [`ClusterView`], and answered
//! once all shards have applied it: a client may produce right after CreateTopics. No request on
//! the data path waits for it. It knows neither sockets nor Kafka's messages and error codes.
//!
//! Read in this order: [`command`] (what can change), [`cluster`] (the state machine),
//! [`requests`] and [`alter`] (what may be asked, and why it is refused), [`placement`] (which shard),
//! [`metadata_log`] (the file), and below: the loop that ties them to the shards.

pub mod alter;
pub mod alter_quotas;
pub mod cluster;
pub mod command;
mod internal;
pub mod metadata_log;
pub mod placement;
mod publication;
pub mod requests;

use std::{
    collections::BTreeSet,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::{Semaphore, mpsc};

pub use self::{
    alter::{AlterError, Alteration, Operation, Resource},
    alter_quotas::QuotaAlteration,
    cluster::NodeSettings,
    requests::{NewPartitions, NewTopic, TopicError, TopicRef},
};
use self::{
    cluster::{ApplyError, Cluster, PRODUCER_ID_BLOCK},
    command::Command,
    metadata_log::{MetadataLog, MetadataLogError},
    publication::Publication,
};
use crate::{
    config::Settings,
    model::{ClusterView, TopicId, TopicView, topic::base64_uuid},
};

/// Most views that are published and not yet applied by every shard; then changes wait.
const PUBLICATIONS_MAX: usize = 64;

/// What handlers ask of control.
#[derive(Debug, Clone, PartialEq)]
pub enum ControlRequest {
    /// Answered by [`ControlReply::Topics`], one result per topic in the same order.
    CreateTopics {
        /// The topics.
        topics: Vec<NewTopic>,
        /// Judge only; nothing is created.
        validate_only: bool,
    },
    /// Creates those of the topics that are not there, with defaults. Answered by [`ControlReply::Topics`].
    AutoCreate {
        /// Their names.
        names: Vec<String>,
    },
    /// Answered by [`ControlReply::Topics`]: the topics as they were.
    DeleteTopics {
        /// The topics.
        topics: Vec<TopicRef>,
    },
    /// Answered by [`ControlReply::Topics`].
    CreatePartitions {
        /// The topics and the partitions they shall have.
        topics: Vec<NewPartitions>,
        /// Judge only; nothing is created.
        validate_only: bool,
    },
    /// Answered by [`ControlReply::Altered`], one result per resource in the same order.
    Alter {
        /// The resources and what changes of them.
        alterations: Vec<Alteration>,
        /// Judge only; nothing is changed.
        validate_only: bool,
    },
    /// Answered by [`ControlReply::Altered`], one result per entity in the same order.
    AlterQuotas {
        /// The entities and what changes of them.
        alterations: Vec<QuotaAlteration>,
        /// Judge only; nothing is changed.
        validate_only: bool,
    },
    /// Files and flags give these settings from now on. Answered by an empty [`ControlReply::Altered`].
    Give(Given),
    /// Answered by [`ControlReply::ProducerIds`].
    ReserveProducerIds,
}

/// Settings on their way to control; equal if they are the same ones.
#[derive(Debug, Clone)]
pub struct Given(pub Arc<Settings>);

impl PartialEq for Given {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Given {}

/// What control answers.
#[derive(Debug, Clone, PartialEq)]
pub enum ControlReply {
    /// One result per item of the request, in its order: the topic, or why it was refused.
    Topics(Vec<Result<Arc<TopicView>, TopicError>>),
    /// One result per resource or entity of the request, in its order.
    Altered(Vec<Result<(), AlterError>>),
    /// Producer ids that nobody else has or will be given.
    ProducerIds(Range<i64>),
    /// Nothing of the request was done.
    Failed(ControlFailure),
}

/// Why a whole request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlFailure {
    /// The metadata log did not take the change.
    #[error("the metadata log did not take the change: {0}")]
    Storage(String),
    /// Control's queue is full, or the broker is stopping. The same request may succeed later.
    #[error("the controller takes no requests at present")]
    Unavailable,
}

/// How a reply finds its way back; called once, on any thread.
pub type ReplyTo = Box<dyn FnOnce(ControlReply) + Send>;

/// How a shard says that it has applied a view, or why it could not; called once, on any thread.
pub type Applied = Box<dyn FnOnce(Result<(), String>) + Send>;

/// Control's way to one shard.
pub trait ShardLink: Send {
    /// Hands the shard the next view, in the order of their epochs. `applied` is called when the
    /// shard serves by it; dropped uncalled it means that the shard is gone.
    fn publish(&self, view: Arc<ClusterView>, applied: Applied);

    /// Hands the shard the settings in force, before the view that came with them.
    fn configure(&self, settings: Arc<Settings>);
}

/// Why control cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The metadata log cannot be used.
    #[error(transparent)]
    Log(#[from] MetadataLogError),
    /// The metadata log reads well, but its commands contradict each other.
    #[error("{path}: {source}", path = path.display())]
    Inconsistent {
        /// The data directory.
        path: PathBuf,
        /// The first contradiction.
        source: ApplyError,
    },
    /// The kernel gave no random bytes for an id.
    #[error("no random bytes from the kernel: {0}")]
    Random(getrandom::Error),
}

/// The one writer of the cluster's metadata.
#[derive(Debug)]
pub struct Control {
    cluster: Cluster,
    log: MetadataLog,
}

impl Control {
    /// Reads the metadata of a data directory, or creates it, and settles it on this many shards.
    ///
    /// # Errors
    /// [`ControlError`]; damaged metadata is left as it is.
    pub fn open(data: &Path, shards: u16, node: NodeSettings) -> Result<Self, ControlError> {
        assert!(shards > 0, "a node has at least one shard");
        let (mut cluster, log) = match MetadataLog::open(data)? {
            Some((log, commands)) => {
                let mut cluster = Cluster::new(node);
                for command in &commands {
                    cluster.apply(command).map_err(|source| inconsistent(data, source))?;
                }
                (cluster, log)
            }
            None => Self::create(data, shards, node)?,
        };
        let moves = cluster.plan_shards(shards);
        let mut log = log;
        if !moves.is_empty() {
            log.append(&moves)?;
            for command in &moves {
                cluster.apply(command).map_err(|source| inconsistent(data, source))?;
            }
        }
        let snapshot = cluster.snapshot();
        if log.wants_rewrite(&snapshot)? {
            log = MetadataLog::create(data, &snapshot)?;
        }
        Ok(Self { cluster, log })
    }

    fn create(data: &Path, shards: u16, node: NodeSettings) -> Result<(Cluster, MetadataLog), ControlError> {
        let cluster_id = base64_uuid(&random_id()?.to_bytes());
        let birth = vec![Command::ClusterCreated { cluster_id }, Command::ShardsCounted { shards }];
        let log = MetadataLog::create(data, std::slice::from_ref(&birth))?;
        let mut cluster = Cluster::new(node);
        for command in &birth {
            cluster.apply(command).map_err(|source| inconsistent(data, source))?;
        }
        Ok((cluster, log))
    }

    /// The cluster as of now: for the shards before they run.
    #[must_use]
    pub fn view(&self) -> Arc<ClusterView> {
        Arc::clone(self.cluster.view())
    }

    /// The settings in force: what was given, and over it what clients have set.
    #[must_use]
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(self.cluster.settings())
    }

    /// Serves requests in their order until nobody can send any more.
    ///
    /// `shards` are all shards of the node; their number is the one given to [`Control::open`].
    pub async fn run(
        mut self,
        mut requests: mpsc::Receiver<(ControlRequest, ReplyTo)>,
        shards: Vec<Box<dyn ShardLink>>,
    ) {
        assert_eq!(shards.len(), usize::from(self.cluster.shards()), "one link per shard");
        let unapplied = Arc::new(Semaphore::new(PUBLICATIONS_MAX));
        while let Some((request, reply_to)) = requests.recv().await {
            let (epoch, settings) = (self.cluster.view().epoch, self.settings());
            let reply = self.serve(request);
            if !Arc::ptr_eq(&settings, self.cluster.settings()) {
                shards.iter().for_each(|shard| shard.configure(self.settings()));
            }
            let published = matches!(reply, ControlReply::Topics(_) | ControlReply::Altered(_));
            if !published || self.cluster.view().epoch == epoch {
                reply_to(reply);
                continue;
            }
            let Ok(permit) = Arc::clone(&unapplied).acquire_owned().await else {
                unreachable!("the semaphore is never closed");
            };
            let publication = Arc::new(Publication::new(shards.len(), reply, reply_to, permit));
            let view = self.view();
            for shard in &shards {
                shard.publish(Arc::clone(&view), publication.applied());
            }
        }
    }

    /// Decides and makes durable; publishing is the caller's.
    pub(crate) fn serve(&mut self, request: ControlRequest) -> ControlReply {
        let mut change = Change::of(&self.cluster);
        let (reply, validate_only) = match request {
            ControlRequest::CreateTopics { topics, validate_only } => {
                (ControlReply::Topics(change.create_topics(&topics, validate_only)), validate_only)
            }
            ControlRequest::AutoCreate { names } => (ControlReply::Topics(change.auto_create(names)), false),
            ControlRequest::DeleteTopics { topics } => {
                (ControlReply::Topics(change.delete_topics(&topics)), false)
            }
            ControlRequest::CreatePartitions { topics, validate_only } => {
                (ControlReply::Topics(change.create_partitions(&topics)), validate_only)
            }
            ControlRequest::Alter { alterations, validate_only } => {
                (ControlReply::Altered(change.alter(&alterations, validate_only)), validate_only)
            }
            ControlRequest::AlterQuotas { alterations, validate_only } => {
                (ControlReply::Altered(change.alter_quotas(&alterations, validate_only)), validate_only)
            }
            ControlRequest::Give(Given(settings)) => {
                self.cluster.give(settings);
                return ControlReply::Altered(Vec::new());
            }
            ControlRequest::ReserveProducerIds => {
                let (command, first) = change.cluster.plan_producer_ids();
                change.take(command);
                (ControlReply::ProducerIds(first..first + PRODUCER_ID_BLOCK), false)
            }
        };
        if validate_only || change.commands.is_empty() {
            return reply;
        }
        if let Err(error) = self.log.append(&change.commands) {
            tracing::error!(%error, "metadata log: a change was refused");
            return ControlReply::Failed(ControlFailure::Storage(error.to_string()));
        }
        self.cluster = change.cluster;
        reply
    }
}

fn inconsistent(data: &Path, source: ApplyError) -> ControlError {
    ControlError::Inconsistent { path: data.to_owned(), source }
}

/// A random id that Kafka could have given: not one it keeps for itself, and not starting with a
/// dash, which command lines would take for an option.
///
/// Source: Kafka, `Uuid.randomUuid`.
fn random_id() -> Result<TopicId, ControlError> {
    loop {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes).map_err(ControlError::Random)?;
        // Version 4, variant 2: a random UUID.
        bytes[6] = bytes[6] & 0x0f | 0x40;
        bytes[8] = bytes[8] & 0x3f | 0x80;
        if !base64_uuid(&bytes).starts_with('-') {
            return Ok(TopicId::from_bytes(bytes));
        }
    }
}

type TopicResult = Result<Arc<TopicView>, TopicError>;

/// One request on a copy of the state: later items see earlier ones, and nothing is true before
/// all of it is durable. The view, which is most of the state, is copied with the first change.
struct Change {
    cluster: Cluster,
    commands: Vec<Command>,
}

impl Change {
    fn of(cluster: &Cluster) -> Self {
        Self { cluster: cluster.clone(), commands: Vec::new() }
    }

    fn take(&mut self, command: Command) {
        let applied = self.cluster.apply(&command);
        assert_eq!(applied, Ok(()), "a planned command fits the state it was planned on");
        self.commands.push(command);
    }

    fn topic(&self, name: &str) -> TopicResult {
        self.cluster.view().topic(name).cloned().ok_or(TopicError::UnknownName)
    }

    fn create_topics(&mut self, topics: &[NewTopic], validate_only: bool) -> Vec<TopicResult> {
        let duplicates = duplicates(topics.iter().map(|topic| topic.name.as_str()));
        let mut create = |topic: &NewTopic| {
            if duplicates.contains(topic.name.as_str()) {
                return Err(TopicError::DuplicateName);
            }
            // A topic that is only judged has no incarnation.
            let id = if validate_only { Ok(TopicId::ZERO) } else { random_id() };
            let id = id.map_err(|error| TopicError::NotApplied(error.to_string()))?;
            let command = self.cluster.plan_create(topic, id)?;
            if !validate_only {
                self.take(command);
                return self.topic(&topic.name);
            }
            let mut judged = Self::of(&self.cluster);
            judged.take(command);
            judged.topic(&topic.name)
        };
        topics.iter().map(&mut create).collect()
    }

    fn auto_create(&mut self, names: Vec<String>) -> Vec<TopicResult> {
        let create = |name: String| {
            if self.cluster.view().topic(&name).is_some() {
                return self.topic(&name);
            }
            let results = self.create_topics(&[internal::on_demand(name)], false);
            results.into_iter().next().unwrap_or(Err(TopicError::UnknownName))
        };
        names.into_iter().map(create).collect()
    }

    fn delete_topics(&mut self, topics: &[TopicRef]) -> Vec<TopicResult> {
        let asked: Vec<_> = topics.iter().map(|topic| self.find(topic)).collect();
        let repeated_asks = duplicates(topics.iter());
        let repeated_ids = duplicates(asked.iter().flatten().map(|topic| topic.id));
        let delete = |(asked, found): (&TopicRef, TopicResult)| {
            let repeated = repeated_asks.contains(asked)
                || found.as_ref().is_ok_and(|topic| repeated_ids.contains(&topic.id));
            if repeated {
                return Err(match asked {
                    TopicRef::Name(_) => TopicError::DuplicateName,
                    TopicRef::Id(_) => TopicError::DuplicateId,
                });
            }
            let topic = found?;
            let command = self.cluster.plan_delete(asked)?;
            self.take(command);
            Ok(topic)
        };
        topics.iter().zip(asked).map(delete).collect()
    }

    fn alter(&mut self, alterations: &[Alteration], validate_only: bool) -> Vec<Result<(), AlterError>> {
        let duplicates = duplicates(alterations.iter().map(|alteration| &alteration.resource));
        let mut alter = |alteration: &Alteration| {
            if duplicates.contains(&alteration.resource) {
                return Err(AlterError::Duplicate);
            }
            let command = self.cluster.plan_alteration(alteration)?;
            if !validate_only {
                self.take(command);
            }
            Ok(())
        };
        alterations.iter().map(&mut alter).collect()
    }

    fn alter_quotas(
        &mut self,
        alterations: &[QuotaAlteration],
        validate_only: bool,
    ) -> Vec<Result<(), AlterError>> {
        let mut seen = BTreeSet::new();
        let mut alter = |alteration: &QuotaAlteration| {
            let (entity, command) = self.cluster.plan_quotas(alteration)?;
            if !seen.insert(entity) {
                return Err(AlterError::Quota("Ignoring duplicate entity".to_owned()));
            }
            if !validate_only {
                self.take(command);
            }
            Ok(())
        };
        alterations.iter().map(&mut alter).collect()
    }

    fn find(&self, topic: &TopicRef) -> TopicResult {
        match topic {
            TopicRef::Name(name) => self.topic(name),
            TopicRef::Id(id) => self.cluster.view().topic_by_id(*id).cloned().ok_or(TopicError::UnknownId),
        }
    }

    fn create_partitions(&mut self, topics: &[NewPartitions]) -> Vec<TopicResult> {
        let duplicates = duplicates(topics.iter().map(|topic| topic.name.as_str()));
        let mut create = |topic: &NewPartitions| {
            if duplicates.contains(topic.name.as_str()) {
                return Err(TopicError::DuplicateName);
            }
            let command = self.cluster.plan_partitions(topic)?;
            self.take(command);
            self.topic(&topic.name)
        };
        topics.iter().map(&mut create).collect()
    }
}

/// Those that occur more than once.
fn duplicates<T: Ord + Clone>(items: impl Iterator<Item = T>) -> BTreeSet<T> {
    let mut seen = BTreeSet::new();
    items.filter(|item| !seen.insert(item.clone())).collect()
}

#[cfg(test)]
mod tests;
