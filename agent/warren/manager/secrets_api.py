"""Control, secrets: Apply, Get, List, Delete. Seals what comes in; nothing that goes out is open.

A value that equals the newest version makes no new one. A new version begins the rollouts of its
followers in the same command.
"""

import hmac

from warren.api import convert, warren_pb2
from warren.core import registry_credentials, secrets
from warren.core.specs import Edit
from warren.manager import secret_keys_api, versioned_files
from warren.manager.authorization import Caller
from warren.manager.changing import Intent, Wish, carry_out
from warren.manager.cluster import ManagerContext, cluster_of
from warren.model.secrets import FileKind, SecretSpec, SecretVersion, VersionedSecret
from warren.model.views import SecretApplied
from warren.state import references
from warren.state.cluster import ClusterState
from warren.state.commands import PutSecret
from warren.store import sealing


class SecretsApi:
    """Handlers; the names are those of the RPCs."""

    def __init__(self, context: ManagerContext) -> None:
        self._context = context

    async def apply_secret(
        self, request: warren_pb2.ApplySecretRequest, caller: Caller
    ) -> warren_pb2.SecretApplied:
        given = convert.from_message(request.spec, SecretSpec)
        value = request.value if request.HasField("value") else None
        secrets.check_value(FileKind.SECRET, given.name, value, is_new=False)
        if not request.dry_run:
            await secret_keys_api.ensure(self._context)

        def decide(state: ClusterState, wish: Wish) -> Intent[SecretApplied]:
            stored = state.secrets.get(given.name)
            version = wish.require_stored(stored, f"secret {given.name}")
            before = stored.spec if stored is not None else None
            after = secrets.merge_secret(before, given, request.fields)
            secrets.check_value(FileKind.SECRET, given.name, value, is_new=stored is None)
            if value is not None:
                registry_credentials.check_secret(state, after.name, value)
            edit = Edit(before=before, after=after, version=version)
            command = PutSecret(
                value=self._sealed(state, stored, after.name, value),
                **versioned_files.put_fields(self._context, edit, wish),
            )
            return versioned_files.intent(
                state, edit, command, lambda _, fields: SecretApplied(**fields)
            )

        wish = Wish.of(request, caller)
        applied = await carry_out(self._context, wish, decide)
        message: warren_pb2.SecretApplied = convert.to_message(applied)
        return message

    def _sealed(
        self, state: ClusterState, stored: VersionedSecret | None, name: str, value: bytes | None
    ) -> SecretVersion | None:
        """The version that the value makes; None if it is that of the newest."""
        if value is None:
            return None
        cluster, now = cluster_of(state), self._context.now()
        # Without keys, this is the dry run of the first secret.
        keys = state.secret_keys or sealing.new_keys(cluster.id, now)
        opened = self._context.keyring.require_opened(cluster.id, keys)
        sealer = sealing.Sealer(cluster.id, opened)
        newest = stored.newest if stored is not None else None
        if newest is not None and hmac.compare_digest(newest.digest, sealer.digest(name, value)):
            return None
        return sealer.seal(name, newest.number + 1 if newest is not None else 1, value, now)

    async def get_secret(
        self, request: warren_pb2.GetSecretRequest, caller: Caller
    ) -> warren_pb2.SecretView:
        state = await self._context.read(stale=request.stale)
        view: warren_pb2.SecretView = convert.to_message(
            secrets.secret_view(state, request.name, references.uses(state))
        )
        return view

    async def list_secrets(
        self, request: warren_pb2.ListSecretsRequest, caller: Caller
    ) -> warren_pb2.ListSecretsResponse:
        state = await self._context.read(stale=request.stale)
        uses = references.uses(state)
        found = [secrets.secret_view(state, name, uses) for name in sorted(state.secrets)]
        return warren_pb2.ListSecretsResponse(secrets=map(convert.to_message, found))

    async def delete_secret(
        self, request: warren_pb2.DeleteSecretRequest, caller: Caller
    ) -> warren_pb2.DeleteSecretResponse:
        changed = await versioned_files.delete(self._context, FileKind.SECRET, request, caller)
        return warren_pb2.DeleteSecretResponse(changed=changed)
