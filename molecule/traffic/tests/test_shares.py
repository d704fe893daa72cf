"""Connections are shared as the weights of nodes say, also while these change all the time."""

import re
import time
from collections.abc import Callable, Iterator, Mapping
from itertools import cycle

import pytest
from conftest import wait_until
from rules_watched import rules_watched
from warren.client.client import Client
from warren.model.nodes import NodeSpec
from warren.model.views import ServiceView
from web_under_load import SSH_CONFIG, WEB, Scale, all_nodes, image, scale, web

from tests.load.running import Stream, answers, finish, load

Fleet = Callable[..., str]
WEIGHTS = {"m1": 300, "m2": 250, "m3": 200, "w1": 150, "w2": 100}
CONNECTIONS, PER_SECOND = 20_000, 500
ROUNDS = 3
"""One round of so many connections may by chance be nearly 1 % off; the mean of three is not."""
CHANGES, DURATION = 300, 20.0
SHARE = re.compile(r"([\d.]+) \. tcp \. 8080 \. (\d+)-(\d+) : ([\d.]+) \. 8080")


@pytest.fixture
def weights(client: Client) -> Iterator[Callable[[Mapping[str, int]], None]]:
    """Sets weights of nodes; all have the usual one after the test."""
    yield lambda wanted: set_weights(client, wanted)
    set_weights(client, dict.fromkeys(WEIGHTS, 100))


def test_twenty_thousand_connections_are_shared_by_weight(
    web: ServiceView,
    scale: Scale,
    client: Client,
    fleet: Fleet,
    weights: Callable[[Mapping[str, int]], None],
) -> None:
    view = scale(len(WEIGHTS))
    weights(WEIGHTS)
    expected = {t.name: WEIGHTS[name] / 1000 for t, name in tasks(view)}
    addresses = {t.status.address: expected[t.name] for t, _ in tasks(view)}
    wait_until(lambda: shares(fleet, web.service.vip) == addresses, seconds=10)

    counted = [count(web.service.vip) for _ in range(ROUNDS)]

    for each in counted:
        print(f"\n  {CONNECTIONS} connections, {worst(each, expected):.2%} from the weights")
    means = {name: sum(each[name] for each in counted) / ROUNDS for name in expected}
    assert sum(expected.values()) == 1
    assert worst(means, expected) < 0.01, counted


def test_three_hundred_changes_of_weights_during_8000_connections_refuse_nobody(
    web: ServiceView, client: Client, weights: Callable[[Mapping[str, int]], None]
) -> None:
    streams = (Stream(urls=(url(web.service.vip),), rate=420, where="w1"),)

    with rules_watched(["w1"], SSH_CONFIG) as changes, load(streams, SSH_CONFIG) as report:
        begin = time.monotonic()
        for number, name in zip(range(CHANGES), cycle(WEIGHTS), strict=False):
            # Changes come all the time while the connections do, not as fast as they can be made.
            time.sleep(max(0, begin + number * DURATION / CHANGES - time.monotonic()))
            weights({name: 50 + number})

    print(f"\n  {report}; {len(changes['w1'])} changes of elements on w1")
    assert report.failures == [], report
    assert report.sent >= 8000
    assert len(changes["w1"]) > CHANGES


def tasks(view: ServiceView):  # type: ignore[no-untyped-def]
    """Those that run, each with the name of its node."""
    return [
        (task, name) for task, name in zip(view.tasks, view.node_names, strict=True) if task.wanted
    ]


def set_weights(client: Client, wanted: Mapping[str, int]) -> None:
    for name, weight in wanted.items():
        client.apply_node(name, NodeSpec(name=name, weight=weight), ("weight",))


def shares(fleet: Fleet, vip: str) -> dict[str, float]:
    """By address of a task, as the kernel of w1 has them."""
    printed = fleet("ssh", "w1", "nft list table ip warren")
    found = (match for match in SHARE.finditer(printed) if match[1] == vip)
    return {match[4]: (int(match[3]) - int(match[2]) + 1) / 10_000 for match in found}


def count(vip: str) -> dict[str, float]:
    """The share of new connections that each task got."""
    seconds = CONNECTIONS / PER_SECOND
    stream = Stream(urls=(url(vip),), rate=PER_SECOND, where="w1", seconds=seconds)
    report = finish((stream,), SSH_CONFIG)
    assert report.failures == [], report
    return {task: number / report.sent for task, number in answers(report, of="task").items()}


def worst(counted: Mapping[str, float], expected: Mapping[str, float]) -> float:
    return max(abs(counted.get(name, 0) - share) for name, share in expected.items())


def url(vip: str) -> str:
    return f"http://{vip}:8080/"
