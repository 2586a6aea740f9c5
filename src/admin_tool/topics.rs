//! `corelane topic list | describe | create | alter | delete`

use clap::Subcommand;
use corelane_bench::client::{
    StrBytes,
    messages::{
        CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
        create_partitions_request::CreatePartitionsTopic,
        create_topics_request::{CreatableTopic, CreatableTopicConfig},
        metadata_response::MetadataResponseTopic,
    },
};
use serde_json::Value;

use super::{Cluster, Report, ToolError, lag, refusal};

const CREATE_TOPICS_MAX: i16 = 7;
const DELETE_TOPICS_MAX: i16 = 5;
const CREATE_PARTITIONS_MAX: i16 = 3;
const TIMEOUT_MS: i32 = 10_000;

/// `corelane topic`
#[derive(Debug, Subcommand)]
pub enum TopicCommand {
    /// Topics with their partitions
    List {
        /// Also those that brokers keep for themselves
        #[arg(long)]
        internal: bool,
    },
    /// Partitions of topics: leader, replicas, offsets
    Describe {
        /// Names; none: all
        topics: Vec<String>,
    },
    /// Make topics
    Create {
        /// Names
        #[arg(required = true)]
        topics: Vec<String>,
        /// Partitions [default: as the broker says]
        #[arg(long, value_name = "N")]
        partitions: Option<i32>,
        /// Replicas [default: as the broker says]
        #[arg(long, value_name = "N")]
        replication_factor: Option<i16>,
        /// A setting; may repeat
        #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
        set: Vec<(String, String)>,
        /// Only ask whether it could be made
        #[arg(long)]
        validate_only: bool,
    },
    /// Give a topic more partitions
    Alter {
        /// Its name
        topic: String,
        /// Partitions that it shall have in all
        #[arg(long, value_name = "N")]
        partitions: i32,
    },
    /// Remove topics with all their records
    Delete {
        /// Names
        #[arg(required = true)]
        topics: Vec<String>,
    },
}

pub(super) fn key_and_value(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').ok_or_else(|| "expected KEY=VALUE".to_owned())?;
    Ok((pair.0.trim().to_owned(), pair.1.trim().to_owned()))
}

pub(super) fn run(cluster: &mut Cluster, command: &TopicCommand) -> Result<Report, ToolError> {
    match command {
        TopicCommand::List { internal } => list(cluster, *internal),
        TopicCommand::Describe { topics } => describe(cluster, topics),
        TopicCommand::Create { topics, partitions, replication_factor, set, validate_only } => {
            let wanted = |name: &String| {
                let mut topic = CreatableTopic::default();
                topic.name = StrBytes::from(name.as_str());
                topic.num_partitions = partitions.unwrap_or(-1);
                topic.replication_factor = replication_factor.unwrap_or(-1);
                topic.configs = set.iter().map(config).collect();
                topic
            };
            create(cluster, topics.iter().map(wanted).collect(), *validate_only)
        }
        TopicCommand::Alter { topic, partitions } => alter(cluster, topic, *partitions),
        TopicCommand::Delete { topics } => delete(cluster, topics),
    }
}

fn config((key, value): &(String, String)) -> CreatableTopicConfig {
    let mut config = CreatableTopicConfig::default();
    config.name = StrBytes::from(key.as_str());
    config.value = Some(StrBytes::from(value.as_str()));
    config
}

fn name(topic: &MetadataResponseTopic) -> String {
    topic.name.as_ref().map(ToString::to_string).unwrap_or_default()
}

fn list(cluster: &mut Cluster, internal: bool) -> Result<Report, ToolError> {
    let mut topics = cluster.metadata(None)?.topics;
    topics.sort_by_key(name);
    let mut report = Report::new(&["topic", "partitions", "replicas", "internal"]);
    for topic in topics.iter().filter(|topic| internal || !topic.is_internal) {
        let replicas = topic.partitions.first().map_or(0, |partition| partition.replica_nodes.len());
        report.row([
            name(topic).into(),
            topic.partitions.len().into(),
            replicas.into(),
            topic.is_internal.into(),
        ]);
    }
    Ok(report)
}

