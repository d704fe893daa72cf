"""A leader that is cut off: `python -m tests.bench.manager_latency_cut_off [--cuts 20] [--ways …]`.

Three managers as real processes, each in a network namespace of its own. All packets of the leader
are dropped, of both directions or of one, while clients write through each other manager, watch
through them, and ask the old leader, too. Printed, for each way: from the cut to the first write
that is accepted, to the slower of both managers' first, to that of a client that was connected
with the old leader, to the end or next view of a stream, and until the old leader refuses.
Needs root; leaves nothing behind.
"""

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import grpc
from warren.api import warren_pb2, warren_pb2_grpc
from warren.bootstrap import node_files
from warren.client import Client
from warren.client.connection import Connection, Credentials
from warren.model.errors import WarrenError
from warren.model.services import ServiceSpec

from tests.bench.manager_latency import grow
from tests.contract.manager_networks import BOTH, INPUT, OUTPUT, cut, three_hosts
from tests.contract.manager_processes import SPEC, Host, members, wait_until

WAYS = {"both": BOTH, "output": OUTPUT, "input": INPUT}
TARGETS = {"first": "0.6 s, worst 1.0 s", "refused": "0.6 s"}
Figures = dict[str, list[float]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cuts", type=int, default=20)
    parser.add_argument("--ways", nargs="*", default=list(WAYS), choices=list(WAYS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, three_hosts(Path(name)) as made:
        grow(made)
        for way in options.ways:
            figures: Figures = {}
            for number in range(options.cuts):
                for what, value in measure(made, way, number).items():
                    figures.setdefault(what, []).append(value)
            show(way, figures)


def measure(made: list[Host], way: str, number: int) -> dict[str, float]:
    """One cut: seconds from it to what happened."""
    _write(made[0], "watched", str(number))
    leader = _settled(made)
    others = [host for host in made if host is not leader]
    streams = [Watcher(host) for host in others]
    for stream in streams:
        stream.seen.wait(10)
    time.sleep(0.5)
    remote = a_client([leader, *others])
    remote.get_service("watched")
    with cut(leader, WAYS[way]):
        began = time.perf_counter()
        client = Timed(partial(_apply, remote, "s-remote", str(number)))
        writers = [Timed(partial(_write, host, f"s-{host.name}", str(number))) for host in others]
        refused = Timed(partial(_until_refused, leader))
        for writer in (*writers, client):
            writer.join()
        ends = [writer.ended - began for writer in writers]
        streams_ended = max(stream.ended_or_moved(began) for stream in streams)
        refused.join()
        found = {
            "first": min(ends),
            "through each": max(ends),
            "by a client of it": client.ended - began,
            "stream": streams_ended,
            "refused": refused.ended - began,
        }
    remote.close()
    for stream in streams:
        stream.close()
    return found


def a_client(made: list[Host]) -> Client:
    """One that knows all managers, by the network, and is connected with the first."""
    credentials = node_files.read_credentials(made[0].config)
    connection = Connection(
        endpoints=tuple(f"{host.address}:{SPEC.api_port}" for host in made),
        credentials=Credentials(
            ca_cert=credentials.ca_certificate,
            client_cert=credentials.certificate,
            client_key=credentials.key,
        ),
        source="the bench",
    )
    return Client(connection, timeout=20.0)


class Timed:
    """Something done by a thread, and when it was done."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.ended = 0.0
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def join(self) -> None:
        self._thread.join()

    def _run(self, work: Callable[[], None]) -> None:
        work()
        self.ended = time.perf_counter()


class Watcher:
    """A watch through one manager: it holds a stream to the leader open."""

    def __init__(self, host: Host) -> None:
        self.seen = threading.Event()
        self._events: list[float] = []
        self._client = host.client(timeout=20.0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def ended_or_moved(self, since: float) -> float:
        """Seconds to its next sign of life: a view, or its end."""
        wait_until(lambda: any(at > since for at in self._events), "the stream ends or moves", 30)
        return next(at for at in self._events if at > since) - since

    def close(self) -> None:
        self._client.__exit__(None, None, None)
        self._thread.join()

    def _run(self) -> None:
        with suppress(WarrenError, ValueError):
            for _ in self._client.__enter__().watch_service("watched", timeout=60.0):
                self._events.append(time.perf_counter())
                self.seen.set()
        self._events.append(time.perf_counter())


def _write(host: Host, name: str, value: str) -> None:
    with host.client(timeout=20.0) as client:
        _apply(client, name, value)


def _apply(client: Client, name: str, value: str) -> None:
    """Repeated until it is accepted."""
    spec = ServiceSpec(name=name, image="example/web:1", replicas=0, labels={"v": value})
    while True:
        with suppress(WarrenError):
            client.apply_service(spec, ["image", "replicas", "labels"])
            return


def _until_refused(host: Host) -> None:
    """A default read. The client would ask again and again, so this asks without it."""
    with grpc.insecure_channel(f"unix:{host.config.socket_path}") as channel:
        stub = warren_pb2_grpc.ControlStub(channel)
        request = warren_pb2.GetServiceRequest(name="watched")
        with suppress(grpc.RpcError):
            while True:
                stub.GetService(request, timeout=10)


def _settled(made: list[Host]) -> Host:
    """The leader, once all managers name it and it reaches all."""

    def found() -> Host | None:
        views = [host.cluster() for host in made]
        if not all(len(members(view)) == 3 for view in views):
            return None
        names = {view.leader for view in views if view is not None}
        return next((h for h in made if {h.name} == names), None)

    return wait_until(found, "everyone is in contact with one leader")


def show(way: str, figures: Figures) -> None:
    """Median and worst."""
    for what, values in figures.items():
        median, worst = statistics.median(values), max(values)
        figure = f"{median:.2f} s, worst {worst:.2f} s"
        print(f"cut off ({way}), {what:16} {figure:>26}  {TARGETS.get(what, '')}", flush=True)


if __name__ == "__main__":
    main()
