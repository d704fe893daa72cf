#!/usr/bin/env python3
"""Measure the figures of docs/benchmark.md on hosts of its own, and print them with their targets.

    make bench              everything: hosts from the bundle, bootstrap, services, writes, memory
    tools/bench.py --keep      leave the hosts up afterwards, for `tools/bench.py --reuse`
    tools/bench.py --reuse     all but the bootstrap, on hosts that are up

Times of services are taken in the client: from sending Apply until the watch shows them running.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path

from warren.client.client import Client, connect
from warren.client.connection import Wanted, resolve
from warren.client.waits import wait_service_gone
from warren.model.services import Port, ServiceSpec

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
from tests.bench import rollouts as bench_rollouts  # noqa: E402 - the checkout is no package
from tests.bench import secret_tasks  # noqa: E402

FLEET = "bench"
SUBNET = "10.81.0.0/24"
REGISTRY = "10.81.0.1:5000"
HOSTS = ("m1", "m2", "m3")
INVENTORY = ROOT / "inventory" / FLEET
IMAGE = f"{REGISTRY}/hello:1"
REGISTER = "register"
"""A service without tasks, to write to."""
WRITES = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table. Times in seconds, memory in MB."""

    name: str
    values: tuple[float, ...]
    target: float
    unit: str = "s"

    def line(self) -> str:
        middle, worst = statistics.median(self.values), max(self.values)
        verdict = "met" if middle <= self.target else "MISSED"
        shown = f"{middle:9.3f} {worst:9.3f} {self.target:8.2f} {self.unit:<2}"
        return f"{self.name:<52}{shown} {len(self.values):4}  {verdict}"


