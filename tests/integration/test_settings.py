"""Settings that change what clients see."""

from apis import Api
from errors import NONE, UNKNOWN_TOPIC_OR_PARTITION


def test_no_topic_is_created_by_itself_where_that_is_switched_off(start, data):
    one = start(data, "--set", "auto.create.topics.enable=false")
    with Api(one.address) as api:
        for _ in range(2):
            answer = api.call("Metadata", 9, topics=[{"name": "t"}], allow_auto_topic_creation=True)
            assert answer.topics[0].error_code == UNKNOWN_TOPIC_OR_PARTITION
        assert api.call("Metadata", 9, topics=None).topics == []


def test_topics_that_create_themselves_have_the_broker_s_number_of_partitions(start, data):
    one = start(data, "--set", "num.partitions=6")
    with Api(one.address) as api:
        api.call("Metadata", 9, topics=[{"name": "t"}])
        api.wait_for_leader("t", 6)


def test_flags_win_over_the_file(start, data, tmp_path):
    file = tmp_path / "broker.toml"
    file.write_text('num.partitions = 3\nnode.id = 7\nlisteners = "127.0.0.1:1"\n')
    one = start(data, "--config", file, "--set", "num.partitions=4")
    with Api(one.address) as api:
        assert [broker.node_id for broker in api.call("Metadata", 9, topics=[]).brokers] == [7]
        assert api.call("CreateTopics", 5, topics=[{"name": "t"}]).topics[0].num_partitions == 4


def test_another_address_is_advertised_where_it_is_told(start, data):
    one = start(data, "--set", "advertised.listeners=broker.example:19092")
    with Api(one.address) as api:
        found = [(b.host, b.port) for b in api.call("Metadata", 9, topics=[]).brokers]
        assert found == [("broker.example", 19092)]
        assert api.call("ApiVersions", 0).error_code == NONE
