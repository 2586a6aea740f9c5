"""aiokafka, as its introductions use it."""

import asyncio
import json
import time

import aiokafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.structs import OffsetAndMetadata
from harness import ADMIN, AUTO, CODECS, HEADERS, IDLE, IDLE_S, JSON, MANUAL, SEEK, TEN, WAIT_S
from harness import Input, assigned, check, main, numbers, read, revoked


async def send(broker, topic, values, **settings):
    async with AIOKafkaProducer(bootstrap_servers=broker, **settings) as producer:
        sent = [await producer.send(topic, value, partition=0) for value in values]
        await asyncio.wait_for(asyncio.gather(*sent), WAIT_S)


async def take(consumer, count):
    """The next `count` records."""
    async with asyncio.timeout(WAIT_S):
        return [await consumer.getone() for _ in range(count)]


def group_consumer(broker, topic, **settings):
    return AIOKafkaConsumer(topic, bootstrap_servers=broker, group_id=f"{topic}-group", auto_offset_reset="earliest", **settings)


async def ten_keyed(broker, name):
    acknowledged = []
    async with AIOKafkaProducer(bootstrap_servers=broker) as producer:
        futures = []
        for number in range(10):
            future = await producer.send(name, key=b"key-%d" % number, value=b"message %d" % number)
            future.add_done_callback(lambda done: acknowledged.append(done.result().offset))
            futures.append(future)
        await asyncio.wait_for(asyncio.gather(*futures), WAIT_S)
    check(sorted(acknowledged) == list(range(10)), acknowledged)


async def auto_commit(broker, name):
    await send(broker, name, numbers(0, 10))
    async with group_consumer(broker, name, enable_auto_commit=True) as consumer:
        check([record.value for record in await take(consumer, 10)] == numbers(0, 10), "the ten")
    await send(broker, name, numbers(10, 11))
    async with group_consumer(broker, name, enable_auto_commit=True) as consumer:
        check((await take(consumer, 1))[0].value == b"v10", "goes on after the ten")


async def manual_commit(broker, name):
    await send(broker, name, numbers(0, 10))
    async with group_consumer(broker, name, enable_auto_commit=False) as consumer:
        fifth = (await take(consumer, 10))[4]
        await consumer.commit({TopicPartition(name, fifth.partition): OffsetAndMetadata(fifth.offset + 1, "half")})
    async with group_consumer(broker, name, enable_auto_commit=False) as consumer:
        check((await take(consumer, 1))[0].value == b"v5", "goes on after the committed five")


async def json_partitions(broker, name):
    async with admin_client(broker) as admin:
        await admin.create_topics([NewTopic(name, num_partitions=4, replication_factor=1)])
    async with AIOKafkaProducer(bootstrap_servers=broker, value_serializer=lambda value: json.dumps(value).encode()) as producer:
        for number in range(100):
            await producer.send(name, key=b"user-%d" % (number % 20), value={"user": number % 20, "number": number})
    async with group_consumer(broker, name, value_deserializer=json.loads) as consumer:
        records = await take(consumer, 100)
    check(sorted(record.value["number"] for record in records) == list(range(100)), "every object once")
    check(len({record.partition for record in records}) == 4, "all partitions used")
    for user in range(20):
        mine = [record.value["number"] for record in records if record.value["user"] == user]
        check(mine == sorted(mine), f"order of user {user}: {mine}")


async def seek(broker, name):
    start = int(time.time() * 1000) - 100_000
    async with AIOKafkaProducer(bootstrap_servers=broker) as producer:
        for number, value in enumerate(numbers(0, 10)):
            await producer.send(name, value, partition=0, timestamp_ms=start + number * 1000)
    partition = TopicPartition(name, 0)
    async with AIOKafkaConsumer(bootstrap_servers=broker) as consumer:
        consumer.assign([partition])
        found = (await consumer.offsets_for_times({partition: start + 4500}))[partition]
        check((found.offset, found.timestamp) == (5, start + 5000), found)
        consumer.seek(partition, found.offset)
        check((await take(consumer, 1))[0].value == b"v5", "the record at that time")
        check((await consumer.offsets_for_times({partition: start + 60_000}))[partition] is None, "nothing so late")


