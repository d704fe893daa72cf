"""The kernel's WireGuard, at the level of netlink messages: most test machines lack the module.

`Kernel` keeps a device as the kernel does and speaks in encoded messages, so that what we send and
read goes through the real wire format. It cuts its answers into pieces, also within one peer.
"""

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from pyroute2.netlink import NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST
from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.generic.wireguard import AsyncWireGuard, wgmsg
from warren.drivers.mesh_plan import Device, DevicePeer, Memory, PeerChange, plan
from warren.drivers.ports import PeerStatus
from warren.drivers.wireguard_kernel import KernelDevice
from warren.model.errors import DriverError

from tests.contract.peers import a_config, a_key, a_peer

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_PEERS_PER_MESSAGE = 7
_NETWORKS_PER_PIECE = 13


class Kernel:
    """A WireGuard device behind a socket; also its own factory and context manager."""

    prid = 30

    def __init__(self) -> None:
        self.attributes: dict[str, Any] = {"WGDEVICE_A_LISTEN_PORT": 0}
        self.peers: dict[str, dict[str, Any]] = {}
        self.failure = 0

    def __call__(self) -> "Kernel":
        return self

    async def __aenter__(self) -> "Kernel":
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing is open."""

    async def nlm_request(self, msg: wgmsg, msg_type: int, msg_flags: int) -> AsyncIterator[wgmsg]:
        if self.failure:
            raise NetlinkError(self.failure, "refused")
        assert msg_type == self.prid
        received = through_the_wire(msg)
        assert received.get_attr("WGDEVICE_A_IFNAME") == "warren0"
        if received["cmd"] == 0:
            assert msg_flags == NLM_F_REQUEST | NLM_F_DUMP
            return self._answers()
        assert msg_flags == NLM_F_REQUEST | NLM_F_ACK
        self._set(received)
        return _nothing()

    def _set(self, message: wgmsg) -> None:
        for name in ("WGDEVICE_A_PRIVATE_KEY", "WGDEVICE_A_LISTEN_PORT"):
            if message.get_attr(name) is not None:
                self.attributes[name] = message.get_attr(name)
        for part in message.get_attr("WGDEVICE_A_PEERS") or ():
            self._set_peer(part)

    def _set_peer(self, part: Any) -> None:
        key = part.get_attr("WGPEER_A_PUBLIC_KEY").decode()
        flags = part.get_attr("WGPEER_A_FLAGS")
        if flags & 1:
            self.peers.pop(key, None)
            return
        if flags & 4 and key not in self.peers:
            return
        peer = self.peers.setdefault(key, {"networks": set()})
        if flags & 2:
            peer["networks"] = set()
        for network in part.get_attr("WGPEER_A_ALLOWEDIPS") or ():
            for other in self.peers.values():
                other["networks"].discard(network["addr"])
            peer["networks"].add(network["addr"])
        for name in ("WGPEER_A_ENDPOINT", "WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL"):
            if part.get_attr(name) is not None:
                peer[name] = part.get_attr(name)

    async def _answers(self) -> AsyncIterator[wgmsg]:
        """Peers with two networks are cut in the middle now and then, as the kernel does."""
        parts = list(self._parts())
        for start in range(0, max(len(parts), 1), _PEERS_PER_MESSAGE):
            message = wgmsg()
            message["attrs"] = list(self.attributes.items()) if start == 0 else []
            message["attrs"].append(("WGDEVICE_A_PEERS", parts[start : start + _PEERS_PER_MESSAGE]))
            yield through_the_wire(message)

    def _parts(self) -> Iterator[dict[str, Any]]:
        for key, peer in self.peers.items():
            first, *rest = sorted(peer["networks"])
            yield {"attrs": [("WGPEER_A_PUBLIC_KEY", key), *_known(peer), _networks([first])]}
            for start in range(0, len(rest), _NETWORKS_PER_PIECE):
                piece = rest[start : start + _NETWORKS_PER_PIECE]
                yield {"attrs": [("WGPEER_A_PUBLIC_KEY", key), _networks(piece)]}


def through_the_wire(message: wgmsg) -> wgmsg:
    """Encoded and decoded again."""
    message.encode()
    received = wgmsg(message.data)
    received.decode()
    return received


async def apply(device: KernelDevice, *numbers: int) -> tuple[PeerChange, ...]:
    """Make these the device's peers, and say what that took."""
    config = a_config(*(a_peer(number) for number in numbers))
    found = plan(config, (await device.read()).peers, Memory(), _NOW)
    assert found.refusals == ()
    await device.change(found.changes)
    return found.changes


