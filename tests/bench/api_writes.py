"""Prints how fast managers take durable writes through the API: `python -m tests.bench.api_writes`.

Managers are real processes on loopback addresses with real disks; this process is the client, with
an operator's certificate over mTLS. Every write is an Apply of a service without tasks, so that it
is stored on a majority's disks and wakes the leader's loops, and nothing else follows from it.
"""

import argparse
import os
import statistics
import tempfile
import threading
import time
from pathlib import Path

from warren.bootstrap import certificates
from warren.client import Client
from warren.client.connection import Connection, Credentials
from warren.model.services import ServiceSpec

from tests.bench.manager_latency import API_PORT, grow
from tests.contract.manager_processes import Host, hosts

IMAGE = "registry.example/web:1"
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--managers", type=int, default=3)
    parser.add_argument("--writes", type=int, default=1000, help="one after another")
    parser.add_argument("--clients", type=int, default=64, help="at once")
    parser.add_argument("--each", type=int, default=50, help="writes of each of them")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory, hosts(Path(directory), options.managers) as h:
        leader = grow(h)
        others = [host for host in h if host is not leader]
        for name, first in (("leader", leader), ("follower", others[0] if others else None)):
            if first is None:
                continue
            connection = _connection(leader, [first, *(x for x in h if x is not first)])
            before = _cpu(h)
            _one_after_another(connection, name, options.writes)
            _print_cpu(h, before, options.writes)
            before = _cpu(h)
            _at_once(connection, name, options.clients, options.each)
            _print_cpu(h, before, options.clients * options.each)


def _connection(leader: Host, order: list[Host]) -> Connection:
    """An operator's, asking the managers in that order."""
    key = certificates.new_key()
    with leader.client() as client:
        issued = client.issue_operator_certificate(certificates.signing_request(key, "op"), "op")
    credentials = Credentials(
        ca_cert=issued.ca_certificate, client_cert=issued.certificate, client_key=key
    )
    endpoints = tuple(f"{host.address}:{API_PORT}" for host in order)
    return Connection(endpoints=endpoints, credentials=credentials, source="bench")


def _one_after_another(connection: Connection, name: str, count: int) -> None:
    with Client(connection) as client:
        for number in range(20):
            _write(client, "register", -number - 1)
        times = []
        for number in range(count):
            begin = time.perf_counter()
            _write(client, "register", number)
            times.append((time.perf_counter() - begin) * 1000)
    p50, p99 = statistics.median(times), statistics.quantiles(times, n=100)[98]
    print(f"one write, {name} asked first: p50 {p50:.2f} ms, p99 {p99:.2f} ms")


def _at_once(connection: Connection, name: str, clients: int, each: int) -> None:
    begin: list[float] = []
    barrier = threading.Barrier(clients, action=lambda: begin.append(time.perf_counter()))

    def work(number: int) -> None:
        with Client(connection, timeout=60.0) as client:
            _write(client, f"register-{number}", -1)
            barrier.wait()
            for count in range(each):
                _write(client, f"register-{number}", count)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rate = clients * each / (time.perf_counter() - begin[0])
    print(f"{clients} in flight, {name} asked first: {rate:.0f} writes/s")


def _write(client: Client, name: str, number: int) -> None:
    spec = ServiceSpec(name=name, image=IMAGE, replicas=0, labels={"n": str(number)})
    client.apply_service(spec, ("image", "replicas", "labels"))


def _cpu(made: list[Host]) -> dict[str, float]:
    """Seconds of processor time used so far, by process."""
    own = os.times()
    used = {"client": own.user + own.system}
    for host in made:
        assert host.process is not None
        fields = Path(f"/proc/{host.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        used[host.name] = (int(fields[11]) + int(fields[12])) / TICKS
    return used


def _print_cpu(made: list[Host], before: dict[str, float], writes: int) -> None:
    after = _cpu(made)
    spent = ((name, (after[name] - before[name]) / writes * 1e6) for name in after)
    print("  processor time per write: " + ", ".join(f"{n} {us:.0f} us" for n, us in spent))


if __name__ == "__main__":
    main()
