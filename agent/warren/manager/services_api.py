"""Control, services: Apply, Get, List, Delete, Watch. Parses, asks `core`, proposes, answers."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from functools import partial
from typing import Any

from warren.api import convert, warren_pb2
from warren.core import (
    file_references,
    hiding,
    registry_credentials,
    services,
    updates,
    views,
)
from warren.core.specs import Edit
from warren.manager import planning
from warren.manager.authorization import Caller
from warren.manager.changing import Intent, Wish, carry_out
from warren.manager.cluster import ManagerContext
from warren.manager.following import Following
from warren.manager.task_files import Opener
from warren.model.nodes import Node
from warren.model.services import Service, ServiceSpec
from warren.model.views import RolloutPlan, ServiceApplied
from warren.state import apply_rollouts
from warren.state.cluster import ClusterState
from warren.state.commands import PutService, RemoveService, StartRollout
from warren.store.watch import Watch, wait_any_newer

LOOK_AGAIN = 1.0
"""Seconds, at a service that nodes have not followed: how long one is waited for has an end."""


class ServicesApi:
    """Handlers; the names are those of the RPCs."""

    def __init__(self, context: ManagerContext, following: Following | None = None) -> None:
        self._context = context
        self._following = following
        self._opener = Opener(context.keyring)

    async def apply_service(
        self, request: warren_pb2.ApplyServiceRequest, caller: Caller
    ) -> warren_pb2.ServiceApplied:
        wish = Wish.of(request, caller)
        given = convert.from_message(request.spec, ServiceSpec)

        def decide(state: ClusterState, wish: Wish) -> Intent[_Applied]:
            stored = state.services.get(given.name)
            version = wish.require_stored(stored, f"service {given.name}")
            before = stored.spec if stored is not None else None
            merged = services.merge(before, given, request.fields)
            after = file_references.resolve(merged, before, request.fields, state)
            services.check(after, state)
            if registry_credentials.speaks_of_pulls(before, after):
                value = self._opener.newest(state, after.registry_secret)
                registry_credentials.check_service(after, value)
            return self._put(state, Edit(before=before, after=after, version=version), wish)

        applied = await carry_out(self._context, wish, decide)
        message: warren_pb2.ServiceApplied = convert.to_message(await self._explained(applied))
        return message

    def _put(self, state: ClusterState, edit: Edit[ServiceSpec], wish: Wish) -> Intent["_Applied"]:
        change = updates.change(
            state.services.get(edit.after.name),
            edit.after,
            expected_version=wish.expected_version or edit.version,
            new_id=wish.caller.mark or self._context.new_id(),
            by=wish.caller.name,
            now=self._context.now(),
        )
        return Intent(
            command=change if edit.needed else None,
            version=edit.version,
            answer=lambda changed, version: _Applied(
                changed, version, edit, state, change, wish.caller.mark
            ),
            summary=f"service {edit.after.name} {'created' if edit.before is None else 'changed'}",
        )

    async def _explained(self, applied: "_Applied") -> ServiceApplied:
        """With all that a person wants to know of it."""
        edit, state = applied.edit, applied.state
        plan, rollout_plan = await self._plan(state, applied.change) if edit.needed else ((), None)
        return ServiceApplied(
            changed=applied.changed,
            before=hiding.hide(edit.before) if edit.before is not None else None,
            after=hiding.hide(edit.after),
            changes=edit.changes(),
            plan=plan,
            version=applied.version,
            revision=_next_revision(state.services.get(edit.after.name), applied),
            rollout=_rollout_id(state.services.get(edit.after.name), applied),
            rollout_plan=rollout_plan,
        )

    async def _plan(
        self, state: ClusterState, change: PutService | StartRollout
    ) -> tuple[tuple[str, ...], RolloutPlan | None]:
        plan = partial(services.plan, state, change, self._context.now(), self._context.new_id)
        tasks = planning.tasks_of(state, change.spec)
        return await self._context.planning.make(plan, tasks)

    async def get_service(
        self, request: warren_pb2.GetServiceRequest, caller: Caller
    ) -> warren_pb2.ServiceView:
        state = await self._context.read(stale=request.stale)
        return self._view(state, request.name, self._behind(state, request.name))

    async def list_services(
        self, request: warren_pb2.ListServicesRequest, caller: Caller
    ) -> warren_pb2.ListServicesResponse:
        state = await self._context.read(stale=request.stale)
        found = [
            self._view(state, name, self._behind(state, name)) for name in sorted(state.services)
        ]
        return warren_pb2.ListServicesResponse(services=found)

    async def delete_service(
        self, request: warren_pb2.DeleteServiceRequest, caller: Caller
    ) -> warren_pb2.DeleteServiceResponse:
        wish = Wish.of(request, caller)
        now = self._context.now()

        def decide(state: ClusterState, wish: Wish) -> Intent[tuple[bool, ClusterState | None]]:
            stored = state.services.get(request.name)
            needed = stored is not None and not stored.removing
            if stored is not None and needed:
                wish.require_version(stored.version, f"service {request.name}")
            remove = RemoveService(
                name=request.name, expected_version=request.expected_version, now=now
            )
            return Intent(
                command=remove if needed else None,
                version=stored.version if stored is not None else state.index,
                answer=lambda changed, _: (changed, state if needed else None),
                summary=f"service {request.name} removed",
            )

        changed, state = await carry_out(self._context, wish, decide)
        plan: tuple[str, ...] = ()
        if state is not None:
            new_id, tasks = self._context.new_id, len(state.tasks_of(request.name))
            make = partial(services.removal_plan, state, request.name, now, new_id)
            plan = await self._context.planning.make(make, tasks)
        return warren_pb2.DeleteServiceResponse(changed=changed, plan=plan)

    async def watch_service(
        self, request: warren_pb2.GetServiceRequest, caller: Caller
    ) -> AsyncGenerator[warren_pb2.ServiceView, None]:
        """The view at once, then whenever it differs from the last one sent."""
        store = self._context.store
        state = await store.barrier()
        sent: warren_pb2.ServiceView | None = None
        while sent is None or request.name in state.services:
            seen: list[tuple[Watch[Any], int]] = [(store.changes, store.changes.count)]
            behind = self._behind(state, request.name)
            if self._following is not None and behind:
                seen.append(self._following.seen())
            view = self._view(state, request.name, behind)
            if view != sent:
                yield view
                sent = view
            await wait_any_newer(*seen, timeout=LOOK_AGAIN if behind else None)
            self._context.require_lead()
            state = store.state

    def _view(
        self, state: ClusterState, name: str, behind: tuple[Node, ...]
    ) -> warren_pb2.ServiceView:
        view: warren_pb2.ServiceView = convert.to_message(
            views.service_view(state, name, self._context.now(), behind)
        )
        return view

    def _behind(self, state: ClusterState, name: str) -> tuple[Node, ...]:
        """Nodes that do not send it traffic as its tasks are yet. Only the leader knows."""
        service = state.services.get(name)
        if service is None or self._following is None or not self._context.leads():
            return ()
        return self._following.behind(state, service)


@dataclass(frozen=True, slots=True)
class _Applied:
    """What came of an Apply, and the state that it was decided on."""

    changed: bool
    version: int
    edit: Edit[ServiceSpec]
    state: ClusterState
    change: PutService | StartRollout
    mark: str
    """Of the call: an earlier attempt of it has made what bears that."""


def _next_revision(stored: Service | None, applied: _Applied) -> int:
    if stored is None:
        return 1
    if not isinstance(applied.change, StartRollout):
        return stored.revision
    return applied.change.revision or apply_rollouts.next_number(stored)


def _rollout_id(stored: Service | None, applied: _Applied) -> str:
    """Of the one that begins, or that is under way."""
    if isinstance(applied.change, StartRollout):
        return applied.change.rollout_id
    newest = stored.rollout if stored is not None else None
    if newest is None:
        return ""
    made = applied.changed and applied.mark and newest.id.endswith(f"-{applied.mark}")
    return newest.id if newest.live or made else ""
