//! The messages of the cold APIs, from the generated crate, behind explicit limits.
//!
//! Requests are read by [`decode_body`] and responses written by [`encode_response`]; the message types
//! are named as in Kafka's schemas. They are `non_exhaustive`: start from `default()` and set fields.

use bytes::{Bytes, BytesMut};
use kafka_wire_core::ApiVersion;

use crate::{
    api::Api,
    codec::WireError,
    header::{begin_response, finish_response},
};

pub use kafka_wire::{
    ApiVersionsRequest, ApiVersionsResponse, CreatePartitionsRequest, CreatePartitionsResponse,
    CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest, DeleteTopicsResponse,
    DescribeClusterRequest, DescribeClusterResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    InitProducerIdRequest, InitProducerIdResponse, KafkaRequest, KafkaResponse, ListOffsetsRequest,
    ListOffsetsResponse, MetadataRequest, MetadataResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse, api_versions_request, api_versions_response, create_partitions_request,
    create_partitions_response, create_topics_request, create_topics_response, delete_topics_request,
    delete_topics_response, describe_cluster_request, describe_cluster_response, describe_configs_request,
    describe_configs_response, list_offsets_request, list_offsets_response, metadata_request,
    metadata_response, offset_for_leader_epoch_request, offset_for_leader_epoch_response,
};
pub use kafka_wire_core::{DecodeLimits, KafkaDecode, KafkaEncode, StrBytes, Uuid};

/// Longest string of a cold request. Kafka's own bound of a STRING.
pub const STRING_BYTES_MAX: usize = i16::MAX as usize;
/// Most elements of any one array of a cold request.
pub const ARRAY_ELEMENTS_MAX: usize = 100_000;
/// Most unknown tagged fields of one structure of a cold request.
pub const TAGGED_FIELDS_MAX: usize = 64;

/// What a cold request may ask of memory, whatever it declares. `body_bytes` is its size.
#[must_use]
pub fn decode_limits(body_bytes: usize) -> DecodeLimits {
    let mut limits = DecodeLimits::default();
    limits.max_frame_bytes = body_bytes;
    limits.max_string_bytes = STRING_BYTES_MAX;
    limits.max_bytes_bytes = body_bytes;
    // An element takes at least one byte.
    limits.max_array_elements = ARRAY_ELEMENTS_MAX.min(body_bytes);
    limits.max_tagged_fields = TAGGED_FIELDS_MAX;
    limits.max_tag_bytes = body_bytes;
    limits.max_total_tag_bytes = body_bytes;
    limits
}

/// Reads the body of a message; nothing may be left over.
///
/// # Errors
/// [`WireError::Decode`] if the body is not exactly one such message of that version, within the limits.
pub fn decode_body<M: KafkaDecode>(body: Bytes, version: i16) -> Result<M, WireError> {
    let limits = decode_limits(body.len());
    Ok(M::decode_from_bytes(body, ApiVersion::new(version), limits)?)
}

/// Writes a whole response frame, size prefix and header included.
///
/// # Errors
/// [`WireError::Encode`] if a field that is set has no place in that version, or is too long.
pub fn encode_response<M: KafkaResponse>(
    api: &Api,
    version: i16,
    correlation_id: i32,
    message: &M,
) -> Result<Bytes, WireError> {
    assert_eq!(M::API_KEY.value(), api.key, "{} is no response to {}", M::NAME, api.name);
    let mut out = BytesMut::new();
    begin_response(&mut out, api, version, correlation_id);
    message.encode_into(&mut out, ApiVersion::new(version))?;
    finish_response(&mut out);
    Ok(out.freeze())
}
