"""What the simulation holds the leader to, beyond the invariants of a single state.

Each law compares the state before a decision with the one after it, or judges how a run ended; it
yields sentences that say what was violated. Only for decisions that nothing came between.
"""

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import datetime

from warren.core import amounts, eligible, filters, loads
from warren.core.room import Room
from warren.core.slots import is_final_word
from warren.model.assignments import Assignment, ServiceTraffic
from warren.model.nodes import NodeState
from warren.model.rollouts import RolloutPhase, RolloutState, UpdateOrder, UpdatePolicy
from warren.model.services import Service, template_of
from warren.model.tasks import DesiredState, Task, TaskState, TaskStatus
from warren.state.cluster import ClusterState

SHARE_EXACT_TO = 0.01
"""Percent."""


def needless_stops(before: ClusterState, after: ClusterState) -> Iterator[str]:
    """A running task of a wanted slot is stopped only when another of the slot runs, and one that
    is ready, and so may be the last endpoint, only when another of the slot is.

    A service whose tasks exclude each other from a node may stop first, and one whose user says so;
    how many is another law.
    """
    for task in before.tasks.values():
        service = after.services.get(task.service)
        if service is None or task.slot not in slots_of(after, service):
            continue
        known = after.tasks.get(task.id)
        stopped = known is not None and known.desired is not DesiredState.RUNNING
        ran = task.wanted and task.status.state is TaskState.RUNNING
        if not stopped or not ran or _has_successor(after, task):
            continue
        if policy(service).order is UpdateOrder.STOP_FIRST:
            continue
        if not filters.exclusive_filters(task.service, service.spec, service.spec.ports, after):
            yield f"{task.id} runs and was stopped, and nothing else runs in its slot"


def policy(service: Service) -> UpdatePolicy:
    """That of the rollout under way, else what the user says."""
    live = service.live_rollout
    return live.policy if live is not None else service.spec.policy


def _has_successor(state: ClusterState, task: Task) -> bool:
    others = [t for t in state.tasks_of(task.service) if t.slot == task.slot and t.wanted]
    if task.ready:
        return any(other.ready for other in others)
    return any(other.status.state is TaskState.RUNNING for other in others)


def capacity(before: ClusterState, after: ClusterState) -> Iterator[str]:
    """No decision takes ready tasks from more slots than `min_healthy` allows."""
    for name, service in after.services.items():
        if service.removing or name not in before.services:
            continue
        within = slots_of(after, service)
        lost = {t.id for t in before.tasks_of(name) if _is_lost(after, t)}
        had = _served(before, name, within, lost)
        has = _served(after, name, within, lost)
        if has >= had:
            continue
        exclusive = filters.exclusive_filters(name, service.spec, service.spec.ports, after)
        stated = policy(service)
        if exclusive and service.spec.is_global:
            stated = replace(stated, order=UpdateOrder.STOP_FIRST)
        floor = amounts.min_healthy(stated, len(within), exclusive=bool(exclusive))
        first = exclusive or policy(service).order is UpdateOrder.STOP_FIRST
        if first and not policy(service).min_healthy:
            floor -= _without_place(after, name)
        if has < floor:
            yield f"{name} serves {has} slots instead of {had}, and shall serve at least {floor}"


def _is_lost(state: ClusterState, task: Task) -> bool:
    known = state.tasks.get(task.id)
    return known is None or known.status.state is TaskState.LOST


def slots_of(state: ClusterState, service: Service) -> Collection[int]:
    """Those that the service shall have."""
    return eligible.numbers(state, service, tuple(state.tasks_of(service.spec.name)))


def _served(state: ClusterState, name: str, within: Collection[int], lost: Collection[str]) -> int:
    slots = {
        task.slot
        for task in state.tasks_of(name)
        if task.wanted and task.ready and task.slot in within and task.id not in lost
    }
    return len(slots)


def _without_place(state: ClusterState, name: str) -> int:
    """Slots of which all tasks wait for a place that they may never get."""
    places: defaultdict[int, list[bool]] = defaultdict(list)
    for task in state.tasks_of(name):
        if task.wanted:
            places[task.slot].append(task.status.state is TaskState.PENDING)
    return sum(all(pending) for pending in places.values())


