"""Which mounts are refused at an Apply, and in which words."""

from typing import Any

import pytest
from warren.core import mount_specs
from warren.model.errors import WarrenError
from warren.model.rollouts import Strategy, UpdateOrder, UpdatePolicy
from warren.model.secrets import ConfigReference
from warren.model.services import MountSpec, ServiceMode, ServiceSpec
from warren.model.volumes import MountKind, Volume
from warren.testing.builders import a_mount, a_node, a_service, a_spec, a_state, a_volume

TMPFS, BIND = MountKind.TMPFS, MountKind.BIND


def refusal(spec: ServiceSpec, *volumes: Volume, services: Any = ()) -> str:
    state = a_state(nodes=[a_node("n1")], services=services, volumes=volumes or [a_volume()])
    with pytest.raises(WarrenError) as caught:
        mount_specs.check(spec, state)
    return str(caught.value)


def a_pg(*mounts: MountSpec, **values: Any) -> ServiceSpec:
    return a_spec("pg", mounts=mounts or (a_mount(),), **values)


def accepts(spec: ServiceSpec, *volumes: Volume, services: Any = ()) -> None:
    state = a_state(nodes=[a_node("n1")], services=services, volumes=volumes or [a_volume()])
    mount_specs.check(spec, state)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("data", "pg.mounts[0].target: 'data' is no whole, plain path in the container"),
        ("/", "pg.mounts[0].target: '/' is no whole, plain path in the container"),
        ("/a/../b", "pg.mounts[0].target: '/a/../b' is no whole, plain path in the container"),
        ("/a//b", "pg.mounts[0].target: '/a//b' is no whole, plain path in the container"),
        ("/proc/sys", "pg.mounts[0].target: /proc/sys is inside /proc, where none may be"),
        (
            "/run/secrets/a",
            "pg.mounts[0].target: /run/secrets/a is inside /run/secrets, where none may be",
        ),
    ],
)
def test_refuses_targets_that_are_no_place_for_a_mount(target: str, message: str) -> None:
    assert refusal(a_pg(a_mount(target=target))) == message


def test_refuses_two_mounts_at_one_place() -> None:
    spec = a_pg(a_mount(), MountSpec(type=TMPFS, target="/data"))

    assert refusal(spec) == "pg.mounts[1].target: /data is the target of mounts[0] already"


def test_refuses_a_mount_where_a_config_is() -> None:
    config = ConfigReference(name="settings", target="/data")

    message = "pg.mounts[0].target: /data is the file of settings already"
    assert refusal(a_pg(configs=(config,))) == message


@pytest.mark.parametrize(
    ("mount", "message"),
    [
        (MountSpec(target="/d"), "pg.mounts[0].source: is required: the name of a volume"),
        (
            MountSpec(type=BIND, source="etc", target="/d"),
            "pg.mounts[0].source: 'etc' is no whole, plain path of a node",
        ),
        (
            MountSpec(type=BIND, source="/srv/../etc", target="/d"),
            "pg.mounts[0].source: '/srv/../etc' is no whole, plain path of a node",
        ),
        (
            MountSpec(type=TMPFS, source="data", target="/d"),
            "pg.mounts[0].source: is for volumes and paths: a tmpfs has none",
        ),
        (
            MountSpec(type=TMPFS, target="/d", read_only=True),
            "pg.mounts[0].read_only: leaves nothing to a tmpfs",
        ),
        (
            MountSpec(source="data", target="/d", mode="0700"),
            "pg.mounts[0].mode: is for type tmpfs, not volume",
        ),
    ],
)
def test_refuses_what_a_type_does_not_have(mount: MountSpec, message: str) -> None:
    assert refusal(a_pg(mount)) == message


def test_refuses_a_volume_that_is_not_there() -> None:
    assert refusal(a_pg(a_mount("logs"))) == "pg.mounts[0].source: there is no volume logs"


def test_refuses_more_tasks_than_writers() -> None:
    assert refusal(a_pg(replicas=3)) == (
        "pg.mounts[0].source: volume data is not shared, so it has one writer, and the service has "
        "3 replicas"
    )


def test_many_tasks_may_read_or_share() -> None:
    accepts(a_pg(a_mount(read_only=True), replicas=3))
    accepts(a_pg(replicas=3), a_volume(shared=True))


def test_refuses_a_local_volume_to_a_global_service() -> None:
    assert refusal(a_pg(mode=ServiceMode.GLOBAL), a_volume(shared=True)) == (
        "pg.mounts[0].source: volume data is on one node, and a global service has tasks on all of "
        "them"
    )
    accepts(a_pg(mode=ServiceMode.GLOBAL), a_volume(driver="nfs", shared=True))


def test_refuses_strategies_that_have_two_writers() -> None:
    assert refusal(a_pg(update=UpdatePolicy(strategy=Strategy.BLUE_GREEN))) == (
        "pg.update.strategy: blue_green has old and new tasks beside each other, and volume data "
        "is not shared, so it has one writer"
    )


def test_refuses_an_update_that_could_not_stop_the_writer() -> None:
    assert refusal(a_pg(update=UpdatePolicy(min_healthy="1"))) == (
        "pg.update.min_healthy: 1 leaves none to stop before the next starts: volume data is not "
        "shared, so it has one writer"
    )
    accepts(a_pg(update=UpdatePolicy(order=UpdateOrder.START_FIRST)))


def test_refuses_a_second_service_that_writes() -> None:
    other = a_service("dump", mounts=(a_mount(),))

    assert refusal(a_pg(), services=[other]) == (
        "pg.mounts[0].source: volume data is not shared, and service dump writes to it"
    )
    accepts(a_pg(a_mount(read_only=True)), services=[other])


def test_refuses_volumes_on_different_nodes() -> None:
    spec = a_pg(a_mount("data"), a_mount("logs", "/logs"))

    assert refusal(spec, a_volume(node="n1"), a_volume("logs", node="n2")) == (
        "pg.mounts[1].source: volume logs is on n2, and volume data on n1"
    )
