//! The hand-written Produce and Fetch against two codecs that nobody here wrote, in every served version.
//!
//! Method: one message is drawn at random; `kafka-wire` writes it, `kafka-protocol` reads and writes it
//! again, and the bytes must be the same. Then a request must read here as it was drawn, and a response
//! must be, byte for byte, what is written here.

use bytes::{Bytes, BytesMut};
use corelane_model::{ErrorCode, TopicId};
use kafka_protocol::protocol::{Decodable, Encodable};
use kafka_wire::{
    fetch_request as kf, fetch_response as kfr, produce_request as kp, produce_response as kpr,
};
use kafka_wire_core::{ApiVersion, DecodeLimits, Decoder, KafkaDecode, KafkaEncode, Uuid};
use proptest::{collection::vec, option, prelude::*};

use crate::{
    api::{self, Api},
    fetch::{
        AbortedTransaction, FetchPartitionResponse, FetchRequest, FetchResponse, FetchTopicResponse,
        NodeEndpoint,
    },
    header::parse_request_header,
    produce::{ProducePartitionResponse, ProduceRequest, ProduceTopicResponse, encode_produce_response},
};

const CORRELATION_ID: i32 = -7;

fn versions(api: &'static Api) -> impl Iterator<Item = i16> {
    api.min..=api.max
}

/// Fails unless the second codec reads these bytes to their end and writes the same.
fn check_third<M: Decodable + Encodable>(bytes: &Bytes, version: i16) {
    let mut rest = bytes.clone();
    let message = M::decode(&mut rest, version).expect("the third codec reads it");
    assert!(rest.is_empty(), "version {version}");
    let mut out = BytesMut::new();
    message.encode(&mut out, version).expect("the third codec writes it");
    assert_eq!(out, bytes, "version {version}");
}

/// The body of a request as it arrives, past its header.
fn request_body<R: kafka_wire::KafkaRequest>(request: &R, version: i16) -> Bytes {
    let mut frame = BytesMut::new();
    let limits = kafka_wire::OutboundFrameLimits::new(1 << 20);
    let client = Some("client ü".into());
    kafka_wire::encode_request(&mut frame, CORRELATION_ID, client, request, ApiVersion::new(version), limits)
        .expect("representable");
    let frame = frame.freeze();
    let (header, body_at) = parse_request_header(&frame[4..]).expect("a sound header");
    assert_eq!(header.api_key, R::API_KEY.value());
    assert_eq!(header.api_version, version);
    assert_eq!(header.correlation_id, CORRELATION_ID);
    assert_eq!(header.client_id, Some("client ü"));
    frame.slice(4 + body_at..)
}

/// The body of a response frame, after its size and header have been checked.
fn response_body(frame: &Bytes, api: &Api, version: i16) -> Bytes {
    let size = i32::from_be_bytes(frame[..4].try_into().expect("four bytes"));
    assert_eq!(size as usize, frame.len() - 4);
    assert_eq!(frame[4..8], CORRELATION_ID.to_be_bytes());
    let header = 8 + api.response_header_version(version) as usize;
    assert!(frame[8..header].iter().all(|&tags| tags == 0));
    frame.slice(header..)
}

fn encoded<M: KafkaEncode>(message: &M, version: i16) -> Bytes {
    message.encode_to_bytes(ApiVersion::new(version)).expect("representable")
}

fn name() -> impl Strategy<Value = String> {
    "[a-z.ü]{0,140}"
}

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..300).prop_map(Bytes::from)
}

fn error() -> impl Strategy<Value = ErrorCode> {
    prop::sample::select(ErrorCode::ALL)
}

fn produce_request() -> impl Strategy<Value = kp::ProduceRequest> {
    let partition = (any::<i32>(), option::of(bytes())).prop_map(|(index, records)| {
        let mut partition = kp::PartitionProduceData::default();
        (partition.index, partition.records) = (index, records);
        partition
    });
    let topic = (name(), vec(partition, 0..4)).prop_map(|(name, partitions)| {
        let mut topic = kp::TopicProduceData::default();
        (topic.name, topic.partition_data) = (name.into(), partitions);
        topic
    });
    (option::of(name()), any::<i16>(), any::<i32>(), vec(topic, 0..4)).prop_map(
        |(transactional_id, acks, timeout_ms, topics)| {
            let mut request = kp::ProduceRequest::default();
            request.transactional_id = transactional_id.map(Into::into);
            (request.acks, request.timeout_ms, request.topic_data) = (acks, timeout_ms, topics);
            request
        },
    )
}

