//! A worker against a broker that misbehaves.

use std::sync::atomic::AtomicI64;
use std::sync::mpsc;
use std::thread;

use kafka_wire::{MetadataResponse, ProduceResponse, metadata_response, produce_response};
use kafka_wire_core::{StrBytes, Uuid};

use super::*;
use crate::client::fake;
use crate::client::versions::key;
use crate::keys::{KeyLaw, Keys};
use crate::stats::{Event, Role};

const PRODUCE: i16 = 8;
const METADATA: i16 = 8;
const SERVED: &[(i16, i16)] = &[(key::PRODUCE, PRODUCE), (key::METADATA, METADATA), (key::FETCH, 4)];

const NOT_LEADER: i16 = 6;
const REQUEST_TIMED_OUT: i16 = 7;

/// Only so that a worker that hangs fails its test.
const WAIT: Duration = Duration::from_secs(120);

/// The answer for partition 0, or one that says nothing of it.
fn produced(code: Option<i16>) -> Vec<u8> {
    let mut topic = produce_response::TopicProduceResponse::default();
    topic.name = StrBytes::from("t");
    topic.partition_responses.extend(code.map(|code| {
        let mut partition = produce_response::PartitionProduceResponse::default();
        partition.error_code = code;
        partition
    }));
    let mut response = ProduceResponse::default();
    response.responses = vec![topic];
    fake::encoded(&response, PRODUCE)
}

/// Partition 0 is led by `leader`.
fn metadata(leader: &str) -> Vec<u8> {
    let (host, port) = leader.split_once(':').expect("host and port");
    let mut broker = metadata_response::MetadataResponseBroker::default();
    (broker.node_id, broker.host, broker.port) = (1, StrBytes::from(host), port.parse().expect("a port"));
    let mut partition = metadata_response::MetadataResponsePartition::default();
    partition.leader_id = 1;
    let mut topic = metadata_response::MetadataResponseTopic::default();
    (topic.name, topic.partitions) = (Some(StrBytes::from("t")), vec![partition]);
    let mut response = MetadataResponse::default();
    (response.brokers, response.topics) = (vec![broker], vec![topic]);
    fake::encoded(&response, METADATA)
}

/// A broker that answers its requests to produce, by their number; without an answer it closes the connection.
fn broker(answer: impl Fn(i64) -> Option<Vec<u8>> + Send + Sync + 'static) -> String {
    let asked = AtomicI64::new(0);
    fake::start(SERVED, move |_| answer(asked.fetch_add(1, Ordering::Relaxed)))
}

/// Tells that `leader` leads.
fn guide(leader: &str) -> String {
    let leader = leader.to_owned();
    fake::start(SERVED, move |_| Some(metadata(&leader)))
}

/// One stream of 20 records, each a request, one at a time.
fn task(leader: &str, guide: &str) -> Task {
    let plan = Plan { in_flight_max: 1, reconnect: true, ..Plan::for_tests(100) };
    Task {
        plan: Arc::new(plan),
        seats: vec![(Seat { stream: 0, partition: 0, slot: 0 }, 20)],
        producers: Vec::new(),
        producer_ids: HashMap::new(),
        topology: Topology {
            topic: "t".to_owned(),
            topic_id: Uuid::default(),
            leaders: vec![leader.to_owned()],
            produce_version: PRODUCE,
            fetch_version: 4,
        },
        admin: Admin::new(guide),
        transacting: None,
        ack_log: None,
        stop: Arc::default(),
    }
}

/// How it ended, and how many records are of unknown outcome.
fn end_of(task: Task) -> (Outcome, u64) {
    let (sender, ended) = mpsc::channel();
    thread::spawn(move || {
        let (events, told) = mpsc::channel();
        let meter = Meter::new(Role::Produce, task.plan.start, events);
        let outcome = run(task, meter).expect("starts");
        let unknown = told.iter().map(|event| match event {
            Event::Interval { counts, .. } => counts.unknown,
            Event::Note(_) => 0,
        });
        sender.send((outcome, unknown.sum())).expect("somebody waits");
    });
    ended.recv_timeout(WAIT).expect("the worker ends")
}

#[test]
fn a_batch_that_an_answer_leaves_out_is_of_unknown_outcome_and_the_rest_is_sent() {
    let broker = broker(|nth| Some(produced((nth != 0).then_some(0))));
    let (outcome, unknown) = end_of(task(&broker, &guide(&broker)));
    assert_eq!((outcome.acknowledged, unknown, outcome.problem), (19, 1, None));
}

#[test]
fn a_batch_that_an_answer_leaves_out_is_sent_again_by_an_idempotent_producer() {
    let broker = broker(|nth| Some(produced((nth != 0).then_some(0))));
    let idempotent = Task { producer_ids: [(0, (7, 0))].into(), ..task(&broker, &guide(&broker)) };
    let (outcome, unknown) = end_of(idempotent);
    assert_eq!((outcome.acknowledged, unknown, outcome.problem), (20, 0, None));
}

#[test]
fn a_batch_that_a_broker_was_too_slow_for_is_of_unknown_outcome_or_sent_again() {
    let slow_once = || broker(|nth| Some(produced(Some(if nth == 0 { REQUEST_TIMED_OUT } else { 0 }))));
    let slow = slow_once();
    let (outcome, unknown) = end_of(task(&slow, &guide(&slow)));
    assert_eq!((outcome.acknowledged, unknown, outcome.problem), (19, 1, None));
    let slow = slow_once();
    let idempotent = Task { producer_ids: [(0, (7, 0))].into(), ..task(&slow, &guide(&slow)) };
    let (outcome, unknown) = end_of(idempotent);
    assert_eq!((outcome.acknowledged, unknown, outcome.problem), (20, 0, None));
}

#[test]
fn a_broker_that_acknowledges_nothing_for_long_is_given_up() {
    let broker = broker(|nth| Some(produced(Some(if nth < 3 { 0 } else { NOT_LEADER }))));
    let mut patient = task(&broker, &guide(&broker));
    let plan = Plan { in_flight_max: 1, reconnect: true, delivery_max: SECOND, ..Plan::for_tests(100) };
    patient.plan = Arc::new(plan);
    let (outcome, _) = end_of(patient);
    assert_eq!(outcome.acknowledged, 3);
    assert!(outcome.problem.is_some_and(|text| text.contains("nothing was acknowledged for 1 s")));
}

#[test]
fn a_producer_that_makes_its_records_follows_its_partition_to_another_leader() {
    let (before, after) =
        (broker(|nth| (nth < 3).then(|| produced(Some(0)))), broker(|_| Some(produced(Some(0)))));
    let mut moved = task(&before, &guide(&after));
    let making = Making::Records(Keys::new(KeyLaw::None));
    let plan = Plan { in_flight_max: 1, reconnect: true, making, ..Plan::for_tests(100) };
    moved.plan = Arc::new(plan);
    moved.seats[0].1 = u64::MAX;
    moved.producers = vec![(0, Producer::new(None, Nanos::MAX, 20, 1, 1, 1))];
    let (outcome, unknown) = end_of(moved);
    assert_eq!((outcome.acknowledged, unknown, outcome.problem), (19, 1, None));
}
