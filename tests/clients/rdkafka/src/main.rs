//! rdkafka, as its introductions use it. One scenario per process, one JSON line as its result.
//!
//!     client BROKER SCENARIO NAME                      NAME: prefix of the topics and groups to use
//!     client BROKER member MODE TOPIC GROUP INSTANCE   one member of a group, until its input ends

use std::collections::{BTreeSet, HashMap, HashSet};
use std::error::Error;
use std::fmt::Debug;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::config::{ClientConfig, FromClientConfig};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders, OwnedMessage};
use rdkafka::producer::{BaseRecord, DeliveryResult, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const WAIT: Duration = Duration::from_secs(30); // only so that a client which waits for ever fails its scenario
const CODECS: [&str; 4] = ["none", "gzip", "snappy", "lz4"]; // zstd is a feature that is off by default

fn check(holds: bool, said: impl Debug) -> Result<()> {
    if holds { Ok(()) } else { Err(format!("{said:?}").into()) }
}

fn config(broker: &str, more: &[(&str, &str)]) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker);
    for (key, value) in more {
        config.set(*key, *value);
    }
    config
}

/// Keeps what the delivery callback is told.
#[derive(Default, Clone)]
struct Delivered(Arc<Mutex<Vec<std::result::Result<i64, String>>>>);

impl ClientContext for Delivered {}

impl ProducerContext for Delivered {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, _: ()) {
        let told = match result {
            Ok(message) => Ok(message.offset()),
            Err((error, _)) => Err(error.to_string()),
        };
        self.0.lock().expect("no panic under the lock").push(told);
    }
}

/// Sends what `records` makes, waits for all, and returns the offsets in the order of the callbacks.
fn produce(broker: &str, more: &[(&str, &str)], records: &[BaseRecord<'_, str, str>]) -> Result<Vec<i64>> {
    let delivered = Delivered::default();
    let producer: ThreadedProducer<Delivered> =
        config(broker, more).create_with_context(delivered.clone())?;
    for record in records {
        let mut copy = BaseRecord::to(record.topic).partition(record.partition.unwrap_or(-1));
        (copy.key, copy.payload, copy.timestamp, copy.headers) =
            (record.key, record.payload, record.timestamp, record.headers.clone());
        producer.send(copy).map_err(|(error, _)| error)?;
    }
    producer.flush(WAIT)?;
    let told = delivered.0.lock().expect("no panic under the lock").clone();
    Ok(told.into_iter().collect::<std::result::Result<_, _>>()?)
}

fn values(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("v{n}")).collect()
}

fn send(broker: &str, topic: &str, values: &[String], more: &[(&str, &str)]) -> Result<()> {
    let records: Vec<_> =
        values.iter().map(|value| BaseRecord::to(topic).partition(0).payload(value.as_str())).collect();
    produce(broker, more, &records).map(drop)
}

fn group_consumer(broker: &str, topic: &str, more: &[(&str, &str)]) -> Result<BaseConsumer> {
    let group = format!("{topic}-group");
    let mut config = config(broker, &[("group.id", group.as_str()), ("auto.offset.reset", "earliest")]);
    more.iter().for_each(|(key, value)| drop(config.set(*key, *value)));
    let consumer: BaseConsumer = config.create()?;
    consumer.subscribe(&[topic])?;
    Ok(consumer)
}

/// The next `count` messages.
fn take(consumer: &BaseConsumer, count: usize) -> Result<Vec<OwnedMessage>> {
    let (mut messages, end) = (Vec::new(), Instant::now() + WAIT);
    while messages.len() < count {
        check(Instant::now() < end, format!("{} messages of {count}", messages.len()))?;
        // A topic that is not known yet is told as an error; the consumer goes on.
        if let Some(Ok(message)) = consumer.poll(Duration::from_millis(500)) {
            messages.push(message.detach());
        }
    }
    Ok(messages)
}

fn text(message: &impl Message) -> String {
    String::from_utf8_lossy(message.payload().unwrap_or_default()).into_owned()
}

fn texts(messages: &[OwnedMessage]) -> Vec<String> {
    messages.iter().map(text).collect()
}

fn ten_keyed(broker: &str, name: &str) -> Result<()> {
    let pairs: Vec<_> = (0..10).map(|n| (format!("key-{n}"), format!("message {n}"))).collect();
    let records: Vec<_> = pairs
        .iter()
        .map(|(key, value)| BaseRecord::to(name).key(key.as_str()).payload(value.as_str()))
        .collect();
    let offsets = produce(broker, &[], &records)?;
    check(offsets == (0..10).collect::<Vec<_>>(), offsets)
}

fn auto_commit(broker: &str, name: &str) -> Result<()> {
    send(broker, name, &values(0..10), &[])?;
    let consumer = group_consumer(broker, name, &[("enable.auto.commit", "true")])?;
    let got = texts(&take(&consumer, 10)?);
    check(got == values(0..10), got)?;
    drop(consumer); // closes it
    send(broker, name, &values(10..11), &[])?;
    let next = texts(&take(&group_consumer(broker, name, &[])?, 1)?);
    check(next == ["v10"], next)
}

