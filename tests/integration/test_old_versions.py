"""The non-flexible encodings that kafka-go, kafkajs and aiokafka send every day; not one byte too many."""

import pytest

import batches
from apis import EARLIEST, LATEST
from errors import NONE, TOPIC_ALREADY_EXISTS
from wire import encode
from schemas import RESPONSES


def test_the_helper_itself_knows_the_published_bytes_of_metadata_1():
    topic = {"error_code": 0, "name": "t", "is_internal": False, "partitions": []}
    broker = {"node_id": 1, "host": "h", "port": 9092, "rack": None}
    found = encode(RESPONSES["Metadata"], {"brokers": [broker], "controller_id": 1, "topics": [topic]}, 1, False)
    assert found.hex() == "0000000100000001000168" + "00002384ffff" + "00000001" + "000000010000000174" + "0000000000"


@pytest.mark.parametrize("version", [1, 6])
def test_metadata_of_kafka_go(api, new_topic, version):
    name = new_topic(2)
    answer = api.call("Metadata", version, topics=[{"name": name}])
    assert [(one.error_code, one.name, len(one.partitions)) for one in answer.topics] == [(NONE, name, 2)]


@pytest.mark.parametrize("version", [1, 2, 3, 4, 5])
def test_list_offsets_in_every_old_version(api, topic, version):
    api.append(topic, b"a", b"b")
    for timestamp, offset in [(EARLIEST, 0), (LATEST, 2), (batches.NOW, 0)]:
        answer = api.list_offset(topic, timestamp, version)
        assert (answer.error_code, answer.offset) == (NONE, offset), timestamp


@pytest.mark.parametrize("version", [3, 4, 5, 6, 7, 8])
def test_produce_in_every_old_version(api, topic, version):
    answer = api.produce(topic, batches.build([b"a", b"b"]), version=version)
    assert (answer.index, answer.error_code, answer.base_offset, answer.log_append_time_ms) == (0, NONE, 0, -1)
    assert answer.get("log_start_offset", 0) == 0
    assert api.values(topic) == [b"a", b"b"]


@pytest.mark.parametrize("version", [4, 5, 6, 7, 8, 9, 10, 11])
def test_fetch_in_every_old_version(api, topic, version):
    api.append(topic, b"a", b"b")
    answer = api.fetch(topic, 0, version)
    assert (answer.error_code, answer.high_watermark, answer.last_stable_offset) == (NONE, 2, 2)
    assert answer.get("log_start_offset", 0) == 0
    found = batches.split(answer.records)
    assert [record.value for one in found for record in batches.records(one)] == [b"a", b"b"]


@pytest.mark.parametrize("version", [5, 10])
def test_fetch_of_kafka_go_at_the_end_is_empty_and_not_missing(api, topic, version):
    assert api.fetch(topic, 0, version, max_wait_ms=10).records in (b"", None)


@pytest.mark.parametrize("version", [2, 3, 4])
def test_create_topics_in_every_old_version(api, new_name, version):
    one = {"name": new_name(), "num_partitions": 2, "replication_factor": 1}
    request = {"topics": [one], "timeout_ms": 30_000}
    assert [(t.name, t.error_code) for t in api.call("CreateTopics", version, **request).topics] == [(one["name"], NONE)]
    again = api.call("CreateTopics", version, **request).topics[0]
    assert again.error_code == TOPIC_ALREADY_EXISTS and again.error_message


@pytest.mark.parametrize("version", [1, 2, 3])
def test_delete_topics_in_every_old_version(api, topic, version):
    answer = api.call("DeleteTopics", version, topic_names=[topic])
    assert [(one.name, one.error_code) for one in answer.responses] == [(topic, NONE)]
    api.wait_until_gone(topic)


@pytest.mark.parametrize("version", [0, 1])
def test_init_producer_id_in_every_old_version(api, version):
    first, second = api.call("InitProducerId", version), api.call("InitProducerId", version)
    assert first.error_code == second.error_code == NONE
    assert first.producer_id >= 0 and first.producer_epoch == 0
    assert first.producer_id != second.producer_id


@pytest.mark.parametrize("version", [1, 2, 3])
def test_describe_configs_in_every_old_version(api, topic, version):
    answer = api.call("DescribeConfigs", version, resources=[{"kind": 2, "name": topic, "keys": ["cleanup.policy"]}])
    found = answer.results[0]
    assert (found.error_code, found.name) == (NONE, topic)
    assert [(one.name, one.value) for one in found.configs] == [("cleanup.policy", "delete")]


@pytest.mark.parametrize("version", [0, 1])
def test_create_partitions_in_every_old_version(api, topic, version):
    answer = api.call("CreatePartitions", version, topics=[{"name": topic, "count": 3}])
    assert [(one.name, one.error_code) for one in answer.results] == [(topic, NONE)]
    api.wait_for_leader(topic, 3)


@pytest.mark.parametrize("version", [2, 3])
def test_offset_for_leader_epoch_in_every_old_version(api, topic, version):
    api.append(topic, b"a")
    epoch = api.call("Metadata", 7, topics=[{"name": topic}]).topics[0].partitions[0].leader_epoch
    one = {"name": topic, "partitions": [{"index": 0, "leader_epoch": epoch}]}
    found = api.call("OffsetForLeaderEpoch", version, topics=[one]).topics[0].partitions[0]
    assert (found.error_code, found.index, found.leader_epoch, found.end_offset) == (NONE, 0, epoch, 1)
