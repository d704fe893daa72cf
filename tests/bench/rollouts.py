"""How long rollouts take on real hosts; `tools/bench.py` prints the figures.

A switch of blue/green is timed in the kernels of the hosts themselves, which share one clock here.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from itertools import count
from pathlib import Path

from warren.client import rollouts
from warren.client.client import Client
from warren.client.waits import wait_service, wait_service_gone
from warren.model.rollouts import RolloutState, Strategy, UpdatePolicy
from warren.model.services import Port, ServiceSpec

from tests.bench.kernels import Kernel, changed
from tests.fleet import cgroups, fleets

PATIENCE = timedelta(minutes=2)
SERVICE = "bench"


def rolling(client: Client, image: str, rounds: int) -> tuple[float, ...]:
    """Seconds in which ten replicas are replaced, two at a time, start first, not watched: from
    Apply until the rollout is complete."""
    policy = UpdatePolicy(parallelism="2", monitor=timedelta())
    with a_service(client, image, 10) as revisions:
        return tuple(timed_rollout(client, image, policy, next(revisions)) for _ in range(rounds))


def timed_rollout(client: Client, image: str, policy: UpdatePolicy, revision: int) -> float:
    began = time.perf_counter()
    rollout = begin(client, image, policy, revision)
    for view in rollouts.watch(client, SERVICE, rollout, timeout=PATIENCE):
        if view.rollout.state.ended:
            assert view.rollout.state is RolloutState.COMPLETE, view.rollout
    return time.perf_counter() - began


def switches(
    client: Client, image: str, fleet: str, rounds: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Of a blue/green switch, in milliseconds: from Promote to the last node's kernel, and from the
    first node's kernel to the last."""
    policy = UpdatePolicy(
        strategy=Strategy.BLUE_GREEN,
        auto_promote=False,
        monitor=timedelta(),
        grace_period=timedelta(seconds=2),
    )
    last, spread = [], []
    with a_service(client, image, 6) as revisions, ExitStack() as stack:
        kernels = [kernel_of(host) for host in fleets.existing(fleet).hosts]
        for kernel in kernels:
            stack.callback(kernel.close)
        for _ in range(rounds):
            rollout = begin(client, image, policy, next(revisions))
            rollouts.wait_rollout(client, SERVICE, rollout, timeout=PATIENCE)
            for kernel in kernels:
                kernel.forget()
            began = time.perf_counter()
            client.promote_rollout(SERVICE, rollout)
            times = changed(kernels, "the switch")
            last.append((max(times) - began) * 1000)
            spread.append((max(times) - min(times)) * 1000)
            for _view in rollouts.watch(client, SERVICE, rollout, timeout=PATIENCE):
                pass  # until the old set is gone
    return tuple(last), tuple(spread)


@contextmanager
def a_service(client: Client, image: str, replicas: int) -> Iterator[Iterator[int]]:
    """A service of so many tasks that all run; yields the numbers of its further revisions."""
    spec = ServiceSpec(
        name=SERVICE, image=image, replicas=replicas, ports=(Port(name="http", target=8080),)
    )
    applied = client.apply_service(spec, ("image", "replicas", "ports"))
    wait_service(
        client,
        SERVICE,
        timeout=PATIENCE,
        stable_for=timedelta(),
        version=applied.version,
        changed=applied.changed,
    )
    try:
        yield count(2)
    finally:
        client.delete_service(SERVICE)
        wait_service_gone(client, SERVICE, timeout=PATIENCE)


def begin(client: Client, image: str, policy: UpdatePolicy, revision: int) -> str:
    """Another environment makes another revision; the id of its rollout."""
    spec = ServiceSpec(name=SERVICE, image=image, env={"REVISION": str(revision)}, update=policy)
    return client.apply_service(spec, ("env", "update")).rollout


def kernel_of(host: fleets.Host) -> Kernel:
    init = next(filter(cgroups.init_of_host, cgroups.processes(host.cgroup)))
    return Kernel(host.name, Path(f"/proc/{init}/ns/net"))
