//! One row per API: key, name, versions served, versions advertised, first flexible version.
//!
//! This table is the only source for what ApiVersions says, what dispatch accepts and which header a
//! version has. A version stands here only if every field of it works.
//!
//! The ceilings are those of one release, Kafka 4.0, because clients infer the release, and with it what else they
//! may do, from the ranges. The next set is that of 4.1, whole or not at all: Produce 13, OffsetCommit 10 and
//! OffsetFetch 10, which name topics by their ids alone, and Fetch 18. It waits for transactions of version 2:
//! Produce 13 says all that 12 says, and 12 that `transaction.version` 2 is a finalized feature (KIP-890). Topic ids in
//! commits without those in produce would be a broker that never was; and Fetch 18 alone tells nothing to a consumer,
//! since the high watermark in it is a follower's (KIP-1166).
//!
//! Source: Kafka 4.0, `ApiKeys` and the message schemas; what clients infer is said at their rows.

/// Numbers of the APIs on the wire, for use as patterns.
#[derive(Debug, Clone, Copy)]
pub struct ApiKey;

#[allow(missing_docs, reason = "the names are Kafka's own and say what they mean")]
impl ApiKey {
    pub const PRODUCE: i16 = 0;
    pub const FETCH: i16 = 1;
    pub const LIST_OFFSETS: i16 = 2;
    pub const METADATA: i16 = 3;
    pub const OFFSET_COMMIT: i16 = 8;
    pub const OFFSET_FETCH: i16 = 9;
    pub const FIND_COORDINATOR: i16 = 10;
    pub const JOIN_GROUP: i16 = 11;
    pub const HEARTBEAT: i16 = 12;
    pub const LEAVE_GROUP: i16 = 13;
    pub const SYNC_GROUP: i16 = 14;
    pub const DESCRIBE_GROUPS: i16 = 15;
    pub const LIST_GROUPS: i16 = 16;
    pub const API_VERSIONS: i16 = 18;
    pub const CREATE_TOPICS: i16 = 19;
    pub const DELETE_TOPICS: i16 = 20;
    pub const DELETE_RECORDS: i16 = 21;
    pub const INIT_PRODUCER_ID: i16 = 22;
    pub const OFFSET_FOR_LEADER_EPOCH: i16 = 23;
    pub const DESCRIBE_CONFIGS: i16 = 32;
    pub const ALTER_CONFIGS: i16 = 33;
    pub const DESCRIBE_LOG_DIRS: i16 = 35;
    pub const CREATE_PARTITIONS: i16 = 37;
    pub const DELETE_GROUPS: i16 = 42;
    pub const ELECT_LEADERS: i16 = 43;
    pub const INCREMENTAL_ALTER_CONFIGS: i16 = 44;
    pub const ALTER_PARTITION_REASSIGNMENTS: i16 = 45;
    pub const LIST_PARTITION_REASSIGNMENTS: i16 = 46;
    pub const OFFSET_DELETE: i16 = 47;
    pub const DESCRIBE_CLIENT_QUOTAS: i16 = 48;
    pub const ALTER_CLIENT_QUOTAS: i16 = 49;
    pub const DESCRIBE_CLUSTER: i16 = 60;
    pub const DESCRIBE_PRODUCERS: i16 = 61;
    pub const CONSUMER_GROUP_HEARTBEAT: i16 = 68;
    pub const CONSUMER_GROUP_DESCRIBE: i16 = 69;
    pub const DESCRIBE_TOPIC_PARTITIONS: i16 = 75;
}

/// What is served of one API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Api {
    /// Its number on the wire.
    pub key: i16,
    /// Kafka's name.
    pub name: &'static str,
    /// Lowest version served.
    pub min: i16,
    /// Highest version served and advertised.
    pub max: i16,
    /// Lowest version advertised; below `min` only where clients infer features from it.
    pub advertised_min: i16,
    /// From this version on types are compact, structures end in tagged fields, and headers differ.
    pub first_flexible: i16,
}

const fn row(key: i16, name: &'static str, min: i16, max: i16, first_flexible: i16) -> Api {
    Api { key, name, min, max, advertised_min: min, first_flexible }
}

