"""Get, List, Watch, history and acts of rollouts, over the fake log."""

from dataclasses import replace
from typing import Any

import pytest
from warren.api import convert, warren_pb2
from warren.manager.authorization import ROOT, Caller
from warren.manager.rollouts_api import RolloutsApi
from warren.manager.services_api import ServicesApi
from warren.model.errors import FailedPrecondition, NotFound
from warren.model.rollouts import CanaryStep, RolloutState, Strategy, UpdatePolicy
from warren.model.services import Service
from warren.model.views import (
    RolloutActed,
    RolloutView,
    ServiceApplied,
    ServiceHistory,
)
from warren.state.cluster import ClusterState
from warren.testing.builders import a_node, a_service, a_spec, a_task, an_update

from tests.unit.manager.manager_kit import Kit, a_cluster_state, a_kit

ANN = Caller(name="ann", roles=frozenset({"operator"}))


def a_state(service: Service | None = None) -> ClusterState:
    web = service or an_update(replicas=2)
    tasks = [a_task(1, "w1"), a_task(2, "w1"), a_task(1, "w1", revision=2)]
    return a_cluster_state(services=[web], nodes=[a_node("w1")], tasks=tasks)


async def act(kit: Kit, name: str, caller: Caller = ANN, **request: Any) -> RolloutActed:
    handler = getattr(RolloutsApi(kit.context), name)
    answer = await handler(warren_pb2.RolloutActRequest(service="web", **request), caller)
    return convert.from_message(answer, RolloutActed)


async def test_a_rollout_is_shown_with_what_it_waits_for() -> None:
    async with a_kit(a_state()) as kit:
        request = warren_pb2.GetRolloutRequest(service="web")

        answer = await RolloutsApi(kit.context).get_rollout(request, ROOT)

        view = convert.from_message(answer, RolloutView)
        assert (view.rollout.id, view.image_before, view.image_after) == (
            "web-r2",
            "registry.example/web:1",
            "registry.example/web:2",
        )
        assert (view.ready_new, view.ready_old, view.served, view.replicas) == (1, 2, 2, 2)


async def test_what_there_is_not_is_not_found() -> None:
    async with a_kit(a_state(a_service())) as kit:
        api = RolloutsApi(kit.context)
        with pytest.raises(NotFound, match=r"^there is no service db$"):
            await api.get_rollout(warren_pb2.GetRolloutRequest(service="db"), ROOT)
        with pytest.raises(NotFound, match=r"^web has no rollout$"):
            await api.get_rollout(warren_pb2.GetRolloutRequest(service="web"), ROOT)


async def test_lists_the_newest_of_each_service_or_those_of_one() -> None:
    async with a_kit(a_state()) as kit:
        api = RolloutsApi(kit.context)

        every = await api.list_rollouts(warren_pb2.ListRolloutsRequest(live=True), ROOT)
        own = await api.list_rollouts(warren_pb2.ListRolloutsRequest(service="web"), ROOT)

        assert [view.rollout.id for view in every.rollouts] == ["web-r2"]
        assert [view.rollout.id for view in own.rollouts] == ["web-r2"]


async def test_watching_ends_with_the_rollout() -> None:
    async with a_kit(a_state()) as kit:
        api = RolloutsApi(kit.context)
        views = api.watch_rollout(warren_pb2.GetRolloutRequest(service="web"), ROOT)
        first = await anext(views)

        await act(kit, "abort_rollout")
        second = await anext(views)

        assert first.rollout.state == warren_pb2.ROLLOUT_STATE_RUNNING
        assert second.rollout.state == warren_pb2.ROLLOUT_STATE_ROLLING_BACK
        await views.aclose()


async def test_the_history_has_revisions_newest_first() -> None:
    async with a_kit(a_state()) as kit:
        request = warren_pb2.GetHistoryRequest(service="web")

        answer = await RolloutsApi(kit.context).get_history(request, ROOT)

        history = convert.from_message(answer, ServiceHistory)
        shown = [(r.revision.number, r.current, r.tasks) for r in history.revisions]
        assert shown == [(2, True, 1), (1, False, 2)]


async def test_an_act_is_carried_out_once() -> None:
    async with a_kit(a_state()) as kit:
        first = await act(kit, "pause_rollout")
        again = await act(kit, "pause_rollout")

        assert (first.changed, again.changed) == (True, False)
        assert first.view.rollout.reason == "paused by ann"
        assert again.view.rollout.state is RolloutState.PAUSED


