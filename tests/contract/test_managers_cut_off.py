"""Managers as real processes, the leader of which is cut off by its network and lives on.

The times are those that are promised; of three, the median counts, as the machine may have other
things to do. `tests/bench/manager_latency_cut_off.py` measures them often, and says the worst.
"""

import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from warren.api import status, warren_pb2, warren_pb2_grpc
from warren.model.errors import OutcomeUnknown, Unavailable, WarrenError
from warren.model.services import ServiceSpec
from warren.model.views import ServiceView

from tests.contract.manager_networks import BOTH, INPUT, OUTPUT, cut, three_hosts
from tests.contract.manager_processes import Host, form, members, wait_until

pytestmark = pytest.mark.alone

ROUNDS = 3
REFUSED_WITHIN = 0.6
ACCEPTED_WITHIN = 1.0


@pytest.fixture
def three(tmp_path: Path) -> Iterator[list[Host]]:
    """A cluster of three managers with one service."""
    with three_hosts(tmp_path) as made:
        first = form(made)
        put(first, "before")
        yield made


def test_a_leader_that_is_cut_off_refuses_writes_and_default_reads_within_0_6_s(
    three: list[Host],
) -> None:
    reads, writes = [], []
    for _ in range(ROUNDS):
        leader = wait_settled(three)
        with cut(leader, BOTH):
            asking = [
                Asking(leader, "GetService", warren_pb2.GetServiceRequest(name="web")),
                Asking(leader, "DeleteService", warren_pb2.DeleteServiceRequest(name="web")),
            ]
            read, write = (each.wait() for each in asking)
        assert isinstance(read.error, Unavailable)
        assert isinstance(write.error, Unavailable | OutcomeUnknown)
        reads.append(read.took)
        writes.append(write.took)

    assert statistics.median(reads) <= REFUSED_WITHIN, reads
    assert statistics.median(writes) <= REFUSED_WITHIN, writes


@pytest.mark.parametrize("ways", [BOTH, INPUT, OUTPUT], ids="-".join)
def test_writes_and_watches_through_the_others_go_on_within_a_second(
    three: list[Host], ways: tuple[str, ...]
) -> None:
    took = []
    for number in range(ROUNDS):
        leader = wait_settled(three)
        asked = next(host for host in three if host is not leader)
        watch = Watch(asked)
        watch.wait_version("")
        with cut(leader, ways):
            began = time.monotonic()
            put(asked, f"{ways}-{number}")
            took.append(time.monotonic() - began)
            watch.wait_version(f"{ways}-{number}")
        watch.end()

    assert statistics.median(took) <= ACCEPTED_WITHIN, took


@pytest.mark.parametrize("ways", [INPUT, OUTPUT], ids="-".join)
def test_a_leader_that_is_cut_off_one_way_serves_nothing_after_0_6_s(
    three: list[Host], ways: tuple[str, ...]
) -> None:
    leader = wait_settled(three)
    with cut(leader, ways):
        time.sleep(REFUSED_WITHIN)
        request = warren_pb2.GetServiceRequest(name="web")
        read = Asking(leader, "GetService", request, timeout=1.0).wait()

    assert isinstance(read.error, WarrenError)


def put(host: Host, version: str) -> None:
    """Write through a host, which forwards it."""
    spec = ServiceSpec(name="web", image="example/web:1", replicas=0, labels={"version": version})
    with host.client(timeout=10.0) as client:
        client.apply_service(spec, ["image", "replicas", "labels"])


def wait_settled(made: list[Host]) -> Host:
    """The leader, once all managers name it and are in contact."""

    def found() -> Host | None:
        views = [host.cluster() for host in made]
        if not all(len(members(view)) == len(made) for view in views):
            return None
        names = {view.leader for view in views if view is not None}
        return next((host for host in made if {host.name} == names), None)

    return wait_until(found, "everyone is in contact with one leader")


class Asking:
    """One call, made by a thread, as it is: a `Client` would ask again and again."""

    def __init__(self, host: Host, method: str, request: object, timeout: float = 10.0) -> None:
        self.error: WarrenError | None = None
        self.took = 0.0
        self._socket, self._method = f"unix:{host.config.socket_path}", method
        self._request, self._timeout = request, timeout
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def wait(self) -> "Asking":
        self._thread.join()
        return self

    def _run(self) -> None:
        began = time.monotonic()
        with grpc.insecure_channel(self._socket) as channel:
            call = getattr(warren_pb2_grpc.ControlStub(channel), self._method)
            try:
                call(self._request, timeout=self._timeout)
            except grpc.RpcError as error:
                self.error = status.error_from_rpc(error)
        self.took = time.monotonic() - began


class Watch:
    """A watch through one manager, in a thread."""

    def __init__(self, host: Host) -> None:
        self._views: list[ServiceView] = []
        self._ending = False
        self._client = host.client(timeout=20.0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.error: WarrenError | None = None
        self._thread.start()

    def wait_version(self, version: str) -> None:
        """Until it has shown that version; "": any."""

        def shown() -> bool:
            assert self.error is None, self.error
            labels = [view.service.spec.labels["version"] for view in self._views]
            return bool(labels) if not version else version in labels

        wait_until(shown, f"the watch shows {version or 'something'}", 5.0)

    def end(self) -> None:
        self._ending = True
        self._client.__exit__(None, None, None)
        self._thread.join()

    def _run(self) -> None:
        try:
            for view in self._client.__enter__().watch_service("web", timeout=60.0):
                self._views.append(view)
        except WarrenError as error:
            if not self._ending:
                self.error = error
        except ValueError:
            assert self._ending  # the channel was closed under it
