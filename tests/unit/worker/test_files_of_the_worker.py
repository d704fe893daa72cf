"""What the worker keeps on disk, and what it makes of damaged files."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from warren import __version__
from warren.core import health, restart
from warren.core.task import Progress
from warren.model.errors import InvalidInput, RuntimeUnavailable
from warren.model.nodes import NodeDescription, NodeRole
from warren.model.services import Bytes
from warren.model.tasks import Health, TaskState, TaskStatus
from warren.testing.fake_mesh import FakeMesh
from warren.testing.fake_runtime import FakeRuntime
from warren.worker import describe, membership
from warren.worker.local_store import ProgressFile
from warren.worker.main import run
from warren.worker.membership import Membership
from warren.worker.reporter import Reporter

from tests.unit.worker.worker_kit import START, an_assignment, write_node_file

WAITING = Progress(
    attempt=4,
    retry_at=START + timedelta(seconds=8),
    history=restart.History(failures=4, restarts=(START - timedelta(seconds=4), START)),
    status=TaskStatus(
        state=TaskState.RESTARTING,
        since=START,
        message="exit code 1; next start in 8s",
        exit_code=1,
        failures=4,
        last_log="KeyError: X",
        image_digest="sha256:1",
    ),
)
RUNNING = Progress(status=TaskStatus(state=TaskState.RUNNING, since=START))


def test_progress_is_kept_until_it_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "tasks.json"
    ProgressFile(path).keep("web-1-abcde", WAITING)
    kept = ProgressFile(path).get("web-1-abcde")
    ProgressFile(path).forget("web-1-abcde")

    assert kept == WAITING
    assert ProgressFile(path).task_ids() == frozenset()


def test_progress_that_containers_tell_is_not_written(tmp_path: Path) -> None:
    ProgressFile(tmp_path / "tasks.json").keep("web-1-abcde", RUNNING)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("verdict", [Health.HEALTHY, Health.UNHEALTHY])
def test_the_verdict_on_a_running_task_is_kept(tmp_path: Path, verdict: Health) -> None:
    healthy = verdict is Health.HEALTHY
    checks = health.Record(
        health=verdict,
        since=START,
        been_good=healthy,
        bad=0 if healthy else 3,
        output="" if healthy else "TCP connection to 10.88.1.2:8080: connection refused",
    )
    path = tmp_path / "tasks.json"

    ProgressFile(path).keep("web-1-abcde", replace(RUNNING, attempt=2, checks=checks))

    kept = ProgressFile(path).get("web-1-abcde")
    status = TaskStatus(state=TaskState.ASSIGNED, since=START, health_output=checks.output)
    assert kept == Progress(attempt=2, status=status, checks=checks)


def test_the_end_of_an_attempt_counts_more_than_the_verdict_on_it(tmp_path: Path) -> None:
    checks = health.Record(health=Health.HEALTHY, since=START, been_good=True)
    healthy = replace(RUNNING, attempt=3, checks=checks)
    finished = Progress(attempt=3, status=TaskStatus(state=TaskState.STOPPED, since=START))
    path = tmp_path / "tasks.json"
    ProgressFile(path).keep("web-1-abcde", healthy)

    ProgressFile(path).keep("web-1-abcde", WAITING)
    waits = ProgressFile(path).get("web-1-abcde")
    ProgressFile(path).keep("web-1-abcde", replace(healthy, attempt=4))
    runs = ProgressFile(path).get("web-1-abcde")
    ProgressFile(path).keep("web-1-abcde", finished)
    ended = ProgressFile(path).get("web-1-abcde")
    ProgressFile(path).forget("web-1-abcde")

    assert (waits, ended) == (WAITING, finished)
    assert runs is not None
    assert (runs.attempt, runs.checks) == (4, checks)
    assert ProgressFile(path).task_ids() == frozenset()


def test_only_what_nothing_else_tells_after_a_reboot_is_forced_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop is in the assignment, and many tasks stop while others start."""
    forced: list[int] = []
    monkeypatch.setattr("warren.files.os.fsync", forced.append)
    stopped = Progress(status=TaskStatus(state=TaskState.STOPPED, since=START, exit_code=0))
    file = ProgressFile(tmp_path / "tasks.json")

    file.keep("web-1-abcde", stopped)
    kept = ProgressFile(tmp_path / "tasks.json").get("web-1-abcde")
    file.forget("web-1-abcde")
    by_stopping = list(forced)
    file.keep("web-2-abcde", WAITING)

    assert (kept, by_stopping) == (stopped, [])
    assert forced