/// First flexible version of an API that has none.
const NEVER_FLEXIBLE: i16 = i16::MAX;

/// Advertised from 0, because librdkafka before 2.11.1 takes a higher minimum as "no compression". Version
/// 12 would imply version 2 of transactions, which is a finalized feature that is not there yet.
pub const PRODUCE: Api = Api { advertised_min: 0, ..row(ApiKey::PRODUCE, "Produce", 3, 11, 9) };
/// 18 would tell a follower's high watermark (KIP-1166); see above.
pub const FETCH: Api = row(ApiKey::FETCH, "Fetch", 4, 17, 12);
/// 7 brought the time -3 (offset of the largest timestamp), 8 brought -4 (earliest local), 9 brought -5
/// (latest tiered), 10 a timeout. Without tiered storage -4 is the log start and -5 is offset -1, no error.
pub const LIST_OFFSETS: Api = row(ApiKey::LIST_OFFSETS, "ListOffsets", 1, 10, 6);
/// Topic ids from 10 on.
pub const METADATA: Api = row(ApiKey::METADATA, "Metadata", 0, 13, 9);
/// A version above is answered in version 0 (KIP-511).
pub const API_VERSIONS: Api = row(ApiKey::API_VERSIONS, "ApiVersions", 0, 4, 3);
/// Effective settings are answered from 5 on, topic ids from 7 on.
pub const CREATE_TOPICS: Api = row(ApiKey::CREATE_TOPICS, "CreateTopics", 2, 7, 5);
/// By id as well as by name in 6.
pub const DELETE_TOPICS: Api = row(ApiKey::DELETE_TOPICS, "DeleteTopics", 1, 6, 4);
/// Flexible in 2, otherwise the same.
pub const DELETE_RECORDS: Api = row(ApiKey::DELETE_RECORDS, "DeleteRecords", 0, 2, 2);
/// 6 belongs to two-phase commit (KIP-939).
pub const INIT_PRODUCER_ID: Api = row(ApiKey::INIT_PRODUCER_ID, "InitProducerId", 0, 5, 2);
/// Versions below 2 went with Kafka 4.
pub const OFFSET_FOR_LEADER_EPOCH: Api =
    row(ApiKey::OFFSET_FOR_LEADER_EPOCH, "OffsetForLeaderEpoch", 2, 4, 4);
/// Synonyms from 1, types and documentation from 3 on.
pub const DESCRIBE_CONFIGS: Api = row(ApiKey::DESCRIBE_CONFIGS, "DescribeConfigs", 1, 4, 4);
/// Replaces all that is set on a resource.
pub const ALTER_CONFIGS: Api = row(ApiKey::ALTER_CONFIGS, "AlterConfigs", 0, 2, 2);
/// Key by key (KIP-339).
pub const INCREMENTAL_ALTER_CONFIGS: Api =
    row(ApiKey::INCREMENTAL_ALTER_CONFIGS, "IncrementalAlterConfigs", 0, 1, 1);
/// Bytes of the disk from 4 on.
pub const DESCRIBE_LOG_DIRS: Api = row(ApiKey::DESCRIBE_LOG_DIRS, "DescribeLogDirs", 1, 4, 2);
/// Unclean elections from 1 on.
pub const ELECT_LEADERS: Api = row(ApiKey::ELECT_LEADERS, "ElectLeaders", 0, 2, 2);
/// 1 would allow another number of replicas.
pub const ALTER_PARTITION_REASSIGNMENTS: Api =
    row(ApiKey::ALTER_PARTITION_REASSIGNMENTS, "AlterPartitionReassignments", 0, 0, 0);
/// The only version.
pub const LIST_PARTITION_REASSIGNMENTS: Api =
    row(ApiKey::LIST_PARTITION_REASSIGNMENTS, "ListPartitionReassignments", 0, 0, 0);