fn describe(cluster: &mut Cluster, topics: &[String]) -> Result<Report, ToolError> {
    let answer = cluster.metadata((!topics.is_empty()).then_some(topics))?;
    let columns =
        ["topic", "partition", "leader", "leader_epoch", "replicas", "in_sync", "log_start", "log_end"];
    let mut report = Report::new(&columns);
    let partitions = answer
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|partition| (name(topic), partition.partition_index)));
    let partitions: Vec<_> = partitions.collect();
    let starts = lag::offsets(cluster, &answer, &partitions, lag::EARLIEST)?;
    let ends = lag::offsets(cluster, &answer, &partitions, lag::LATEST)?;
    for topic in &answer.topics {
        if let Some(error) = refusal(format!("topic {}", name(topic)), topic.error_code, None) {
            return Err(error);
        }
        let mut of_topic: Vec<_> = topic.partitions.iter().collect();
        of_topic.sort_by_key(|partition| partition.partition_index);
        for partition in of_topic {
            let place = (name(topic), partition.partition_index);
            let known =
                |offsets: &lag::Offsets| offsets.get(&place).map_or(Value::Null, |offset| (*offset).into());
            report.row([
                place.0.clone().into(),
                place.1.into(),
                partition.leader_id.into(),
                partition.leader_epoch.into(),
                partition.replica_nodes.clone().into(),
                partition.isr_nodes.clone().into(),
                known(&starts),
                known(&ends),
            ]);
        }
    }
    Ok(report)
}

/// One row per topic: what became of it.
fn outcome(report: &mut Report, topic: &str, done: &str, code: i16, message: Option<&StrBytes>) {
    let message = message.map(|message| format!(": {message}")).unwrap_or_default();
    if code == 0 {
        report.row([topic.into(), done.into()]);
    } else {
        report.fail();
        report.row([topic.into(), format!("{}{message}", super::code_text(code)).into()]);
    }
}

fn create(
    cluster: &mut Cluster,
    topics: Vec<CreatableTopic>,
    validate_only: bool,
) -> Result<Report, ToolError> {
    let mut request = CreateTopicsRequest::default();
    (request.topics, request.timeout_ms, request.validate_only) = (topics, TIMEOUT_MS, validate_only);
    let answer = cluster.controller()?.ask(&request, CREATE_TOPICS_MAX)?;
    let mut report = Report::new(&["topic", "result"]);
    let done = if validate_only { "could be created" } else { "created" };
    for topic in &answer.topics {
        outcome(&mut report, &topic.name, done, topic.error_code, topic.error_message.as_ref());
    }
    Ok(report)
}

fn alter(cluster: &mut Cluster, topic: &str, partitions: i32) -> Result<Report, ToolError> {
    let mut wanted = CreatePartitionsTopic::default();
    (wanted.name, wanted.count) = (StrBytes::from(topic), partitions);
    wanted.assignments = None;
    let mut request = CreatePartitionsRequest::default();
    (request.topics, request.timeout_ms) = (vec![wanted], TIMEOUT_MS);
    let answer = cluster.controller()?.ask(&request, CREATE_PARTITIONS_MAX)?;
    let mut report = Report::new(&["topic", "result"]);
    for result in &answer.results {
        let done = format!("has {partitions} partitions");
        outcome(&mut report, &result.name, &done, result.error_code, result.error_message.as_ref());
    }
    Ok(report)
}

fn delete(cluster: &mut Cluster, topics: &[String]) -> Result<Report, ToolError> {
    let mut request = DeleteTopicsRequest::default();
    request.topic_names = topics.iter().map(|name| StrBytes::from(name.as_str())).collect();
    request.timeout_ms = TIMEOUT_MS;
    let answer = cluster.controller()?.ask(&request, DELETE_TOPICS_MAX)?;
    let mut report = Report::new(&["topic", "result"]);
    for result in &answer.responses {
        let name = result.name.as_ref().map(ToString::to_string).unwrap_or_default();
        outcome(&mut report, &name, "deleted", result.error_code, result.error_message.as_ref());
    }
    Ok(report)
}
