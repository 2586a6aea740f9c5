"""What the messages under test consist of, as in Kafka's message schemas.

A field is a name, a kind, the first and last version that have it, and its default in a request. A list is an
array: of one primitive kind, or of a structure's fields.
"""

from collections import namedtuple

Field = namedtuple("Field", "name kind since until default")


def f(name, kind, since=0, until=99, default=None):
    return Field(name, kind, since, until, default)


API_KEYS = {
    "Produce": 0, "Fetch": 1, "ListOffsets": 2, "Metadata": 3, "OffsetCommit": 8, "OffsetFetch": 9,
    "FindCoordinator": 10, "JoinGroup": 11, "Heartbeat": 12, "LeaveGroup": 13, "SyncGroup": 14, "DescribeGroups": 15,
    "ListGroups": 16, "DeleteGroups": 42, "OffsetDelete": 47, "ApiVersions": 18, "CreateTopics": 19,
    "DeleteTopics": 20, "DeleteRecords": 21, "InitProducerId": 22, "OffsetForLeaderEpoch": 23, "DescribeConfigs": 32,
    "CreatePartitions": 37, "ConsumerGroupHeartbeat": 68, "DescribeClientQuotas": 48, "AlterClientQuotas": 49,
    "AlterConfigs": 33, "DescribeLogDirs": 35, "ElectLeaders": 43, "IncrementalAlterConfigs": 44,
    "AlterPartitionReassignments": 45, "ListPartitionReassignments": 46, "DescribeCluster": 60, "DescribeProducers": 61, "ConsumerGroupDescribe": 69,
    "DescribeTopicPartitions": 75,
}  # fmt: skip

FIRST_FLEXIBLE = {
    "Produce": 9, "Fetch": 12, "ListOffsets": 6, "Metadata": 9, "ApiVersions": 3, "CreateTopics": 5,
    "OffsetCommit": 8, "OffsetFetch": 6, "FindCoordinator": 3, "JoinGroup": 6, "Heartbeat": 4, "LeaveGroup": 4,
    "SyncGroup": 4, "DescribeGroups": 5, "ListGroups": 3, "DeleteGroups": 2, "OffsetDelete": 99,
    "DeleteTopics": 4, "DeleteRecords": 2, "InitProducerId": 2, "OffsetForLeaderEpoch": 4, "DescribeConfigs": 4, "CreatePartitions": 2,
    "DescribeClientQuotas": 1, "AlterClientQuotas": 1, "ConsumerGroupHeartbeat": 0, "AlterConfigs": 2,
    "DescribeLogDirs": 2, "ElectLeaders": 2, "IncrementalAlterConfigs": 1, "ListPartitionReassignments": 0,
    "AlterPartitionReassignments": 0,
    "DescribeCluster": 0, "DescribeProducers": 0, "ConsumerGroupDescribe": 0, "DescribeTopicPartitions": 0,
}  # fmt: skip

_TOPIC_PARTITIONS = ("struct", [
    f("topic_partitions", [f("topic_id", "uuid"), f("topic_name", "string"), f("partitions", ["int32"])]),
])  # fmt: skip

