"""The host's private WireGuard key: made once, kept, readable by its owner alone."""

import base64
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from warren.drivers import mesh_key
from warren.drivers.wireguard import WireGuard
from warren.model.errors import DriverError

_PRIVATE = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo="
_PUBLIC = "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="
"""Alice's keys in RFC 7748, 6.1."""


def test_makes_a_key_once_and_keeps_it(tmp_path: Path) -> None:
    path = tmp_path / "state" / "mesh.key"

    first = mesh_key.load_or_create(path)

    assert mesh_key.load_or_create(path) == first
    assert path.read_text() == f"{first}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["mesh.key"]


def test_a_new_key_has_the_form_of_a_private_key(tmp_path: Path) -> None:
    key = base64.b64decode(mesh_key.load_or_create(tmp_path / "mesh.key"))

    assert (len(key), key[0] % 8, key[31] // 64) == (32, 0, 1)


def test_derives_the_public_key(tmp_path: Path) -> None:
    path = tmp_path / "mesh.key"
    path.write_text(f"{_PRIVATE}\n")

    assert mesh_key.public_key(path) == _PUBLIC


def test_the_next_key_is_kept_beside_it_and_takes_its_place(tmp_path: Path) -> None:
    path = tmp_path / "mesh.key"
    first = mesh_key.load_or_create(path)
    following = mesh_key.load_or_create(mesh_key.next_path(path))

    before = mesh_key.load_or_create(path)
    switched = [mesh_key.switch(path), mesh_key.switch(path)]

    assert (before, switched) == (first, [True, False])
    assert mesh_key.load_or_create(path) == following
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["mesh.key"]


def test_what_is_no_key_takes_no_keys_place(tmp_path: Path) -> None:
    path = tmp_path / "mesh.key"
    first = mesh_key.load_or_create(path)
    mesh_key.next_path(path).write_text("no key")

    with pytest.raises(DriverError):
        mesh_key.switch(path)

    assert mesh_key.load_or_create(path) == first


async def test_the_driver_knows_its_new_key_after_the_switch(tmp_path: Path) -> None:
    path = tmp_path / "mesh.key"
    mesh = WireGuard("wt0", userspace=True, key_path=path, underlay_address="192.0.2.1")
    first, following = await mesh.public_key(), await mesh.next_public_key()

    await mesh.switch_key()

    assert await mesh.public_key() == following != first


async def test_the_driver_derives_it_in_another_process(tmp_path: Path) -> None:
    path = tmp_path / "mesh.key"
    path.write_text(f"{_PRIVATE}\n")

    mesh = WireGuard("wt0", userspace=True, key_path=path, underlay_address="192.0.2.1")

    assert await mesh.public_key() == _PUBLIC


@pytest.mark.parametrize("text", ["", "no key", "c2hvcnQ=", _PRIVATE[:-4]])
async def test_refuses_what_is_no_key(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mesh.key"
    path.write_text(text)

    with pytest.raises(DriverError) as refused:
        mesh_key.load_or_create(path)
    with pytest.raises(DriverError) as refused_by_driver:
        await WireGuard(
            "wt0", userspace=True, key_path=path, underlay_address="192.0.2.1"
        ).public_key()

    assert str(refused.value) == f"{path} does not hold a WireGuard key"
    assert str(refused_by_driver.value) == str(refused.value)


def test_the_drivers_leave_large_libraries_alone() -> None:
    program = (
        "import sys, warren.drivers.wireguard, warren.drivers.containerd\n"
        "assert 'cryptography' not in sys.modules\n"
        "assert 'pyroute2.ndb' not in sys.modules\n"
        "import pyroute2\n"
        "assert pyroute2.AsyncIPRoute is warren.drivers.netlink.AsyncIPRoute\n"
    )

    subprocess.run([sys.executable, "-c", program], check=True)
