"""A bad revision is rolled back, and costs no request unless it was good at first."""

from datetime import timedelta

import pytest
from rollouts_under_load import Middle, begin, finished, shares, versions
from warren.client.client import Client
from warren.client.rollouts import RolloutWaitFailed, explained
from warren.model.rollouts import RolloutState, UpdatePolicy
from web_under_load import WEB, Loaded, all_nodes, loaded, web

BAD_FOR = 10.0
"""Seconds: three checks a second apart, the way to every node, and on connections that are kept the
drain delay of 2 s."""


@pytest.mark.parametrize(
    ("version", "reason"),
    [("crashes", "KeyError: DATABASE_URL"), ("never-healthy", "GET /healthz")],
)
def test_one_that_never_serves_costs_no_request(
    loaded: Loaded, client: Client, addresses: dict[str, str], version: str, reason: str
) -> None:
    with loaded() as report:
        applied = begin(client, version, UpdatePolicy(monitor=timedelta(seconds=5)))
        with pytest.raises(RolloutWaitFailed) as failure:
            finished(client, applied, Middle())
        told = explained(client, failure.value)

    assert str(told).startswith("web: rolled back to revision 1: ")
    assert reason in str(told)
    assert client.get_rollout(WEB, applied.rollout).rollout.state is RolloutState.ROLLED_BACK
    assert report.failures == [], report
    assert shares(addresses) == {"1": 100}


def test_one_that_turns_bad_is_rolled_back(
    loaded: Loaded, client: Client, addresses: dict[str, str]
) -> None:
    with loaded() as report:
        applied = begin(client, "turns-bad", UpdatePolicy(monitor=timedelta(seconds=40)))
        with pytest.raises(RolloutWaitFailed, match="rolled back to revision 1: "):
            finished(client, applied, Middle())

    print(f"  {len(report.failures)} of {report.sent} requests failed")
    assert report.outage_seconds() < BAD_FOR, report
    assert shares(addresses) == {"1": 100}