REQUESTS = {
    "AlterConfigs": [
        f("resources", [
            f("kind", "int8"), f("name", "string"), f("configs", [f("name", "string"), f("value", "string")]),
        ]),
        f("validate_only", "bool"),
    ],
    "IncrementalAlterConfigs": [
        f("resources", [
            f("kind", "int8"), f("name", "string"),
            f("configs", [f("name", "string"), f("op", "int8"), f("value", "string")]),
        ]),
        f("validate_only", "bool"),
    ],
    "DescribeLogDirs": [f("topics", [f("name", "string"), f("partitions", ["int32"])])],
    "ElectLeaders": [
        f("election_type", "int8", 1), f("topics", [f("name", "string"), f("partitions", ["int32"])]),
        f("timeout_ms", "int32", default=30_000),
    ],
    "ListPartitionReassignments": [
        f("timeout_ms", "int32", default=30_000), f("topics", [f("name", "string"), f("partitions", ["int32"])]),
    ],
    "AlterPartitionReassignments": [
        f("timeout_ms", "int32", default=30_000),
        f("topics", [f("name", "string"), f("partitions", [f("index", "int32"), f("replicas", ["int32"])])]),
    ],
    "DescribeCluster": [f("include_cluster_authorized_operations", "bool"), f("endpoint_type", "int8", 1, default=1)],
    "DescribeProducers": [f("topics", [f("name", "string"), f("partitions", ["int32"])])],
    "ConsumerGroupDescribe": [f("groups", ["string"]), f("include_authorized_operations", "bool")],
    "DescribeTopicPartitions": [
        f("topics", [f("name", "string")]), f("response_partition_limit", "int32", default=2000),
        f("cursor", "int8", default=-1),  # null
    ],
    "ApiVersions": [f("software_name", "string", 3, default="wire"), f("software_version", "string", 3, default="1.0")],
    "Metadata": [
        f("topics", [f("topic_id", "uuid", 10), f("name", "string")]),
        f("allow_auto_topic_creation", "bool", 4, default=True),
        f("include_cluster_authorized_operations", "bool", 8, 10),
        f("include_topic_authorized_operations", "bool", 8),
    ],
    "Produce": [
        f("transactional_id", "string", 3),
        f("acks", "int16", default=-1),
        f("timeout_ms", "int32", default=30_000),
        f("topics", [f("name", "string"), f("partitions", [f("index", "int32"), f("records", "bytes")])], default=[]),
    ],
    "Fetch": [
        f("replica_id", "int32", 0, 14, -1),
        f("max_wait_ms", "int32", default=500),
        f("min_bytes", "int32", default=1),
        f("max_bytes", "int32", 3, default=50 << 20),
        f("isolation_level", "int8", 4),
        f("session_id", "int32", 7),
        f("session_epoch", "int32", 7, default=-1),
        f("topics", [
            f("name", "string", 0, 12),
            f("topic_id", "uuid", 13),
            f("partitions", [
                f("index", "int32"),
                f("current_leader_epoch", "int32", 9, default=-1),
                f("fetch_offset", "int64"),
                f("last_fetched_epoch", "int32", 12, default=-1),
                f("log_start_offset", "int64", 5, default=-1),
                f("partition_max_bytes", "int32", default=1 << 20),
            ]),
        ], default=[]),
        f("forgotten_topics", [
            f("name", "string", 0, 12), f("topic_id", "uuid", 13), f("partitions", ["int32"]),
        ], 7, default=[]),
        f("rack_id", "string", 11, default=""),
    ],
    "ListOffsets": [
        f("replica_id", "int32", default=-1),
        f("isolation_level", "int8", 2),
        f("topics", [f("name", "string"), f("partitions", [
            f("index", "int32"), f("current_leader_epoch", "int32", 4, default=-1), f("timestamp", "int64"),
        ])], default=[]),
        f("timeout_ms", "int32", 10),
    ],
    "CreateTopics": [
        f("topics", [
            f("name", "string"),
            f("num_partitions", "int32", default=-1),
            f("replication_factor", "int16", default=-1),
            f("assignments", [f("index", "int32"), f("broker_ids", ["int32"])], default=[]),
            f("configs", [f("name", "string"), f("value", "string")], default=[]),
        ]),
        f("timeout_ms", "int32", default=30_000),
        f("validate_only", "bool", 1),
    ],
    "DeleteTopics": [
        f("topics", [f("name", "string"), f("topic_id", "uuid")], 6, default=[]),
        f("topic_names", ["string"], 0, 5, []),
        f("timeout_ms", "int32", default=30_000),
    ],
    "DeleteRecords": [
        f("topics", [f("name", "string"), f("partitions", [f("index", "int32"), f("offset", "int64")])]),
        f("timeout_ms", "int32", default=30_000),
    ],
    "InitProducerId": [
        f("transactional_id", "string"),
        f("transaction_timeout_ms", "int32", default=60_000),
        f("producer_id", "int64", 3, default=-1),
        f("producer_epoch", "int16", 3, default=-1),
    ],
    "OffsetForLeaderEpoch": [
        f("replica_id", "int32", 3, default=-1),
        f("topics", [f("name", "string"), f("partitions", [
            f("index", "int32"), f("current_leader_epoch", "int32", 2, default=-1), f("leader_epoch", "int32"),
        ])]),
    ],
    "DescribeConfigs": [
        f("resources", [f("kind", "int8"), f("name", "string"), f("keys", ["string"])]),
        f("include_synonyms", "bool", 1),
        f("include_documentation", "bool", 3),
    ],
    "CreatePartitions": [
        f("topics", [f("name", "string"), f("count", "int32"), f("assignments", [f("broker_ids", ["int32"])])]),
        f("timeout_ms", "int32", default=30_000),
        f("validate_only", "bool"),
    ],
    "FindCoordinator": [
        f("key", "string", 0, 3, ""), f("key_type", "int8", 1), f("coordinator_keys", ["string"], 4, default=[]),
    ],
    "JoinGroup": [
        f("group_id", "string"),
        f("session_timeout_ms", "int32", default=10_000),
        f("rebalance_timeout_ms", "int32", 1, default=10_000),
        f("member_id", "string", default=""),
        f("group_instance_id", "string", 5),
        f("protocol_type", "string", default="consumer"),
        f("protocols", [f("name", "string"), f("metadata", "bytes")]),
        f("reason", "string", 8),
    ],
    "SyncGroup": [
        f("group_id", "string"),
        f("generation_id", "int32"),
        f("member_id", "string"),
        f("group_instance_id", "string", 3),
        f("protocol_type", "string", 5, default="consumer"),
        f("protocol_name", "string", 5, default="range"),
        f("assignments", [f("member_id", "string"), f("assignment", "bytes")], default=[]),
    ],
    "Heartbeat": [
        f("group_id", "string"), f("generation_id", "int32"), f("member_id", "string"),
        f("group_instance_id", "string", 3),
    ],
    "LeaveGroup": [
        f("group_id", "string"),
        f("member_id", "string", 0, 2),
        f("members", [
            f("member_id", "string"), f("group_instance_id", "string"), f("reason", "string", 5),
        ], 3, default=[]),
    ],
    "OffsetCommit": [
        f("group_id", "string"),
        f("generation_id", "int32", 1, default=-1),
        f("member_id", "string", 1, default=""),
        f("group_instance_id", "string", 7),
        f("retention_time_ms", "int64", 2, 4, -1),
        f("topics", [f("name", "string"), f("partitions", [
            f("index", "int32"), f("offset", "int64"), f("leader_epoch", "int32", 6, default=-1),
            f("metadata", "string"),
        ])]),
    ],
    "OffsetFetch": [
        f("group_id", "string", 0, 7),
        f("topics", [f("name", "string"), f("partitions", ["int32"])], 0, 7),
        f("groups", [
            f("group_id", "string"),
            f("member_id", "string", 9), f("member_epoch", "int32", 9, default=-1),
            f("topics", [f("name", "string"), f("partitions", ["int32"])]),
        ], 8, default=[]),
        f("require_stable", "bool", 7),
    ],
    "DescribeGroups": [f("groups", ["string"]), f("include_authorized_operations", "bool", 3)],
    "ListGroups": [f("states_filter", ["string"], 4, default=[]), f("types_filter", ["string"], 5, default=[])],
    "DeleteGroups": [f("groups", ["string"])],
    "OffsetDelete": [
        f("group_id", "string"), f("topics", [f("name", "string"), f("partitions", [f("index", "int32")])]),
    ],
    "ConsumerGroupHeartbeat": [
        f("group_id", "string"), f("member_id", "string", default=""), f("member_epoch", "int32"),
        f("instance_id", "string"), f("rack_id", "string"),
        f("rebalance_timeout_ms", "int32", default=-1), f("subscribed_topic_names", ["string"]),
        f("subscribed_topic_regex", "string", 1), f("server_assignor", "string"),
        f("topic_partitions", [f("topic_id", "uuid"), f("partitions", ["int32"])]),
    ],
    "DescribeClientQuotas": [
        f("components", [f("entity_type", "string"), f("match_type", "int8"), f("match", "string")]),
        f("strict", "bool"),
    ],
    "AlterClientQuotas": [
        f("entries", [
            f("entity", [f("entity_type", "string"), f("entity_name", "string")]),
            f("ops", [f("key", "string"), f("value", "float64", default=0.0), f("remove", "bool")]),
        ]),
        f("validate_only", "bool"),
    ],
}  # fmt: skip

