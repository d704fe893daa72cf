"""Control, configs: Apply, Get, List, Delete. As secrets, but in the open."""

from dataclasses import replace

from warren.api import convert, warren_pb2
from warren.core import secrets
from warren.core.specs import Edit
from warren.manager.authorization import Caller
from warren.manager.changing import NOTHING, Intent, Wish, carry_out
from warren.manager.cluster import ManagerContext
from warren.model.errors import NotFound
from warren.model.secrets import ConfigSpec, ConfigVersion, FileKind, VersionedConfig
from warren.model.views import ConfigApplied
from warren.state import references
from warren.state.apply import apply
from warren.state.cluster import ClusterState
from warren.state.commands import PutConfig, RemoveConfig


class ConfigsApi:
    """Handlers; the names are those of the RPCs."""

    def __init__(self, context: ManagerContext) -> None:
        self._context = context

    async def apply_config(
        self, request: warren_pb2.ApplyConfigRequest, caller: Caller
    ) -> warren_pb2.ConfigApplied:
        wish = Wish(
            caller=caller, expected_version=request.expected_version, dry_run=request.dry_run
        )
        given = convert.from_message(request.spec, ConfigSpec)
        value = request.value if request.HasField("value") else None
        secrets.check_value(FileKind.CONFIG, given.name, value, is_new=False)

        def decide(state: ClusterState, wish: Wish) -> Intent[ConfigApplied]:
            stored = state.configs.get(given.name)
            if stored is None and wish.expected_version:
                raise NotFound(f"there is no config {given.name}")
            wish.require_version(stored.version if stored else 0, f"config {given.name}")
            before = stored.spec if stored is not None else None
            after = secrets.merge_config(before, given, request.fields)
            secrets.check_value(FileKind.CONFIG, given.name, value, is_new=stored is None)
            if value is not None:
                secrets.check_followers(state, after.name, value)
            edit = Edit(before=before, after=after, version=stored.version if stored else 0)
            return self._put(state, edit, self._version(stored, value), wish)

        applied = await carry_out(self._context, wish, decide)
        message: warren_pb2.ConfigApplied = convert.to_message(applied)
        return message

    def _version(self, stored: VersionedConfig | None, value: bytes | None) -> ConfigVersion | None:
        """The version that the value makes; None if it is that of the newest."""
        if value is None or (stored is not None and stored.newest.data == value):
            return None
        number = stored.newest.number + 1 if stored is not None else 1
        return ConfigVersion(number=number, created_at=self._context.now(), data=value)

    def _put(
        self,
        state: ClusterState,
        edit: Edit[ConfigSpec],
        value: ConfigVersion | None,
        wish: Wish,
    ) -> Intent[ConfigApplied]:
        name = edit.after.name
        command = PutConfig(
            spec=edit.after,
            value=value,
            expected_version=wish.expected_version or edit.version,
            mark=wish.caller.mark or self._context.new_id(),
            by=wish.caller.name,
            now=self._context.now(),
        )
        needed = edit.needed or value is not None
        after = apply(state, command)[0] if needed else state
        was = references.newest_number(state, FileKind.CONFIG, name)
        number = references.newest_number(after, FileKind.CONFIG, name)
        answer = ConfigApplied(
            changed=needed,
            before=edit.before,
            after=edit.after,
            changes=secrets.changes(edit.before, edit.after, (was, number), hidden=False),
            number=number,
            rollouts=secrets.rollouts(state, after, FileKind.CONFIG, name),
            data_before=_data(state, name),
            data_after=_data(after, name),
        )
        return Intent(
            needed=needed,
            command=command if needed else NOTHING,
            version=edit.version,
            answer=lambda changed, version: replace(answer, changed=changed, version=version),
            summary=f"config {name} {'created' if edit.before is None else 'changed'}",
        )

    async def get_config(
        self, request: warren_pb2.GetConfigRequest, caller: Caller
    ) -> warren_pb2.ConfigView:
        state = await self._context.read(stale=request.stale)
        view: warren_pb2.ConfigView = convert.to_message(
            secrets.config_view(state, request.name, references.uses(state))
        )
        return view

    async def list_configs(
        self, request: warren_pb2.ListConfigsRequest, caller: Caller
    ) -> warren_pb2.ListConfigsResponse:
        state = await self._context.read(stale=request.stale)
        uses = references.uses(state)
        views = (secrets.config_view(state, name, uses) for name in sorted(state.configs))
        found = map(secrets.without_contents, views)
        return warren_pb2.ListConfigsResponse(configs=map(convert.to_message, found))

    async def delete_config(
        self, request: warren_pb2.DeleteConfigRequest, caller: Caller
    ) -> warren_pb2.DeleteConfigResponse:
        wish = Wish(
            caller=caller, expected_version=request.expected_version, dry_run=request.dry_run
        )

        def decide(state: ClusterState, wish: Wish) -> Intent[warren_pb2.DeleteConfigResponse]:
            stored = state.configs.get(request.name)
            if stored is not None:
                wish.require_version(stored.version, f"config {request.name}")
                secrets.check_unused(state, FileKind.CONFIG, request.name)
            return Intent(
                needed=stored is not None,
                command=RemoveConfig(name=request.name, expected_version=request.expected_version),
                version=stored.version if stored is not None else state.index,
                answer=lambda changed, _: warren_pb2.DeleteConfigResponse(changed=changed),
                summary=f"config {request.name} removed",
            )

        return await carry_out(self._context, wish, decide)


def _data(state: ClusterState, name: str) -> bytes:
    """Of the newest version."""
    stored = state.configs.get(name)
    return stored.newest.data if stored is not None else b""
