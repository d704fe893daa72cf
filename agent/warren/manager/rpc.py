"""Every RPC of a manager passes here: authorised, answered or forwarded, errors made into status.

Messages are parsed only where they are answered, so a follower forwards bytes that a newer version
may have written. A handler takes a request and its `Caller`, returns or yields messages, and raises
`model.errors`.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, NoReturn

import grpc
from google.protobuf.message import Message

from warren.api import status
from warren.manager import authorization, repeating
from warren.manager.authorization import Caller
from warren.manager.cluster import ManagerContext
from warren.manager.forwarding import Forwarder
from warren.model.errors import LeaderMoved, OutcomeUnknown, Unavailable, WarrenError

logger = logging.getLogger(__name__)

LEADER_TIMEOUT = timedelta(seconds=4)
"""How long a call waits for an election before it fails as Unavailable."""

_PAUSE = 0.05
"""Seconds between two attempts, unless something has changed meanwhile."""
_TIME_TO_ANSWER = 0.2
"""Seconds before the caller's deadline at which it is told why, instead of nothing."""

Context = grpc.aio.ServicerContext[bytes, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """How one method is served."""

    request: type[Message]
    roles: frozenset[str]
    leader_only: bool = True
    """A follower forwards it. False: any manager answers from what it knows."""
    name: str = ""
    """Of the method, for people."""
    changes: bool = False
    """It changes the cluster, so that it matters whether it was done."""
    repeatable: bool = True
    """It may be attempted again without harm."""
    resumable: bool = False
    """Of streams: one that breaks may begin anew with the next leader, unnoticed."""
    stale: Callable[[bytes], bool] | None = None
    """Of reads: whether a request asks for the manager's own state, be it old."""
    unary: Callable[[Any, Caller], Awaitable[Message]] | None = None
    stream: Callable[[Any, Caller], AsyncGenerator[Message, None]] | None = None
    """Exactly one of the two is given."""


class Router(grpc.GenericRpcHandler):  # type: ignore[type-arg]
    """Serves methods by their routes, keyed by full name: `/warren.v1.Control/GetNode`."""

    def __init__(
        self, context: ManagerContext, forwarder: Forwarder, routes: Mapping[str, Route]
    ) -> None:
        self._context = context
        self._forwarder = forwarder
        self._handlers = {method: self._handler(method, route) for method, route in routes.items()}

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        """gRPC asks which handler serves a call."""
        return self._handlers.get(handler_call_details.method)

    def _handler(self, method: str, route: Route) -> "grpc.RpcMethodHandler[bytes, bytes]":
        if route.stream is not None:
            return grpc.unary_stream_rpc_method_handler(self._streaming(method, route))
        return grpc.unary_unary_rpc_method_handler(self._single(method, route))

    def _single(self, method: str, route: Route) -> Any:
        async def serve(data: bytes, context: Context) -> bytes:
            try:
                caller = self._admit(method, route, context)
                if route.stale is not None and route.stale(data):
                    return await self._answer(route, data, caller)
                return await self._attempts(_Call(method, route, data, caller), context)
            except Exception as error:  # noqa: BLE001 - the edge: each becomes a status
                return await refuse(context, method, error)

        return serve

    async def _attempts(self, call: "_Call", context: Context) -> bytes:
        """Answer or forward, again when the lead moves meanwhile, as long as the caller may wait.

        The manager that was asked first sees to that; one that a call was forwarded to does not.
        """
        caller, give_up_at, maybe_done = call.caller, self._give_up_at(context), False
        while True:
            changes = self._context.store.changes.count
            try:
                return await self._attempt(replace(call, caller=caller), context, give_up_at)
            except WarrenError as error:
                maybe_done |= isinstance(error, OutcomeUnknown) and call.route.changes
                over = time.monotonic() + _PAUSE > give_up_at
                if (
                    over
                    or caller.forwarded
                    or not (call.route.repeatable and repeating.is_worth_repeating(error))
                ):
                    raise repeating.at_the_end(error, maybe_done=maybe_done) from error
            caller = replace(caller, attempt=caller.attempt + 1)
            await self._wait_change(changes)

    async def _attempt(self, call: "_Call", context: Context, give_up_at: float) -> bytes:
        if await self._is_answered_here(call.route, call.caller, give_up_at):
            try:
                return await self._answer(call.route, call.data, call.caller)
            except WarrenError as error:
                seen = repeating.as_seen_outside(error, leads=self._context.leads())
                raise seen from error
        remaining = context.time_remaining()
        return await self._forwarder.call(call.method, call.data, call.caller, remaining)

    async def _answer(self, route: Route, data: bytes, caller: Caller) -> bytes:
        assert route.unary is not None
        if route.leader_only:
            caller = authorization.as_of(caller, self._context.store.state)
            authorization.require(caller, route.roles, route.name)
        answer = await route.unary(route.request.FromString(data), caller)
        return answer.SerializeToString()

    def _streaming(self, method: str, route: Route) -> Any:
        async def serve(data: bytes, context: Context) -> AsyncIterator[bytes]:
            try:
                caller = self._admit(method, route, context)
                messages = self._stream(_Call(method, route, data, caller), context)
                async with aclosing(messages):
                    async for message in messages:
                        yield message
            except Exception as error:  # noqa: BLE001 - the edge: each becomes a status
                await refuse(context, method, error)

        return serve

    async def _stream(self, call: "_Call", context: Context) -> AsyncGenerator[bytes, None]:
        """Answer or forward; what may begin anew goes on with the next leader."""
        while True:
            changes = self._context.store.changes.count
            messages = await self._stream_once(call, context)
            try:
                async with aclosing(messages):
                    async for message in messages:
                        yield message
                return
            except WarrenError as error:
                is_lost = repeating.is_worth_repeating(error)
                if not (is_lost and call.route.resumable) or call.caller.forwarded:
                    raise
            await self._wait_change(changes)

    async def _stream_once(self, call: "_Call", context: Context) -> AsyncGenerator[bytes, None]:
        if await self._is_answered_here(call.route, call.caller, self._give_up_at(context)):
            return self._stream_here(call)
        remaining = context.time_remaining()
        return self._forwarder.stream(call.method, call.data, call.caller, remaining)

    async def _stream_here(self, call: "_Call") -> AsyncGenerator[bytes, None]:
        assert call.route.stream is not None
        caller = authorization.as_of(call.caller, self._context.store.state)
        authorization.require(caller, call.route.roles, call.route.name)
        messages = call.route.stream(call.route.request.FromString(call.data), caller)
        try:
            async with aclosing(messages):
                async for message in messages:
                    yield message.SerializeToString()
        except WarrenError as error:
            raise repeating.as_seen_outside(error, leads=self._context.leads()) from error

    async def _wait_change(self, since: int) -> None:
        """A short pause, unless something has changed meanwhile."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_PAUSE):
                await self._context.store.changes.wait_newer(since)

    def _admit(self, method: str, route: Route, context: Context) -> Caller:
        caller = authorization.caller_of(context)
        authorization.require(caller, route.roles, method.rpartition("/")[2])
        if not caller.call and route.repeatable:
            return replace(caller, call=self._context.new_call())
        return caller

    @staticmethod
    def _give_up_at(context: Context) -> float:
        """When an attempt that failed shall be the last: in time to say why."""
        patience = LEADER_TIMEOUT.total_seconds()
        if (remaining := context.time_remaining()) is not None:
            patience = min(patience, remaining - _TIME_TO_ANSWER)
        return time.monotonic() + patience

    async def _is_answered_here(self, route: Route, caller: Caller, give_up_at: float) -> bool:
        if not route.leader_only or self._context.leads():
            return True
        if self._context.is_led() and not caller.forwarded:
            return False
        waits = [
            asyncio.create_task(self._context.wait_leader()),
            asyncio.create_task(self._context.wait_isolated()),
        ]
        patience = max(0.0, give_up_at - time.monotonic())
        try:
            await asyncio.wait(waits, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        if not self._context.is_led():
            # One that is cut off says so at once: another manager may be on the side that decides.
            raise Unavailable("no leader: a majority of the managers is needed")
        if self._context.leads():
            return True
        if caller.forwarded:
            raise LeaderMoved("the leader has changed: ask again")
        return False


@dataclass(frozen=True, slots=True)
class _Call:
    """One unary call, as it came."""

    method: str
    route: Route
    data: bytes
    caller: Caller


async def refuse(
    context: grpc.aio.ServicerContext[Any, Any], method: str, error: Exception
) -> NoReturn:
    """End a call by the status of `error`; what is no WarrenError is a bug, and is logged."""
    if isinstance(error, WarrenError):
        await context.abort(status.code_of(error), str(error), status.metadata_of(error))
    logger.error("%s failed: a defect in Warren", method, exc_info=error)
    message = "the manager failed to answer: see the log of warren-manager"
    await context.abort(grpc.StatusCode.INTERNAL, message)
