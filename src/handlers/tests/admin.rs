//! Topics created, deleted and grown.

use super::*;
use crate::wire::messages::{
    create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic},
    create_topics_request::{CreatableReplicaAssignment, CreatableTopicConfig},
    delete_topics_request::DeleteTopicState,
};

fn create_request(topics: Vec<create_topics_request::CreatableTopic>) -> CreateTopicsRequest {
    let mut request = CreateTopicsRequest::default();
    request.topics = topics;
    request
}

fn config(name: &str, value: Option<&str>) -> CreatableTopicConfig {
    let mut config = CreatableTopicConfig::default();
    config.name = text(name);
    config.value = value.map(text);
    config
}

fn growth(name: &str, count: i32) -> CreatePartitionsTopic {
    let mut topic = CreatePartitionsTopic::default();
    topic.name = text(name);
    topic.count = count;
    topic.assignments = None;
    topic
}

#[test]
fn create_topics_answers_every_version_with_what_that_version_has() {
    for version in versions(&api::CREATE_TOPICS) {
        let node = Node::new();
        let mut topics = vec![creatable("orders", 5), creatable("a b", 1), creatable("orders-2", -1)];
        topics[0].configs = vec![config("retention.ms", Some("1000"))];
        let request = received(&create_request(topics), version);
        let response = run(create_topics::handle(request, version, &node.context()));
        let response = sent(&api::CREATE_TOPICS, version, &response);
        let codes: Vec<_> = response.topics.iter().map(|topic| topic.error_code).collect();
        assert_eq!(codes, [0, code(ErrorCode::InvalidTopicException), 0], "v{version}");
        assert_eq!(response.topics[0].error_message, None, "v{version}");
        assert!(response.topics[1].error_message.is_some(), "v{version}");
        let id = if version >= 7 { node.topic_id("orders") } else { Uuid::ZERO };
        assert_eq!(response.topics[0].topic_id, id, "v{version}");
        if version >= 5 {
            assert_eq!(response.topics[0].num_partitions, 5);
            assert_eq!(response.topics[0].replication_factor, 1);
            assert_eq!(response.topics[2].num_partitions, 3, "-1 is num.partitions (KIP-464)");
            let configs = response.topics[0].configs.as_ref().expect("effective settings");
            let of = |name: &str| configs.iter().find(|config| config.name.as_str() == name);
            let retention = of("retention.ms").expect("every key");
            assert_eq!(retention.value.as_deref(), Some("1000"));
            assert_eq!(retention.config_source, describe_configs::ConfigSource::Topic as i8);
            let policy = of("cleanup.policy").expect("every key");
            assert_eq!(policy.config_source, describe_configs::ConfigSource::Default as i8);
        }
        assert_eq!(node.context().view.topic("orders").expect("created").partitions.len(), 5);
    }
}