fn check_produce_request(expected: &kp::ProduceRequest, version: i16) {
    let body = request_body(expected, version);
    check_third::<kafka_protocol::messages::ProduceRequest>(&body, version);
    let request = ProduceRequest::parse(&body, version).expect("sound");
    let mut seen = kp::ProduceRequest::default();
    seen.transactional_id = request.transactional_id.map(Into::into);
    (seen.acks, seen.timeout_ms) = (request.acks, request.timeout_ms);
    for topic in request.topics {
        let mut data = kp::TopicProduceData::default();
        data.name = topic.name.into();
        for partition in topic.partitions {
            let mut partition_data = kp::PartitionProduceData::default();
            (partition_data.index, partition_data.records) = (partition.index, partition.records);
            data.partition_data.push(partition_data);
        }
        seen.topic_data.push(data);
    }
    assert_eq!(&seen, expected, "version {version}");
}

type ProduceAnswer = Vec<(String, Vec<ProducePartitionResponse>)>;

fn produce_answer() -> impl Strategy<Value = ProduceAnswer> {
    let place = (any::<i32>(), error(), any::<i64>(), any::<i64>(), any::<i64>());
    let errors = (vec((any::<i32>(), option::of(name())), 0..3), option::of(name()));
    let partition = (place, errors).prop_map(|(place, (record_errors, error_message))| {
        let (index, error, base_offset, log_append_time_ms, log_start_offset) = place;
        ProducePartitionResponse {
            index,
            error,
            base_offset,
            log_append_time_ms,
            log_start_offset,
            record_errors,
            error_message,
        }
    });
    vec((name(), vec(partition, 0..4)), 0..4)
}

/// The same answer as the generated message, with what the version knows of it.
fn generated_produce_answer(answer: &ProduceAnswer, throttle_ms: i32, version: i16) -> kpr::ProduceResponse {
    let mut response = kpr::ProduceResponse::default();
    response.throttle_time_ms = throttle_ms;
    for (name, partitions) in answer {
        let mut topic = kpr::TopicProduceResponse::default();
        topic.name = name.as_str().into();
        for ours in partitions {
            let mut partition = kpr::PartitionProduceResponse::default();
            (partition.index, partition.error_code) = (ours.index, ours.error.number());
            (partition.base_offset, partition.log_append_time_ms) =
                (ours.base_offset, ours.log_append_time_ms);
            if version >= 5 {
                partition.log_start_offset = ours.log_start_offset;
            }
            if version >= 8 {
                for (batch_index, message) in &ours.record_errors {
                    let mut error = kpr::BatchIndexAndErrorMessage::default();
                    error.batch_index = *batch_index;
                    error.batch_index_error_message = message.as_deref().map(Into::into);
                    partition.record_errors.push(error);
                }
                partition.error_message = ours.error_message.as_deref().map(Into::into);
            }
            topic.partition_responses.push(partition);
        }
        response.responses.push(topic);
    }
    response
}

fn check_produce_response(answer: &ProduceAnswer, throttle_ms: i32, version: i16) {
    let topics: Vec<_> = answer
        .iter()
        .map(|(name, partitions)| ProduceTopicResponse { name, partitions: partitions.clone() })
        .collect();
    let frame = encode_produce_response(CORRELATION_ID, version, &topics, throttle_ms);
    let body = response_body(&frame, &api::PRODUCE, version);
    assert_eq!(body, encoded(&generated_produce_answer(answer, throttle_ms, version), version), "{version}");
    check_third::<kafka_protocol::messages::ProduceResponse>(&body, version);
}

