"""Who of the managers can open secrets, and who should lead. Pure; asked by `manager/autolock`.

A manager that was started again under autolock is locked until somebody brings the passphrase. It
votes, leads, decides and tells as any other, but for secrets: so the lead goes to one that can.
"""

from collections.abc import Mapping

from warren.model.views import AutolockView, ManagerLock, MemberView
from warren.state.cluster import ClusterState


def view(state: ClusterState, members: Mapping[str, MemberView]) -> AutolockView:
    """`members`: what managers say of themselves, by node id. Here there is a cluster."""
    assert state.cluster is not None
    keys = state.secret_keys
    lock = keys.lock if keys is not None else None
    return AutolockView(
        cluster_id=state.cluster.id,
        lock=lock,
        managers=tuple(_manager(node.spec.name, members.get(node.id)) for node in state.managers())
        if lock is not None
        else (),
    )


def successor(members: Mapping[str, MemberView], leader_id: str) -> str:
    """Node id of the manager that a locked leader gives the lead to; empty: to none.

    Of those that are unlocked, the one that lags least: it has most of the log already.
    """
    able = [
        member
        for member in members.values()
        if member.node_id != leader_id and member.voter and member.answered and not member.locked
    ]
    return min(able, key=lambda member: (member.lag, member.node_id)).node_id if able else ""


def _manager(name: str, member: MemberView | None) -> ManagerLock:
    if member is None or not member.answered:
        return ManagerLock(name=name, answered=False, locked=False)
    return ManagerLock(name=name, answered=True, locked=member.locked)
