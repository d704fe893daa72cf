"""Control, services: Apply, Get, List, Delete, Watch. Parses, asks `core`, proposes, answers."""

import logging
from collections.abc import AsyncGenerator
from dataclasses import replace

from warren.api import convert, warren_pb2
from warren.core import services, views
from warren.manager.authorization import Caller
from warren.manager.cluster import ManagerContext
from warren.model.errors import Conflict, NotFound
from warren.model.services import Service, ServiceSpec, template_of
from warren.model.views import ServiceApplied
from warren.state.cluster import ClusterState
from warren.state.commands import PutService, RemoveService

logger = logging.getLogger(__name__)

ATTEMPTS = 3
"""When the caller named no version, a change that came in between is no reason to refuse."""


class ServicesApi:
    """Handlers; the names are those of the RPCs."""

    def __init__(self, context: ManagerContext) -> None:
        self._context = context

    async def apply_service(
        self, request: warren_pb2.ApplyServiceRequest, caller: Caller
    ) -> warren_pb2.ServiceApplied:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                answer: warren_pb2.ServiceApplied = convert.to_message(
                    await self._apply(request, caller, attempt)
                )
                return answer
            except Conflict:
                if request.expected_version or attempt == ATTEMPTS:
                    raise
        raise AssertionError("the last attempt answers or raises")

    async def _apply(
        self, request: warren_pb2.ApplyServiceRequest, caller: Caller, attempt: int
    ) -> ServiceApplied:
        state = await self._context.store.barrier()
        given = convert.from_message(request.spec, ServiceSpec)
        stored = state.services.get(given.name)
        _expect(stored, request.expected_version, given.name)
        before = stored.spec if stored is not None else None
        after = services.merge(before, given, request.fields)
        services.check(after, state)
        if stored is not None and after == before:
            return await self._unchanged(stored, caller.key(attempt) if caller.attempt > 1 else "")
        answer = ServiceApplied(
            changed=True,
            before=services.hide(before) if before is not None else None,
            after=services.hide(after),
            changes=services.changes(before, after),
            plan=services.plan(state, after, self._context.now(), self._context.new_id),
            version=stored.version if stored is not None else 0,
            revision=_next_revision(stored, after),
        )
        if request.dry_run:
            return answer
        return await self._put(answer, after, caller, attempt)

    async def _put(
        self, answer: ServiceApplied, spec: ServiceSpec, caller: Caller, attempt: int
    ) -> ServiceApplied:
        put = PutService(spec=spec, expected_version=answer.version, now=self._context.now())
        applied = await self._context.store.commit(put, key=caller.key(attempt))
        verb = "changed" if answer.before is not None else "created"
        logger.info("service %s %s by %s", spec.name, verb, caller.name)
        return ServiceApplied(
            changed=True,
            before=answer.before,
            after=answer.after,
            changes=answer.changes,
            plan=answer.plan,
            version=applied.index,
            revision=answer.revision,
        )

    async def _unchanged(self, stored: Service, key: str) -> ServiceApplied:
        """The answer when there is nothing to do; `key`: of an earlier attempt, which may have.

        Proposed with its key, the same again does nothing, and answers what that attempt did.
        """
        spec = services.hide(stored.spec)
        answer = ServiceApplied(
            changed=False,
            before=spec,
            after=spec,
            version=stored.version,
            revision=stored.revision,
        )
        if not key:
            return answer
        same = PutService(
            spec=stored.spec, expected_version=stored.version, now=self._context.now()
        )
        applied = await self._context.store.commit(same, key=key)
        return replace(answer, changed=applied.index <= stored.version)

    async def get_service(
        self, request: warren_pb2.GetServiceRequest, caller: Caller
    ) -> warren_pb2.ServiceView:
        return self._view(await self._context.read(stale=request.stale), request.name)

    async def list_services(
        self, request: warren_pb2.ListServicesRequest, caller: Caller
    ) -> warren_pb2.ListServicesResponse:
        state = await self._context.read(stale=request.stale)
        found = [self._view(state, name) for name in sorted(state.services)]
        return warren_pb2.ListServicesResponse(services=found)

    async def delete_service(
        self, request: warren_pb2.DeleteServiceRequest, caller: Caller
    ) -> warren_pb2.DeleteServiceResponse:
        state = await self._context.store.barrier()
        stored = state.services.get(request.name)
        if stored is None or stored.removing:
            return warren_pb2.DeleteServiceResponse(changed=caller.attempt > 1)
        _expect(stored, request.expected_version, request.name)
        now = self._context.now()
        plan = services.removal_plan(state, request.name, now, self._context.new_id)
        if not request.dry_run:
            await self._context.store.commit(
                RemoveService(
                    name=request.name, expected_version=request.expected_version, now=now
                ),
                key=caller.key(),
            )
            logger.info("service %s removed by %s", request.name, caller.name)
        return warren_pb2.DeleteServiceResponse(changed=True, plan=plan)

    async def watch_service(
        self, request: warren_pb2.GetServiceRequest, caller: Caller
    ) -> AsyncGenerator[warren_pb2.ServiceView, None]:
        """The view at once, then whenever it differs from the last one sent."""
        store = self._context.store
        state = await store.barrier()
        sent: warren_pb2.ServiceView | None = None
        while sent is None or request.name in state.services:
            count = store.changes.count
            view = self._view(state, request.name)
            if view != sent:
                yield view
                sent = view
            await store.changes.wait_newer(count)
            self._context.require_lead()
            state = store.state

    def _view(self, state: ClusterState, name: str) -> warren_pb2.ServiceView:
        view: warren_pb2.ServiceView = convert.to_message(
            views.service_view(state, name, self._context.now())
        )
        return view


def _expect(stored: Service | None, expected: int, name: str) -> None:
    if not expected:
        return
    if stored is None:
        raise NotFound(f"there is no service {name}")
    if stored.version != expected:
        message = f"service {name} was changed: version {stored.version}, not {expected}"
        raise Conflict(message)


def _next_revision(stored: Service | None, after: ServiceSpec) -> int:
    if stored is None:
        return 1
    return stored.revision + (template_of(stored.spec) != template_of(after))
