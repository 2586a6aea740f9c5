//! `corelane config describe | alter`: settings of topics and brokers while they run.

use clap::Args;
use corelane_bench::client::{
    StrBytes,
    messages::{
        DescribeConfigsRequest, IncrementalAlterConfigsRequest,
        describe_configs_request::DescribeConfigsResource,
        incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig},
    },
};
use serde_json::Value;

use super::{Cluster, Report, ToolError, refusal, topics::key_and_value};

const DESCRIBE_MAX: i16 = 4;
const ALTER_MAX: i16 = 1;
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const SET: i8 = 0;
const DELETE: i8 = 1;
/// Where values come from, by Kafka's number.
const SOURCES: [&str; 7] =
    ["unknown", "topic", "broker, dynamic", "all brokers, dynamic", "broker, static", "default", "logger"];

/// Whose settings.
#[derive(Debug, Clone, Args)]
#[group(required = true, multiple = false)]
pub struct Whose {
    /// A topic's
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
    /// A broker's
    #[arg(long, value_name = "ID")]
    broker: Option<i32>,
    /// Those of all brokers
    #[arg(long)]
    all_brokers: bool,
}

/// `corelane config describe`
#[derive(Debug, Args)]
pub struct DescribeConfig {
    #[command(flatten)]
    whose: Whose,
    /// Keys; none: all
    keys: Vec<String>,
    /// Only what somebody has set
    #[arg(long)]
    set_only: bool,
}

/// `corelane config alter`
#[derive(Debug, Args)]
pub struct AlterConfig {
    #[command(flatten)]
    whose: Whose,
    /// Set a key; may repeat
    #[arg(long, value_name = "KEY=VALUE", value_parser = key_and_value)]
    set: Vec<(String, String)>,
    /// Take a value back; may repeat
    #[arg(long, value_name = "KEY")]
    delete: Vec<String>,
    /// Only ask whether it could be done
    #[arg(long)]
    validate_only: bool,
}

impl Whose {
    fn resource(&self) -> (i8, StrBytes) {
        match (&self.topic, self.broker) {
            (Some(topic), _) => (TOPIC, StrBytes::from(topic.as_str())),
            (None, Some(id)) => (BROKER, StrBytes::from(id.to_string())),
            (None, None) => (BROKER, StrBytes::from("")),
        }
    }
}

pub(super) fn describe(cluster: &mut Cluster, command: &DescribeConfig) -> Result<Report, ToolError> {
    let (kind, name) = command.whose.resource();
    let mut resource = DescribeConfigsResource::default();
    (resource.resource_type, resource.resource_name) = (kind, name.clone());
    resource.configuration_keys = (!command.keys.is_empty())
        .then(|| command.keys.iter().map(|key| StrBytes::from(key.as_str())).collect());
    let mut request = DescribeConfigsRequest::default();
    request.resources = vec![resource];
    let answer = cluster.any().ask(&request, DESCRIBE_MAX)?;
    let mut report = Report::new(&["key", "value", "source", "read_only"]);
    for result in &answer.results {
        if let Some(error) =
            refusal(format!("settings of {name}"), result.error_code, result.error_message.as_ref())
        {
            return Err(error);
        }
        for config in &result.configs {
            let source = usize::try_from(config.config_source).ok().and_then(|source| SOURCES.get(source));
            let source = source.copied().unwrap_or("unknown");
            if command.set_only && source == "default" {
                continue;
            }
            report.row([
                config.name.to_string().into(),
                config.value.as_ref().map_or(Value::Null, |value| value.to_string().into()),
                source.into(),
                config.read_only.into(),
            ]);
        }
    }
    Ok(report)
}

pub(super) fn alter(cluster: &mut Cluster, command: &AlterConfig) -> Result<Report, ToolError> {
    if command.set.is_empty() && command.delete.is_empty() {
        return Err(ToolError::Usage("nothing to change: give --set KEY=VALUE or --delete KEY".to_owned()));
    }
    let (kind, name) = command.whose.resource();
    let change = |key: &str, operation: i8, value: Option<&str>| {
        let mut config = AlterableConfig::default();
        (config.name, config.config_operation) = (StrBytes::from(key), operation);
        config.value = value.map(StrBytes::from);
        config
    };
    let mut resource = AlterConfigsResource::default();
    (resource.resource_type, resource.resource_name) = (kind, name);
    resource.configs = command.set.iter().map(|(key, value)| change(key, SET, Some(value))).collect();
    resource.configs.extend(command.delete.iter().map(|key| change(key, DELETE, None)));
    let mut request = IncrementalAlterConfigsRequest::default();
    (request.resources, request.validate_only) = (vec![resource], command.validate_only);
    let answer = cluster.any().ask(&request, ALTER_MAX)?;
    let mut report = Report::new(&["resource", "result"]);
    for response in &answer.responses {
        let whose = match response.resource_name.as_str() {
            "" => "all brokers",
            name => name,
        };
        if let Some(error) = refusal(whose, response.error_code, response.error_message.as_ref()) {
            return Err(error);
        }
        let done = if command.validate_only { "could be changed" } else { "changed" };
        report.row([whose.into(), done.into()]);
    }
    Ok(report)
}
