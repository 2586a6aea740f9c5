"""confluent-kafka (librdkafka), as its introductions use it."""

import json
import time

import confluent_kafka
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic
from harness import ADMIN, AUTO, CODECS, HEADERS, IDLE, IDLE_S, JSON, MANUAL, SEEK, TEN, WAIT_S
from harness import Input, assigned, check, main, numbers, read, revoked


def send(broker, topic, values, **settings):
    failed = []
    producer = Producer({"bootstrap.servers": broker, **settings})
    for value in values:
        producer.produce(topic, value, partition=0, on_delivery=lambda error, _: failed.append(error) if error else None)
    check(producer.flush(WAIT_S) == 0 and not failed, failed)


def take(consumer, count):
    """The next `count` records."""
    records = []
    end = time.monotonic() + WAIT_S
    while len(records) < count:
        check(time.monotonic() < end, f"{len(records)} records of {count}")
        record = consumer.poll(1.0)
        if record is not None and record.error() is None:
            records.append(record)
    return records


class group_consumer:
    """A consumer of one topic from its beginning, closed in the end."""

    def __init__(self, broker, topic, **settings):
        common = {"bootstrap.servers": broker, "group.id": f"{topic}-group", "auto.offset.reset": "earliest"}
        self.consumer = Consumer({**common, **{key.replace("_", "."): value for key, value in settings.items()}})
        self.consumer.subscribe([topic])

    def __enter__(self):
        return self.consumer

    def __exit__(self, *_):
        self.consumer.close()


def ten_keyed(broker, name):
    acknowledged, failed = [], []

    def delivered(error, message):
        if error:
            failed.append(error)
        else:
            acknowledged.append(message.offset())

    producer = Producer({"bootstrap.servers": broker})
    for number in range(10):
        producer.produce(name, key=f"key-{number}", value=f"message {number}", callback=delivered)
        producer.poll(0)
    producer.flush(WAIT_S)
    check(not failed and sorted(acknowledged) == list(range(10)), (acknowledged, failed))


def auto_commit(broker, name):
    send(broker, name, numbers(0, 10))
    with group_consumer(broker, name, enable_auto_commit=True) as consumer:
        check([record.value() for record in take(consumer, 10)] == numbers(0, 10), "the ten")
    send(broker, name, numbers(10, 11))
    with group_consumer(broker, name, enable_auto_commit=True) as consumer:
        check(take(consumer, 1)[0].value() == b"v10", "goes on after the ten")


def manual_commit(broker, name):
    send(broker, name, numbers(0, 10))
    with group_consumer(broker, name, enable_auto_commit=False) as consumer:
        fifth = take(consumer, 10)[4]
        consumer.commit(message=fifth, asynchronous=False)
    with group_consumer(broker, name, enable_auto_commit=False) as consumer:
        check(take(consumer, 1)[0].value() == b"v5", "goes on after the committed five")
        found = consumer.committed([TopicPartition(name, 0)], timeout=WAIT_S)[0]
        check(found.offset == 5, found)


def done(futures):
    return {key: future.result(WAIT_S) for key, future in futures.items()}


def json_partitions(broker, name):
    admin = AdminClient({"bootstrap.servers": broker})
    done(admin.create_topics([NewTopic(name, num_partitions=4, replication_factor=1)]))
    producer = Producer({"bootstrap.servers": broker})
    for number in range(100):
        user = number % 20
        producer.produce(name, key=f"user-{user}", value=json.dumps({"user": user, "number": number}))
    producer.flush(WAIT_S)
    with group_consumer(broker, name) as consumer:
        records = [(record.partition(), json.loads(record.value())) for record in take(consumer, 100)]
    check(sorted(value["number"] for _, value in records) == list(range(100)), "every object once")
    check(len({partition for partition, _ in records}) == 4, "all partitions used")
    for user in range(20):
        mine = [value["number"] for _, value in records if value["user"] == user]
        check(mine == sorted(mine), f"order of user {user}: {mine}")


