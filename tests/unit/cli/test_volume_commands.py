"""`warren volume` and `--mount`, against a manager in memory."""

import yaml
from warren.model.services import MountSpec
from warren.model.units import Bytes
from warren.model.volumes import MountKind, VolumeSpec

from tests.modules.fake_manager import FakeManager
from tests.unit.cli.command import Ran, Run


def test_a_volume_is_created_listed_and_removed(warren: Run, manager: FakeManager) -> None:
    created = warren("volume", "create", "data", "--uid", "999", "--mode", "0700", "-l", "team=a")
    stored = manager.state.volumes["data"].spec
    again = warren("volume", "create", "data")
    listed = warren("volume", "ls")
    removed = warren("volume", "rm", "data")
    twice = warren("volume", "rm", "data")

    assert created == Ran(0, "data: created\n", "")
    assert stored == VolumeSpec(name="data", uid=999, mode="0700", labels={"team": "a"})
    assert again == Ran(1, "", "warren: there is a volume data already\n")
    assert listed.out.splitlines() == [
        "NAME  DRIVER  NODE  SIZE  SHARED  SERVICES",
        "data  local   -     -     no      -",
    ]
    assert removed == Ran(0, "data: removed\n", "")
    assert twice == Ran(1, "", "warren: there is no volume data\n")
    assert manager.state.volumes == {}


def test_a_service_mounts_what_the_options_say(warren: Run, manager: FakeManager) -> None:
    warren("volume", "create", "data")
    created = warren(
        *("service", "create", "pg", "pg:1", "--detach"),
        *("--mount", "source=data,target=/data"),
        *("--mount", "type=tmpfs,target=/tmp,size=64MiB"),
        *("--mount", "type=bind,source=/srv/certs,target=/certs,read_only=true"),
    )
    refused = warren("volume", "rm", "data")

    assert created.code == 0, created.err
    assert manager.state.services["pg"].spec.mounts == (
        MountSpec(source="data", target="/data"),
        MountSpec(type=MountKind.TMPFS, target="/tmp", size=Bytes(64 * 2**20)),
        MountSpec(type=MountKind.BIND, source="/srv/certs", target="/certs", read_only=True),
    )
    assert refused == Ran(1, "", "warren: volume data is used by service pg\n")


def test_a_mount_that_says_nothing_of_use_is_refused(warren: Run) -> None:
    unknown = warren("service", "create", "pg", "pg:1", "--mount", "source=data,target=/d")
    wrong = warren("service", "create", "pg", "pg:1", "--mount", "target=/d,tpye=tmpfs")

    assert unknown == Ran(1, "", "warren: pg.mounts[0].source: there is no volume data\n")
    assert wrong == Ran(1, "", "warren: pg.mounts[0].tpye: unknown key (did you mean type?)\n")


def test_a_volume_is_released_and_says_what_stays(warren: Run, manager: FakeManager) -> None:
    warren("volume", "create", "data", "--node", "m1")
    identity = manager.state.volumes["data"].id

    released = warren("volume", "release", "data")

    assert released == Ran(
        0,
        "data: goes to the node of its next task; what m1 has of it stays there, in "
        f"data.{identity}\n",
        "",
    )
    assert manager.state.volumes["data"].node_name == ""


def test_a_volume_is_shown_in_full(warren: Run, manager: FakeManager) -> None:
    warren("volume", "create", "data", "--shared")

    shown = yaml.safe_load(warren("volume", "inspect", "data").out)

    assert {key: shown[key] for key in ("name", "driver", "shared", "services", "size")} == {
        "name": "data",
        "driver": "local",
        "shared": True,
        "services": [],
        "size": None,
    }


def test_names_of_volumes_are_completed(warren: Run) -> None:
    warren("volume", "create", "data")

    assert "data" in warren("__complete", "warren", "volume", "rm", "").out.split()