@pytest.mark.parametrize("text", ["", "[]", '{"a": {}}', '{"a": 1}', "{"])
def test_a_damaged_progress_file_is_as_good_as_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "tasks.json"
    path.write_text(text)

    assert ProgressFile(path).task_ids() == frozenset()


def a_member() -> Membership:
    return Membership(
        cluster_id="cluster-1",
        node_id="node-1",
        name="w1",
        mesh_port=51820,
        managers=an_assignment(managers=("10.77.0.11:7443",)).managers,
        roles=(NodeRole.WORKER,),
    )


def test_the_managers_in_the_node_file_are_refreshed(tmp_path: Path) -> None:
    write_node_file(tmp_path, a_member())
    moved = an_assignment(managers=("10.77.0.12:7443", "10.77.0.13:7443")).managers

    membership.refresh_managers(tmp_path / "node.json", moved)
    membership.refresh_managers(tmp_path / "node.json", ())

    assert membership.load(tmp_path / "node.json") == replace(a_member(), managers=moved)


def test_new_roles_are_noted_beside_the_rest(tmp_path: Path) -> None:
    write_node_file(tmp_path, a_member())
    roles = (NodeRole.MANAGER, NodeRole.WORKER)

    membership.write_roles(tmp_path / "node.json", roles)

    assert membership.load(tmp_path / "node.json") == replace(a_member(), roles=roles)


def test_a_damaged_node_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "node.json").write_text("{}")

    with pytest.raises(InvalidInput, match=r"node\.json: is damaged: KeyError\('cluster_id'\)"):
        membership.load(tmp_path / "node.json")


def test_a_host_in_no_cluster_is_told_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "warren.toml").write_text(f'state_dir = "{tmp_path}"\n')

    status = run(tmp_path / "warren.toml")

    assert status == 78
    assert capsys.readouterr().err == (
        "warren-worker: this host is not a member of a cluster yet\n"
    )


def test_a_wrong_setting_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "warren.toml").write_text('state_dri = "/x"\n')

    status = run(tmp_path / "warren.toml")

    assert status == 78
    assert "warren.toml: state_dri: unknown key" in capsys.readouterr().err


def a_root(directory: Path) -> Path:
    (directory / "proc").mkdir()
    (directory / "etc").mkdir()
    (directory / "proc/meminfo").write_text("MemTotal:  2048 kB\nMemFree: 1 kB\n")
    (directory / "etc/os-release").write_text('ID=debian\nPRETTY_NAME="Debian GNU/Linux 13"\n')
    return directory


async def test_a_host_is_described(tmp_path: Path) -> None:
    found = await describe.describe(FakeRuntime(), FakeMesh(), "10.77.0.21", a_root(tmp_path))

    fixed = replace(found, cpus=0, architecture="", kernel="")
    assert found.cpus >= 1
    assert fixed == NodeDescription(
        address="10.77.0.21",
        memory=Bytes(2048 * 1024),
        os="Debian GNU/Linux 13",
        runtime="fake 1.0",
        warren=__version__,
        mtu=1420,
    )


async def test_a_silent_runtime_is_left_out_of_the_description(tmp_path: Path) -> None:
    runtime = FakeRuntime()
    runtime.fail_next("version", RuntimeUnavailable("containerd does not answer"))

    found = await describe.describe(runtime, FakeMesh(), "10.77.0.21", a_root(tmp_path))

    assert found.runtime == ""


def a_status(state: TaskState) -> TaskStatus:
    return TaskStatus(state=state, since=datetime(2026, 1, 1, tzinfo=UTC))


async def test_only_the_latest_status_of_a_task_is_told_and_only_once() -> None:
    reporter = Reporter()
    reporter.put("a", a_status(TaskState.STARTING))
    reporter.put("a", a_status(TaskState.RUNNING))
    reporter.put("b", a_status(TaskState.STOPPED))

    first = reporter.take()
    reporter.put("a", a_status(TaskState.RUNNING))
    second = reporter.take()

    assert first == {"a": a_status(TaskState.RUNNING), "b": a_status(TaskState.STOPPED)}
    assert second == {}


async def test_a_new_session_is_told_everything_but_what_is_forgotten() -> None:
    reporter = Reporter()
    reporter.put("a", a_status(TaskState.RUNNING))
    reporter.put("b", a_status(TaskState.STOPPED))
    reporter.take()

    reporter.forget("b")

    assert reporter.begin_session() == {"a": a_status(TaskState.RUNNING)}
