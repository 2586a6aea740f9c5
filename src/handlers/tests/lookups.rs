//! What is told of the cluster, of settings, of versions; and producer ids.

use super::*;
use crate::wire::messages::{
    describe_configs_request::DescribeConfigsResource, metadata_request::MetadataRequestTopic,
};

fn all_topics() -> MetadataRequest {
    let mut request = MetadataRequest::default();
    request.topics = None;
    request
}

fn named(names: &[&str]) -> MetadataRequest {
    let topic = |name: &&str| {
        let mut topic = MetadataRequestTopic::default();
        topic.name = Some(text(name));
        topic
    };
    let mut request = MetadataRequest::default();
    request.topics = Some(names.iter().map(topic).collect());
    request
}

fn metadata(node: &Node, request: &MetadataRequest, version: i16) -> MetadataResponse {
    let request = received(request, version);
    let response = run(metadata::handle(request, version, &node.context()));
    sent(&api::METADATA, version, &response)
}

#[test]
fn metadata_answers_every_version_with_what_that_version_has() {
    let node = Node::new();
    node.create(&["orders", "payments"]);
    for version in versions(&api::METADATA) {
        let response = metadata(&node, &named(&["orders"]), version);
        assert_eq!(response.brokers.len(), 1, "v{version}");
        let broker = &response.brokers[0];
        assert_eq!((broker.node_id, &*broker.host, broker.port), (1, "127.0.0.1", 9092));
        assert_eq!(response.controller_id, if version >= 1 { 1 } else { -1 }, "v{version}");
        let cluster_id = node.context().view.cluster_id.clone();
        assert_eq!(cluster_id.len(), 22);
        let told = response.cluster_id.as_deref();
        assert_eq!(told, (version >= 2).then_some(cluster_id.as_str()), "v{version}");
        assert_eq!(response.topics.len(), 1, "v{version}");
        let topic = &response.topics[0];
        assert_eq!((topic.error_code, topic.name.as_deref()), (0, Some("orders")), "v{version}");
        let id = if version >= 10 { node.topic_id("orders") } else { Uuid::ZERO };
        assert_eq!(topic.topic_id, id, "v{version}");
        assert_eq!(topic.topic_authorized_operations, i32::MIN, "v{version}: not asked for");
        assert_eq!(topic.partitions.len(), 2);
        for (index, partition) in topic.partitions.iter().enumerate() {
            assert_eq!(partition.error_code, 0);
            assert_eq!(partition.partition_index, index as i32);
            assert_eq!(partition.leader_id, 1);
            assert_eq!(partition.leader_epoch, if version >= 7 { 0 } else { -1 }, "v{version}");
            assert_eq!((&*partition.replica_nodes, &*partition.isr_nodes), (&[1][..], &[1][..]));
        }
    }
}

#[test]
fn metadata_v0_takes_an_empty_list_for_all_and_later_versions_for_none() {
    let node = Node::new();
    node.create(&["a", "b"]);
    assert_eq!(metadata(&node, &named(&[]), 0).topics.len(), 2);
    for version in 1..=api::METADATA.max {
        assert_eq!(metadata(&node, &named(&[]), version).topics.len(), 0, "v{version}");
        assert_eq!(metadata(&node, &all_topics(), version).topics.len(), 2, "v{version}");
    }
}

#[test]
fn an_unknown_topic_is_created_and_answered_at_once_and_on_retry() {
    for version in versions(&api::METADATA) {
        let node = Node::new();
        for _ in 0..2 {
            let answer = metadata(&node, &named(&["new"]), version);
            assert_eq!(answer.topics[0].error_code, 0, "v{version}");
            assert_eq!(answer.topics[0].partitions.len(), 3, "num.partitions");
        }
    }
}

#[test]
fn a_topic_is_not_created_unless_broker_and_request_allow_it() {
    let unknown = code(ErrorCode::UnknownTopicOrPartition);
    let never = Node::with(&[("auto.create.topics.enable", "false")]);
    let node = Node::new();
    let mut forbidding = named(&["new"]);
    forbidding.allow_auto_topic_creation = false;
    for _ in 0..2 {
        assert_eq!(metadata(&never, &named(&["new"]), 9).topics[0].error_code, unknown);
        assert_eq!(metadata(&node, &forbidding, 9).topics[0].error_code, unknown);
    }
    let invalid = metadata(&node, &named(&["a b"]), 9);
    assert_eq!(invalid.topics[0].error_code, code(ErrorCode::InvalidTopicException));
    node.create(&["x.y"]);
    let colliding = metadata(&node, &named(&["x_y"]), 9);
    assert_eq!(colliding.topics[0].error_code, code(ErrorCode::InvalidTopicException));
    assert_eq!(node.context().view.topics().count(), 1);
}

