"""What a manager must not run with: one clear line, an exit status that says whether a restart may
help, and the data as it was. With real processes, as the operator sees them in the journal.
"""

import asyncio
import hashlib
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from warren.bootstrap import node_files
from warren.manager.main import EX_CONFIG, _engine_config
from warren.model.services import ServiceSpec
from warren.state.commands import RemoveJoinToken
from warren.store.raft.compaction import Limits
from warren.store.raft.engine import RaftLog
from warren.store.store import Store

from tests.contract.manager_processes import SPEC, Host, form, hosts, members, wait_until

RESTART = 1
PORTS = replace(SPEC, api_port=21643, join_port=21644, raft_port=21645)
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")


@pytest.fixture
def one(tmp_path: Path) -> Iterator[Host]:
    """A manager that has served, and is stopped."""
    with hosts(tmp_path, 1, spec=PORTS) as made:
        made[0].create()
        serve_once(made[0])
        yield made[0]


@pytest.fixture
def three(tmp_path: Path) -> Iterator[list[Host]]:
    """A cluster of three."""
    with hosts(tmp_path, 3, spec=PORTS) as made:
        first = form(made)
        wait_until(lambda: members(first.cluster()) == ["m1", "m2", "m3"], "three members")
        yield made


def test_another_clusters_directory_is_refused(one: Host, tmp_path: Path) -> None:
    (tmp_path / "another").mkdir()
    with hosts(tmp_path / "another", 1, spec=PORTS) as (another,):
        another.create()
        serve_once(another)
    put(raft_of(one), raft_of(another))
    before = content(raft_of(one))

    assert status_of(one) == EX_CONFIG
    assert last_line(one).endswith("this is another cluster's data directory")
    assert content(raft_of(one)) == before


def test_a_journal_that_is_older_than_the_others_remember_is_refused(three: list[Host]) -> None:
    first, _, third = three
    third.kill()
    image = third.directory / "image"
    shutil.copytree(raft_of(third), image)
    third.start()
    wait_until(lambda: len(members(third.cluster())) == 3, "m3 is back")
    for number in range(3):
        apply(first, f"web-{number}")
    wait_until(lambda: services(third) == ["web-0", "web-1", "web-2"], "m3 has them all")
    third.kill()
    put(raft_of(third), image)
    before = content(raft_of(third))

    assert status_of(third) == EX_CONFIG
    assert "is older than its peers remember: it ends with entry" in last_line(third)
    assert content(raft_of(third)) == before
    assert first.cluster() is not None


def test_a_truncated_snapshot_is_refused(one: Host) -> None:
    write_snapshot(one)
    serve_once(one)
    (snapshot,) = raft_of(one).glob("snapshot-*")
    data = snapshot.read_bytes()
    snapshot.write_bytes(data[: len(data) // 2])
    before = content(raft_of(one))

    assert status_of(one) == EX_CONFIG
    assert f"{snapshot.name} is damaged, and this manager" in last_line(one)
    assert content(raft_of(one)) == before


def test_a_second_manager_on_one_directory_is_refused(one: Host) -> None:
    one.start()
    wait_until(one.cluster, "it serves")
    first, one.process = one.process, None

    assert status_of(one) == RESTART
    assert "another process already keeps its log in" in last_line(one)
    one.process = first
    assert one.cluster() is not None
    assert one.terminate() == 0


def test_a_clock_before_the_nodes_certificate_is_refused(one: Host) -> None:
    before = content(raft_of(one))

    assert status_of(one, **clock("-1d")) == RESTART
    assert "this host's clock is wrong: it says " in last_line(one)
    assert last_line(one).endswith(" UTC; set the clock")
    assert content(raft_of(one)) == before


def test_a_clock_a_day_ahead_of_the_others_is_refused_and_they_say_so_too(
    three: list[Host],
) -> None:
    first, second, third = three
    third.kill()

    assert status_of(third, **clock("+1d")) == RESTART
    line = next(line for line in third.log.splitlines() if "clock is off" in line)
    assert "this host's clock is off by about a day: it says " in line
    assert "set it, nothing was changed here" in line
    told = "the clocks of this host and of "
    assert told in first.log
    assert told in second.log
    third.start()
    wait_until(lambda: third.cluster() is not None, "with the right clock, m3 serves")


def clock(offset: str) -> dict[str, str]:
    """Variables that shift the time of day of a process, and not the clock that measures."""
    return {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME": offset,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


def serve_once(host: Host) -> None:
    host.start()
    wait_until(host.cluster, f"{host.name} serves")
    host.terminate()


def status_of(host: Host, **variables: str) -> int:
    """How a manager that does not stay ends."""
    host.start(**variables)
    assert host.process is not None
    status = host.process.wait(timeout=30.0)
    host.process = None
    return status


def last_line(host: Host) -> str:
    lines = [line for line in host.log.splitlines() if " manager " in line]
    said = [line for line in lines if line.startswith(("ERROR", "CRITICAL"))]
    return said[-1]


def apply(host: Host, name: str) -> None:
    with host.client(timeout=20.0) as client:
        client.apply_service(ServiceSpec(name=name, image="example/web:1"), ["image"])


def services(host: Host) -> list[str]:
    """As this manager itself has them."""
    with host.client(timeout=20.0) as client:
        return [view.service.spec.name for view in client.list_services(stale=True)]


def write_snapshot(host: Host) -> None:
    """Run the log of a stopped manager here for a moment, with a snapshot at every other entry."""

    async def run() -> None:
        membership = node_files.read_membership(host.config)
        assert membership is not None
        config = replace(
            _engine_config(host.config, membership),
            limits=Limits(snapshot_entries=2, tail_entries=0),
        )
        store = Store(RaftLog(config, on_failure=pytest.fail))
        await store.start()
        while not store.status.is_leader:
            await store.changes.wait_newer(store.changes.count)
        while not list(raft_of(host).glob("snapshot-*")):
            await store.propose(RemoveJoinToken(token_id="none"))
        await store.stop()

    asyncio.run(run())


def raft_of(host: Host) -> Path:
    return node_files.raft_path(host.config)


def put(target: Path, source: Path) -> None:
    shutil.rmtree(target)
    shutil.copytree(source, target)


def content(directory: Path) -> dict[str, str]:
    """Digests of the files of a log."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.iterdir())
        if path.name.startswith(("journal", "snapshot"))
    }
