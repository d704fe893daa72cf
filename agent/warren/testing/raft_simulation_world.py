"""A whole cluster in one thread: the real engine, with clock, network and disk replaced.

Each member is the real pysyncobj shell around the real `Node` and journal; messages cross the
network in their wire form. Everything that is left to chance comes from one seed, so the same seed
does the same again. `World` has the levers (crash, lose power, pause, block, fill a disk);
`raft_simulation_faults.py` pulls them at random, and directed scenarios on purpose.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from warren.store.idempotency import Remembering, TooNew, proposal
from warren.store.raft import members
from warren.store.raft.compaction import Limits
from warren.store.raft.disks import DiskUnwritable
from warren.store.raft.entries import Entry, Kind
from warren.store.raft.journal import Identity, open_journal
from warren.store.raft.members import Change, Configuration, Member
from warren.store.raft.messages import Hello, Message, Refused
from warren.store.raft.node import Node, Setup
from warren.store.raft.pending import Answer, Done, NotDone, Reply
from warren.store.raft.raft_state import Broken, Leader, Send
from warren.store.raft.shell import Shell
from warren.store.raft.snapshot_files import Meta
from warren.testing.raft_simulation_checks import Checks, Seen, Violation
from warren.testing.raft_simulation_disk import SimulatedDisk
from warren.testing.raft_simulation_network import Network
from warren.testing.raft_simulation_time import Timeline

TICK = 0.05
CLUSTER = "simulated"


class Killed(Exception):
    """A failpoint ended the process that ran into it."""


class History:
    """A state machine that remembers every operation: loss, change and repetition all show."""

    def __init__(self, on_apply: Callable[[int, str], None]) -> None:
        self.operations: list[str] = []
        self._digest = hashlib.sha256()
        self._on_apply = on_apply

    def apply(self, command: bytes) -> bytes:
        self.operations.append(command.decode().rstrip("."))
        self._digest.update(self.operations[-1].encode())
        self._on_apply(len(self.operations), self._digest.hexdigest())
        return str(len(self.operations)).encode()

    def snapshot(self) -> Iterator[bytes]:
        return iter([",".join(self.operations).encode()])

    def restore(self, snapshot: bytes) -> None:
        self.operations = snapshot.decode().split(",") if snapshot else []
        self._digest = hashlib.sha256()
        for operation in self.operations:
            self._digest.update(operation.encode())


class Job:
    """A snapshot that takes virtual time to write."""

    def __init__(self) -> None:
        self.done = False
        self.made: Meta | None = None

    def is_done(self) -> bool:
        return self.done

    def result(self) -> Meta:
        assert self.made is not None
        return self.made


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What kind of cluster a simulation is of."""

    seed: int
    members: int = 3
    limits: Limits = Limits(snapshot_entries=40, tail_entries=10)
    snapshot_seconds: tuple[float, float] = (0.001, 0.2)
    sync_seconds: tuple[float, float] = (0.0001, 0.0003)


