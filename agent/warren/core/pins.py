"""Whom a rollout leads to its new tasks for certain, whatever share of the traffic these have.

The law: while the new revision is on trial, connections from the sources of the policy's `pin` go
to its tasks alone, by their weights; those of all others go as `shares.py` says. When none of its
tasks may receive, and before and after the trial, pinned sources are as everybody: nobody is
refused for the sake of a pin. Each node does it for the connections that come to it, where it still
sees who calls. Called by `assignment.py` and, for a worker's own tasks, by `endpoints.py`.
"""

from ipaddress import IPv4Network, collapse_addresses

from warren.model.assignments import PinnedSources
from warren.model.rollouts import Rollout
from warren.model.tasks import Task


def of(rollout: Rollout | None) -> PinnedSources | None:
    """What nodes must know of it."""
    if rollout is None or rollout.pin is None:
        return None
    networks = collapse_addresses(IPv4Network(source) for source in rollout.pin.sources)
    return PinnedSources(networks=tuple(map(str, networks)), revision=rollout.to_revision)


def leads_to(pin: PinnedSources | None, task: Task) -> bool:
    """Pinned sources get to the task, if it may receive."""
    return pin is not None and task.revision == pin.revision
