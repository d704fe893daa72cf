"""`RaftLog`: the hardened engine behind `store/log.py`.

One thread runs the member: it waits in pysyncobj's poller, takes what arrived and what was asked
for, and ends each turn with one sync before anything leaves. This module starts that thread,
carries requests in and answers out, once per turn however many they are, and decides what a failure
means: a disk that cannot be written suspends the member, which tries again every second; anything
that may not be gone on from ends the daemon through `on_failure`, with one line.
"""

import asyncio
import logging
import random
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from warren.model.errors import DeadlineExceeded, FailedPrecondition, Unavailable, WarrenError
from warren.store.idempotency import Remembering, TooNew, proposal
from warren.store.log import LogMember, LogMetrics, LogStatus, MemberMetrics, StateMachine
from warren.store.raft import collector
from warren.store.raft.background import ThreadJob, gently
from warren.store.raft.compaction import Limits
from warren.store.raft.disks import DiskUnwritable, RealDisk
from warren.store.raft.journal import Identity
from warren.store.raft.members import Change, Step
from warren.store.raft.node import Node, Setup
from warren.store.raft.pending import Answer, Done, NotDone, Reply, Unknown
from warren.store.raft.raft_state import Broken, Leader, RefusedByPeers, Timing
from warren.store.raft.shell import Shell
from warren.store.raft.tls import TlsFiles
from warren.store.raft.transport import Contact, Transport

logger = logging.getLogger(__name__)