fn fetch_request() -> impl Strategy<Value = kf::FetchRequest> {
    let numbers = (any::<i32>(), any::<i32>(), any::<i64>(), any::<i32>(), any::<i64>(), any::<i32>());
    let partition = (numbers, any::<[u8; 16]>()).prop_map(|(numbers, directory)| {
        let mut p = kf::FetchPartition::default();
        (p.partition, p.current_leader_epoch, p.fetch_offset) = (numbers.0, numbers.1, numbers.2);
        (p.last_fetched_epoch, p.log_start_offset, p.partition_max_bytes) = (numbers.3, numbers.4, numbers.5);
        p.replica_directory_id = Uuid::from_bytes(directory);
        p
    });
    let topic = (name(), any::<[u8; 16]>(), vec(partition, 0..4)).prop_map(|(name, id, partitions)| {
        let mut topic = kf::FetchTopic::default();
        (topic.topic, topic.topic_id, topic.partitions) = (name.into(), Uuid::from_bytes(id), partitions);
        topic
    });
    let forgotten =
        (name(), any::<[u8; 16]>(), vec(any::<i32>(), 0..4)).prop_map(|(name, id, partitions)| {
            let mut topic = kf::ForgottenTopic::default();
            (topic.topic, topic.topic_id, topic.partitions) = (name.into(), Uuid::from_bytes(id), partitions);
            topic
        });
    let head =
        (any::<i32>(), any::<i32>(), any::<i32>(), any::<i32>(), any::<i8>(), any::<i32>(), any::<i32>());
    let tail = (vec(topic, 0..4), vec(forgotten, 0..3), name(), option::of(name()));
    (head, tail).prop_map(|(head, (topics, forgotten, rack_id, cluster_id))| {
        let mut r = kf::FetchRequest::default();
        (r.replica_id, r.max_wait_ms, r.min_bytes, r.max_bytes) = (head.0, head.1, head.2, head.3);
        (r.isolation_level, r.session_id, r.session_epoch) = (head.4, head.5, head.6);
        (r.topics, r.forgotten_topics_data) = (topics, forgotten);
        (r.rack_id, r.cluster_id) = (rack_id.into(), cluster_id.map(Into::into));
        r
    })
}

/// Takes out of a request what the version does not know.
fn fetch_request_of(version: i16, request: &kf::FetchRequest) -> kf::FetchRequest {
    let blank = kf::FetchRequest::default();
    let mut r = request.clone();
    let replica_id = r.replica_id;
    if version >= 15 {
        r.replica_state.replica_id = replica_id;
        (r.replica_state.replica_epoch, r.replica_id) = (i64::from(r.session_epoch), -1);
    }
    if version < 7 {
        (r.session_id, r.session_epoch) = (blank.session_id, blank.session_epoch);
        r.forgotten_topics_data.clear();
    }
    if version < 11 {
        r.rack_id = blank.rack_id;
    }
    if version < 12 {
        r.cluster_id = None;
    }
    let of_topic = |name: &mut kafka_wire_core::StrBytes, id: &mut Uuid| {
        if version >= 13 { *name = "".into() } else { *id = Uuid::ZERO }
    };
    for topic in &mut r.topics {
        of_topic(&mut topic.topic, &mut topic.topic_id);
        for p in &mut topic.partitions {
            let blank = kf::FetchPartition::default();
            if version < 5 {
                p.log_start_offset = blank.log_start_offset;
            }
            if version < 9 {
                p.current_leader_epoch = blank.current_leader_epoch;
            }
            if version < 12 {
                p.last_fetched_epoch = blank.last_fetched_epoch;
            }
            if version < 17 {
                p.replica_directory_id = blank.replica_directory_id;
            }
        }
    }
    for topic in &mut r.forgotten_topics_data {
        of_topic(&mut topic.topic, &mut topic.topic_id);
    }
    r
}

fn check_fetch_request(drawn: &kf::FetchRequest, version: i16) {
    let mut expected = fetch_request_of(version, drawn);
    let body = request_body(&expected, version);
    check_third::<kafka_protocol::messages::FetchRequest>(&body, version);
    let request = FetchRequest::parse(&body, version).expect("sound");

    let mut seen = kf::FetchRequest::default();
    (seen.max_wait_ms, seen.min_bytes, seen.max_bytes) =
        (request.max_wait_ms, request.min_bytes, request.max_bytes);
    (seen.isolation_level, seen.session_id, seen.session_epoch) =
        (request.isolation_level, request.session_id, request.session_epoch);
    (seen.replica_id, seen.rack_id) = (request.replica_id, request.rack_id.into());
    for ours in &request.topics {
        assert_eq!(ours.name.is_some(), version < 13);
        let mut topic = kf::FetchTopic::default();
        topic.topic = ours.name.unwrap_or_default().into();
        topic.topic_id = Uuid::from_bytes(ours.topic_id.to_bytes());
        for ours in &ours.partitions {
            let mut p = kf::FetchPartition::default();
            (p.partition, p.current_leader_epoch) = (ours.index, ours.current_leader_epoch);
            (p.fetch_offset, p.last_fetched_epoch) = (ours.fetch_offset, ours.last_fetched_epoch);
            (p.log_start_offset, p.partition_max_bytes) = (ours.log_start_offset, ours.partition_max_bytes);
            topic.partitions.push(p);
        }
        seen.topics.push(topic);
    }
    for ours in &request.forgotten_topics {
        let mut topic = kf::ForgottenTopic::default();
        topic.topic = ours.name.unwrap_or_default().into();
        topic.topic_id = Uuid::from_bytes(ours.topic_id.to_bytes());
        topic.partitions = ours.partitions.clone();
        seen.forgotten_topics_data.push(topic);
    }
    // What is read and not kept: cluster id, a follower's epoch and directory.
    if version >= 15 {
        expected.replica_id = expected.replica_state.replica_id;
    }
    expected.replica_state = kf::ReplicaState::default();
    expected.cluster_id = None;
    for p in expected.topics.iter_mut().flat_map(|topic| &mut topic.partitions) {
        p.replica_directory_id = Uuid::ZERO;
    }
    assert_eq!(seen, expected, "version {version}");
}

