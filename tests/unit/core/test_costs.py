"""What is decided about one service costs what that service has, however many others there are.

The cost is told in calls of functions, which are the same on every machine.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

import pytest
from warren.core import services, updates
from warren.core.reconcile import Reconciliation
from warren.model.rollouts import CanaryStep, Strategy, UpdatePolicy
from warren.model.services import Port
from warren.model.tasks import Health
from warren.state import maps
from warren.state.apply import apply
from warren.state.cluster import ClusterState
from warren.state.commands import PutService, SetTaskStatus, StartRollout
from warren.testing.builders import a_node, a_service, a_spec, a_state, a_task, at, counting_ids

HTTP = (Port(name="http", target=80),)
FEW, MANY = 200, 2000
NODES = 10
NEW = PutService(spec=a_spec("new", replicas=3, ports=HTTP), expected_version=0, now=at(0))


@cache
def a_cluster(count: int) -> ClusterState:
    """With so many services of three tasks each, all at rest."""
    made = [replace(a_service(f"s{n}", replicas=3, ports=HTTP), vip=f"v{n}") for n in range(count)]
    state = a_state(
        nodes=[a_node(f"w{n}") for n in range(NODES)],
        services=made,
        tasks=[
            a_task(slot, f"w{(number + slot) % NODES}", service=service.spec.name)
            for number, service in enumerate(made)
            for slot in (1, 2, 3)
        ],
    )
    buckets = (maps.bucketed(state.services), maps.bucketed(state.tasks))
    return replace(state, services=buckets[0], tasks=buckets[1])


def changed(state: ClusterState, number: int) -> ClusterState:
    """The next state, after something else has happened."""
    task = state.tasks[f"s{number}-1-r1"]
    status = replace(task.status, health=Health.HEALTHY)
    return apply(state, SetTaskStatus(task_id=task.id, status=status))[0]


def calls(function: Callable[[], object]) -> int:
    """How many functions are called meanwhile, those of the interpreter too."""
    count = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        function()
    finally:
        sys.setprofile(before)
    return count


def plan(state: ClusterState, change: PutService | StartRollout) -> object:
    return services.plan(state, change, at(1), counting_ids())


def another(state: ClusterState, **values: object) -> PutService | StartRollout:
    """A change of service s5."""
    stored = state.services["s5"]
    spec = replace(stored.spec, **values)  # type: ignore[arg-type]
    version = stored.version
    return updates.change(stored, spec, expected_version=version, new_id="x", by="ann", now=at(0))


WORK: dict[str, Callable[[ClusterState], object]] = {
    "a plan for a new service": lambda state: plan(state, NEW),
    "a plan for more replicas": lambda state: plan(state, another(state, replicas=5)),
    "a plan for other ports": lambda state: plan(state, another(state, ports=())),
    "a plan for another image": lambda state: plan(state, another(state, image="new")),
    "a plan for its removal": lambda state: services.removal_plan(
        state, "s5", at(1), counting_ids()
    ),
}


@pytest.mark.parametrize("name", list(WORK))
def test_a_plan_costs_what_its_service_has(name: str) -> None:
    costs = []
    for count in (FEW, MANY):
        state = a_cluster(count)
        WORK[name](state)  # what is kept from state to state is there

        costs.append(calls(partial(WORK[name], changed(state, 7))))

    assert costs[1] < 1.2 * costs[0]


@pytest.mark.parametrize("strategy", list(Strategy))
def test_a_plan_of_a_large_rollout_costs_little_for_each_task(strategy: Strategy) -> None:
    """A tenth at a time. Half as much again, when each command copied what all tasks are in."""
    steps = (CanaryStep(weight=10),) if strategy is Strategy.CANARY else ()
    policy = UpdatePolicy(strategy=strategy, parallelism="10%", steps=steps)
    nodes = [a_node(f"w{n}", number=n) for n in range(1, 51)]
    tasks = [a_task(n, f"w{n % 50 + 1}") for n in range(1, 501)]
    web = a_service(replicas=len(tasks), update=policy)
    state = a_state(nodes=nodes, services=[web], tasks=tasks)
    spec = replace(web.spec, image="new")
    change = updates.change(
        web, spec, expected_version=web.version, new_id="x", by="ann", now=at(0)
    )
    plan(state, change)  # what is kept from state to state is there

    cost = calls(partial(plan, state, change))

    assert cost < 950 * len(tasks)


@pytest.mark.parametrize("change", ["another image", "a new service"])
def test_a_decision_costs_what_is_not_at_rest(change: str) -> None:
    costs = []
    for count in (FEW, MANY):
        state = a_cluster(count)
        contacts = dict.fromkeys(state.nodes, at(0))
        reconciliation = Reconciliation()
        decide = partial(reconciliation.decide, now=at(1), new_id=counting_ids(), contacts=contacts)
        decide(apply(state, NEW)[0])
        decide(state)
        command = NEW if change == "a new service" else another(state, image="new")
        after, _ = apply(changed(state, 7), command)

        costs.append(calls(partial(decide, after)))

    assert costs[1] < 1.5 * costs[0]