/// The only version.
pub const DESCRIBE_PRODUCERS: Api = row(ApiKey::DESCRIBE_PRODUCERS, "DescribeProducers", 0, 0, 0);
/// The only version.
pub const DESCRIBE_TOPIC_PARTITIONS: Api =
    row(ApiKey::DESCRIBE_TOPIC_PARTITIONS, "DescribeTopicPartitions", 0, 0, 0);
/// 3 may answer THROTTLING_QUOTA_EXCEEDED.
pub const CREATE_PARTITIONS: Api = row(ApiKey::CREATE_PARTITIONS, "CreatePartitions", 0, 3, 2);
/// 1 is flexible.
pub const DESCRIBE_CLIENT_QUOTAS: Api = row(ApiKey::DESCRIBE_CLIENT_QUOTAS, "DescribeClientQuotas", 0, 1, 1);
/// 1 is flexible.
pub const ALTER_CLIENT_QUOTAS: Api = row(ApiKey::ALTER_CLIENT_QUOTAS, "AlterClientQuotas", 0, 1, 1);
/// 1 asks for brokers or controllers; 2 would tell of fenced brokers.
pub const DESCRIBE_CLUSTER: Api = row(ApiKey::DESCRIBE_CLUSTER, "DescribeCluster", 0, 1, 0);

/// 10 would name topics by their ids; see above.
pub const OFFSET_COMMIT: Api = row(ApiKey::OFFSET_COMMIT, "OffsetCommit", 2, 9, 8);
/// Several groups from 8 on; 10 would name topics by their ids; see above.
pub const OFFSET_FETCH: Api = row(ApiKey::OFFSET_FETCH, "OffsetFetch", 1, 9, 6);
/// Several keys from 4 on.
pub const FIND_COORDINATOR: Api = row(ApiKey::FIND_COORDINATOR, "FindCoordinator", 0, 6, 3);
/// A new member comes again with its id from 4 on, static members from 5 on.
pub const JOIN_GROUP: Api = row(ApiKey::JOIN_GROUP, "JoinGroup", 0, 9, 6);
/// Static members from 3 on.
pub const HEARTBEAT: Api = row(ApiKey::HEARTBEAT, "Heartbeat", 0, 4, 4);
/// Several members from 3 on.
pub const LEAVE_GROUP: Api = row(ApiKey::LEAVE_GROUP, "LeaveGroup", 0, 5, 4);
/// Static members from 3 on.
pub const SYNC_GROUP: Api = row(ApiKey::SYNC_GROUP, "SyncGroup", 0, 5, 4);
/// A group that is not there is an error in 6.
pub const DESCRIBE_GROUPS: Api = row(ApiKey::DESCRIBE_GROUPS, "DescribeGroups", 0, 6, 5);
/// By state from 4 on, by type in 5.
pub const LIST_GROUPS: Api = row(ApiKey::LIST_GROUPS, "ListGroups", 0, 5, 3);
/// Empty groups only.
pub const DELETE_GROUPS: Api = row(ApiKey::DELETE_GROUPS, "DeleteGroups", 0, 2, 2);
/// Members choose their ids, and may subscribe by a regular expression, in 1.
pub const CONSUMER_GROUP_HEARTBEAT: Api =
    row(ApiKey::CONSUMER_GROUP_HEARTBEAT, "ConsumerGroupHeartbeat", 0, 1, 0);
/// The protocol of a member in 1.
pub const CONSUMER_GROUP_DESCRIBE: Api =
    row(ApiKey::CONSUMER_GROUP_DESCRIBE, "ConsumerGroupDescribe", 0, 1, 0);
/// The only version.
pub const OFFSET_DELETE: Api = row(ApiKey::OFFSET_DELETE, "OffsetDelete", 0, 0, NEVER_FLEXIBLE);

