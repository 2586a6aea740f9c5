//! `corelane topic | group | config | cluster`: administration over the Kafka protocol, of any Kafka broker.
//!
//! The room is a client: it knows addresses and messages, and nothing of this broker. Each file is one noun, each
//! function one verb: it asks, and returns a [`Report`] that [`run`] prints as a table or as JSON. What would
//! change offsets only shows what it would do, until it is told `--execute`.

mod cluster;
mod configs;
mod groups;
mod lag;
mod report;
mod topics;

use std::{collections::HashMap, process::ExitCode};

use clap::{Args, Subcommand};
use corelane_bench::client::{
    StrBytes,
    admin::AdminError,
    connection::Connection,
    messages::{MetadataRequest, MetadataResponse, metadata_request::MetadataRequestTopic},
};

pub use configs::{AlterConfig, DescribeConfig};
pub use groups::GroupCommand;
use report::Report;
pub use topics::TopicCommand;

/// Highest version of Metadata that is asked for: names, ids and leader epochs are all that is used.
const METADATA_MAX: i16 = 12;

/// Where to ask, and how to answer.
#[derive(Debug, Clone, Args)]
pub struct Target {
    /// Brokers to ask first, separated by commas
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9092", global = true)]
    pub bootstrap: String,
    /// Print JSON instead of a table
    #[arg(long, global = true)]
    pub json: bool,
}

/// `corelane cluster`
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Brokers, controller and cluster id
    Describe,
}

/// What is to be done.
#[derive(Debug)]
pub enum Task<'a> {
    /// To topics.
    Topic(&'a TopicCommand),
    /// To groups.
    Group(&'a GroupCommand),
    /// To the cluster.
    Cluster(&'a ClusterCommand),
    /// Show settings.
    DescribeConfig(&'a DescribeConfig),
    /// Change settings.
    AlterConfig(&'a AlterConfig),
}

/// Why nothing came of it, as one sentence.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ToolError {
    /// No broker answered, or not as Kafka does.
    #[error(transparent)]
    Broker(#[from] AdminError),
    /// The broker refused.
    #[error("{what}: {code}{}", text(.message.as_ref()))]
    Refused {
        /// What was asked.
        what: String,
        /// Kafka's error, by name and number.
        code: String,
        /// What the broker says.
        message: Option<String>,
    },
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(String),
}

fn text(message: Option<&String>) -> String {
    message.map(|message| format!(": {message}")).unwrap_or_default()
}

/// Does it and prints the result; exit status 1 if it failed.
pub fn run(target: &Target, task: &Task<'_>) -> ExitCode {
    let done = Cluster::reach(&target.bootstrap).and_then(|mut cluster| match task {
        Task::Topic(command) => topics::run(&mut cluster, command),
        Task::Group(command) => groups::run(&mut cluster, command),
        Task::Cluster(ClusterCommand::Describe) => cluster::describe(&mut cluster),
        Task::DescribeConfig(command) => configs::describe(&mut cluster, command),
        Task::AlterConfig(command) => configs::alter(&mut cluster, command),
    });
    match done {
        Ok(report) => {
            report.print(target.json);
            if report.has_failed() { ExitCode::FAILURE } else { ExitCode::SUCCESS }
        }
        Err(error) => {
            eprintln!("corelane: {error}");
            ExitCode::FAILURE
        }
    }
}

/// A cluster, by the first of its brokers that answers; connections to others as they are needed.
pub(crate) struct Cluster {
    first: Connection,
    others: HashMap<String, Connection>,
}

impl Cluster {
    fn reach(bootstrap: &str) -> Result<Self, ToolError> {
        let mut last = ToolError::Usage("--bootstrap names no broker".to_owned());
        for address in bootstrap.split(',').map(str::trim).filter(|address| !address.is_empty()) {
            match Connection::connect(address) {
                Ok(first) => return Ok(Self { first, others: HashMap::new() }),
                Err(error) => last = error.into(),
            }
        }
        Err(last)
    }

    /// Any broker.
    pub(crate) fn any(&mut self) -> &mut Connection {
        &mut self.first
    }

    /// The broker at that address.
    pub(crate) fn at(&mut self, address: &str) -> Result<&mut Connection, ToolError> {
        if !self.others.contains_key(address) {
            self.others.insert(address.to_owned(), Connection::connect(address)?);
        }
        Ok(self.others.get_mut(address).expect("it was just put there"))
    }

    /// What the cluster says of these topics, or of all.
    pub(crate) fn metadata(&mut self, topics: Option<&[String]>) -> Result<MetadataResponse, ToolError> {
        let mut request = MetadataRequest::default();
        request.allow_auto_topic_creation = false;
        request.topics = topics.map(|topics| {
            let asked = |name: &String| {
                let mut topic = MetadataRequestTopic::default();
                topic.name = Some(StrBytes::from(name.as_str()));
                topic
            };
            topics.iter().map(asked).collect()
        });
        Ok(self.first.ask(&request, METADATA_MAX)?)
    }

    /// The controller, which creates and deletes.
    pub(crate) fn controller(&mut self) -> Result<&mut Connection, ToolError> {
        let answer = self.metadata(Some(&[]))?;
        let controller = answer.brokers.iter().find(|broker| broker.node_id == answer.controller_id);
        match controller.map(|broker| format!("{}:{}", broker.host, broker.port)) {
            Some(address) => self.at(&address),
            // Under KRaft any broker passes it on.
            None => Ok(&mut self.first),
        }
    }
}

/// Kafka's name of an error, as far as this tool meets it, and its number.
pub(crate) fn code_text(code: i16) -> String {
    let name = match code {
        3 => "UNKNOWN_TOPIC_OR_PARTITION",
        14 => "COORDINATOR_LOAD_IN_PROGRESS",
        15 => "COORDINATOR_NOT_AVAILABLE",
        16 => "NOT_COORDINATOR",
        17 => "INVALID_TOPIC_EXCEPTION",
        25 => "UNKNOWN_MEMBER_ID",
        29 => "TOPIC_AUTHORIZATION_FAILED",
        30 => "GROUP_AUTHORIZATION_FAILED",
        31 => "CLUSTER_AUTHORIZATION_FAILED",
        36 => "TOPIC_ALREADY_EXISTS",
        37 => "INVALID_PARTITIONS",
        38 => "INVALID_REPLICATION_FACTOR",
        40 => "INVALID_CONFIG",
        41 => "NOT_CONTROLLER",
        42 => "INVALID_REQUEST",
        44 => "POLICY_VIOLATION",
        68 => "NON_EMPTY_GROUP",
        69 => "GROUP_ID_NOT_FOUND",
        _ => return format!("Kafka error {code}"),
    };
    format!("{name} ({code})")
}

/// An error of the broker as one of ours; `None` for success.
pub(crate) fn refusal(what: impl Into<String>, code: i16, message: Option<&StrBytes>) -> Option<ToolError> {
    (code != 0).then(|| ToolError::Refused {
        what: what.into(),
        code: code_text(code),
        message: message.map(ToString::to_string),
    })
}
