"""Who is pinned reaches the new tasks alone, whatever share all others have of them."""

from datetime import timedelta

import pytest
from conftest import wait_until
from rollouts_under_load import Middle, begin, finished, shares, shares_of, versions
from warren.client.client import Client
from warren.model.rollouts import CanaryStep, Pin, RolloutState, Strategy, UpdatePolicy
from warren.model.views import ServiceView
from web_under_load import WEB, Loaded, all_nodes, loaded, web

CONNECTIONS = 10_000
"""A share of 10 % strays by 0.3 %."""
STEPS = (CanaryStep(weight=0, manual=True), CanaryStep(weight=10, manual=True))


def test_a_host_that_is_pinned_reaches_the_canary_from_everywhere(
    loaded: Loaded, client: Client, web: ServiceView, addresses: dict[str, str]
) -> None:
    """By the published port of each host it comes with its own address, and to the virtual address
    with one of its subnet of tasks."""
    pin = Pin(sources=(addresses["w1"], client.get_node("w1").node.mesh.subnet))
    policy = UpdatePolicy(
        strategy=Strategy.CANARY, steps=STEPS, monitor=timedelta(seconds=1), pin=pin
    )

    def all_pinned_reach(version: str) -> bool:
        by_port = shares(addresses, where="w1")
        by_address = shares_of([f"http://{web.service.vip}:8080/"], where="w1")
        return by_port == by_address == {version: 100}

    with loaded() as report:
        applied = begin(client, "2", policy)
        finished(client, applied, Middle())
        assert all_pinned_reach("2")
        others_at_none = shares(addresses)
        client.promote_rollout(WEB, applied.rollout, step=1)
        finished(client, applied, Middle())
        others_at_ten = shares(addresses, connections=CONNECTIONS)
        assert all_pinned_reach("2")
        client.abort_rollout(WEB, applied.rollout)
        wait_until(lambda: has_gone_back(client), seconds=60)

    assert others_at_none == {"1": 100}
    assert others_at_ten["2"] == pytest.approx(10, abs=1.2)
    assert all_pinned_reach("1")
    assert report.failures == [], report


def has_gone_back(client: Client) -> bool:
    return client.get_rollout(WEB).rollout.state is RolloutState.ROLLED_BACK
