"""kafka-python, as its introductions use it."""

import json
import time

import kafka
from harness import ADMIN, AUTO, CODECS, HEADERS, IDLE, IDLE_S, JSON, MANUAL, SEEK, TEN, WAIT_S
from harness import Input, assigned, check, main, numbers, read, revoked
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, NewPartitions, NewTopic
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.structs import OffsetAndMetadata


def send(broker, topic, values, **settings):
    """Sends to partition 0 and waits for every acknowledgement."""
    with KafkaProducer(bootstrap_servers=broker, **settings) as producer:
        for sent in [producer.send(topic, value, partition=0) for value in values]:
            sent.get(timeout=WAIT_S)


def take(consumer, count):
    """The next `count` records."""
    records = []
    end = time.monotonic() + WAIT_S
    while len(records) < count:
        check(time.monotonic() < end, f"{len(records)} records of {count}")
        for batch in consumer.poll(timeout_ms=500, max_records=count - len(records)).values():
            records += batch
    return records


def group_consumer(broker, topic, **settings):
    return KafkaConsumer(topic, bootstrap_servers=broker, group_id=f"{topic}-group", auto_offset_reset="earliest", **settings)


def ten_keyed(broker, name):
    acknowledged, failed = [], []
    producer = KafkaProducer(bootstrap_servers=broker, key_serializer=str.encode, value_serializer=str.encode)
    for number in range(10):
        future = producer.send(name, key=f"key-{number}", value=f"message {number}")
        future.add_callback(lambda metadata: acknowledged.append(metadata.offset)).add_errback(failed.append)
    producer.flush()
    producer.close()
    check(not failed and sorted(acknowledged) == list(range(10)), (acknowledged, failed))


def auto_commit(broker, name):
    send(broker, name, numbers(0, 10))
    with group_consumer(broker, name, enable_auto_commit=True) as consumer:
        check([record.value for record in take(consumer, 10)] == numbers(0, 10), "the ten")
    send(broker, name, numbers(10, 11))
    with group_consumer(broker, name, enable_auto_commit=True) as consumer:
        check(take(consumer, 1)[0].value == b"v10", "goes on after the ten")


def manual_commit(broker, name):
    send(broker, name, numbers(0, 10))
    with group_consumer(broker, name, enable_auto_commit=False) as consumer:
        fifth = take(consumer, 10)[4]
        partition = TopicPartition(name, fifth.partition)
        consumer.commit({partition: OffsetAndMetadata(fifth.offset + 1, "half", -1)})
    with group_consumer(broker, name, enable_auto_commit=False) as consumer:
        check(take(consumer, 1)[0].value == b"v5", "goes on after the committed five")
        check(consumer.committed(partition, metadata=True).metadata == "half", "metadata of the commit")


def json_partitions(broker, name):
    with KafkaAdminClient(bootstrap_servers=broker) as admin:
        admin.create_topics([NewTopic(name, num_partitions=4, replication_factor=1)])
    with KafkaProducer(bootstrap_servers=broker, value_serializer=lambda value: json.dumps(value).encode()) as producer:
        for number in range(100):
            producer.send(name, key=b"user-%d" % (number % 20), value={"user": number % 20, "number": number})
    with group_consumer(broker, name, value_deserializer=lambda data: json.loads(data)) as consumer:
        records = take(consumer, 100)
    check(sorted(record.value["number"] for record in records) == list(range(100)), "every object once")
    check(len({record.partition for record in records}) == 4, "all partitions used")
    for user in range(20):
        mine = [record.value["number"] for record in records if record.value["user"] == user]
        check(mine == sorted(mine), f"order of user {user}: {mine}")


