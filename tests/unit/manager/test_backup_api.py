"""A backup is the state of one moment, and for operators alone."""

import pytest
from warren.api import convert, warren_pb2
from warren.manager import authorization
from warren.manager.authorization import ROOT, Caller
from warren.manager.backup_api import BackupApi
from warren.manager.routes import all_routes
from warren.manager.sessions import Sessions
from warren.model.errors import PermissionDenied, Unavailable
from warren.model.views import BackupHead
from warren.state.cluster import ClusterState
from warren.state.commands import PutService
from warren.state.versions import COMMANDS_VERSION
from warren.testing.builders import NOON, a_node, a_spec

from tests.unit.manager.manager_kit import BOTH, a_cluster_state, a_kit, running_manager


def state_in(parts: list[warren_pb2.BackupPart]) -> ClusterState:
    data = b"".join(part.data for part in parts)
    return convert.from_message(warren_pb2.ClusterState.FromString(data), ClusterState)


async def test_gives_the_whole_state_after_its_head() -> None:
    nodes = [a_node(f"m{number}", roles=BOTH) for number in range(1, 150)]
    async with a_kit(a_cluster_state(nodes=nodes)) as kit:
        request = warren_pb2.BackupRequest()
        head, *parts = [part async for part in BackupApi(kit.context).backup(request, ROOT)]

        assert state_in(parts) == kit.state
        assert convert.from_message(head.head, BackupHead) == BackupHead(
            cluster="warren",
            cluster_id="c1",
            created_at=NOON,
            index=kit.state.index,
            nodes=149,
            services=0,
            commands_version=COMMANDS_VERSION,
            warren="0.1.0",
        )


async def test_holds_no_write_that_came_after_it_began() -> None:
    async with a_kit() as kit:
        stream = BackupApi(kit.context).backup(warren_pb2.BackupRequest(), ROOT)
        await anext(stream)
        before = kit.state
        put = PutService(spec=a_spec("web"), expected_version=0, now=NOON)
        await kit.context.store.commit(put)

        parts = [part async for part in stream]

        assert state_in(parts) == before != kit.state


async def test_without_the_lead_there_is_none() -> None:
    async with a_kit() as kit:
        kit.log.follow("10.86.0.2:7445")

        with pytest.raises(Unavailable):
            await anext(BackupApi(kit.context).backup(warren_pb2.BackupRequest(), ROOT))


async def test_is_not_for_nodes() -> None:
    async with a_kit() as kit:
        route = all_routes(kit.context, Sessions())["/warren.v1.Control/Backup"]
        caller = Caller(name="m2", roles=frozenset({"manager", "worker"}))

        with pytest.raises(PermissionDenied, match="Backup is for operator; m2 is manager and w"):
            authorization.require(caller, route.roles, "Backup")


async def test_is_served_to_root() -> None:
    async with running_manager() as running:
        call = running.channel.unary_stream(
            "/warren.v1.Control/Backup", None, warren_pb2.BackupPart.FromString
        )
        head, *parts = [part async for part in call(b"")]

        assert head.head.cluster == "warren"
        assert state_in(parts).cluster == running.context.store.state.cluster
