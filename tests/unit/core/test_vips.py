"""Virtual addresses: who gets which."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from warren.core import services, vips
from warren.core.reconcile import reconcile
from warren.core.views import service_status
from warren.model.errors import FailedPrecondition
from warren.model.services import Service
from warren.state import invariants
from warren.state.apply import apply
from warren.state.cluster import ClusterState
from warren.state.commands import Batch, CreateTask, Rejected, SetServiceVip
from warren.testing.builders import a_service, a_spec, a_state, at, counting_ids


def decided(state: ClusterState) -> ClusterState:
    return apply(state, Batch(commands=vips.decide(state).commands))[0]


def with_vip(name: str, vip: str) -> Service:
    return replace(a_service(name), vip=vip)


def test_a_service_has_its_address_before_its_first_task() -> None:
    decision = reconcile(a_state(services=[a_service()]), at(0), counting_ids(), {})

    kinds = [type(command) for command in decision.commands]
    assert kinds[:2] == [SetServiceVip, CreateTask]


@given(st.lists(st.from_regex(r"[a-z]{1,8}", fullmatch=True), unique=True, max_size=20))
def test_no_two_are_the_same_and_all_are_of_the_pool(names: list[str]) -> None:
    state = a_state(services=[a_service(name) for name in names], vip_network="10.92.0.0/28")

    state = decided(state)

    given = {service.vip for service in state.services.values() if service.vip}
    assert len(given) == min(len(names), 14)
    assert not given & {"10.92.0.0", "10.92.0.15"}
    assert invariants.check(state) == ()


def test_a_service_that_is_made_anew_gets_the_address_that_it_had() -> None:
    first, second = (decided(a_state(services=[a_service("web")])) for _ in range(2))

    assert first.services["web"].vip == second.services["web"].vip != ""


def test_the_address_of_a_removed_service_is_not_soon_anothers() -> None:
    before = decided(a_state(services=[a_service("web")]))

    after = decided(a_state(services=[a_service("db")]))

    assert after.services["db"].vip != before.services["web"].vip


def test_a_full_pool_is_told_by_name_and_size() -> None:
    state = a_state(
        services=[with_vip("a", "10.92.0.1"), with_vip("b", "10.92.0.2"), a_service("c")],
        vip_network="10.92.0.0/30",
    )

    status = service_status(state, state.services["c"], ())

    told = "vip_network 10.92.0.0/30 is full: its 2 addresses belong to other services"
    assert vips.decide(state).commands == ()
    assert (status.converged, status.reason) == (False, f"0 of 1 tasks run; {told}")
    with pytest.raises(FailedPrecondition, match=told):
        services.check(a_spec("d"), state)
    services.check(a_spec("a", replicas=2), state)


@pytest.mark.parametrize(
    ("vip", "reason"),
    [
        ("10.92.0.1", "service web has address 10.92.0.1"),
        ("10.93.0.1", "10.93.0.1 is not in vip_network 10.92.0.0/16"),
        ("x", "x is not in vip_network 10.92.0.0/16"),
    ],
)
def test_the_log_takes_no_address_that_is_anothers_or_of_no_pool(vip: str, reason: str) -> None:
    state = a_state(services=[with_vip("web", "10.92.0.1"), a_service("db")])

    after, outcome = apply(state, SetServiceVip(name="db", vip=vip))

    assert isinstance(outcome, Rejected)
    assert outcome.message == reason
    assert after == replace(state, index=101)


def test_an_address_is_for_life() -> None:
    state = a_state(services=[with_vip("web", "10.92.0.1")])

    _, outcome = apply(state, SetServiceVip(name="web", vip="10.92.0.2"))

    assert isinstance(outcome, Rejected)
    assert outcome.message == "service web has address 10.92.0.1"