def seek(broker, name):
    start = int(time.time() * 1000) - 100_000
    with KafkaProducer(bootstrap_servers=broker) as producer:
        for number, value in enumerate(numbers(0, 10)):
            producer.send(name, value, partition=0, timestamp_ms=start + number * 1000)
    partition = TopicPartition(name, 0)
    with KafkaConsumer(bootstrap_servers=broker) as consumer:
        consumer.assign([partition])
        found = consumer.offsets_for_times({partition: start + 4500})[partition]
        check((found.offset, found.timestamp) == (5, start + 5000), found)
        consumer.seek(partition, found.offset)
        check(take(consumer, 1)[0].value == b"v5", "the record at that time")
        check(consumer.offsets_for_times({partition: start + 60_000})[partition] is None, "nothing so late")


def headers(broker, name):
    sent = [("trace", b"1"), ("trace", b"2"), ("bytes", bytes(range(256))), ("empty", b"")]
    with KafkaProducer(bootstrap_servers=broker) as producer:
        producer.send(name, b"value", headers=sent)
    with group_consumer(broker, name) as consumer:
        got = take(consumer, 1)[0].headers
    check([tuple(one) for one in got] == sent, got)


def codecs(broker, name):
    values = [b"v%d " % number * 50 for number in range(100)]
    for codec in (None, "gzip", "snappy", "lz4", "zstd"):
        send(broker, name, values, compression_type=codec, linger_ms=20)
    with group_consumer(broker, name) as consumer:
        check([record.value for record in take(consumer, 500)] == values * 5, "every value in order")


def admin(broker, name):
    with KafkaAdminClient(bootstrap_servers=broker) as admin:
        admin.create_topics([NewTopic(name, num_partitions=2, replication_factor=1, topic_configs={"retention.ms": "3600000"})])
        check(name in admin.list_topics(), "listed")
        check(len(admin.describe_topics([name])[0]["partitions"]) == 2, "two partitions")
        admin.create_partitions({name: NewPartitions(3)})
        check(len(admin.describe_topics([name])[0]["partitions"]) == 3, "three partitions")
        topic = ConfigResource(ConfigResourceType.TOPIC, name)
        admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, name, configs={"cleanup.policy": "compact"})])
        told = str(admin.describe_configs([topic], config_filter="all"))
        check("compact" in told and "3600000" in told, told)
        check(len(admin.describe_cluster()["brokers"]) == 1, "one broker")
        admin.delete_topics([name])
        check(name not in admin.list_topics(), "deleted")


def idle(broker, name):
    with KafkaProducer(bootstrap_servers=broker) as producer, group_consumer(broker, name) as consumer:
        for value in numbers(0, 2):
            producer.send(name, value).get(timeout=WAIT_S)
            check(take(consumer, 1)[0].value == value, value)
            if value == b"v0":
                end = time.monotonic() + IDLE_S
                while time.monotonic() < end:
                    consumer.poll(timeout_ms=1000)


class Listener(kafka.ConsumerRebalanceListener):
    def on_partitions_revoked(self, revoked_now):
        revoked(one.partition for one in revoked_now)

    def on_partitions_assigned(self, assigned_now):
        pass


def member(broker, mode, topic, group, instance):
    if mode == "consumer":
        print("unsupported", "kafka-python has no KIP-848 consumer")
        return
    consumer = KafkaConsumer(
        bootstrap_servers=broker,
        group_id=group,
        group_instance_id=instance or None,
        auto_offset_reset="earliest",
        auto_commit_interval_ms=500,
        session_timeout_ms=6000,
        heartbeat_interval_ms=1000,
        partition_assignment_strategy=[CooperativeStickyAssignor if mode == "cooperative" else RangePartitionAssignor],
    )
    consumer.subscribe([topic], listener=Listener())
    held, until = None, Input()
    while not until.closed:
        for batch in consumer.poll(timeout_ms=100).values():
            for record in batch:
                read(record.value)
        now = {one.partition for one in consumer.assignment()}
        if now != held:
            held = now
            assigned(held)
    consumer.close()


SCENARIOS = {TEN: ten_keyed, AUTO: auto_commit, MANUAL: manual_commit, JSON: json_partitions, SEEK: seek}
SCENARIOS |= {HEADERS: headers, CODECS: codecs, ADMIN: admin, IDLE: idle}
main("kafka-python", kafka.__version__, SCENARIOS, member)
