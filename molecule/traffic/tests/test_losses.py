"""What is lost when the power of a host is cut, and for how long."""

import time
from collections.abc import Callable

import pytest
from conftest import wait_until
from warren.client.client import Client
from web_under_load import Loaded, Scale, all_nodes, image, loaded, scale, web

Fleet = Callable[..., str]
HOSTS = ("m1", "m2", "m3", "w1", "w2")
WITHDRAWN_WITHIN = 6.0
BEFORE, AFTER = 2.0, 15.0
"""Seconds of load on either side of the power cut: what is counted is how long requests fail, so
those that come long after it belong to it."""


@pytest.mark.parametrize("victim", ["w2", "the leader"])
def test_a_power_cut_costs_requests_for_six_seconds_at_most(
    loaded: Loaded, scale: Scale, fleet: Fleet, client: Client, victim: str
) -> None:
    scale(len(HOSTS))  # so that there is one on the victim
    host = victim if victim in HOSTS else client.get_cluster().leader
    try:
        with loaded(without=host) as report:
            time.sleep(BEFORE)
            fleet("kill", host)
            time.sleep(AFTER)
        print(f"  failed requests for {report.outage_seconds():.2f} s after the power of {host}")
        assert report.outage_seconds() <= WITHDRAWN_WITHIN, report
    finally:
        fleet("start", host)
        wait_until(lambda: is_whole(client), seconds=60)


def is_whole(client: Client) -> bool:
    return all(manager.reachable for manager in client.get_cluster().managers)
