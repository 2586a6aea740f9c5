"""What every test may ask for: a broker, a topic of its own, a raw connection, clients.

`CORELANE_TEST_BOOTSTRAP=host:port` points the tests of the protocol at another broker, for example Apache Kafka:
what fails there is a wrong test. Tests of the process itself, and of what only this broker promises, are
skipped then.
"""

import itertools
import os
import types

import pytest

import broker as broker_process
from apis import Api

EXTERNAL = os.environ.get("CORELANE_TEST_BOOTSTRAP")
_numbers = itertools.count(1)
_brokers = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        report.sections += [(f"log of {one.address}", one.log()) for one in _brokers]
    return report


@pytest.fixture(scope="session")
def shared_broker(tmp_path_factory):
    if EXTERNAL:
        yield types.SimpleNamespace(address=EXTERNAL)
        return
    # Hundreds of groups would each wait for the default of 3 s.
    delay = ["--set", "group.initial.rebalance.delay.ms=100ms"]
    one = broker_process.Broker(tmp_path_factory.mktemp("shared") / "data", *delay)
    _brokers.append(one)
    yield one
    assert one.is_running(), f"the broker has ended by itself\n{one.log()}"
    assert one.stop() == 0, one.log()
    _brokers.remove(one)


@pytest.fixture(scope="session")
def address(shared_broker):
    """host:port of a broker that many tests share."""
    return shared_broker.address


@pytest.fixture
def api(address):
    """One raw connection, with what tests do most by name."""
    with Api(address) as one:
        yield one


@pytest.fixture
def new_name():
    """Makes names that no other test uses, nor an earlier run against the same broker."""
    return lambda: f"t{os.getpid()}-{next(_numbers)}"


@pytest.fixture
def new_topic(api, new_name):
    """Creates a topic: `new_topic(partitions, **{"segment.bytes": ...})`; returns its name."""

    def create(partitions=1, **configs):
        name = new_name()
        api.create_topic(name, partitions, configs)
        return name

    return create


@pytest.fixture
def topic(new_topic):
    """A topic with one partition."""
    return new_topic()


@pytest.fixture
def own_only():
    """For what only this broker promises."""
    if EXTERNAL:
        pytest.skip("says something about corelane, not about Kafka")


@pytest.fixture
def start(own_only):
    """Starts brokers that are stopped after the test: `start(data, "--cores", 1)`."""
    started = []

    def start_one(data, *args, **options):
        one = broker_process.Broker(data, *args, **options)
        started.append(one)
        _brokers.append(one)
        return one

    yield start_one
    for one in started:
        _brokers.remove(one)
        if one.is_running():
            one.kill()


@pytest.fixture
def data(tmp_path):
    """A data directory that is not there yet."""
    return tmp_path / "data"
