"""Whether a node may become a manager, stop being one, or leave: asked by the API before it acts.

The law: one change of managers at a time, and after each a majority of those that count is
reachable. An even number of managers is a step on the way, so it is not refused. The replicated log
checks the same of itself; here the refusal is in the user's words, and comes before anything moved.
Pure.
"""

from dataclasses import dataclass

from warren.model.errors import FailedPrecondition
from warren.model.nodes import Node, NodeRole, NodeSpec, NodeState
from warren.state.cluster import ClusterState


@dataclass(frozen=True, slots=True, kw_only=True)
class Council:
    """The managers that count, as the leader knows them. Node ids."""

    voters: frozenset[str]
    reachable: frozenset[str]
    """Among them: those in contact with the leader, itself included."""


def check_roles(state: ClusterState, node: Node, after: NodeSpec, council: Council) -> None:
    """FailedPrecondition says why the node cannot have the roles of `after` now."""
    before, name = node.spec.roles, node.spec.name
    if NodeRole.MANAGER in after.roles and NodeRole.MANAGER not in before:
        _check_promotion(state, node, council)
    if NodeRole.MANAGER in before and NodeRole.MANAGER not in after.roles:
        check_without(state, node, council, doing="demoting")
    if NodeRole.WORKER in before and NodeRole.WORKER not in after.roles:
        live = [t for t in state.tasks_on(node.id) if not t.status.state.terminal]
        if live:
            count = "1 task" if len(live) == 1 else f"{len(live)} tasks"
            raise FailedPrecondition(f"{name} has {count}: drain it before it stops being a worker")


def check_removal(state: ClusterState, node: Node, council: Council, *, force: bool) -> None:
    """FailedPrecondition says why the node cannot leave now. Force never costs the majority."""
    if NodeRole.MANAGER in node.spec.roles:
        check_without(state, node, council, doing="removing")
    if node.status.state is NodeState.READY and not force:
        name = node.spec.name
        raise FailedPrecondition(f"{name} is ready: stop its daemons first, or use force")


def check_without(state: ClusterState, node: Node, council: Council, *, doing: str) -> None:
    """FailedPrecondition unless the managers can go on without the node."""
    name = node.spec.name
    if len(state.managers()) == 1:
        raise FailedPrecondition(f"{name} is the only manager")
    if node.id not in council.voters:
        return
    _check_nothing_under_way(state, node, council)
    left = council.voters - {node.id}
    here = left & council.reachable
    needed = len(left) // 2 + 1
    if len(here) < needed:
        raise FailedPrecondition(
            f"{doing} {name} would leave {len(here)} of {len(left)} managers reachable, "
            f"and {needed} are needed"
        )


def _check_promotion(state: ClusterState, node: Node, council: Council) -> None:
    if node.status.state is not NodeState.READY:
        why = f"{node.spec.name} is {node.status.state.value}"
        raise FailedPrecondition(f"{why}: only a node that is ready can become a manager")
    _check_nothing_under_way(state, node, council)


def _check_nothing_under_way(state: ClusterState, node: Node, council: Council) -> None:
    for manager in state.managers():
        if manager.id != node.id and manager.id not in council.voters:
            raise FailedPrecondition(
                f"{manager.spec.name} is still becoming a manager (is its daemon running?): "
                "managers change one at a time"
            )
