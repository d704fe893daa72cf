"""Apply, Get, List, Delete and Watch of services, over the fake log."""

import asyncio
import threading
from dataclasses import replace
from datetime import timedelta

import pytest
from warren.api import convert, warren_pb2
from warren.manager import planning
from warren.manager.authorization import ROOT
from warren.manager.services_api import ServicesApi
from warren.model.errors import (
    Conflict,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    OutcomeUnknown,
    Unavailable,
)
from warren.model.services import HIDDEN, Port, RegistryAuth, Secret, ServiceSpec
from warren.model.views import Change, ServiceApplied
from warren.state.commands import ForgetService, PutService, RemoveService
from warren.testing.builders import NOON, a_node, a_service, a_spec, a_task

from tests.unit.manager.manager_kit import Kit, a_cluster_state, a_kit


def an_apply(
    spec: ServiceSpec, *fields: str, expected_version: int = 0, dry_run: bool = False
) -> warren_pb2.ApplyServiceRequest:
    return warren_pb2.ApplyServiceRequest(
        spec=convert.to_message(spec),
        fields=fields,
        expected_version=expected_version,
        dry_run=dry_run,
    )


async def apply(kit: Kit, request: warren_pb2.ApplyServiceRequest) -> ServiceApplied:
    answer = await ServicesApi(kit.context).apply_service(request, ROOT)
    return convert.from_message(answer, ServiceApplied)


async def test_creates_a_service() -> None:
    async with a_kit(a_cluster_state(nodes=[a_node("w1")])) as kit:
        answer = await apply(kit, an_apply(a_spec(), "image"))

        assert answer == ServiceApplied(
            changed=True,
            before=None,
            after=a_spec(),
            changes=(
                Change(path="image", before="", after="registry.example/web:1"),
                Change(path="name", before="", after="web"),
            ),
            plan=("slot 1  +task on w1",),
            version=101,
            revision=1,
        )
        assert kit.state.services["web"].spec == a_spec()


