//! Where each response has its error codes: to count them by API. A response that is not in the table cannot be
//! sent, so that none is forgotten.

use crate::wire::messages::*;

/// A response that tells of errors.
pub trait Errors {
    /// Calls `found` with every error code in it, 0 included.
    fn each_error(&self, found: &mut dyn FnMut(i16));
}

macro_rules! codes {
    ($at:expr, $found:ident, $field:ident) => { $found($at.$field) };
    ($at:expr, $found:ident, $list:ident $(. $rest:ident)+) => {
        for one in &$at.$list {
            codes!(one, $found, $($rest).+);
        }
    };
}

macro_rules! errors {
    ($($response:ident: $($first:ident $(. $rest:ident)*),+;)*) => {
        $(impl Errors for $response {
            fn each_error(&self, found: &mut dyn FnMut(i16)) {
                $(codes!(self, found, $first $(. $rest)*);)+
            }
        })*
    };
}

errors! {
    AlterClientQuotasResponse: entries.error_code;
    AlterConfigsResponse: responses.error_code;
    AlterPartitionReassignmentsResponse: error_code, responses.partitions.error_code;
    ApiVersionsResponse: error_code;
    ConsumerGroupDescribeResponse: groups.error_code;
    ConsumerGroupHeartbeatResponse: error_code;
    CreatePartitionsResponse: results.error_code;
    CreateTopicsResponse: topics.error_code;
    DeleteGroupsResponse: results.error_code;
    DeleteRecordsResponse: topics.partitions.error_code;
    DeleteTopicsResponse: responses.error_code;
    DescribeClientQuotasResponse: error_code;
    DescribeClusterResponse: error_code;
    DescribeConfigsResponse: results.error_code;
    DescribeGroupsResponse: groups.error_code;
    DescribeLogDirsResponse: error_code, results.error_code;
    DescribeProducersResponse: topics.partitions.error_code;
    DescribeTopicPartitionsResponse: topics.error_code, topics.partitions.error_code;
    ElectLeadersResponse: error_code, replica_election_results.partition_result.error_code;
    FindCoordinatorResponse: error_code, coordinators.error_code;
    HeartbeatResponse: error_code;
    IncrementalAlterConfigsResponse: responses.error_code;
    InitProducerIdResponse: error_code;
    JoinGroupResponse: error_code;
    LeaveGroupResponse: error_code, members.error_code;
    ListGroupsResponse: error_code;
    ListOffsetsResponse: topics.partitions.error_code;
    ListPartitionReassignmentsResponse: error_code;
    MetadataResponse: topics.error_code, topics.partitions.error_code;
    OffsetCommitResponse: topics.partitions.error_code;
    OffsetDeleteResponse: error_code, topics.partitions.error_code;
    OffsetFetchResponse: error_code, topics.partitions.error_code, groups.error_code,
        groups.topics.partitions.error_code;
    OffsetForLeaderEpochResponse: topics.partitions.error_code;
    SyncGroupResponse: error_code;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_however_deep_they_lie() {
        let mut partition = offset_fetch_response::OffsetFetchResponsePartitions::default();
        partition.error_code = 3;
        let mut topic = offset_fetch_response::OffsetFetchResponseTopics::default();
        topic.partitions = vec![partition.clone(), partition];
        let mut group = offset_fetch_response::OffsetFetchResponseGroup::default();
        (group.topics, group.error_code) = (vec![topic], 16);
        let mut response = OffsetFetchResponse::default();
        response.groups = vec![group];
        let mut codes = Vec::new();
        response.each_error(&mut |code| codes.push(code));
        assert_eq!(codes, [0, 16, 3, 3]);
    }
}
