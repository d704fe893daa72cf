#!/usr/bin/env python3
"""Hurt the managers of a real cluster while clients write and read, and check every answer.

    make chaos MINUTES=5            on a fleet of its own, made first and removed at the end
    tools/chaos.py --reuse NAME     on a fleet with a cluster that is there already, and stays

Registers are labels of services without tasks. Clients write and read them through all managers,
and repeat what nobody answered. Faults come one at a time and are undone: the leader killed, all
managers killed, the leader cut off (both directions, or one), stopped for longer than a lead lasts,
its disk filled, its journal left with a torn tail. Then: each register's history is linearizable
(so no acknowledged write is lost and no read was stale), and all managers hold the same state.
"""

import argparse
import itertools
import json
import os
import random
import shlex
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from warren.client.client import Client, connect
from warren.client.connection import Connection, Wanted, resolve
from warren.model.errors import (
    Conflict,
    DeadlineExceeded,
    NotFound,
    OutcomeUnknown,
    Unavailable,
    WarrenError,
)
from warren.model.services import ServiceSpec
from warren.testing.linearizability import Kind, Operation, unexplained

ROOT = Path(__file__).resolve().parent.parent
FLEET = "chaos"
SUBNET = "10.83.0.0/24"
HOSTS = ("m1", "m2", "m3")
INVENTORY = ROOT / "inventory" / FLEET
FLEETS = Path("/var/lib/warren-fleet")

KEYS = 3
CLIENTS_PER_KEY = 3
"""Few, so that the search for an order ends."""
PAUSE_MAX = 0.05
RAFT = "/var/lib/warren/raft"
DISK_MB = 48
"""Of the file system of m3's log, so that it can be filled without harm to others."""
AFTERMATH = 2.0
"""Seconds after a fault was undone that still count as its time."""
SETTLED = 20.0
"""Seconds within which the cluster must serve again after a fault, and be equal at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What was done, when, and when it was undone."""

    name: str
    begin: float
    end: float