#[test]
fn a_topic_asked_for_twice_is_answered_once() {
    let node = Node::new();
    node.create(&["a"]);
    assert_eq!(metadata(&node, &named(&["a", "b", "a", "b"]), 12).topics.len(), 2);
}

#[test]
fn metadata_by_id_finds_the_incarnation_and_no_other() {
    let node = Node::new();
    node.create(&["a"]);
    let by_id = |id, name: Option<&str>, version| {
        let mut request = MetadataRequest::default();
        let mut topic = MetadataRequestTopic::default();
        topic.topic_id = id;
        topic.name = name.map(text);
        request.topics = Some(vec![topic]);
        metadata(&node, &request, version).topics.remove(0)
    };
    let id = node.topic_id("a");
    let stale = Uuid::from_bytes([7; 16]);
    for version in 12..=api::METADATA.max {
        let found = by_id(id, None, version);
        assert_eq!((found.error_code, found.name.as_deref()), (0, Some("a")), "v{version}");
        let unknown = by_id(stale, None, version);
        assert_eq!(unknown.error_code, code(ErrorCode::UnknownTopicId), "v{version}");
        assert_eq!((unknown.topic_id, unknown.name), (stale, None), "v{version}");
    }
    for version in 10..12 {
        let refused = by_id(id, None, version);
        assert_eq!(refused.error_code, code(ErrorCode::InvalidRequest), "v{version}: null name");
        let refused = by_id(id, Some("a"), version);
        assert_eq!(refused.error_code, code(ErrorCode::InvalidRequest), "v{version}: an id");
    }
}

#[test]
fn authorized_operations_are_told_only_when_asked_for() {
    let node = Node::new();
    node.create(&["a"]);
    for version in 8..=api::METADATA.max {
        let mut request = named(&["a", "b"]);
        request.allow_auto_topic_creation = false;
        request.include_topic_authorized_operations = true;
        request.include_cluster_authorized_operations = version <= 10;
        let response = metadata(&node, &request, version);
        // Kafka's own figures without an authorizer.
        assert_eq!(response.topics[0].topic_authorized_operations, 3576);
        assert_eq!(response.topics[1].topic_authorized_operations, i32::MIN, "unknown topic");
        let cluster = if version <= 10 { 8096 } else { i32::MIN };
        assert_eq!(response.cluster_authorized_operations, cluster, "v{version}");
    }
}

#[test]
fn api_versions_tells_the_table_in_every_version() {
    let node = Node::new();
    for version in versions(&api::API_VERSIONS) {
        let mut request = ApiVersionsRequest::default();
        request.client_software_name = text("apache-kafka-java");
        request.client_software_version = text("4.1.0");
        let request = received(&request, version);
        let response = run(api_versions::handle(request, version, &node.context()));
        let response = sent(&api::API_VERSIONS, version, &response);
        assert_eq!(response.error_code, 0, "v{version}");
        let ranges: Vec<_> =
            response.api_keys.iter().map(|r| (r.api_key, r.min_version, r.max_version)).collect();
        let table: Vec<_> = TABLE.iter().map(|a| (a.key, a.advertised_min, a.max)).collect();
        assert_eq!(ranges, table, "v{version}");
        assert!(response.finalized_features.is_empty());
    }
}

#[test]
fn an_unsupported_api_versions_version_is_answered_in_version_0_with_the_ranges() {
    let response = sent(&api::API_VERSIONS, 0, &api_versions::unsupported_version());
    assert_eq!(response.error_code, 35);
    let own = response.api_keys.iter().find(|range| range.api_key == 18).expect("its own range");
    assert_eq!((own.min_version, own.max_version), (0, api::API_VERSIONS.max));
}

#[test]
fn produce_is_advertised_from_0_and_not_with_versions_that_imply_features() {
    let response = api_versions::unsupported_version();
    let of = |key| response.api_keys.iter().find(|range| range.api_key == key);
    let produce = of(0).expect("Produce");
    assert!(produce.min_version == 0 && produce.max_version <= 11);
    assert!(of(1).expect("Fetch").max_version >= 12);
    for not_whole in [71, 72, 76] {
        assert!(of(not_whole).is_none(), "{not_whole}");
    }
}

#[test]
fn a_software_name_that_kafka_would_refuse_is_refused_from_version_3_on() {
    let node = Node::new();
    let answer = |name: &str, number: &str, version| {
        let mut request = ApiVersionsRequest::default();
        request.client_software_name = text(name);
        request.client_software_version = text(number);
        let response = run(api_versions::handle(request, version, &node.context()));
        sent(&api::API_VERSIONS, version, &response).error_code
    };
    let refused = code(ErrorCode::InvalidRequest);
    for version in 3..=api::API_VERSIONS.max {
        assert_eq!(answer("librdkafka", "2.12.0-RC1", version), 0);
        assert_eq!(answer("a", "1", version), 0);
        for bad in ["", "-x", "x-", "a b", "ü", "x."] {
            assert_eq!(answer(bad, "1", version), refused, "{bad:?}");
            assert_eq!(answer("a", bad, version), refused, "{bad:?}");
        }
    }
    assert_eq!(answer("", "", 2), 0);
}

