"""Control, volumes: Apply, Get, List, Delete, Release. Nodes are asked how large theirs are."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import timedelta

from warren.api import convert, warren_pb2
from warren.core import volumes
from warren.core.specs import Edit
from warren.manager.authorization import Caller
from warren.manager.changing import Intent, Wish, carry_out
from warren.manager.cluster import ManagerContext
from warren.manager.sessions import Sessions
from warren.model.errors import WarrenError
from warren.model.views import VolumeApplied
from warren.model.volumes import Volume, VolumeSpec, VolumeUsage
from warren.state.apply import apply
from warren.state.cluster import ClusterState
from warren.state.commands import PutVolume, ReleaseVolume, RemoveVolume

USAGE_TIMEOUT = timedelta(seconds=3)
"""What a node has measured by then counts; it goes on, and knows more when it is asked again."""
Usages = Mapping[str, VolumeUsage]
"""By the id of the volume."""


class VolumesApi:
    """Handlers; the names are those of the RPCs."""

    def __init__(self, context: ManagerContext, sessions: Sessions) -> None:
        self._context = context
        self._sessions = sessions

    async def apply_volume(
        self, request: warren_pb2.ApplyVolumeRequest, caller: Caller
    ) -> warren_pb2.VolumeApplied:
        wish = Wish.of(request, caller)
        given = convert.from_message(request.spec, VolumeSpec)
        new_id = caller.mark or self._context.new_id()

        def decide(state: ClusterState, wish: Wish) -> Intent[VolumeApplied]:
            stored = state.volumes.get(given.name)
            version = wish.require_stored(stored, f"volume {given.name}")
            before = stored.spec if stored is not None else None
            after = volumes.merge(before, given, request.fields)
            volumes.check(state, after)
            edit = Edit(before=before, after=after, version=version)
            return self._put(edit, new_id, wish)

        applied = await carry_out(self._context, wish, decide)
        message: warren_pb2.VolumeApplied = convert.to_message(applied)
        return message

    def _put(self, edit: Edit[VolumeSpec], new_id: str, wish: Wish) -> Intent[VolumeApplied]:
        command = PutVolume(
            spec=edit.after,
            id=new_id,
            expected_version=wish.expected_version or edit.version,
            now=self._context.now(),
        )
        answer = VolumeApplied(
            changed=edit.needed, before=edit.before, after=edit.after, changes=edit.changes()
        )
        did = "created" if edit.before is None else "changed"
        return Intent(
            command=command if edit.needed else None,
            version=edit.version,
            answer=lambda changed, version: replace(answer, changed=changed, version=version),
            summary=f"volume {edit.after.name} {did}",
        )

    async def get_volume(
        self, request: warren_pb2.GetVolumeRequest, caller: Caller
    ) -> warren_pb2.VolumeView:
        state = await self._context.read(stale=request.stale)
        found = state.volumes.get(request.name)
        asked = (found,) if found is not None and request.usage else ()
        usages = await self._usages(state, asked)
        usage = usages.get(found.id) if found is not None else None
        view: warren_pb2.VolumeView = convert.to_message(volumes.view(state, request.name, usage))
        return view

    async def list_volumes(
        self, request: warren_pb2.ListVolumesRequest, caller: Caller
    ) -> warren_pb2.ListVolumesResponse:
        state = await self._context.read(stale=request.stale)
        usages = await self._usages(state, state.volumes.values() if request.usage else ())
        views = volumes.views(state, usages)
        return warren_pb2.ListVolumesResponse(volumes=map(convert.to_message, views))

    async def _usages(self, state: ClusterState, asked: Iterable[Volume]) -> Usages:
        """As far as nodes answer."""
        by_node: defaultdict[str, list[Volume]] = defaultdict(list)
        for volume in asked:
            if volume.node_id in state.nodes:
                by_node[volume.node_id].append(volume)
        answers = await asyncio.gather(*(self._ask(*each) for each in by_node.items()))
        return {usage.id: usage for answer in answers for usage in answer}

    async def _ask(self, node_id: str, asked: list[Volume]) -> tuple[VolumeUsage, ...]:
        session = self._sessions.get(node_id)
        if session is None:
            return ()
        try:
            answer = await session.measure_volumes(asked, USAGE_TIMEOUT)
        except WarrenError:
            return ()
        return tuple(convert.from_message(usage, VolumeUsage) for usage in answer)

    async def delete_volume(
        self, request: warren_pb2.DeleteVolumeRequest, caller: Caller
    ) -> warren_pb2.DeleteVolumeResponse:
        """Asks only, where data is on a node: the leader has it deleted there."""
        wish = Wish.of(request, caller)
        now = self._context.now()

        def decide(state: ClusterState, wish: Wish) -> Intent[warren_pb2.DeleteVolumeResponse]:
            stored = state.volumes.get(request.name)
            needed = stored is not None and not stored.removing
            if stored is not None and needed:
                wish.require_version(stored.version, f"volume {request.name}")
                volumes.check_unused(state, request.name)
            remove = RemoveVolume(
                name=request.name, expected_version=request.expected_version, now=now
            )
            return Intent(
                command=remove if needed else None,
                version=stored.version if stored is not None else state.index,
                answer=lambda changed, _: warren_pb2.DeleteVolumeResponse(changed=changed),
                summary=f"volume {request.name} removed",
            )

        return await carry_out(self._context, wish, decide)

    async def release_volume(
        self, request: warren_pb2.ReleaseVolumeRequest, caller: Caller
    ) -> warren_pb2.ReleaseVolumeResponse:
        wish = Wish.of(request, caller)
        now, new_id = self._context.now(), caller.mark or self._context.new_id()

        def decide(state: ClusterState, wish: Wish) -> Intent[warren_pb2.ReleaseVolumeResponse]:
            stored = volumes.check_release(state, request.name, request.node)
            wish.require_version(stored.version, f"volume {request.name}")
            command = ReleaseVolume(
                name=request.name,
                id=new_id,
                node=request.node,
                expected_version=wish.expected_version or stored.version,
                now=now,
            )
            after = apply(state, command)[0].volumes.get(request.name)
            needed = stored.removing or stored.node_name != request.node or bool(stored.spec.node)
            needed = needed and (after is None or after.node_id != stored.node_id)
            response = warren_pb2.ReleaseVolumeResponse(
                before=convert.to_message(stored),
                after=convert.to_message(after if after is not None and needed else stored),
            )
            return Intent(
                command=command if needed else None,
                version=stored.version,
                answer=lambda changed, _: _changed(response, changed),
                summary=f"volume {request.name} released",
            )

        return await carry_out(self._context, wish, decide)


def _changed(
    response: warren_pb2.ReleaseVolumeResponse, changed: bool
) -> warren_pb2.ReleaseVolumeResponse:
    response.changed = changed
    return response
