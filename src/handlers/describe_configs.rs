//! DescribeConfigs (32), versions 1 to 4: settings of topics, of groups and of this broker.
//!
//! Every key there is gets an entry, whether somebody set it or not: Schema Registry, Connect and
//! Streams refuse to run when one they look for is missing.
//!
//! Source: Kafka 4.1, `ConfigHelper`, `ConfigResource.Type`, `DescribeConfigsResponse.ConfigSource`.

use super::{Context, HandlerSettings, text};
use crate::{
    config::{
        BrokerSetting, Origin,
        group::{self, GroupKey},
        topic::{ConfigType, TABLE, TopicKey},
    },
    model::{ErrorCode, TopicName, TopicView},
    wire::messages::{
        DescribeConfigsRequest, DescribeConfigsResponse, StrBytes,
        describe_configs_request::DescribeConfigsResource,
        describe_configs_response::{
            DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
        },
    },
};

const RESOURCE_TOPIC: i8 = 2;
const RESOURCE_BROKER: i8 = 4;
const RESOURCE_GROUP: i8 = 32;
/// First version with types and documentation.
const DOCUMENTED: i16 = 3;

/// Where a value comes from, as Kafka numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
pub enum ConfigSource {
    /// Set on the topic.
    Topic = 1,
    /// Set by a client for this broker.
    DynamicBroker = 2,
    /// Set by a client for all brokers.
    DynamicDefaultBroker = 3,
    /// Given by the broker's file or flags.
    StaticBroker = 4,
    /// Nobody set it.
    Default = 5,
    /// Set on the group.
    Group = 8,
}

impl From<Origin> for ConfigSource {
    fn from(origin: Origin) -> Self {
        match origin {
            Origin::ThisBroker => Self::DynamicBroker,
            Origin::AllBrokers => Self::DynamicDefaultBroker,
            Origin::Given => Self::StaticBroker,
            Origin::Default => Self::Default,
        }
    }
}

/// One topic-level key with its value for one topic.
pub struct TopicEntry<'a> {
    /// The key.
    pub key: &'static TopicKey,
    /// Its value in force.
    pub value: &'a str,
    /// Where that comes from.
    pub source: ConfigSource,
    /// The same from every place that has one, the one in force first.
    synonyms: Vec<(&'static str, &'a str, ConfigSource)>,
}

/// Every topic-level key as it stands for that topic.
pub fn topic_entries<'a>(
    topic: &'a TopicView,
    settings: &'a HandlerSettings,
) -> impl Iterator<Item = TopicEntry<'a>> {
    TABLE.iter().map(|key| {
        let own = topic.overrides.get(key.name).map(|value| (key.name, value.as_str(), ConfigSource::Topic));
        let of_broker = key.broker_key.and_then(|name| settings.broker_setting(name));
        let layers = of_broker.into_iter().flat_map(|setting| &setting.synonyms);
        let given = layers.filter(|(_, _, origin)| *origin != Origin::Default);
        let given =
            given.filter_map(|(name, value, origin)| Some((*name, value.as_deref()?, (*origin).into())));
        let broker_key = key.broker_key.unwrap_or(key.name);
        let default = (broker_key, key.default, ConfigSource::Default);
        let synonyms: Vec<_> = own.into_iter().chain(given).chain([default]).collect();
        let (_, value, source) = synonyms[0];
        TopicEntry { key, value, source, synonyms }
    })
}

/// Describes resources, each with its own result.
pub async fn handle(
    request: DescribeConfigsRequest,
    version: i16,
    context: &Context<'_>,
) -> DescribeConfigsResponse {
    let shown = Shown {
        synonyms: request.include_synonyms,
        documentation: request.include_documentation && version >= DOCUMENTED,
    };
    let describe = |resource: DescribeConfigsResource| {
        let mut result = DescribeConfigsResult::default();
        match entries(&resource, shown, context) {
            Ok(configs) => {
                result.error_message = None;
                result.configs = configs;
            }
            Err((code, message)) => {
                result.error_code = code.number();
                result.error_message = Some(message);
            }
        }
        result.resource_type = resource.resource_type;
        result.resource_name = resource.resource_name;
        result
    };
    let mut response = DescribeConfigsResponse::default();
    response.results = request.resources.into_iter().map(describe).collect();
    response
}

#[derive(Clone, Copy)]
struct Shown {
    synonyms: bool,
    documentation: bool,
}

type Entries = Result<Vec<DescribeConfigsResourceResult>, (ErrorCode, StrBytes)>;

