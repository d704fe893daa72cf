"""The contract of `Mesh`, and what only real tunnels can show, with wireguard-go.

Hosts are network namespaces on one bridge, each with a wireguard-go of its own. The kernel's
WireGuard is in test_wireguard_kernel.py: most machines that run tests lack it.
"""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from warren.drivers.ports import Mesh, PeerStatus
from warren.drivers.wireguard import WireGuard
from warren.drivers.wireguard_userspace import UserspaceDevice
from warren.model.errors import DriverError
from warren.model.nodes import NodeMesh
from warren.testing.fake_mesh import FakeMesh
from warren.worker.mesh import MeshUpkeep

from tests.contract import mesh_hosts, namespaces
from tests.contract.mesh_hosts import Host, connect, peer_of, start
from tests.contract.namespaces import run
from tests.contract.peers import a_config, a_key, a_peer


@pytest.fixture
def hosts(private_network: None, tmp_path: Path) -> Iterator[tuple[Host, Host]]:
    """Two hosts, numbers 1 and 2, with devices that know nothing yet."""
    namespaces.require("ip", "wireguard-go", "ping")
    with namespaces.own_network(), ExitStack() as stack:
        mesh_hosts.make_bridge()
        yield Host(1, stack, tmp_path), Host(2, stack, tmp_path)


@pytest.fixture(params=["fake", "userspace"])
def mesh(request: pytest.FixtureRequest) -> Iterator[Mesh]:
    """On host 1."""
    if request.param == "fake":
        yield FakeMesh()
        return
    first, _ = request.getfixturevalue("hosts")
    with namespaces.entered(first.netns):
        yield first.mesh


async def test_the_key_stays_the_same(mesh: Mesh) -> None:
    first = await mesh.public_key()

    assert await mesh.public_key() == first
    assert len(first) == 44


async def test_peers_are_as_applied(mesh: Mesh) -> None:
    await mesh.apply(a_config(a_peer(2), a_peer(3)))

    assert sorted(quiet(await mesh.peers()), key=lambda peer: peer.endpoint) == [
        a_status(2),
        a_status(3),
    ]


@pytest.mark.parametrize("count", [30, 200])
async def test_no_peer_is_lost_among_many(mesh: Mesh, count: int) -> None:
    numbers = range(2, 2 + count)

    await mesh.apply(a_config(*(a_peer(number) for number in numbers)))

    found = {peer.public_key: peer.allowed_ips for peer in await mesh.peers()}
    assert found == {a_status(n).public_key: a_status(n).allowed_ips for n in numbers}


async def test_peers_that_are_no_longer_named_go(mesh: Mesh) -> None:
    await mesh.apply(a_config(a_peer(2), a_peer(3)))

    await mesh.apply(a_config(a_peer(3)))

    assert quiet(await mesh.peers()) == [a_status(3)]


async def test_a_subnet_moves_to_another_peer(mesh: Mesh) -> None:
    await mesh.apply(a_config(a_peer(2), a_peer(3, subnet="10.88.30.0/24")))

    await mesh.apply(a_config(a_peer(2, subnet="10.88.30.0/24"), a_peer(3)))

    found = {peer.public_key: peer.allowed_ips for peer in await mesh.peers()}
    assert found == {
        a_key("n2"): ("10.86.0.2/32", "10.88.30.0/24"),
        a_key("n3"): ("10.86.0.3/32", "10.88.3.0/24"),
    }


async def test_who_claims_anothers_subnet_is_named_and_the_rest_goes_on(mesh: Mesh) -> None:
    await mesh.apply(a_config(a_peer(3)))

    with pytest.raises(DriverError) as refused:
        await mesh.apply(a_config(a_peer(2, subnet="10.88.0.0/22"), a_peer(3), a_peer(4)))

    assert str(refused.value) == "node n2 claims 10.88.0.0/22 in the mesh, which this node has"
    found = sorted(quiet(await mesh.peers()), key=lambda peer: peer.endpoint)
    assert found == [a_status(3), a_status(4)]