#[test]
fn every_reason_to_refuse_a_topic_has_kafkas_code() {
    let node = Node::new();
    node.create(&["metrics.cpu"]);
    let refuse = |change: &dyn Fn(&mut create_topics_request::CreatableTopic)| {
        let mut topic = creatable("new", -1);
        change(&mut topic);
        let response = run(create_topics::handle(create_request(vec![topic]), 7, &node.context()));
        let response = sent(&api::CREATE_TOPICS, 7, &response);
        ErrorCode::from_number(response.topics[0].error_code).expect("a known code")
    };
    let assigned = |partition, brokers: &[i32]| {
        let mut assignment = CreatableReplicaAssignment::default();
        assignment.partition_index = partition;
        assignment.broker_ids = brokers.to_vec();
        vec![assignment]
    };
    assert_eq!(refuse(&|t| t.name = text("")), ErrorCode::InvalidTopicException);
    assert_eq!(refuse(&|t| t.name = text("metrics.cpu")), ErrorCode::TopicAlreadyExists);
    assert_eq!(refuse(&|t| t.name = text("metrics_cpu")), ErrorCode::InvalidTopicException);
    assert_eq!(refuse(&|t| t.name = text("__cluster_metadata")), ErrorCode::InvalidRequest);
    assert_eq!(refuse(&|t| t.num_partitions = 0), ErrorCode::InvalidPartitions);
    assert_eq!(refuse(&|t| t.num_partitions = 5000), ErrorCode::PolicyViolation);
    assert_eq!(refuse(&|t| t.replication_factor = 0), ErrorCode::InvalidReplicationFactor);
    assert_eq!(refuse(&|t| t.replication_factor = 3), ErrorCode::InvalidReplicationFactor);
    let bad_value = config("retention.ms", Some("x"));
    assert_eq!(refuse(&|t| t.configs = vec![bad_value.clone()]), ErrorCode::InvalidConfig);
    let unknown = config("retention.mss", Some("1"));
    assert_eq!(refuse(&|t| t.configs = vec![unknown.clone()]), ErrorCode::InvalidConfig);
    let null = config("retention.ms", None);
    assert_eq!(refuse(&|t| t.configs = vec![null.clone()]), ErrorCode::InvalidConfig);
    let bad = |partition, brokers| refuse(&|t| t.assignments = assigned(partition, brokers));
    assert_eq!(bad(0, &[9]), ErrorCode::InvalidReplicaAssignment);
    assert_eq!(bad(1, &[1]), ErrorCode::InvalidReplicaAssignment);
    let both = refuse(&|t| {
        t.num_partitions = 1;
        t.assignments = assigned(0, &[1]);
    });
    assert_eq!(both, ErrorCode::InvalidRequest);
    assert_eq!(bad(0, &[1]), ErrorCode::None);
}

#[test]
fn a_topic_sent_twice_is_answered_once_as_an_invalid_request() {
    let node = Node::new();
    let request = create_request(vec![creatable("a", 1), creatable("a", 1), creatable("b", 1)]);
    let response = run(create_topics::handle(request, 7, &node.context()));
    let answers: Vec<_> = response.topics.iter().map(|t| (t.name.as_str(), t.error_code)).collect();
    assert_eq!(answers, [("a", code(ErrorCode::InvalidRequest)), ("b", 0)]);
    assert!(node.context().view.topic("a").is_none());
}

#[test]
fn validate_only_judges_and_creates_nothing() {
    let node = Node::new();
    let mut request = create_request(vec![creatable("a", 4), creatable("b", 0)]);
    request.validate_only = true;
    let response = run(create_topics::handle(request, 7, &node.context()));
    let codes: Vec<_> = response.topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!(codes, [0, code(ErrorCode::InvalidPartitions)]);
    assert_eq!(response.topics[0].num_partitions, 4);
    assert_eq!(node.context().view.topics().count(), 0);
}

#[test]
fn delete_topics_answers_every_version_by_name() {
    for version in versions(&api::DELETE_TOPICS) {
        let node = Node::new();
        node.create(&["a", "b"]);
        let id = node.topic_id("a");
        let mut request = DeleteTopicsRequest::default();
        for name in ["a", "nothing"] {
            if version < 6 {
                request.topic_names.push(text(name));
            } else {
                let mut state = DeleteTopicState::default();
                state.name = Some(text(name));
                request.topics.push(state);
            }
        }
        let request = received(&request, version);
        let response = run(delete_topics::handle(request, version, &node.context()));
        let response = sent(&api::DELETE_TOPICS, version, &response);
        let codes: Vec<_> = response.responses.iter().map(|topic| topic.error_code).collect();
        assert_eq!(codes, [0, code(ErrorCode::UnknownTopicOrPartition)], "v{version}");
        assert_eq!(response.responses[0].name.as_deref(), Some("a"), "v{version}");
        assert_eq!(response.responses[0].topic_id, if version < 6 { Uuid::ZERO } else { id });
        let left: Vec<_> = node.context().view.topics().map(|t| t.name.to_string()).collect();
        assert_eq!(left, ["b"], "v{version}");
    }
}

