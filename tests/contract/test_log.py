"""What the store relies on in a `ReplicatedLog`: the same tests for the engine and for the fake.

Then what only a real engine can show: members that stop, start again and agree. Engines here run in
one process, over loopback addresses; nothing waits by the clock but with a deadline.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from warren.model.errors import DeadlineExceeded, FailedPrecondition, Unavailable
from warren.store.log import LogMember, ReplicatedLog
from warren.store.raft import disks
from warren.store.raft.compaction import Limits
from warren.store.raft.engine import RaftLog
from warren.testing.fake_log import FakeLog

from tests.contract.raft_members import Keeper, Pki, a_config, a_pki, address, node_id, stop_all

TIMEOUT = timedelta(seconds=5)
_made: list[RaftLog] = []
"""By the test that runs."""


def engine(directory: Path, number: int = 1, limits: Limits | None = None) -> RaftLog:
    config = a_config(directory, number, _pki(directory), limits=limits)
    _made.append(RaftLog(config, on_failure=pytest.fail))
    return _made[-1]


@pytest.fixture(autouse=True)
async def nobody_listens_afterwards() -> AsyncIterator[None]:
    yield
    await stop_all(_made)
    _made.clear()


def member(number: int) -> LogMember:
    return LogMember(node_id=node_id(number), address=address(number))


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


@pytest.fixture(params=["fake", "raft"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], ReplicatedLog]:
    """A new single-member log of either kind; made again, it has what the last one had."""
    kept: list[FakeLog] = []

    def fake() -> FakeLog:
        kept.append(FakeLog(address(1), tuple(kept[-1].entries) if kept else (), node_id="n1"))
        return kept[-1]

    return fake if request.param == "fake" else lambda: engine(tmp_path)


@pytest.fixture
async def log(make: Callable[[], ReplicatedLog]) -> AsyncIterator[tuple[ReplicatedLog, Keeper]]:
    """A single-member log that leads."""
    made, journal = make(), Keeper()
    await made.start(journal)
    await wait_lead(made)
    yield made, journal
    await made.stop()


async def test_answers_a_proposal_with_its_outcome(log: tuple[ReplicatedLog, Keeper]) -> None:
    outcome = await log[0].propose(b"one", TIMEOUT)

    assert outcome == b"1:one"


async def test_applies_in_the_order_of_proposals(log: tuple[ReplicatedLog, Keeper]) -> None:
    commands = [b"%d" % number for number in range(100)]

    await asyncio.gather(*(log[0].propose(command, TIMEOUT) for command in commands))

    assert log[1].commands == commands


async def test_a_barrier_changes_nothing(log: tuple[ReplicatedLog, Keeper]) -> None:
    await log[0].propose(b"one", TIMEOUT)

    await asyncio.gather(*(log[0].read_barrier(TIMEOUT) for _ in range(20)))

    assert log[1].commands == [b"one"]


async def test_the_only_member_leads_and_says_so(log: tuple[ReplicatedLog, Keeper]) -> None:
    status = log[0].status()

    assert (status.leader, status.members) == (address(1), (address(1),))
    assert status.is_leader
    assert status.reachable == {address(1)}
    assert status.term > 0


async def test_a_change_of_status_is_told(make: Callable[[], ReplicatedLog]) -> None:
    made = make()
    told: list[bool] = []
    made.on_change(lambda: told.append(made.status().is_leader))

    await made.start(Keeper())
    await wait_lead(made)
    await made.stop()

    assert True in told


async def test_adding_a_member_that_is_one_does_nothing(
    log: tuple[ReplicatedLog, Keeper],
) -> None:
    await log[0].add_member(member(1), TIMEOUT)
    await log[0].remove_member("n9", TIMEOUT)

    assert log[0].status().members == (address(1),)


async def test_started_again_it_has_what_was_committed(
    make: Callable[[], ReplicatedLog],
) -> None:
    first = make()
    await first.start(Keeper())
    await wait_lead(first)
    await first.propose(b"one", TIMEOUT)
    await first.propose(b"two", TIMEOUT)
    await first.stop()
    second, journal = make(), Keeper()

    await second.start(journal)
    await wait_lead(second)
    await second.stop()

    assert journal.commands == [b"one", b"two"]


async def test_without_the_lead_a_proposal_is_refused(make: Callable[[], ReplicatedLog]) -> None:
    made = make()
    await made.start(Keeper())
    await wait_lead(made)
    await made.stop()

    with pytest.raises(Unavailable):
        await made.propose(b"one", TIMEOUT)
    with pytest.raises(Unavailable):
        await made.read_barrier(TIMEOUT)


class Trio:
    """Three engines, grown from one; any may be stopped and started again."""

    def __init__(self, directory: Path, limits: Limits | None = None) -> None:
        self.directory = directory
        self._limits = limits
        self.logs: dict[int, RaftLog] = {}
        self.journals: dict[int, Keeper] = {}

    async def start(self, number: int) -> None:
        self.journals[number] = Keeper()
        self.logs[number] = engine(self.directory, number, self._limits)
        await self.logs[number].start(self.journals[number])

    async def stop(self, number: int) -> None:
        await self.logs.pop(number).stop()

    async def grow(self, *numbers: int) -> None:
        for number in numbers:
            await self.start(number)
            await self.leader().add_member(member(number), TIMEOUT)
            await wait_leader(self.logs[number], address(1))

    def leader(self) -> RaftLog:
        return next(log for log in self.logs.values() if log.status().is_leader)

    async def wait_leader(self) -> RaftLog:
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
    trio = Trio(tmp_path, Limits(snapshot_entries=20, tail_entries=0))
    await trio.start(1)
    await wait_lead(trio.logs[1])
    commands = [b"%d" % number for number in range(100)]
    for command in commands:
        await trio.logs[1].propose(command, TIMEOUT)

    await trio.grow(2)

    await trio.journals[2].wait(commands)
    assert list((tmp_path / "n2").glob("snapshot-*"))
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

    await trio.logs[1].remove_member("n3", TIMEOUT)

    assert trio.logs[1].status().members == (address(1), address(2))


async def test_an_address_in_use_is_refused(tmp_path: Path) -> None:
    first, second = engine(tmp_path / "a"), engine(tmp_path / "b")
    await first.start(Keeper())

    with pytest.raises(Unavailable, match=r"cannot listen on 127\.0\.0\.1:21545"):
        await second.start(Keeper())

    await first.stop()


async def test_a_damaged_snapshot_is_refused(tmp_path: Path) -> None:
    first = engine(tmp_path, limits=Limits(snapshot_entries=2, tail_entries=0))
    await first.start(Keeper())
    await wait_lead(first)
    for number in range(10):
        await first.propose(b"%d" % number, TIMEOUT)
    await wait_for(lambda: bool(list((tmp_path / "n1").glob("snapshot-*"))))
    await first.stop()
    newest = max((tmp_path / "n1").glob("snapshot-*"))
    newest.write_bytes(newest.read_bytes()[:-3])

    with pytest.raises(FailedPrecondition, match=f"{newest.name} is damaged, and this manager"):
        await engine(tmp_path).start(Keeper())


async def test_a_full_disk_suspends_the_engine_until_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, keeper = engine(tmp_path), Keeper()
    await log.start(keeper)
    await wait_lead(log)
    await log.propose(b"one", TIMEOUT)

    def full(self: object, data: bytes) -> None:
        raise disks.DiskUnwritable("the log cannot be written: No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(disks._RealFile, "write", full)
        with pytest.raises((Unavailable, DeadlineExceeded)):
            await log.propose(b"lost", TIMEOUT)
        await wait_status(lambda: bool(log.status().trouble), log)
        trouble = log.status().trouble
        with pytest.raises(Unavailable, match="No space left on device"):
            await log.propose(b"lost", TIMEOUT)
    await wait_lead(log)
    await log.propose(b"two", TIMEOUT)

    assert trouble == "the log cannot be written: No space left on device"
    assert keeper.commands == [b"one", b"two"]
    await log.stop()


async def test_another_clusters_directory_is_refused(tmp_path: Path) -> None:
    first = engine(tmp_path)
    await first.start(Keeper())
    await first.stop()
    config = replace(a_config(tmp_path, 1, _pki(tmp_path)), cluster_id="another")

    with pytest.raises(FailedPrecondition, match="this is another cluster's data directory"):
        await RaftLog(config, on_failure=pytest.fail).start(Keeper())


async def test_a_directory_in_use_is_refused(tmp_path: Path) -> None:
    first = engine(tmp_path)
    await first.start(Keeper())

    with pytest.raises(Unavailable, match="another process already keeps its log in"):
        await engine(tmp_path).start(Keeper())

    await first.stop()


async def test_a_key_makes_a_repeated_proposal_one(log: tuple[ReplicatedLog, Keeper]) -> None:
    first = await log[0].propose(b"one", TIMEOUT, key="k1")
    again = await log[0].propose(b"one", TIMEOUT, key="k1")
    other = await log[0].propose(b"one", TIMEOUT, key="k2")

    assert (first, again, other) == (b"1:one", b"1:one", b"2:one")
    assert log[1].commands == [b"one", b"one"]


async def test_a_key_is_remembered_by_the_next_leader(trio: Trio) -> None:
    first = await trio.logs[1].propose(b"one", TIMEOUT, key="k1")
    await trio.stop(1)
    leader = await trio.wait_leader()

    assert await leader.propose(b"one", TIMEOUT, key="k1") == first


async def test_a_snapshot_holds_the_state(log: tuple[ReplicatedLog, Keeper]) -> None:
    await log[0].propose(b"one", TIMEOUT)

    assert (await log[0].snapshot(TIMEOUT)).endswith(b"one")


async def test_the_lead_is_handed_over_on_request(trio: Trio) -> None:
    await trio.logs[1].transfer_leadership(TIMEOUT, to="n3")

    await wait_lead(trio.logs[3])


async def test_a_demoted_member_learns_on(trio: Trio) -> None:
    await trio.logs[1].demote_member("n3", TIMEOUT)

    voters = [m.node_id for m in trio.logs[1].status().roster if m.voter]
    assert voters == ["n1", "n2"]
    await trio.logs[1].propose(b"one", TIMEOUT)
    await trio.journals[3].wait([b"one"])


async def test_figures_tell_of_each_member(trio: Trio) -> None:
    await trio.logs[1].propose(b"one", TIMEOUT)

    metrics = await trio.logs[1].metrics()

    assert metrics.node_id == "n1"
    assert [m.node_id for m in metrics.members] == ["n1", "n2", "n3"]
    assert metrics.applied_index == metrics.commit_index == metrics.last_index
    assert metrics.journal_bytes > 0


async def wait_for(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - files tell nobody when they appear
            await asyncio.sleep(0.01)


def _pki(directory: Path) -> Pki:
    """One per directory, however many engines are made in it."""
    if directory not in _pkis:
        _pkis[directory] = a_pki(directory / "pki")
    return _pkis[directory]


_pkis: dict[Path, Pki] = {}
