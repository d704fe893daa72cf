"""The leader's loops: they run while this manager leads, are woken by news, and never spin."""

import asyncio
from datetime import timedelta

import pytest
from warren.manager.contacts import Contacts
from warren.manager.leadership import Leadership
from warren.manager.reconciler import Reconciler
from warren.model.nodes import NodeState
from warren.model.rollouts import RolloutState
from warren.model.services import Port
from warren.state.commands import PutService
from warren.testing.builders import NOON, a_node, a_service, a_spec, a_task, an_update

from tests.unit.manager.manager_kit import Kit, a_cluster_state, a_kit


class Loop:
    """Notes its starts and its ends."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[str] = asyncio.Queue()

    async def run(self) -> None:
        self.events.put_nowait("started")
        try:
            await asyncio.Event().wait()
        finally:
            self.events.put_nowait("ended")

    async def next(self) -> str:
        async with asyncio.timeout(10):
            return await self.events.get()


async def test_loops_start_and_end_with_the_lead() -> None:
    async with a_kit() as kit:
        loop = Loop()
        leadership = asyncio.create_task(Leadership(kit.context, Contacts(), [loop.run]).run())
        events = [await loop.next()]

        kit.log.follow("10.86.0.2:7445")
        events.append(await loop.next())
        kit.log.lead()
        events.append(await loop.next())
        leadership.cancel()

        assert events == ["started", "ended", "started"]


async def test_a_new_term_is_a_new_leadership() -> None:
    """Lost and won again before anyone looked: what was assumed is assumed anew."""
    async with a_kit() as kit:
        loop = Loop()
        leadership = asyncio.create_task(Leadership(kit.context, Contacts(), [loop.run]).run())
        await loop.next()

        kit.log.follow(None)
        kit.log.lead()

        assert [await loop.next(), await loop.next()] == ["ended", "started"]
        leadership.cancel()


async def test_a_new_leader_gives_ready_nodes_time_and_no_others() -> None:
    state = a_cluster_state(nodes=[a_node("w1"), a_node("w2", state=NodeState.DOWN)])
    async with a_kit(state) as kit:
        contacts, loop = Contacts(), Loop()
        contacts.hear("w2", is_news=False)
        leadership = asyncio.create_task(Leadership(kit.context, contacts, [loop.run]).run())
        await loop.next()

        assert contacts.times(NOON).keys() == {"w1"}
        leadership.cancel()


async def reconciled(kit: Kit, contacts: Contacts) -> None:
    """Run the reconciler until the state has not changed for a turn of the loop."""
    loop = asyncio.create_task(Reconciler(kit.context, contacts).run())
    index = -1
    while kit.state.index != index:
        index = kit.state.index
        for _ in range(5):
            await asyncio.sleep(0)
    loop.cancel()


async def test_a_service_gets_its_tasks_placed_in_one_entry() -> None:
    state = a_cluster_state(nodes=[a_node("w1")], services=[a_service(replicas=3)])
    async with a_kit(state) as kit:
        contacts = Contacts()
        contacts.hear("w1", is_news=False)

        await reconciled(kit, contacts)

        assert [task.node_id for task in kit.state.tasks.values()] == ["w1"] * 3
        assert len(kit.log.entries) == 1


async def test_it_is_woken_by_a_change_and_by_a_worker_heard_again() -> None:
    state = a_cluster_state(nodes=[a_node("w1", state=NodeState.DOWN)])
    async with a_kit(state) as kit:
        contacts = Contacts()
        loop = asyncio.create_task(Reconciler(kit.context, contacts).run())
        await asyncio.sleep(0)

        contacts.hear("w1", is_news=True)
        await kit.wait_newer_state(100)
        put = PutService(spec=a_spec(), expected_version=0, now=NOON)
        await kit.context.store.propose(put)
        await kit.wait_newer_state(102)
        loop.cancel()

        assert kit.state.nodes["w1"].status.state is NodeState.READY
        assert [task.node_id for task in kit.state.tasks.values()] == ["w1"]


async def test_it_is_woken_by_the_node_that_lets_a_rollout_end() -> None:
    web = an_update(replicas=1, ports=(Port(target=80),))
    new = a_task(1, "w1", revision=2)
    state = a_cluster_state(nodes=[a_node("w1")], services=[web], tasks=[new])
    async with a_kit(state) as kit:
        contacts = Contacts()
        contacts.hear("w1", is_news=False)
        contacts.report("w1")
        loop = asyncio.create_task(Reconciler(kit.context, contacts).run())
        await kit.wait_newer_state(100)
        while not contacts.awaited:  # noqa: ASYNC110 - nobody is told that it waits
            await asyncio.sleep(0)
        awaited, noted = contacts.awaited, kit.state.services["web"].rollout

        contacts.carry("w1", kit.state.index)
        await kit.wait_newer_state(101)
        loop.cancel()

        ended = kit.state.services["web"].rollout
        assert noted is not None
        assert ended is not None
        assert awaited == {noted.version}
        assert (noted.state, ended.state) == (RolloutState.RUNNING, RolloutState.COMPLETE)


async def test_it_looks_again_when_time_alone_has_changed_something() -> None:
    state = a_cluster_state(nodes=[a_node("w1")], node_down_after=timedelta(milliseconds=20))
    async with a_kit(state) as kit:
        contacts = Contacts()
        contacts.hear("w1", is_news=False)
        loop = asyncio.create_task(Reconciler(kit.context, contacts).run())
        await asyncio.sleep(0)

        async with asyncio.timeout(10):
            await kit.wait_newer_state(100)
        loop.cancel()

        assert kit.state.nodes["w1"].status.state is NodeState.DOWN


async def test_a_failure_to_commit_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warren.manager.reconciler.PAUSE", timedelta())
    state = a_cluster_state(nodes=[a_node("w1")], services=[a_service()])
    async with a_kit(state) as kit:
        kit.log.fail_next()
        kit.log.fail_next(outcome_unknown=True)
        contacts = Contacts()
        contacts.hear("w1", is_news=False)

        loop = asyncio.create_task(Reconciler(kit.context, contacts).run())
        await kit.wait_newer_state(100)
        loop.cancel()

        assert [task.node_id for task in kit.state.tasks.values()] == ["w1"]
