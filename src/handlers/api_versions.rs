//! ApiVersions (18), versions 0 to 4: what is served, straight from `wire::api::TABLE`.
//!
//! Source: KIP-511 (client names, the answer to a version that is too high), KIP-584 (features; none
//! is finalized here, so clients keep to what needs none).

use super::Context;
use crate::{
    model::ErrorCode,
    wire::{
        api::{Api, TABLE},
        messages::{ApiVersionsRequest, ApiVersionsResponse, api_versions_response::ApiVersion},
    },
};

/// First version that names the client's software.
const NAMES_CLIENT: i16 = 3;

/// Answers with the versions served.
pub async fn handle(
    request: ApiVersionsRequest,
    version: i16,
    _context: &Context<'_>,
) -> ApiVersionsResponse {
    let software = [&request.client_software_name, &request.client_software_version];
    if version >= NAMES_CLIENT && !software.iter().all(|text| is_software_text(text)) {
        let mut response = ApiVersionsResponse::default();
        response.error_code = ErrorCode::InvalidRequest.number();
        return response;
    }
    versions()
}

/// The answer to a version that is not served. It goes out in **version 0**, whatever was asked:
/// that is the one version every client reads (KIP-511).
#[must_use]
pub fn unsupported_version() -> ApiVersionsResponse {
    let mut response = versions();
    response.error_code = ErrorCode::UnsupportedVersion.number();
    response
}

fn versions() -> ApiVersionsResponse {
    let mut response = ApiVersionsResponse::default();
    response.api_keys = TABLE.iter().map(range).collect();
    response
}

fn range(api: &Api) -> ApiVersion {
    let mut range = ApiVersion::default();
    range.api_key = api.key;
    range.min_version = api.advertised_min;
    range.max_version = api.max;
    range
}

/// Letters and digits, with `.` and `-` between them. Source: Kafka, `ApiVersionsRequest.isValid`.
fn is_software_text(text: &str) -> bool {
    let inner = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.');
    let outer = |c: Option<&u8>| c.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    outer(bytes.first()) && outer(bytes.last()) && bytes.iter().all(|&c| inner(c))
}
