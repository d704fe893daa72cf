"""The leader's one question: given this state, what must be proposed, and when to look again?

Called by the leader's loop on each change of the state or of a worker's contact, and at `wake_at`.
Each decider sees the state as the commands before it leave it, so that losing a node, creating
the replacement and placing it is one entry of the log. On a settled state there are no commands.
"""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime

from warren.core import drain, mesh, nodes, orchestrator, reaper, scheduler, vips
from warren.core.decisions import Decision, earliest
from warren.state.apply import apply
from warren.state.cluster import ClusterState
from warren.state.commands import Command

__all__ = ["Decision", "reconcile"]


def reconcile(
    state: ClusterState,
    now: datetime,
    new_id: Callable[[], str],
    contacts: Mapping[str, datetime],
    carried: Mapping[str, int] | None = None,
    unheard: Collection[str] = (),
) -> Decision:
    """All commands that the state calls for at `now`.

    `contacts`: when the leader last heard each worker, by node id. A new leader starts with
    `nodes.first_contacts`, not with every node: to assume that a node which is DOWN was just
    heard would make it READY and give it tasks.

    `carried`: up to which index each worker's rules are as it was told. `unheard`: nodes that this
    leader knows only from the log, because their workers have not reported to it yet.
    """
    if state.cluster is None:
        return Decision()
    commands: list[Command] = []
    wake_ups: list[datetime | None] = []
    deciders: tuple[Callable[[ClusterState], Decision], ...] = (
        lambda state: nodes.decide(state, now, contacts),
        lambda state: vips.decide(state),
        lambda state: orchestrator.decide(state, now, new_id, unheard),
        lambda state: drain.decide(state, now, carried or {}),
        lambda state: mesh.decide(state, now, carried or {}),
        lambda state: scheduler.decide(state, now),
        lambda state: reaper.decide(state, now),
    )
    for decide in deciders:
        decision = decide(state)
        for command in decision.commands:
            state, _ = apply(state, command)
        commands.extend(decision.commands)
        wake_ups.append(decision.wake_at)
    return Decision(commands=tuple(commands), wake_at=earliest(wake_ups))


def awaited(state: ClusterState) -> frozenset[int]:
    """Indexes that must be carried by all for the next step of something."""
    drains = (t.version for t in state.tasks.values() if drain.is_draining(t))
    keys = (n.mesh.offered_index for n in state.nodes.values() if n.mesh.next_public_key)
    return frozenset((*drains, *keys))
