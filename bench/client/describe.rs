//! What a cluster says of itself: its brokers, its features, its settings and those of a topic.
//!
//! The protocol has no field for a broker's version. What there is: the features that it supports and that are
//! finalized (KIP-584), and the highest versions of its APIs.

use kafka_wire::{
    DescribeClusterRequest, DescribeConfigsRequest, DescribeConfigsResponse, describe_configs_request,
};
use kafka_wire_core::StrBytes;

use super::admin::{Admin, AdminError, check};
use super::connection::{Connection, Features};
use super::versions::{Versions, key};

const RESOURCE_TOPIC: i8 = 2;
const RESOURCE_BROKER: i8 = 4;

/// One setting, as DescribeConfigs tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Its name.
    pub name: String,
    /// `None`: secret, or without a value.
    pub value: Option<String>,
    /// Kafka's number of where the value comes from.
    pub source: i8,
}

/// What a cluster said.
#[derive(Debug)]
pub struct Said {
    /// Its id.
    pub cluster_id: String,
    /// Its brokers.
    pub brokers: usize,
    /// The one that was asked.
    pub broker: i32,
    /// Of that broker.
    pub features: Features,
    /// Of that broker.
    pub versions: Versions,
    /// Of that broker, secrets left out.
    pub broker_settings: Vec<Told>,
    /// Of the topic.
    pub topic_settings: Vec<Told>,
}

impl Admin {
    /// What the cluster says of itself, of its first broker and of a topic.
    ///
    /// # Errors
    /// [`AdminError`]: it cannot be asked, or does not want to say.
    pub fn describe(&self, topic: &str) -> Result<Said, AdminError> {
        let mut any = self.any_broker()?;
        let version = any.versions.common(key::DESCRIBE_CLUSTER)?;
        let mut request = DescribeClusterRequest::default();
        // 1: brokers, not controllers.
        request.endpoint_type = 1;
        let cluster = any.call(&request, version)?;
        check("DescribeCluster", "", cluster.error_code, cluster.error_message.as_ref())?;
        let first = cluster.brokers.iter().min_by_key(|broker| broker.broker_id);
        let first = first.ok_or_else(|| super::request::WireError::missing("DescribeClusterResponse"))?;
        // A broker's settings are known to itself alone.
        let mut broker = Connection::connect(&format!("{}:{}", first.host, first.port))?;
        let id = first.broker_id.to_string();
        Ok(Said {
            cluster_id: cluster.cluster_id.to_string(),
            brokers: cluster.brokers.len(),
            broker: first.broker_id,
            broker_settings: settings(&mut broker, RESOURCE_BROKER, &id)?,
            topic_settings: settings(&mut broker, RESOURCE_TOPIC, topic)?,
            features: broker.features,
            versions: broker.versions,
        })
    }
}

fn settings(broker: &mut Connection, kind: i8, name: &str) -> Result<Vec<Told>, AdminError> {
    let version = broker.versions.common(key::DESCRIBE_CONFIGS)?;
    let mut resource = describe_configs_request::DescribeConfigsResource::default();
    resource.resource_type = kind;
    resource.resource_name = StrBytes::from(name);
    // None: all of them.
    resource.configuration_keys = None;
    let mut request = DescribeConfigsRequest::default();
    request.resources = vec![resource];
    let answer: DescribeConfigsResponse = broker.call(&request, version)?;
    let mut told = Vec::new();
    for result in answer.results {
        check("DescribeConfigs", name, result.error_code, result.error_message.as_ref())?;
        told.extend(result.configs.into_iter().filter(|config| !config.is_sensitive).map(|config| Told {
            name: config.name.to_string(),
            value: config.value.map(|value| value.to_string()),
            source: config.config_source,
        }));
    }
    Ok(told)
}
