"""A thousand partitions: made, written, killed, and all there again."""

import batches
from apis import Api
from errors import NONE, POLICY_VIOLATION

PARTITIONS = 1000
AT_ONCE = 50


def places(first):
    return range(first, min(first + AT_ONCE, PARTITIONS))


def write_each(api, topic, text):
    for first in range(0, PARTITIONS, AT_ONCE):
        records = [batches.build([b"%s %d" % (text, index)]) for index in places(first)]
        some = [{"index": index, "records": batch} for index, batch in zip(places(first), records)]
        answer = api.call("Produce", 8, acks=-1, topics=[{"name": topic, "partitions": some}]).topics[0]
        assert [one.error_code for one in answer.partitions] == [NONE] * len(some), answer


def check_each(api, topic, *texts):
    for index in range(PARTITIONS):
        assert api.values(topic, partition=index) == [b"%s %d" % (text, index) for text in texts], index


def test_every_one_of_many_partitions_survives_kills_and_restarts_on_another_number_of_cores(start, data):
    first = start(data, "--cores", 2)
    with Api(first.address) as api:
        api.create_topic("wide", PARTITIONS)
        write_each(api, "wide", b"first")
    first.kill()
    second = start(data, "--cores", 1)
    with Api(second.address) as api:
        check_each(api, "wide", b"first")
        write_each(api, "wide", b"second")
    assert second.stop() == 0, second.log()
    third = start(data, "--cores", 2)
    with Api(third.address) as api:
        write_each(api, "wide", b"third")
    third.kill()
    fourth = start(data, "--cores", 2)
    with Api(fourth.address) as api:
        check_each(api, "wide", b"first", b"second", b"third")
    assert fourth.stop() == 0, fourth.log()


def test_more_partitions_than_partitions_max_are_refused_and_none_is_made(start, data):
    one = start(data, "--set", "partitions.max=5")
    with Api(one.address) as api:
        api.create_topic("three", 3)
        new = {"name": "more", "num_partitions": 3, "replication_factor": 1}
        refused = api.call("CreateTopics", 5, topics=[new]).topics[0]
        assert refused.error_code == POLICY_VIOLATION, refused
        assert "partitions.max" in refused.error_message
        grown = api.call("CreatePartitions", 1, topics=[{"name": "three", "count": 6}]).results[0]
        assert grown.error_code == POLICY_VIOLATION, grown
        api.create_topic("two", 2)
        names = {topic.name for topic in api.call("Metadata", 12, topics=None).topics}
        assert {"three", "two"} <= names and "more" not in names
    assert one.stop() == 0, one.log()
