"""Passes calls on to the leader, as bytes, over this node's own certificate.

The leader learns the original caller from metadata, which it believes because a manager sent it.
One channel is kept, to the leader last forwarded to.
"""

from collections.abc import AsyncGenerator, Callable

import grpc

from warren.api import convert, status, warren_pb2, warren_pb2_grpc
from warren.bootstrap.node_files import Credentials
from warren.manager import authorization
from warren.manager.authorization import Caller
from warren.manager.cluster import ManagerContext
from warren.model.assignments import ManagerAddress
from warren.model.errors import LeaderMoved, OutcomeUnknown, WarrenError
from warren.model.views import MemberView

SERVER_NAME = "manager.warren"
"""In every manager's certificate, whatever address it is reached by."""

_DEFAULT_TIMEOUT = 30.0
_ASK_TIMEOUT = 2.0

CHANNEL_OPTIONS: tuple[tuple[str, str | int], ...] = (
    ("grpc.ssl_target_name_override", SERVER_NAME),
    ("grpc.enable_http_proxy", 0),
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.max_receive_message_length", 64 * 2**20),
    ("grpc.max_reconnect_backoff_ms", 1_000),
)


class Forwarder:
    """Calls the leader's API in the name of others."""

    def __init__(self, context: ManagerContext, credentials: Callable[[], Credentials]) -> None:
        """`credentials` answers the newest: certificates are renewed while this lives."""
        self._context = context
        self._credentials = credentials
        self._channel: grpc.aio.Channel | None = None
        self._opened_with: tuple[str, Credentials] | None = None

    async def call(self, method: str, data: bytes, caller: Caller, timeout: float | None) -> bytes:
        """A unary call, answered by the leader."""
        channel = await self._channel_to_leader()
        call = channel.unary_unary(method, None, None)
        try:
            answer: bytes = await call(
                data, timeout=timeout or _DEFAULT_TIMEOUT, metadata=_metadata(caller)
            )
        except grpc.aio.AioRpcError as error:
            raise _failure(error) from error
        return answer

    async def stream(
        self, method: str, data: bytes, caller: Caller, timeout: float | None
    ) -> AsyncGenerator[bytes, None]:
        """A call with a stream of answers. It ends with the caller's interest."""
        channel = await self._channel_to_leader()
        open_stream = channel.unary_stream(method, None, None)
        call = open_stream(data, timeout=timeout, metadata=_metadata(caller))
        try:
            async for answer in call:
                yield answer
        except grpc.aio.AioRpcError as error:
            raise _failure(error) from error
        finally:
            call.cancel()

    async def member(self, manager: ManagerAddress) -> MemberView:
        """What a manager says of itself; a channel for this one question."""
        async with open_channel(manager.api, self._credentials()) as channel:
            stub = warren_pb2_grpc.ManagersStub(channel)
            try:
                answer = await stub.GetMember(warren_pb2.GetMemberRequest(), timeout=_ASK_TIMEOUT)
            except grpc.aio.AioRpcError as error:
                raise status.error_from_rpc(error) from error
        return convert.from_message(answer, MemberView)

    async def close(self) -> None:
        """Let go of the connection."""
        if self._channel is not None:
            await self._channel.close(None)
        self._channel = self._opened_with = None

    async def _channel_to_leader(self) -> grpc.aio.Channel:
        leader = self._context.leader()
        if leader is None:
            raise LeaderMoved("no leader is known: ask again")
        wanted = (leader.api, self._credentials())
        if self._channel is None or self._opened_with != wanted:
            previous, self._channel = self._channel, open_channel(*wanted)
            self._opened_with = wanted
            if previous is not None:
                await previous.close(grace=1.0)
        return self._channel


def open_channel(api: str, credentials: Credentials) -> grpc.aio.Channel:
    """A channel to a manager of the same cluster."""
    return grpc.aio.secure_channel(
        api,
        grpc.ssl_channel_credentials(
            credentials.ca_certificate.encode(),
            credentials.key.encode(),
            credentials.certificate.encode(),
        ),
        options=CHANNEL_OPTIONS,
    )


def _failure(error: grpc.aio.AioRpcError) -> WarrenError:
    """As the leader said it. When it said nothing, it may have heard or not."""
    if status.is_from_manager(error):
        return status.error_from_rpc(error)
    if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return OutcomeUnknown("the leader cannot be reached from this manager")
    if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
        return OutcomeUnknown("the leader did not answer in time")
    return status.error_from_rpc(error)


def _metadata(caller: Caller) -> tuple[tuple[str, str], ...]:
    claim = (authorization.FORWARDED_KEY, authorization.claim_for(caller))
    if not caller.call:
        return (claim,)
    return (claim, (status.CALL_KEY, caller.call), (status.ATTEMPT_KEY, str(caller.attempt)))