def parallelism(before: ClusterState, after: ClusterState) -> Iterator[str]:
    """While slots change over, no more of them begin to at once than the policy says."""
    for name, service in after.services.items():
        live = service.live_rollout
        if live is None or live.phase is not RolloutPhase.REPLACE or service.removing:
            continue
        within = slots_of(after, service)
        most = amounts.parallelism(live.policy, len(within))
        known = before.services[name].live_rollout if name in before.services else None
        begun = known is None or known.batches != live.batches
        batch = [slot for slot in live.batch if slot in within]
        if begun and len(batch) > most:
            yield f"{name} replaces slots {batch}, more than {most}"


def ends(state: ClusterState) -> Iterator[str]:
    """A rollout that has just ended leaves one revision, and after a rollback that of before."""
    for name, service in state.services.items():
        newest = service.rollout
        if newest is None or newest.version != state.index or service.removing:
            continue
        if newest.state not in (RolloutState.COMPLETE, RolloutState.ROLLED_BACK):
            continue
        if service.revision != newest.target:
            yield f"{name} is at {service.revision} after {newest.id} to {newest.target}"
        kept = {each.number: each.template for each in service.revisions}
        if kept[newest.target] != template_of(service.spec):
            yield f"{name} has not the template of revision {newest.target}"
        for task in state.tasks_of(name):
            within = task.slot in slots_of(state, service)
            if task.wanted and within and task.revision != newest.target:
                yield f"{task.id} is of revision {task.revision} after the end of {newest.id}"


def divided_traffic(state: ClusterState, traffic: ServiceTraffic) -> Iterator[str]:
    """The new revision has the share that its rollout says, exactly."""
    live = state.services[traffic.name].live_rollout
    if live is None or live.weight is None or live.phase is RolloutPhase.REPLACE:
        return
    new = old = 0
    for endpoint in traffic.endpoints:
        if state.tasks[endpoint.task_id].revision == live.to_revision:
            new += endpoint.weight
        else:
            old += endpoint.weight
    sides = {state.tasks[e.task_id].revision == live.to_revision for e in traffic.endpoints}
    share = 100 * new / max(1, new + old)
    if len(sides) > 1 and abs(share - live.weight) > SHARE_EXACT_TO:
        yield f"{traffic.name} sends {share:.2f} % to {live.id}, not {live.weight}"


def pinned_traffic(state: ClusterState, traffic: ServiceTraffic) -> Iterator[str]:
    """Pinned sources are led to all tasks of the revision on trial, to no other, and only then."""
    live = state.services[traffic.name].live_rollout
    on_trial = live is not None and live.pin is not None
    if on_trial is not (traffic.pin is not None):
        yield f"{traffic.name} pins {traffic.pin} in {live and live.phase}"
    for each in traffic.endpoints:
        is_new = live is not None and state.tasks[each.task_id].revision == live.to_revision
        if each.pinned is not (on_trial and is_new):
            yield f"{each.task_id} is {'' if each.pinned else 'not '}pinned"


def overbooked(state: ClusterState) -> Iterator[str]:
    """Reservations and host ports fit on their nodes, and are counted right."""
    known, counted = loads.of(state), loads.begin(state)
    if (known.living, known.wanted) != (counted.living, counted.wanted):
        yield f"loads are said to be {known.living}, not {counted.living}"
    if known.spread != counted.spread:
        yield f"services are said to be spread as {known.spread}, not {counted.spread}"
    if known.pending != counted.pending:
        yield f"pending are said to be {sorted(known.pending)}, not {sorted(counted.pending)}"
    for usage in filters.usage(state, ()):
        name = usage.node.spec.name
        if usage.memory > usage.node.description.memory:
            yield f"node {name} has {usage.memory} bytes of memory reserved"
        yield from (
            f"node {name} has port {port} taken {count} times"
            for port, count in usage.host_ports.items()
            if count > 1
        )


def is_stuck(state: ClusterState, service: Service) -> bool:
    """No task can be placed, each says so, and all else that lives is ready."""
    live = service.live_rollout
    begins = live is not None and live.phase is RolloutPhase.SURGE and not live.batch
    pending = [
        task
        for task in state.tasks_of(service.spec.name)
        if task.wanted and task.status.state is TaskState.PENDING
    ]
    replaces = live is not None and live.phase is RolloutPhase.REPLACE
    if live is not None and replaces and _may_not_stop(state, live.policy, service):
        return _rests(state, service)
    if not pending and not begins:
        return False
    if begins and not Room(state=state, service=service).missing(len(slots_of(state, service))):
        return False
    needs = filters.filters_for(service.spec.name, service.spec, service.spec.ports, state)
    usage = filters.usage(state, (service.spec.name,))
    own = {task.node for task in pending} if service.spec.is_global else set(_names(state))
    places = [each for each in usage if each.node.spec.name in own]
    return (
        (begins or not any(filters.passes_all(needs, each) for each in places))
        and all(task.status.message for task in pending)
        and _rests(state, service)
    )


