"""What the store relies on in a `ReplicatedLog`: the same tests for the engine and for the fake.

Then what only a real engine can show: members that stop, start again and agree. Engines here run in
one process, over loopback addresses; nothing waits by the clock but with a deadline.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from warren.model.errors import DeadlineExceeded, FailedPrecondition, Unavailable
from warren.store.log import ReplicatedLog
from warren.store.raft.pysyncobj_log import EngineConfig, PySyncObjLog
from warren.testing.fake_log import FakeLog

PORT = 21545
TIMEOUT = timedelta(seconds=5)
ELECTION = timedelta(milliseconds=300)


pytestmark = pytest.mark.filterwarnings(
    # pysyncobj leaves some of its files to the garbage collector.
    "ignore:.*(journal.meta|snapshot).:pytest.PytestUnraisableExceptionWarning"
)


class Journal:
    """A state machine that keeps what it is given. Made in the event loop, for which it waits."""

    def __init__(self) -> None:
        self.commands: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()

    async def wait(self, commands: list[bytes]) -> None:
        async with asyncio.timeout(20):
            while self.commands != commands:
                self._changed.clear()
                await self._changed.wait()

    def apply(self, command: bytes) -> bytes:
        self.commands.append(command)
        self._loop.call_soon_threadsafe(self._changed.set)
        return b"%d:%s" % (len(self.commands), command)

    def snapshot(self) -> bytes:
        return b"\n".join(self.commands)

    def restore(self, snapshot: bytes) -> None:
        self.commands = snapshot.split(b"\n") if snapshot else []
        self._loop.call_soon_threadsafe(self._changed.set)


def address(number: int) -> str:
    return f"127.0.0.{number}:{PORT}"


def engine(
    directory: Path, number: int = 1, members: tuple[int, ...] = (1,), snapshot_entries: int = 5000
) -> PySyncObjLog:
    config = EngineConfig(
        directory=directory / str(number),
        address=address(number),
        members=tuple(address(member) for member in members),
        secret="secret",
        election_timeout=ELECTION,
        snapshot_entries=snapshot_entries,
    )
    return PySyncObjLog(config, on_failure=pytest.fail)


async def wait_status(condition: Callable[[], bool], *logs: ReplicatedLog) -> None:
    """Until the status of `logs`, which tell of each change, makes `condition` true."""
    changed = asyncio.Event()
    for log in logs:
        log.on_change(changed.set)
    async with asyncio.timeout(20):
        while not condition():
            changed.clear()
            await changed.wait()


async def wait_lead(log: ReplicatedLog) -> None:
    await wait_status(lambda: log.status().is_leader, log)


async def wait_leader(log: ReplicatedLog, leader: str) -> None:
    await wait_status(lambda: log.status().leader == leader, log)


@pytest.fixture(params=["fake", "pysyncobj"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], ReplicatedLog]:
    """A new single-member log of either kind; made again, it has what the last one had."""
    kept: list[FakeLog] = []

    def fake() -> FakeLog:
        kept.append(FakeLog(address(1), tuple(kept[-1].entries) if kept else ()))
        return kept[-1]

    return fake if request.param == "fake" else lambda: engine(tmp_path)


@pytest.fixture
async def log(make: Callable[[], ReplicatedLog]) -> AsyncIterator[tuple[ReplicatedLog, Journal]]:
    """A single-member log that leads."""
    made, journal = make(), Journal()
    await made.start(journal)
    await wait_lead(made)
    yield made, journal
    await made.stop()


async def test_answers_a_proposal_with_its_outcome(log: tuple[ReplicatedLog, Journal]) -> None:
    outcome = await log[0].propose(b"one", TIMEOUT)

    assert outcome == b"1:one"


async def test_applies_in_the_order_of_proposals(log: tuple[ReplicatedLog, Journal]) -> None:
    commands = [b"%d" % number for number in range(100)]

    await asyncio.gather(*(log[0].propose(command, TIMEOUT) for command in commands))

    assert log[1].commands == commands


async def test_a_barrier_changes_nothing(log: tuple[ReplicatedLog, Journal]) -> None:
    await log[0].propose(b"one", TIMEOUT)

    await asyncio.gather(*(log[0].read_barrier(TIMEOUT) for _ in range(20)))

    assert log[1].commands == [b"one"]


async def test_the_only_member_leads_and_says_so(log: tuple[ReplicatedLog, Journal]) -> None:
    status = log[0].status()

    assert (status.leader, status.members) == (address(1), (address(1),))
    assert status.is_leader
    assert status.reachable == {address(1)}
    assert status.term > 0


async def test_a_change_of_status_is_told(make: Callable[[], ReplicatedLog]) -> None:
    made = make()
    told: list[bool] = []
    made.on_change(lambda: told.append(made.status().is_leader))

    await made.start(Journal())
    await wait_lead(made)
    await made.stop()

    assert told[-1]


async def test_adding_a_member_that_is_one_does_nothing(
    log: tuple[ReplicatedLog, Journal],
) -> None:
    await log[0].add_member(address(1), TIMEOUT)
    await log[0].remove_member(address(9), TIMEOUT)

    assert log[0].status().members == (address(1),)


async def test_started_again_it_has_what_was_committed(
    make: Callable[[], ReplicatedLog],
) -> None:
    first = make()
    await first.start(Journal())
    await wait_lead(first)
    await first.propose(b"one", TIMEOUT)
    await first.propose(b"two", TIMEOUT)
    await first.stop()
    second, journal = make(), Journal()

    await second.start(journal)
    await wait_lead(second)
    await second.stop()

    assert journal.commands == [b"one", b"two"]


async def test_without_the_lead_a_proposal_is_refused(make: Callable[[], ReplicatedLog]) -> None:
    made = make()
    await made.start(Journal())
    await wait_lead(made)
    await made.stop()

    with pytest.raises(Unavailable):
        await made.propose(b"one", TIMEOUT)
    with pytest.raises(Unavailable):
        await made.read_barrier(TIMEOUT)


class Trio:
    """Three engines, grown from one; any may be stopped and started again."""

    def __init__(self, directory: Path, snapshot_entries: int = 5000) -> None:
        self._directory = directory
        self._snapshot_entries = snapshot_entries
        self.logs: dict[int, PySyncObjLog] = {}
        self.journals: dict[int, Journal] = {}

    async def start(self, number: int, members: tuple[int, ...] = (1,)) -> None:
        self.journals[number] = Journal()
        self.logs[number] = engine(self._directory, number, members, self._snapshot_entries)
        await self.logs[number].start(self.journals[number])

    async def stop(self, number: int) -> None:
        await self.logs.pop(number).stop()

    async def grow(self, *numbers: int) -> None:
        for number in numbers:
            await self.start(number)
            await self.leader().add_member(address(number), TIMEOUT)
            await wait_leader(self.logs[number], address(1))

    def leader(self) -> PySyncObjLog:
        return next(log for log in self.logs.values() if log.status().is_leader)

    async def wait_leader(self) -> PySyncObjLog:
        logs = self.logs.values()
        await wait_status(lambda: any(log.status().is_leader for log in logs), *logs)
        return self.leader()


@pytest.fixture
async def trio(tmp_path: Path) -> AsyncIterator[Trio]:
    made = Trio(tmp_path)
    await made.start(1)
    await wait_lead(made.logs[1])
    await made.grow(2, 3)
    yield made
    for number in list(made.logs):
        await made.stop(number)


async def test_a_new_member_gets_the_whole_log(tmp_path: Path) -> None:
    trio = Trio(tmp_path)
    await trio.start(1)
    await wait_lead(trio.logs[1])
    await trio.logs[1].propose(b"one", TIMEOUT)
    await trio.grow(2)
    await trio.logs[1].propose(b"two", TIMEOUT)

    await trio.journals[2].wait([b"one", b"two"])

    await trio.stop(2)
    await trio.stop(1)


async def test_a_new_member_gets_the_snapshot_of_a_log_that_was_cut(tmp_path: Path) -> None:
    trio = Trio(tmp_path, snapshot_entries=20)
    await trio.start(1)
    await wait_lead(trio.logs[1])
    commands = [b"%d" % number for number in range(100)]
    for command in commands:
        await trio.logs[1].propose(command, TIMEOUT)

    await trio.grow(2)

    await trio.journals[2].wait(commands)
    assert (tmp_path / "1" / "snapshot").exists()
    await trio.stop(2)
    await trio.stop(1)


async def test_members_know_each_other(trio: Trio) -> None:
    everyone = (address(1), address(2), address(3))

    logs = trio.logs.values()
    await wait_status(lambda: all(log.status().reachable == set(everyone) for log in logs), *logs)

    assert [log.status().members for log in trio.logs.values()] == [everyone] * 3


async def test_the_others_go_on_when_the_leader_stops(trio: Trio) -> None:
    await trio.logs[1].propose(b"one", TIMEOUT)
    await trio.stop(1)

    leader = await trio.wait_leader()
    await leader.propose(b"two", TIMEOUT)

    await trio.journals[2].wait([b"one", b"two"])
    await trio.journals[3].wait([b"one", b"two"])


async def test_one_that_was_away_catches_up(trio: Trio) -> None:
    await trio.stop(3)
    await trio.logs[1].propose(b"one", TIMEOUT)

    await trio.start(3)

    await trio.journals[3].wait([b"one"])


async def test_all_started_again_remember_each_other_and_the_log(trio: Trio) -> None:
    await trio.logs[1].propose(b"one", TIMEOUT)
    for number in (3, 2, 1):
        await trio.stop(number)

    for number in (1, 2, 3):
        await trio.start(number)
    leader = await trio.wait_leader()
    await leader.propose(b"two", TIMEOUT)

    for number in (1, 2, 3):
        await trio.journals[number].wait([b"one", b"two"])


async def test_the_first_member_alone_does_not_elect_itself_again(trio: Trio) -> None:
    """It was told of no other member when it was created, and must not believe that any more."""
    for number in (3, 2, 1):
        await trio.stop(number)

    await trio.start(1)

    members = (address(1), address(2), address(3))
    await wait_status(lambda: trio.logs[1].status().members == members, trio.logs[1])
    with pytest.raises(Unavailable):
        await trio.logs[1].propose(b"one", TIMEOUT)


async def test_a_leader_without_a_majority_cannot_promise_anything(trio: Trio) -> None:
    for number in (3, 2):
        await trio.logs[number].stop()

    with pytest.raises((DeadlineExceeded, Unavailable)):
        await trio.logs[1].propose(b"lost", timedelta(seconds=2))

    assert trio.journals[1].commands == []


async def test_a_removed_member_counts_no_more(trio: Trio) -> None:
    await trio.stop(3)

    await trio.logs[1].remove_member(address(3), TIMEOUT)

    assert trio.logs[1].status().members == (address(1), address(2))


async def test_an_address_in_use_is_refused(tmp_path: Path) -> None:
    first, second = engine(tmp_path / "a"), engine(tmp_path / "b")
    await first.start(Journal())

    with pytest.raises(FailedPrecondition, match=r"cannot listen on 127\.0\.0\.1:21545"):
        await second.start(Journal())

    await first.stop()


async def test_a_damaged_snapshot_stops_the_engine(tmp_path: Path) -> None:
    first = engine(tmp_path, snapshot_entries=2)
    await first.start(Journal())
    await wait_lead(first)
    for number in range(10):
        await first.propose(b"%d" % number, TIMEOUT)
    await first.stop()
    (tmp_path / "1" / "snapshot").write_bytes(b"nothing")
    loop = asyncio.get_running_loop()
    failed: asyncio.Future[str] = loop.create_future()

    def fail(why: str) -> None:
        loop.call_soon_threadsafe(failed.set_result, why)

    second = PySyncObjLog(
        EngineConfig(
            directory=tmp_path / "1", address=address(1), members=(address(1),), secret="secret"
        ),
        on_failure=fail,
    )

    await second.start(Journal())

    assert str(await failed).startswith(f"cannot read the snapshot {tmp_path}/1/snapshot: ")
    await second.stop()