async def test_the_next_key_waits_beside_the_other_until_it_takes_its_place(mesh: Mesh) -> None:
    first = await mesh.public_key()
    following = await mesh.next_public_key()

    before = (await mesh.public_key(), await mesh.next_public_key())
    await mesh.switch_key()
    after = await mesh.public_key()
    await mesh.switch_key()

    assert before == (first, following)
    assert after == following != first
    assert await mesh.next_public_key() not in (first, following)


async def test_packets_fit_into_the_underlay(mesh: Mesh) -> None:
    assert await mesh.mtu() == 1420


async def test_hosts_and_their_task_networks_reach_each_other(hosts: tuple[Host, Host]) -> None:
    first, second = hosts
    await connect(first, second)

    run(f"ip -n {second.netns} addr add 10.88.2.2/32 dev lo")

    run("ping -c 1 -W 2 10.86.0.2", netns=first.netns)
    run("ping -c 1 -W 2 10.88.2.2", netns=first.netns)
    (peer,) = await first.mesh.peers()
    assert peer.latest_handshake is not None


async def test_interface_has_address_mtu_and_routes(hosts: tuple[Host, Host]) -> None:
    first, _ = hosts

    with namespaces.entered(first.netns):
        await first.mesh.apply(a_config(a_peer(2)))

    link = first.ip(f"-o link show {first.interface}")[0]
    assert "mtu 1420" in link
    assert ",UP," in link
    assert first.ip(f"-o -4 addr show {first.interface}")[0].split()[3] == "10.86.0.1/32"
    assert first.ip("route") == [
        f"10.86.0.0/16 dev {first.interface} proto 87 scope link src 10.86.0.1",
        f"10.88.0.0/14 dev {first.interface} proto 87 scope link src 10.86.0.1",
        "unreachable 10.88.1.0/24 proto 87",
        "192.168.9.0/24 dev under0 proto kernel scope link src 192.168.9.1",
    ]


async def test_routes_of_an_earlier_configuration_go(hosts: tuple[Host, Host]) -> None:
    first, _ = hosts
    with namespaces.entered(first.netns):
        await first.mesh.apply(a_config(number=7))

        await first.mesh.apply(a_config())

    assert first.ip(f"-o -4 addr show {first.interface}")[0].split()[3] == "10.86.0.1/32"
    assert [line for line in first.ip("route") if "10.88.7.0" in line or ".0.7" in line] == []


async def test_a_second_apply_changes_nothing(hosts: tuple[Host, Host]) -> None:
    first, _ = hosts
    config = a_config(a_peer(2), a_peer(3))
    device = RecordingDevice(first.interface)
    mesh = WireGuard(
        first.interface,
        userspace=True,
        key_path=first.mesh._key_path,
        underlay_address="192.168.9.1",
        device=device,
    )
    with namespaces.entered(first.netns):
        await mesh.apply(config)
        wrote = len(device.sets)

        await mesh.apply(config)

    assert wrote == 2
    assert device.sets[wrote:] == []


async def test_no_packet_is_lost_while_others_come_and_go(hosts: tuple[Host, Host]) -> None:
    first, second = hosts
    await connect(first, second)
    config = a_config(await peer_of(second))
    command = "ping -c 150 -i 0.01 -W 2 10.86.0.2"
    ping = start(first, command)

    with namespaces.entered(first.netns):
        for number in range(3, 33):
            config = replace(config, peers=(*config.peers, a_peer(number)))
            await first.mesh.apply(config)
        for _ in range(30):
            config = replace(config, peers=config.peers[:-1])
            await first.mesh.apply(config)

    assert "150 received" in ping.communicate()[0]


async def test_all_comes_back_when_wireguard_go_was_restarted(hosts: tuple[Host, Host]) -> None:
    first, second = hosts
    await connect(first, second)
    first.stop_device()
    first.start_device()

    with namespaces.entered(first.netns):
        await first.mesh.apply(a_config(await peer_of(second)))

    run("ping -c 1 -W 5 10.86.0.2", netns=first.netns)


