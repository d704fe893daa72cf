"""A log whose majority is lost for good goes on from one survivor, with real engines.

Three members, of which two are never started again; then one of those two with an empty disk, as a
survivor whose log was set aside, and the other with what it had, as a host that comes back.
"""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from warren.model.errors import FailedPrecondition
from warren.store.log import LogMember
from warren.store.raft import inspection, renewal
from warren.store.raft.disks import RealDisk
from warren.store.raft.engine import RaftLog
from warren.store.raft.inspection import LogFiles
from warren.store.raft.journal import Identity

from tests.contract.raft_members import CLUSTER, Keeper, Pki, a_config, a_pki, address, node_id

TIMEOUT = timedelta(seconds=10)
PORT = 21645


def engine(directory: Path, number: int, pki: Pki) -> RaftLog:
    config = a_config(directory, number, pki, port=PORT)
    return RaftLog(config, on_failure=pytest.fail)


def member(number: int) -> LogMember:
    return LogMember(node_id=node_id(number), address=address(number, PORT))


def identity(number: int) -> Identity:
    return Identity(cluster_id=CLUSTER, node_id=node_id(number))


async def wait_lead(log: RaftLog) -> None:
    changed = asyncio.Event()
    log.on_change(changed.set)
    async with asyncio.timeout(20):
        while not log.status().is_leader:
            changed.clear()
            await changed.wait()


def files_of(directory: Path, number: int) -> LogFiles:
    disk = RealDisk(directory / node_id(number))
    try:
        found = inspection.read(disk, identity(number))
    finally:
        disk.close()
    assert found is not None
    return found


def stand_alone(directory: Path, number: int, *, removed: tuple[str, ...]) -> None:
    """As `bootstrap/recover.py` does it."""
    home = directory / node_id(number)
    source, target = RealDisk(home), RealDisk(directory / "new")
    found = inspection.read(source, identity(number))
    assert found is not None
    renewal.continue_alone(
        source,
        found,
        target,
        identity(number),
        address(number, PORT),
        removed=removed,
        new_disk_id="new",
    )
    source.close()
    target.close()
    home.rename(directory / "before")
    (directory / "new").rename(home)


async def three_members_lost(directory: Path, pki: Pki) -> None:
    """Three members that agree on five commands, and are all stopped."""
    logs = [engine(directory, number, pki) for number in (1, 2, 3)]
    for log in logs:
        await log.start(Keeper())
    await wait_lead(logs[0])
    for number in (2, 3):
        await logs[0].add_member(member(number), TIMEOUT)
    for number in range(5):
        await logs[0].propose(b"%d" % number, TIMEOUT, key=str(number))
    for log in reversed(logs):
        await log.stop()


async def test_a_survivor_leads_alone_with_all_that_was_acknowledged(tmp_path: Path) -> None:
    pki = a_pki(tmp_path / "pki")
    await three_members_lost(tmp_path, pki)
    before = files_of(tmp_path, 1)

    stand_alone(tmp_path, 1, removed=("n3",))
    survivor, keeper = engine(tmp_path, 1, pki), Keeper()
    await survivor.start(keeper)
    await wait_lead(survivor)
    again = await survivor.propose(b"4", TIMEOUT, key="4")
    more = await survivor.propose(b"more", TIMEOUT)
    metrics = await survivor.metrics()
    await survivor.stop()

    assert len(before.configuration.voters) == 3
    assert keeper.commands == [b"0", b"1", b"2", b"3", b"4", b"more"]
    assert (again, more) == (b"5:4", b"6:more")
    assert metrics.term > before.term


async def test_others_learn_anew_and_who_was_removed_stays_out(tmp_path: Path) -> None:
    pki = a_pki(tmp_path / "pki")
    await three_members_lost(tmp_path, pki)
    stand_alone(tmp_path, 1, removed=("n3",))
    (tmp_path / "n2").rename(tmp_path / "n2.before")
    survivor, second, third = (engine(tmp_path, number, pki) for number in (1, 2, 3))
    keeper = Keeper()
    await survivor.start(Keeper())
    await wait_lead(survivor)
    await second.start(keeper)
    await third.start(Keeper())

    await survivor.add_member(member(2), TIMEOUT)
    await survivor.propose(b"more", TIMEOUT)

    await keeper.wait([b"0", b"1", b"2", b"3", b"4", b"more"])
    assert [each.node_id for each in survivor.status().roster] == ["n1", "n2"]
    with pytest.raises(FailedPrecondition, match="n3 was removed; its host must join as a new"):
        await survivor.add_member(member(3), TIMEOUT)
    for log in (third, second, survivor):
        await log.stop()
