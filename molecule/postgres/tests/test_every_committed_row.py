"""PostgreSQL keeps its data on a volume, and rows are written all the time. A row whose commit was
acknowledged is there, whatever happens."""

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from conftest import FLEET, REGISTRY, run, wait_until
from containers_on_hosts import containers_of, is_running, running_containers
from warren.client import volumes
from warren.client.client import Client, connect
from warren.client.waits import wait_service, wait_service_gone
from warren.model.errors import WarrenError
from warren.model.nodes import NodeState
from warren.model.services import ExecCheck, HealthCheck, MountSpec, RestartPolicy, ServiceSpec
from warren.model.tasks import Task
from warren.model.volumes import VolumeSpec

NODE = "w1"
"""No manager: it is cut off from power."""
SECONDS = timedelta(seconds=10)
PATIENCE = timedelta(minutes=3)
SPEC = ServiceSpec(
    name="pg",
    image=f"{REGISTRY}/postgres:1",
    mounts=(
        MountSpec(source="pg-data", target="/data"),
        MountSpec(source="pg-base", target="/base"),
    ),
    health=HealthCheck(
        exec=ExecCheck(command=("pg_isready", "-q")),
        interval=timedelta(seconds=1),
        timeout=timedelta(seconds=5),
        retries=10,
        start_period=timedelta(minutes=1),
    ),
    restart=RestartPolicy(delay=timedelta(seconds=1), max_attempts=0),
    stop_grace_period=timedelta(seconds=30),
)
Fleet = Callable[..., str]
Playbook = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def pg() -> Iterator[None]:
    """The database with an empty table; gone afterwards, with its volumes."""
    run("tests/postgres/build.sh", REGISTRY)
    with connect(context=FLEET) as client:
        try:
            for name in ("pg-data", "pg-base"):
                spec = VolumeSpec(name=name, node=NODE, uid=70, gid=70, mode="0700")
                client.apply_volume(spec, ("node", "uid", "gid", "mode"))
            fields = ("name", "image", "mounts", "health", "restart", "stop_grace_period")
            client.apply_service(SPEC, fields)
            wait_service(client, "pg", timeout=PATIENCE)
            sql(client, "CREATE TABLE rows (id bigint PRIMARY KEY)")
            yield
        finally:
            if any(view.service.spec.name == "pg" for view in client.list_services()):
                client.delete_service("pg")
                wait_service_gone(client, "pg", timeout=PATIENCE)
            for name in ("pg-data", "pg-base"):
                volumes.remove(client, name, timeout=PATIENCE)


class Writer(threading.Thread):
    """Writes rows, one after another, and remembers those that were committed."""

    last = 0
    """Of all writers: no row is written twice."""

    def __init__(self) -> None:
        super().__init__()
        self.committed: list[int] = []
        self._ending = threading.Event()

    def run(self) -> None:
        with connect(context=FLEET) as client:
            while not self._ending.wait(0.05):
                Writer.last += 1
                row = Writer.last
                try:
                    sql(client, f"INSERT INTO rows VALUES ({row})")
                except (WarrenError, AssertionError):
                    continue  # committed or not: nobody was told
                self.committed.append(row)

    def wait_more(self, count: int = 5) -> None:
        """So many rows are committed from now on."""
        wanted = len(self.committed) + count
        wait_until(lambda: len(self.committed) >= wanted, seconds=PATIENCE.total_seconds())

    def end(self) -> None:
        self._ending.set()
        self.join()


@contextmanager
def writing() -> Iterator[Writer]:
    """Rows are written during the block, at least some before and some after."""
    writer = Writer()
    writer.start()
    try:
        writer.wait_more()
        yield writer
        writer.wait_more()
    finally:
        writer.end()


def sql(client: Client, statement: str) -> list[str]:
    """What the database answers, a line for each row."""
    command = ("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", statement)
    done = client.execute("pg.1", command, timeout=SECONDS)
    assert done.exit_code == 0, done.stderr.decode()
    return done.stdout.decode().split()


def lost(client: Client, writer: Writer) -> set[int]:
    """Rows that were committed and are not there."""
    there = {int(line) for line in sql(client, "SELECT id FROM rows")}
    return set(writer.committed) - there


def the_task(client: Client) -> Task:
    return client.get_service("pg").tasks[0]


def state_of(client: Client, node: str) -> NodeState:
    return client.get_node(node).node.status.state


