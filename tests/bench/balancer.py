"""How fast the balancer is: the load of many services, a change of one, and the way through it.

`python -m tests.bench.balancer [--services 10000] [--layout ranges]` as root, in network namespaces
of its own: nothing that it does is seen outside. Prints one line of JSON per figure. Other load on
the machine shows in every figure; the way through a virtual address is compared with the direct way
in turns, so that it meets both alike.
"""

import argparse
import asyncio
import json
import resource
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from warren.drivers.nftables import Nftables
from warren.drivers.ports import BalancerConfig
from warren.model.assignments import Endpoint, ServiceTraffic
from warren.model.services import Port
from warren.state import maps

from tests.contract import namespaces
from tests.contract.balanced_network import (
    CONFIG,
    FIRST,
    SECOND,
    TALK,
    VIP,
    Network,
    a_service,
    end,
    line,
)
from tests.contract.namespaces import run

WAYS = {"direct": SECOND, "virtual": VIP}
CHANGES = 100
ROUNDS = 10
SECONDS = 2


def many(count: int, endpoints: int = 3) -> dict[str, ServiceTraffic]:
    """Services with a virtual address and endpoints each; every hundredth publishes a port."""
    return {
        f"service-{number}": ServiceTraffic(
            name=f"service-{number}",
            vip=f"10.92.{1 + number // 250}.{1 + number % 250}",
            ports=(Port(target=8080, published=0 if number % 100 else 10000 + number // 100),),
            endpoints=tuple(
                Endpoint(
                    address=f"10.{88 + slot}.{number // 250}.{1 + number % 250}",
                    task_id=f"service-{number}-{slot}",
                    node_id=f"node-{slot}",
                    slot=slot,
                )
                for slot in range(endpoints)
            ),
        )
        for number in range(count)
    }


async def measure_changes(balancer: Nftables, config: BalancerConfig, count: int) -> None:
    """The full load, one change at a time, and what it costs the process in memory."""
    services = maps.large(many(count))
    before = memory_kb()
    began, cpu = time.perf_counter(), processor_seconds()
    await balancer.apply(config, services)
    tell(
        "full load",
        services=count,
        endpoints=3 * count,
        seconds=time.perf_counter() - began,
        processor_seconds=processor_seconds() - cpu,
    )
    tell("memory of the process", before_mb=before / 1024, after_mb=memory_kb() / 1024)
    times = []
    cpu = processor_seconds()
    for number in range(CHANGES):
        name = f"service-{number * 7 % count}"
        changed = replace(services[name], endpoints=services[name].endpoints[1:])
        services = maps.put(services, name, changed)
        began = time.perf_counter()
        await balancer.apply(config, services)
        times.append((time.perf_counter() - began) * 1000)
    each = (processor_seconds() - cpu) * 1000 / CHANGES
    tell("one endpoint changed", **percentiles(times), processor_ms=each)
    began = time.perf_counter()
    await balancer.apply(config, services)
    tell("looked after", ms=(time.perf_counter() - began) * 1000)
    began = time.perf_counter()
    await Nftables(layout=balancer.layout).apply(config, services)
    tell("found right by a new process", ms=(time.perf_counter() - began) * 1000)


async def measure_way(balancer: Nftables, network: Network) -> None:
    """From one task to another of the same host: directly and through a virtual address."""
    await balancer.apply(CONFIG, {"web": a_service(SECOND, target=5201)})
    server = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs
        ["ip", "netns", "exec", network.second, "iperf3", "-s", "--forceflush"],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    while "listening" not in server.stdout.readline():
        pass
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way, address in WAYS.items():
            printed = run(f"iperf3 -J -t {SECONDS} -c {address}", netns=network.first)
            rates[way].append(json.loads(printed)["end"]["sum_received"]["bits_per_second"] / 1e9)
    end(server)
    compare("throughput, Gbit/s", rates)
    await balancer.apply(CONFIG, {"web": a_service(SECOND, target=9090)})
    server = network.start("-m", "tests.bench.round_trips", "serve", netns=network.second)
    assert line(server) == "listening"
    trips: dict[str, list[float]] = {way: [] for way in WAYS}
    connections: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(2 * ROUNDS):
        for way, address in WAYS.items():
            command = f"{sys.executable} -m tests.bench.round_trips {address}"
            trip, connection = map(float, run(command, netns=network.first).split())
            trips[way].append(trip)
            connections[way].append(connection)
    end(server)
    compare("there and back in a connection, us", trips)
    compare("a new connection with its answer, us", connections)


async def measure_shares(balancer: Nftables, network: Network) -> None:
    """How far 20,000 connections are from the weights."""
    weights = (70, 30)
    await balancer.apply(CONFIG, {"web": a_service(FIRST, SECOND, weights=weights)})
    command = [sys.executable, TALK, "count", VIP, "8080", "20000"]
    began = time.perf_counter()
    done = subprocess.run(  # noqa: ASYNC221 - nothing else runs
        command, input="", capture_output=True, text=True, check=True
    )
    seconds = time.perf_counter() - began
    counts = dict(line.split() for line in done.stdout.splitlines())
    total = sum(map(int, counts.values()))
    error = max(
        abs(100 * int(counts[address]) / total - weight)
        for address, weight in zip((FIRST, SECOND), weights, strict=True)
    )
    tell("distribution", connections=total, error_percent=error, per_second=total / seconds)


def compare(what: str, results: dict[str, list[float]]) -> None:
    direct, virtual = (statistics.median(results[way]) for way in ("direct", "virtual"))
    tell(what, direct=direct, virtual=virtual, difference_percent=100 * (virtual / direct - 1))


def percentiles(times: list[float]) -> dict[str, float]:
    times = sorted(times)
    return {
        "count": len(times),
        "p50_ms": statistics.median(times),
        "p99_ms": times[int(len(times) * 0.99) - 1],
        "max_ms": times[-1],
    }


def processor_seconds() -> float:
    """Of this process and of the programs that it ran."""
    used = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def memory_kb() -> int:
    """Of this process, now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024


def tell(what: str, **figures: float) -> None:
    rounded = {name: round(value, 3) for name, value in figures.items()}
    load = float(Path("/proc/loadavg").read_text().split()[0])
    print(json.dumps({"figure": what, **rounded, "load": load}), flush=True)


async def main() -> None:
    """All figures of one layout."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", type=int, default=10_000)
    parser.add_argument("--layout", choices=["ranges", "chains"], default="ranges")
    options = parser.parse_args()
    namespaces.require("nft", "ip", "iperf3")
    with namespaces.own_network(), ExitStack() as stack:
        await measure_changes(Nftables(layout=options.layout), CONFIG, options.services)
        run("nft flush ruleset")
        network = Network(stack)
        network.build()
        balancer = Nftables(layout=options.layout)
        await measure_way(balancer, network)
        await measure_shares(balancer, network)


if __name__ == "__main__":
    asyncio.run(main())
