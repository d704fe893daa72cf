"""The manager's listeners: API (mutual TLS), joining (TLS), and root's unix socket.

One gRPC server serves all methods on all three; what a caller may do depends on who it is
(`authorization.py`), and only a certificate or the socket makes it someone.
"""

import logging
import os

import grpc

from warren.api import warren_pb2
from warren.manager.cluster import ManagerContext
from warren.manager.credentials import CredentialFiles
from warren.manager.dispatcher import Dispatcher
from warren.manager.rpc import Router
from warren.model.errors import FailedPrecondition

logger = logging.getLogger(__name__)

OPTIONS: tuple[tuple[str, int], ...] = (
    # Two managers on one port would each get half of the calls.
    ("grpc.so_reuseport", 0),
    ("grpc.max_receive_message_length", 16 * 2**20),
    ("grpc.keepalive_time_ms", 5_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 2_000),
    ("grpc.http2.max_ping_strikes", 0),
)
STOP_GRACE = 0.5


class Server:
    """Listens from `start` to `stop`."""

    def __init__(self, context: ManagerContext, router: Router, dispatcher: Dispatcher) -> None:
        self._context = context
        self._server = grpc.aio.server(options=OPTIONS)
        session = grpc.stream_stream_rpc_method_handler(
            dispatcher.serve,
            request_deserializer=warren_pb2.WorkerMessage.FromString,
            response_serializer=_encoded,
        )
        workers = grpc.method_handlers_generic_handler("warren.v1.Dispatcher", {"Session": session})
        self._server.add_generic_rpc_handlers((router, workers))

    async def start(self, credentials: CredentialFiles) -> None:
        """FailedPrecondition names the address that cannot be had."""
        config, membership = self._context.config, self._context.membership
        self._listen_socket()
        for port, requires_client in ((membership.api_port, True), (membership.join_port, False)):
            address = f"{config.listen_address}:{port}"
            tls = credentials.server(requires_client=requires_client)
            try:
                self._server.add_secure_port(address, tls)
            except RuntimeError as error:
                raise FailedPrecondition(f"cannot listen on {address}: in use?") from error
        await self._server.start()

    async def stop(self) -> None:
        """Calls under way get half a second."""
        await self._server.stop(STOP_GRACE)
        self._context.config.socket_path.unlink(missing_ok=True)

    def _listen_socket(self) -> None:
        """Mode 0600 from its first moment on."""
        path = self._context.config.socket_path
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        before = os.umask(0o177)
        try:
            self._server.add_insecure_port(f"unix:{path}")
        except RuntimeError as error:
            raise FailedPrecondition(f"cannot listen on {path}") from error
        finally:
            os.umask(before)


def _encoded(message: warren_pb2.ManagerMessage | bytes) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()
