"""Commands that fail and commands of another version, through real engines."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from warren.model.errors import FailedPrecondition
from warren.state import apply, commands
from warren.state.cluster import ClusterState
from warren.state.commands import Applied, CreateCluster, Rejected, RemoveJoinToken
from warren.store.log import LogMember
from warren.store.raft.engine import RaftLog
from warren.store.store import Store
from warren.testing.builders import a_cluster, a_node

from tests.contract.raft_members import Keeper, a_config, a_pki, address, node_id, stop_all

PORT = 21945
TIMEOUT = timedelta(seconds=5)
POISON = RemoveJoinToken(token_id="x")
CREATE = CreateCluster(cluster=a_cluster(), node=a_node("m1", volume_drivers=()))
"""As the oldest members know it."""


Engine = Callable[..., RaftLog]


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    """Makes a member that knows a version of the command set; none of them outlives the test."""
    pki = a_pki(tmp_path / "pki")
    made: list[RaftLog] = []

    def make(
        number: int = 1, version: int = 1, on_failure: Callable[[str], None] = pytest.fail
    ) -> RaftLog:
        config = a_config(tmp_path, number, pki, port=PORT)
        made.append(RaftLog(replace(config, commands_version=version), on_failure=on_failure))
        return made[-1]

    yield make
    await stop_all(made)


async def test_l2_a_command_that_raises_is_answered_and_stops_nobody(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = apply.apply

    def defective(
        state: ClusterState, command: commands.Command
    ) -> tuple[ClusterState, commands.Outcome]:
        if command == POISON:
            raise ValueError("a defect")
        return real(state, command)

    monkeypatch.setattr(apply, "apply", defective)
    store = Store(engine())
    await store.start()
    await wait_lead(store)

    poisoned = await store.propose(POISON)
    after = await store.propose(CREATE)
    await store.stop()
    again = Store(engine())
    await again.start()
    await wait_lead(again)

    assert poisoned == Rejected(index=1, reason="InvalidInput", message="malformed command")
    assert after == Applied(index=2)
    assert again.state == store.state
    await again.stop()


async def test_a_command_that_a_member_does_not_know_is_refused_until_it_does(
    engine: Engine,
) -> None:
    first, second = engine(version=2), engine(2)
    await first.start(Keeper())
    await wait_status(lambda: first.status().is_leader, first)
    await second.start(Keeper())
    await first.add_member(LogMember(node_id=node_id(2), address=address(2, PORT)), TIMEOUT)

    with pytest.raises(FailedPrecondition, match="not all managers are upgraded yet"):
        await first.propose(b"new", TIMEOUT, version=2)
    assert await first.propose(b"old", TIMEOUT) == b"1:old"
    await second.stop()
    second = engine(2, version=2)
    await second.start(Keeper())
    await wait_status(lambda: len(first.status().reachable) == 2, first)
    await wait_status(lambda: first.status().is_leader, first)

    assert await first.propose(b"new", TIMEOUT, version=2) == b"2:new"
    await second.stop()
    await first.stop()


async def test_a_member_that_is_too_old_for_the_log_ends_with_one_line_and_keeps_its_data(
    engine: Engine,
) -> None:
    newer = engine(version=2)
    await newer.start(Keeper())
    await wait_status(lambda: newer.status().is_leader, newer)
    await newer.propose(b"new", TIMEOUT, version=2)
    await newer.stop()
    failures: asyncio.Queue[str] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    older = engine(on_failure=lambda why: loop.call_soon_threadsafe(failures.put_nowait, why))
    await older.start(Keeper())
    async with asyncio.timeout(10):
        reason = await failures.get()
    await older.stop()

    assert reason == "the log holds a command of version 2 and this manager knows 1: upgrade it"
    upgraded, keeper = engine(version=2), Keeper()
    await upgraded.start(keeper)
    await keeper.wait([b"new"])
    await upgraded.stop()


async def wait_lead(store: Store) -> None:
    """Until it leads."""
    async with asyncio.timeout(10):
        count = store.changes.count
        while not store.status.is_leader:
            count = await store.changes.wait_newer(count)


async def wait_status(condition: Callable[[], bool], log: RaftLog) -> None:
    """Until the status of a log makes it true."""
    changed = asyncio.Event()
    log.on_change(changed.set)
    async with asyncio.timeout(20):
        while not condition():
            changed.clear()
            await changed.wait()
