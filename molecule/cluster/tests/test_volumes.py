"""Volumes on real hosts: what is written stays, tasks go where it is, only a removal ends it."""

import uuid
from collections.abc import Iterator
from datetime import timedelta

import pytest
from conftest import INVENTORY, run, wait_until
from warren.client import volumes
from warren.client.client import Client
from warren.client.waits import wait_service, wait_service_gone
from warren.model.errors import FailedPrecondition
from warren.model.nodes import Availability, NodeSpec
from warren.model.services import MountSpec, ServiceSpec
from warren.model.tasks import TaskState
from warren.model.units import Bytes
from warren.model.volumes import MountKind, VolumeSpec

IMAGE = "10.78.0.1:5000/hello:1"
MINUTE = timedelta(minutes=1)
SECONDS = timedelta(seconds=10)
FIELDS = ("name", "image", "mounts", "env", "replicas")
TELLS = (
    *("busybox", "sh", "-c"),
    'trap "echo end \\$ME >> /data/log; exit 0" TERM; echo begin $ME >> /data/log; '
    "while true; do busybox sleep 0.1; done",
)
"""Says in its volume when it begins, and when it ends."""


@pytest.fixture
def name(client: Client) -> Iterator[str]:
    """Of a service and a volume that are gone afterwards."""
    name = f"scratch-{uuid.uuid4().hex[:6]}"
    yield name
    remove_service(client, name)
    volumes.remove(client, name, timeout=MINUTE)


def remove_service(client: Client, name: str) -> None:
    if any(view.service.spec.name == name for view in client.list_services()):
        client.delete_service(name)
        wait_service_gone(client, name, timeout=MINUTE)


def a_spec(name: str, *more: MountSpec, **values: object) -> ServiceSpec:
    mounts = (MountSpec(source=name, target="/data"), *more)
    return ServiceSpec(name=name, image=IMAGE, mounts=mounts, **values)  # type: ignore[arg-type]


def deploy(client: Client, spec: ServiceSpec) -> None:
    client.apply_service(spec, FIELDS)
    wait_service(client, spec.name, timeout=MINUTE)


def said(client: Client, name: str, command: str) -> str:
    words = ("busybox", "sh", "-c", command)
    return client.execute(f"{name}.1", words, timeout=SECONDS).stdout.decode().strip()


def on_host(host: str, command: str) -> str:
    words = ("ansible", "-i", str(INVENTORY), host, "-o", "-m", "ansible.builtin.shell")
    return run(*words, "-a", command).stdout


def node_of(client: Client, name: str) -> str:
    return client.get_service(name).node_names[0]


def test_what_is_written_survives_kills_updates_and_a_new_service(
    client: Client, name: str
) -> None:
    client.apply_volume(VolumeSpec(name=name, uid=7, mode="0750"), ("uid", "mode"))
    deploy(client, a_spec(name))
    node = node_of(client, name)
    assert said(client, name, "busybox stat -c '%a %u' /data") == "750 7"
    said(client, name, "echo committed > /data/row && busybox sync")
    began = client.get_service(name).tasks[0].status.since

    restart = ("ansible.builtin.systemd_service", "-a", "name=warren-worker state=restarted")
    run("ansible", "-i", str(INVENTORY), node, "-m", *restart)
    said(client, name, "busybox kill -9 1; busybox killall busybox")
    wait_until(lambda: client.get_service(name).tasks[0].status.since > began, seconds=30)
    wait_service(client, name, timeout=MINUTE)
    assert said(client, name, "busybox cat /data/row") == "committed"

    deploy(client, a_spec(name, env={"A": "1"}))
    assert (node_of(client, name), said(client, name, "busybox cat /data/row")) == (
        node,
        "committed",
    )

    remove_service(client, name)
    deploy(client, a_spec(name))
    assert (node_of(client, name), said(client, name, "busybox cat /data/row")) == (
        node,
        "committed",
    )
    view = client.get_volume(name)
    assert (view.volume.node_name, view.services, view.tasks) == (node, (name,), (f"{name}.1",))
    assert view.usage is not None
    assert view.usage.size > 0


def test_an_update_never_has_two_writers(client: Client, name: str) -> None:
    """Each task says when it begins and ends; no two overlap."""
    client.apply_volume(VolumeSpec(name=name), ())
    spec = a_spec(name, command=TELLS)
    for revision in ("1", "2", "3"):
        client.apply_service(
            ServiceSpec(
                name=name,
                image=IMAGE,
                mounts=spec.mounts,
                command=spec.command,
                env={"ME": revision},
            ),
            (*FIELDS, "command"),
        )
        wait_service(client, name, timeout=2 * MINUTE)

    log = said(client, name, "busybox cat /data/log").splitlines()
    assert log == ["begin 1", "end 1", "begin 2", "end 2", "begin 3"]


def test_a_volume_keeps_its_task_on_its_node_and_says_so(client: Client, name: str) -> None:
    client.apply_volume(VolumeSpec(name=name), ())
    deploy(client, a_spec(name))
    node = node_of(client, name)
    client.apply_service(a_spec(name, replicas=0), FIELDS)
    wait_until(lambda: not running(client, name), seconds=60)
    spec = NodeSpec(name=node, availability=Availability.DRAIN)
    client.apply_node(node, spec, ("availability",))
    try:
        client.apply_service(a_spec(name, replicas=1), FIELDS)
        wanted = f"volume {name} is on {node}, which is draining"
        wait_until(lambda: wanted in messages(client, name), seconds=30)
    finally:
        spec = NodeSpec(name=node, availability=Availability.ACTIVE)
        client.apply_node(node, spec, ("availability",))
    wait_service(client, name, timeout=MINUTE)
    assert node_of(client, name) == node


