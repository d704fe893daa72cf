"""A service has converged when every node sends it traffic as its tasks are."""

import asyncio
from dataclasses import replace
from datetime import timedelta

from warren.api import convert, warren_pb2
from warren.manager.authorization import ROOT
from warren.manager.contacts import Contacts
from warren.manager.following import Following
from warren.manager.services_api import LOOK_AGAIN, ServicesApi
from warren.model.clusters import ClusterSpec
from warren.model.nodes import NodeState
from warren.model.services import Port
from warren.model.views import ServiceStatus, ServiceView
from warren.state.cluster import ClusterState
from warren.testing.builders import a_node, a_service, a_task

from tests.unit.manager.manager_kit import Stopwatch, a_cluster_state, a_kit

PORTS = (Port(name="http", target=8080),)
LATE = "1 of 1 tasks run; w2 still to send them traffic"


def a_state(ports: tuple[Port, ...] = PORTS, w2: NodeState = NodeState.READY) -> ClusterState:
    """One task, ready since index 7, and two nodes."""
    return a_cluster_state(
        services=[replace(a_service(ports=ports), vip="10.87.0.1" if ports else "")],
        nodes=[a_node("w1"), a_node("w2", number=2, state=w2)],
        tasks=[replace(a_task(1, "w1"), version=7)],
    )


async def status(api: ServicesApi) -> ServiceStatus:
    view = await api.get_service(warren_pb2.GetServiceRequest(name="web"), ROOT)
    return convert.from_message(view, ServiceView).status


def contacts_of(**carried: int) -> Contacts:
    contacts = Contacts()
    for node_id, index in carried.items():
        contacts.carry(node_id, index)
    return contacts


async def test_converges_when_the_last_node_has_followed() -> None:
    contacts = contacts_of(w1=7, w2=6)
    async with a_kit(a_state()) as kit:
        api = ServicesApi(kit.context, Following(contacts))

        before = await status(api)
        contacts.carry("w2", 7)
        after = await status(api)

    assert (before.converged, before.reason) == (False, LATE)
    assert (after.converged, after.reason) == (True, "")


async def test_who_watches_is_told_when_the_last_node_has_followed() -> None:
    contacts = contacts_of(w1=7)
    async with a_kit(a_state()) as kit:
        api = ServicesApi(kit.context, Following(contacts))
        views = api.watch_service(warren_pb2.GetServiceRequest(name="web"), ROOT)

        first = await anext(views)
        second = asyncio.ensure_future(anext(views))
        await asyncio.sleep(0)
        contacts.carry("w2", 7)
        async with asyncio.timeout(LOOK_AGAIN / 2):
            told = [first.status.converged, (await second).status.converged]
        await views.aclose()

    assert told == [False, True]


async def test_a_node_that_hangs_is_waited_for_as_long_as_for_a_drain() -> None:
    stopwatch = Stopwatch()
    patience = ClusterSpec().drain_timeout
    async with a_kit(a_state()) as kit:
        api = ServicesApi(kit.context, Following(contacts_of(w1=7), stopwatch.read))

        told = [(await status(api)).converged]
        for step in (patience - timedelta(seconds=0.1), timedelta(seconds=0.1)):
            stopwatch.seconds += step.total_seconds()
            told.append((await status(api)).converged)

    assert told == [False, False, True]


async def test_nobody_waits_for_a_node_that_is_down_or_for_a_service_without_ports() -> None:
    for state in (a_state(w2=NodeState.DOWN), a_state(ports=())):
        async with a_kit(state) as kit:
            api = ServicesApi(kit.context, Following(contacts_of(w1=7)))

            assert (await status(api)).converged


async def test_a_manager_that_does_not_lead_knows_of_no_node_that_is_late() -> None:
    async with a_kit(a_state()) as kit:
        api = ServicesApi(kit.context, Following(Contacts()))
        kit.log.follow("10.86.0.2:7445")
        request = warren_pb2.GetServiceRequest(name="web", stale=True)

        view = await api.get_service(request, ROOT)

    assert view.status.converged