#[test]
fn topics_are_deleted_by_id_and_a_stale_id_is_unknown() {
    let node = Node::new();
    node.create(&["a"]);
    let by_id = |id, name: Option<&str>| {
        let mut request = DeleteTopicsRequest::default();
        let mut state = DeleteTopicState::default();
        state.topic_id = id;
        state.name = name.map(text);
        request.topics.push(state);
        let response = run(delete_topics::handle(received(&request, 6), 6, &node.context()));
        let mut response = sent(&api::DELETE_TOPICS, 6, &response);
        response.responses.remove(0)
    };
    let first = node.topic_id("a");
    assert_eq!(by_id(first, Some("a")).error_code, code(ErrorCode::InvalidRequest));
    assert_eq!(by_id(Uuid::ZERO, None).error_code, code(ErrorCode::InvalidRequest));
    let deleted = by_id(first, None);
    assert_eq!((deleted.error_code, deleted.name.as_deref()), (0, Some("a")));
    node.create(&["a"]);
    assert_ne!(node.topic_id("a"), first);
    let stale = by_id(first, None);
    assert_eq!((stale.error_code, stale.topic_id), (code(ErrorCode::UnknownTopicId), first));
    assert_eq!(stale.name, None);
    assert!(node.context().view.topic("a").is_some());
}

#[test]
fn create_partitions_answers_every_version_one_result_per_topic() {
    for version in versions(&api::CREATE_PARTITIONS) {
        let node = Node::new();
        node.create(&["a", "b"]);
        let mut request = CreatePartitionsRequest::default();
        request.topics = vec![growth("a", 5), growth("b", 2), growth("nothing", 2)];
        let request = received(&request, version);
        let response = run(create_partitions::handle(request, version, &node.context()));
        let response = sent(&api::CREATE_PARTITIONS, version, &response);
        let codes: Vec<_> = response.results.iter().map(|result| result.error_code).collect();
        let refused = [ErrorCode::InvalidPartitions, ErrorCode::UnknownTopicOrPartition].map(code);
        assert_eq!(codes, [0, refused[0], refused[1]], "v{version}");
        assert_eq!(node.context().view.topic("a").expect("is there").partitions.len(), 5);
        assert_eq!(node.context().view.topic("b").expect("is there").partitions.len(), 2);
    }
}

#[test]
fn partitions_are_judged_only_where_the_request_says_so_and_assignments_are_checked() {
    let node = Node::new();
    node.create(&["a"]);
    let grow = |brokers: Option<&[i32]>, validate_only| {
        let mut request = CreatePartitionsRequest::default();
        let mut topic = growth("a", 3);
        topic.assignments = brokers.map(|brokers| {
            let mut assignment = CreatePartitionsAssignment::default();
            assignment.broker_ids = brokers.to_vec();
            vec![assignment]
        });
        request.topics = vec![topic];
        request.validate_only = validate_only;
        run(create_partitions::handle(request, 3, &node.context())).results[0].error_code
    };
    let count = || node.context().view.topic("a").expect("is there").partitions.len();
    assert_eq!(grow(Some(&[8]), false), code(ErrorCode::InvalidReplicaAssignment));
    assert_eq!((grow(Some(&[1]), true), count()), (0, 2));
    assert_eq!((grow(Some(&[1]), false), count()), (0, 3));
}

#[test]
fn without_control_changes_are_refused_with_a_code_that_clients_retry() {
    let node = Node::new();
    let context = Context { control: &Absent, ..node.context() };
    let created = run(create_topics::handle(create_request(vec![creatable("a", 1)]), 7, &context));
    let mut request = DeleteTopicsRequest::default();
    request.topic_names = vec![text("a")];
    let deleted = run(delete_topics::handle(request, 5, &context));
    let given = run(init_producer_id::handle(InitProducerIdRequest::default(), 4, &context));
    let anonymous = {
        let mut request = InitProducerIdRequest::default();
        request.transactional_id = None;
        run(init_producer_id::handle(request, 4, &context))
    };
    assert_eq!(given.error_code, code(ErrorCode::InvalidRequest), "an empty transactional id");
    for number in [created.topics[0].error_code, deleted.responses[0].error_code, anonymous.error_code] {
        assert!(ErrorCode::from_number(number).expect("a known code").is_retriable(), "{number}");
    }
}