def test_the_process_is_killed(client: Client, fleet: Fleet, pg: None) -> None:
    with writing() as writer:
        task = the_task(client)
        for container in containers_of(fleet, task, NODE):
            if is_running(fleet, NODE, container):
                fleet("ssh", NODE, f"ctr -n k8s.io tasks kill -s SIGKILL {container}")
        wait_until(lambda: the_task(client).status.since > task.status.since, seconds=30)

    assert lost(client, writer) == set()
    assert the_task(client).id == task.id


def test_the_agent_is_killed(client: Client, fleet: Fleet, pg: None) -> None:
    process = "systemctl show --property MainPID --value warren-worker"
    with writing() as writer:
        agent, containers = fleet("ssh", NODE, process).strip(), running_containers(fleet, NODE)
        fleet("ssh", NODE, "systemctl kill --signal SIGKILL warren-worker")
        wait_until(lambda: fleet("ssh", NODE, process).strip() not in (agent, "0"), seconds=60)
        wait_until(lambda: state_of(client, NODE) is NodeState.READY, seconds=60)

    assert lost(client, writer) == set()
    assert running_containers(fleet, NODE) == containers


def test_the_node_loses_its_power(client: Client, fleet: Fleet, pg: None) -> None:
    with writing() as writer:
        fleet("kill", NODE)
        wait_until(lambda: state_of(client, NODE) is NodeState.DOWN, seconds=60)
        wait_until(lambda: client.get_volume("pg-data", usage=False).trouble, seconds=30)
        fleet("start", NODE)
        wait_until(lambda: state_of(client, NODE) is NodeState.READY, seconds=180)

    assert lost(client, writer) == set()
    wait_service(client, "pg", timeout=PATIENCE)
    assert client.get_service("pg").node_names[0] == NODE


def play(playbook: Playbook, name: str, **variables: object) -> str:
    """To its end, which is good; what it printed."""
    done = playbook(f"{name}-volume.yml", "-e", json.dumps(variables))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def backups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WARREN_BACKUP_PASSPHRASE", "correct horse battery")
    return tmp_path


def newest(directory: Path, volume: str) -> str:
    return str(max(directory.glob(f"{volume}-*.volume")))


def test_what_was_backed_up_is_there_after_a_restore(
    client: Client, fleet: Fleet, playbook: Playbook, pg: None, backups: Path
) -> None:
    with writing() as writer:
        play(playbook, "backup", volume_name="pg-data", volume_dest=str(backups))
    before = sql(client, "SELECT id FROM rows ORDER BY id")
    archive = newest(backups, "pg-data")
    assert lost(client, writer) == set()
    sql(client, "DROP TABLE rows")

    wanted = {"volume_name": "pg-data", "volume_archive": archive}
    refused = playbook("restore-volume.yml", "-e", json.dumps(wanted))
    assert "pg.1 has volume pg-data now" in refused.stdout
    play(playbook, "restore", **wanted, volume_quiesce="stop")

    # Rows that were written while the volume was no longer held are none of the backup's.
    restored = sql(client, "SELECT id FROM rows ORDER BY id")
    assert restored == before[: len(restored)]
    assert len(restored) >= 5
    assert fleet("ssh", NODE, "ls /var/lib/warren/volume-transfers").split() == []
    kept = fleet("ssh", NODE, "ls -A /var/lib/warren-volumes").split()
    assert [name for name in kept if name.startswith(".")] == []


def test_a_backup_by_a_command_stops_nothing(
    client: Client, playbook: Playbook, pg: None, backups: Path
) -> None:
    """PostgreSQL's own base backup, taken into a volume of its own, becomes the data."""
    began = the_task(client).status.since
    with writing() as writer:
        already = set(writer.committed)
        play(
            playbook,
            "backup",
            volume_name="pg-base",
            volume_dest=str(backups),
            volume_quiesce="exec",
            volume_before=["sh", "-c", "rm -rf /base/* && pg_basebackup -D /base -c fast"],
            volume_after=["sh", "-c", "rm -rf /base/*"],
        )
        assert the_task(client).status.since == began
    assert lost(client, writer) == set()
    sql(client, "DELETE FROM rows")

    play(
        playbook,
        "restore",
        volume_name="pg-data",
        volume_archive=newest(backups, "pg-base"),
        volume_quiesce="stop",
    )

    assert already <= {int(line) for line in sql(client, "SELECT id FROM rows")}
