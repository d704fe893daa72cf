"""A whole manager over the fake log: from Apply to a running service, by way of a worker."""

import asyncio
from typing import Any

import grpc
import pytest
from warren.api import convert, status, warren_pb2, warren_pb2_grpc
from warren.model.errors import InvalidInput, NotFound, PermissionDenied, Unavailable
from warren.model.services import ServiceSpec
from warren.model.tasks import Task, TaskState, TaskStatus
from warren.testing.builders import a_spec

from tests.unit.manager.manager_kit import RunningManager, ScriptedWorker, running_manager


def an_apply(spec: ServiceSpec, *fields: str) -> warren_pb2.ApplyServiceRequest:
    return warren_pb2.ApplyServiceRequest(spec=convert.to_message(spec), fields=fields)


def running(task: warren_pb2.Task) -> warren_pb2.TaskReport:
    created = convert.from_message(task, Task).created_at
    reported = TaskStatus(state=TaskState.RUNNING, since=created, address="10.88.0.2")
    return warren_pb2.TaskReport(task_id=task.id, status=convert.to_message(reported))


async def read_all(stream: Any) -> None:
    while await stream.read() is not grpc.aio.EOF:  # type: ignore[attr-defined]
        pass


def node_id(manager: RunningManager) -> str:
    return next(iter(manager.context.store.state.nodes))


async def test_an_applied_service_is_placed_run_and_seen_to_run() -> None:
    async with running_manager() as manager:
        control = warren_pb2_grpc.ControlStub(manager.channel)
        worker = ScriptedWorker(manager, node_id(manager))
        worker.say(hello=warren_pb2.Hello())
        first = await worker.hears_assignment()

        applied = await control.ApplyService(an_apply(a_spec(replicas=2), "image", "replicas"))
        assignment = await worker.hears_assignment()
        while len(assignment.tasks) < 2:
            assignment = await worker.hears_assignment()
        reports = [running(task) for task in assignment.tasks]
        worker.say(status=warren_pb2.StatusReport(tasks=reports))
        views = control.WatchService(warren_pb2.GetServiceRequest(name="web"))
        async with asyncio.timeout(10):
            async for view in views:
                if view.status.converged:
                    break
        views.cancel()

        assert not first.tasks
        assert applied.changed
        assert [(task.slot, task.node_id) for task in assignment.tasks] == [
            (1, node_id(manager)),
            (2, node_id(manager)),
        ]
        assert (view.status.running, list(view.node_names)) == (2, ["m1", "m1"])
        worker.leave()
        await worker.session


async def test_a_heartbeat_is_answered_and_makes_a_node_ready() -> None:
    async with running_manager() as manager:
        control = warren_pb2_grpc.ControlStub(manager.channel)
        before = await control.GetNode(warren_pb2.GetNodeRequest(name="m1"))
        worker = ScriptedWorker(manager, node_id(manager))
        worker.say(hello=warren_pb2.Hello())
        await worker.hears_assignment()

        worker.say(heartbeat=warren_pb2.Heartbeat())
        heard = await worker.hears()

        after = await control.GetNode(warren_pb2.GetNodeRequest(name="m1"))
        assert heard.WhichOneof("message") == "heard"
        assert before.node.status.state == warren_pb2.NODE_STATE_UNKNOWN
        assert after.node.status.state == warren_pb2.NODE_STATE_READY
        worker.leave()
        await worker.session


async def test_an_error_reaches_the_caller_as_it_was_raised() -> None:
    async with running_manager() as manager:
        control = warren_pb2_grpc.ControlStub(manager.channel)

        with pytest.raises(grpc.aio.AioRpcError) as missing:
            await control.GetService(warren_pb2.GetServiceRequest(name="web"))
        with pytest.raises(grpc.aio.AioRpcError) as invalid:
            await control.ApplyService(an_apply(a_spec(replicas=-1), "image", "replicas"))

        errors = [status.error_from_rpc(each.value) for each in (missing, invalid)]
        assert isinstance(errors[0], NotFound)
        assert str(errors[0]) == "there is no service web"
        assert isinstance(errors[1], InvalidInput)
        assert errors[1].path == "web.replicas"


async def test_the_socket_is_roots_alone_and_goes_with_the_manager() -> None:
    async with running_manager() as manager:
        path = manager.context.config.socket_path
        mode = path.stat().st_mode & 0o777

    assert mode == 0o600
    assert not path.exists()


async def test_root_is_no_worker() -> None:
    async with running_manager() as manager:
        session = warren_pb2_grpc.DispatcherStub(manager.channel).Session()  # type: ignore[call-arg]

        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await session.read()

        error = status.error_from_rpc(refused.value)
        assert isinstance(error, PermissionDenied)
        assert str(error) == "Session is for manager or worker; root is operator"


async def test_an_unknown_method_is_refused() -> None:
    async with running_manager() as manager:
        call = manager.channel.unary_unary("/warren.v1.Control/Nothing", None, None)

        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await call(b"")

        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_watcher_is_told_when_the_lead_is_lost() -> None:
    async with running_manager() as manager:
        control = warren_pb2_grpc.ControlStub(manager.channel)
        await control.ApplyService(an_apply(a_spec(), "image"))
        watch = control.WatchService(warren_pb2.GetServiceRequest(name="web"))
        await watch.read()

        manager.log.follow(None)

        with pytest.raises(grpc.aio.AioRpcError) as lost:
            await read_all(watch)
        assert isinstance(status.error_from_rpc(lost.value), Unavailable)


async def test_a_session_ends_when_the_lead_is_lost() -> None:
    async with running_manager() as manager:
        worker = ScriptedWorker(manager, node_id(manager))
        worker.say(hello=warren_pb2.Hello())
        await worker.hears_assignment()

        manager.log.follow("10.86.0.2:7445")

        with pytest.raises(Unavailable, match="the leader has changed"):
            await worker.session


async def test_who_leads_is_answered_without_a_leader() -> None:
    async with running_manager() as manager:
        managers = warren_pb2_grpc.ManagersStub(manager.channel)
        manager.log.follow(None)

        answer = await managers.GetLeader(warren_pb2.GetLeaderRequest())

        assert not answer.HasField("leader")
        assert [each.name for each in answer.managers] == ["m1"]


async def test_without_a_leader_a_call_ends_before_its_deadline_with_the_reason() -> None:
    async with running_manager() as manager:
        control = warren_pb2_grpc.ControlStub(manager.channel)
        manager.log.follow(None)

        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await control.ListNodes(warren_pb2.ListNodesRequest(), timeout=0.3)

        error = status.error_from_rpc(refused.value)
        assert str(error) == "no leader: a majority of the managers is needed"
