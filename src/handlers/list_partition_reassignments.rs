//! ListPartitionReassignments (46), version 0. There is one replica of everything: none is ever on its way.

use super::Context;
use crate::wire::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};

/// Lists nothing.
pub async fn handle(
    _request: ListPartitionReassignmentsRequest,
    _version: i16,
    _context: &Context<'_>,
) -> ListPartitionReassignmentsResponse {
    let mut response = ListPartitionReassignmentsResponse::default();
    response.error_message = None;
    response
}