/// All that is served, ascending by key.
pub static TABLE: &[Api] = &[
    PRODUCE,
    FETCH,
    LIST_OFFSETS,
    METADATA,
    OFFSET_COMMIT,
    OFFSET_FETCH,
    FIND_COORDINATOR,
    JOIN_GROUP,
    HEARTBEAT,
    LEAVE_GROUP,
    SYNC_GROUP,
    DESCRIBE_GROUPS,
    LIST_GROUPS,
    API_VERSIONS,
    CREATE_TOPICS,
    DELETE_TOPICS,
    DELETE_RECORDS,
    INIT_PRODUCER_ID,
    OFFSET_FOR_LEADER_EPOCH,
    DESCRIBE_CONFIGS,
    ALTER_CONFIGS,
    DESCRIBE_LOG_DIRS,
    CREATE_PARTITIONS,
    DELETE_GROUPS,
    ELECT_LEADERS,
    INCREMENTAL_ALTER_CONFIGS,
    ALTER_PARTITION_REASSIGNMENTS,
    LIST_PARTITION_REASSIGNMENTS,
    OFFSET_DELETE,
    DESCRIBE_CLIENT_QUOTAS,
    ALTER_CLIENT_QUOTAS,
    DESCRIBE_CLUSTER,
    DESCRIBE_PRODUCERS,
    CONSUMER_GROUP_HEARTBEAT,
    CONSUMER_GROUP_DESCRIBE,
    DESCRIBE_TOPIC_PARTITIONS,
];

/// The row of that key, or `None` for an API that is not served.
#[must_use]
pub fn find(key: i16) -> Option<&'static Api> {
    TABLE.iter().find(|api| api.key == key)
}

impl Api {
    /// Whether requests of that version are answered.
    #[must_use]
    pub const fn serves(&self, version: i16) -> bool {
        self.min <= version && version <= self.max
    }

    /// Whether that version has compact types and tagged fields.
    #[must_use]
    pub const fn is_flexible(&self, version: i16) -> bool {
        version >= self.first_flexible
    }

    /// Version of the header before a request: 2 ends in tagged fields, 1 does not.
    #[must_use]
    pub const fn request_header_version(&self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// Version of the header before a response: 1 ends in tagged fields, 0 does not.
    ///
    /// ApiVersions always has 0, since a client must read the answer before it knows our versions (KIP-511).
    #[must_use]
    pub const fn response_header_version(&self, version: i16) -> i16 {
        if self.is_flexible(version) && self.key != ApiKey::API_VERSIONS { 1 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_lies_within_the_generated_messages_and_agrees_on_flexibility() {
        for api in TABLE {
            let of_key = |d: &&kafka_wire::MessageDescriptor| d.api_key.value() == api.key;
            let mut messages = 0;
            for message in kafka_wire::MESSAGE_DESCRIPTORS.iter().filter(of_key) {
                messages += 1;
                let supported = message.supported_versions;
                assert!(supported.min().value() <= api.min, "{message:?} {api:?}");
                assert!(api.max <= supported.max().value(), "{message:?} {api:?}");
                let flexible = message.flexible_versions.map(|versions| versions.min().value());
                assert_eq!(flexible.unwrap_or(NEVER_FLEXIBLE), api.first_flexible, "{message:?}");
                assert!(message.name.starts_with(api.name), "{message:?} {api:?}");
            }
            assert_eq!(messages, 2, "{api:?}");
        }
    }

    #[test]
    fn header_versions_are_those_of_the_generated_crate() {
        for api in TABLE {
            for version in api.min..=api.max {
                let flexible = api.is_flexible(version);
                assert_eq!(
                    api.request_header_version(version),
                    kafka_wire::request_header_version(flexible),
                    "{api:?} {version}"
                );
                assert_eq!(
                    api.response_header_version(version),
                    kafka_wire::response_header_version(
                        kafka_wire_core::ApiKey::new(api.key),
                        kafka_wire_core::ApiVersion::new(version),
                        flexible
                    ),
                    "{api:?} {version}"
                );
            }
        }
    }

    #[test]
    fn rows_ascend_and_advertise_no_more_than_a_lower_minimum() {
        assert!(TABLE.windows(2).all(|pair| pair[0].key < pair[1].key));
        for api in TABLE {
            assert!(
                0 <= api.advertised_min && api.advertised_min <= api.min && api.min <= api.max,
                "{api:?}"
            );
            assert_eq!(find(api.key), Some(api));
        }
        assert_eq!(find(i16::MAX), None);
        assert_eq!(find(-1), None);
    }
}