fn resource(kind: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsResource {
    let mut resource = DescribeConfigsResource::default();
    resource.resource_type = kind;
    resource.resource_name = text(name);
    resource.configuration_keys = keys.map(|keys| keys.iter().map(text).collect());
    resource
}

fn describe(
    node: &Node,
    version: i16,
    resources: Vec<DescribeConfigsResource>,
) -> Vec<describe_configs_response::DescribeConfigsResult> {
    let mut request = DescribeConfigsRequest::default();
    request.resources = resources;
    request.include_synonyms = true;
    request.include_documentation = version >= 3;
    let request = received(&request, version);
    let response = run(describe_configs::handle(request, version, &node.context()));
    sent(&api::DESCRIBE_CONFIGS, version, &response).results
}

#[test]
fn describe_configs_tells_every_topic_key_with_value_source_type_and_synonyms() {
    let node = Node::with(&[("log.retention.ms", "2h")]);
    let mut topic = creatable("a", 1);
    let mut own = create_topics_request::CreatableTopicConfig::default();
    own.name = text("retention.ms");
    own.value = Some(text("1000"));
    topic.configs = vec![own];
    let mut request = CreateTopicsRequest::default();
    request.topics = vec![topic];
    run(create_topics::handle(request, 7, &node.context()));
    for version in versions(&api::DESCRIBE_CONFIGS) {
        let results = describe(&node, version, vec![resource(2, "a", None)]);
        assert_eq!((results[0].error_code, &results[0].error_message), (0, &None));
        let names: Vec<_> = results[0].configs.iter().map(|config| &*config.name).collect();
        let table: Vec<_> = crate::config::topic::TABLE.iter().map(|key| key.name).collect();
        assert_eq!(names, table, "v{version}");
        let of = |name: &str| results[0].configs.iter().find(|config| &*config.name == name).expect("a key");
        let retention = of("retention.ms");
        assert_eq!(retention.value.as_deref(), Some("1000"));
        assert_eq!((retention.config_source, retention.is_sensitive, retention.read_only), (1, false, false));
        let synonyms: Vec<_> = retention
            .synonyms
            .iter()
            .map(|synonym| (&*synonym.name, synonym.value.as_deref(), synonym.source))
            .collect();
        let expected = [
            ("retention.ms", Some("1000"), 1),
            ("log.retention.ms", Some("7200000"), 4),
            ("log.retention.ms", Some("604800000"), 5),
        ];
        assert_eq!(synonyms, expected, "v{version}");
        assert_eq!(of("cleanup.policy").config_source, 5);
        let (kind, documented) = if version >= 3 { (7, true) } else { (0, false) };
        assert_eq!(of("cleanup.policy").config_type, kind, "v{version}");
        let documentation = of("cleanup.policy").documentation.as_deref().unwrap_or_default();
        assert_eq!(!documentation.is_empty(), documented, "v{version}");
    }
}

#[test]
fn describe_configs_tells_the_brokers_keys_and_only_those_asked_for() {
    let node = Node::with(&[("log.retention.ms", "2h")]);
    let keys = ["default.replication.factor", "log.retention.ms", "no.such.key"];
    for version in versions(&api::DESCRIBE_CONFIGS) {
        let results = describe(
            &node,
            version,
            vec![resource(4, "1", Some(&keys)), resource(4, "1", None), resource(4, "", None)],
        );
        let told: Vec<_> = results[0]
            .configs
            .iter()
            .map(|config| (&*config.name, config.value.as_deref(), config.config_source))
            .collect();
        let factor = ("default.replication.factor", Some("1"), 5);
        let retention = ("log.retention.ms", Some("7200000"), 4);
        assert!(told.contains(&factor) && told.contains(&retention), "{told:?}");
        assert_eq!(told.len(), 2, "v{version}");
        assert_eq!(results[1].configs.len(), node.settings.broker.len());
        assert_eq!((results[2].error_code, results[2].configs.len()), (0, 0));
    }
}

#[test]
fn describe_configs_refuses_each_resource_by_itself() {
    let node = Node::new();
    node.create(&["a"]);
    let resources = vec![
        resource(2, "nothing", None),
        resource(2, "a b", None),
        resource(4, "2", None),
        resource(4, "one", None),
        resource(16, "1", None),
        resource(2, "a", Some(&["retention.ms"])),
    ];
    let results = describe(&node, 4, resources);
    let codes: Vec<_> = results.iter().map(|result| result.error_code).collect();
    let expected = [
        ErrorCode::UnknownTopicOrPartition,
        ErrorCode::InvalidTopicException,
        ErrorCode::InvalidRequest,
        ErrorCode::InvalidRequest,
        ErrorCode::InvalidRequest,
        ErrorCode::None,
    ];
    assert_eq!(codes, expected.map(code));
    assert_eq!(results[5].configs.len(), 1);
}

#[test]
fn init_producer_id_answers_every_version_and_no_id_comes_twice() {
    let node = Node::new();
    let mut last = -1;
    for _ in 0..500 {
        for version in versions(&api::INIT_PRODUCER_ID) {
            let mut request = InitProducerIdRequest::default();
            request.transactional_id = None;
            if version >= 3 && last >= 0 {
                // An idempotent producer that lost its way asks for a successor of what it had.
                request.producer_id = last;
                request.producer_epoch = 3;
            }
            let request = received(&request, version);
            let response = run(init_producer_id::handle(request, version, &node.context()));
            let response = sent(&api::INIT_PRODUCER_ID, version, &response);
            assert_eq!((response.error_code, response.producer_epoch), (0, 0), "v{version}");
            assert!(response.producer_id > last, "v{version}: {} after {last}", response.producer_id);
            last = response.producer_id;
        }
    }
    assert!(last >= 2999, "more than one block was used: {last}");
}

#[test]
fn two_shards_never_hand_out_the_same_producer_id() {
    let node = Node::new();
    let other = ProducerIds::default();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..1500 {
        for ids in [&node.producer_ids, &other] {
            let id = run(ids.next(&node.control)).expect("control answers");
            assert!(seen.insert(id), "{id} came twice");
        }
    }
}

#[test]
fn a_transactional_id_ends_the_producer_with_a_fatal_code() {
    let node = Node::new();
    for version in versions(&api::INIT_PRODUCER_ID) {
        let mut request = InitProducerIdRequest::default();
        request.transactional_id = Some(text("txn"));
        let response = run(init_producer_id::handle(received(&request, version), version, &node.context()));
        let response = sent(&api::INIT_PRODUCER_ID, version, &response);
        let refused = ErrorCode::from_number(response.error_code).expect("a known code");
        assert_eq!(refused, ErrorCode::TransactionalIdAuthorizationFailed);
        assert!(!refused.is_retriable());
        assert_eq!((response.producer_id, response.producer_epoch), (-1, -1));
    }
}

#[test]
fn an_epoch_without_an_id_is_an_invalid_request() {
    let node = Node::new();
    for (id, epoch) in [(5, -1), (-1, 5)] {
        let mut request = InitProducerIdRequest::default();
        request.transactional_id = None;
        (request.producer_id, request.producer_epoch) = (id, epoch);
        let response = run(init_producer_id::handle(received(&request, 4), 4, &node.context()));
        assert_eq!(response.error_code, code(ErrorCode::InvalidRequest), "{id} {epoch}");
    }
}

#[test]
fn describe_cluster_answers_every_version() {
    let node = Node::new();
    for version in versions(&api::DESCRIBE_CLUSTER) {
        let mut request = DescribeClusterRequest::default();
        request.include_cluster_authorized_operations = version > 0;
        let request = received(&request, version);
        let response = run(describe_cluster::handle(request, version, &node.context()));
        let response = sent(&api::DESCRIBE_CLUSTER, version, &response);
        assert_eq!((response.error_code, response.controller_id), (0, 1), "v{version}");
        assert_eq!(&*response.cluster_id, node.context().view.cluster_id);
        assert_eq!(response.brokers.len(), 1);
        let operations = if version > 0 { 8096 } else { i32::MIN };
        assert_eq!(response.cluster_authorized_operations, operations, "v{version}");
    }
    for (endpoint, refused) in
        [(2, ErrorCode::MismatchedEndpointType), (9, ErrorCode::UnsupportedEndpointType)]
    {
        let mut request = DescribeClusterRequest::default();
        request.endpoint_type = endpoint;
        let response = run(describe_cluster::handle(received(&request, 1), 1, &node.context()));
        assert_eq!(sent(&api::DESCRIBE_CLUSTER, 1, &response).error_code, code(refused));
    }
}

#[test]
fn metadata_names_the_leader_whatever_shard_it_is_on() {
    let node = Node::new();
    node.create(&["a"]);
    let view = node.context().view;
    let shards: Vec<_> = view.topic("a").expect("is there").partitions.iter().map(|p| p.shard).collect();
    assert_eq!(shards, [ShardId(0), ShardId(1)], "the partitions lie on two shards");
    let response = metadata(&node, &all_topics(), 13);
    assert!(response.topics[0].partitions.iter().all(|partition| partition.leader_id == 1));
}