async def test_whoever_keeps_the_mesh_sets_it_up_when_wireguard_go_was_killed(
    hosts: tuple[Host, Host],
) -> None:
    first, second = hosts
    await connect(first, second)
    config = a_config(await peer_of(second))
    own = NodeMesh(public_key="", endpoint="", address=config.address, subnet=config.subnet)
    with namespaces.entered(first.netns):
        upkeep = MeshUpkeep(first.mesh, interface=first.interface, index_of=index_here)
        upkeep.want(config, own)
        async with asyncio.TaskGroup() as group:
            loop = group.create_task(upkeep.run())
            await asyncio.sleep(0.5)

            first.kill_device()
            first.start_device()
            await until_answered("10.86.0.2", timedelta(seconds=5))

            loop.cancel()


async def test_an_endpoint_that_works_is_left_alone(hosts: tuple[Host, Host]) -> None:
    first, second = hosts
    await connect(first, second)
    elsewhere = replace(await peer_of(second), endpoint="192.168.9.99:51820")

    with namespaces.entered(first.netns):
        await first.mesh.apply(a_config(elsewhere))

    (peer,) = await first.mesh.peers()
    assert peer.endpoint == "192.168.9.2:51820"


async def test_an_endpoint_that_never_worked_is_replaced(hosts: tuple[Host, Host]) -> None:
    first, second = hosts
    wrong = replace(await peer_of(second), endpoint="192.168.9.99:51820")
    with namespaces.entered(first.netns):
        await first.mesh.apply(a_config(wrong))

        await first.mesh.apply(a_config(await peer_of(second)))

    (peer,) = await first.mesh.peers()
    assert peer.endpoint == "192.168.9.2:51820"


async def test_an_address_that_no_local_task_has_is_unreachable_at_once(
    hosts: tuple[Host, Host],
) -> None:
    first, second = hosts
    await connect(first, second)

    printed, code = namespaces.attempt("ping -c 1 -W 2 10.88.1.77", netns=first.netns)

    assert "No route to host" in printed
    assert code != 0


async def test_a_change_of_mtu_leaves_the_interface_and_its_sessions_alone(
    hosts: tuple[Host, Host],
) -> None:
    first, second = hosts
    await connect(first, second)
    index = first.ip(f"-o link show {first.interface}")[0].partition(":")[0]
    handshake = (await first.mesh.peers())[0].latest_handshake
    ping = start(first, "ping -c 50 -i 0.01 -W 2 10.86.0.2")

    for mtu in (1300, 1420, 1280):
        with namespaces.entered(first.netns):
            await first.mesh.apply(replace(a_config(await peer_of(second)), mtu=mtu))

    assert "50 received" in ping.communicate()[0]
    link = first.ip(f"-o link show {first.interface}")[0]
    assert link.startswith(f"{index}:")
    assert "mtu 1280" in link
    assert (await first.mesh.peers())[0].latest_handshake == handshake


async def test_a_peer_that_is_not_where_it_says_is_found_where_it_was_seen(
    hosts: tuple[Host, Host],
) -> None:
    first, second = hosts
    clock = [datetime.now(UTC)]
    mesh = WireGuard(
        first.interface,
        userspace=True,
        key_path=first.mesh._key_path,
        underlay_address="192.168.9.1",
        now=lambda: clock[0],
    )
    with namespaces.entered(second.netns):
        await second.mesh.apply(a_config(await peer_of(first), number=2))
    behind_nat = replace(
        await peer_of(second), endpoint="192.168.9.99:51820", seen_endpoint="192.168.9.2:51820"
    )
    config = a_config(behind_nat)
    found = []

    for seconds in (0, 1, 14, 2):
        clock[0] += timedelta(seconds=seconds)
        with namespaces.entered(first.netns):
            await mesh.apply(config)
        found.append((await mesh.peers())[0].endpoint)

    assert found == ["192.168.9.99:51820"] * 3 + ["192.168.9.2:51820"]
    run("ping -c 1 -W 6 10.86.0.2", netns=first.netns)