async def headers(broker, name):
    sent = [("trace", b"1"), ("trace", b"2"), ("bytes", bytes(range(256))), ("empty", b"")]
    async with AIOKafkaProducer(bootstrap_servers=broker) as producer:
        await producer.send_and_wait(name, b"value", headers=sent)
    async with group_consumer(broker, name) as consumer:
        got = (await take(consumer, 1))[0].headers
    check(list(got) == sent, got)


async def codecs(broker, name):
    values = [b"v%d " % number * 50 for number in range(100)]
    for codec in (None, "gzip", "snappy", "lz4", "zstd"):
        await send(broker, name, values, compression_type=codec, linger_ms=20)
    async with group_consumer(broker, name) as consumer:
        check([record.value for record in await take(consumer, 500)] == values * 5, "every value in order")


class admin_client:
    """An admin client that is started and closed; its class knows no `async with`."""

    def __init__(self, broker):
        self.admin = AIOKafkaAdminClient(bootstrap_servers=broker)

    async def __aenter__(self):
        await self.admin.start()
        return self.admin

    async def __aexit__(self, *_):
        await self.admin.close()


async def admin(broker, name):
    async with admin_client(broker) as admin:
        await admin.create_topics([NewTopic(name, 2, 1, topic_configs={"retention.ms": "3600000"})])
        check(name in await admin.list_topics(), "listed")
        check(len((await admin.describe_topics([name]))[0]["partitions"]) == 2, "two partitions")
        await admin.create_partitions({name: NewPartitions(3)})
        check(len((await admin.describe_topics([name]))[0]["partitions"]) == 3, "three partitions")
        changed = ConfigResource(ConfigResourceType.TOPIC, name, configs={"cleanup.policy": "compact"})
        await admin.alter_configs([changed])
        told = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
        values = {entry[0]: entry[1] for entry in told[0].resources[0][4]}
        # The old AlterConfigs: what is not named goes back to its default.
        check((values["cleanup.policy"], values["retention.ms"]) == ("compact", "604800000"), values)
        check(len((await admin.describe_cluster())["brokers"]) == 1, "one broker")
        await admin.delete_topics([name])
        check(name not in await admin.list_topics(), "deleted")


async def idle(broker, name):
    async with AIOKafkaProducer(bootstrap_servers=broker) as producer, group_consumer(broker, name) as consumer:
        for value in numbers(0, 2):
            await producer.send_and_wait(name, value)
            check((await take(consumer, 1))[0].value == value, value)
            if value == b"v0":
                await asyncio.sleep(IDLE_S)


class Listener(aiokafka.ConsumerRebalanceListener):
    def on_partitions_revoked(self, revoked_now):
        revoked(one.partition for one in revoked_now)

    def on_partitions_assigned(self, assigned_now):
        assigned(one.partition for one in assigned_now)


async def member(broker, mode, topic, group, instance):
    if mode in ("cooperative", "consumer"):
        print("unsupported", f"aiokafka has no {mode.replace('consumer', 'KIP-848')} groups")
        return
    consumer = AIOKafkaConsumer(
        bootstrap_servers=broker,
        group_id=group,
        group_instance_id=instance or None,
        auto_offset_reset="earliest",
        auto_commit_interval_ms=500,
        session_timeout_ms=6000,
        heartbeat_interval_ms=1000,
    )
    consumer.subscribe([topic], listener=Listener())
    await consumer.start()
    until = Input()
    while not until.closed:
        for batch in (await consumer.getmany(timeout_ms=100)).values():
            for record in batch:
                read(record.value)
    await consumer.stop()


def run(scenario):
    return lambda *words: asyncio.run(scenario(*words))


SCENARIOS = {TEN: ten_keyed, AUTO: auto_commit, MANUAL: manual_commit, JSON: json_partitions, SEEK: seek}
SCENARIOS |= {HEADERS: headers, CODECS: codecs, ADMIN: admin, IDLE: idle}
main("aiokafka", aiokafka.__version__, {name: run(one) for name, one in SCENARIOS.items()}, run(member))
