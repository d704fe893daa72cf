"""At 500 requests a second no request fails while a good revision comes, led or not."""

from datetime import timedelta

import pytest
from rollouts_under_load import (
    MANY,
    PATIENCE,
    Fleet,
    Middle,
    begin,
    finished,
    leader_killed,
    managers_are_back,
    shares,
    versions,
)
from warren.client import rollouts
from warren.client.client import Client
from warren.model.rollouts import CanaryStep, RolloutPhase, RolloutState, Strategy, UpdatePolicy
from web_under_load import WEB, Loaded, all_nodes, loaded, web

MONITOR = timedelta(seconds=2)
"""Long enough for the middle of a rollout to be seen, however busy this machine is."""


@pytest.fixture(params=["led", "leader killed"])
def middle(request: pytest.FixtureRequest, client: Client, fleet: Fleet) -> Middle:
    """What happens in the middle of the rollout."""
    return Middle() if request.param == "led" else leader_killed(client, fleet)


def test_rolling(loaded: Loaded, client: Client, middle: Middle, addresses: dict[str, str]) -> None:
    policy = UpdatePolicy(parallelism="1", monitor=MONITOR)

    with loaded() as report:
        view = finished(client, begin(client, "2", policy), middle)

    managers_are_back(client)
    assert view.rollout.state is RolloutState.COMPLETE
    assert report.failures == [], report
    assert shares(addresses) == {"2": 100}


def test_blue_green_and_back(
    loaded: Loaded, client: Client, middle: Middle, addresses: dict[str, str]
) -> None:
    policy = UpdatePolicy(strategy=Strategy.BLUE_GREEN, monitor=MONITOR, grace_period=PATIENCE)

    with loaded() as report:
        view = finished(client, begin(client, "2", policy), middle)
        switched = shares(addresses)
        acted = client.roll_back_service(WEB)
        back = rollouts.wait_rollout(
            client, WEB, acted.view.rollout.id, timeout=PATIENCE, back=True
        )

    managers_are_back(client)
    assert (view.rollout.phase, switched) == (RolloutPhase.SWITCHED, {"2": 100})
    assert back.rollout.state is RolloutState.ROLLED_BACK
    assert report.failures == [], report
    assert shares(addresses) == {"1": 100}


def test_canary(loaded: Loaded, client: Client, middle: Middle, addresses: dict[str, str]) -> None:
    steps = (CanaryStep(weight=10, manual=True), CanaryStep(weight=50, manual=True))
    policy = UpdatePolicy(strategy=Strategy.CANARY, steps=steps, parallelism="2", monitor=MONITOR)

    with loaded() as report:
        applied = begin(client, "2", policy)
        first = finished(client, applied, middle)
        at_ten = shares(addresses, connections=MANY)
        client.promote_rollout(WEB, applied.rollout, step=1)
        second = finished(client, applied, Middle())
        at_fifty = shares(addresses, connections=MANY)
        client.promote_rollout(WEB, applied.rollout, step=2)
        last = finished(client, applied, Middle())
        at_the_end = shares(addresses)

    managers_are_back(client)
    states = [each.rollout.state for each in (first, second, last)]
    assert states == [RolloutState.WAITING, RolloutState.WAITING, RolloutState.COMPLETE]
    print(f"  shares of the new revision: {at_ten['2']:.2f} %, {at_fifty['2']:.2f} %")
    assert at_ten["2"] == pytest.approx(10, abs=1)
    assert at_fifty["2"] == pytest.approx(50, abs=1)
    assert report.failures == [], report
    assert at_the_end == {"2": 100}
