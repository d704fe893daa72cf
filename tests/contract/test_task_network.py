"""The contract of `TaskNetwork`."""

import json
from pathlib import Path

import pytest
from warren.drivers.cni import CniNetwork
from warren.drivers.ports import TaskNetwork
from warren.model.errors import DriverError
from warren.testing.fake_network import FakeTaskNetwork


class Configured:
    """A task network, and what it was told last."""

    def __init__(self, network: TaskNetwork, directory: Path) -> None:
        self.network = network
        self.path = directory / "cni" / "10-warren.conflist"

    def last(self) -> tuple[str, int]:
        """Subnet and MTU."""
        if isinstance(self.network, FakeTaskNetwork):
            return self.network.configured[-1]
        (plugin,) = json.loads(self.path.read_text())["plugins"]
        ((subnet,),) = plugin["ipam"]["ranges"]
        return subnet["subnet"], plugin["mtu"]


@pytest.fixture(params=["fake", "cni"])
def configured(request: pytest.FixtureRequest, tmp_path: Path) -> Configured:
    (tmp_path / "ip_forward").write_text("0\n")
    cni = CniNetwork(tmp_path / "cni", ip_forward=tmp_path / "ip_forward")
    return Configured(FakeTaskNetwork() if request.param == "fake" else cni, tmp_path)


async def test_is_as_configured_last(configured: Configured) -> None:
    await configured.network.configure("10.88.1.0/24", 1420)
    await configured.network.configure("10.88.1.0/24", 1400)

    assert configured.last() == ("10.88.1.0/24", 1400)


async def test_the_same_again_does_not_disturb_the_runtime(tmp_path: Path) -> None:
    (tmp_path / "ip_forward").write_text("0\n")
    network = CniNetwork(tmp_path, ip_forward=tmp_path / "ip_forward")
    await network.configure("10.88.1.0/24", 1420)
    before = (tmp_path / "10-warren.conflist").stat()

    await network.configure("10.88.1.0/24", 1420)

    after = (tmp_path / "10-warren.conflist").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


async def test_the_host_forwards_packets(tmp_path: Path) -> None:
    (tmp_path / "ip_forward").write_text("0\n")

    await CniNetwork(tmp_path, ip_forward=tmp_path / "ip_forward").configure("10.88.1.0/24", 1420)

    assert (tmp_path / "ip_forward").read_text() == "1\n"


async def test_says_what_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(DriverError) as refused:
        await CniNetwork(tmp_path / "file").configure("10.88.1.0/24", 1420)

    assert str(refused.value).startswith("cannot configure the task network: ")
    assert str(tmp_path / "file") in str(refused.value)
