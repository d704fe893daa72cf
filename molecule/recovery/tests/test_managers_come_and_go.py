"""Managers are upgraded, removed, and replaced, while clients write, read, and check every answer.

On one cluster, in this order: a new version on all hosts, a manager that comes back after it was
removed, a manager whose host is lost and that is replaced by a host of the same name.
"""

import json
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import ROOT, run, wait_until
from recovery_hosts import (
    FLEET,
    HOSTS,
    boot,
    fleet,
    lose,
    on_host,
    play,
    playbook,
    three_managers,
    wait_managers,
)
from warren.client.client import Client, connect
from warren.client.connection import Wanted, resolve

from tests.chaos import checks, figures
from tests.chaos.registers import Registers

NEW_VERSION = "0.1.0.post1"


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    with three_managers():
        yield


@pytest.fixture
def client(cluster: None) -> Iterator[Client]:
    with connect(context=FLEET) as connected:
        yield connected


@contextmanager
def checked_clients() -> Iterator[Registers]:
    """Nine clients; at the end, each register's history has an order and nothing is lost."""
    connection = resolve(Wanted(context=FLEET))
    registers = Registers(connection)
    registers.start()
    try:
        wait_until(lambda: len(registers.history) > 50, seconds=20)
        yield registers
    finally:
        registers.stop()
    assert checks.failures(registers, connection) == []


def longest_wait(registers: Registers, begin: float) -> float:
    """Seconds without an acknowledged write, at the longest."""
    accepted = figures.accepted(registers.answered_since(begin))
    return figures.longest_gap(begin, accepted, accepted[-1])


def test_an_upgrade_moves_the_lead_once_and_loses_no_write(client: Client, tmp_path: Path) -> None:
    bundle = newer_bundle(tmp_path)
    tasks = {task.id for task in client.get_service("hello").tasks}
    before = wait_managers(client, *HOSTS)

    with checked_clients() as registers:
        begin = time.monotonic()
        play("site.yml", "-e", f"warren_bundle={bundle}")
        gap = longest_wait(registers, begin)

    after = wait_managers(client, *HOSTS)
    assert version_on_hosts() == dict.fromkeys(HOSTS, NEW_VERSION)
    started = sorted(HOSTS, key=lambda host: active_since(host))
    assert started[-1] == before.leader
    assert after.term == before.term + 1
    assert {task.id for task in client.get_service("hello").tasks} == tasks
    assert set(registers.errors) <= {"Conflict"}, "two clients wrote one register at once"
    assert gap < 1.0
    print(f"upgraded in order {started}, at most {gap:.2f} s without a write")


def newer_bundle(directory: Path) -> Path:
    """The same sources under another version."""
    shutil.copytree(ROOT / "agent", directory / "agent", ignore=shutil.ignore_patterns("build"))
    for name in ("pyproject.toml", "warren/__init__.py"):
        file = directory / "agent" / name
        file.write_text(re.sub(r'(version__? = )"[^"]+"', rf'\1"{NEW_VERSION}"', file.read_text()))
    where = {
        "warren_bundle_dir": f"{directory}/bundle",
        "warren_bundle_agent": f"{directory}/agent",
    }
    play("bundle.yml", "-e", json.dumps(where))
    return directory / "bundle"


def version_on_hosts() -> dict[str, str]:
    """What each running manager says that it is."""
    versions = {}
    for host in HOSTS:
        said = on_host(host, 'warren cluster info --stale -o json | grep -o \'"warren": *"[^"]*\'')
        versions[host] = said.strip().rsplit('"', 1)[1]
    return versions


def active_since(host: str) -> int:
    """Microseconds of the clock that all hosts share."""
    show = "systemctl show -p ActiveEnterTimestampMonotonic --value warren-manager"
    return int(on_host(host, show))


def test_a_manager_that_was_removed_stays_out_and_disturbs_nobody(client: Client) -> None:
    leader = wait_managers(client, *HOSTS).leader
    removed = next(host for host in HOSTS if host != leader)
    rest = [host for host in HOSTS if host != removed]
    fleet("kill", removed)
    wait_until(lambda: unreachable(client) == [removed], seconds=30)
    client.delete_node(removed, force=True)
    before = wait_managers(client, *rest)

    with checked_clients() as registers:
        begin = time.monotonic()
        fleet("start", removed)
        wait_until(lambda: "was removed" in manager_log(removed), seconds=30)
        refused = playbook("site.yml")
        gap = longest_wait(registers, begin)

    after = wait_managers(client, *rest)
    assert (after.leader, after.term) == (before.leader, before.term)
    assert set(registers.errors) <= {"Conflict"}
    assert refused.returncode != 0
    assert f"{removed} was removed from cluster {FLEET} and still has what it had" in refused.stdout
    print(f"a removed manager came back: at most {gap:.2f} s without a write")

    play("reset.yml", "--limit", removed, "-e", "warren_reset_confirm=yes")
    play("site.yml")

    wait_managers(client, *HOSTS)


def unreachable(client: Client) -> list[str]:
    return [m.node.spec.name for m in client.get_cluster().managers if not m.reachable]


def manager_log(host: str) -> str:
    return on_host(host, "journalctl -b -u warren-manager --no-pager -o cat")


@pytest.mark.parametrize("of", ["a follower", "the leader"])
def test_a_dead_manager_is_replaced_by_a_host_of_the_same_name(client: Client, of: str) -> None:
    before = wait_managers(client, *HOSTS)
    followers = [host for host in HOSTS if host != before.leader]
    dead = before.leader if of == "the leader" else followers[0]
    old_id = client.get_node(dead).node.id

    with checked_clients():
        lose(dead)
        wait_until(lambda: unreachable(client) == [dead], seconds=30)
        run("warren", "node", "rm", dead, "--force", "--context", FLEET)
        boot(dead)
        play("site.yml")

    after = wait_managers(client, *HOSTS)
    assert client.get_node(dead).node.id != old_id
    assert len(after.managers) == len(HOSTS)
    wait_until(lambda: client.get_service("hello").status.converged, seconds=60)
