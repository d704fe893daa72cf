"""What is lost when the power of a host is cut, and for how long."""

import time
from collections.abc import Callable

from web_under_load import Loaded, Scale, all_nodes, image, loaded, scale, web

Fleet = Callable[..., str]
HOSTS = ("m1", "m2", "m3", "w1", "w2")
VICTIM = "w2"
WITHDRAWN_WITHIN = 6.0


def test_a_power_cut_costs_requests_for_six_seconds_at_most(
    loaded: Loaded, scale: Scale, fleet: Fleet
) -> None:
    scale(len(HOSTS))  # so that there is one on the victim
    try:
        with loaded(without=VICTIM) as report:
            time.sleep(2)
            fleet("kill", VICTIM)
            time.sleep(15)
        print(f"  failed requests for {report.outage_seconds():.2f} s after the power of {VICTIM}")
        assert report.outage_seconds() <= WITHDRAWN_WITHIN, report
    finally:
        fleet("start", VICTIM)
