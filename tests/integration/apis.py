"""A raw connection with the calls that most tests make, at any version of the protocol."""

import time

import batches
from errors import NONE
from wire import TIMEOUT_S, Connection

LATEST, EARLIEST = -1, -2
NEWEST_FETCH_BY_NAME = 12


class Api(Connection):
    """Calls for one topic and mostly one partition."""

    def create_topic(self, name, partitions=1, configs=None, version=5):
        configs = [{"name": key, "value": str(value)} for key, value in (configs or {}).items()]
        one = {"name": name, "num_partitions": partitions, "replication_factor": 1, "configs": configs}
        answer = self.call("CreateTopics", version, topics=[one]).topics[0]
        assert answer.error_code == NONE, answer
        self.wait_for_leader(name, partitions)
        return answer

    def wait_for_leader(self, name, partitions=1):
        """Kafka creates a topic before its partitions have leaders."""
        self.until(lambda: self._has_leaders(name, partitions), f"{name} has no leader")

    def _has_leaders(self, name, partitions):
        topic = self.call("Metadata", 12, topics=[{"name": name}], allow_auto_topic_creation=False).topics[0]
        if topic.error_code != NONE or len(topic.partitions) != partitions:
            return False
        # Kafka names leaders before they know that they lead.
        asked = [{"index": index, "timestamp": LATEST} for index in range(partitions)]
        answer = self.call("ListOffsets", 6, topics=[{"name": name, "partitions": asked}])
        return all(one.error_code == NONE for one in answer.topics[0].partitions)

    def wait_until_gone(self, name):
        def is_gone():
            request = {"topics": [{"name": name}], "allow_auto_topic_creation": False}
            return self.call("Metadata", 12, **request).topics[0].error_code != NONE

        self.until(is_gone, f"{name} is still there")

    @staticmethod
    def until(condition, complaint):
        """Waits for `condition` to become true."""
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < deadline, complaint
            time.sleep(0.02)

    def delete_topic(self, name):
        answer = self.call("DeleteTopics", 5, topic_names=[name]).responses[0]
        assert answer.error_code == NONE, answer
        self.wait_until_gone(name)

    def topic_id(self, name):
        return self.call("Metadata", 12, topics=[{"name": name}]).topics[0].topic_id

    def produce(self, topic, records, acks=-1, version=8, partition=0):
        """Produces `records`, bytes of batches; returns the partition's answer."""
        one = {"name": topic, "partitions": [{"index": partition, "records": records}]}
        return self.call("Produce", version, acks=acks, topics=[one]).topics[0].partitions[0]

    def append(self, topic, *values, partition=0, **header):
        """Produces one batch that must be taken; returns its base offset."""
        answer = self.produce(topic, batches.build(values, **header), partition=partition)
        assert answer.error_code == NONE, answer
        return answer.base_offset

    def fetch(self, topic, offset=0, version=NEWEST_FETCH_BY_NAME, partition=0, **values):
        """The partition's answer to a fetch from `offset`."""
        return self.receive_fetch(self.send_fetch(topic, offset, version, partition, **values))

    def send_fetch(self, topic, offset, version=NEWEST_FETCH_BY_NAME, partition=0, **values):
        of_partition = {"index": partition, "fetch_offset": offset}
        for field in ("partition_max_bytes", "current_leader_epoch"):
            if field in values:
                of_partition[field] = values.pop(field)
        one = {"topic_id" if version >= 13 else "name": topic, "partitions": [of_partition]}
        return self.send("Fetch", version, topics=[one], **values)

    def receive_fetch(self, sent):
        answer = self.receive(sent)
        assert answer.get("error_code", NONE) == NONE, answer
        return answer.topics[0].partitions[0]

    def read(self, topic, offset=0, partition=0):
        """All batches from `offset` to the end."""
        end = self.offset(topic, LATEST, partition=partition)
        found = []
        while offset < end:
            answer = self.fetch(topic, offset, partition=partition)
            assert answer.error_code == NONE, answer
            new = batches.split(answer.records or b"")
            assert new, f"nothing at offset {offset}, the end is {end}"
            found += new
            offset = new[-1].base_offset + new[-1].last_offset_delta + 1
        return found

    def values(self, topic, offset=0, partition=0):
        """The values from `offset` to the end, of batches that are not compressed or by gzip."""
        found = [record for batch in self.read(topic, offset, partition) for record in batches.records(batch)]
        return [record.value for record in found if record.offset >= offset]

    def list_offset(self, topic, timestamp, version=6, partition=0):
        """The partition's answer."""
        one = {"name": topic, "partitions": [{"index": partition, "timestamp": timestamp}]}
        return self.call("ListOffsets", version, topics=[one]).topics[0].partitions[0]

    def offset(self, topic, timestamp, partition=0):
        answer = self.list_offset(topic, timestamp, partition=partition)
        assert answer.error_code == NONE, answer
        return answer.offset

    def producer_id(self):
        """A new producer id and its epoch."""
        answers = []
        self.until(lambda: answers.append(self.init_producer_id()) or answers[-1].error_code == NONE, "no producer id")
        return answers[-1].producer_id, answers[-1].producer_epoch

    def init_producer_id(self, version=1):
        """One answer, whatever it says; Kafka asks for patience right after its start."""
        return self.call("InitProducerId", version)