type FetchAnswer = Vec<(String, [u8; 16], Vec<FetchPartitionResponse>)>;

fn fetch_answer() -> impl Strategy<Value = FetchAnswer> {
    let aborted = (any::<i64>(), any::<i64>())
        .prop_map(|(producer_id, first_offset)| AbortedTransaction { producer_id, first_offset });
    let place = (any::<i32>(), error(), any::<i64>(), any::<i64>(), any::<i64>(), any::<i32>());
    let hints = (option::of((any::<i32>(), any::<i64>())), option::of((any::<i32>(), any::<i32>())));
    let rest = (option::of(vec(aborted, 0..3)), vec(bytes(), 0..4));
    let partition = (place, hints, rest).prop_map(|(place, hints, (aborted_transactions, records))| {
        let (index, error, high_watermark, last_stable_offset, log_start_offset, preferred_read_replica) =
            place;
        FetchPartitionResponse {
            index,
            error,
            high_watermark,
            last_stable_offset,
            log_start_offset,
            diverging_epoch: hints.0,
            current_leader: hints.1,
            aborted_transactions,
            preferred_read_replica,
            records,
        }
    });
    vec((name(), any::<[u8; 16]>(), vec(partition, 0..4)), 0..4)
}

fn generated_fetch_answer(
    answer: &FetchAnswer,
    head: (i32, ErrorCode, i32),
    version: i16,
) -> kfr::FetchResponse {
    let mut response = kfr::FetchResponse::default();
    response.throttle_time_ms = head.0;
    if version >= 7 {
        (response.error_code, response.session_id) = (head.1.number(), head.2);
    }
    if version >= 16 {
        let mut endpoint = kfr::NodeEndpoint::default();
        (endpoint.node_id, endpoint.host, endpoint.port) = (3, "höst".into(), 9092);
        response.node_endpoints.push(endpoint.clone());
        endpoint.rack = Some("rack".into());
        response.node_endpoints.push(endpoint);
    }
    for (name, id, partitions) in answer {
        let mut topic = kfr::FetchableTopicResponse::default();
        if version >= 13 {
            topic.topic_id = Uuid::from_bytes(*id);
        } else {
            topic.topic = name.as_str().into();
        }
        for ours in partitions {
            let mut p = kfr::PartitionData::default();
            (p.partition_index, p.error_code) = (ours.index, ours.error.number());
            (p.high_watermark, p.last_stable_offset) = (ours.high_watermark, ours.last_stable_offset);
            if version >= 5 {
                p.log_start_offset = ours.log_start_offset;
            }
            if version >= 11 {
                p.preferred_read_replica = ours.preferred_read_replica;
            }
            if version >= 12 {
                if let Some((epoch, end_offset)) = ours.diverging_epoch {
                    (p.diverging_epoch.epoch, p.diverging_epoch.end_offset) = (epoch, end_offset);
                }
                if let Some((leader_id, leader_epoch)) = ours.current_leader {
                    (p.current_leader.leader_id, p.current_leader.leader_epoch) = (leader_id, leader_epoch);
                }
            }
            p.aborted_transactions = ours.aborted_transactions.as_ref().map(|aborted| {
                let generated = |ours: &AbortedTransaction| {
                    let mut aborted = kfr::AbortedTransaction::default();
                    (aborted.producer_id, aborted.first_offset) = (ours.producer_id, ours.first_offset);
                    aborted
                };
                aborted.iter().map(generated).collect()
            });
            p.records = Some(ours.records.concat().into());
            topic.partitions.push(p);
        }
        response.responses.push(topic);
    }
    response
}

