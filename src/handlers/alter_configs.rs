//! AlterConfigs (33), versions 0 to 2, and IncrementalAlterConfigs (44), versions 0 and 1: settings of topics,
//! of groups and of this broker, and the levels of its loggers (the latter API only), each resource with its own
//! result. The former replaces all that is set on a resource.
//!
//! What takes effect does so before the answer, on every core; a setting of the broker that only a restart
//! changes is refused.
//!
//! Source: Kafka 4.1, `ControllerApis`, `ConfigAdminManager`; KIP-133, KIP-339.

use super::{Context, broker_loggers, failure_code, text};
use crate::{
    control::{AlterError, Alteration, ControlReply, ControlRequest, Operation, Resource},
    model::ErrorCode,
    wire::messages::{
        AlterConfigsRequest, AlterConfigsResponse, IncrementalAlterConfigsRequest,
        IncrementalAlterConfigsResponse, StrBytes, alter_configs_response::AlterConfigsResourceResponse,
        incremental_alter_configs_response,
    },
};

const RESOURCE_TOPIC: i8 = 2;
const RESOURCE_BROKER: i8 = 4;
const RESOURCE_BROKER_LOGGER: i8 = 8;
const RESOURCE_GROUP: i8 = 32;

/// What control is asked, or what has come of it without control.
type Asked = Result<Alteration, Outcome>;
pub(super) type Outcome = Result<(), (ErrorCode, StrBytes)>;

/// Sets keys of resources one by one.
pub async fn incremental(
    request: IncrementalAlterConfigsRequest,
    context: &Context<'_>,
) -> IncrementalAlterConfigsResponse {
    let asked = request.resources.iter().map(|resource| {
        if resource.resource_type == RESOURCE_BROKER_LOGGER {
            return Err(broker_loggers::alter(resource, request.validate_only, context));
        }
        let named = named(resource.resource_type, &resource.resource_name)?;
        let mut changes = Vec::new();
        for config in &resource.configs {
            let operation = match config.config_operation {
                0 => Operation::Set,
                1 => Operation::Delete,
                2 => Operation::Append,
                3 => Operation::Subtract,
                other => {
                    let why = format!("Unknown alter config operation {other} for {}", config.name);
                    return Err(Err((ErrorCode::InvalidRequest, text(why))));
                }
            };
            changes.push((
                config.name.to_string(),
                operation,
                config.value.as_ref().map(ToString::to_string),
            ));
        }
        Ok(Alteration { resource: named, changes, replace: false })
    });
    let outcomes = alter(asked.collect(), request.validate_only, context).await;
    let mut response = IncrementalAlterConfigsResponse::default();
    for (resource, outcome) in request.resources.into_iter().zip(outcomes) {
        let mut answer = incremental_alter_configs_response::AlterConfigsResourceResponse::default();
        (answer.error_code, answer.error_message) = told(outcome);
        (answer.resource_type, answer.resource_name) = (resource.resource_type, resource.resource_name);
        response.responses.push(answer);
    }
    response
}

/// Sets all keys of resources at once: what is not named is as if it had never been set.
pub async fn replacing(request: AlterConfigsRequest, context: &Context<'_>) -> AlterConfigsResponse {
    let asked = request.resources.iter().map(|resource| {
        let named = named(resource.resource_type, &resource.resource_name)?;
        let change = |(name, value): (&StrBytes, &Option<StrBytes>)| {
            (name.to_string(), Operation::Set, value.as_ref().map(ToString::to_string))
        };
        let changes = resource.configs.iter().map(|config| change((&config.name, &config.value)));
        Ok(Alteration { resource: named, changes: changes.collect(), replace: true })
    });
    let outcomes = alter(asked.collect(), request.validate_only, context).await;
    let mut response = AlterConfigsResponse::default();
    for (resource, outcome) in request.resources.into_iter().zip(outcomes) {
        let mut answer = AlterConfigsResourceResponse::default();
        (answer.error_code, answer.error_message) = told(outcome);
        (answer.resource_type, answer.resource_name) = (resource.resource_type, resource.resource_name);
        response.responses.push(answer);
    }
    response
}

fn named(kind: i8, name: &StrBytes) -> Result<Resource, Outcome> {
    match kind {
        RESOURCE_TOPIC => Ok(Resource::Topic(name.to_string())),
        RESOURCE_BROKER => Ok(Resource::Broker(name.to_string())),
        RESOURCE_GROUP => Ok(Resource::Group(name.to_string())),
        other => Err(Err((ErrorCode::InvalidRequest, text(format!("Unsupported resource type: {other}"))))),
    }
}

pub(super) fn told(outcome: Outcome) -> (i16, Option<StrBytes>) {
    match outcome {
        Ok(()) => (0, None),
        Err((code, message)) => (code.number(), Some(message)),
    }
}

async fn alter(asked: Vec<Asked>, validate_only: bool, context: &Context<'_>) -> Vec<Outcome> {
    let alterations: Vec<_> = asked.iter().filter_map(|asked| asked.as_ref().ok().cloned()).collect();
    let reply = context.control.call(ControlRequest::Alter { alterations, validate_only }).await;
    let mut altered = outcomes(reply);
    let outcome = |asked: Asked| match asked {
        Ok(_) => altered.next().expect("control answers every resource"),
        Err(settled) => settled,
    };
    asked.into_iter().map(outcome).collect()
}

/// What became of each resource or entity; of all of them the same, without end, if nothing was done.
pub(super) fn outcomes(reply: ControlReply) -> Box<dyn Iterator<Item = Outcome>> {
    match reply {
        ControlReply::Altered(results) => {
            let told = |error: AlterError| (code_of(&error), text(&error));
            Box::new(results.into_iter().map(move |result| result.map_err(told)))
        }
        ControlReply::Failed(failure) => {
            let failed = (failure_code(&failure), text(&failure));
            Box::new(std::iter::repeat_with(move || Err(failed.clone())))
        }
        ControlReply::Topics(_) | ControlReply::ProducerIds(_) => {
            panic!("control answered another request")
        }
    }
}

fn code_of(error: &AlterError) -> ErrorCode {
    match error {
        AlterError::Duplicate
        | AlterError::DuplicateKey
        | AlterError::Null(_)
        | AlterError::UnknownBroker(_)
        | AlterError::NoGroup
        | AlterError::Quota(_) => ErrorCode::InvalidRequest,
        AlterError::TopicName(_) => ErrorCode::InvalidTopicException,
        AlterError::UnknownTopic(_) => ErrorCode::UnknownTopicOrPartition,
        AlterError::TooManyGroups(_) => ErrorCode::PolicyViolation,
        AlterError::Invalid(_) => ErrorCode::InvalidConfig,
        AlterError::NotApplied(_) => ErrorCode::KafkaStorageError,
    }
}