async def test_sets_and_reads_key_and_port() -> None:
    device = KernelDevice("warren0", socket=Kernel())

    await device.configure(a_key("private"), 51820)

    assert await device.read() == Device(private_key=a_key("private"), listen_port=51820, peers=())


async def test_reads_a_peer_as_it_was_set() -> None:
    device = KernelDevice("warren0", socket=Kernel())

    await apply(device, 2)

    assert (await device.read()).peers == (
        DevicePeer(
            status=PeerStatus(
                public_key=a_key("n2"),
                endpoint="192.168.9.2:51820",
                allowed_ips=("10.86.0.2/32", "10.88.2.0/24"),
                latest_handshake=None,
            ),
            keepalive_s=25,
        ),
    )


async def test_reads_handshake_and_counters() -> None:
    kernel = Kernel()
    device = KernelDevice("warren0", socket=kernel)
    await apply(device, 2)

    kernel.peers[a_key("n2")] |= {
        "WGPEER_A_LAST_HANDSHAKE_TIME": {"tv_sec": 1_767_225_600, "tv_nsec": 500_000_000},
        "WGPEER_A_RX_BYTES": 11,
        "WGPEER_A_TX_BYTES": 12,
    }

    status = (await device.read()).peers[0].status
    assert status.latest_handshake == datetime(2026, 1, 1, 0, 0, 0, 500_000, tzinfo=UTC)
    assert (status.received_bytes, status.sent_bytes) == (11, 12)


@pytest.mark.parametrize("count", [30, 200])
async def test_no_peer_is_lost_in_a_split_answer(count: int) -> None:
    device = KernelDevice("warren0", socket=Kernel())
    numbers = range(2, 2 + count)
    await apply(device, *numbers)

    again = await apply(device, *numbers)

    found = {
        peer.status.public_key: peer.status.allowed_ips for peer in (await device.read()).peers
    }
    assert again == ()
    assert found == {a_key(f"n{n}"): (f"10.86.0.{n}/32", f"10.88.{n}.0/24") for n in numbers}


@pytest.mark.parametrize("count", [30, 200])
async def test_no_network_is_lost_of_peers_that_are_cut_in_pieces(count: int) -> None:
    kernel = Kernel()
    device = KernelDevice("warren0", socket=kernel)
    networks = {
        a_key(f"n{n}"): tuple(sorted(f"10.{n}.{k}.0/24" for k in range(40)))
        for n in range(2, 2 + count)
    }

    await device.change(
        tuple(
            PeerChange(public_key=key, allowed_ips=found, endpoint="192.168.9.2:51820")
            for key, found in networks.items()
        )
    )

    answers = [answer async for answer in kernel._answers()]
    peers = (await device.read()).peers
    assert len(answers) > count * 2 // _PEERS_PER_MESSAGE
    assert len(peers) == count
    assert {p.status.public_key: p.status.allowed_ips for p in peers} == networks
    assert {p.status.endpoint for p in peers} == {"192.168.9.2:51820"}


async def test_removes_a_peer_and_touches_no_other() -> None:
    device = KernelDevice("warren0", socket=Kernel())
    await apply(device, *range(2, 32))

    changes = await apply(device, *range(3, 32))

    assert changes == (PeerChange(public_key=a_key("n2"), remove=True),)
    assert len((await device.read()).peers) == 29


async def test_a_refusal_names_the_interface() -> None:
    kernel = Kernel()
    kernel.failure = 1

    with pytest.raises(DriverError) as refused:
        await KernelDevice("warren0", socket=kernel).read()

    assert str(refused.value) == "WireGuard refused warren0: Operation not permitted"


def test_the_socket_of_the_library_is_what_we_expect() -> None:
    assert {"prid", "nlm_request", "__aenter__", "__aexit__"} <= set(dir(AsyncWireGuard))


async def _nothing() -> AsyncIterator[wgmsg]:
    for _ in ():
        yield wgmsg()


def _known(peer: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in peer.items() if name.startswith("WGPEER")]


def _networks(texts: list[str]) -> tuple[str, list[dict[str, Any]]]:
    """Attributes as the library builds them for a request: they have the answer's form."""
    return ("WGPEER_A_ALLOWEDIPS", AsyncWireGuard._wg_build_allowedips(None, texts))
