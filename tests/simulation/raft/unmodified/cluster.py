"""A cluster of unmodified pysyncobj on virtual time, over the simulation's network and real files.

Defaults are the library's, but for what a schedule says and what a simulation needs: no thread of
its own, and a second attempt to connect within half a second instead of five.
"""

import logging
import pickle
import random
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from warren.testing.raft_simulation_network import Habits, Network
from warren.testing.raft_simulation_time import Timeline
from warren.testing.raft_simulation_world import Killed

from tests.simulation.raft.unmodified.library import (
    Current,
    Peer,
    Transport,
    pysyncobj,
    write_snapshot,
)

TICK = 0.05
POISON = "poison"
"""An operation that raises, wherever it is applied."""
CONNECTION_TIMEOUT = 3.5


class Logged(logging.Handler):
    """Counts what the library has to say."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def emit(self, record: logging.LogRecord) -> None:
        self.counts[record.msg] += 1


class Wire(Transport):  # type: ignore[misc]
    """The library's end of the simulated network."""

    def __init__(self, owner: Any, me: Peer, others: Collection[Peer]) -> None:
        super().__init__(owner, me, others)
        self.cluster: Unmodified = owner.cluster
        self.me = str(me.id)
        self.peers = {str(peer.id): peer for peer in others}
        self.read_at: dict[str, float] = {}

    def send(self, node: Peer, message: Any) -> bool:
        """A connection on which nothing was read for long is closed instead of being used, as
        `TcpConnection` does before it writes."""
        peer, network = str(node.id), self.cluster.network
        if peer not in self.peers or not network.is_connected(self.me, peer):
            return False
        if self.cluster.now - self.read_at.get(peer, self.cluster.now) > CONNECTION_TIMEOUT:
            network.break_pair(self.me, peer)
            return False
        network.send(self.me, peer, message)
        return True

    def addNode(self, node: Peer) -> None:  # noqa: N802
        self.peers[str(node.id)] = node
        if self.cluster.network.is_connected(self.me, str(node.id)):
            self._onNodeConnected(node)

    def dropNode(self, node: Peer) -> None:  # noqa: N802
        self.peers.pop(str(node.id), None)


class Recorder(pysyncobj.SyncObj):  # type: ignore[misc]
    """A state machine that remembers every operation: loss, change and repetition all show."""

    def __init__(self, cluster: "Unmodified", me: str, others: list[str], conf: Any) -> None:
        self.cluster = cluster
        super().__init__(
            Peer(me), [Peer(o) for o in others], conf, nodeClass=Peer, transportClass=Wire
        )
        self.operations: list[str] = []

    @pysyncobj.replicated  # type: ignore[untyped-decorator]
    def put(self, operation: str, padding: str = "") -> int:
        if operation == POISON:
            raise ValueError(operation)
        self.operations.append(operation)
        return int(self.raftLastApplied) + 1


class NewerRecorder(Recorder):
    """The next version of the command set."""

    @pysyncobj.replicated(ver=1)  # type: ignore[untyped-decorator]
    def put_twice(self, operation: str) -> None:
        self.operations += [operation, operation]


class Process:
    """A running member; a `Host` of the network."""

    paused_until = 0.0

    def __init__(self, cluster: "Unmodified", node_id: str, raft: Any) -> None:
        self.cluster, self.node_id, self.raft = cluster, node_id, raft
        self.wire: Wire = raft._SyncObj__transport
        self.turn_at: float | None = None

    @property
    def log(self) -> Any:
        """The library's journal."""
        return self.raft._SyncObj__raftLog

    def hello(self) -> Any:
        return None

    def meet(self, hello: Any) -> Any:
        return None

    def connected(self, peer: str) -> None:
        self.wire.read_at[peer] = self.cluster.now
        if peer in self.wire.peers:
            self.wire._onNodeConnected(self.wire.peers[peer])

    def disconnected(self, peer: str) -> None:
        if peer in self.wire.peers:
            self.wire._onNodeDisconnected(self.wire.peers[peer])

    def heard(self, peer: str, message: Any) -> None:
        self.wire.read_at[peer] = self.cluster.now
        if peer in self.wire.peers:
            node = self.wire.peers[peer]
            self.cluster.attempt(self, lambda: self.wire._onMessageReceived(node, message))
            self.cluster.wake(self)

    def let_go(self) -> None:
        """As the kernel does with a dead process: what it wrote stays."""
        file = self.log._FileJournal__journalFile
        file._ResizableFile__mm.close()
        file._ResizableFile__f.close()