async def test_of_long_plans_one_is_made_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each takes the interpreter away from the thread of the log."""
    begun: list[str] = []
    first_begun, go_on = threading.Event(), threading.Event()

    def slow_plan(_state: object, change: PutService, *_: object) -> tuple[tuple[str, ...], None]:
        begun.append(change.spec.name)
        first_begun.set()
        assert go_on.wait(10)
        return (), None

    monkeypatch.setattr(planning, "LONG", 0)
    monkeypatch.setattr("warren.core.services.plan", slow_plan)
    async with a_kit() as kit, asyncio.TaskGroup() as group:
        api = ServicesApi(kit.context)
        for name in ("web", "shop"):
            request = an_apply(a_spec(name=name), "image", dry_run=True)
            group.create_task(api.apply_service(request, ROOT))
        assert await asyncio.to_thread(first_begun.wait, 10)
        for _ in range(100):
            await asyncio.sleep(0)
        at_once = tuple(begun)
        go_on.set()

    assert at_once == ("web",)
    assert begun == ["web", "shop"]


async def test_the_same_again_changes_nothing() -> None:
    async with a_kit(a_cluster_state(services=[a_service(replicas=3)])) as kit:
        answer = await apply(kit, an_apply(a_spec(), "image"))

        spec = a_spec(replicas=3)
        assert answer == ServiceApplied(
            changed=False, before=spec, after=spec, version=1, revision=1
        )
        assert kit.log.entries == []


async def test_a_dry_run_answers_the_same_and_changes_nothing() -> None:
    state = a_cluster_state(services=[a_service()], nodes=[a_node("w1")])
    async with a_kit(state) as kit, a_kit(state) as other:
        spec = a_spec(image="registry.example/web:2")

        dry = await apply(kit, an_apply(spec, "image", dry_run=True))
        real = await apply(other, an_apply(spec, "image"))

        assert (dry.changes, dry.plan, dry.revision) == (real.changes, real.plan, 2)
        assert kit.log.entries == []
        assert (dry.version, real.version) == (1, 101)


async def test_only_what_the_user_named_is_changed() -> None:
    stored = a_service(replicas=3, env={"A": "1"})
    async with a_kit(a_cluster_state(services=[stored])) as kit:
        await apply(kit, an_apply(a_spec(replicas=5), "replicas"))

        assert kit.state.services["web"].spec == a_spec(replicas=5, env={"A": "1"})


async def test_an_expected_version_must_be_the_stored_one() -> None:
    async with a_kit(a_cluster_state(services=[a_service()])) as kit:
        with pytest.raises(Conflict, match="service web was changed: version 1, not 7"):
            await apply(kit, an_apply(a_spec(), "image", expected_version=7))
        with pytest.raises(NotFound, match="there is no service api"):
            await apply(kit, an_apply(a_spec("api"), "image", expected_version=7))


async def test_a_change_that_came_in_between_is_taken_into_account() -> None:
    """Between reading and proposing, somebody else scales the service."""
    async with a_kit(a_cluster_state(services=[a_service()])) as kit:
        propose, others = kit.context.store.commit, [a_spec(replicas=4)]

        async def commit(command: PutService, *, key: str = "") -> object:
            if others:
                await propose(PutService(spec=others.pop(), expected_version=1, now=NOON))
            return await propose(command)

        kit.context.store.commit = commit  # type: ignore[method-assign, assignment]
        answer = await apply(kit, an_apply(a_spec(image="registry.example/web:2"), "image"))

        assert kit.state.services["web"].spec == a_spec(image="registry.example/web:2", replicas=4)
        assert answer.changes == (
            Change(path="image", before="registry.example/web:1", after="registry.example/web:2"),
        )


async def attempt(kit: Kit, number: int, replicas: int) -> bool:
    """One attempt of the call c1; whether its answer says that it changed something."""
    caller = replace(ROOT, call="c1", attempt=number)
    request = an_apply(a_spec(replicas=replicas), "replicas")
    return (await ServicesApi(kit.context).apply_service(request, caller)).changed


async def test_a_repeated_call_does_not_undo_what_others_did_since() -> None:
    async with a_kit(a_cluster_state(services=[a_service()])) as kit:
        first = await attempt(kit, 1, 5)
        await apply(kit, an_apply(a_spec(replicas=7), "replicas"))
        again = await attempt(kit, 2, 5)

        assert (first, again) == (True, True)
        assert kit.state.services["web"].spec.replicas == 7


async def test_a_repeated_call_answers_what_the_first_one_did() -> None:
    async with a_kit(a_cluster_state(services=[a_service()])) as kit:
        first, again = await attempt(kit, 1, 5), await attempt(kit, 2, 5)

        assert (first, again) == (True, True)
        assert kit.state.services["web"].spec.replicas == 5


async def test_a_call_whose_first_attempt_got_lost_is_made_by_the_second() -> None:
    async with a_kit(a_cluster_state(services=[a_service()])) as kit:
        kit.log.fail_next(outcome_unknown=True)
        with pytest.raises(OutcomeUnknown, match="whether the change was made is unknown"):
            await attempt(kit, 1, 5)
        again = await attempt(kit, 2, 5)

        assert again
        assert kit.state.services["web"].spec.replicas == 5


async def test_a_repeated_call_that_had_nothing_to_do_says_so() -> None:
    async with a_kit(a_cluster_state(services=[a_service()])) as kit:
        replicas = kit.state.services["web"].spec.replicas

        assert not await attempt(kit, 2, replicas)


async def test_a_repeated_call_may_expect_the_version_that_it_has_replaced_itself() -> None:
    async with a_kit(a_cluster_state(services=[a_service()])) as kit:
        api = ServicesApi(kit.context)
        request = an_apply(a_spec(replicas=5), "replicas", expected_version=1)
        first = await api.apply_service(request, replace(ROOT, call="c1"))
        again = await api.apply_service(request, replace(ROOT, call="c1", attempt=2))

        assert (first.changed, again.changed) == (True, True)
        with pytest.raises(Conflict, match="service web was changed: version 101, not 1"):
            await api.apply_service(request, replace(ROOT, call="c2", attempt=2))


async def test_what_is_refused_by_an_old_state_is_decided_on_the_newest() -> None:
    """The barrier brings the news that the other service, which had the port, is gone."""
    port = Port(target=80, published=80)
    state = a_cluster_state(services=[a_service("api", ports=(port,))])
    async with a_kit(state) as kit:
        barrier = kit.log.read_barrier

        async def news(timeout: timedelta) -> None:
            await barrier(timeout)
            for command in (
                RemoveService(name="api", expected_version=0, now=NOON),
                ForgetService(name="api"),
            ):
                await kit.log.propose(convert.command_to_bytes(command), timeout)

        kit.log.read_barrier = news  # type: ignore[method-assign]
        answer = await apply(kit, an_apply(a_spec(ports=(port,)), "image", "ports"))

        assert answer.changed


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        (a_spec(replicas=-1), "web.replicas"),
        (a_spec("Web_1"), "service.name"),
    ],
)
async def test_a_bad_value_is_named_by_its_path(spec: ServiceSpec, path: str) -> None:
    async with a_kit() as kit:
        with pytest.raises(InvalidInput) as refused:
            await apply(kit, an_apply(spec, "image", "replicas"))

        assert refused.value.path == path
        assert kit.log.entries == []


async def test_a_service_that_is_going_is_not_changed() -> None:
    async with a_kit(a_cluster_state(services=[a_service(removing=True)])) as kit:
        with pytest.raises(FailedPrecondition, match="service web is being removed"):
            await apply(kit, an_apply(a_spec(replicas=2), "replicas"))


async def test_passwords_that_were_stored_in_the_open_are_never_answered() -> None:
    auth = RegistryAuth(username="anna", password=Secret("geheim"))
    async with a_kit(a_cluster_state(services=[a_service(registry_auth=auth)])) as kit:
        api = ServicesApi(kit.context)

        applied = await api.apply_service(an_apply(a_spec(replicas=2), "replicas"), ROOT)
        read = await api.get_service(warren_pb2.GetServiceRequest(name="web"), ROOT)

        for answer in (applied, read):
            assert b"geheim" not in answer.SerializeToString()
        assert applied.after.registry_auth.password == HIDDEN
        assert kit.state.services["web"].spec.registry_auth == auth


async def test_lists_services_by_name() -> None:
    state = a_cluster_state(services=[a_service("web"), a_service("api")])
    async with a_kit(state) as kit:
        answer = await ServicesApi(kit.context).list_services(
            warren_pb2.ListServicesRequest(), ROOT
        )

        assert [view.service.spec.name for view in answer.services] == ["api", "web"]


async def test_deletes_a_service_with_a_plan() -> None:
    state = a_cluster_state(services=[a_service()], nodes=[a_node("w1")], tasks=[a_task(1, "w1")])
    async with a_kit(state) as kit:
        api = ServicesApi(kit.context)
        request = warren_pb2.DeleteServiceRequest(name="web", dry_run=True)

        dry = await api.delete_service(request, ROOT)
        untouched = kit.state
        request.dry_run = False
        real = await api.delete_service(request, ROOT)
        again = await api.delete_service(request, ROOT)

        assert (dry.changed, list(dry.plan)) == (True, ["slot 1  -task on w1"])
        assert not untouched.services["web"].removing
        assert (real.changed, list(real.plan)) == (True, list(dry.plan))
        assert kit.state.services["web"].removing
        assert not again.changed


async def delete(kit: Kit, call: str, attempt: int) -> bool:
    caller = replace(ROOT, call=call, attempt=attempt)
    request = warren_pb2.DeleteServiceRequest(name="web")
    return (await ServicesApi(kit.context).delete_service(request, caller)).changed


async def test_a_repeated_delete_of_what_another_call_removes_changes_nothing() -> None:
    state = a_cluster_state(services=[a_service()], nodes=[a_node("w1")], tasks=[a_task(1, "w1")])
    async with a_kit(state) as kit:
        await delete(kit, "c1", 1)
        own, others = await delete(kit, "c1", 2), await delete(kit, "c2", 2)

        assert (own, others) == (True, False)


async def test_a_repeated_delete_of_what_is_gone_says_whether_it_removed_it() -> None:
    async with a_kit(a_cluster_state(services=[a_service()])) as kit:
        await delete(kit, "c1", 1)
        await kit.context.store.propose(ForgetService(name="web"))
        own, others = await delete(kit, "c1", 2), await delete(kit, "c2", 2)

        assert (own, others) == (True, False)


async def test_a_watch_begins_with_the_present_and_ends_with_the_service() -> None:
    async with a_kit(a_cluster_state(services=[a_service(replicas=0)])) as kit:
        api = ServicesApi(kit.context)
        watch = api.watch_service(warren_pb2.GetServiceRequest(name="web"), ROOT)

        first = await anext(watch)
        following = asyncio.create_task(anext(watch))
        await apply(kit, an_apply(a_spec(replicas=2), "replicas"))
        second = await following
        await watch.aclose()

        assert (first.status.desired, second.status.desired) == (0, 2)


async def test_a_watch_ends_when_the_lead_is_lost() -> None:
    async with a_kit(a_cluster_state(services=[a_service()])) as kit:
        watch = ServicesApi(kit.context).watch_service(
            warren_pb2.GetServiceRequest(name="web"), ROOT
        )
        await anext(watch)

        kit.log.follow(None)

        with pytest.raises(Unavailable):
            await anext(watch)


async def test_reads_need_the_lead() -> None:
    async with a_kit(a_cluster_state(services=[a_service()])) as kit:
        kit.log.follow("10.86.0.2:7445")

        with pytest.raises(Unavailable):
            await ServicesApi(kit.context).get_service(
                warren_pb2.GetServiceRequest(name="web"), ROOT
            )