def seek(broker, name):
    start = int(time.time() * 1000) - 100_000
    producer = Producer({"bootstrap.servers": broker})
    for number, value in enumerate(numbers(0, 10)):
        producer.produce(name, value, partition=0, timestamp=start + number * 1000)
    producer.flush(WAIT_S)
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "none"})
    found = consumer.offsets_for_times([TopicPartition(name, 0, start + 4500)], timeout=WAIT_S)[0]
    check(found.offset == 5, found)
    consumer.assign([found])
    check(take(consumer, 1)[0].value() == b"v5", "the record at that time")
    late = consumer.offsets_for_times([TopicPartition(name, 0, start + 60_000)], timeout=WAIT_S)[0]
    check(late.offset == confluent_kafka.OFFSET_END, late)
    consumer.close()


def headers(broker, name):
    sent = [("trace", b"1"), ("trace", b"2"), ("bytes", bytes(range(256))), ("empty", b""), ("null", None)]
    producer = Producer({"bootstrap.servers": broker})
    producer.produce(name, b"value", headers=sent)
    producer.flush(WAIT_S)
    with group_consumer(broker, name) as consumer:
        got = take(consumer, 1)[0].headers()
    check(got == sent, got)


def codecs(broker, name):
    values = [b"v%d " % number * 50 for number in range(100)]
    for codec in ("none", "gzip", "snappy", "lz4", "zstd"):
        send(broker, name, values, **{"compression.type": codec, "linger.ms": 20})
    with group_consumer(broker, name) as consumer:
        check([record.value() for record in take(consumer, 500)] == values * 5, "every value in order")


def admin(broker, name):
    admin = AdminClient({"bootstrap.servers": broker})
    done(admin.create_topics([NewTopic(name, 2, 1, config={"retention.ms": "3600000"})]))
    check(len(admin.list_topics(name, timeout=WAIT_S).topics[name].partitions) == 2, "two partitions")
    done(admin.create_partitions([NewPartitions(name, 3)]))
    check(len(admin.list_topics(name, timeout=WAIT_S).topics[name].partitions) == 3, "three partitions")
    policy = ConfigEntry("cleanup.policy", "compact", incremental_operation=AlterConfigOpType.SET)
    done(admin.incremental_alter_configs([ConfigResource(ConfigResource.Type.TOPIC, name, incremental_configs=[policy])]))
    (told,) = done(admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, name)])).values()
    check((told["cleanup.policy"].value, told["retention.ms"].value) == ("compact", "3600000"), told)
    check(len(admin.describe_cluster().result(WAIT_S).nodes) == 1, "one broker")
    done(admin.delete_topics([name]))
    check(name not in admin.list_topics(timeout=WAIT_S).topics, "deleted")


def idle(broker, name):
    with group_consumer(broker, name, topic_metadata_refresh_interval_ms=1000) as consumer:
        producer = Producer({"bootstrap.servers": broker})
        for value in numbers(0, 2):
            producer.produce(name, value)
            check(producer.flush(WAIT_S) == 0, "not acknowledged")
            check(take(consumer, 1)[0].value() == value, value)
            if value == b"v0":
                check(consumer.poll(IDLE_S) is None, "nothing to read")


def member(broker, mode, topic, group, instance):
    settings = {"bootstrap.servers": broker, "group.id": group, "auto.offset.reset": "earliest"}
    settings["auto.commit.interval.ms"] = 500
    if mode == "consumer":
        settings["group.protocol"] = "consumer"
    else:
        strategy = "cooperative-sticky" if mode == "cooperative" else "range,roundrobin"
        settings |= {"session.timeout.ms": 6000, "heartbeat.interval.ms": 1000, "partition.assignment.strategy": strategy}
    if instance:
        settings["group.instance.id"] = instance
    consumer = Consumer(settings)
    held = set()

    def on_assign(_, partitions):
        held.update(one.partition for one in partitions)
        assigned(held)

    def on_revoke(_, partitions):
        held.difference_update(one.partition for one in partitions)
        revoked(one.partition for one in partitions)
        if mode == "cooperative":
            assigned(held)

    consumer.subscribe([topic], on_assign=on_assign, on_revoke=on_revoke)
    until = Input()
    while not until.closed:
        record = consumer.poll(0.1)
        if record is not None and record.error() is None:
            read(record.value())
    consumer.close()


SCENARIOS = {TEN: ten_keyed, AUTO: auto_commit, MANUAL: manual_commit, JSON: json_partitions, SEEK: seek}
SCENARIOS |= {HEADERS: headers, CODECS: codecs, ADMIN: admin, IDLE: idle}
main("confluent-kafka", confluent_kafka.version(), SCENARIOS, member)
