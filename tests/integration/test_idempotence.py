"""Producer ids, sequences, and what the broker says to a sequence it does not expect."""

import batches
from errors import INVALID_PRODUCER_EPOCH, NONE, OUT_OF_ORDER_SEQUENCE_NUMBER

SEQUENCE_MAX = (1 << 31) - 1


def send(api, topic, producer, sequence, count=1, epoch=0):
    header = {"producer_id": producer, "producer_epoch": epoch, "base_sequence": sequence}
    return api.produce(topic, batches.build([b"%d" % (sequence + i) for i in range(count)], **header))


def test_a_batch_sent_again_is_answered_with_its_first_offset_and_stored_once(api, topic):
    producer, _ = api.producer_id()
    bases = [send(api, topic, producer, sequence, 2).base_offset for sequence in range(0, 10, 2)]
    assert bases == [0, 2, 4, 6, 8]
    for sequence in range(0, 10, 2):
        again = send(api, topic, producer, sequence, 2)
        assert (again.error_code, again.base_offset) == (NONE, sequence), "the last five are remembered"
    assert api.values(topic) == [b"%d" % number for number in range(10)]


def test_a_gap_in_the_sequence_is_out_of_order_and_leaves_nothing(api, topic):
    producer, _ = api.producer_id()
    assert send(api, topic, producer, 0).error_code == NONE
    assert send(api, topic, producer, 2).error_code == OUT_OF_ORDER_SEQUENCE_NUMBER
    assert send(api, topic, producer, 1).base_offset == 1


def test_an_older_epoch_is_refused_and_a_newer_one_begins_again(api, topic):
    producer, _ = api.producer_id()
    assert send(api, topic, producer, 0, epoch=0).error_code == NONE
    assert send(api, topic, producer, 0, epoch=1).error_code == NONE
    assert send(api, topic, producer, 1, epoch=0).error_code == INVALID_PRODUCER_EPOCH
    assert send(api, topic, producer, 1, epoch=1).base_offset == 2


def test_sequences_go_on_from_0_behind_the_largest(api, topic):
    producer, _ = api.producer_id()
    assert send(api, topic, producer, SEQUENCE_MAX - 1, 2).error_code == NONE
    assert send(api, topic, producer, 0).base_offset == 2


def test_every_partition_has_its_own_sequence(api, new_topic):
    topic = new_topic(2)
    producer, _ = api.producer_id()
    header = {"producer_id": producer, "producer_epoch": 0, "base_sequence": 0}
    assert [api.append(topic, b"x", partition=index, **header) for index in (0, 1)] == [0, 0]


def test_ids_are_never_given_twice(api):
    ids = [api.producer_id()[0] for _ in range(50)]
    assert len(set(ids)) == 50
