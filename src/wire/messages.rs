//! The messages of the cold APIs, from the generated crate, behind explicit limits.
//!
//! Requests are read by [`decode_body`] and responses written by [`encode_response`]; the message types
//! are named as in Kafka's schemas. They are `non_exhaustive`: start from `default()` and set fields.

use bytes::{Bytes, BytesMut};
use kafka_wire_core::{ApiVersion, Decoder};

use crate::{
    api::Api,
    codec::WireError,
    header::{begin_response, finish_response},
};

pub use kafka_wire::{
    AlterClientQuotasRequest, AlterClientQuotasResponse, AlterConfigsRequest, AlterConfigsResponse,
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse, ApiVersionsRequest,
    ApiVersionsResponse, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse,
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, CreatePartitionsRequest,
    CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse, DeleteGroupsRequest,
    DeleteGroupsResponse, DeleteRecordsRequest, DeleteRecordsResponse, DeleteTopicsRequest,
    DeleteTopicsResponse, DescribeClientQuotasRequest, DescribeClientQuotasResponse, DescribeClusterRequest,
    DescribeClusterResponse, DescribeConfigsRequest, DescribeConfigsResponse, DescribeGroupsRequest,
    DescribeGroupsResponse, DescribeLogDirsRequest, DescribeLogDirsResponse, DescribeProducersRequest,
    DescribeProducersResponse, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse,
    ElectLeadersRequest, ElectLeadersResponse, FindCoordinatorRequest, FindCoordinatorResponse,
    HeartbeatRequest, HeartbeatResponse, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
    InitProducerIdRequest, InitProducerIdResponse, JoinGroupRequest, JoinGroupResponse, KafkaRequest,
    KafkaResponse, LeaveGroupRequest, LeaveGroupResponse, ListGroupsRequest, ListGroupsResponse,
    ListOffsetsRequest, ListOffsetsResponse, ListPartitionReassignmentsRequest,
    ListPartitionReassignmentsResponse, MetadataRequest, MetadataResponse, OffsetCommitRequest,
    OffsetCommitResponse, OffsetDeleteRequest, OffsetDeleteResponse, OffsetFetchRequest, OffsetFetchResponse,
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse, SyncGroupRequest, SyncGroupResponse,
    alter_client_quotas_request, alter_client_quotas_response, alter_configs_request, alter_configs_response,
    alter_partition_reassignments_request, alter_partition_reassignments_response, api_versions_request,
    api_versions_response, consumer_group_describe_request, consumer_group_describe_response,
    consumer_group_heartbeat_request, consumer_group_heartbeat_response, create_partitions_request,
    create_partitions_response, create_topics_request, create_topics_response, delete_groups_request,
    delete_groups_response, delete_records_request, delete_records_response, delete_topics_request,
    delete_topics_response, describe_client_quotas_response, describe_cluster_request,
    describe_cluster_response, describe_configs_request, describe_configs_response, describe_groups_request,
    describe_groups_response, describe_log_dirs_request, describe_log_dirs_response,
    describe_producers_request, describe_producers_response, describe_topic_partitions_request,
    describe_topic_partitions_response, elect_leaders_request, elect_leaders_response,
    find_coordinator_request, find_coordinator_response, heartbeat_request, heartbeat_response,
    incremental_alter_configs_request, incremental_alter_configs_response, join_group_request,
    join_group_response, leave_group_request, leave_group_response, list_groups_request,
    list_groups_response, list_offsets_request, list_offsets_response, list_partition_reassignments_request,
    list_partition_reassignments_response, metadata_request, metadata_response, offset_commit_request,
    offset_commit_response, offset_delete_request, offset_delete_response, offset_fetch_request,
    offset_fetch_response, offset_for_leader_epoch_request, offset_for_leader_epoch_response,
    sync_group_request, sync_group_response,
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

/// Reads the body of a message. What follows its last field is ignored, as Kafka does: librdkafka's Metadata
/// requests have three bytes too many.
///
/// # Errors
/// [`WireError::Decode`] if the body does not begin with such a message of that version, within the limits.
pub fn decode_body<M: KafkaDecode>(body: Bytes, version: i16) -> Result<M, WireError> {
    let limits = decode_limits(body.len());
    let mut decoder = Decoder::new(body, limits)?;
    Ok(M::decode(&mut decoder, ApiVersion::new(version))?)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{api, header::parse_request_header};

    #[test]
    fn a_response_frame_holds_size_header_and_message() {
        let mut message = MetadataResponse::default();
        message.controller_id = 3;
        message.cluster_id = Some("cluster".into());
        for version in 2..=api::METADATA.max {
            let frame = encode_response(&api::METADATA, version, 9, &message).expect("representable");
            let size = i32::from_be_bytes([frame[0], frame[1], frame[2], frame[3]]);
            assert_eq!(size as usize, frame.len() - 4, "version {version}");
            let header = 8 + api::METADATA.response_header_version(version) as usize;
            let read: MetadataResponse = decode_body(frame.slice(header..), version).expect("sound");
            assert_eq!(read, message, "version {version}");
        }
    }

    #[test]
    fn a_field_without_a_place_in_the_version_is_an_error_and_not_left_out() {
        let mut message = InitProducerIdResponse::default();
        message.ongoing_txn_producer_id = 5;
        assert!(encode_response(&api::INIT_PRODUCER_ID, 4, 1, &message).is_err());
    }

    #[test]
    fn what_follows_the_last_field_is_ignored() {
        let body = MetadataRequest::default().encode_to_bytes(ApiVersion::new(8)).expect("representable");
        let longer = Bytes::from([&body[..], &[0; 3]].concat());
        let read = decode_body::<MetadataRequest>(longer, 8).expect("sound");
        assert_eq!(read, decode_body::<MetadataRequest>(body, 8).expect("sound"));
    }

    #[test]
    fn a_huge_count_is_refused_before_it_is_believed() {
        // Metadata 1 asks for 2^31-1 topics in four bytes; Metadata 9 the same, compact.
        let fixed = Bytes::from_static(&[0x7f, 0xff, 0xff, 0xff]);
        assert!(decode_body::<MetadataRequest>(fixed, 1).is_err());
        let compact = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x0f, 1, 0, 0]);
        assert!(decode_body::<MetadataRequest>(compact, 9).is_err());
    }

    /// Reads the body as every request that is served in that version; what it makes of it does not matter.
    fn read_as_all(body: &Bytes, version: i16) {
        let _ = decode_body::<ApiVersionsRequest>(body.clone(), version);
        let _ = decode_body::<CreatePartitionsRequest>(body.clone(), version);
        let _ = decode_body::<CreateTopicsRequest>(body.clone(), version);
        let _ = decode_body::<DeleteTopicsRequest>(body.clone(), version);
        let _ = decode_body::<DescribeClusterRequest>(body.clone(), version);
        let _ = decode_body::<DescribeConfigsRequest>(body.clone(), version);
        let _ = decode_body::<InitProducerIdRequest>(body.clone(), version);
        let _ = decode_body::<ListOffsetsRequest>(body.clone(), version);
        let _ = decode_body::<MetadataRequest>(body.clone(), version);
        let _ = decode_body::<OffsetForLeaderEpochRequest>(body.clone(), version);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_message_or_refused(
            body in proptest::collection::vec(prop_oneof![0_u8..4, any::<u8>()], 0..120),
        ) {
            let body = Bytes::from(body);
            (0..=13).for_each(|version| read_as_all(&body, version));
            let _ = parse_request_header(&body);
        }
    }
}
