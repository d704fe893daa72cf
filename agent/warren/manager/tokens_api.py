"""Control, join tokens: Create, List, Delete. The text of a token exists only in one answer."""

import logging
from datetime import timedelta

from warren.api import convert, warren_pb2
from warren.bootstrap import certificates, tokens
from warren.manager.authorization import Caller
from warren.manager.changing import Intent, Wish, carry_out
from warren.manager.cluster import ManagerContext, cluster_of
from warren.model.clusters import JoinToken
from warren.model.errors import FailedPrecondition, InvalidInput
from warren.model.nodes import NodeRole
from warren.model.views import JoinTokenView
from warren.state.cluster import ClusterState
from warren.state.commands import AddJoinToken, RemoveJoinToken

logger = logging.getLogger(__name__)

DEFAULT_LIFETIME = timedelta(hours=24)
LIFETIME_MAX = timedelta(days=365)
_ROLES = {
    warren_pb2.NODE_ROLE_MANAGER: NodeRole.MANAGER,
    warren_pb2.NODE_ROLE_WORKER: NodeRole.WORKER,
}


class TokensApi:
    """Handlers; the names are those of the RPCs."""

    def __init__(self, context: ManagerContext) -> None:
        self._context = context

    async def create_join_token(
        self, request: warren_pb2.CreateJoinTokenRequest, caller: Caller
    ) -> warren_pb2.JoinTokenView:
        role = _ROLES.get(request.role)
        if role is None:
            raise InvalidInput("must be manager or worker", path="role")
        lifetime = _lifetime(request)
        cluster = cluster_of(await self._context.store.barrier())
        # Repeated, the call must answer the same token, though its text is stored nowhere.
        token = tokens.new(
            role,
            certificates.digest(cluster.ca_certificate),
            key=cluster.ca_key,
            call=caller.key() or self._context.new_call(),
        )
        now = self._context.now()
        stored = JoinToken(
            id=token.id,
            role=role,
            secret_hash=token.secret_hash,
            created_at=now,
            expires_at=now + lifetime,
        )
        await self._context.store.commit(AddJoinToken(token=stored), key=caller.key())
        made = self._context.store.state.tokens.get(token.id)
        if made is None:
            raise FailedPrecondition(f"join token {token.id} was revoked since it was made")
        logger.info("join token %s for a %s made by %s", token.id, role.value, caller.name)
        return _view(made, token.text())

    async def list_join_tokens(
        self, request: warren_pb2.ListJoinTokensRequest, caller: Caller
    ) -> warren_pb2.ListJoinTokensResponse:
        state = await self._context.store.barrier()
        found = sorted(state.tokens.values(), key=lambda token: (token.created_at, token.id))
        return warren_pb2.ListJoinTokensResponse(tokens=[_view(token) for token in found])

    async def delete_join_token(
        self, request: warren_pb2.DeleteJoinTokenRequest, caller: Caller
    ) -> warren_pb2.DeleteJoinTokenResponse:
        def decide(state: ClusterState, _: Wish) -> Intent[warren_pb2.DeleteJoinTokenResponse]:
            return Intent(
                command=RemoveJoinToken(token_id=request.id)
                if request.id in state.tokens
                else None,
                version=state.index,
                answer=lambda changed, _: warren_pb2.DeleteJoinTokenResponse(changed=changed),
                summary=f"join token {request.id} revoked",
            )

        return await carry_out(self._context, Wish(caller=caller), decide)


def _lifetime(request: warren_pb2.CreateJoinTokenRequest) -> timedelta:
    if not request.HasField("expires_in"):
        return DEFAULT_LIFETIME
    lifetime = request.expires_in.ToTimedelta()
    if not lifetime:
        return DEFAULT_LIFETIME
    if not timedelta() < lifetime <= LIFETIME_MAX:
        raise InvalidInput("must be more than nothing and at most 365 days", path="expires_in")
    return lifetime


def _view(token: JoinToken, text: str = "") -> warren_pb2.JoinTokenView:
    view: warren_pb2.JoinTokenView = convert.to_message(
        JoinTokenView(
            id=token.id,
            role=token.role,
            created_at=token.created_at,
            expires_at=token.expires_at,
            token=text,
        )
    )
    return view
