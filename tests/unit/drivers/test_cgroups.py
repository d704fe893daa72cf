"""Limits that CRI cannot carry, on the three kinds of host that there are."""

from pathlib import Path

import pytest
from warren.drivers.cgroups import TaskCgroups, shares_of
from warren.model.errors import DriverError
from warren.model.services import ResourceLimits, ResourceReservations, Resources

_RESOURCES = Resources(limits=ResourceLimits(pids=100), reservations=ResourceReservations(cpus=0.5))


@pytest.fixture
def v1(tmp_path: Path) -> Path:
    """A hierarchy per controller, and an empty v2 one beside them: "hybrid"."""
    for name in ("cpu", "memory", "pids", "unified"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def v2(tmp_path: Path) -> Path:
    """One hierarchy, whose root lists the controllers."""
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    return tmp_path


def files(root: Path) -> dict[str, str]:
    """All files and what is in them."""
    return {
        str(path.relative_to(root)): path.read_text() for path in root.rglob("*") if path.is_file()
    }


def test_v1_limits_the_parent_of_sandbox_and_container(v1: Path) -> None:
    cgroups = TaskCgroups(parent="/warren", root=v1)

    cgroups.prepare("web-1-aaaaa", _RESOURCES)

    assert cgroups.name("web-1-aaaaa") == "/warren/web-1-aaaaa"
    assert cgroups.unified(_RESOURCES) == {}
    assert files(v1) == {
        "cpu/warren/web-1-aaaaa/cpu.shares": "512",
        "pids/warren/web-1-aaaaa/pids.max": "101",
    }


def test_v2_weighs_the_parent_and_limits_the_container(v2: Path) -> None:
    cgroups = TaskCgroups(parent="/warren", root=v2)

    cgroups.prepare("web-1-aaaaa", _RESOURCES)

    assert cgroups.name("web-1-aaaaa") == "/warren/web-1-aaaaa"
    assert cgroups.unified(_RESOURCES) == {"pids.max": "100"}
    assert files(v2) == {
        "cgroup.controllers": "cpu memory pids\n",
        "cgroup.subtree_control": "+cpu +memory +pids",
        "warren/cgroup.subtree_control": "+cpu +memory +pids",
        "warren/web-1-aaaaa/cpu.weight": "20",
    }


def test_with_systemd_the_runtime_makes_everything(v2: Path) -> None:
    cgroups = TaskCgroups(parent="warren.slice", root=v2)

    cgroups.prepare("web-1-aaaaa", _RESOURCES)
    cgroups.clean("web-1-aaaaa")

    assert cgroups.name("web-1-aaaaa") == "warren.slice"
    assert cgroups.unified(_RESOURCES) == {"pids.max": "100"}
    assert files(v2) == {"cgroup.controllers": "cpu memory pids\n"}


def test_a_pids_limit_that_nothing_would_keep_is_refused(v1: Path) -> None:
    cgroups = TaskCgroups(parent="warren.slice", root=v1)

    with pytest.raises(DriverError) as refused:
        cgroups.prepare("web-1-aaaaa", _RESOURCES)

    assert str(refused.value) == (
        "a pids limit needs cgroup v2, or a runtime without SystemdCgroup"
    )


def test_cleans_every_hierarchy_and_keeps_what_is_in_use(v1: Path) -> None:
    cgroups = TaskCgroups(parent="/warren", root=v1)
    for name in ("cpu", "memory", "pids"):
        (v1 / name / "warren" / "web-1-aaaaa").mkdir(parents=True)
    (v1 / "memory" / "warren" / "web-1-aaaaa" / "container").mkdir()

    cgroups.clean("web-1-aaaaa")
    cgroups.clean("web-1-aaaaa")

    assert [str(path.relative_to(v1)) for path in sorted(v1.glob("*/warren/*"))] == [
        "memory/warren/web-1-aaaaa"
    ]


@pytest.mark.parametrize(
    ("cpus", "shares"), [(0.0, 2), (0.001, 2), (0.25, 256), (1.0, 1024), (1000.0, 262_144)]
)
def test_shares_follow_the_reservation(cpus: float, shares: int) -> None:
    assert shares_of(Resources(reservations=ResourceReservations(cpus=cpus))) == shares