async def test_a_dry_run_of_an_act_changes_nothing() -> None:
    async with a_kit(a_state()) as kit:
        answer = await act(kit, "abort_rollout", dry_run=True)

        assert answer.changed
        assert answer.view.rollout.state is RolloutState.ROLLING_BACK
        assert kit.log.entries == []


async def test_an_act_on_one_that_another_took_the_place_of_is_refused() -> None:
    async with a_kit(a_state()) as kit:
        request = warren_pb2.ApplyServiceRequest(
            spec=convert.to_message(a_spec(image="third")), fields=["image"]
        )
        answer = await ServicesApi(kit.context).apply_service(request, ANN)
        begun = convert.from_message(answer, ServiceApplied)

        with pytest.raises(FailedPrecondition, match=f"superseded by {begun.rollout}"):
            await act(kit, "pause_rollout", rollout="web-r2")

        assert begun.revision == 3
        assert begun.rollout_plan is not None
        assert begun.plan[0].startswith("batch 1  slot 1  ")


async def test_rolling_back_what_is_under_way_is_aborting_it() -> None:
    async with a_kit(a_state()) as kit:
        answer = await act(kit, "roll_back_service")

        assert answer.view.rollout.state is RolloutState.ROLLING_BACK
        assert kit.state.services["web"].spec.image == "registry.example/web:1"


async def test_rolling_back_what_is_complete_begins_a_rollout() -> None:
    done = an_update(replicas=2, rollout={"state": RolloutState.COMPLETE})
    async with a_kit(a_state(done)) as kit:
        answer = await act(kit, "roll_back_service")
        again = await act(kit, "roll_back_service", revision=1)

        service = kit.state.services["web"]
        assert (answer.changed, again.changed) == (True, False)
        assert answer.view.rollout.id == service.rollouts[-1].id
        assert (service.revision, service.spec.image) == (1, "registry.example/web:1")
        assert answer.plan[-1].endswith("enough")


async def test_to_a_revision_that_is_not_kept_there_is_no_way() -> None:
    async with a_kit(a_state()) as kit:
        with pytest.raises(NotFound, match="web has no revision 9 any more: it keeps 1 and 2"):
            await act(kit, "roll_back_service", revision=9)


async def test_a_repeated_call_begins_one_rollout_and_names_it() -> None:
    async with a_kit(a_cluster_state(services=[a_service()], nodes=[a_node("w1")])) as kit:
        request = warren_pb2.ApplyServiceRequest(
            spec=convert.to_message(a_spec(image="new")), fields=["image"]
        )
        api = ServicesApi(kit.context)
        callers = [Caller(name="ann", call="c1", attempt=number) for number in (1, 2)]

        first, second = [await api.apply_service(request, caller) for caller in callers]

        service = kit.state.services["web"]
        assert len(service.rollouts) == 1
        assert first.rollout == second.rollout == service.rollouts[0].id
        assert first.changed
        assert second.changed


async def test_a_way_back_waits_for_nobody_and_is_not_undone_by_asking_twice() -> None:
    steps = (CanaryStep(weight=10, manual=True),)
    policy = UpdatePolicy(strategy=Strategy.CANARY, steps=steps)
    done = an_update(replicas=2, update=policy, rollout={"state": RolloutState.COMPLETE})
    async with a_kit(a_state(done)) as kit:
        first = await act(kit, "roll_back_service")
        again = await act(kit, "roll_back_service")

        begun = kit.state.services["web"].rollouts[-1]
        assert (first.changed, again.changed) == (True, False)
        assert (begun.rollback, begun.policy.strategy, begun.policy.steps) == (
            True,
            Strategy.ROLLING,
            (),
        )


async def test_rolling_back_another_rollout_than_the_newest_is_refused() -> None:
    done = an_update(replicas=2, rollout={"state": RolloutState.COMPLETE})
    async with a_kit(a_state(done)) as kit:
        await act(kit, "roll_back_service")

        with pytest.raises(FailedPrecondition, match="rollout web-r2 of web was superseded by"):
            await act(kit, "roll_back_service", rollout="web-r2")


async def test_scaling_names_no_rollout_that_is_over() -> None:
    done = an_update(replicas=2, rollout={"state": RolloutState.ROLLED_BACK})
    async with a_kit(a_state(replace(done, revision=1))) as kit:
        spec = convert.to_message(replace(done.spec, replicas=3))
        request = warren_pb2.ApplyServiceRequest(spec=spec, fields=["replicas"])

        answer = await ServicesApi(kit.context).apply_service(request, ANN)

        assert (answer.changed, answer.rollout) == (True, "")
