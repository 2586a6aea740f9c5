"""What the messages under test consist of, as in Kafka's message schemas.

A field is a name, a kind, the first and last version that have it, and its default in a request. A list is an
array: of one primitive kind, or of a structure's fields.
"""

from collections import namedtuple

Field = namedtuple("Field", "name kind since until default")


def f(name, kind, since=0, until=99, default=None):
    return Field(name, kind, since, until, default)


API_KEYS = {
    "Produce": 0, "Fetch": 1, "ListOffsets": 2, "Metadata": 3, "ApiVersions": 18, "CreateTopics": 19,
    "DeleteTopics": 20, "InitProducerId": 22, "OffsetForLeaderEpoch": 23, "DescribeConfigs": 32,
    "CreatePartitions": 37,
}  # fmt: skip

FIRST_FLEXIBLE = {
    "Produce": 9, "Fetch": 12, "ListOffsets": 6, "Metadata": 9, "ApiVersions": 3, "CreateTopics": 5,
    "DeleteTopics": 4, "InitProducerId": 2, "OffsetForLeaderEpoch": 4, "DescribeConfigs": 4, "CreatePartitions": 2,
}  # fmt: skip

REQUESTS = {
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
}  # fmt: skip

RESPONSES = {
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
