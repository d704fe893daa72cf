"""How traffic reaches services as one node sees it: as assigned, but for its own tasks.

A worker knows its own tasks better than any manager: that one is unhealthy or has ended, that it
has another address after a restart, that it is ready again. Its own rules follow that at once, and
for ever if no manager is there to hear of it; the other nodes' follow the managers.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

from warren.core import assignment, pins
from warren.model.assignments import Assignment, Endpoint, ServiceTraffic
from warren.model.tasks import Task, TaskStatus
from warren.state import maps


def as_known(
    assigned: Assignment,
    node_id: str,
    statuses: Mapping[str, TaskStatus],
    before: Mapping[str, ServiceTraffic],
) -> Mapping[str, ServiceTraffic]:
    """The services with the node's own endpoints as `statuses` (by task id) say.

    Only services are looked at of which another status is known than the one that the assignment
    was made from; a task of which nothing is known yet is as assigned. `before` is the answer to
    the question before this one: what is equal stays the same object.
    """
    services = assigned.services
    for name, tasks in _with_news(assigned.tasks, statuses).items():
        traffic = services.get(name)
        if traffic is None:
            continue
        known = _as_they_are(traffic, tasks, node_id, assigned.weight)
        if known == traffic:
            continue
        earlier = before.get(name)
        services = maps.put(services, name, earlier if earlier == known else known)
    return services


def are_same(before: Mapping[str, ServiceTraffic], after: Mapping[str, ServiceTraffic]) -> bool:
    """Nothing is to be done for one that was not done for the other. What is equal, but another
    object, counts as another: a look at each of many thousand services would cost more."""
    return next(maps.changed_keys(before, after), None) is None


def _with_news(
    tasks: Iterable[Task], statuses: Mapping[str, TaskStatus]
) -> Mapping[str, list[Task]]:
    """By service: all tasks of the node, as they are, if one of them is not as assigned. What has
    ended for the managers has ended, though it runs on here: it is replaced, and about to go."""
    own: defaultdict[str, list[Task]] = defaultdict(list)
    news: set[str] = set()
    for task in tasks:
        over = task.status.state.terminal
        status = task.status if over else statuses.get(task.id, task.status)
        if status is task.status or status == task.status:
            own[task.service].append(task)
        else:
            own[task.service].append(replace(task, status=status))
            news.add(task.service)
    return {name: own[name] for name in news}


def _as_they_are(
    traffic: ServiceTraffic, own: Iterable[Task], node_id: str, weight: int
) -> ServiceTraffic:
    weights = {e.task_id: e.weight for e in traffic.endpoints}
    if traffic.divided:
        weight = 0  # of a task that its leader has given no part of the traffic yet
    else:
        weights |= {e.task_id: e.weight for e in traffic.draining}
    endpoints = [each for each in traffic.endpoints if each.node_id != node_id]
    draining = [each for each in traffic.draining if each.node_id != node_id]
    for task in own:
        known = assignment.endpoint(task, task.status.address, weights.get(task.id, weight))
        if assignment.may_receive(task):
            endpoints.append(replace(known, pinned=pins.leads_to(traffic.pin, task)))
        elif assignment.may_have_connections(task):
            draining.append(known)
    return replace(traffic, endpoints=_ordered(endpoints), draining=_ordered(draining))


def _ordered(endpoints: Iterable[Endpoint]) -> tuple[Endpoint, ...]:
    """By slot, then task id, as assigned ones are."""
    return tuple(sorted(endpoints, key=lambda endpoint: (endpoint.slot, endpoint.task_id)))