fn manual_commit(broker: &str, name: &str) -> Result<()> {
    send(broker, name, &values(0..10), &[])?;
    let manual = [("enable.auto.commit", "false")];
    let consumer = group_consumer(broker, name, &manual)?;
    take(&consumer, 10)?;
    let mut half = TopicPartitionList::new();
    half.add_partition_offset(name, 0, Offset::Offset(5))?;
    consumer.commit(&half, CommitMode::Sync)?;
    drop(consumer);
    let next = texts(&take(&group_consumer(broker, name, &manual)?, 1)?);
    check(next == ["v5"], next)
}

fn admin_client(broker: &str) -> Result<AdminClient<DefaultClientContext>> {
    Ok(AdminClient::from_config(&config(broker, &[]))?)
}

/// The results of a call for one thing each.
fn wait<T, E: Debug>(
    call: impl Future<Output = rdkafka::error::KafkaResult<Vec<std::result::Result<T, E>>>>,
) -> Result<Vec<T>> {
    let results = tokio::runtime::Builder::new_current_thread().build()?.block_on(call)?;
    results.into_iter().map(|one| one.map_err(|error| format!("{error:?}").into())).collect()
}

fn json_partitions(broker: &str, name: &str) -> Result<()> {
    let topic = NewTopic::new(name, 4, TopicReplication::Fixed(1));
    wait(admin_client(broker)?.create_topics([&topic], &AdminOptions::new()))?;
    let pairs: Vec<_> = (0..100)
        .map(|n| (format!("user-{}", n % 20), json!({"user": n % 20, "number": n}).to_string()))
        .collect();
    let records: Vec<_> = pairs
        .iter()
        .map(|(key, value)| BaseRecord::to(name).key(key.as_str()).payload(value.as_str()))
        .collect();
    produce(broker, &[], &records)?;
    let (mut last, mut seen, mut partitions) = (HashMap::new(), HashSet::new(), HashSet::new());
    for message in take(&group_consumer(broker, name, &[])?, 100)? {
        let object: serde_json::Value = serde_json::from_str(&text(&message))?;
        let (user, number) = (object["user"].as_i64(), object["number"].as_i64());
        check(last.insert(user, number) < Some(number), format!("order of {user:?}"))?;
        seen.insert(number);
        partitions.insert(message.partition());
    }
    check((seen.len(), partitions.len()) == (100, 4), (seen, partitions))
}

fn seek(broker: &str, name: &str) -> Result<()> {
    let start = SystemTime::UNIX_EPOCH.elapsed()?.as_millis() as i64 - 100_000;
    let all = values(0..10);
    let at = |n: usize| start + n as i64 * 1000;
    let records: Vec<_> = all
        .iter()
        .enumerate()
        .map(|(n, value)| BaseRecord::to(name).partition(0).payload(value.as_str()).timestamp(at(n)))
        .collect();
    produce(broker, &[], &records)?;
    let consumer: BaseConsumer = config(broker, &[("group.id", "none")]).create()?;
    let mut times = TopicPartitionList::new();
    times.add_partition_offset(name, 0, Offset::Offset(start + 4500))?;
    let found = consumer.offsets_for_times(times, WAIT)?;
    check(found.elements()[0].offset() == Offset::Offset(5), &found)?;
    consumer.assign(&found)?;
    let next = take(&consumer, 1)?;
    check(text(&next[0]) == "v5" && next[0].timestamp().to_millis() == Some(start + 5000), next)
}

fn headers(broker: &str, name: &str) -> Result<()> {
    let sent = [("trace", Some("1")), ("trace", Some("2")), ("empty", Some("")), ("null", None)];
    let all =
        sent.iter().fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: *value }));
    produce(broker, &[], &[BaseRecord::to(name).payload("value").headers(all)])?;
    let message = &take(&group_consumer(broker, name, &[])?, 1)?[0];
    let got: Vec<_> =
        message.headers().into_iter().flat_map(Headers::iter).map(|one| (one.key, one.value)).collect();
    check(got == sent.map(|(key, value)| (key, value.map(str::as_bytes))), &got)
}

fn codecs(broker: &str, name: &str) -> Result<()> {
    let all: Vec<_> = values(0..100).iter().map(|value| format!("{value} ").repeat(50)).collect();
    for codec in CODECS {
        send(broker, name, &all, &[("compression.type", codec), ("linger.ms", "20")])?;
    }
    let got = texts(&take(&group_consumer(broker, name, &[])?, CODECS.len() * 100)?);
    check(got == vec![all; CODECS.len()].concat(), "every value in order")
}

