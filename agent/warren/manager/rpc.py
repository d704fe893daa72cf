"""Every RPC of a manager passes here: authorised, answered or forwarded, errors made into status.

Messages are parsed only where they are answered, so a follower forwards bytes that a newer version
may have written. A handler takes a request and its `Caller`, returns or yields messages, and raises
`model.errors`.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NoReturn

import grpc
from google.protobuf.message import Message

from warren.api import status
from warren.manager import authorization
from warren.manager.authorization import Caller
from warren.manager.cluster import ManagerContext
from warren.manager.forwarding import Forwarder
from warren.model.errors import Unavailable, WarrenError

logger = logging.getLogger(__name__)

LEADER_TIMEOUT = timedelta(seconds=4)
"""How long a call waits for an election before it fails as Unavailable."""

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
        self._routes = routes

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        """gRPC asks which handler serves a call."""
        method = handler_call_details.method
        route = self._routes.get(method)
        if route is None:
            return None
        if route.stream is not None:
            return grpc.unary_stream_rpc_method_handler(self._streaming(method, route))
        return grpc.unary_unary_rpc_method_handler(self._single(method, route))

    def _single(self, method: str, route: Route) -> Any:
        async def serve(data: bytes, context: Context) -> bytes:
            try:
                caller = self._admit(method, route, context)
                if await self._is_answered_here(route, caller, context):
                    assert route.unary is not None
                    answer = await route.unary(route.request.FromString(data), caller)
                    return answer.SerializeToString()
                remaining = context.time_remaining()
                return await self._forwarder.call(method, data, caller, remaining)
            except Exception as error:  # noqa: BLE001 - the edge: each becomes a status
                return await refuse(context, method, error)

        return serve

    def _streaming(self, method: str, route: Route) -> Any:
        async def serve(data: bytes, context: Context) -> AsyncIterator[bytes]:
            try:
                caller = self._admit(method, route, context)
                if await self._is_answered_here(route, caller, context):
                    assert route.stream is not None
                    messages = route.stream(route.request.FromString(data), caller)
                    async with aclosing(messages):
                        async for message in messages:
                            yield message.SerializeToString()
                    return
                remaining = context.time_remaining()
                answers = self._forwarder.stream(method, data, caller, remaining)
                async with aclosing(answers):
                    async for answer in answers:
                        yield answer
            except Exception as error:  # noqa: BLE001 - the edge: each becomes a status
                await refuse(context, method, error)

        return serve

    def _admit(self, method: str, route: Route, context: Context) -> Caller:
        caller = authorization.caller_of(context)
        authorization.require(caller, route.roles, method.rpartition("/")[2])
        return caller

    async def _is_answered_here(self, route: Route, caller: Caller, context: Context) -> bool:
        if not route.leader_only or self._context.leads():
            return True
        patience = LEADER_TIMEOUT.total_seconds()
        if (remaining := context.time_remaining()) is not None:
            patience = min(patience, remaining - _TIME_TO_ANSWER)
        try:
            async with asyncio.timeout(patience):
                await self._context.wait_leader()
        except TimeoutError as error:
            raise Unavailable("no leader: a majority of the managers is needed") from error
        if self._context.leads():
            return True
        if caller.forwarded:
            raise Unavailable("the leader has changed: ask again")
        return False


async def refuse(
    context: grpc.aio.ServicerContext[Any, Any], method: str, error: Exception
) -> NoReturn:
    """End a call by the status of `error`; what is no WarrenError is a bug, and is logged."""
    if isinstance(error, WarrenError):
        await context.abort(status.code_of(error), str(error), status.metadata_of(error))
    logger.error("%s failed: a defect in Warren", method, exc_info=error)
    message = "the manager failed to answer: see the log of warren-manager"
    await context.abort(grpc.StatusCode.INTERNAL, message)
