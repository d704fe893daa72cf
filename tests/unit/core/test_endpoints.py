"""What a worker makes of traffic to its own tasks."""

from dataclasses import replace

from warren.core import assignment, endpoints
from warren.model.assignments import Assignment, Endpoint, ServiceTraffic
from warren.model.rollouts import CanaryStep, RolloutPhase, Strategy, UpdatePolicy
from warren.model.services import Port
from warren.model.tasks import DesiredState, Health, Task, TaskState, TaskStatus
from warren.testing.builders import a_cluster, a_node, a_state, a_task, an_update

OWN = a_task(1, "w1", address="10.88.1.2")
FAR = Endpoint(address="10.88.2.2", task_id="web-2-r1", node_id="w2", slot=2, weight=50)
NEAR = Endpoint(address="10.88.1.2", task_id="web-1-r1", node_id="w1", slot=1)
DB = ServiceTraffic(name="db")


def assigned(*tasks: Task, to: tuple[Endpoint, ...] = (NEAR, FAR), weight: int = 100) -> Assignment:
    web = ServiceTraffic(name="web", ports=(Port(target=80),), endpoints=to)
    return Assignment(
        index=7,
        tasks=tasks,
        services={"web": web, "db": DB},
        spec=a_cluster().spec,
        mesh=a_node("w1").mesh,
        weight=weight,
    )


def known(assignment: Assignment, **statuses: TaskStatus) -> tuple[Endpoint, ...]:
    by_id = {f"web-{key[1:]}-r1": status for key, status in statuses.items()}
    return endpoints.as_known(assignment, "w1", by_id, {})["web"].endpoints


def test_what_nothing_else_is_known_of_is_as_assigned() -> None:
    assignment = assigned(OWN)

    assert endpoints.as_known(assignment, "w1", {}, {}) is assignment.services


def test_an_own_task_that_is_not_ready_gets_nothing() -> None:
    sick = replace(OWN.status, health=Health.UNHEALTHY)
    ended = replace(OWN.status, state=TaskState.RESTARTING, address="")

    assert known(assigned(OWN), t1=sick) == (FAR,)
    assert known(assigned(OWN), t1=ended) == (FAR,)


def test_an_own_task_that_is_ready_again_gets_its_share() -> None:
    sick = replace(OWN, status=replace(OWN.status, health=Health.UNHEALTHY))

    assert known(assigned(sick, to=(FAR,), weight=30), t1=OWN.status) == (
        replace(NEAR, weight=30),
        FAR,
    )


def test_an_own_task_is_found_where_it_is_now() -> None:
    moved = replace(OWN.status, address="10.88.1.9")

    assert known(assigned(OWN), t1=moved) == (replace(NEAR, address="10.88.1.9"), FAR)


def test_an_own_task_that_drains_stays_out() -> None:
    draining = replace(OWN, desired=DesiredState.DRAINING)
    status = replace(OWN.status, address="10.88.1.9")

    assert known(assigned(draining, to=(FAR,)), t1=status) == (FAR,)


def test_an_own_task_that_was_given_up_for_lost_gets_nothing_though_it_runs() -> None:
    lost = replace(OWN, status=replace(OWN.status, state=TaskState.LOST, address=""))
    other = a_task(3, "w1", address="10.88.1.3")
    sick = replace(other.status, health=Health.UNHEALTHY)

    assert known(assigned(lost, to=(FAR,)), t1=OWN.status) == (FAR,)
    assert known(assigned(lost, other, to=(FAR,)), t1=OWN.status, t3=sick) == (FAR,)


def test_an_own_task_drains_as_long_as_it_runs() -> None:
    draining = replace(OWN, desired=DesiredState.DRAINING)
    ended = replace(OWN.status, state=TaskState.STOPPED, address="")
    assignment = assigned(draining, to=(FAR,))
    web = replace(assignment.services["web"], draining=(NEAR,))
    assignment = replace(assignment, services={"web": web})

    after = endpoints.as_known(assignment, "w1", {OWN.id: ended}, {})

    assert after["web"] == replace(web, draining=())


def test_an_own_task_that_is_sick_drains() -> None:
    sick = replace(OWN.status, health=Health.UNHEALTHY)

    after = endpoints.as_known(assigned(OWN), "w1", {OWN.id: sick}, {})

    assert after["web"].draining == (NEAR,)


def test_what_is_equal_stays_the_same_object() -> None:
    sick = {OWN.id: replace(OWN.status, health=Health.UNHEALTHY)}
    before = endpoints.as_known(assigned(OWN), "w1", sick, {})

    after = endpoints.as_known(assigned(OWN), "w1", sick, before)

    assert after["web"] is before["web"]
    assert after["db"] is DB


def test_a_task_that_was_given_no_part_of_divided_traffic_takes_none() -> None:
    """Else a canary would have more than its share, and a green set traffic before the switch."""
    canary = {"phase": RolloutPhase.STEP, "step": 1, "batch": (1,), "weight": 10}
    policy = UpdatePolicy(strategy=Strategy.CANARY, steps=(CanaryStep(weight=10),))
    web = an_update(replicas=1, update=policy, rollout=canary, ports=(Port(target=80),))
    new = a_task(1, "w1", revision=2, state=TaskState.STARTING)
    state = a_state(nodes=[a_node("w1")], services=[web], tasks=[a_task(1, "w1"), new])
    told = assignment.begin(state).of("w1")
    status = replace(new.status, state=TaskState.RUNNING, address="10.88.1.9")

    known = endpoints.as_known(told, "w1", {new.id: status}, {})

    weights = {endpoint.task_id: endpoint.weight for endpoint in known["web"].endpoints}
    assert weights[new.id] == 0
    assert weights["web-1-r1"] > 0
