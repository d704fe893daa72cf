"""Statuses on their way into the log: what is passed through waits, news that matter do not."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from warren.api import convert
from warren.manager import reports
from warren.manager.reports import Reports
from warren.model.tasks import Task, TaskState, TaskStatus
from warren.state.commands import Batch, SetTaskStatus
from warren.testing.builders import a_node, a_service, a_task, at

from tests.unit.manager.manager_kit import Kit, a_cluster_state, a_kit

ONE = a_task(1, "w1", state=TaskState.ASSIGNED)
TWO = a_task(2, "w1", state=TaskState.ASSIGNED)
STATE = a_cluster_state(nodes=[a_node("w1")], services=[a_service(replicas=2)], tasks=[ONE, TWO])


def becomes(task: Task, state: TaskState) -> dict[str, TaskStatus]:
    return {task.id: replace(task.status, state=state, since=at(1))}


def written(kit: Kit) -> list[list[tuple[str, TaskState]]]:
    """Entries of the log, each with the tasks and states in it."""
    entries = []
    for data in kit.log.entries:
        batch = convert.command_from_bytes(data)
        assert isinstance(batch, Batch)
        statuses = [c for c in batch.commands if isinstance(c, SetTaskStatus)]
        entries.append([(c.task_id, c.status.state) for c in statuses])
    return entries


@asynccontextmanager
async def running(kit: Kit) -> AsyncIterator[Reports]:
    taken = Reports(kit.context)
    loop = asyncio.create_task(taken.run())
    yield taken
    loop.cancel()


async def wait_states(kit: Kit, **wanted: TaskState) -> None:
    """By the tasks' slots: `one`, `two`."""
    ids = {"one": ONE.id, "two": TWO.id}
    async with asyncio.timeout(10):
        while any(kit.state.tasks[ids[n]].status.state is not s for n, s in wanted.items()):
            await kit.context.store.changes.wait_newer(kit.context.store.changes.count)


async def test_a_state_that_is_passed_through_at_once_is_never_written() -> None:
    async with a_kit(STATE) as kit, running(kit) as taken:
        taken.add("w1", becomes(ONE, TaskState.PREPARING))
        for _ in range(3):
            await asyncio.sleep(0)
        taken.add("w1", becomes(ONE, TaskState.STARTING))
        taken.add("w1", becomes(TWO, TaskState.RUNNING))
        await wait_states(kit, one=TaskState.STARTING, two=TaskState.RUNNING)

        assert written(kit) == [[(ONE.id, TaskState.STARTING), (TWO.id, TaskState.RUNNING)]]


async def test_a_state_that_lasts_is_written_after_a_moment() -> None:
    async with a_kit(STATE) as kit, running(kit) as taken:
        taken.add("w1", becomes(ONE, TaskState.PREPARING))
        await wait_states(kit, one=TaskState.PREPARING)

        assert written(kit) == [[(ONE.id, TaskState.PREPARING)]]


async def test_who_waits_for_all_to_be_written_waits_for_no_state_to_pass(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reports, "PASSING_WAIT", timedelta(days=1))
    async with a_kit(STATE) as kit, running(kit) as taken:
        taken.add("w1", becomes(ONE, TaskState.PREPARING))
        async with asyncio.timeout(10):
            await taken.wait_written()

        assert written(kit) == [[(ONE.id, TaskState.PREPARING)]]


async def test_that_a_task_runs_or_has_ended_is_written_at_once() -> None:
    async with a_kit(STATE) as kit, running(kit) as taken:
        for task, state in ((ONE, TaskState.RUNNING), (TWO, TaskState.FAILED)):
            taken.add("w1", becomes(task, state))
            for _ in range(5):
                await asyncio.sleep(0)

        assert written(kit) == [[(ONE.id, TaskState.RUNNING)], [(TWO.id, TaskState.FAILED)]]
