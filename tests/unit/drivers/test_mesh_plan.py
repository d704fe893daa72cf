"""Which changes a WireGuard device gets: as few as can be, removals first."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from warren.drivers import mesh_plan
from warren.drivers.mesh_endpoints import Trial
from warren.drivers.mesh_plan import DevicePeer, Memory, PeerChange, Plan
from warren.drivers.ports import MeshConfig, PeerStatus
from warren.model.assignments import Peer

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_LONG_AGO = _NOW - timedelta(days=1)


def a_peer(number: int, *, subnet: int | None = None, endpoint: str = "", seen: str = "") -> Peer:
    return Peer(
        node_id=f"id{number}",
        name=f"n{number}",
        public_key=f"key{number:03}",
        endpoint=endpoint or f"10.77.0.{number}:51820",
        address=f"10.86.0.{number}",
        subnet=f"10.88.{number if subnet is None else subnet}.0/24",
        seen_endpoint=seen,
    )


def a_config(*peers: Peer, keepalive_s: int = 25) -> MeshConfig:
    return MeshConfig(
        address="10.86.0.200",
        mesh_network="10.86.0.0/16",
        task_network="10.88.0.0/14",
        subnet="10.88.200.0/24",
        listen_port=51820,
        peers=peers,
        keepalive_s=keepalive_s,
    )


def on_device(
    peer: Peer, *, handshake: timedelta | None = None, endpoint: str = "", keepalive_s: int = 25
) -> DevicePeer:
    """The peer as the device has it; `handshake` is how long ago the last one was."""
    return DevicePeer(
        status=PeerStatus(
            public_key=peer.public_key,
            endpoint=endpoint or peer.endpoint,
            allowed_ips=(f"{peer.address}/32", peer.subnet),
            latest_handshake=None if handshake is None else _NOW - handshake,
        ),
        keepalive_s=keepalive_s,
    )


def plan(
    present: tuple[DevicePeer, ...],
    wanted: tuple[Peer, ...],
    now: datetime = _NOW,
    *,
    since: datetime = _LONG_AGO,
) -> Plan:
    """With endpoints that are what they are `since` then."""
    trials = {
        peer.status.public_key: Trial(endpoint=peer.status.endpoint, since=since)
        for peer in present
    }
    return mesh_plan.plan(a_config(*wanted), present, Memory(trials=trials), now)


def changes(
    present: tuple[DevicePeer, ...], wanted: tuple[Peer, ...], *, since: datetime = _LONG_AGO
) -> tuple[PeerChange, ...]:
    """When nothing is refused."""
    found = plan(present, wanted, since=since)
    assert found.refusals == ()
    return found.changes


def test_a_new_peer_gets_everything() -> None:
    assert changes((), (a_peer(2),)) == (
        PeerChange(
            public_key="key002",
            endpoint="10.77.0.2:51820",
            allowed_ips=("10.86.0.2/32", "10.88.2.0/24"),
            keepalive_s=25,
        ),
    )


def test_a_peer_that_is_right_is_not_touched() -> None:
    assert changes((on_device(a_peer(2)),), (a_peer(2),)) == ()


def test_removals_come_before_who_takes_their_subnet() -> None:
    device = (on_device(a_peer(2)),)

    assert changes(device, (a_peer(1, subnet=2),)) == (
        PeerChange(public_key="key002", remove=True),
        PeerChange(
            public_key="key001",
            endpoint="10.77.0.1:51820",
            allowed_ips=("10.86.0.1/32", "10.88.2.0/24"),
            keepalive_s=25,
        ),
    )


@pytest.mark.parametrize("handshake", [None, timedelta(seconds=180), timedelta(hours=1)])
def test_an_endpoint_that_nobody_announces_and_does_not_work_is_replaced(
    handshake: timedelta | None,
) -> None:
    device = on_device(a_peer(2, endpoint="10.77.0.9:51820"), handshake=handshake)

    assert changes((device,), (a_peer(2),)) == (
        PeerChange(public_key="key002", update_only=True, endpoint="10.77.0.2:51820"),
    )


def test_an_endpoint_that_works_stays() -> None:
    device = on_device(a_peer(2, endpoint="10.77.0.9:51820"), handshake=timedelta(seconds=179))

    assert changes((device,), (a_peer(2),)) == ()


def test_a_missing_keepalive_is_set_alone() -> None:
    device = replace(on_device(a_peer(2)), keepalive_s=0)

    assert changes((device,), (a_peer(2),)) == (
        PeerChange(public_key="key002", update_only=True, keepalive_s=25),
    )


@pytest.mark.parametrize(
    ("culprit", "owner"),
    [
        (a_peer(3, subnet=2), "n2"),
        (replace(a_peer(3), subnet="10.88.0.0/22"), "n2"),
        (replace(a_peer(3), address="10.86.0.2"), "n2"),
        (a_peer(3, subnet=200), "this node"),
        (replace(a_peer(3), address="10.86.0.200"), "this node"),
    ],
)
def test_who_claims_what_is_anothers_is_named_and_gets_nothing(culprit: Peer, owner: str) -> None:
    found = plan((), (a_peer(2), culprit, a_peer(4)))

    assert [change.public_key for change in found.changes] == ["key002", "key004"]
    (refusal,) = found.refusals
    assert refusal.startswith("node n3 claims ")
    assert refusal.endswith(f" in the mesh, which {owner} has")


def test_who_has_a_network_keeps_it_whatever_its_name() -> None:
    device = (on_device(a_peer(3)),)

    found = plan(device, (a_peer(2, subnet=3), a_peer(3)))

    assert (found.changes, found.refusals) == (
        (),
        ("node n2 claims 10.88.3.0/24 in the mesh, which n3 has",),
    )


def test_two_nodes_with_one_key_are_named() -> None:
    found = plan((), (a_peer(2), replace(a_peer(3), public_key="key002")))

    assert found.refusals == ("nodes n2 and n3 have the same key in the mesh",)


@pytest.mark.parametrize("endpoint", ["m2.example:51820", "10.77.0.2", "10.77.0.2:port"])
def test_an_endpoint_that_is_no_address_concerns_one_peer(endpoint: str) -> None:
    found = plan((), (a_peer(2, endpoint=endpoint), a_peer(3)))

    assert [change.public_key for change in found.changes] == ["key003"]
    assert found.refusals == (f"node n2: {endpoint!r} is not an IP address and a port",)


class TestRotationOfEndpoints:
    """A peer announced at .2 and seen at .92."""

    peer = a_peer(2, seen="10.77.0.92:51820")

    def chosen(
        self,
        *,
        handshake: timedelta | None,
        endpoint: str = "10.77.0.2:51820",
        tried: float = 3600,
        learned: str = "",
        keepalive_s: int = 25,
    ) -> str | None:
        """The endpoint that the device is told, None if none."""
        device = on_device(
            self.peer, handshake=handshake, endpoint=endpoint, keepalive_s=keepalive_s
        )
        trial = Trial(endpoint=endpoint, since=_NOW - timedelta(seconds=tried), learned=learned)
        memory = Memory(trials={self.peer.public_key: trial})
        config = a_config(self.peer, keepalive_s=keepalive_s)
        found = mesh_plan.plan(config, (device,), memory, _NOW).changes
        return found[0].endpoint if found else None

    def test_one_that_never_worked_gives_way_after_15_seconds(self) -> None:
        assert self.chosen(handshake=None, tried=14) is None
        assert self.chosen(handshake=None, tried=15) == "10.77.0.92:51820"

    def test_and_so_does_the_other(self) -> None:
        assert self.chosen(handshake=None, endpoint="10.77.0.92:51820") == "10.77.0.2:51820"

    def test_one_that_worked_gives_way_after_275_seconds(self) -> None:
        assert self.chosen(handshake=timedelta(seconds=275)) is None
        assert self.chosen(handshake=timedelta(seconds=276)) == "10.77.0.92:51820"

    def test_a_new_one_gets_its_15_seconds_however_old_the_handshake(self) -> None:
        assert self.chosen(handshake=timedelta(seconds=276), tried=14) is None

    def test_one_that_was_learned_is_tried_in_turn(self) -> None:
        roamed = "203.0.113.5:40000"
        dead = timedelta(seconds=300)

        assert self.chosen(handshake=dead, endpoint="10.77.0.92:51820", learned=roamed) == roamed
        assert self.chosen(handshake=dead, endpoint=roamed, learned=roamed) == "10.77.0.2:51820"

    def test_what_works_is_remembered_as_learned(self) -> None:
        device = on_device(self.peer, handshake=timedelta(seconds=9), endpoint="203.0.113.5:40000")

        found = plan((device,), (self.peer,), since=_LONG_AGO)

        assert found.changes == ()
        assert found.memory.trials["key002"] == Trial(
            endpoint="203.0.113.5:40000", since=_LONG_AGO, learned="203.0.113.5:40000"
        )

    def test_without_keepalive_silence_means_nothing(self) -> None:
        assert self.chosen(handshake=timedelta(hours=1), keepalive_s=0) is None

    def test_the_only_one_stays(self) -> None:
        assert changes((on_device(a_peer(2)),), (a_peer(2),)) == ()


class TestRotationOfKeys:
    """Node n2 may use `next` from some moment on."""

    before = a_peer(2)
    switching = replace(before, next_public_key="next", switching=True)
    after = replace(before, public_key="next")

    def test_a_next_key_alone_changes_nothing(self) -> None:
        offered = replace(self.before, next_public_key="next")

        assert changes((on_device(self.before),), (offered,)) == ()

    def test_the_new_key_takes_over_before_the_old_one_goes(self) -> None:
        device = (on_device(self.before, handshake=timedelta(seconds=5)), on_device(a_peer(3)))

        assert changes(device, (self.after, a_peer(3))) == (
            PeerChange(
                public_key="next",
                endpoint="10.77.0.2:51820",
                allowed_ips=("10.86.0.2/32", "10.88.2.0/24"),
                keepalive_s=25,
            ),
            PeerChange(public_key="key002", remove=True),
        )

    def test_a_peer_that_may_switch_stays_a_stranger_under_the_next_key_for_a_moment(self) -> None:
        device = (on_device(self.before),)
        first = plan(device, (self.switching,))

        early = self.planned(device, first.memory, 0.9)

        assert (first.changes, early.changes) == ((), ())

    def test_then_it_is_taken_to_have_switched(self) -> None:
        device = (on_device(self.before),)
        memory = plan(device, (self.switching,)).memory

        assert self.planned(device, memory, 1).changes == (
            PeerChange(
                public_key="next",
                endpoint="10.77.0.2:51820",
                allowed_ips=("10.86.0.2/32", "10.88.2.0/24"),
                keepalive_s=25,
            ),
            PeerChange(public_key="key002", update_only=True, allowed_ips=(), keepalive_s=0),
        )

    def test_without_a_handshake_it_has_its_addresses_back_under_the_old_key(self) -> None:
        memory = plan((on_device(self.before),), (self.switching,)).memory
        old = on_device(self.before, keepalive_s=0)
        old = replace(old, status=replace(old.status, allowed_ips=()))
        device = (old, on_device(self.after))

        assert self.planned(device, memory, 2).changes == (
            PeerChange(
                public_key="key002",
                update_only=True,
                allowed_ips=("10.86.0.2/32", "10.88.2.0/24"),
                keepalive_s=25,
            ),
            PeerChange(public_key="next", update_only=True, allowed_ips=(), keepalive_s=0),
        )

    def planned(self, device: tuple[DevicePeer, ...], memory: Memory, seconds: float) -> Plan:
        """So long after the first look at a peer that may switch."""
        return mesh_plan.plan(
            a_config(self.switching), device, memory, _NOW + timedelta(seconds=seconds)
        )

    def test_its_first_handshake_under_the_next_key_is_believed_then(self) -> None:
        following = on_device(self.after, handshake=timedelta(seconds=0))
        following = replace(following, status=replace(following.status, allowed_ips=()))

        found = changes((on_device(self.before), following), (self.switching,))

        assert found == (
            PeerChange(
                public_key="next",
                update_only=True,
                allowed_ips=("10.86.0.2/32", "10.88.2.0/24"),
            ),
            PeerChange(public_key="key002", remove=True),
        )


def test_ipv6_endpoints_are_compared_by_value() -> None:
    device = on_device(a_peer(2, endpoint="[fd00::2]:51820"))

    assert changes((device,), (a_peer(2, endpoint="[fd00:0::0:2]:51820"),)) == ()


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

    for change in changes(present, wanted):
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
