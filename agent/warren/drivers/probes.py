"""Health checks against a task's own address: HTTP, TCP, and commands in its container.

Implements `ports.Prober`. Each check is a connection of its own on the event loop, without a
thread: hundreds may hang and delay no other. What came of a check is data; nothing is remembered
here, and what follows from it is decided by `core/health.py`.

Redirects are not followed: a check is about this task, not about where it points. As soon as the
head of an answer is there the verdict is known; a little of the body is read for the user, and so
that a well-behaved task does not find its connection reset.
"""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import h11

from warren.drivers import probe_texts as texts
from warren.drivers.ports import Instance, ProbeResult, Runtime
from warren.model.errors import DeadlineExceeded, RuntimeUnavailable, WarrenError
from warren.model.services import ExecCheck, HealthCheck, HttpCheck

_BODY_MAX = 16 * 2**10
_BODY_SECONDS = 0.1
_CHUNK = 16 * 2**10
_READABLE = (b"text/plain", b"application/json", b"application/problem+json")
_HEADERS = (("user-agent", "warren-health"), ("accept", "*/*"), ("connection", "close"))


class Probes:
    """Prober. One per worker; without a runtime there are no commands to run."""

    def __init__(self, runtime: Runtime | None) -> None:
        self._runtime = runtime

    async def probe(self, check: HealthCheck, instance: Instance, port: int) -> ProbeResult:
        port = check.port or port
        try:
            async with asyncio.timeout(check.timeout.total_seconds()):
                trouble = await self._trouble(check, instance, port)
        except (TimeoutError, DeadlineExceeded):
            trouble = texts.late(check)
        except RuntimeUnavailable as error:
            return ProbeResult(healthy=False, output=texts.on_one_line(str(error)), known=False)
        except WarrenError as error:
            trouble = str(error)
        except OSError as error:
            trouble = os.strerror(error.errno).lower() if error.errno else str(error)
        except h11.RemoteProtocolError:
            trouble = "the answer is not HTTP"
        except h11.LocalProtocolError as error:
            trouble = f"the request cannot be sent: {error}"
        if not trouble:
            return ProbeResult(healthy=True)
        what = texts.subject(check, instance.address, port)
        return ProbeResult(healthy=False, output=texts.on_one_line(f"{what}: {trouble}"))

    async def close(self) -> None:
        """Nothing is kept open between checks."""

    async def _trouble(self, check: HealthCheck, instance: Instance, port: int) -> str:
        """What is wrong; empty text if nothing is."""
        if check.exec is not None:
            return await self._run(check, check.exec, instance)
        with _tcp_socket() as connection:
            loop = asyncio.get_running_loop()
            await loop.sock_connect(connection, (instance.address, port))
            if check.http is None:
                return ""
            return await _get(connection, check.http, f"{instance.address}:{port}")

    async def _run(self, check: HealthCheck, command: ExecCheck, instance: Instance) -> str:
        """The runtime kills the command when its time is over, or when this is cancelled."""
        assert self._runtime is not None, "who runs commands has a runtime"
        output = await self._runtime.execute(instance, command.command, check.timeout)
        if output.exit_code == 0:
            return ""
        return texts.exit_code(output.exit_code, output.stdout, output.stderr)


@contextmanager
def _tcp_socket() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.setblocking(False)
        yield connection


async def _get(connection: socket.socket, check: HttpCheck, host: str) -> str:
    loop = asyncio.get_running_loop()
    http = h11.Connection(our_role=h11.CLIENT, max_incomplete_event_size=_BODY_MAX)
    await loop.sock_sendall(connection, _request(http, check, host))
    response = await _head(connection, http)
    if response is None:
        return "the connection was closed without an answer"
    body = await _body(connection, http)
    if check.accepts(response.status_code):
        return ""
    return texts.status(response.status_code, texts.first_line(body) if _is_text(response) else "")


def _request(http: h11.Connection, check: HttpCheck, host: str) -> bytes:
    given = {name.lower(): value for name, value in check.headers.items()}
    headers = {"host": host, **dict(_HEADERS), **given}
    request = h11.Request(method="GET", target=check.path, headers=list(headers.items()))
    end = http.send(request), http.send(h11.EndOfMessage())
    return b"".join(part or b"" for part in end)


async def _head(connection: socket.socket, http: h11.Connection) -> h11.Response | None:
    """The response, without those that only announce it; None if the task closed first."""
    loop = asyncio.get_running_loop()
    while True:
        event = http.next_event()
        if isinstance(event, h11.Response):
            return event
        if event is h11.NEED_DATA:
            data = await loop.sock_recv(connection, _CHUNK)
            if not data:
                return None
            http.receive_data(data)


async def _body(connection: socket.socket, http: h11.Connection) -> bytes:
    """What comes of it at once. Whatever is wrong with it, the status has said all."""
    loop = asyncio.get_running_loop()
    body = b""
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            while len(body) < _BODY_MAX:
                event = http.next_event()
                if event is h11.NEED_DATA:
                    http.receive_data(await loop.sock_recv(connection, _CHUNK))
                elif isinstance(event, h11.Data):
                    body += event.data
                else:
                    break
    except (TimeoutError, OSError, h11.RemoteProtocolError):
        return body
    return body


def _is_text(response: h11.Response) -> bool:
    """Pages for people are not shown on one line."""
    kinds = [value for name, value in response.headers if name == b"content-type"]
    return not kinds or kinds[0].partition(b";")[0].strip().lower() in _READABLE
