"""Apply, Get, List, Delete and Release of volumes, over the fake log; and how removals end."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from warren.api import convert, warren_pb2
from warren.manager.authorization import ROOT
from warren.manager.sessions import Session, Sessions
from warren.manager.volume_remover import VolumeRemover
from warren.manager.volumes_api import VolumesApi
from warren.model.errors import FailedPrecondition, InvalidInput, NotFound
from warren.model.nodes import NodeState
from warren.model.services import MountSpec
from warren.model.views import Change, VolumeApplied, VolumeView
from warren.model.volumes import VolumeSpec, VolumeUsage
from warren.testing.builders import a_mount, a_node, a_service, a_task, a_volume

from tests.unit.manager.manager_kit import Kit, a_cluster_state, a_kit, outgoing

W1 = a_node("w1")
USAGE = VolumeUsage(name="data", id="v1", path="/var/lib/warren-volumes/data.v1", size=4096)
USED = a_cluster_state(
    nodes=[W1],
    volumes=[a_volume(node="w1")],
    services=[a_service("pg", mounts=(a_mount(),))],
    tasks=[a_task(1, "w1", service="pg")],
)


def an_apply(name: str = "data", **values: Any) -> warren_pb2.ApplyVolumeRequest:
    dry_run = values.pop("dry_run", False)
    spec = convert.to_message(VolumeSpec(name=name, **values))
    return warren_pb2.ApplyVolumeRequest(spec=spec, fields=values, dry_run=dry_run)


async def apply(kit: Kit, request: warren_pb2.ApplyVolumeRequest) -> VolumeApplied:
    answer = await VolumesApi(kit.context, Sessions()).apply_volume(request, ROOT)
    return convert.from_message(answer, VolumeApplied)


async def refusal(kit: Kit, request: warren_pb2.ApplyVolumeRequest) -> str:
    with pytest.raises((InvalidInput, FailedPrecondition)) as caught:
        await apply(kit, request)
    return str(caught.value)


async def view(kit: Kit, sessions: Sessions | None = None, **request: Any) -> VolumeView:
    api = VolumesApi(kit.context, sessions or Sessions())
    asked = warren_pb2.GetVolumeRequest(name="data", **request)
    return convert.from_message(await api.get_volume(asked, ROOT), VolumeView)


async def release(kit: Kit, **request: Any) -> warren_pb2.ReleaseVolumeResponse:
    asked = warren_pb2.ReleaseVolumeRequest(name="data", **request)
    return await VolumesApi(kit.context, Sessions()).release_volume(asked, ROOT)


async def test_a_volume_is_created_once() -> None:
    async with a_kit(a_cluster_state(nodes=[W1])) as kit:
        planned = await apply(kit, an_apply(mode="0700", dry_run=True))
        created = await apply(kit, an_apply(mode="0700"))
        again = await apply(kit, an_apply(mode="0700"))

        spec = VolumeSpec(name="data", mode="0700")
        changes = (
            Change(path="name", before="", after="data"),
            Change(path="mode", before="", after="0700"),
        )
        assert planned == VolumeApplied(changed=True, before=None, after=spec, changes=changes)
        assert created == replace(planned, version=101)
        assert again == VolumeApplied(changed=False, before=spec, after=spec, version=101)
        assert kit.state.volumes["data"].spec == spec


async def test_what_is_for_life_cannot_be_changed() -> None:
    async with a_kit(USED) as kit:
        assert await refusal(kit, an_apply(uid=5)) == (
            "data.uid: cannot be changed: remove the volume with its data, and create it"
        )
        assert await refusal(kit, an_apply(node="w2")) == (
            "data.node: is changed by a release: warren volume release data"
        )
        assert (await apply(kit, an_apply(node="w1", labels={"team": "a"}))).changed


async def test_sharing_ends_only_when_nobody_needs_it() -> None:
    pg = a_service("pg", replicas=2, mounts=(a_mount(),))
    state = a_cluster_state(nodes=[W1], volumes=[a_volume(shared=True)], services=[pg])
    async with a_kit(state) as kit:
        assert (await refusal(kit, an_apply(shared=False))).startswith(
            "data.shared: service pg needs it: "
        )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"driver": "nsf"}, "data.driver: no node has nsf, known are local, nfs"),
        ({"driver": "nfs"}, "data.options.server: is required by driver nfs"),
        (
            {"options": {"size": "1"}},
            "data.options.size: is no option of driver local: it has none",
        ),
        ({"node": "w9"}, "data.node: there is no node w9"),
        (
            {"driver": "nfs", "options": {"server": "s", "path": "/p"}, "node": "w1"},
            "data.node: is for driver local: what nfs gives is on no node",
        ),
        ({"mode": "rwx"}, "data.mode: 'rwx' is not a file mode in quotes, such as \"0755\""),
    ],
)
async def test_refuses_what_makes_no_sense(values: dict[str, Any], message: str) -> None:
    async with a_kit(a_cluster_state(nodes=[W1])) as kit:
        assert await refusal(kit, an_apply(**values)) == message


async def test_shows_who_has_it_and_how_large_its_node_says_it_is() -> None:
    async with a_kit(USED) as kit:
        sessions, worker = Sessions(), Session("w1", "w1")
        sessions.add(worker)

        reading = asyncio.create_task(view(kit, sessions, usage=True))
        command = (await outgoing(worker)).measure_volumes
        answer = warren_pb2.VolumesAnswer(
            request_id=command.request_id, volumes=[convert.to_message(USAGE)]
        )
        await worker.take(command.request_id, answer)

        assert [each.id for each in command.volumes] == ["v1"]
        assert await reading == VolumeView(
            volume=USED.volumes["data"], services=("pg",), tasks=("pg.1",), usage=USAGE
        )


async def test_a_node_that_is_not_connected_is_not_waited_for() -> None:
    async with a_kit(USED) as kit:
        assert (await view(kit, usage=True)).usage is None


async def test_says_why_no_task_can_have_it_and_what_helps() -> None:
    down = a_cluster_state(
        nodes=[a_node("w1", state=NodeState.DOWN)], volumes=[a_volume(node="w1")]
    )
    async with a_kit(down) as kit:
        assert (await view(kit)).trouble == (
            "volume data is on w1, which is not ready: if it does not come back, warren volume "
            "release data gives it up"
        )


async def test_what_is_in_use_is_neither_removed_nor_released() -> None:
    async with a_kit(USED) as kit:
        delete = warren_pb2.DeleteVolumeRequest(name="data")
        with pytest.raises(FailedPrecondition, match=r"^volume data is used by service pg$"):
            await VolumesApi(kit.context, Sessions()).delete_volume(delete, ROOT)
        with pytest.raises(FailedPrecondition, match=r"^task pg\.1 has volume data now$"):
            await release(kit)


async def test_a_release_says_what_was_before_and_is_made_once() -> None:
    state = a_cluster_state(nodes=[W1], volumes=[a_volume(node="w1")])
    async with a_kit(state) as kit:
        planned = await release(kit, dry_run=True)
        first = await release(kit)
        second = await release(kit)

        assert (planned.changed, first.changed, second.changed) == (True, True, False)
        assert (first.before.node_name, first.after.node_name) == ("w1", "")
        assert kit.state.volumes["data"].id not in ("", "v1")


async def test_a_removed_volume_is_forgotten_once_its_node_has_deleted_the_data() -> None:
    state = a_cluster_state(nodes=[W1], volumes=[a_volume(node="w1")])
    async with a_kit(state) as kit:
        sessions = Sessions()
        api, remover = VolumesApi(kit.context, sessions), VolumeRemover(kit.context, sessions)
        await api.delete_volume(warren_pb2.DeleteVolumeRequest(name="data"), ROOT)
        removing = kit.state.volumes["data"]
        without_node = await remover.step(removing)
        worker = Session("w1", "w1")
        sessions.add(worker)

        step = asyncio.create_task(remover.step(removing))
        command = (await outgoing(worker)).delete_volume
        await worker.take(
            command.request_id, warren_pb2.VolumesAnswer(request_id=command.request_id)
        )

        assert (removing.removing, without_node, await step) == (True, False, True)
        assert command.volume.id == "v1"
        assert kit.state.volumes == {}


async def test_a_node_that_cannot_delete_is_asked_again() -> None:
    volume = replace(a_volume(node="w1"), removing=True)
    async with a_kit(a_cluster_state(nodes=[W1], volumes=[volume])) as kit:
        sessions, worker = Sessions(), Session("w1", "w1")
        sessions.add(worker)

        step = asyncio.create_task(VolumeRemover(kit.context, sessions).step(volume))
        command = (await outgoing(worker)).delete_volume
        refused = warren_pb2.VolumesAnswer(request_id=command.request_id, error="pg.1 still has it")
        await worker.take(command.request_id, refused)

        assert await step is False
        assert kit.state.volumes == {"data": volume}


async def test_the_leader_ends_removals_by_itself_also_those_that_it_finds() -> None:
    found = replace(a_volume("found", id="v2", node="w1"), removing=True)
    state = a_cluster_state(nodes=[W1], volumes=[found, a_volume(node="w1")])
    async with a_kit(state) as kit:
        sessions, worker = Sessions(), Session("w1", "w1")
        sessions.add(worker)
        running = asyncio.create_task(VolumeRemover(kit.context, sessions).run())
        asked = []
        for _ in range(2):
            command = (await outgoing(worker)).delete_volume
            asked.append(command.volume.id)
            answer = warren_pb2.VolumesAnswer(request_id=command.request_id)
            await worker.take(command.request_id, answer)
            if len(asked) == 1:
                delete = warren_pb2.DeleteVolumeRequest(name="data")
                await VolumesApi(kit.context, sessions).delete_volume(delete, ROOT)
        while kit.state.volumes:
            await kit.wait_newer_state(kit.state.index)
        running.cancel()

        assert asked == ["v2", "v1"]


async def test_there_is_none_of_that_name() -> None:
    async with a_kit(a_cluster_state()) as kit:
        with pytest.raises(NotFound, match=r"^there is no volume data$"):
            await view(kit)


def test_a_mount_is_of_a_volume_unless_it_says_otherwise() -> None:
    assert MountSpec(source="data", target="/d").type.value == "volume"
