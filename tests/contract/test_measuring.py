"""What a node measures of the way to others, on real packets between network namespaces."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from warren.drivers.pings import Pinger
from warren.model.views import MeshLink
from warren.testing.fake_mesh import FakeMesh
from warren.worker import measuring

from tests.contract import namespaces
from tests.contract.namespaces import run
from tests.contract.peers import a_config, a_peer

_SECOND = timedelta(seconds=1)
_DROPS_LARGE = """
table ip narrow {
  chain in {
    type filter hook prerouting priority -300
    ip length > 1300 drop
  }
}
"""


@pytest.fixture
def way(private_network: None) -> Iterator[str]:
    """Between this namespace, 10.86.0.1, and another, 10.86.0.2; the name of the other."""
    with namespaces.own_network(), ExitStack() as stack:
        other = stack.enter_context(namespaces.host("far"))
        run(f"ip link add near type veth peer name far netns {other}")
        run("ip addr add 10.86.0.1/24 dev near")
        run("ip link set near up")
        run(f"ip -n {other} addr add 10.86.0.2/24 dev far")
        run(f"ip -n {other} link set far up")
        yield other


async def test_a_packet_comes_back(way: str) -> None:
    with Pinger("10.86.0.2") as target:
        times = [await target.ping(size, _SECOND) for size in (64, 1500)]

    assert all(taken is not None and timedelta() < taken < _SECOND for taken in times)


async def test_what_does_not_fit_or_is_not_there_has_no_time(way: str) -> None:
    with Pinger("10.86.0.2") as target, Pinger("10.86.0.3") as nobody:
        assert await target.ping(1501, _SECOND) is None
        assert await nobody.ping(64, timedelta(seconds=0.1)) is None


async def test_measures_every_peer_and_finds_the_size_that_passes(way: str) -> None:
    run("nft -f -", netns=way, text=_DROPS_LARGE)
    mesh = FakeMesh()
    peers = (a_peer(2), a_peer(3))
    await mesh.apply(a_config(*peers))
    now = datetime(2026, 1, 1, tzinfo=UTC)
    mesh.handshake(a_peer(2).public_key, now - timedelta(seconds=7))

    found = await measuring.measure(mesh, peers, source="n1", mtu=1420, now=now)

    near, nobody = found
    assert timedelta() < near.latency < _SECOND
    assert 1300 - measuring.STEP <= near.mtu <= 1300
    assert replace(near, latency=_SECOND, mtu=0) == MeshLink(
        source="n1",
        target="n2",
        reachable=True,
        latency=_SECOND,
        handshake_age=timedelta(seconds=7),
        endpoint="192.168.9.2:51820",
    )
    assert nobody == MeshLink(source="n1", target="n3", endpoint="192.168.9.3:51820")


async def test_two_hundred_peers_that_are_not_there_take_a_few_seconds(way: str) -> None:
    peers = tuple(a_peer(number) for number in range(3, 203))
    mesh = FakeMesh()
    await mesh.apply(a_config(*peers))

    begin = datetime.now(UTC)
    found = await measuring.measure(mesh, peers, source="n1", mtu=1420, now=begin)

    assert {link.reachable for link in found} == {False}
    assert datetime.now(UTC) - begin < timedelta(seconds=8)