async def test_no_ping_is_lost_when_a_node_gets_a_new_key(hosts: tuple[Host, Host]) -> None:
    first, second = hosts
    await connect(first, second)
    old = await peer_of(second)
    new = replace(old, public_key=await second.mesh.next_public_key())
    offered = replace(old, next_public_key=new.public_key)
    pings = [
        start(first, "ping -c 300 -i 0.01 -W 2 10.86.0.2"),
        start(second, "ping -c 300 -i 0.01 -W 2 10.86.0.1"),
    ]
    await asyncio.sleep(0.5)  # of pings before, as there are of pings after

    with namespaces.entered(first.netns):
        await first.mesh.apply(a_config(offered))
        await first.mesh.apply(a_config(replace(offered, switching=True)))
    await second.mesh.switch_key()
    with namespaces.entered(second.netns):
        await second.mesh.apply(a_config(await peer_of(first), number=2))
    await asyncio.sleep(0.1)  # as long as the cluster takes to tell
    with namespaces.entered(first.netns):
        await first.mesh.apply(a_config(new))

    printed = [ping.communicate()[0] for ping in pings]
    assert ["300 received" in text for text in printed] == [True, True], printed
    assert [peer.public_key for peer in await first.mesh.peers()] == [new.public_key]


async def test_a_new_key_is_followed_though_nobody_says_that_it_is_used(
    hosts: tuple[Host, Host],
) -> None:
    first, second = hosts
    await connect(first, second)
    new_key = await second.mesh.next_public_key()
    switching = replace(await peer_of(second), next_public_key=new_key, switching=True)
    with namespaces.entered(first.netns):
        await first.mesh.apply(a_config(switching))
    await second.mesh.switch_key()
    with namespaces.entered(second.netns):
        await second.mesh.apply(a_config(await peer_of(first), number=2))
    ping = start(second, "ping -c 100 -i 0.1 -W 2 10.86.0.1")

    keys = [""]
    async with asyncio.timeout(15):
        while keys != [new_key]:
            await asyncio.sleep(0.2)  # the driver is called in this rhythm while a peer switches
            with namespaces.entered(first.netns):
                await first.mesh.apply(a_config(switching))
            keys = [peer.public_key for peer in await first.mesh.peers()]

    ping.terminate()
    ping.communicate()
    run("ping -c 1 -W 2 10.86.0.1", netns=second.netns)


async def test_without_wireguard_go_the_error_names_its_service(tmp_path: Path) -> None:
    device = UserspaceDevice("wt0", sockets=tmp_path)

    with pytest.raises(DriverError) as refused:
        await device.read()

    assert str(refused.value) == (
        f"wireguard-go does not answer on {tmp_path}/wt0.sock: is warren-wireguard running?"
    )


async def test_the_private_key_is_in_no_message(hosts: tuple[Host, Host]) -> None:
    first, _ = hosts
    with namespaces.entered(first.netns):
        await first.mesh.apply(a_config(a_peer(2)))
    key = first.mesh._key_path.read_text().strip()

    device = await UserspaceDevice(first.interface).read()

    assert device.private_key == key
    assert key not in repr(device)


class RecordingDevice(UserspaceDevice):
    """Remembers what it was told to set."""

    def __init__(self, interface: str) -> None:
        super().__init__(interface)
        self.sets: list[str] = []

    async def _exchange(self, text: str) -> list[str]:
        if text.startswith("set"):
            self.sets.append(text)
        return await super()._exchange(text)


def index_here(name: str) -> int | None:
    """As the worker's, for the network namespace of this thread: /sys shows another."""
    try:
        return socket.if_nametoindex(name)
    except OSError:
        return None


async def until_answered(address: str, patience: timedelta) -> None:
    """Ping until there is an answer."""
    async with asyncio.timeout(patience.total_seconds()):
        while True:
            ping = await asyncio.create_subprocess_exec(
                "ping", "-c", "1", "-W", "1", address, stdout=asyncio.subprocess.DEVNULL
            )
            if await ping.wait() == 0:
                return


def a_status(number: int) -> PeerStatus:
    """Peer `n<number>`, of whom nothing was heard."""
    peer = a_peer(number)
    return PeerStatus(
        public_key=peer.public_key,
        endpoint=peer.endpoint,
        allowed_ips=(f"{peer.address}/32", peer.subnet),
        latest_handshake=None,
    )


def quiet(peers: tuple[PeerStatus, ...]) -> list[PeerStatus]:
    """Without what a device sends on its own: handshakes to whoever should be there."""
    return [replace(peer, sent_bytes=0) for peer in peers]
