"""Managers, GetMember: this manager's own figures of the replicated log; and how others are asked.

Whoever asks for the cluster with its members has each manager asked by the leader, at once and not
for long: a manager that does not answer is shown by what the leader knows of it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import replace

from warren.api import convert, warren_pb2
from warren.manager.authorization import Caller
from warren.manager.cluster import ManagerContext
from warren.model.assignments import ManagerAddress
from warren.model.errors import Unavailable, WarrenError
from warren.model.views import MemberView
from warren.store.log import LogMetrics

PATIENCE = 0.5
"""Seconds that the others have to answer."""

AskMember = Callable[[ManagerAddress], Awaitable[MemberView]]


async def ask_nobody(manager: ManagerAddress) -> MemberView:
    """For a manager that has no way to the others."""
    raise Unavailable(f"{manager.name} was not asked")


class MembersApi:
    """Handlers; the names are those of the RPCs."""

    def __init__(self, context: ManagerContext) -> None:
        self._context = context

    async def get_member(
        self, request: warren_pb2.GetMemberRequest, caller: Caller
    ) -> warren_pb2.MemberView:
        metrics = await self._context.store.metrics()
        locked = self._context.keyring.is_locked(self._context.store.state.secret_keys)
        view: warren_pb2.MemberView = convert.to_message(own_view(metrics, locked=locked))
        return view


async def members_of(context: ManagerContext, ask: AskMember) -> Mapping[str, MemberView]:
    """What all managers say of themselves, by node id."""
    metrics = await context.store.metrics()
    locked = context.keyring.is_locked(context.store.state.secret_keys)
    return await all_members(metrics, context.managers(), ask, locked=locked)


async def all_members(
    metrics: LogMetrics, managers: Iterable[ManagerAddress], ask: AskMember, *, locked: bool
) -> Mapping[str, MemberView]:
    """By node id: what this manager, the leader, knows of each, with what each says of itself."""
    known = {view.node_id: view for view in views(metrics, locked=locked)}
    others = [m for m in managers if m.node_id in known and m.node_id != metrics.node_id]
    answers = await asyncio.gather(*(_ask(ask, manager) for manager in others))
    for manager, answer in zip(others, answers, strict=True):
        if answer is not None:
            seen = known[manager.node_id]
            known[manager.node_id] = merged(answer, seen)
    return known


def merged(own: MemberView, seen: MemberView) -> MemberView:
    """A member's own figures, with what only the leader can say of it."""
    return replace(own, voter=seen.voter, lag=seen.lag)


def views(metrics: LogMetrics, *, locked: bool) -> tuple[MemberView, ...]:
    """All members as the manager of these figures sees them: itself in full."""
    return tuple(
        own_view(metrics, locked=locked)
        if member.node_id == metrics.node_id
        else MemberView(
            node_id=member.node_id,
            voter=member.voter,
            last_index=member.match_index,
            lag=member.lag_entries,
        )
        for member in metrics.members
    )


def own_view(metrics: LogMetrics, *, locked: bool) -> MemberView:
    """The manager of these figures, by itself."""
    own = next((m for m in metrics.members if m.node_id == metrics.node_id), None)
    return MemberView(
        node_id=metrics.node_id,
        voter=own.voter if own is not None else False,
        answered=True,
        term=metrics.term,
        last_index=metrics.last_index,
        commit_index=metrics.commit_index,
        applied_index=metrics.applied_index,
        snapshot_index=metrics.snapshot_index,
        snapshot_bytes=metrics.snapshot_bytes,
        journal_bytes=metrics.journal_bytes,
        sync_p50=metrics.sync_p50,
        sync_p99=metrics.sync_p99,
        elections_won=metrics.elections_won,
        locked=locked,
    )


async def _ask(ask: AskMember, manager: ManagerAddress) -> MemberView | None:
    try:
        async with asyncio.timeout(PATIENCE):
            return await ask(manager)
    except (WarrenError, TimeoutError):
        return None
