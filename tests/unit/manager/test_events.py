"""Events of a whole manager over the fake log: told afterwards, and as they happen."""

import asyncio
from typing import Any

from warren.api import convert, warren_pb2, warren_pb2_grpc
from warren.manager import event_log
from warren.manager.event_log import EventLog
from warren.model.events import Event, EventKind
from warren.testing.builders import a_spec, at

from tests.unit.manager.manager_kit import RunningManager, running_manager


async def apply(manager: RunningManager, name: str) -> None:
    request = warren_pb2.ApplyServiceRequest(
        spec=convert.to_message(a_spec(name, replicas=0)), fields=["image", "replicas"]
    )
    await warren_pb2_grpc.ControlStub(manager.channel).ApplyService(request)


def events(manager: RunningManager, **request: Any) -> Any:
    control = warren_pb2_grpc.ControlStub(manager.channel)
    return control.Events(warren_pb2.EventsRequest(**request))


async def test_what_has_happened_is_told_by_service_and_age() -> None:
    async with running_manager() as manager:
        for name in ("web", "db"):
            await apply(manager, name)
        async with asyncio.timeout(10):
            while not [e async for e in events(manager, service="db")]:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

        every = [message.message async for message in events(manager)]
        of_web = [message async for message in events(manager, service="web")]
        later = [message async for message in events(manager, after=2**40)]

    told = [line for line in every if "created" in line]
    assert told == [
        f"web is created with image {a_spec().image}",
        f"db is created with image {a_spec('db').image}",
    ]
    assert [convert.from_message(e, Event).kind for e in of_web] == [EventKind.SERVICE_CREATED]
    assert later == []


async def test_what_happens_is_told_to_those_who_follow() -> None:
    async with running_manager() as manager:
        stream = events(manager, service="web", follow=True)
        await apply(manager, "db")
        await apply(manager, "web")

        async with asyncio.timeout(10):
            first = await stream.read()
        stream.cancel()

    assert first.service == "web"


async def test_only_the_last_thousand_are_kept() -> None:
    async with running_manager() as manager:
        log = EventLog(manager.context)
        found = [
            Event(index=n, at=at(n), kind=EventKind.NODE_READY, message=f"{n}")
            for n in range(event_log.KEPT + 5)
        ]
        log._keep(*found)

        kept = [entry.event.index for entry in log.after(0)]
        newer = [entry.event.index for entry in log.after(event_log.KEPT + 3)]

    assert kept == list(range(5, event_log.KEPT + 5))
    assert newer == [event_log.KEPT + 3, event_log.KEPT + 4]