class Process:
    """A running member."""

    def __init__(self, world: "World", node_id: str, *, bootstrap: bool) -> None:
        self.node_id = node_id
        self.world = world
        self.paused_until = 0.0
        self.turn_at: float | None = None
        self.seen = Seen()
        self.history = History(lambda n, d: world.checks.applied(node_id, n, d))
        version = world.versions.get(node_id, 1)
        setup = Setup(
            identity=Identity(cluster_id=CLUSTER, node_id=node_id),
            address=f"{node_id}:1",
            disk=world.disk(node_id),
            machine=Remembering(self.history, version),
            background=self._background,
            chance=world.chance_raft.random,
            new_disk_id=f"disk-{node_id}-{world.counts['starts']}",
            bootstrap=bootstrap,
            limits=world.plan.limits,
            commands_version=version,
        )
        self.node = Node(setup, world.now)
        self.shell = Shell(self.node, lambda: world.now)
        self.shell.wire.wires = self

    def hello(self) -> Hello:
        return self.node.hello()

    def meet(self, hello: Hello) -> Refused | None:
        return self.node.meet(hello)

    def connected(self, peer: str) -> None:
        self.shell.wire.connected(peer)

    def disconnected(self, peer: str) -> None:
        self.shell.wire.disconnected(peer)

    def heard(self, peer: str, message: Message) -> None:
        self.world.run_process(self, lambda: self.shell.wire.heard(peer, message))
        self.world.wake(self)

    def send(self, to: str, message: Message) -> None:
        """`Wires.send`: after a slow sync, messages leave when it is over."""
        self.world.fail_at("send")
        ready = max(self.world.now, self.paused_until)
        if ready > self.world.now:
            self.world.at(ready, lambda: self._send_late(to, message))
        else:
            self.world.network.send(self.node_id, to, message)
        self.world.fail_at("sent")

    def tick(self, now: float) -> None:
        pass

    def close(self) -> None:
        pass

    def _send_late(self, to: str, message: Message) -> None:
        if self.world.processes.get(self.node_id) is self:
            self.world.network.send(self.node_id, to, message)

    def _background(self, work: Callable[[], Meta]) -> Job:
        job = Job()
        delay = self.world.chance.uniform(*self.world.plan.snapshot_seconds)
        self.world.at(self.world.now + delay, lambda: self._finish(job, work))
        return job

    def _finish(self, job: Job, work: Callable[[], Meta]) -> None:
        """A thread ends with its process, and its disk steps may be the end of it."""
        if self.world.processes.get(self.node_id) is not self:
            return

        def write() -> None:
            job.made = work()
            job.done = True

        self.world.run_process(self, write)


