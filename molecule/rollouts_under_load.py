"""Rollouts of the web service under load: beginning one, and killing the leader in its middle."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cache

import pytest
from conftest import REGISTRY, run, wait_until
from warren.client import rollouts
from warren.client.client import Client
from warren.model.rollouts import UpdatePolicy
from warren.model.views import RolloutView, ServiceApplied
from web_under_load import PUBLISHED, SPEC, SSH_CONFIG, WEB

from tests.load.running import Stream, answers, finish

Fleet = Callable[..., str]
VERSIONS = ("1", "2", "crashes", "never-healthy", "turns-bad")
PATIENCE = timedelta(minutes=3)
PER_SECOND = 200
"""Of shares that are counted, beside a load of 500."""
PIECE_SECONDS = 20.0
FEW, MANY = 1_000, 20_000
"""Connections: to see who answers at all, and in which shares (at 50 % these stray from the true
one by 0.35 %, in one case of two hundred by 1 %)."""


@pytest.fixture(scope="session", autouse=True)
def versions() -> None:
    build()


@cache
def build() -> None:
    """Once: every module that takes the fixture has one of its own."""
    run("tests/load/image/build.sh", REGISTRY, *VERSIONS)


def begin(client: Client, version: str, policy: UpdatePolicy) -> ServiceApplied:
    """The service shall be of another version from now on."""
    spec = replace(SPEC, image=f"{REGISTRY}/web:{version}", update=policy)
    applied = client.apply_service(spec, ("image", "update"))
    assert applied.rollout, "the change began a rollout"
    return applied


def finished(client: Client, applied: ServiceApplied, middle: "Middle") -> RolloutView:
    """The rollout once it is decided, or waits; `middle` happens meanwhile."""
    view = rollouts.wait_rollout(
        client, WEB, applied.rollout, timeout=PATIENCE, on_progress=middle.look
    )
    assert middle.happened, "it was over before anything could happen in its middle"
    return view


@dataclass
class Middle:
    """What happens once, when the first new task is ready and the rollout is not over."""

    happens: Callable[[], None] | None = None
    happened: bool = field(init=False)

    def __post_init__(self) -> None:
        self.happened = self.happens is None

    def look(self, view: RolloutView) -> None:
        if not self.happened and view.ready_new and not view.rollout.decided:
            assert self.happens is not None
            self.happened = True
            self.happens()


def leader_killed(client: Client, fleet: Fleet) -> Middle:
    """The leading manager is killed; systemd starts it again."""

    def kill() -> None:
        leader = client.get_cluster().leader
        fleet("ssh", leader, "systemctl kill -s KILL warren-manager")

    return Middle(kill)


def managers_are_back(client: Client) -> None:
    wait_until(lambda: all(each.reachable for each in client.get_cluster().managers), seconds=30)


def shares(
    addresses: Mapping[str, str], *, connections: int = FEW, where: str = ""
) -> dict[str, float]:
    """Which share of new connections each version answers, in percent, by every host. `where`: the
    host that they come from, if not this machine."""
    urls = tuple(f"http://{address}:{PUBLISHED}/" for address in addresses.values())
    return shares_of(urls, connections=connections, where=where)


def shares_of(urls: Sequence[str], *, connections: int = FEW, where: str = "") -> dict[str, float]:
    """The same, wherever it is asked. A slow machine sends fewer in a second, and takes longer."""
    counts: Counter[str] = Counter()
    while counts.total() < connections:
        seconds = min(PIECE_SECONDS, (connections - counts.total()) / PER_SECOND + 0.5)
        stream = Stream(urls=tuple(urls), rate=PER_SECOND, seconds=seconds, where=where)
        report = finish([stream], SSH_CONFIG)
        assert report.failures == [], report
        assert report.sent, "no request was sent"
        counts += answers(report, of="version")
    return {version: 100 * count / counts.total() for version, count in counts.items()}