RESPONSES = {
    **dict.fromkeys(("AlterConfigs", "IncrementalAlterConfigs"), [
        f("throttle_time_ms", "int32"),
        f("responses", [
            f("error_code", "int16"), f("error_message", "string"), f("kind", "int8"), f("name", "string"),
        ]),
    ]),
    "DescribeLogDirs": [
        f("throttle_time_ms", "int32"),
        f("error_code", "int16", 3),
        f("results", [
            f("error_code", "int16"), f("log_dir", "string"),
            f("topics", [f("name", "string"), f("partitions", [
                f("index", "int32"), f("size", "int64"), f("offset_lag", "int64"), f("is_future", "bool"),
            ])]),
            f("total_bytes", "int64", 4), f("usable_bytes", "int64", 4),
        ]),
    ],
    "ElectLeaders": [
        f("throttle_time_ms", "int32"),
        f("error_code", "int16", 1),
        f("results", [f("topic", "string"), f("partitions", [
            f("index", "int32"), f("error_code", "int16"), f("error_message", "string"),
        ])]),
    ],
    "ListPartitionReassignments": [
        f("throttle_time_ms", "int32"), f("error_code", "int16"), f("error_message", "string"),
        f("topics", [f("name", "string"), f("partitions", [
            f("index", "int32"), f("replicas", ["int32"]), f("adding", ["int32"]), f("removing", ["int32"]),
        ])]),
    ],
    "AlterPartitionReassignments": [
        f("throttle_time_ms", "int32"), f("error_code", "int16"), f("error_message", "string"),
        f("topics", [f("name", "string"), f("partitions", [
            f("index", "int32"), f("error_code", "int16"), f("error_message", "string"),
        ])]),
    ],
    "DescribeCluster": [
        f("throttle_time_ms", "int32"), f("error_code", "int16"), f("error_message", "string"),
        f("endpoint_type", "int8", 1), f("cluster_id", "string"), f("controller_id", "int32"),
        f("brokers", [f("node_id", "int32"), f("host", "string"), f("port", "int32"), f("rack", "string")]),
        f("authorized_operations", "int32"),
    ],
    "DescribeProducers": [
        f("throttle_time_ms", "int32"),
        f("topics", [f("name", "string"), f("partitions", [
            f("index", "int32"), f("error_code", "int16"), f("error_message", "string"),
            f("producers", [
                f("producer_id", "int64"), f("producer_epoch", "int32"), f("last_sequence", "int32"),
                f("last_timestamp", "int64"), f("coordinator_epoch", "int32"), f("transaction_start", "int64"),
            ]),
        ])]),
    ],
    "ConsumerGroupDescribe": [
        f("throttle_time_ms", "int32"),
        f("groups", [
            f("error_code", "int16"), f("error_message", "string"), f("group_id", "string"), f("state", "string"),
            f("group_epoch", "int32"), f("assignment_epoch", "int32"), f("assignor", "string"),
            f("members", [
                f("member_id", "string"), f("instance_id", "string"), f("rack_id", "string"),
                f("member_epoch", "int32"), f("client_id", "string"), f("client_host", "string"),
                f("topic_names", ["string"]), f("topic_regex", "string"),
                f("assignment", _TOPIC_PARTITIONS), f("target_assignment", _TOPIC_PARTITIONS),
                f("kind", "int8", 1),
            ]),
            f("authorized_operations", "int32"),
        ]),
    ],
    "DescribeTopicPartitions": [
        f("throttle_time_ms", "int32"),
        f("topics", [
            f("error_code", "int16"), f("name", "string"), f("topic_id", "uuid"), f("is_internal", "bool"),
            f("partitions", [
                f("error_code", "int16"), f("index", "int32"), f("leader_id", "int32"), f("leader_epoch", "int32"),
                f("replicas", ["int32"]), f("isr", ["int32"]), f("eligible", ["int32"]), f("last_eligible", ["int32"]),
                f("offline", ["int32"]),
            ]),
            f("authorized_operations", "int32"),
        ]),
        f("next_cursor", ("nullable", [f("topic", "string"), f("partition", "int32")])),
    ],
    "ConsumerGroupHeartbeat": [
        f("throttle_time_ms", "int32"), f("error_code", "int16"), f("error_message", "string"),
        f("member_id", "string"), f("member_epoch", "int32"), f("heartbeat_interval_ms", "int32"),
        f("assignment", ("nullable", [
            f("topic_partitions", [f("topic_id", "uuid"), f("partitions", ["int32"])]),
        ])),
    ],
    "DescribeClientQuotas": [
        f("throttle_time_ms", "int32"), f("error_code", "int16"), f("error_message", "string"),
        f("entries", [
            f("entity", [f("entity_type", "string"), f("entity_name", "string")]),
            f("values", [f("key", "string"), f("value", "float64")]),
        ]),
    ],
    "AlterClientQuotas": [
        f("throttle_time_ms", "int32"),
        f("entries", [
            f("error_code", "int16"), f("error_message", "string"),
            f("entity", [f("entity_type", "string"), f("entity_name", "string")]),
        ]),
    ],
    "DeleteRecords": [
        f("throttle_time_ms", "int32"),
        f("topics", [f("name", "string"), f("partitions", [
            f("index", "int32"), f("low_watermark", "int64"), f("error_code", "int16"),
        ])]),
    ],
    "FindCoordinator": [
        f("throttle_time_ms", "int32", 1),
        f("error_code", "int16", 0, 3), f("error_message", "string", 1, 3),
        f("node_id", "int32", 0, 3), f("host", "string", 0, 3), f("port", "int32", 0, 3),
        f("coordinators", [
            f("key", "string"), f("node_id", "int32"), f("host", "string"), f("port", "int32"),
            f("error_code", "int16"), f("error_message", "string"),
        ], 4),
    ],
    "JoinGroup": [
        f("throttle_time_ms", "int32", 2),
        f("error_code", "int16"),
        f("generation_id", "int32"),
        f("protocol_type", "string", 7),
        f("protocol_name", "string"),
        f("leader", "string"),
        f("skip_assignment", "bool", 9),
        f("member_id", "string"),
        f("members", [
            f("member_id", "string"), f("group_instance_id", "string", 5), f("metadata", "bytes"),
        ]),
    ],
    "SyncGroup": [
        f("throttle_time_ms", "int32", 1),
        f("error_code", "int16"),
        f("protocol_type", "string", 5), f("protocol_name", "string", 5),
        f("assignment", "bytes"),
    ],
    "Heartbeat": [f("throttle_time_ms", "int32", 1), f("error_code", "int16")],
    "LeaveGroup": [
        f("throttle_time_ms", "int32", 1),
        f("error_code", "int16"),
        f("members", [f("member_id", "string"), f("group_instance_id", "string"), f("error_code", "int16")], 3),
    ],
    "OffsetCommit": [
        f("throttle_time_ms", "int32", 3),
        f("topics", [f("name", "string"), f("partitions", [f("index", "int32"), f("error_code", "int16")])]),
    ],
    "OffsetFetch": [
        f("throttle_time_ms", "int32", 3),
        f("topics", [f("name", "string"), f("partitions", [
            f("index", "int32"), f("offset", "int64"), f("leader_epoch", "int32", 5), f("metadata", "string"),
            f("error_code", "int16"),
        ])], 0, 7),
        f("error_code", "int16", 2, 7),
        f("groups", [
            f("group_id", "string"),
            f("topics", [f("name", "string"), f("partitions", [
                f("index", "int32"), f("offset", "int64"), f("leader_epoch", "int32"), f("metadata", "string"),
                f("error_code", "int16"),
            ])]),
            f("error_code", "int16"),
        ], 8),
    ],
    "DescribeGroups": [
        f("throttle_time_ms", "int32", 1),
        f("groups", [
            f("error_code", "int16"), f("error_message", "string", 6),
            f("group_id", "string"), f("state", "string"), f("protocol_type", "string"), f("protocol", "string"),
            f("members", [
                f("member_id", "string"), f("group_instance_id", "string", 4), f("client_id", "string"),
                f("client_host", "string"), f("metadata", "bytes"), f("assignment", "bytes"),
            ]),
            f("authorized_operations", "int32", 3),
        ]),
    ],
    "ListGroups": [
        f("throttle_time_ms", "int32", 1),
        f("error_code", "int16"),
        f("groups", [
            f("group_id", "string"), f("protocol_type", "string"), f("state", "string", 4), f("kind", "string", 5),
        ]),
    ],
    "DeleteGroups": [f("throttle_time_ms", "int32"), f("results", [f("group_id", "string"), f("error_code", "int16")])],
    "OffsetDelete": [
        f("error_code", "int16"), f("throttle_time_ms", "int32"),
        f("topics", [f("name", "string"), f("partitions", [f("index", "int32"), f("error_code", "int16")])]),
    ],
    "ApiVersions": [
        f("error_code", "int16"),
        f("api_keys", [f("key", "int16"), f("min", "int16"), f("max", "int16")]),
        f("throttle_time_ms", "int32", 1),
    ],
    "Metadata": [
        f("throttle_time_ms", "int32", 3),
        f("brokers", [f("node_id", "int32"), f("host", "string"), f("port", "int32"), f("rack", "string", 1)]),
        f("cluster_id", "string", 2),
        f("controller_id", "int32", 1),
        f("topics", [
            f("error_code", "int16"),
            f("name", "string"),
            f("topic_id", "uuid", 10),
            f("is_internal", "bool", 1),
            f("partitions", [
                f("error_code", "int16"),
                f("index", "int32"),
                f("leader_id", "int32"),
                f("leader_epoch", "int32", 7),
                f("replicas", ["int32"]),
                f("isr", ["int32"]),
                f("offline_replicas", ["int32"], 5),
            ]),
            f("authorized_operations", "int32", 8),
        ]),
        f("cluster_authorized_operations", "int32", 8, 10),
        f("error_code", "int16", 13),
    ],
    "Produce": [
        f("topics", [f("name", "string"), f("partitions", [
            f("index", "int32"),
            f("error_code", "int16"),
            f("base_offset", "int64"),
            f("log_append_time_ms", "int64", 2),
            f("log_start_offset", "int64", 5),
            f("record_errors", [f("batch_index", "int32"), f("message", "string")], 8),
            f("error_message", "string", 8),
        ])]),
        f("throttle_time_ms", "int32", 1),
    ],
    "Fetch": [
        f("throttle_time_ms", "int32", 1),
        f("error_code", "int16", 7),
        f("session_id", "int32", 7),
        f("topics", [
            f("name", "string", 0, 12),
            f("topic_id", "uuid", 13),
            f("partitions", [
                f("index", "int32"),
                f("error_code", "int16"),
                f("high_watermark", "int64"),
                f("last_stable_offset", "int64", 4),
                f("log_start_offset", "int64", 5),
                f("aborted_transactions", [f("producer_id", "int64"), f("first_offset", "int64")], 4),
                f("preferred_read_replica", "int32", 11),
                f("records", "bytes"),
            ]),
        ]),
    ],
    "ListOffsets": [
        f("throttle_time_ms", "int32", 2),
        f("topics", [f("name", "string"), f("partitions", [
            f("index", "int32"), f("error_code", "int16"), f("timestamp", "int64", 1), f("offset", "int64", 1),
            f("leader_epoch", "int32", 4),
        ])]),
    ],
    "CreateTopics": [
        f("throttle_time_ms", "int32", 2),
        f("topics", [
            f("name", "string"),
            f("topic_id", "uuid", 7),
            f("error_code", "int16"),
            f("error_message", "string", 1),
            f("num_partitions", "int32", 5),
            f("replication_factor", "int16", 5),
            f("configs", [
                f("name", "string"), f("value", "string"), f("read_only", "bool"), f("config_source", "int8"),
                f("is_sensitive", "bool"),
            ], 5),
        ]),
    ],
    "DeleteTopics": [
        f("throttle_time_ms", "int32", 1),
        f("responses", [
            f("name", "string"), f("topic_id", "uuid", 6), f("error_code", "int16"), f("error_message", "string", 5),
        ]),
    ],
    "InitProducerId": [
        f("throttle_time_ms", "int32"),
        f("error_code", "int16"),
        f("producer_id", "int64"),
        f("producer_epoch", "int16"),
    ],
    "OffsetForLeaderEpoch": [
        f("throttle_time_ms", "int32", 2),
        f("topics", [f("name", "string"), f("partitions", [
            f("error_code", "int16"), f("index", "int32"), f("leader_epoch", "int32", 1), f("end_offset", "int64"),
        ])]),
    ],
    "DescribeConfigs": [
        f("throttle_time_ms", "int32"),
        f("results", [
            f("error_code", "int16"),
            f("error_message", "string"),
            f("kind", "int8"),
            f("name", "string"),
            f("configs", [
                f("name", "string"),
                f("value", "string"),
                f("read_only", "bool"),
                f("source", "int8", 1),
                f("is_sensitive", "bool"),
                f("synonyms", [f("name", "string"), f("value", "string"), f("source", "int8")], 1),
                f("kind", "int8", 3),
                f("documentation", "string", 3),
            ]),
        ]),
    ],
    "CreatePartitions": [
        f("throttle_time_ms", "int32"),
        f("results", [f("name", "string"), f("error_code", "int16"), f("error_message", "string")]),
    ],
}  # fmt: skip
