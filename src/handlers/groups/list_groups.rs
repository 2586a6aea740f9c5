//! ListGroups (16), versions 0 to 5: all groups, by state and type if asked so.
//!
//! Source: Kafka 4.1, `KafkaApis.handleListGroupsRequest`; KIP-518 (states), KIP-848 (types).

use super::{
    super::{Context, text},
    code_of,
};
use crate::{
    coordinator::messages::Listed,
    wire::messages::{ListGroupsRequest, ListGroupsResponse, StrBytes, list_groups_response::ListedGroup},
};

fn kind(listed: &Listed) -> &'static str {
    if listed.is_consumer { "Consumer" } else { "Classic" }
}

const FIRST_WITH_STATES: i16 = 4;
const FIRST_WITH_TYPES: i16 = 5;

/// Lists them.
pub async fn handle(request: ListGroupsRequest, version: i16, context: &Context<'_>) -> ListGroupsResponse {
    let mut response = ListGroupsResponse::default();
    let passes = |filter: &[StrBytes], value: &str| {
        filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(value))
    };
    let listed = |listed: Listed| {
        let mut answer = ListedGroup::default();
        let kind = kind(&listed);
        answer.group_id = text(listed.group);
        answer.protocol_type = text(listed.protocol_type);
        if version >= FIRST_WITH_STATES {
            answer.group_state = text(listed.state);
        }
        if version >= FIRST_WITH_TYPES {
            answer.group_type = text(kind);
        }
        answer
    };
    match context.groups.list_all().await {
        Ok(all) => {
            let wanted = all.into_iter().filter(|one| {
                passes(&request.states_filter, one.state) && passes(&request.types_filter, kind(one))
            });
            response.groups = wanted.map(listed).collect();
        }
        Err(error) => response.error_code = code_of(&error).number(),
    }
    response
}
