"""Passes calls on to the leader, as bytes, over this node's own certificate.

The leader learns the original caller from metadata, which it believes because a manager sent it.
One channel is kept, to the leader last forwarded to; an older one is closed with its last call.
A leader that was cut off never answers, and its connection looks alive for seconds: what was
passed on to it is given up as soon as this manager knows another leader, or is cut off itself.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

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

T = TypeVar("T")

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
        self._link: _Link | None = None

    async def call(self, method: str, data: bytes, caller: Caller, timeout: float | None) -> bytes:
        """A unary call, answered by the leader."""
        async with self._linked() as link:
            call = link.channel.unary_unary(method, None, None)(
                data, timeout=timeout or _DEFAULT_TIMEOUT, metadata=_metadata(caller)
            )
            try:
                return await self._while_led(link, call)
            finally:
                call.cancel()

    async def stream(
        self, method: str, data: bytes, caller: Caller, timeout: float | None
    ) -> AsyncGenerator[bytes, None]:
        """A call with a stream of answers. It ends with the caller's interest, or with the lead."""
        async with self._linked() as link:
            call = link.channel.unary_stream(method, None, None)(
                data, timeout=timeout, metadata=_metadata(caller)
            )
            answers: AsyncIterator[bytes] = aiter(call)
            try:
                while (answer := await self._while_led(link, anext(answers, None))) is not None:
                    yield answer
            except OutcomeUnknown as error:
                raise LeaderMoved(error.message) from error
            finally:
                call.cancel()

    async def member(self, manager: ManagerAddress) -> MemberView:
        """What a manager says of itself."""
        async with self._asking(manager) as stub:
            answer = await stub.GetMember(warren_pb2.GetMemberRequest(), timeout=_ASK_TIMEOUT)
        return convert.from_message(answer, MemberView)

    async def unlock_member(
        self, manager: ManagerAddress, request: warren_pb2.UnlockRequest
    ) -> None:
        """Give a manager the key of the lock."""
        async with self._asking(manager) as stub:
            await stub.UnlockMember(request, timeout=2 * _ASK_TIMEOUT)

    async def close(self) -> None:
        """Let go of the connection."""
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    @asynccontextmanager
    async def _asking(self, manager: ManagerAddress) -> AsyncIterator[Any]:
        """A channel to a manager for one question."""
        async with open_channel(manager.api, self._credentials()) as channel:
            try:
                yield warren_pb2_grpc.ManagersStub(channel)
            except grpc.aio.AioRpcError as error:
                raise status.error_from_rpc(error) from error

    @asynccontextmanager
    async def _linked(self) -> AsyncIterator["_Link"]:
        """The channel to the leader, for one call."""
        leader = self._context.leader()
        if leader is None:
            raise LeaderMoved("no leader is known: ask again")
        before, link, credentials = self._link, self._link, self._credentials()
        if link is None or not link.serves(leader, credentials):
            link = self._link = _Link(self._context, leader, credentials)
        link.calls += 1
        try:
            if before is not None and before is not link and not before.calls:
                await before.close()
            yield link
        finally:
            link.calls -= 1
            if link is not self._link and not link.calls:
                await link.close()

    @staticmethod
    async def _while_led(link: "_Link", answer: Awaitable[T]) -> T:
        """What the leader answers, unless it is given up."""
        answering = asyncio.ensure_future(answer)
        try:
            await asyncio.wait((answering, link.given_up), return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                return answering.result()
        except grpc.aio.AioRpcError as error:
            raise _failure(error) from error
        finally:
            answering.cancel()
        raise OutcomeUnknown("the leader changed before it answered")


class _Link:
    """A channel to a leader. `calls`: how many are on it."""

    def __init__(
        self, context: ManagerContext, leader: ManagerAddress, credentials: Credentials
    ) -> None:
        self.channel = open_channel(leader.api, credentials)
        self.given_up = asyncio.create_task(_wait_given_up(context, leader))
        self.calls = 0
        self._made_for = leader, credentials

    def serves(self, leader: ManagerAddress, credentials: Credentials) -> bool:
        """It may be used for another call."""
        return self._made_for == (leader, credentials) and not self.given_up.done()

    async def close(self) -> None:
        self.given_up.cancel()
        await self.channel.close(None)


async def _wait_given_up(context: ManagerContext, leader: ManagerAddress) -> None:
    """Another leads, or no majority is in contact: nothing more is expected of `leader`."""
    waits = [
        asyncio.create_task(context.wait_other_leader(leader)),
        asyncio.create_task(context.wait_isolated()),
    ]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


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
