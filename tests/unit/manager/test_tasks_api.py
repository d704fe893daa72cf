"""Logs, Exec, Stop: which tasks are meant, which workers are asked."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from warren.api import warren_pb2
from warren.manager.authorization import ROOT
from warren.manager.sessions import Session, Sessions
from warren.manager.tasks_api import TasksApi
from warren.model.errors import FailedPrecondition, InvalidInput, NotFound, Unavailable, WarrenError
from warren.model.tasks import DesiredState, TaskState
from warren.testing.builders import a_node, a_service, a_task, at

from tests.unit.manager.manager_kit import Kit, a_cluster_state, a_kit, outgoing

STATE = a_cluster_state(
    nodes=[a_node("w1"), a_node("w2")],
    services=[a_service(replicas=3), a_service("idle", replicas=0)],
    tasks=[
        a_task(1, "w1", id="old", state=TaskState.FAILED),
        a_task(1, "w1", id="new", created_at=at(5)),
        a_task(2, "w2", id="other"),
        a_task(3, id="waiting", message="no node has 512 MiB free (2 of 2)"),
    ],
)


@pytest.fixture
async def kit() -> AsyncIterator[Kit]:
    async with a_kit(STATE) as made:
        yield made


async def says(session: Session, *texts: str) -> list[str]:
    """The worker's end of a request for logs; answers the tasks it was asked for."""
    command = (await outgoing(session)).logs
    lines = [warren_pb2.LogLine(line=text.encode()) for text in texts]
    await session.take(command.request_id, warren_pb2.LogChunk(lines=lines, end=True))
    return list(command.task_ids)


async def read(api: TasksApi, **request: object) -> list[bytes]:
    stream = api.logs(warren_pb2.LogsRequest(**request), ROOT)  # type: ignore[arg-type]
    return [line.line async for line in stream]


async def test_logs_of_a_service_are_those_of_its_newest_tasks(kit: Kit) -> None:
    sessions, workers = Sessions(), [Session("w1", "w1"), Session("w2", "w2")]
    for worker in workers:
        sessions.add(worker)

    reader = asyncio.create_task(read(TasksApi(kit.context, sessions), service="web"))
    asked = [await says(workers[0], "a", "b"), await says(workers[1], "c")]

    assert sorted(await reader) == [b"a", b"b", b"c"]
    assert asked == [["new"], ["other"]]


async def test_what_is_missing_is_said_last(kit: Kit) -> None:
    sessions, worker = Sessions(), Session("w1", "w1")
    sessions.add(worker)
    stream = TasksApi(kit.context, sessions).logs(warren_pb2.LogsRequest(service="web"), ROOT)

    first = asyncio.create_task(anext(stream))
    await says(worker, "a")

    assert (await first).line == b"a"
    with pytest.raises(Unavailable, match=r"logs of web\.2 are on w2, which is not connected"):
        await anext(stream)


@pytest.mark.parametrize(
    ("request_fields", "kind", "sentence"),
    [
        ({"service": "api"}, NotFound, "there is no service api"),
        ({"task": "web.9"}, NotFound, "there is no task web.9"),
        (
            {"task": "web.3"},
            FailedPrecondition,
            "web.3 has not run yet: no node has 512 MiB free (2 of 2)",
        ),
    ],
)
async def test_logs_of_nothing_are_refused(
    kit: Kit, request_fields: dict[str, str], kind: type[WarrenError], sentence: str
) -> None:
    with pytest.raises(kind) as refused:
        await read(TasksApi(kit.context, Sessions()), **request_fields)

    assert str(refused.value) == sentence


async def test_a_task_that_ended_is_found_by_its_id(kit: Kit) -> None:
    sessions, worker = Sessions(), Session("w1", "w1")
    sessions.add(worker)

    reader = asyncio.create_task(read(TasksApi(kit.context, sessions), task="old"))

    assert await says(worker, "a") == ["old"]
    assert await reader == [b"a"]


@pytest.mark.parametrize("task", ["web", "web.1", "new"])
async def test_a_command_runs_in_the_running_task(kit: Kit, task: str) -> None:
    sessions, worker = Sessions(), Session("w1", "w1")
    sessions.add(worker)
    request = warren_pb2.ExecRequest(task=task, command=["true"])
    answer = asyncio.create_task(TasksApi(kit.context, sessions).exec(request, ROOT))

    command = (await outgoing(worker)).exec
    await worker.take(command.request_id, warren_pb2.ExecResult(response=warren_pb2.ExecResponse()))

    assert command.task_id == "new"
    assert command.timeout.ToTimedelta() == timedelta(seconds=30)
    assert (await answer).task_id == "new"


@pytest.mark.parametrize(
    ("task", "command", "kind", "sentence"),
    [
        ("web", [], InvalidInput, "command: must not be empty"),
        ("idle", ["ls"], FailedPrecondition, "no task of idle is running"),
        (
            "web.3",
            ["ls"],
            FailedPrecondition,
            "web.3 is pending: no node has 512 MiB free (2 of 2)",
        ),
        ("old", ["ls"], FailedPrecondition, "web.1 is failed"),
        ("web.2", ["ls"], Unavailable, "the worker of web.2 is not connected"),
        ("nothing", ["ls"], NotFound, "there is no task nothing"),
    ],
)
async def test_a_command_that_cannot_run_is_refused(
    kit: Kit, task: str, command: list[str], kind: type[WarrenError], sentence: str
) -> None:
    request = warren_pb2.ExecRequest(task=task, command=command)

    with pytest.raises(kind) as refused:
        await TasksApi(kit.context, Sessions()).exec(request, ROOT)

    assert str(refused.value) == sentence


async def test_a_task_is_stopped_by_its_name_once_and_only_marked_by_that(kit: Kit) -> None:
    api = TasksApi(kit.context, Sessions())
    request = warren_pb2.StopTaskRequest(task="web.2")

    preview = await api.stop_task(warren_pb2.StopTaskRequest(task="web.2", dry_run=True), ROOT)
    assert not kit.context.store.state.tasks["other"].leaving
    first, again = await api.stop_task(request, ROOT), await api.stop_task(request, ROOT)

    stopped = warren_pb2.StopTaskResponse(changed=True, task_id="other")
    assert (preview, first) == (stopped, stopped)
    assert again == warren_pb2.StopTaskResponse(changed=False, task_id="other")
    task = kit.context.store.state.tasks["other"]
    assert (task.leaving, task.desired) == (True, DesiredState.RUNNING)


async def test_a_task_that_nobody_knows_is_not_stopped(kit: Kit) -> None:
    with pytest.raises(NotFound, match=r"there is no task web\.9"):
        await TasksApi(kit.context, Sessions()).stop_task(
            warren_pb2.StopTaskRequest(task="web.9"), ROOT
        )
