//! The resource BROKER_LOGGER of DescribeConfigs and IncrementalAlterConfigs: levels of log lines (KIP-412).
//!
//! Source: Kafka 4.0, `RuntimeLoggerManager`, `ConfigHelper`.

use super::{Context, alter_configs::Outcome, describe_configs::ConfigSource, text};
use crate::{
    logging::{self, LoggingError},
    model::ErrorCode,
    wire::messages::{
        StrBytes, describe_configs_response::DescribeConfigsResourceResult,
        incremental_alter_configs_request::AlterConfigsResource,
    },
};

const SET: i8 = 0;
const DELETE: i8 = 1;

/// Whether the name is this broker's: loggers are of a process.
///
/// # Errors
/// It is none, or another broker's.
pub fn check_broker(name: &str, context: &Context<'_>) -> Result<(), (ErrorCode, StrBytes)> {
    let refuse = |why: String| Err((ErrorCode::InvalidRequest, text(why)));
    match name.parse::<i32>() {
        _ if name.is_empty() => refuse("Broker id must not be empty".to_owned()),
        Err(_) => refuse(format!("Node id must be an integer, but it is: {name}")),
        Ok(id) if context.view.brokers.iter().any(|broker| broker.id == id) => Ok(()),
        Ok(id) => {
            let known = context.view.controller;
            refuse(format!("Unexpected broker id, expected {known} but received {id}"))
        }
    }
}

/// Every logger with its level.
pub fn entries() -> impl Iterator<Item = DescribeConfigsResourceResult> {
    logging::levels().into_iter().map(|(logger, level)| {
        let mut entry = DescribeConfigsResourceResult::default();
        (entry.name, entry.value) = (text(logger), Some(text(level)));
        entry.config_source = ConfigSource::BrokerLogger as i8;
        entry.documentation = None;
        entry
    })
}

/// Sets and takes back levels; all of a request or none.
pub fn alter(resource: &AlterConfigsResource, validate_only: bool, context: &Context<'_>) -> Outcome {
    check_broker(&resource.resource_name, context)?;
    let mut changes = Vec::new();
    for config in &resource.configs {
        let level = match config.config_operation {
            SET => Some(config.value.as_ref().map(ToString::to_string).unwrap_or_default()),
            DELETE => None,
            other => {
                let why = format!("Operation {other} is not allowed for the BROKER_LOGGER resource");
                return Err((ErrorCode::InvalidRequest, text(why)));
            }
        };
        changes.push((config.name.to_string(), level));
    }
    logging::change(&changes, validate_only).map_err(|error| (code_of(&error), text(&error)))
}

fn code_of(error: &LoggingError) -> ErrorCode {
    match error {
        LoggingError::UnknownLogger(_) | LoggingError::UnknownLevel(..) => ErrorCode::InvalidConfig,
        LoggingError::Root => ErrorCode::InvalidRequest,
        LoggingError::Gone(_) => ErrorCode::UnknownServerError,
    }
}