fn check_fetch_response(answer: &FetchAnswer, head: (i32, ErrorCode, i32), version: i16) {
    let (throttle_ms, error, session_id) = head;
    let endpoint = NodeEndpoint { node_id: 3, host: "höst", port: 9092, rack: None };
    let response = FetchResponse {
        throttle_ms,
        error,
        session_id,
        topics: answer
            .iter()
            .map(|(name, id, partitions)| FetchTopicResponse {
                name,
                topic_id: TopicId::from_bytes(*id),
                partitions: partitions.clone(),
            })
            .collect(),
        node_endpoints: vec![endpoint, NodeEndpoint { rack: Some("rack"), ..endpoint }],
    };
    let pieces = response.into_frame(CORRELATION_ID, version);
    assert!(pieces.iter().all(|piece| !piece.is_empty()), "version {version}");
    // Every slice of records goes out as it lies: the same memory, in the same order.
    let slices = answer.iter().flat_map(|(_, _, partitions)| partitions).flat_map(|p| &p.records);
    let mut sent = pieces.iter();
    for slice in slices.filter(|slice| !slice.is_empty()) {
        let at = slice.as_ptr_range();
        assert!(sent.any(|piece| piece.as_ptr_range() == at), "copied in version {version}");
    }
    let frame = Bytes::from(pieces.concat());
    let body = response_body(&frame, &api::FETCH, version);
    assert_eq!(body, encoded(&generated_fetch_answer(answer, head, version), version), "version {version}");
    check_third::<kafka_protocol::messages::FetchResponse>(&body, version);
}

/// Both readers must agree on whether these bytes begin with a message.
fn check_agreement(body: &Bytes, version: i16) {
    let generated = |ok: bool| if ok { "sound" } else { "refused" };
    let (v, limits) = (ApiVersion::new(version), DecodeLimits::default());
    if api::PRODUCE.serves(version) {
        let theirs =
            Decoder::new(body.clone(), limits).and_then(|mut d| kp::ProduceRequest::decode(&mut d, v));
        let ours = ProduceRequest::parse(body, version);
        assert_eq!(
            generated(ours.is_ok()),
            generated(theirs.is_ok()),
            "Produce {version}: {ours:?} {theirs:?}"
        );
    }
    if api::FETCH.serves(version) {
        let theirs = Decoder::new(body.clone(), limits).and_then(|mut d| kf::FetchRequest::decode(&mut d, v));
        let ours = FetchRequest::parse(body, version);
        assert_eq!(
            generated(ours.is_ok()),
            generated(theirs.is_ok()),
            "Fetch {version}: {ours:?} {theirs:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn produce_requests_of_every_version_read_as_the_generated_codecs_wrote_them(request in produce_request()) {
        versions(&api::PRODUCE).for_each(|version| check_produce_request(&request, version));
    }

    #[test]
    fn produce_responses_of_every_version_are_the_bytes_of_the_generated_codecs(
        answer in produce_answer(),
        throttle_ms: i32,
    ) {
        versions(&api::PRODUCE).for_each(|version| check_produce_response(&answer, throttle_ms, version));
    }

    #[test]
    fn fetch_requests_of_every_version_read_as_the_generated_codecs_wrote_them(request in fetch_request()) {
        versions(&api::FETCH).for_each(|version| check_fetch_request(&request, version));
    }

    #[test]
    fn fetch_responses_of_every_version_are_the_bytes_of_the_generated_codecs(
        answer in fetch_answer(),
        head in (any::<i32>(), error(), any::<i32>()),
    ) {
        versions(&api::FETCH).for_each(|version| check_fetch_response(&answer, head, version));
    }

    #[test]
    fn a_request_cut_off_or_changed_is_refused_exactly_when_the_generated_codec_refuses_it(
        produce in produce_request(),
        fetch in fetch_request(),
        at: prop::sample::Index,
        byte: u8,
        cut: bool,
    ) {
        let damaged = |body: Bytes| {
            let at = at.index(body.len());
            let mut body = body.to_vec();
            if cut { body.truncate(at) } else { body[at] = byte }
            Bytes::from(body)
        };
        for version in versions(&api::PRODUCE) {
            check_agreement(&damaged(request_body(&produce, version)), version);
        }
        for version in versions(&api::FETCH) {
            check_agreement(&damaged(request_body(&fetch_request_of(version, &fetch), version)), version);
        }
    }

    #[test]
    fn any_bytes_are_a_request_exactly_when_the_generated_codec_says_so(
        body in vec(prop_oneof![0_u8..4, any::<u8>()], 0..120),
    ) {
        let body = Bytes::from(body);
        (0..=18).for_each(|version| check_agreement(&body, version));
    }
}
