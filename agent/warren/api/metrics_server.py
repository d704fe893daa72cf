"""Serves `/metrics` over HTTP, for root's unix socket or inside the mesh: never to everyone.

As much of HTTP/1.1 as a scraper needs: one GET per connection, bounded in size and time. It needs
no leader and no majority, so that it tells what is wrong when something is. Both daemons use it.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from warren.api import exposition
from warren.model.errors import FailedPrecondition

logger = logging.getLogger(__name__)

REQUEST_BYTES_MAX = 8192
REQUEST_SECONDS = 5.0
CONNECTIONS_MAX = 16
_IP_FREEBIND = 15


class MetricsServer:
    """Listens from `start` to `stop`."""

    def __init__(self, text: Callable[[], Awaitable[str]]) -> None:
        self._text = text
        self._server: asyncio.Server | None = None
        self._path: Path | None = None
        self._connections = 0

    async def start_unix(self, path: Path) -> None:
        """On a socket that only root may open, from its first moment on."""
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        before = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(
                self._serve, path, limit=REQUEST_BYTES_MAX
            )
        except OSError as error:
            raise FailedPrecondition(f"cannot listen on {path}: {error.strerror}") from error
        finally:
            os.umask(before)
        self._path = path

    async def start_tcp(self, host: str, port: int) -> None:
        """On one address, which the host need not have yet: the mesh may come later, or again."""
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
            listener.bind((host, port))
            self._server = await asyncio.start_server(
                self._serve, sock=listener, limit=REQUEST_BYTES_MAX
            )
        except OSError as error:
            listener.close()
            raise FailedPrecondition(f"cannot serve metrics on {host}:{port}: {error}") from error

    async def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            if self._connections <= CONNECTIONS_MAX:
                async with asyncio.timeout(REQUEST_SECONDS):
                    writer.write(await self._answer(reader))
                    await writer.drain()
        except (TimeoutError, OSError, EOFError, ValueError, asyncio.LimitOverrunError):
            logger.debug("a request for metrics was no such request")
        finally:
            self._connections -= 1
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.split(b"\r\n", 1)[0].split(b" ", 2)
        if target.partition(b"?")[0] != b"/metrics":
            return _response("404 Not Found", "there is only /metrics\n", "text/plain")
        if method != b"GET":
            return _response("405 Method Not Allowed", "GET it\n", "text/plain")
        return _response("200 OK", await self._text(), exposition.CONTENT_TYPE)


def _response(status: str, body: str, kind: str) -> bytes:
    data = body.encode()
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + data