class Hosts:
    """The fleet's managers, by ssh."""

    def __init__(self, fleet: str) -> None:
        self.config = FLEETS / fleet / "ssh_config"
        known = json.loads((FLEETS / fleet / "hosts.json").read_text())["hosts"]
        self.addresses = {h["name"]: h["address"] for h in known if h["name"] in HOSTS}

    def run(self, host: str, script: str, *, check: bool = True) -> str:
        """What a shell script prints there."""
        command = ["ssh", "-F", str(self.config), "-o", "ControlMaster=auto", "-o"]
        command += ["ControlPersist=60s", host, script]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90)
        if check and done.returncode:
            raise RuntimeError(f"{host}: {script!r} failed: {done.stderr.strip()}")
        return done.stdout

    def run_all(self, script: str, *, check: bool = True) -> None:
        """At once on all."""
        threads = [
            threading.Thread(target=self.run, args=(host, script), kwargs={"check": check})
            for host in self.addresses
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def pull_up(self) -> None:
        """Undo whatever is left of any fault."""
        self.run_all(
            "nft delete table inet chaos 2>/dev/null; rm -f " + RAFT + "/filler; "
            "systemctl kill -s CONT warren-manager; systemctl start warren-manager || true",
            check=False,
        )


class Clients:
    """Threads that write and read registers, and note what they were told."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._operations: list[Operation] = []
        self.errors: Counter[str] = Counter()
        self._run = f"{time.time():.0f}"
        """Registers of an earlier run may still be there."""
        self._epoch = 0
        """Each fault has registers of its own: histories stay short, and quick to check."""
        self._threads = [
            threading.Thread(target=self._work, args=(number,), daemon=True)
            for number in range(KEYS * CLIENTS_PER_KEY)
        ]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def next_epoch(self) -> None:
        """From now on, use new registers."""
        self._epoch += 1

    def stop(self) -> None:
        """End, when the calls under way have ended."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def history(self) -> tuple[Operation, ...]:
        with self._lock:
            return tuple(self._operations)

    def note(self, operation: Operation) -> None:
        """Keep what a client was told."""
        with self._lock:
            self._operations.append(operation)

    def _work(self, number: int) -> None:
        chance, count = random.Random(number), 0
        endpoints = self._connection.endpoints
        turn = number % len(endpoints)
        rotated = replace(self._connection, endpoints=endpoints[turn:] + endpoints[:turn])
        with Client(rotated, timeout=8.0) as client:
            while not self._stop.is_set():
                key = f"reg-{self._run}-{self._epoch}-{number % KEYS}"
                count += 1
                if chance.random() < 0.5:
                    self._write(client, key, f"{number}-{count}")
                else:
                    self._read(client, key)
                self._stop.wait(chance.uniform(0.0, PAUSE_MAX))

    def _write(self, client: Client, key: str, value: str) -> None:
        spec = ServiceSpec(
            name=key, image="registry.invalid/none:1", replicas=0, labels={"v": value}
        )
        begin = time.monotonic()
        end: float | None = None
        try:
            client.apply_service(spec, ("image", "replicas", "labels"))
            end = time.monotonic()
        except WarrenError as error:
            self._count(error)
            if not isinstance(error, OutcomeUnknown):
                return  # it was refused, and never will be made
        self.note(
            Operation(key=key, kind=Kind.WRITE, called_at=begin, returned_at=end, value=value)
        )

    def _count(self, error: WarrenError) -> None:
        self._stop.wait(0.2)  # they shall not be what keeps managers from starting
        expected = isinstance(error, Unavailable | DeadlineExceeded | Conflict)
        self.errors[type(error).__name__ if expected else f"{type(error).__name__}: {error}"] += 1

    def _read(self, client: Client, key: str) -> None:
        begin = time.monotonic()
        try:
            value = read(client, key)
        except WarrenError as error:
            self._count(error)
            return
        end = time.monotonic()
        self.note(Operation(key=key, kind=Kind.READ, called_at=begin, returned_at=end, value=value))


class Chaos:
    """Faults, one at a time."""

    def __init__(self, hosts: Hosts, connection: Connection, chance: random.Random) -> None:
        self._hosts = hosts
        self._connection = connection
        self._chance = chance
        self.kinds: Sequence[Callable[[str], str]] = (
            self.kill_leader,
            self.kill_leader,
            self.kill_all,
            self.cut_off,
            self.cut_off_one_way,
            self.stop_leader,
            self.fill_disk,
            self.tear_journal,
        )

    def kill_leader(self, leader: str) -> str:
        self._hosts.run(leader, "systemctl kill -s KILL warren-manager")
        self._sleep(1.5, 2.5)  # systemd starts it again after a second
        return "leader killed"

    def kill_all(self, _leader: str) -> str:
        self._hosts.run_all("systemctl kill -s KILL warren-manager", check=False)
        self._sleep(2.5, 3.5)
        return "all managers killed"

    def cut_off(self, leader: str) -> str:
        self._cut(leader, ("input", "output"))
        return "leader cut off"

    def cut_off_one_way(self, leader: str) -> str:
        way = self._chance.choice(("input", "output"))
        self._cut(leader, (way,))
        return f"leader cut off one way ({way})"

    def stop_leader(self, leader: str) -> str:
        self._hosts.run(leader, "systemctl kill -s STOP warren-manager")
        self._sleep(1.0, 2.5)
        self._hosts.run(leader, "systemctl kill -s CONT warren-manager")
        return "leader stopped (SIGSTOP)"

    def fill_disk(self, leader: str) -> str:
        """Only m3 has a disk that may be filled: it is made to lead first, if it can be."""
        self._hosts.run("m3", f"dd if=/dev/zero of={RAFT}/filler bs=64k status=none", check=False)
        self._sleep(2.0, 4.0)
        self._hosts.run("m3", f"rm -f {RAFT}/filler")
        return f"disk full ({'leader' if leader == 'm3' else 'follower'})"

    def tear_journal(self, leader: str) -> str:
        """What a power cut in the middle of an append leaves: a part of a record, never synced."""
        length = self._chance.randint(1, 60)
        self._hosts.run(
            leader,
            "systemctl stop --no-block warren-manager; systemctl kill -s KILL warren-manager; "
            "until systemctl show -p MainPID --value warren-manager | grep -qx 0; "
            "do sleep 0.02; done; "
            f"last=$(ls {RAFT}/journal-* | sort -V | tail -n 1); "
            f"head -c {length} /dev/urandom >> $last; systemctl start warren-manager",
        )
        return "journal torn"

    def leader(self) -> str:
        """The manager that leads; waits for one."""
        end = time.monotonic() + SETTLED
        while time.monotonic() < end:
            try:
                with Client(self._connection, timeout=5.0) as client:
                    if name := client.get_cluster().leader:
                        return name
            except WarrenError:
                pass
            time.sleep(0.05)
        raise RuntimeError(f"no leader for {SETTLED:g} s")

    def _cut(self, leader: str, ways: Sequence[str]) -> None:
        others = ", ".join(a for host, a in self._hosts.addresses.items() if host != leader)
        rules = "table inet chaos {\n"
        for way in ways:
            side = "saddr" if way == "input" else "daddr"
            rules += f"chain {way} {{ type filter hook {way} priority -300; "
            rules += f"ip {side} {{ {others} }} drop; }}\n"
        self._hosts.run(leader, f"echo {shlex.quote(rules + '}')} | nft -f -")
        self._sleep(1.5, 3.0)
        self._hosts.run(leader, "nft delete table inet chaos")

    def _sleep(self, least: float, most: float) -> None:
        time.sleep(self._chance.uniform(least, most))


def read(client: Client, key: str, *, stale: bool = False) -> str | None:
    """The register; None before its first write."""
    try:
        return client.get_service(key, stale=stale).service.spec.labels["v"]
    except NotFound:
        return None


def run(fleet: str, minutes: float, seed: int) -> int:
    """The exit code."""
    hosts, connection = Hosts(fleet), resolve(Wanted(context=FLEET))
    chance = random.Random(seed)
    chaos, clients = Chaos(hosts, connection, chance), Clients(connection)
    clients.start()
    faults: list[Fault] = []
    bag: list[Callable[[str], str]] = []
    end = time.monotonic() + minutes * 60
    try:
        while time.monotonic() < end:
            if not bag:
                bag = list(chaos.kinds)
                chance.shuffle(bag)
            leader = chaos.leader()
            clients.next_epoch()
            time.sleep(0.3)
            begin = time.monotonic()
            name = bag.pop()(leader)
            faults.append(Fault(name=name, begin=begin, end=time.monotonic()))
            chaos.leader()
            time.sleep(chance.uniform(0.5, 1.0))
    finally:
        hosts.pull_up()
        clients.stop()
    failures = check(clients, connection)
    report(clients, faults, failures, seed)
    return 1 if failures else 0


def check(clients: Clients, connection: Connection) -> list[str]:
    """What is wrong with the answers and with the managers; nothing, if all is well."""
    failures = []
    last_reads(clients, connection)
    for key, explained in unexplained(clients.history).items():
        count = sum(operation.key == key for operation in clients.history)
        failures.append(f"{key}: no order explains its {count} operations (at most {explained})")
    if difference := unequal(connection):
        failures.append(difference)
    return failures


def last_reads(clients: Clients, connection: Connection) -> None:
    """One more read of every register: what was acknowledged must be there."""
    with Client(connection, timeout=SETTLED) as client:
        for key in sorted({operation.key for operation in clients.history}):
            begin = time.monotonic()
            value = read(client, key)
            clients.note(
                Operation(
                    key=key,
                    kind=Kind.READ,
                    called_at=begin,
                    returned_at=time.monotonic(),
                    value=value,
                )
            )


def unequal(connection: Connection) -> str:
    """Why the managers' own states are not one; empty when they become so in time."""
    end = time.monotonic() + SETTLED
    difference = ""
    while time.monotonic() < end:
        states = []
        for endpoint in connection.endpoints:
            try:
                with Client(replace(connection, endpoints=(endpoint,)), timeout=5.0) as client:
                    index = client.get_cluster(stale=True).index
                    states.append((index, client.list_services(stale=True)))
                    if client.get_cluster(stale=True).index != index:
                        states.pop()
            except Unavailable as error:
                difference = str(error)
        same = [state for state in states if state[0] == states[0][0]]
        if len(same) == len(connection.endpoints):
            if all(state == states[0] for state in states):
                return ""
            return f"managers differ at index {states[0][0]}"
        difference = difference or f"managers are at {[index for index, _ in states]}"
        time.sleep(0.1)
    return f"not equal after {SETTLED:g} s: {difference}"


def outages(clients: Clients, faults: Sequence[Fault]) -> dict[str, list[float]]:
    """By kind of fault: the longest time during and after it in which no write was acknowledged."""
    answers = sorted(
        o.returned_at for o in clients.history if o.kind is Kind.WRITE and o.returned_at is not None
    )
    found: dict[str, list[float]] = {}
    for fault in faults:
        times = [at for at in answers if fault.begin <= at <= fault.end + AFTERMATH]
        gaps = [after - before for before, after in itertools.pairwise([fault.begin, *times])]
        found.setdefault(fault.name, []).append(max(gaps, default=AFTERMATH))
    return found


def report(clients: Clients, faults: Sequence[Fault], failures: Sequence[str], seed: int) -> None:
    """Counts, figures, and the verdict."""
    history = clients.history
    writes = [operation for operation in history if operation.kind is Kind.WRITE]
    unknown = sum(operation.returned_at is None for operation in writes)
    print(f"\nseed {seed}: {len(faults)} faults")
    print(f"  {'fault':<34}count   without a write: median, worst")
    for name, times in sorted(outages(clients, faults).items()):
        middle, worst = statistics.median(times), max(times)
        print(f"  {name:<34}{len(times):5} {middle:24.2f} s {worst:5.2f} s")
    print(f"  {len(writes) - unknown} writes acknowledged, {unknown} with unknown outcome")
    print(f"  {len(history) - len(writes)} reads")
    print("  errors told to clients: " + (", ".join(map(_count, clients.errors.items())) or "none"))
    for failure in failures:
        print(f"  FAILED: {failure}")
    if not failures:
        print("  linearizable, nothing lost, managers equal")


def _count(item: tuple[str, int]) -> str:
    return f"{item[1]} {item[0]}"


# ---------------------------------------------------------------- a fleet of its own


def build() -> None:
    """Three managers from the bundle, m3 with a small disk for its log."""
    say("bundle")
    command("ansible-playbook", "bundle.yml")
    say("hosts")
    fleet("down")
    fleet("up", "--hosts", str(len(HOSTS)), "--release", "trixie", "--subnet", SUBNET)
    fleet("inventory", "--out", str(INVENTORY))
    (INVENTORY / "group_vars").mkdir(parents=True, exist_ok=True)
    values = {"warren_cluster_name": FLEET, "warren_bundle": str(ROOT / "bundle")}
    (INVENTORY / "group_vars" / "all.yml").write_text(json.dumps(values))
    say("cluster")
    command("ansible-playbook", "-i", str(INVENTORY), "site.yml")


def prepare(hosts: Hosts) -> None:
    """Give m3's log a small file system, unless it has one."""
    hosts.run(
        "m3",
        f"mountpoint -q {RAFT} || {{ set -e; systemctl stop warren-manager; "
        f"mv {RAFT} {RAFT}.before; mkdir -m 700 {RAFT}; "
        f"mount -t tmpfs -o size={DISK_MB}m,mode=700 tmpfs {RAFT}; "
        f"cp -a {RAFT}.before/. {RAFT}; rm -rf {RAFT}.before; systemctl start warren-manager; }}",
    )


def wait_members(connection: Connection) -> None:
    """Until all managers count."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            with connect(context=FLEET) as client:
                if all(manager.reachable for manager in client.get_cluster().managers):
                    return
        except WarrenError:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"not all managers of {connection.source} are reachable")


def fleet(verb: str, *arguments: str) -> str:
    return command("python3", "-m", "tests.fleet", verb, *arguments, "--name", FLEET)


def command(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        print(done.stdout[-3000:], done.stderr[-3000:], sep="\n", file=sys.stderr)
        sys.exit(f"chaos: {' '.join(words)} failed with exit code {done.returncode}")
    return done.stdout


def say(text: str) -> None:
    print(f"chaos: {text}", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--reuse", metavar="FLEET", help="a fleet with a cluster, which stays")
    options = parser.parse_args()
    os.environ["ANSIBLE_CONFIG"] = str(ROOT / "ansible.cfg")
    os.environ.setdefault("WARREN_CONFIG_DIR", str(ROOT / "inventory" / f".{FLEET}"))
    name = options.reuse or FLEET
    try:
        if not options.reuse:
            build()
        hosts = Hosts(name)
        prepare(hosts)
        wait_members(resolve(Wanted(context=FLEET)))
        say(f"{options.minutes:g} minutes of faults, seed {options.seed}")
        return run(name, options.minutes, options.seed)
    finally:
        if not options.reuse:
            fleet("down")


if __name__ == "__main__":
    sys.exit(main())
