//! Blocking calls before and between the load: who leads what, create the topic, where its logs end.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use kafka_wire::{
    CreateTopicsRequest, InitProducerIdRequest, ListOffsetsRequest, MetadataRequest, create_topics_request,
    list_offsets_request, metadata_request,
};
use kafka_wire_core::{StrBytes, Uuid};

use super::connection::Connection;
pub use super::connection::connect;
use super::request::WireError;
use super::versions::{NoCommonVersion, key};

/// Longest wait for a new topic's leaders.
const LEADERS_TIMEOUT: Duration = Duration::from_secs(20);

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const TOPIC_ALREADY_EXISTS: i16 = 36;

/// Why an administrative call failed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// No broker of the list answered; the last failure.
    #[error("cannot reach {address}: {source}")]
    Unreachable {
        /// As given or as the cluster advertises it.
        address: String,
        /// What the last attempt said.
        source: io::Error,
    },
    /// The connection broke.
    #[error("connection lost: {0}")]
    Io(#[from] io::Error),
    /// Bytes that mean nothing.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// No version in common.
    #[error(transparent)]
    Version(#[from] NoCommonVersion),
    /// The broker answered with an error.
    #[error("{what} of `{topic}`: Kafka error {code}{text}")]
    Broker {
        /// The call.
        what: &'static str,
        /// The topic.
        topic: String,
        /// Kafka's error code.
        code: i16,
        /// What the broker says about it.
        text: String,
    },
    /// The broker can do without what was asked for.
    #[error("the broker has no {what}: it does not serve {api}")]
    NotServed {
        /// What would need it.
        what: &'static str,
        /// The API.
        api: &'static str,
    },
    /// Partitions without a leader for too long.
    #[error("topic `{0}` has partitions without a leader")]
    NoLeader(String),
}

/// What the cluster says about one topic.
#[derive(Debug, Clone)]
pub struct Topology {
    /// Topic.
    pub topic: String,
    /// Its id; zero where the broker knows none.
    pub topic_id: Uuid,
    /// `host:port` of each partition's leader, by partition index.
    pub leaders: Vec<String>,
    /// Version for Produce.
    pub produce_version: i16,
    /// Version for Fetch.
    pub fetch_version: i16,
}

/// What a reader sees of transactions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
#[repr(i8)]
pub enum Isolation {
    /// Everything, as soon as it is there.
    #[default]
    ReadUncommitted = 0,
    /// What was committed.
    ReadCommitted = 1,
}

/// A topic that is made if it is missing.
#[derive(Debug, Clone, Default)]
pub struct NewTopic {
    /// Partitions.
    pub partitions: u32,
    /// Its settings: name and value.
    pub configs: Vec<(String, String)>,
}

/// Where to ask.
#[derive(Debug, Clone)]
pub struct Admin {
    bootstrap: Vec<String>,
}

impl Admin {
    /// Asks the brokers of a comma-separated list, in order, until one answers.
    pub fn new(bootstrap: &str) -> Self {
        Self {
            bootstrap: bootstrap.split(',').map(|s| s.trim().to_owned()).filter(|s| !s.is_empty()).collect(),
        }
    }

    pub(super) fn any_broker(&self) -> Result<Connection, AdminError> {
        let mut last = None;
        for address in &self.bootstrap {
            match Connection::connect(address) {
                Ok(broker) => return Ok(broker),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| AdminError::Unreachable {
            address: "--bootstrap".into(),
            source: io::Error::other("no broker given"),
        }))
    }

    /// The topic as it is now; with `create`, it is made if missing, and its leaders are waited for.
    ///
    /// # Errors
    /// [`AdminError`]; a missing topic without `create` is UNKNOWN_TOPIC_OR_PARTITION.
    pub fn topology(&self, topic: &str, create: Option<&NewTopic>) -> Result<Topology, AdminError> {
        let mut broker = self.any_broker()?;
        let deadline = Instant::now() + LEADERS_TIMEOUT;
        let mut created = false;
        loop {
            match (describe(&mut broker, topic), create) {
                (Err(AdminError::Broker { code: UNKNOWN_TOPIC_OR_PARTITION, .. }), Some(wanted)) => {
                    // A broker may be slow to show what it has just made.
                    if !std::mem::replace(&mut created, true) {
                        create_topic(&mut broker, topic, wanted)?;
                    }
                }
                (Err(AdminError::NoLeader(_)), _) => {}
                // Metadata may name a leader before that has opened the partition: with acks=0 it would then
                // close the connection without a word. A leader that knows its offsets is ready.
                (Ok(topology), _) if created && self.offsets(&topology, -1).is_err() => {}
                (settled, _) => return settled,
            }
            if Instant::now() >= deadline {
                return Err(AdminError::NoLeader(topic.to_owned()));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ids and epochs of `count` new idempotent producers.
    ///
    /// # Errors
    /// [`AdminError`].
    pub fn producer_ids(&self, count: u32) -> Result<Vec<(i64, i16)>, AdminError> {
        let mut broker = self.any_broker()?;
        let version = broker.versions.common(key::INIT_PRODUCER_ID)?;
        let mut request = InitProducerIdRequest::default();
        request.transactional_id = None;
        request.transaction_timeout_ms = i32::MAX;
        request.producer_id = -1;
        request.producer_epoch = -1;
        let mut ask = || {
            let answer = broker.call(&request, version)?;
            check("InitProducerId", "", answer.error_code, None)?;
            Ok((answer.producer_id, answer.producer_epoch))
        };
        (0..count).map(|_| ask()).collect()
    }

    /// Offsets of every partition: `-2` the first, `-1` the end.
    ///
    /// # Errors
    /// [`AdminError`].
    pub fn offsets(&self, topology: &Topology, timestamp: i64) -> Result<Vec<i64>, AdminError> {
        self.offsets_seen(topology, timestamp, Isolation::ReadUncommitted)
    }

    /// The same, as a reader of that isolation sees them: to it, a log ends where the first open transaction begins.
    ///
    /// # Errors
    /// [`AdminError`].
    pub fn offsets_seen(
        &self,
        topology: &Topology,
        timestamp: i64,
        isolation: Isolation,
    ) -> Result<Vec<i64>, AdminError> {
        let mut by_leader: HashMap<&str, Vec<i32>> = HashMap::new();
        for (index, leader) in (0..).zip(&topology.leaders) {
            by_leader.entry(leader).or_default().push(index);
        }
        let mut offsets = vec![-1; topology.leaders.len()];
        for (leader, partitions) in by_leader {
            let mut broker = Connection::connect(leader)?;
            let version = broker.versions.common(key::LIST_OFFSETS)?;
            let mut asked = list_offsets_request::ListOffsetsTopic::default();
            asked.name = StrBytes::from(topology.topic.as_str());
            for index in partitions {
                let mut partition = list_offsets_request::ListOffsetsPartition::default();
                partition.partition_index = index;
                partition.current_leader_epoch = -1;
                partition.timestamp = timestamp;
                asked.partitions.push(partition);
            }
            let mut request = ListOffsetsRequest::default();
            request.replica_id = -1;
            request.isolation_level = isolation as i8;
            request.topics = vec![asked];
            let answer = broker.call(&request, version)?;
            for partition in answer.topics.iter().flat_map(|topic| &topic.partitions) {
                check("ListOffsets", &topology.topic, partition.error_code, None)?;
                let slot = usize::try_from(partition.partition_index).ok().and_then(|i| offsets.get_mut(i));
                if let Some(slot) = slot {
                    *slot = partition.offset;
                }
            }
        }
        // A partition that nothing is said of must not pass for an empty one.
        if offsets.contains(&-1) {
            return Err(WireError::missing("ListOffsetsResponse").into());
        }
        Ok(offsets)
    }
}

pub(super) fn check(
    what: &'static str,
    topic: &str,
    code: i16,
    text: Option<&StrBytes>,
) -> Result<(), AdminError> {
    if code == 0 {
        return Ok(());
    }
    let text = text.map(|t| format!(": {t}")).unwrap_or_default();
    Err(AdminError::Broker { what, topic: topic.to_owned(), code, text })
}

fn describe(broker: &mut Connection, topic: &str) -> Result<Topology, AdminError> {
    let version = broker.versions.common(key::METADATA)?;
    let mut asked = metadata_request::MetadataRequestTopic::default();
    asked.name = Some(StrBytes::from(topic));
    let mut request = MetadataRequest::default();
    request.topics = Some(vec![asked]);
    // Before version 4 a broker creates what is asked for, if it may, and there is no flag to say so.
    request.allow_auto_topic_creation = version < 4;
    let answer = broker.call(&request, version)?;
    let brokers: HashMap<i32, String> =
        answer.brokers.iter().map(|b| (b.node_id, format!("{}:{}", b.host, b.port))).collect();
    let no_leader = || AdminError::NoLeader(topic.to_owned());
    let found = answer.topics.first().ok_or_else(no_leader)?;
    // LEADER_NOT_AVAILABLE: being created.
    if found.error_code == 5 || (found.error_code == 0 && found.partitions.is_empty()) {
        return Err(no_leader());
    }
    check("Metadata", topic, found.error_code, None)?;
    let mut leaders = vec![None; found.partitions.len()];
    for partition in &found.partitions {
        let index = usize::try_from(partition.partition_index).ok().filter(|i| *i < leaders.len());
        let leader = brokers.get(&partition.leader_id).filter(|_| partition.error_code == 0);
        leaders[index.ok_or_else(no_leader)?] = leader.cloned();
    }
    let leaders: Option<Vec<String>> = leaders.into_iter().collect();
    let fetch_version = broker.versions.common(key::FETCH)?;
    Ok(Topology {
        topic: topic.to_owned(),
        topic_id: found.topic_id,
        leaders: leaders.ok_or_else(no_leader)?,
        produce_version: broker.versions.common(key::PRODUCE)?,
        fetch_version: if found.topic_id.is_zero() { fetch_version.min(12) } else { fetch_version },
    })
}

fn create_topic(broker: &mut Connection, topic: &str, new: &NewTopic) -> Result<(), AdminError> {
    let version = broker.versions.common(key::CREATE_TOPICS)?;
    let mut wanted = create_topics_request::CreatableTopic::default();
    wanted.name = StrBytes::from(topic);
    wanted.num_partitions = i32::try_from(new.partitions).unwrap_or(i32::MAX);
    wanted.configs = new
        .configs
        .iter()
        .map(|(name, value)| {
            let mut config = create_topics_request::CreatableTopicConfig::default();
            config.name = StrBytes::from(name.as_str());
            config.value = Some(StrBytes::from(value.as_str()));
            config
        })
        .collect();
    // Since version 4 the broker's default may be asked for (KIP-464).
    wanted.replication_factor = if version >= 4 { -1 } else { 1 };
    let mut request = CreateTopicsRequest::default();
    request.topics = vec![wanted];
    request.timeout_ms = 10_000;
    let answer = broker.call(&request, version)?;
    match answer.topics.first() {
        Some(result) if result.error_code == TOPIC_ALREADY_EXISTS => Ok(()),
        Some(result) => check("CreateTopics", topic, result.error_code, result.error_message.as_ref()),
        None => Err(WireError::missing("CreateTopicsResponse").into()),
    }
}
