"""What a small change costs the leader of a large cluster, loop by loop, and what plans cost there.

`python -m tests.bench.decisions [--services 10000]`, three tasks each, on a hundred nodes. In
processor time, best of several runs, each on another state: the loops of a manager share one
thread, so what one of them takes the others wait for.
"""

import argparse
import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TypeVar

from warren.core import analyses, assignment, events, services, updates, views
from warren.core.reconcile import Reconciliation
from warren.model.nodes import Node
from warren.model.rollouts import UpdatePolicy
from warren.model.services import Port
from warren.model.tasks import Health, TaskState
from warren.state import maps
from warren.state.apply import apply
from warren.state.cluster import ClusterState
from warren.state.commands import (
    AssignTask,
    Batch,
    Command,
    PutService,
    SetTaskStatus,
    StartRollout,
)
from warren.testing.builders import (
    GIB,
    a_node,
    a_service,
    a_spec,
    a_state,
    a_task,
    at,
    counting_ids,
)

T = TypeVar("T")

NODES, REPLICAS, RUNS = 100, 3, 5
PORTS = (Port(name="http", target=8080),)
POLICY = UpdatePolicy(monitor=timedelta())
NAME = "s5"


def a_cluster(count: int) -> ClusterState:
    """So many services, all at rest."""
    made = [
        replace(a_service(f"s{n}", replicas=REPLICAS, ports=PORTS, update=POLICY), vip=f"v{n}")
        for n in range(count)
    ]
    state = a_state(
        nodes=[_node(number) for number in range(NODES)],
        services=made,
        tasks=[
            a_task(slot, f"w{(number * REPLICAS + slot) % NODES}", service=service.spec.name)
            for number, service in enumerate(made)
            for slot in range(1, 1 + REPLICAS)
        ],
    )
    return replace(state, services=maps.large(state.services), tasks=maps.large(state.tasks))


def _node(number: int) -> Node:
    return a_node(f"w{number}", cpus=1000, memory=1000 * GIB)


def others(state: ClusterState) -> Iterator[ClusterState]:
    """States that follow, in each of which the health of one more task has changed."""
    for number in range(100, 100 + RUNS):
        task = state.tasks[f"s{number}-1-r1"]
        status = replace(task.status, health=Health.HEALTHY)
        state, _ = apply(state, SetTaskStatus(task_id=task.id, status=status))
        yield state


def changes(state: ClusterState) -> dict[str, PutService | StartRollout]:
    """Of one service, by name."""
    stored = state.services[NAME]

    def change(**values: object) -> PutService | StartRollout:
        spec = replace(stored.spec, **values)  # type: ignore[arg-type]
        version = stored.version
        return updates.change(
            stored, spec, expected_version=version, new_id="x", by="bench", now=at(0)
        )

    new = a_spec("new", replicas=REPLICAS, ports=PORTS)
    return {
        "a new service": PutService(spec=new, expected_version=0, now=at(0)),
        "twice the replicas": change(replicas=2 * REPLICAS),
        "other ports": change(ports=()),
        "another image": change(image="new"),
    }


def spent(work: Callable[[], T]) -> tuple[float, T]:
    """Milliseconds of processor time, without the collector's; and what came of it."""
    gc.collect()
    gc.disable()
    began = time.process_time()
    result = work()
    took = (time.process_time() - began) * 1000
    gc.enable()
    return took, result


def tell(what: str, *took: float) -> None:
    print(f"{what:50} {', '.join(f'{each:.1f}' for each in took)} ms", flush=True)


def measure_plans(state: ClusterState) -> None:
    plans: dict[str, Callable[[ClusterState], object]] = {
        what: partial(services.plan, change=change, now=at(1), new_id=counting_ids())
        for what, change in changes(state).items()
    }
    removal = partial(services.removal_plan, name=NAME, now=at(1), new_id=counting_ids())
    plans["its removal"] = removal
    for what, plan in plans.items():
        plan(state)
        tell(f"plan: {what}", min(spent(partial(plan, each))[0] for each in others(state)))


def measure_leader(state: ClusterState) -> None:
    """Decision after decision, until the change is carried out; workers answer at once."""
    contacts = dict.fromkeys(state.nodes, at(0))
    reconciliation = Reconciliation()
    decide = partial(reconciliation.decide, now=at(1), new_id=counting_ids(), contacts=contacts)
    tell("leader: its first decision", spent(partial(decide, state))[0])
    told = {"a task says something": Batch(commands=()), **changes(state)}
    for what, change in told.items():
        decide(state)
        *_, after = others(state)
        after, _ = apply(after, change)
        took: list[float] = []
        while len(took) < 10:
            cost, decision = spent(partial(decide, after))
            took.append(cost)
            if not decision.commands:
                break
            after = _carried_out(after, decision.commands)
        tell(f"leader: {what}", *took)


def _carried_out(state: ClusterState, commands: tuple[Command, ...]) -> ClusterState:
    state, _ = apply(state, Batch(commands=commands))
    for command in commands:
        if isinstance(command, AssignTask):
            task = state.tasks[command.task_id]
            status = replace(task.status, state=TaskState.RUNNING, address="10.88.0.9")
            state, _ = apply(state, SetTaskStatus(task_id=task.id, status=status))
    return state


def measure_others(state: ClusterState) -> None:
    known = assignment.begin(state)
    *_, after = others(state)
    then = assignment.advance(known, after)
    published = a_spec("new", ports=(Port(name="http", target=80, published=80),))
    loops: dict[str, Callable[[], object]] = {
        "dispatcher: assignments": lambda: assignment.advance(known, after),
        "dispatcher: deltas of all nodes": lambda: [
            assignment.services_delta(known, then),
            *(assignment.node_delta(known, then, node_id) for node_id in state.nodes),
        ],
        "analyst: what is due": lambda: analyses.due(after, at(1)),
        "events": lambda: events.derive(state, after, at(1)),
        "a watcher: its service": lambda: views.service_view(after, NAME, at(1)),
        "API: checking a service that publishes a port": lambda: services.check(published, after),
    }
    for what, work in loops.items():
        tell(what, min(spent(work)[0] for _ in range(RUNS)))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--services", type=int, default=10_000)
    state = a_cluster(parser.parse_args().services)
    measure_leader(state)
    measure_plans(state)
    measure_others(state)


if __name__ == "__main__":
    main()
