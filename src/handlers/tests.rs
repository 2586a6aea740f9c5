//! Handlers against a real control on a temporary directory, through encoded requests and responses.

use std::{cell::RefCell, future::ready};

use super::*;
use crate::{
    config::{Assignment, Cpu, Place, load},
    control::{Control, NodeSettings},
    model::{Broker, ShardId},
    wire::{
        api::{self, Api, TABLE},
        messages::*,
    },
};

/// A control that answers at once, in place of the mailbox of a shard.
struct Direct(RefCell<Control>);

impl ControlClient for Direct {
    fn call(&self, request: ControlRequest) -> Pin<Box<dyn Future<Output = ControlReply> + '_>> {
        Box::pin(ready(self.0.borrow_mut().serve(request)))
    }
}

/// A control that is not there.
struct Absent;

impl ControlClient for Absent {
    fn call(&self, _: ControlRequest) -> Pin<Box<dyn Future<Output = ControlReply> + '_>> {
        Box::pin(ready(ControlReply::Failed(ControlFailure::Unavailable)))
    }
}

/// Groups that are not there.
struct NoGroups;

impl GroupClient for NoGroups {
    fn ask<'a>(&'a self, _: &'a str, _: GroupRequest) -> Pin<Box<dyn Future<Output = GroupResult> + 'a>> {
        Box::pin(ready(Err(CoordinatorError::NotCoordinator)))
    }

    fn list_all(&self) -> Pin<Box<dyn Future<Output = Result<Vec<Listed>, CoordinatorError>> + '_>> {
        Box::pin(ready(Ok(Vec::new())))
    }
}

/// A broker as handlers see it.
struct Node {
    control: Direct,
    settings: HandlerSettings,
    producer_ids: ProducerIds,
    _data: tempfile::TempDir,
}

impl Node {
    fn new() -> Self {
        Self::with(&[])
    }

    fn with(flags: &[(&str, &str)]) -> Self {
        let assignment = |(key, value): &(&str, &str)| Assignment {
            key: (*key).to_owned(),
            value: (*value).to_owned(),
            place: Place::Flag("--set"),
        };
        let usual = [("num.partitions", "3"), ("partitions.max", "1000")];
        let flags: Vec<_> = usual.iter().chain(flags).map(assignment).collect();
        let given = load(None, &flags, &[Cpu { core: 0, numa_node: 0 }]).expect("sound settings");
        let settings = HandlerSettings::new(&given);
        let node = NodeSettings {
            brokers: vec![Broker { id: 1, host: "127.0.0.1".to_owned(), port: 9092 }],
            settings: Arc::new(given),
        };
        let data = tempfile::tempdir().expect("directory");
        let control = Control::open(data.path(), 2, node).expect("opens");
        let control = Direct(RefCell::new(control));
        Self { control, settings, producer_ids: ProducerIds::default(), _data: data }
    }

    fn context(&self) -> Context<'_> {
        Context {
            view: self.control.0.borrow().view(),
            settings: &self.settings,
            control: &self.control,
            producer_ids: &self.producer_ids,
            groups: &NoGroups,
            client: Client::default(),
        }
    }

    fn create(&self, names: &[&str]) {
        let mut request = CreateTopicsRequest::default();
        request.topics = names.iter().map(|name| creatable(name, 2)).collect();
        let response = run(create_topics::handle(request, 7, &self.context()));
        assert!(response.topics.iter().all(|topic| topic.error_code == 0), "{response:?}");
    }

    fn topic_id(&self, name: &str) -> Uuid {
        uuid(self.context().view.topic(name).expect("is there").id)
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    futures_lite::future::block_on(future)
}

fn creatable(name: &str, partitions: i32) -> create_topics_request::CreatableTopic {
    let mut topic = create_topics_request::CreatableTopic::default();
    topic.name = text(name);
    topic.num_partitions = partitions;
    topic.replication_factor = -1;
    topic
}

/// What a client of that version reads: the response through the wire and back.
fn sent<M: KafkaResponse>(api: &Api, version: i16, response: &M) -> M {
    let frame = encode_response(api, version, 7, response)
        .unwrap_or_else(|error| panic!("{} v{version}: {error}", api.name));
    let tagged = usize::from(api.response_header_version(version) == 1);
    decode_body(frame.slice(8 + tagged..), version)
        .unwrap_or_else(|error| panic!("{} v{version}: {error}", api.name))
}

/// A request as the handler reads it when a client of that version sends it.
fn received<M: KafkaDecode + KafkaEncode>(request: &M, version: i16) -> M {
    let mut bytes = bytes::BytesMut::new();
    request
        .encode_into(&mut bytes, kafka_version(version))
        .unwrap_or_else(|error| panic!("v{version}: {error}"));
    decode_body(bytes.freeze(), version).unwrap_or_else(|error| panic!("v{version}: {error}"))
}

fn kafka_version(version: i16) -> kafka_wire_core::ApiVersion {
    kafka_wire_core::ApiVersion::new(version)
}

fn versions(api: &Api) -> impl Iterator<Item = i16> + use<> {
    api.min..=api.max
}

const fn code(code: ErrorCode) -> i16 {
    code.number()
}

mod admin;
mod lookups;