fn admin(broker: &str, name: &str) -> Result<()> {
    let (admin, options) = (admin_client(broker)?, AdminOptions::new());
    let count = || -> Result<usize> {
        Ok(admin.inner().fetch_metadata(Some(name), WAIT)?.topics()[0].partitions().len())
    };
    wait(admin.create_topics(
        [&NewTopic::new(name, 2, TopicReplication::Fixed(1)).set("retention.ms", "3600000")],
        &options,
    ))?;
    check(count()? == 2, "two partitions")?;
    wait(admin.create_partitions([&NewPartitions::new(name, 3)], &options))?;
    check(count()? == 3, "three partitions")?;
    let topic = ResourceSpecifier::Topic(name);
    wait(admin.alter_configs([&AlterConfig::new(topic).set("cleanup.policy", "compact")], &options))?;
    let told = &wait(admin.describe_configs([&topic], &options))?[0];
    let value = |key| told.get(key).and_then(|one| one.value.as_deref());
    // The old AlterConfigs: what is not named goes back to its default.
    check(
        (value("cleanup.policy"), value("retention.ms")) == (Some("compact"), Some("604800000")),
        &told.entries,
    )?;
    wait(admin.delete_topics(&[name], &options))?;
    let all = admin.inner().fetch_metadata(None, WAIT)?;
    check(all.brokers().len() == 1 && all.topics().iter().all(|one| one.name() != name), "deleted")
}

fn idle(broker: &str, name: &str) -> Result<()> {
    let seconds = std::env::var("CLIENT_IDLE_S").unwrap_or("5".into()).parse()?;
    let delivered = Delivered::default();
    let producer: ThreadedProducer<Delivered> = config(broker, &[]).create_with_context(delivered)?;
    let consumer = group_consumer(broker, name, &[("topic.metadata.refresh.interval.ms", "1000")])?;
    for value in values(0..2) {
        producer.send(BaseRecord::<str, str>::to(name).payload(&value)).map_err(|(error, _)| error)?;
        producer.flush(WAIT)?;
        let got = texts(&take(&consumer, 1)?);
        check(got == [value], &got)?;
        if got == ["v0"] {
            // One poll may end before its time.
            let end = Instant::now() + Duration::from_secs(seconds);
            while let Some(left) = end.checked_duration_since(Instant::now()) {
                check(consumer.poll(left).is_none(), "nothing to read")?;
            }
        }
    }
    Ok(())
}

/// Says what its group gives and takes.
struct Member;

fn numbers(partitions: &TopicPartitionList) -> BTreeSet<i32> {
    partitions.elements().iter().map(|one| one.partition()).collect()
}

fn say(word: &str, partitions: BTreeSet<i32>) {
    let all: Vec<_> = partitions.iter().map(|one| format!(" {one}")).collect();
    println!("{word}{}", all.concat());
}

impl ClientContext for Member {}

impl ConsumerContext for Member {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(partitions) = rebalance {
            say("revoked", numbers(partitions));
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, _: &Rebalance<'_>) {
        if let Ok(held) = consumer.assignment() {
            say("assigned", numbers(&held));
        }
    }
}

fn member(broker: &str, mode: &str, topic: &str, group: &str, instance: &str) -> Result<()> {
    let mut config = config(
        broker,
        &[("group.id", group), ("auto.offset.reset", "earliest"), ("auto.commit.interval.ms", "500")],
    );
    if mode == "consumer" {
        config.set("group.protocol", "consumer");
    } else {
        let strategy = if mode == "cooperative" { "cooperative-sticky" } else { "range,roundrobin" };
        config
            .set("session.timeout.ms", "6000")
            .set("heartbeat.interval.ms", "1000")
            .set("partition.assignment.strategy", strategy);
    }
    if !instance.is_empty() {
        config.set("group.instance.id", instance);
    }
    let ended = Arc::new(AtomicBool::new(false));
    let listener = ended.clone();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new()); // an error is as good as an end
        listener.store(true, Ordering::Relaxed);
    });
    let consumer: BaseConsumer<Member> = config.create_with_context(Member)?;
    consumer.subscribe(&[topic])?;
    while !ended.load(Ordering::Relaxed) {
        let message: Option<std::result::Result<BorrowedMessage<'_>, _>> =
            consumer.poll(Duration::from_millis(100));
        if let Some(Ok(message)) = message {
            println!("read {}", text(&message));
        }
    }
    Ok(())
}

fn play(scenario: &str, broker: &str, name: &str) -> Result<()> {
    match scenario {
        "ten keyed messages with a callback" => ten_keyed(broker, name),
        "group consumer with auto-commit" => auto_commit(broker, name),
        "group consumer with manual commit" => manual_commit(broker, name),
        "four partitions of JSON" => json_partitions(broker, name),
        "seek by time" => seek(broker, name),
        "headers" => headers(broker, name),
        "all codecs" => codecs(broker, name),
        "admin" => admin(broker, name),
        "idle connection" => idle(broker, name),
        unknown => Err(format!("no scenario {unknown}").into()),
    }
}

fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        [broker, "member", mode, topic, group, instance] => member(broker, mode, topic, group, instance),
        [broker, scenario, name] => {
            let failure = play(scenario, broker, name).err().map(|error| error.to_string());
            let result = if failure.is_none() { "pass" } else { "fail" };
            let version = format!("0.39.0, librdkafka {}", rdkafka::util::get_rdkafka_version().1);
            let detail = failure.unwrap_or_default();
            println!(
                "{}",
                json!({"client": "rdkafka", "version": version, "scenario": scenario, "result": result, "detail": detail})
            );
            Ok(())
        }
        _ => Err("BROKER SCENARIO NAME".into()),
    }
}
