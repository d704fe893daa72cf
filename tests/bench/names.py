"""How fast names are: questions a second on one core of unbound, and how soon a change is answered.

`python -m tests.bench.names [--services 10000] [--core 0]` as root, with dnsperf, in a network
namespace of its own. unbound runs as the worker sets it up, pinned to one core; who asks runs on
the others. Prints one line of JSON per figure. Other load on the machine shows in every figure.
"""

import argparse
import asyncio
import os
import random
import re
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from warren.core.dns import Names
from warren.drivers.ports import ResolverConfig
from warren.drivers.unbound import Unbound
from warren.model.assignments import ServiceTraffic
from warren.state import maps

from tests.bench.balancer import many, percentiles, tell
from tests.contract import namespaces
from tests.contract.namespaces import run
from tests.contract.questions import Asker

ADDRESS = "10.88.1.1"
UNIT = Path(__file__).parents[2] / "roles/dns/templates/warren-dns.service.j2"
CONFIG = ResolverConfig(domain="warren.internal", listen=(ADDRESS,), allow=("10.88.0.0/14",))
QUESTIONS = 20_000
CHANGES = 50
SECONDS = 10
ROUNDS = 3
PATIENCE = 5.0


class Running:
    """An unbound of our own on one core, which the driver starts."""

    def __init__(self, directory: Path, core: int) -> None:
        self._command = ("unbound", "-d", "-c", str(directory / "unbound.conf"))
        self._core = core
        self.process: asyncio.subprocess.Process | None = None

    async def restart(self) -> None:
        await self.end()
        self.process = await asyncio.create_subprocess_exec(
            *("taskset", "-c", str(self._core), *self._command),
            stderr=subprocess.DEVNULL,
            env=os.environ | environment(),
        )

    async def end(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGTERM)
            await self.process.wait()

    def processor_seconds(self) -> float:
        assert self.process is not None
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def environment() -> dict[str, str]:
    """As the unit sets it."""
    return dict(re.findall(r"^Environment=(\w+)=(.*)$", UNIT.read_text(), re.MULTILINE))


async def measure_changes(unbound: Unbound, services: Mapping[str, ServiceTraffic]) -> None:
    """From the worker's knowing of a change until its name server answers with it."""
    names, times = Names(), []
    await unbound.apply(CONFIG, names.of(CONFIG.domain, services))
    for number in range(CHANGES):
        name = f"service-{number * 7 % len(services)}"
        endpoints = services[name].endpoints[1:]
        services = maps.put(services, name, replace(services[name], endpoints=endpoints))
        asked = f"tasks.{name}.{CONFIG.domain}"
        began = time.perf_counter()
        await unbound.apply(CONFIG, names.of(CONFIG.domain, services))
        with Asker(ADDRESS) as asker:
            while asker.ask(asked).count != len(endpoints):
                assert time.perf_counter() - began < PATIENCE, f"{asked} is answered as before"
        times.append((time.perf_counter() - began) * 1000)
    tell("an endpoint changed, until it is answered", services=len(services), **percentiles(times))


def measure_rate(running: Running, questions: Path, others: str) -> None:
    """As many questions as one core answers."""
    rates, costs = [], []
    for _ in range(ROUNDS):
        used = running.processor_seconds()
        printed = run(
            f"taskset -c {others} dnsperf -s {ADDRESS} -d {questions} -l {SECONDS} -c 20 -q 1000"
        )
        costs.append((running.processor_seconds() - used) / SECONDS)
        rates.append(float(_figure(r"Queries per second:\s+([\d.]+)", printed)))
        assert _figure(r"Queries lost:\s+(\d+)", printed) == "0", printed
        assert "NXDOMAIN" not in printed, printed
    tell(
        "questions a second on one core",
        median=statistics.median(rates),
        worst=min(rates),
        share_of_the_core=statistics.median(costs),
    )


def _figure(pattern: str, printed: str) -> str:
    found = re.search(pattern, printed)
    assert found is not None, printed
    return found[1].strip()


def write_questions(path: Path, services: Mapping[str, ServiceTraffic]) -> None:
    """For services, and now and then for their tasks."""
    names = list(services)
    chance = random.Random(1)
    with path.open("w") as file:
        for number in range(QUESTIONS):
            prefix = "" if number % 10 else "tasks."
            file.write(f"{prefix}{chance.choice(names)}.{CONFIG.domain} A\n")


async def main() -> None:
    """All figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--services", type=int, default=10_000)
    parser.add_argument("--core", type=int, default=0)
    options = parser.parse_args()
    namespaces.require("unbound", "dnsperf", "taskset")
    others = ",".join(str(core) for core in sorted(os.sched_getaffinity(0) - {options.core}))
    services = maps.large(many(options.services))
    with tempfile.TemporaryDirectory() as name, namespaces.own_network():
        directory = Path(name)
        run(f"chmod 0755 {name}")
        run(f"ip address add {ADDRESS}/32 dev lo")
        running = Running(directory, options.core)
        unbound = Unbound(directory, restart=running.restart, resolv_conf=directory / "resolv.conf")
        try:
            for some in (100, options.services):
                await measure_changes(unbound, maps.large(many(some)))
            write_questions(directory / "questions", services)
            measure_rate(running, directory / "questions", others)
        finally:
            await running.end()


if __name__ == "__main__":
    asyncio.run(main())
