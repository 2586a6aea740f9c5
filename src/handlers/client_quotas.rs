//! DescribeClientQuotas (48) and AlterClientQuotas (49), versions 0 and 1: how many bytes a second users and
//! clients may send and fetch. A change holds from its answer on, on every core.
//!
//! Source: Kafka 4.1, `ClientQuotasImage`, `ClientQuotaControlManager`; KIP-546.

use std::collections::BTreeMap;

use super::{
    Context,
    alter_configs::{outcomes, told},
    text,
};
use crate::{
    control::{ControlRequest, QuotaAlteration},
    model::{
        ErrorCode,
        quotas::{CLIENT_ID, QuotaEntity, USER},
    },
    wire::messages::{
        AlterClientQuotasRequest, AlterClientQuotasResponse, DescribeClientQuotasRequest,
        DescribeClientQuotasResponse, alter_client_quotas_request, alter_client_quotas_response,
        describe_client_quotas_response,
    },
};

/// The third entity type of Kafka; none of its quotas is served.
const IP: &str = "ip";

/// What a filter asks of one entity type.
enum Match {
    Is(Option<String>),
    Any,
}

/// The quotas of the entities that the filter lets through.
pub async fn describe(
    request: DescribeClientQuotasRequest,
    context: &Context<'_>,
) -> DescribeClientQuotasResponse {
    let mut response = DescribeClientQuotasResponse::default();
    let filter = match filter_of(&request) {
        Ok(filter) => filter,
        Err((code, why)) => {
            response.error_code = code.number();
            response.error_message = Some(text(why));
            return response;
        }
    };
    let passes = |entity: &QuotaEntity| {
        (!request.strict || entity.len() == filter.len())
            && filter.iter().all(|(kind, wanted)| match (entity.get(kind), wanted) {
                (None, _) => false,
                (Some(_), Match::Any) => true,
                (Some(name), Match::Is(wanted)) => name == wanted,
            })
    };
    let entries = context.view.quotas.iter().filter(|(entity, _)| passes(entity)).map(|(entity, quotas)| {
        let mut entry = describe_client_quotas_response::EntryData::default();
        for (kind, name) in entity {
            let mut part = describe_client_quotas_response::EntityData::default();
            part.entity_type = text(kind);
            part.entity_name = name.as_ref().map(text);
            entry.entity.push(part);
        }
        for (key, rate) in quotas {
            let mut value = describe_client_quotas_response::ValueData::default();
            value.key = text(key);
            value.value = *rate as f64;
            entry.values.push(value);
        }
        entry
    });
    response.entries = Some(entries.collect());
    response
}

fn filter_of(request: &DescribeClientQuotasRequest) -> Result<BTreeMap<String, Match>, (ErrorCode, String)> {
    let invalid = |why: String| Err((ErrorCode::InvalidRequest, why));
    let mut filter = BTreeMap::new();
    for component in &request.components {
        let kind = component.entity_type.to_string();
        if kind.is_empty() {
            return invalid("Invalid empty entity type.".to_owned());
        }
        if ![USER, CLIENT_ID, IP].contains(&kind.as_str()) {
            return Err((ErrorCode::UnsupportedVersion, format!("Unsupported entity type {kind}")));
        }
        let wanted = match (component.match_type, component.match_.as_ref().map(ToString::to_string)) {
            (0, Some(name)) => Match::Is(Some(name)),
            (1, None) => Match::Is(None),
            (2, None) => Match::Any,
            (0, None) => return invalid("An exact match needs a name.".to_owned()),
            (1 | 2, Some(_)) => return invalid("Only an exact match has a name.".to_owned()),
            (other, _) => return invalid(format!("Unknown match type {other}")),
        };
        if filter.insert(kind.clone(), wanted).is_some() {
            return invalid(format!("Entity type {kind} cannot appear more than once in the filter."));
        }
    }
    if filter.contains_key(IP) && filter.len() > 1 {
        let why = "Invalid entity filter component combination. IP filter component should not be used with user \
                   or clientId filter component.";
        return invalid(why.to_owned());
    }
    Ok(filter)
}

/// Changes quotas, each entity with its own result.
pub async fn alter(request: AlterClientQuotasRequest, context: &Context<'_>) -> AlterClientQuotasResponse {
    let alteration = |entry: &alter_client_quotas_request::EntryData| QuotaAlteration {
        entity: entry
            .entity
            .iter()
            .map(|part| (part.entity_type.to_string(), part.entity_name.as_ref().map(ToString::to_string)))
            .collect(),
        changes: entry.ops.iter().map(|op| (op.key.to_string(), (!op.remove).then_some(op.value))).collect(),
    };
    let alterations = request.entries.iter().map(alteration).collect();
    let asked = ControlRequest::AlterQuotas { alterations, validate_only: request.validate_only };
    let mut outcomes = outcomes(context.control.call(asked).await);
    let mut response = AlterClientQuotasResponse::default();
    for entry in request.entries {
        let mut answer = alter_client_quotas_response::EntryData::default();
        (answer.error_code, answer.error_message) =
            told(outcomes.next().expect("control answers every entity"));
        for asked in entry.entity {
            let mut part = alter_client_quotas_response::EntityData::default();
            (part.entity_type, part.entity_name) = (asked.entity_type, asked.entity_name);
            answer.entity.push(part);
        }
        response.entries.push(answer);
    }
    response
}
