"""Control, configs: Apply, Get, List, Delete. As secrets, but in the open."""

from warren.api import convert, warren_pb2
from warren.core import secrets
from warren.core.specs import Edit
from warren.manager import versioned_files
from warren.manager.authorization import Caller
from warren.manager.changing import Intent, Wish, carry_out
from warren.manager.cluster import ManagerContext
from warren.model.secrets import ConfigSpec, ConfigVersion, FileKind, VersionedConfig
from warren.model.views import ConfigApplied
from warren.state import references
from warren.state.cluster import ClusterState
from warren.state.commands import PutConfig


class ConfigsApi:
    """Handlers; the names are those of the RPCs."""

    def __init__(self, context: ManagerContext) -> None:
        self._context = context

    async def apply_config(
        self, request: warren_pb2.ApplyConfigRequest, caller: Caller
    ) -> warren_pb2.ConfigApplied:
        given = convert.from_message(request.spec, ConfigSpec)
        value = request.value if request.HasField("value") else None
        secrets.check_value(FileKind.CONFIG, given.name, value, is_new=False)

        def decide(state: ClusterState, wish: Wish) -> Intent[ConfigApplied]:
            stored = state.configs.get(given.name)
            version = wish.require_stored(stored, f"config {given.name}")
            before = stored.spec if stored is not None else None
            after = secrets.merge_config(before, given, request.fields)
            secrets.check_value(FileKind.CONFIG, given.name, value, is_new=stored is None)
            if value is not None:
                secrets.check_followers(state, after.name, value)
            edit = Edit(before=before, after=after, version=version)
            command = PutConfig(
                value=self._version(stored, value),
                **versioned_files.put_fields(self._context, edit, wish),
            )
            return versioned_files.intent(
                state,
                edit,
                command,
                lambda after, fields: ConfigApplied(
                    **fields,
                    data_before=_data(state, given.name),
                    data_after=_data(after, given.name),
                ),
            )

        wish = Wish.of(request, caller)
        applied = await carry_out(self._context, wish, decide)
        message: warren_pb2.ConfigApplied = convert.to_message(applied)
        return message

    def _version(self, stored: VersionedConfig | None, value: bytes | None) -> ConfigVersion | None:
        """The version that the value makes; None if it is that of the newest."""
        if value is None or (stored is not None and stored.newest.data == value):
            return None
        number = stored.newest.number + 1 if stored is not None else 1
        return ConfigVersion(number=number, created_at=self._context.now(), data=value)

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
        changed = await versioned_files.delete(self._context, FileKind.CONFIG, request, caller)
        return warren_pb2.DeleteConfigResponse(changed=changed)


def _data(state: ClusterState, name: str) -> bytes:
    """Of the newest version."""
    stored = state.configs.get(name)
    return stored.newest.data if stored is not None else b""