class Unmodified(Timeline):
    """Implements `Cluster` and `Surroundings`."""

    def __init__(
        self,
        directory: Path,
        seed: int = 1,
        *,
        members: int = 3,
        snapshot_entries: int = 10_000,
        snapshot_seconds: tuple[float, float] = (0.001, 0.2),
        newer: Collection[str] = (),
        **conf: Any,
    ) -> None:
        """`newer`: members with the next command set. `conf`: options of the library."""
        super().__init__()
        Current.surroundings = self
        self.directory = directory
        self.ids = [f"n{number}" for number in range(1, members + 1)]
        self.processes: dict[str, Process] = {}
        self.results: dict[str, tuple[Any, Any]] = {}
        """What clients were told: outcome and error."""
        self.errors: Counter[str] = Counter()
        self.on_named: Callable[[str], None] = lambda _node_id: None
        """Told when the snapshot of a member has got its name."""
        self.logged = Logged()
        logging.getLogger("pysyncobj").addHandler(self.logged)
        self._newer = newer
        self._conf = {"logCompactionMinEntries": snapshot_entries, **conf}
        self._snapshot_seconds = snapshot_seconds
        self._faults = random.Random(f"faults {seed}")
        self._raft_chance = random.Random(f"raft {seed}")
        habits = Habits(
            encode=pickle.dumps, decode=pickle.loads, dead_after=CONNECTION_TIMEOUT, retry=0.5
        )
        chance = random.Random(f"network {seed}")
        self.network = Network(chance, lambda: self.now, self.at, habits)
        self.network.start()
        for node_id in self.ids:
            self.start(node_id)
        self._lead("n1")

    @property
    def acknowledged(self) -> Collection[str]:
        success = pysyncobj.FAIL_REASON.SUCCESS
        return {name for name, (_, error) in self.results.items() if error == success}

    # --- what the library's code asks for

    def clock(self) -> float:
        self.now += 1e-5
        return self.now

    def chance(self) -> float:
        return self._raft_chance.random()

    def fork(self, file: Path, snapshot: bytes) -> float:
        done = self.now + self._faults.uniform(*self._snapshot_seconds)

        def end() -> None:
            write_snapshot(file, snapshot)
            self.on_named(file.stem)

        self.at(done, end)
        return done

    # --- processes

    def start(self, node_id: str) -> None:
        if node_id in self.processes:
            return
        base = self.directory / node_id
        conf = pysyncobj.SyncObjConf(
            autoTick=False,
            dynamicMembershipChange=True,
            journalFile=f"{base}.journal",
            fullDumpFile=f"{base}.dump",
            **self._conf,
        )
        kind = NewerRecorder if node_id in self._newer else Recorder
        others = [other for other in self.ids if other != node_id]
        process = Process(self, node_id, kind(self, node_id, others, conf))
        self.processes[node_id] = process
        self.network.hosts[node_id] = process
        self._tick(process)

    def crash(self, node_id: str, *, silently: bool = False) -> None:
        process = self.processes.pop(node_id, None)
        if process is not None:
            self.network.leave(node_id, silently=silently)
            process.let_go()

    def close(self) -> None:
        """End everything."""
        logging.getLogger("pysyncobj").removeHandler(self.logged)
        for node_id in self.ids:
            self.crash(node_id)

    def wipe(self, node_id: str) -> None:
        for file in self.directory.glob(f"{node_id}.*"):
            file.unlink()

    def runs(self, node_id: str) -> bool:
        return node_id in self.processes

    def attempt(self, process: Process, work: Callable[[], object]) -> None:
        """What the library's thread does: an error is logged, and the next turn comes."""
        if self.processes.get(process.node_id) is not process:
            return
        try:
            work()
        except Killed:
            self.crash(process.node_id)
        except Exception as error:  # noqa: BLE001 - as the library does
            self.errors[type(error).__name__] += 1

    def wake(self, process: Process) -> None:
        """Something arrived: its loop takes a turn."""
        if process.turn_at is None:
            process.turn_at = self.now + 0.0001
            self.at(process.turn_at, lambda: self._turn(process))

    def _turn(self, process: Process) -> None:
        process.turn_at = None
        self.attempt(process, lambda: process.raft.doTick(0))

    def _tick(self, process: Process) -> None:
        if self.processes.get(process.node_id) is process:
            self.wake(process)
            period = TICK * self._raft_chance.uniform(0.8, 1.2)
            self.at(self.now + period, lambda: self._tick(process))

    # --- what clients, operators and schedules do

    def write(self, node_id: str, operation: str, *, size: int = 0) -> None:
        process = self.processes.get(node_id)
        if process is None:
            return

        def answered(result: Any, error: Any) -> None:
            self.results[operation] = result, error

        process.raft.put(operation, "." * size, callback=answered)
        self.wake(process)

    def add_member(self, node_id: str) -> None:
        process = self.processes["n1"]
        process.raft.addNodeToCluster(Peer(node_id))
        self.wake(process)

    def member_ids(self) -> frozenset[str]:
        leader = self.leader()
        if leader is None:
            return frozenset()
        others = self.processes[leader].raft.otherNodes
        return frozenset({leader, *(str(other.id) for other in others)})

    def leader(self) -> str | None:
        leaders = [p for p in self.processes.values() if p.raft._isLeader()]
        newest = max(leaders, key=lambda p: int(p.raft.raftCurrentTerm), default=None)
        return None if newest is None else newest.node_id

    def leads(self, node_id: str) -> bool:
        return bool(self.processes[node_id].raft._isLeader())

    def elect(self, node_id: str) -> None:
        for other, process in self.processes.items():
            later = -1.0 if other == node_id else 9.0
            process.raft._SyncObj__raftElectionDeadline = self.now + later
        self.wake(self.processes[node_id])

    def term(self, node_id: str) -> int:
        return int(self.processes[node_id].raft.raftCurrentTerm)

    def bounds(self, node_id: str) -> tuple[int, int]:
        log = self.processes[node_id].log
        return (log[0][1], log[-1][1]) if len(log) else (0, 0)

    def committed(self, node_id: str) -> int:
        return int(self.processes[node_id].raft.raftCommitIndex)

    def applied(self, node_id: str) -> int:
        return int(self.processes[node_id].raft.raftLastApplied)

    def operations(self, node_id: str) -> list[str]:
        operations: list[str] = self.processes[node_id].raft.operations
        return operations

    def receives_snapshot(self, node_id: str) -> bool:
        serializer = self.processes[node_id].raft._SyncObj__serializer
        return serializer._Serializer__incomingTransmissionFile is not None

    def kill_when_snapshot_is_named(self, *node_ids: str) -> set[str]:
        died: set[str] = set()

        def named(node_id: str) -> None:
            if node_id in node_ids and node_id not in died:
                died.add(node_id)
                self.crash(node_id)

        self.on_named = named
        return died

    def kill_while_compacting(self, node_id: str) -> set[str]:
        """After the journal was cleared, and a few of the entries to keep were written again."""
        died: set[str] = set()
        log = self.processes[node_id].log
        add, delete = log.add, log.deleteEntriesTo

        def delete_in_part(position: int) -> None:
            kept = iter(range(3))

            def add_some(*entry: Any) -> None:
                if next(kept, None) is None:
                    died.add(node_id)
                    raise Killed("compaction")
                add(*entry)

            log.add = add_some
            delete(position)

        log.deleteEntriesTo = delete_in_part
        return died

    def _lead(self, node_id: str) -> None:
        for _ in range(20):
            process = self.processes[node_id].raft
            ready = process._SyncObj__noopIDx
            if process._isLeader() and ready is not None and process.raftLastApplied >= ready:
                return
            if not process._isLeader():
                self.elect(node_id)
            self.run(0.3)
        raise AssertionError(f"{node_id} does not come to lead")