class World(Timeline):
    """Members, network, clock."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        self.chance = random.Random(f"faults {plan.seed}")
        self.chance_raft = random.Random(f"raft {plan.seed}")
        self.checks = Checks()
        self.counts: Counter[str] = Counter()
        self.failpoints: Counter[str] = Counter()
        self.failpoint_rate = 0.0
        self.power_share = 0.5
        """How often a failpoint takes the power, not only the process."""
        self.retries = True
        """Clients repeat, with the same key, what they do not know the end of."""
        self.disks: dict[str, SimulatedDisk] = {}
        self.processes: dict[str, Process] = {}
        self.versions: dict[str, int] = {}
        """The command sets that members know, from their next start on; 1 if not named."""
        self.stopped: dict[str, str] = {}
        """Members that refuse to run, and why."""
        self.trace = hashlib.sha256()
        """Of every message that arrived, when `traced`: two runs of a seed must agree."""
        self.traced = False
        self.network = Network(random.Random(f"network {plan.seed}"), lambda: self.now, self.at)
        self.network.on_message = self._note_message
        self.ids = [f"n{number}" for number in range(1, plan.members + 1)]
        self._next_id = plan.members + 1
        self._form()

    def _form(self) -> None:
        """All members begin with the same first entry, as after joins long ago."""
        self.network.start()
        everyone = tuple(Member(node_id=n, address=f"{n}:1", voter=True) for n in self.ids)
        data = members.to_bytes(Configuration(members=everyone))
        for node_id in self.ids:
            identity = Identity(cluster_id=CLUSTER, node_id=node_id)
            journal, _ = open_journal(self.disk(node_id), identity, f"disk-{node_id}")
            journal.save_state(1, None)
            journal.append((Entry(1, 1, Kind.MEMBERS, data),))
            journal.sync()
            journal.close()
        for node_id in self.ids:
            self.start(node_id)

    # --- processes

    def disk(self, node_id: str) -> SimulatedDisk:
        """The disk of a member, whether it runs or not."""
        disk = self.disks.get(node_id)
        if disk is None:
            disk = self.disks[node_id] = SimulatedDisk()
        return disk

    def start(self, node_id: str, *, bootstrap: bool = False) -> None:
        """Start a member from what its disk holds."""
        if node_id in self.processes or node_id in self.stopped:
            return
        self.counts["starts"] += 1
        disk = self.disk(node_id)
        disk.failpoint = lambda _where: None
        try:
            process = Process(self, node_id, bootstrap=bootstrap)
        except DiskUnwritable:
            self.at(self.now + 1.0, lambda: self.start(node_id))
            return
        except TooNew as error:
            self.stopped[node_id] = str(error)
            return
        disk.failpoint = lambda where: self.fail_at(where)
        self.processes[node_id] = process
        self.network.hosts[node_id] = process
        self._tick(process)

    def crash(self, node_id: str, *, power: bool = False, silently: bool = False) -> None:
        """End a process; `power`: and forget what its disk did not sync."""
        process = self.processes.pop(node_id, None)
        if process is None:
            return
        self.counts["crashes"] += 1
        self.network.leave(node_id, silently=silently)
        if power:
            self.counts["power losses"] += 1
            self.disk(node_id).lose_power(self.chance)

    def pause(self, node_id: str, seconds: float) -> None:
        """Stop a process for a while."""
        if node_id in self.processes:
            self.processes[node_id].paused_until = self.now + seconds

    def run_process(self, process: Process, work: Callable[[], None]) -> None:
        """Let a process do something that may be its end."""
        if self.processes.get(process.node_id) is not process:
            return
        try:
            work()
        except Killed:
            power = self.chance.random() < self.power_share
            self.crash(process.node_id, power=power, silently=power)
        except DiskUnwritable:
            self.counts["disk full"] += 1
            process.node.close()
            self.crash(process.node_id)
            self.at(self.now + 1.0, lambda: self.start(process.node_id))
        except (Broken, TooNew) as error:
            self.stopped[process.node_id] = str(error)
            self.crash(process.node_id)

    def fail_at(self, where: str) -> None:
        """A failpoint."""
        self.failpoints[where] += 1
        # Names and snapshots change seldom: they get a larger share, or nothing would be found.
        rate = self.failpoint_rate * (30 if not where.endswith(("journal", "send", "sent")) else 1)
        if self.failpoint_rate and self.chance.random() < rate:
            self.counts[f"died at {where}"] += 1
            raise Killed(where)

    def wake(self, process: Process) -> None:
        """Something happened to it: its loop takes a turn."""
        if process.turn_at is None:
            process.turn_at = max(self.now + 0.0001, process.paused_until)
            self.at(process.turn_at, lambda: self._turn(process))

    def _tick(self, process: Process) -> None:
        if self.processes.get(process.node_id) is not process:
            return
        self.wake(process)
        self.at(self.now + TICK * self.chance_raft.uniform(0.8, 1.2), lambda: self._tick(process))

    def _turn(self, process: Process) -> None:
        process.turn_at = None
        if self.processes.get(process.node_id) is not process:
            return
        if process.paused_until > self.now:
            self.wake(process)
            return
        syncs = self.disk(process.node_id).syncs
        self.run_process(process, lambda: self._take_turn(process, syncs))

    def _take_turn(self, process: Process, syncs: int) -> None:
        more = self._shell_turn(process, syncs)
        self.checks.turn(process.node_id, process.node, process.seen)
        if more:
            self.wake(process)

    def _shell_turn(self, process: Process, syncs: int) -> bool:
        shell = process.shell
        say = shell.say

        def slowly(sends: tuple[Send, ...]) -> None:
            spent = self.disk(process.node_id).syncs - syncs
            if spent:
                delay = spent * self.chance_raft.uniform(*self.plan.sync_seconds)
                process.paused_until = max(process.paused_until, self.now + delay)
            say(sends)

        shell.say = slowly  # type: ignore[method-assign]
        try:
            more: bool = shell.turn(0.0)
        finally:
            del shell.say
        return more

    def _note_message(self, a: str, b: str, message: Message) -> None:
        if self.traced:
            self.trace.update(f"{self.now:.6f} {a} {b} {message!r}".encode())

    # --- what clients and operators do

    def leader(self) -> str | None:
        """Who leads the newest term."""
        leaders = [p for p in self.processes.values() if isinstance(p.node.raft.role, Leader)]
        newest = max(leaders, key=lambda p: p.node.raft.term, default=None)
        return None if newest is None else newest.node_id

    def write(self, node_id: str, operation: str, *, size: int = 0, version: int = 1) -> None:
        """A client writes through a member, and again through others while the end is unknown.

        `version`: of the command set that has this command; refused, as engines do, while a member
        is not known to know it.
        """
        process = self.processes.get(node_id)
        if process is None:
            return
        if version > 1 and version > process.node.known_version():
            self.counts["too new"] += 1
            return
        self.counts["writes"] += 1
        command = proposal(operation.ljust(size, ".").encode(), operation, version)
        until = self.now + 3.0

        def answered(answer: Answer) -> None:
            self._written(process, operation, size, answer)

        self._submit(process, lambda _now: process.node.propose(command, until, answered), answered)

    def read(self, node_id: str) -> None:
        """A client reads through a member."""
        process = self.processes.get(node_id)
        if process is None:
            return
        needed, until = self.checks.acknowledged_last, self.now + 2.0

        def answered(answer: Answer) -> None:
            if isinstance(answer, Done):
                self.checks.read(node_id, needed, len(process.history.operations))

        self._submit(process, lambda _now: process.node.read(until, answered), answered)

    def change(self, wish: Change, reply: Reply) -> None:
        """An operator asks the leader for a change of members."""
        leader = self.leader()
        if leader is None:
            reply(NotDone(reason="nobody leads"))
            return
        process, until = self.processes[leader], self.now + 2.0
        self._submit(process, lambda now: process.node.change(wish, now, until, reply), reply)

    def add_host(self) -> str:
        """A new host, running and member of nothing."""
        node_id = f"n{self._next_id}"
        self._next_id += 1
        self.ids.append(node_id)
        self.start(node_id)
        return node_id

    def retire(self, node_id: str) -> None:
        """Take a host that was removed away for good."""
        self.crash(node_id)
        self.ids.remove(node_id)

    def member_ids(self) -> frozenset[str]:
        """As the leader has it, committed or not."""
        leader = self.leader()
        if leader is None:
            return frozenset()
        return self.processes[leader].node.log.configuration.ids

    def _submit(self, process: Process, request: Callable[[float], None], reply: Reply) -> None:
        process.shell.submit(request, reply)
        self.wake(process)

    def _written(self, process: Process, operation: str, size: int, answer: Answer) -> None:
        if isinstance(answer, Done):
            self.counts["acknowledged"] += 1
            history = process.history.operations
            self.checks.acknowledge(operation, len(history), operation in history[-2000:])
        elif not isinstance(answer, NotDone):
            self.counts["unknown"] += 1
            others = sorted(self.processes)
            if self.retries and others and self.chance.random() < 0.5:
                again = self.leader() or self.chance.choice(others)
                self.at(self.now + 0.05, lambda: self.write(again, operation, size=size))

    # --- the end

    def settle(self, seconds: float = 20.0) -> None:
        """Heal everything, then demand progress and convergence."""
        self.failpoint_rate = 0.0
        self.network.heal()
        for disk in self.disks.values():
            disk.is_full = False
        for node_id in self.ids:
            self.start(node_id)
        if self.stopped:
            raise Violation(f"members stopped: {self.stopped}")
        healed = self.now
        before = self.counts["acknowledged"]
        attempts = 0
        while self.counts["acknowledged"] == before:
            if self.now - healed > 10.0:
                raise Violation("no write succeeded within 10 s after everything healed")
            self.write(self.leader() or self.ids[0], f"final-{attempts}")
            attempts += 1
            self.run(0.25)
        self.counts["recovered in ms"] = max(
            self.counts["recovered in ms"], int(1000 * (self.now - healed))
        )
        if not self.run(seconds, self._has_converged):
            raise Violation(f"no convergence within {seconds} s after everything healed")
        ids = self.member_ids()
        self.checks.final(
            {n: tuple(p.history.operations) for n, p in self.processes.items() if n in ids}
        )

    def _has_converged(self) -> bool:
        leader = self.leader()
        if leader is None:
            return False
        lead = self.processes[leader].node
        places = {
            (p.node.applied, p.node.log.last_index, p.node.log.last_term)
            for n, p in self.processes.items()
            if n in lead.log.configuration.ids
        }
        everyone = lead.log.configuration.ids <= self.processes.keys()
        return everyone and places == {(lead.applied, lead.log.last_index, lead.log.last_term)}