def main() -> int:
    options = _options()
    os.chdir(ROOT)
    os.environ["ANSIBLE_CONFIG"] = str(ROOT / "ansible.cfg")
    os.environ["WARREN_CONTEXT"] = FLEET
    os.environ["WARREN_CONFIG_DIR"] = str(ROOT / "inventory" / f".{FLEET}")
    figures: list[Figure] = []
    try:
        if not options.reuse:
            figures += bootstrap()
        figures += services(options.rounds)
        figures += secrets(options.rounds)
        figures += rollouts(options.rounds // 4)
        figures += playbooks()
        figures += writes()
        figures += hand_overs(options.kills)
        figures += memory()
    finally:
        if not (options.keep or options.reuse):
            fleet("down")
    print(f"\n{'figure':<52}{'median':>9} {'worst':>9} {'target':>8}    runs")
    for figure in figures:
        print(figure.line())
    return 0


def bootstrap() -> list[Figure]:
    """Three hosts from the bundle, and the run after it that has nothing to do."""
    say("building the bundle")
    playbook("bundle.yml")
    say("booting three hosts")
    fleet("down")
    fleet("up", "--hosts", str(len(HOSTS)), "--release", "trixie", "--subnet", SUBNET)
    fleet("registry", "up")
    write_inventory()
    run("examples/hello/build.sh", REGISTRY, "1")
    say("bootstrapping")
    first = timed(lambda: playbook("site.yml"))
    second = timed(lambda: playbook("site.yml"))
    return [
        Figure(name="bootstrap of three hosts from the bundle", values=(first,), target=120),
        Figure(name="site.yml again, unchanged", values=(second,), target=30),
    ]


def write_inventory() -> None:
    fleet("inventory", "--out", str(INVENTORY))
    registries = [{"host": REGISTRY, "insecure": True}]
    values = {
        "warren_cluster_name": FLEET,
        "warren_bundle": str(ROOT / "bundle"),
        "warren_containerd_registries": registries,
    }
    (INVENTORY / "group_vars").mkdir(parents=True, exist_ok=True)
    (INVENTORY / "group_vars" / "all.yml").write_text(json.dumps(values))


def services(rounds: int) -> list[Figure]:
    """Create to running, with the image present on every host."""
    say("services")
    with connect() as client, service(client, replicas=len(HOSTS) * 2):
        pass
    one, ten = [], []
    with connect() as client:
        for _ in range(rounds):
            with service(client, replicas=1) as seconds:
                one.append(seconds)
        for _ in range(max(3, rounds // 4)):
            with service(client, replicas=10) as seconds:
                ten.append(seconds)
    return [
        Figure(name="one replica, create to running", values=tuple(one), target=0.25),
        Figure(name="ten replicas, create to running", values=tuple(ten), target=1.0),
    ]


@contextmanager
def service(client: Client, *, replicas: int) -> Iterator[float]:
    """A service for the duration of the block; yields the seconds from Apply to running."""
    spec = ServiceSpec(name="bench", image=IMAGE, replicas=replicas)
    begin = time.monotonic()
    client.apply_service(spec, ("name", "image", "replicas"))
    for view in client.watch_service("bench", timeout=60):
        if view.status.running >= replicas:
            break
    seconds = time.monotonic() - begin
    try:
        yield seconds
    finally:
        client.delete_service("bench")
        wait_service_gone(client, "bench", timeout=timedelta(minutes=1))


def secrets(rounds: int) -> list[Figure]:
    """A secret that is new, in a task that is new."""
    say("secrets")
    with connect() as client:
        values = secret_tasks.to_new_tasks(client, IMAGE, rounds)
    return [Figure(name="secret created, to readable in a new task", values=values, target=0.5)]


def rollouts(rounds: int) -> list[Figure]:
    """A new revision comes into use, with the image present on every host."""
    say("rollouts")
    with connect() as client:
        rolling = bench_rollouts.rolling(client, IMAGE, rounds)
        last, spread = bench_rollouts.switches(client, IMAGE, FLEET, rounds * 2)
    return [
        Figure(name="rolling update of ten replicas, two at a time", values=rolling, target=2.0),
        Figure(name="blue/green, promote to the last node", values=last, target=200, unit="ms"),
        Figure(name="blue/green, first node to the last", values=spread, target=100, unit="ms"),
    ]


def playbooks() -> list[Figure]:
    """A deployment that finds nothing to do."""
    say("an unchanged deployment")
    deploy = (
        "deploy-service.yml",
        "-e",
        "@examples/hello/service.yml",
        "-e",
        f"registry={REGISTRY}",
    )
    playbook(*deploy)
    values = tuple(timed(lambda: playbook(*deploy)) for _ in range(3))
    return [Figure(name="deploy-service.yml, unchanged", values=values, target=3)]


def writes() -> list[Figure]:
    """Durable writes through the API: one after another, and 64 at a time."""
    say("writes through the API")
    with connect() as client:
        one = tuple(timed(partial(write, client, number)) for number in range(WRITES))
    per_second = in_flight(64, WRITES // 4)
    with connect() as client:
        client.delete_service(REGISTER)
        wait_service_gone(client, REGISTER, timeout=timedelta(minutes=1))
    p99 = statistics.quantiles(one, n=100)[98] * 1000
    return [
        Figure(
            name="one write through the API, p50",
            values=(statistics.median(one) * 1000,),
            target=2.5,
            unit="ms",
        ),
        Figure(name="one write through the API, p99", values=(p99,), target=6.0, unit="ms"),
        Figure(
            name="64 writes in flight through the API, seconds for 1,500",
            values=(1500 / per_second,),
            target=1.0,
        ),
    ]


def write(client: Client, number: int, name: str = REGISTER) -> None:
    """A change of a service that has no tasks."""
    spec = ServiceSpec(name=name, image=IMAGE, replicas=0, labels={"n": str(number)})
    client.apply_service(spec, ("image", "replicas", "labels"))


def in_flight(clients: int, each: int) -> float:
    """Writes per second of so many processes' worth of threads, each on a service of its own."""
    names = [f"{REGISTER}-{number}" for number in range(clients)]

    def work(name: str) -> None:
        with connect(timeout=60.0) as client:
            for number in range(each):
                write(client, number, name)

    begin = time.monotonic()
    with ThreadPoolExecutor(max_workers=clients) as pool:
        list(pool.map(work, names))
    seconds = time.monotonic() - begin
    with connect(timeout=60.0) as client:
        for name in names:
            client.delete_service(name)
    return clients * each / seconds


def hand_overs(kills: int) -> list[Figure]:
    """The leader killed, and asked to restart: until the next write is acknowledged."""
    say("failover")
    killed = tuple(lost_leader("systemctl kill -s KILL warren-manager") for _ in range(kills))
    planned = tuple(lost_leader("systemctl restart --no-block warren-manager") for _ in range(5))
    with connect() as client:
        client.delete_service(REGISTER)
    return [
        Figure(name="leader killed, to the next write", values=killed, target=0.6),
        Figure(name="leader restarted, to the next write", values=planned, target=0.1),
    ]


def lost_leader(script: str) -> float:
    """Seconds for which no write was acknowledged, through a manager that stays."""
    with connect() as client:
        view = client.get_cluster()
        while not all(manager.reachable for manager in view.managers):
            time.sleep(0.1)
            view = client.get_cluster()
        client.apply_service(
            ServiceSpec(name=REGISTER, image=IMAGE, replicas=0), ("image", "replicas")
        )
    others = [m for m in view.managers if m.node.spec.name != view.leader]
    connection = resolve(Wanted())
    stays = f"{others[0].node.description.address}:{view.spec.api_port}"
    with Client(replace(connection, endpoints=(stays,))) as client:
        write(client, 0)
        killer = threading.Thread(target=fleet, args=("ssh", view.leader, script))
        killer.start()
        times, number = [time.monotonic()], 0
        while killer.is_alive() or times[-1] - times[0] < 2.0:
            number += 1
            write(client, number)
            times.append(time.monotonic())
        killer.join()
    time.sleep(2.0)
    return max(after - before for before, after in itertools.pairwise(times))


def memory() -> list[Figure]:
    """Resident memory of the daemons with ten tasks on three hosts, after they settled."""
    say("memory with ten tasks")
    spec = ServiceSpec(name="bench", image=IMAGE, replicas=10, ports=(Port(target=8080),))
    with connect() as client:
        client.apply_service(spec, ("name", "image", "replicas", "ports"))
        for view in client.watch_service("bench", timeout=60):
            if view.status.converged:
                break
        managers = tuple(resident(host, "warren-manager") for host in HOSTS)
        workers = tuple(resident(host, "warren-worker") for host in HOSTS)
        client.delete_service("bench")
        wait_service_gone(client, "bench", timeout=timedelta(minutes=1))
    return [
        Figure(name="manager, resident", values=managers, target=100, unit="MB"),
        Figure(name="worker, resident", values=workers, target=64, unit="MB"),
    ]


def resident(host: str, unit: str) -> float:
    """MB (10^6 bytes) of the unit's main process."""
    command = f"cat /proc/$(systemctl show -p MainPID --value {unit})/status"
    output = fleet("ssh", host, command)
    line = next(line for line in output.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024 / 1e6


def timed(act: Callable[[], object]) -> float:
    begin = time.monotonic()
    act()
    return time.monotonic() - begin


def playbook(*arguments: str) -> str:
    inventory = ("-i", str(INVENTORY)) if INVENTORY.exists() else ()
    return run("ansible-playbook", *inventory, *arguments)


def fleet(verb: str, *arguments: str) -> str:
    name = ("--name", FLEET)
    command = ("python3", "-m", "tests.fleet", verb)
    if verb == "ssh":
        return run(*command, *name, *arguments)
    return run(*command, *arguments, *name)


def run(*command: str) -> str:
    """What the command printed; the script ends with its output when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        print(done.stdout[-4000:], done.stderr[-4000:], sep="\n", file=sys.stderr)
        sys.exit(f"bench: {' '.join(command)} failed with exit code {done.returncode}")
    return done.stdout


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--keep", action="store_true", help="leave the hosts up")
    parser.add_argument("--reuse", action="store_true", help="use the hosts that --keep left")
    parser.add_argument("--rounds", type=int, default=20, help="services of one replica to create")
    parser.add_argument("--kills", type=int, default=20, help="leaders to kill")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
