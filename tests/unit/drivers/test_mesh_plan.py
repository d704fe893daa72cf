"""Which changes a WireGuard device gets: as few as can be, removals first."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from warren.drivers.mesh_plan import DevicePeer, PeerChange, plan
from warren.drivers.ports import PeerStatus
from warren.model.assignments import Peer
from warren.model.errors import DriverError

_NOW = datetime(2026, 1, 1, tzinfo=UTC)


def a_peer(number: int, *, subnet: int | None = None, endpoint: str = "") -> Peer:
    return Peer(
        node_id=f"id{number}",
        name=f"n{number}",
        public_key=f"key{number:03}",
        endpoint=endpoint or f"10.77.0.{number}:51820",
        address=f"10.86.0.{number}",
        subnet=f"10.88.{number if subnet is None else subnet}.0/24",
    )


def on_device(peer: Peer, *, handshake: timedelta | None = None) -> DevicePeer:
    """The peer as the device has it; `handshake` is how long ago the last one was."""
    return DevicePeer(
        status=PeerStatus(
            public_key=peer.public_key,
            endpoint=peer.endpoint,
            allowed_ips=(f"{peer.address}/32", peer.subnet),
            latest_handshake=None if handshake is None else _NOW - handshake,
        ),
        keepalive_s=25,
    )


def test_a_new_peer_gets_everything() -> None:
    assert plan((), (a_peer(2),), _NOW) == (
        PeerChange(
            public_key="key002",
            endpoint="10.77.0.2:51820",
            allowed_ips=("10.86.0.2/32", "10.88.2.0/24"),
            keepalive_s=25,
        ),
    )


def test_a_peer_that_is_right_is_not_touched() -> None:
    assert plan((on_device(a_peer(2)),), (a_peer(2),), _NOW) == ()


def test_removals_come_before_who_takes_their_subnet() -> None:
    device = (on_device(a_peer(2)),)

    assert plan(device, (a_peer(1, subnet=2),), _NOW) == (
        PeerChange(public_key="key002", remove=True),
        PeerChange(
            public_key="key001",
            endpoint="10.77.0.1:51820",
            allowed_ips=("10.86.0.1/32", "10.88.2.0/24"),
            keepalive_s=25,
        ),
    )


@pytest.mark.parametrize("handshake", [None, timedelta(seconds=180), timedelta(hours=1)])
def test_a_dead_endpoint_is_replaced(handshake: timedelta | None) -> None:
    device = on_device(a_peer(2, endpoint="10.77.0.9:51820"), handshake=handshake)

    assert plan((device,), (a_peer(2),), _NOW) == (
        PeerChange(public_key="key002", update_only=True, endpoint="10.77.0.2:51820"),
    )


def test_an_endpoint_that_works_stays() -> None:
    device = on_device(a_peer(2, endpoint="10.77.0.9:51820"), handshake=timedelta(seconds=179))

    assert plan((device,), (a_peer(2),), _NOW) == ()


def test_a_missing_keepalive_is_set_alone() -> None:
    device = replace(on_device(a_peer(2)), keepalive_s=0)

    assert plan((device,), (a_peer(2),), _NOW) == (
        PeerChange(public_key="key002", update_only=True, keepalive_s=25),
    )


def test_overlapping_claims_are_refused() -> None:
    with pytest.raises(DriverError) as refused:
        plan((), (a_peer(2), a_peer(3, subnet=2)), _NOW)

    assert str(refused.value) == "nodes n2 and n3 both claim 10.88.2.0/24 in the mesh"


@pytest.mark.parametrize("endpoint", ["m2.example:51820", "10.77.0.2", "10.77.0.2:port"])
def test_an_endpoint_must_be_an_address(endpoint: str) -> None:
    with pytest.raises(DriverError) as refused:
        plan((), (a_peer(2, endpoint=endpoint),), _NOW)

    assert str(refused.value) == f"node n2: {endpoint!r} is not an IP address and a port"


def test_ipv6_endpoints_are_compared_by_value() -> None:
    device = on_device(a_peer(2, endpoint="[fd00::2]:51820"))

    assert plan((device,), (a_peer(2, endpoint="[fd00:0::0:2]:51820"),), _NOW) == ()


@given(
    before=st.dictionaries(st.integers(1, 6), st.integers(1, 9), max_size=6),
    after=st.dictionaries(st.integers(1, 6), st.integers(1, 9), max_size=6),
)
def test_changes_in_order_lead_to_what_was_wanted(
    before: dict[int, int], after: dict[int, int]
) -> None:
    device = {
        f"key{number:03}": {f"10.86.0.{number}/32", f"10.88.{subnet}.0/24"}
        for number, subnet in before.items()
        if list(before.values()).count(subnet) == 1
    }
    wanted = tuple(
        a_peer(number, subnet=subnet)
        for number, subnet in after.items()
        if list(after.values()).count(subnet) == 1
    )
    present = tuple(
        replace(on_device(a_peer(int(key[3:]))), status=_status(key, networks))
        for key, networks in device.items()
    )

    for change in plan(present, wanted, _NOW):
        _apply(device, change)

    assert device == {peer.public_key: {f"{peer.address}/32", peer.subnet} for peer in wanted}


def _status(key: str, networks: set[str]) -> PeerStatus:
    status = on_device(a_peer(int(key[3:]))).status
    return replace(status, allowed_ips=tuple(sorted(networks)))


def _apply(device: dict[str, set[str]], change: PeerChange) -> None:
    """As WireGuard does: who is given a network takes it from its owner."""
    if change.remove:
        del device[change.public_key]
        return
    if change.allowed_ips is None:
        return
    for networks in device.values():
        networks -= set(change.allowed_ips)
    device[change.public_key] = set(change.allowed_ips)