COMMAND_BYTES_MAX = 4 << 20
_POLL = 0.02
_RETRY_DISK = 1.0
_RETRY_PROMOTION = 0.05
_HAND_OVER = timedelta(seconds=0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class RaftConfig:
    """Where a member keeps its log, who it is, and whom it may call at first."""

    directory: Path
    cluster_id: str
    node_id: str
    address: str
    """Own mesh `address:port`: listened on, and told to the others."""
    tls: TlsFiles
    contacts: tuple[Contact, ...] = ()
    """Managers known before the log is: a new member calls them until it has a configuration."""
    bootstrap: bool = False
    """Found a cluster of one if the directory is empty. Only where a cluster is being created."""
    commands_version: int = 1
    timing: Timing = field(default_factory=Timing)
    limits: Limits = field(default_factory=Limits)


class RaftLog:
    """The engine. Methods are called from the event loop."""

    def __init__(self, config: RaftConfig, *, on_failure: Callable[[str], None]) -> None:
        """`on_failure` is called from the engine's thread when it must not go on."""
        self._config = config
        self._on_failure = on_failure
        self._status = LogStatus(members=(config.address,))
        self._callbacks: list[Callable[[], None]] = []
        self._disk: RealDisk | None = None
        self._shell: Shell | None = None
        self._lock = threading.Lock()
        """Held while the shell is replaced, so that no request goes to one that is gone."""
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._answers: deque[tuple[asyncio.Future[Answer], Answer]] = deque()
        self._known: tuple[object, ...] = ()
        self.needs_a_person = False
        """Why this engine ended: nothing that a restart could change."""

    async def start(self, machine: StateMachine) -> None:
        self._loop = asyncio.get_running_loop()
        collector.keep_short()
        self._machine = Remembering(machine, self._config.commands_version)
        self._disk = await asyncio.to_thread(RealDisk, self._config.directory)
        try:
            self._shell = await asyncio.to_thread(self._open)
        except BaseException as error:
            self._disk.close()
            if isinstance(error, DiskUnwritable | TooNew | Broken):
                raise FailedPrecondition(str(error)) from error
            raise
        self._thread = threading.Thread(target=self._run, name="raft", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Hand the lead over first, so that writes go on elsewhere at once."""
        if self._status.is_leader and len(self._status.members) > 1:
            with suppress(WarrenError):
                await self.transfer_leadership(_HAND_OVER)
        self._stopping.set()
        with self._lock:
            if self._shell is not None:
                self._shell.submit(lambda _now: None, lambda _answer: None)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
        self._thread = None
        collector.work_as_usual()

    async def propose(
        self, command: bytes, timeout: timedelta, *, key: str = "", version: int = 1
    ) -> bytes:
        if len(command) > COMMAND_BYTES_MAX:
            raise FailedPrecondition(f"the change is larger than {COMMAND_BYTES_MAX >> 20} MiB")
        shell = self._shell
        if version > 1 and shell is not None and version > shell.node.known_version():
            raise FailedPrecondition("not all managers are upgraded yet")
        data = proposal(command, key, version)
        until = time.monotonic() + timeout.total_seconds()
        return await self._ask(lambda node, _now, reply: node.propose(data, until, reply))

    async def read_barrier(self, timeout: timedelta) -> None:
        until = time.monotonic() + timeout.total_seconds()
        await self._ask(lambda node, _now, reply: node.read(until, reply))

    def status(self) -> LogStatus:
        return self._status

    def on_change(self, callback: Callable[[], None]) -> None:
        self._callbacks.append(callback)

    async def metrics(self) -> LogMetrics:
        found: list[LogMetrics] = []

        def measure(node: Node, now: float, reply: Reply) -> None:
            found.append(self._measured(node, now))
            reply(Done())

        await self._ask(measure)
        return found[0]

    async def snapshot(self, timeout: timedelta) -> bytes:
        await self.read_barrier(timeout)
        found: list[Iterator[bytes]] = []

        def capture(_node: Node, _now: float, reply: Reply) -> None:
            found.append(self._machine.snapshot())
            reply(Done())

        await self._ask(capture)
        return await asyncio.to_thread(b"".join, gently(found[0]))

    async def transfer_leadership(self, timeout: timedelta, to: str = "") -> None:
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                await self._ask(lambda node, now, reply: node.transfer(to or None, now, reply))
        except TimeoutError as error:
            raise DeadlineExceeded("the lead was not handed over in time") from error

    async def add_member(self, member: LogMember, timeout: timedelta) -> None:
        until = time.monotonic() + timeout.total_seconds()
        add = Change(step=Step.ADD, node_id=member.node_id, address=member.address)
        await self._change(add, until)
        if not member.voter:
            return
        promote = Change(step=Step.PROMOTE, node_id=member.node_id)
        while True:
            try:
                await self._change(promote, until)
                return
            except FailedPrecondition as refused:
                if time.monotonic() + _RETRY_PROMOTION > until:
                    raise DeadlineExceeded(refused.message) from refused
            await asyncio.sleep(_RETRY_PROMOTION)

    async def demote_member(self, node_id: str, timeout: timedelta) -> None:
        until = time.monotonic() + timeout.total_seconds()
        await self._change(Change(step=Step.DEMOTE, node_id=node_id), until)

    async def remove_member(self, node_id: str, timeout: timedelta) -> None:
        until = time.monotonic() + timeout.total_seconds()
        await self._change(Change(step=Step.REMOVE, node_id=node_id), until)

    async def _change(self, wish: Change, until: float) -> None:
        if not self._status.is_leader:
            raise Unavailable(self._who_leads())
        await self._ask(
            lambda node, now, reply: node.change(wish, now, until, reply), FailedPrecondition
        )

    async def _ask(
        self,
        request: Callable[[Node, float, Reply], None],
        refusal: type[WarrenError] = Unavailable,
    ) -> bytes:
        """Hand a request to the thread, and wait for the one answer that it gives."""
        future: asyncio.Future[Answer] = self._loop.create_future()

        def reply(answer: Answer) -> None:
            self._answers.append((future, answer))

        def refuse(answer: Answer) -> None:
            reply(answer)
            self._loop.call_soon(self._settle)

        with self._lock:
            shell = self._shell
            if shell is None or self._thread is None:
                raise Unavailable(self._status.trouble or "the replicated log is stopped")
            shell.submit(lambda now: request(shell.node, now, reply), refuse)
        match await future:
            case Done(outcome=outcome):
                return outcome
            case NotDone(reason=reason):
                raise refusal(reason)
            case Unknown(reason=reason):
                raise DeadlineExceeded(reason)

    def _settle(self) -> None:
        """In the event loop: give out the answers of a turn."""
        while self._answers:
            future, answer = self._answers.popleft()
            if not future.done():
                future.set_result(answer)

    def _open(self) -> Shell:
        """Recover the member from its disk and join the network."""
        assert self._disk is not None
        config, chance = self._config, random.SystemRandom()
        setup = Setup(
            identity=Identity(cluster_id=config.cluster_id, node_id=config.node_id),
            address=config.address,
            disk=self._disk,
            machine=self._machine,
            background=ThreadJob,
            pace=gently,
            chance=random.Random(chance.getrandbits(64)).random,
            new_disk_id=uuid.uuid4().hex,
            bootstrap=config.bootstrap,
            timing=config.timing,
            limits=config.limits,
            commands_version=config.commands_version,
        )
        with collector.set_aside():
            node = Node(setup, time.monotonic())
        shell = Shell(node, time.monotonic)
        shell.listen_for_requests()
        try:
            Transport(node, shell, config.tls, config.contacts, config.address)
        except OSError as error:
            node.close()
            shell.destroy()
            message = f"cannot listen on {config.address} for Raft: {error.strerror}"
            raise Unavailable(message) from error
        return shell

    def _run(self) -> None:
        """The engine's thread."""
        assert self._disk is not None
        try:
            while not self._stopping.is_set():
                self._live()
        except (WarrenError, Broken, TooNew) as error:
            self.needs_a_person = isinstance(error, RefusedByPeers | TooNew)
            self._on_failure(str(error))
        except Exception as error:
            # An assertion above all: going on could destroy data, and nothing was sent since.
            logger.exception("the replicated log ends itself")
            self._on_failure(f"a defect, {type(error).__name__}: {error}")
        finally:
            self._leave("")
            self._disk.close()

    def _live(self) -> None:
        """Turns, until this engine is stopped or its disk cannot be written."""
        shell = self._shell
        assert shell is not None
        more = False
        try:
            while not self._stopping.is_set():
                more = shell.turn(0.0 if more else _POLL)
                self._tell(shell.node)
        except DiskUnwritable as error:
            logger.error("this manager takes no part in the log until it can write: %s", error)
            self._leave(str(error))
            self._reopen()

    def _reopen(self) -> None:
        while not self._stopping.wait(_RETRY_DISK):
            try:
                shell = self._open()
            except DiskUnwritable:
                continue
            with self._lock:
                self._shell = shell
            logger.info("this manager takes part in the log again")
            return

    def _leave(self, trouble: str) -> None:
        """Be gone for the others, and answer whoever waits here."""
        with self._lock:
            shell, self._shell = self._shell, None
        if shell is not None:
            shell.refuse_all(trouble or "this manager stops")
            shell.node.close()
            shell.leave()
        if trouble or self._status.is_leader:
            self._publish(LogStatus(members=self._status.members, trouble=trouble))
        self._call_soon(self._settle)

    def _tell(self, node: Node) -> None:
        """Carry what a turn changed into the event loop: answers, and the status if it is new."""
        if self._answers:
            self._call_soon(self._settle)
        raft, log = node.raft, node.log
        known = (
            raft.leader,
            node.leads,
            raft.term,
            log.configuration,
            raft.connected,
            node.silent,
            node.refused,
        )
        if known != self._known:
            self._known = known
            self._publish(_status(node))

    def _publish(self, status: LogStatus) -> None:
        if status != self._status:
            self._status = status
            self._call_soon(self._tell_change)

    def _tell_change(self) -> None:
        for callback in self._callbacks:
            callback()

    def _call_soon(self, callback: Callable[[], object]) -> None:
        with suppress(RuntimeError):  # the loop has ended: nobody waits any more
            self._loop.call_soon_threadsafe(callback)

    def _who_leads(self) -> str:
        leader = self._status.leader
        return f"the leader is {leader}" if leader else "no leader is known"

    def _measured(self, node: Node, now: float) -> LogMetrics:
        assert self._disk is not None
        p50, p99 = self._disk.sync_times()
        return LogMetrics(
            node_id=node.raft.me,
            term=node.raft.term,
            last_index=node.log.last_index,
            commit_index=node.raft.commit,
            applied_index=node.applied,
            snapshot_index=node.newest_snapshot.index,
            snapshot_bytes=node.newest_snapshot.size_bytes,
            journal_bytes=node.journal_bytes,
            sync_p50=p50,
            sync_p99=p99,
            elections_won=node.elections_won,
            snapshots_written=node.snapshots_written,
            members=_member_metrics(node, now),
        )


def _status(node: Node) -> LogStatus:
    raft = node.raft
    roster = tuple(
        LogMember(node_id=m.node_id, address=m.address, voter=m.voter)
        for m in node.log.configuration.members
    )
    addresses = {member.node_id: member.address for member in roster}
    here = (raft.connected - node.silent | {raft.me}) & node.log.configuration.voters
    return LogStatus(
        leader=addresses.get(raft.leader) if raft.leader else None,
        is_leader=node.leads,
        term=raft.term,
        members=tuple(sorted(addresses.values())),
        reachable=frozenset(a for node_id, a in addresses.items() if node_id in here),
        roster=roster,
        trouble=node.refused,
    )


def _member_metrics(node: Node, now: float) -> tuple[MemberMetrics, ...]:
    role, last = node.raft.role, node.log.last_index
    found = []
    for member in node.log.configuration.members:
        if member.node_id == node.raft.me:
            match, silent = node.durable, 0.0
        elif isinstance(role, Leader) and member.node_id in role.progress:
            progress = role.progress[member.node_id]
            match, silent = progress.match, now - progress.answered_at
        else:
            continue
        found.append(
            MemberMetrics(
                node_id=member.node_id,
                address=member.address,
                voter=member.voter,
                match_index=match,
                lag_entries=last - match,
                silent_for=timedelta(seconds=silent),
            )
        )
    return tuple(found)
