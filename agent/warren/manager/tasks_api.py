"""Control, tasks: Logs, Exec, Stop. Finds the tasks, asks the workers that have them."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from datetime import timedelta

from warren.api import warren_pb2
from warren.manager.authorization import Caller
from warren.manager.changing import Intent, Wish, carry_out
from warren.manager.cluster import ManagerContext
from warren.manager.sessions import Session, Sessions
from warren.model.errors import FailedPrecondition, InvalidInput, NotFound, Unavailable
from warren.model.tasks import Task, TaskState
from warren.state.cluster import ClusterState
from warren.state.commands import ReplaceTask

EXEC_TIMEOUT = timedelta(seconds=30)
EXEC_TIMEOUT_MAX = timedelta(hours=1)
LINES_MAX = 1000
"""Waiting between the workers and a slow reader."""


class TasksApi:
    """Handlers; the names are those of the RPCs."""

    def __init__(self, context: ManagerContext, sessions: Sessions) -> None:
        self._context = context
        self._sessions = sessions

    async def logs(
        self, request: warren_pb2.LogsRequest, caller: Caller
    ) -> AsyncGenerator[warren_pb2.LogLine, None]:
        """Lines of the tasks as they come, several workers' merged by arrival.

        What a worker that is away would have said is missed last, as an error.
        """
        state = await self._context.store.barrier()
        tasks = _tasks_of_request(state, request)
        sessions, missing = self._by_session(tasks)
        if sessions:
            streams = [
                session.logs([task.id for task in found], follow=request.follow, tail=request.tail)
                for session, found in sessions.items()
            ]
            async with aclosing(_merged(streams)) as lines:
                async for line in lines:
                    yield line
        if missing:
            node = state.nodes.get(missing[0].node_id)
            where = node.spec.name if node is not None else missing[0].node_id
            raise Unavailable(f"logs of {missing[0].name} are on {where}, which is not connected")

    async def exec(
        self, request: warren_pb2.ExecRequest, caller: Caller
    ) -> warren_pb2.ExecResponse:
        if not request.command:
            raise InvalidInput("must not be empty", path="command")
        timeout = request.timeout.ToTimedelta() or EXEC_TIMEOUT
        if not timedelta() < timeout <= EXEC_TIMEOUT_MAX:
            raise InvalidInput("must be at most an hour", path="timeout")
        task = _running(await self._context.store.barrier(), request.task)
        session = self._sessions.get(task.node_id)
        if session is None:
            raise Unavailable(f"the worker of {task.name} is not connected")
        response = await session.execute(task.id, request.command, timeout)
        response.task_id = task.id
        return response

    async def stop_task(
        self, request: warren_pb2.StopTaskRequest, caller: Caller
    ) -> warren_pb2.StopTaskResponse:
        """Its service has as many tasks as before: another comes, and the task goes when that one
        is ready."""
        wish = Wish(caller=caller, dry_run=request.dry_run)

        def decide(state: ClusterState, _: Wish) -> Intent[warren_pb2.StopTaskResponse]:
            task = _named(state, request.task)
            stays = task.wanted and not task.leaving
            return Intent(
                command=ReplaceTask(task_id=task.id) if stays else None,
                version=state.index,
                answer=lambda changed, _: warren_pb2.StopTaskResponse(
                    changed=changed, task_id=task.id
                ),
                summary=f"task {task.name} ({task.id}) stopped",
            )

        return await carry_out(self._context, wish, decide)

    def _by_session(self, tasks: Iterable[Task]) -> tuple[dict[Session, list[Task]], list[Task]]:
        """Tasks by the session of their node, and those whose node has none."""
        found: defaultdict[Session, list[Task]] = defaultdict(list)
        missing = []
        for task in tasks:
            session = self._sessions.get(task.node_id)
            if session is None:
                missing.append(task)
            else:
                found[session].append(task)
        return found, missing


def _tasks_of_request(state: ClusterState, request: warren_pb2.LogsRequest) -> list[Task]:
    """Those that have, or had, a node. Of a service: the newest of each slot."""
    if request.task:
        task = _named(state, request.task)
        if not task.node_id:
            why = f": {task.status.message}" if task.status.message else ""
            raise FailedPrecondition(f"{task.name} has not run yet{why}")
        return [task]
    if request.service not in state.services:
        raise NotFound(f"there is no service {request.service}")
    placed = [task for task in state.tasks_of(request.service) if task.node_id]
    newest = {task.slot: task for task in sorted(placed, key=_age)}
    return [newest[slot] for slot in sorted(newest)]


def _running(state: ClusterState, name: str) -> Task:
    """A running task by its id or name, or the first one of a service."""
    if name in state.services:
        running = [t for t in state.tasks_of(name) if t.status.state is TaskState.RUNNING]
        if not running:
            raise FailedPrecondition(f"no task of {name} is running")
        return min(running, key=lambda task: (task.slot, task.id))
    task = _named(state, name)
    if task.status.state is not TaskState.RUNNING:
        why = f": {task.status.message}" if task.status.message else ""
        raise FailedPrecondition(f"{task.name} is {task.status.state.value}{why}")
    return task


def _named(state: ClusterState, name: str) -> Task:
    """By id, or the task of a slot by its name `web.3`: a running one before the newest."""
    if name in state.tasks:
        return state.tasks[name]
    found = [task for task in state.tasks.values() if task.name == name]
    if not found:
        raise NotFound(f"there is no task {name}")
    return max(found, key=lambda task: (task.status.state is TaskState.RUNNING, _age(task)))


def _age(task: Task) -> tuple[object, str]:
    return task.created_at, task.id


async def _merged(
    streams: Iterable[AsyncGenerator[warren_pb2.LogLine, None]],
) -> AsyncGenerator[warren_pb2.LogLine, None]:
    """All lines in order of arrival; an error of any stream ends it."""
    queue: asyncio.Queue[warren_pb2.LogLine | BaseException | None] = asyncio.Queue(LINES_MAX)

    async def pump(stream: AsyncGenerator[warren_pb2.LogLine, None]) -> None:
        end: BaseException | None = None
        try:
            async with aclosing(stream):
                async for line in stream:
                    await queue.put(line)
        except Exception as error:  # noqa: BLE001 - raised again at the other end of the queue
            end = error
        await queue.put(end)

    pumps = [asyncio.create_task(pump(stream)) for stream in streams]
    try:
        left = len(pumps)
        while left:
            item = await queue.get()
            if isinstance(item, BaseException):
                raise item
            if item is None:
                left -= 1
            else:
                yield item
    finally:
        for each in pumps:
            each.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
