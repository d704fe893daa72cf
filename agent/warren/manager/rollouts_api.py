"""Control, rollouts: Get, List, Watch, history, and what users have a rollout do."""

from collections.abc import AsyncGenerator, Callable
from dataclasses import replace
from datetime import datetime
from functools import partial

from warren.api import convert, warren_pb2
from warren.core import acts, file_references, plan, rollout_views, situation, updates
from warren.core.situation import Situation
from warren.manager import planning
from warren.manager.authorization import Caller
from warren.manager.changing import Intent, Wish, carry_out
from warren.manager.cluster import ManagerContext
from warren.model.errors import FailedPrecondition, NotFound
from warren.model.rollouts import Rollout, RolloutState
from warren.model.services import Service
from warren.model.views import RolloutActed, RolloutView
from warren.state.apply import apply
from warren.state.cluster import ClusterState
from warren.state.commands import SetRollout

Act = Callable[[Situation], Rollout]


class RolloutsApi:
    """Handlers; the names are those of the RPCs."""

    def __init__(self, context: ManagerContext) -> None:
        self._context = context

    async def get_rollout(
        self, request: warren_pb2.GetRolloutRequest, caller: Caller
    ) -> warren_pb2.RolloutView:
        state = await self._context.read(stale=request.stale)
        service = _service(state, request.service)
        return self._message(self._view(state, service, acts.find(service, request.rollout)))

    async def list_rollouts(
        self, request: warren_pb2.ListRolloutsRequest, caller: Caller
    ) -> warren_pb2.ListRolloutsResponse:
        state = await self._context.read(stale=request.stale)
        if request.service:
            service = _service(state, request.service)
            found = [(service, each) for each in reversed(service.rollouts)]
        else:
            found = [(s, s.rollouts[-1]) for _, s in sorted(state.services.items()) if s.rollouts]
        views = [
            self._message(self._view(state, service, rollout))
            for service, rollout in found
            if rollout.live or not request.live
        ]
        return warren_pb2.ListRolloutsResponse(rollouts=views)

    async def watch_rollout(
        self, request: warren_pb2.GetRolloutRequest, caller: Caller
    ) -> AsyncGenerator[warren_pb2.RolloutView, None]:
        """The view at once, then whenever it differs from the last one sent, to the end."""
        store = self._context.store
        state = await store.barrier()
        rollout_id = acts.find(_service(state, request.service), request.rollout).id
        sent: warren_pb2.RolloutView | None = None
        while True:
            count = store.changes.count
            service = _service(state, request.service)
            rollout = acts.find(service, rollout_id)
            view = self._message(self._view(state, service, rollout))
            if view != sent:
                yield view
                sent = view
            if not rollout.live:
                return
            await store.changes.wait_newer(count)
            self._context.require_lead()
            state = store.state

    async def get_history(
        self, request: warren_pb2.GetHistoryRequest, caller: Caller
    ) -> warren_pb2.ServiceHistory:
        state = await self._context.read(stale=request.stale)
        service = _service(state, request.service)
        history = rollout_views.history(service, state.tasks_of(request.service))
        message: warren_pb2.ServiceHistory = convert.to_message(history)
        return message

    async def promote_rollout(
        self, request: warren_pb2.RolloutActRequest, caller: Caller
    ) -> warren_pb2.RolloutActed:
        def act(now_is: Situation) -> Rollout:
            return acts.promote(now_is, step=request.step, full=request.full)

        return await self._act(request, caller, act, "promoted")

    async def pause_rollout(
        self, request: warren_pb2.RolloutActRequest, caller: Caller
    ) -> warren_pb2.RolloutActed:
        return await self._act(request, caller, lambda at: acts.pause(at, caller.name), "paused")

    async def resume_rollout(
        self, request: warren_pb2.RolloutActRequest, caller: Caller
    ) -> warren_pb2.RolloutActed:
        return await self._act(request, caller, acts.resume, "resumed")

    async def abort_rollout(
        self, request: warren_pb2.RolloutActRequest, caller: Caller
    ) -> warren_pb2.RolloutActed:
        def act(now_is: Situation) -> Rollout:
            return acts.abort(now_is, caller.name, request.reason)

        return await self._act(request, caller, act, "aborted")

    async def roll_back_service(
        self, request: warren_pb2.RolloutActRequest, caller: Caller
    ) -> warren_pb2.RolloutActed:
        """What is under way turns back; else, or to another revision, a rollout begins."""
        wish = Wish(caller=caller, dry_run=request.dry_run)
        new_id, now = caller.mark or self._context.new_id(), self._context.now()
        begun: ClusterState | None = None

        def decide(state: ClusterState, _: Wish) -> Intent[warren_pb2.RolloutActed]:
            nonlocal begun
            begun = None
            service = _changeable(state, request.service)
            live = service.live_rollout
            if request.rollout:
                self._require_newest(service, acts.find(service, request.rollout))
            if live is not None and _goes_back(live, request.revision):
                return self._nothing_to_do(state, service, live)
            if live is not None and request.revision in (0, live.from_revision):

                def act(now_is: Situation) -> Rollout:
                    return acts.abort(now_is, caller.name, request.reason)

                return self._intent(state, service, live, act, "rolled back")
            if live is None and request.revision == service.revision:
                newest = acts.find(service, "")
                return self._nothing_to_do(state, service, newest)
            command = updates.way_back(
                service,
                request.revision,
                expected_version=service.version,
                new_id=new_id,
                by=caller.name,
                because=request.reason,
                now=now,
            )
            file_references.require(state, command.spec, f"revision {command.revision}")
            begun = after = apply(state, command)[0]
            changing = after.services[request.service]
            summary = f"service {request.service} goes back to revision {command.revision}"
            return Intent(
                command=command,
                version=service.version,
                answer=lambda changed, _: self._acted(
                    after, changing, changing.rollouts[-1], changed
                ),
                summary=summary,
            )

        acted = await carry_out(self._context, wish, decide)
        if begun is not None:
            acted.plan.extend(await self._plan(begun, request.service, now))
        return acted

    async def _plan(self, state: ClusterState, name: str, now: datetime) -> tuple[str, ...]:
        """Of the rollout that has just begun."""
        tasks = planning.tasks_of(state, state.services[name].spec)
        make = partial(plan.of_rollout, state, name, now)
        return plan.lines(await self._context.planning.make(make, tasks))

    async def _act(
        self, request: warren_pb2.RolloutActRequest, caller: Caller, act: Act, done: str
    ) -> warren_pb2.RolloutActed:
        wish = Wish(caller=caller, dry_run=request.dry_run)

        def decide(state: ClusterState, _: Wish) -> Intent[warren_pb2.RolloutActed]:
            service = _changeable(state, request.service)
            newest = acts.find(service, request.rollout)
            return self._intent(state, service, newest, act, done)

        return await carry_out(self._context, wish, decide)

    def _intent(
        self, state: ClusterState, service: Service, before: Rollout, act: Act, done: str
    ) -> Intent[warren_pb2.RolloutActed]:
        name, now = service.spec.name, self._context.now()
        now_is = situation.of(state, service, state.tasks_of(name), now)
        if before.state is RolloutState.SUPERSEDED:
            self._require_newest(service, before)
        after = act(now_is if before.id == now_is.rollout.id else _over(now_is, before))
        if after == before:
            return self._nothing_to_do(state, service, before)
        command = SetRollout(service=name, rollout=after, expected_version=before.version, now=now)
        then = apply(state, command)[0]
        return Intent(
            command=command,
            version=before.version,
            answer=lambda changed, _: self._acted(then, then.services[name], after, changed),
            summary=f"rollout {before.id} of {name} {done}",
        )

    def _require_newest(self, service: Service, rollout: Rollout) -> None:
        newest = service.rollouts[-1]
        if rollout.id != newest.id:
            name = service.spec.name
            message = f"rollout {rollout.id} of {name} was superseded by {newest.id}"
            raise FailedPrecondition(message)

    def _nothing_to_do(
        self, state: ClusterState, service: Service, rollout: Rollout
    ) -> Intent[warren_pb2.RolloutActed]:
        return Intent(
            command=None,
            version=rollout.version,
            answer=lambda changed, _: self._acted(state, service, rollout, changed),
            summary="",
        )

    def _acted(
        self, state: ClusterState, service: Service, rollout: Rollout, changed: bool
    ) -> warren_pb2.RolloutActed:
        view = self._view(state, service, rollout)
        message: warren_pb2.RolloutActed = convert.to_message(
            RolloutActed(changed=changed, view=view, plan=())
        )
        return message

    def _view(self, state: ClusterState, service: Service, rollout: Rollout) -> RolloutView:
        tasks = state.tasks_of(service.spec.name)
        return rollout_views.view(state, service, tasks, self._context.now(), rollout)

    def _message(self, view: RolloutView) -> warren_pb2.RolloutView:
        message: warren_pb2.RolloutView = convert.to_message(view)
        return message


def _goes_back(live: Rollout, revision: int) -> bool:
    """It leads to that revision already; 0: a user had it go back."""
    return live.target == revision if revision else live.rollback and not live.backwards


def _over(now_is: Situation, before: Rollout) -> Situation:
    """Of a rollout that ended before the newest one began."""
    return replace(now_is, rollout=before)


def _service(state: ClusterState, name: str) -> Service:
    service = state.services.get(name)
    if service is None:
        raise NotFound(f"there is no service {name}")
    return service


def _changeable(state: ClusterState, name: str) -> Service:
    service = _service(state, name)
    if service.removing:
        raise FailedPrecondition(f"service {name} is being removed")
    return service