fn entries(resource: &DescribeConfigsResource, shown: Shown, context: &Context<'_>) -> Entries {
    let name = resource.resource_name.as_str();
    let keys = resource.configuration_keys.as_deref().unwrap_or_default();
    // No key named means every key, as in Kafka.
    let asked = |name: &str| keys.is_empty() || keys.iter().any(|key| key.as_str() == name);
    match resource.resource_type {
        RESOURCE_TOPIC => {
            TopicName::new(name).map_err(|error| (ErrorCode::InvalidTopicException, text(error)))?;
            let topic = context.view.topic(name).ok_or_else(|| {
                (ErrorCode::UnknownTopicOrPartition, text(format!("Topic {name} does not exist.")))
            })?;
            let entries = topic_entries(topic, context.settings);
            let asked = entries.filter(|entry| asked(entry.key.name));
            Ok(asked.map(|entry| topic_entry(entry, shown)).collect())
        }
        RESOURCE_BROKER => {
            check_broker(name, context)?;
            let asked = context.settings.broker.iter().filter(|setting| asked(setting.name));
            if name.is_empty() {
                return Ok(asked.filter_map(|setting| default_of_all(setting, shown)).collect());
            }
            Ok(asked.map(|setting| broker_entry(setting, shown)).collect())
        }
        RESOURCE_GROUP => {
            if name.is_empty() {
                return Err((ErrorCode::InvalidRequest, text("Group name must not be empty")));
            }
            let asked = group::TABLE.iter().filter(|key| asked(key.name));
            Ok(asked.map(|key| group_entry(key, name, shown, context)).collect())
        }
        other => {
            let message = format!("Unsupported resource type: {other}");
            Err((ErrorCode::InvalidRequest, text(message)))
        }
    }
}

fn check_broker(name: &str, context: &Context<'_>) -> Result<(), (ErrorCode, StrBytes)> {
    let refuse = |message: String| Err((ErrorCode::InvalidRequest, text(message)));
    if name.is_empty() {
        return Ok(());
    }
    let Ok(id) = name.parse::<i32>() else {
        return refuse(format!("Broker id must be an integer, but it is: {name}"));
    };
    if !context.view.brokers.iter().any(|broker| broker.id == id) {
        let known = context.view.controller;
        return refuse(format!(
            "Unexpected broker id, expected {known} or empty string, but received {name}"
        ));
    }
    Ok(())
}

fn topic_entry(entry: TopicEntry<'_>, shown: Shown) -> DescribeConfigsResourceResult {
    let mut result = DescribeConfigsResourceResult::default();
    result.name = text(entry.key.name);
    result.value = Some(text(entry.value));
    result.config_source = entry.source as i8;
    result.config_type = entry.key.kind as i8;
    result.documentation = shown.documentation.then(|| text(entry.key.documentation));
    if shown.synonyms {
        let synonyms = entry.synonyms.into_iter();
        result.synonyms =
            synonyms.map(|(name, value, source)| synonym((name, Some(value), source))).collect();
    }
    result
}

/// As in Kafka, a group need not be there, and what comes from the broker counts as default.
fn group_entry(
    key: &GroupKey,
    group: &str,
    shown: Shown,
    context: &Context<'_>,
) -> DescribeConfigsResourceResult {
    let of_broker = context.settings.broker_setting(key.broker_key);
    let own = context.view.groups.get(group).and_then(|overrides| overrides.0.get(key.name));
    let mut result = DescribeConfigsResourceResult::default();
    result.name = text(key.name);
    result.value = own.or(of_broker.and_then(|setting| setting.value.as_ref())).map(text);
    result.config_source = if own.is_some() { ConfigSource::Group } else { ConfigSource::Default } as i8;
    result.config_type = ConfigType::Int as i8;
    let documentation = of_broker.filter(|_| shown.documentation).map(|setting| &setting.documentation);
    result.documentation = documentation.map(text);
    let own = own.filter(|_| shown.synonyms).map(String::as_str);
    result.synonyms =
        own.map(|value| synonym((key.name, Some(value), ConfigSource::Group))).into_iter().collect();
    result
}

fn broker_entry(setting: &BrokerSetting, shown: Shown) -> DescribeConfigsResourceResult {
    let synonyms = setting.synonyms.iter();
    let synonyms: Vec<_> = synonyms
        .map(|(name, value, origin)| (*name, value.as_deref(), ConfigSource::from(*origin)))
        .collect();
    let mut result = DescribeConfigsResourceResult::default();
    result.name = text(setting.name);
    result.value = setting.value.as_deref().map(text);
    result.read_only = setting.read_only;
    result.is_sensitive = setting.sensitive;
    result.config_source = synonyms[0].2 as i8;
    result.config_type = setting.kind as i8;
    result.documentation = shown.documentation.then(|| text(&setting.documentation));
    if shown.synonyms {
        result.synonyms = synonyms.into_iter().map(synonym).collect();
    }
    result
}

/// What clients have set for all brokers, which is all that the empty name stands for.
fn default_of_all(setting: &BrokerSetting, shown: Shown) -> Option<DescribeConfigsResourceResult> {
    let layers = setting.synonyms.iter();
    let of_all: Vec<_> = layers.filter(|(_, _, origin)| *origin == Origin::AllBrokers).cloned().collect();
    let value = of_all.first()?.1.clone();
    Some(broker_entry(&BrokerSetting { value, synonyms: of_all, ..setting.clone() }, shown))
}

fn synonym((name, value, source): (&str, Option<&str>, ConfigSource)) -> DescribeConfigsSynonym {
    let mut synonym = DescribeConfigsSynonym::default();
    synonym.name = text(name);
    synonym.value = value.map(text);
    synonym.source = source as i8;
    synonym
}