def _names(state: ClusterState) -> Iterator[str]:
    return (node.spec.name for node in state.nodes.values())


def one_on_each_node(state: ClusterState) -> Iterator[str]:
    """Once all is settled, a global service has one task on each node that may have it, and no
    other; one that finds no place waits for its node."""
    for name, service in state.services.items():
        if not service.spec.is_global or service.removing:
            continue
        needs = filters.static_filters(template_of(service.spec))
        usage = filters.usage(state, ())
        expected = [u.node.spec.name for u in usage if filters.passes_all(needs, u)]
        live = [task for task in state.tasks_of(name) if not task.status.state.terminal]
        actual = sorted(task.node for task in live)
        spared = _given_up(state, service)
        if actual != expected and not is_stuck(state, service):
            yield f"{name} has tasks on {actual}, not on {expected}"
        elif not {*expected} - spared <= {*actual} <= {*expected}:
            yield f"{name} has tasks on {sorted({*actual})}, not on {expected}"
        for task in live:
            node = state.nodes.get(task.node_id)
            if node is not None and node.spec.name != task.node:
                yield f"{task.id} for {task.node} is on {node.spec.name}"


def _given_up(state: ClusterState, service: Service) -> frozenset[str]:
    """Nodes whose task of the old revision ended for good, and whose turn to have one of the new
    has not come: while that is on trial, only its rollout says where it is, and so they are empty
    until people act on what it waits for."""
    live = service.live_rollout
    if live is None or live.phase is RolloutPhase.REPLACE:
        return frozenset()
    return frozenset(
        task.node
        for task in state.tasks_of(service.spec.name)
        if is_final_word(task) and task.revision == live.from_revision
        if task.slot not in live.batch
    )


def _rests(state: ClusterState, service: Service) -> bool:
    """All that lives is ready, or waits for a place."""
    return all(
        (task.ready or task.status.state is TaskState.PENDING)
        and task.desired is DesiredState.RUNNING
        for task in state.tasks_of(service.spec.name)
        if not task.status.state.terminal
    )


def _may_not_stop(state: ClusterState, policy: UpdatePolicy, service: Service) -> bool:
    """The user wants tasks to stop first, and none to stop."""
    replicas = len(slots_of(state, service))
    spec = service.spec
    first = policy.order is UpdateOrder.STOP_FIRST
    first |= bool(filters.exclusive_filters(spec.name, spec, spec.ports, state))
    return first and bool(policy.min_healthy) and amounts.min_healthy(policy, replicas) >= replicas


def stray_endpoints(state: ClusterState, told: Assignment) -> Iterator[str]:
    """Traffic goes to ready tasks that shall run, on nodes that are there, and to all of them. The
    connections of ready tasks that do not go on."""
    for name, traffic in told.services.items():
        ready = [
            task
            for task in state.tasks_of(name)
            if task.ready and state.nodes[task.node_id].status.state is not NodeState.DOWN
        ]
        expected = {task.id for task in ready if task.desired is DesiredState.RUNNING}
        yield from divided_traffic(state, traffic)
        yield from pinned_traffic(state, traffic)
        actual = {endpoint.task_id for endpoint in traffic.endpoints}
        if actual != expected:
            yield f"{name} has endpoints {sorted(actual)}, not {sorted(expected)}"
        cut = {task.id for task in ready} - actual - {e.task_id for e in traffic.draining}
        if cut:
            yield f"{name} keeps no connections to {sorted(cut)}"


def rash_signal(task: Task, status: TaskStatus, now: datetime) -> Iterator[str]:
    """A task that drains gets its stop signal when its connections have had their time."""
    if task.draining_since is None or status.state is not TaskState.RUNNING:
        return
    if task.withdrawn_at is None:
        yield f"{task.id} is stopped before it was withdrawn"
    elif now < task.withdrawn_at + task.template.drain_delay:
        yield f"{task.id} is stopped before its drain delay is over"