def running(client: Client, name: str) -> list[str]:
    view = client.get_service(name)
    return [task.name for task in view.tasks if not task.status.state.terminal]


def messages(client: Client, name: str) -> list[str]:
    view = client.get_service(name)
    return [task.status.message for task in view.tasks if task.status.state is TaskState.PENDING]


def test_a_task_that_was_given_up_ends_before_the_next_one_begins(
    client: Client, name: str
) -> None:
    """Its agent hangs, so the cluster takes it for lost; its container goes on all the while."""
    client.apply_volume(VolumeSpec(name=name), ())
    spec = a_spec(name, command=TELLS, env={"ME": "one"})
    client.apply_service(spec, (*FIELDS, "command"))
    wait_service(client, name, timeout=MINUTE)
    node = node_of(client, name)
    pid = "$(systemctl show -p MainPID --value warren-worker)"

    on_host(node, f"kill -STOP {pid}")
    try:
        wanted = f"volume {name} is on {node}, which is not ready"
        wait_until(lambda: any(wanted in each for each in messages(client, name)), seconds=60)
        assert wanted in client.get_volume(name).trouble
    finally:
        on_host(node, f"kill -CONT {pid}")
    wait_service(client, name, timeout=MINUTE)

    log = said(client, name, "busybox cat /data/log").splitlines()
    assert (node_of(client, name), log) == (node, ["begin one", "end one", "begin one"])


def test_a_path_that_a_node_allows_is_mounted_there(client: Client, name: str) -> None:
    client.apply_volume(VolumeSpec(name=name), ())
    deploy(client, a_spec(name))
    node = node_of(client, name)
    config, restart = "/etc/warren/warren.toml", "systemctl restart warren-worker"
    on_host(node, "mkdir -p /srv/scratch && echo of-host > /srv/scratch/file")
    on_host(node, f"sed -i 's|^bind_paths = .*|bind_paths = [\"/srv\"]|' {config} && {restart}")
    try:
        bind = MountSpec(
            type=MountKind.BIND, source="/srv/scratch", target="/of-host", read_only=True
        )
        deploy(client, a_spec(name, bind))
        assert said(client, name, "busybox cat /of-host/file") == "of-host"
        assert said(client, name, "echo x 2> /dev/null > /of-host/file; echo $?") != "0"
    finally:
        on_host(node, f"sed -i 's|^bind_paths = .*|bind_paths = []|' {config} && {restart}")
        on_host(node, "rm -r /srv/scratch")


def test_a_path_that_no_node_allows_is_not_mounted(client: Client, name: str) -> None:
    client.apply_volume(VolumeSpec(name=name), ())
    bind = MountSpec(type=MountKind.BIND, source="/etc", target="/of-host")
    client.apply_service(a_spec(name, bind), FIELDS)

    wanted = "no node lets tasks mount /etc (bind_paths)"
    wait_until(lambda: any(wanted in each for each in messages(client, name)), seconds=30)


def test_memory_has_its_size_and_is_new_at_each_start(client: Client, name: str) -> None:
    client.apply_volume(VolumeSpec(name=name), ())
    tmpfs = MountSpec(type=MountKind.TMPFS, target="/scratch", size=Bytes(2 * 2**20), mode="0700")
    deploy(client, a_spec(name, tmpfs))
    node, began = node_of(client, name), client.get_service(name).tasks[0].status.since

    full = "busybox dd if=/dev/zero of=/scratch/x bs=1M count=5 2>&1 | busybox grep -c space"
    assert said(client, name, full) == "1"
    assert said(client, name, "busybox stat -c %a /scratch") == "700"
    said(client, name, "busybox kill -9 1; busybox killall busybox")
    wait_until(lambda: client.get_service(name).tasks[0].status.since > began, seconds=30)
    wait_service(client, name, timeout=MINUTE)
    assert said(client, name, "busybox ls /scratch") == ""

    remove_service(client, name)
    wait_until(lambda: "warren-mounts" not in on_host(node, "cat /proc/mounts"), seconds=30)


def test_only_a_removal_deletes_the_data(client: Client, name: str) -> None:
    client.apply_volume(VolumeSpec(name=name), ())
    deploy(client, a_spec(name))
    said(client, name, "echo 1 > /data/row")
    view = client.get_volume(name)
    assert view.usage is not None
    node, path = view.volume.node_name, view.usage.path

    with pytest.raises(FailedPrecondition, match=f"^volume {name} is used by service {name}$"):
        client.delete_volume(name)
    remove_service(client, name)
    assert "rc=0" in on_host(node, f"test -e {path}/row")

    assert volumes.remove(client, name, timeout=MINUTE)
    assert "gone" in on_host(node, f"test -e {path} || echo gone")


def test_a_released_volume_begins_anew_and_the_old_data_stays(client: Client, name: str) -> None:
    client.apply_volume(VolumeSpec(name=name), ())
    deploy(client, a_spec(name))
    said(client, name, "echo old > /data/row")
    before = client.get_volume(name)
    assert before.usage is not None
    remove_service(client, name)

    client.release_volume(name)
    deploy(client, a_spec(name))

    assert said(client, name, "busybox ls /data") == ""
    old = on_host(before.volume.node_name, f"cat {before.usage.path}/row")
    assert "old" in old
    on_host(before.volume.node_name, f"rm -r {before.usage.path}")
