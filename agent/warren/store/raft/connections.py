"""One connection: TLS, then frames with their length in front, without ever blocking.

Lengths are checked before anything of that length is kept: few bytes until the peer has proved who
it is and said hello, and what a lawful frame may have after that. The transport owns connections
and decides about them; a connection only reports what arrived and that it ended.
"""

import errno
import socket
import ssl
import struct
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from enum import Enum

from warren.store.raft.messages import PING

FRAME_BYTES_MAX = 8 << 20
HELLO_BYTES_MAX = 4 << 10
QUEUE_BYTES_MAX = 64 << 20
_LENGTH = struct.Struct("<I")
_READ_BYTES = 256 << 10
_PIECE_BYTES = 64 << 10
"""TLS wants a piece that did not go out to be offered again as it was."""
_TCP_USER_TIMEOUT_MS = 2000
_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


class Stage(Enum):
    """How far a connection is."""

    DIALING = "dialing"
    SECURING = "securing"
    GREETING = "greeting"
    """TLS stands; the peer's hello is awaited."""
    UP = "up"
    CLOSED = "closed"


class Ended(Exception):
    """The connection cannot go on; the message says why."""


class Connection:
    """A socket and its buffers."""

    def __init__(self, sock: socket.socket, *, dialed: str, now: float) -> None:
        """`dialed`: the node id that was called; "" for a connection that was accepted."""
        self.dialed = dialed
        self.peer = ""
        self.stage = Stage.DIALING if dialed else Stage.SECURING
        self.began_at = self.heard_at = self.said_at = now
        self.descriptor = sock.fileno()
        self.sock: socket.socket | ssl.SSLSocket = sock
        self._secure: ssl.SSLSocket | None = None
        self._received = bytearray()
        self._queue: deque[bytes] = deque()
        self._queued = 0
        self._piece = b""
        self._handshake_writes = False

    @property
    def wants_write(self) -> bool:
        """Poll for room to write."""
        if self.stage is Stage.DIALING:
            return True
        if self.stage is Stage.SECURING:
            return self._handshake_writes
        return bool(self._queue or self._piece)

    def secure(self, context: ssl.SSLContext) -> None:
        """Begin TLS on a socket that is connected."""
        self._secure = context.wrap_socket(
            self.sock, server_side=not self.dialed, do_handshake_on_connect=False
        )
        self.sock = self._secure
        self.stage = Stage.SECURING

    def finish_dialing(self) -> None:
        """Raises Ended when nobody is there."""
        error = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            raise Ended(errno.errorcode.get(error, str(error)))

    def shake_hands(self) -> ssl.SSLSocket | None:
        """Go on with TLS; the socket when it stands."""
        assert self._secure is not None
        self._handshake_writes = False
        try:
            self._secure.do_handshake()
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLWantWriteError:
            self._handshake_writes = True
            return None
        except (ssl.SSLError, OSError) as error:
            raise Ended(_told(error)) from error
        self.stage = Stage.GREETING
        return self._secure

    def say(self, frame: bytes) -> None:
        """Queue a frame. Raises Ended when the peer has not read for too long."""
        self._queue.append(_LENGTH.pack(len(frame)) + frame)
        self._queued += len(frame) + _LENGTH.size
        if self._queued > QUEUE_BYTES_MAX:
            raise Ended("it does not read what it is sent")

    def ping(self) -> None:
        """Show that this end is alive."""
        self.say(PING)

    def flush(self, now: float) -> None:
        """Write what the socket takes."""
        assert self._secure is not None
        while self._piece or self._queue:
            if not self._piece:
                self._piece = self._next_piece()
            try:
                self._secure.send(self._piece)
            except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
                return
            except (ssl.SSLError, OSError) as error:
                raise Ended(_told(error)) from error
            self._queued -= len(self._piece)
            self._piece = b""
            self.said_at = now

    def receive(self, now: float, take: Callable[[bytes], None]) -> None:
        """Read all there is, and hand out whole frames."""
        assert self._secure is not None
        while self.stage is not Stage.CLOSED:
            try:
                data = self._secure.recv(_READ_BYTES)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                return
            except (ssl.SSLError, OSError) as error:
                raise Ended(_told(error)) from error
            if not data:
                raise Ended("it closed the connection")
            self.heard_at = now
            self._received += data
            self._hand_out(take)

    def close(self) -> None:
        """End it; nothing that is still buffered matters any more."""
        self.stage = Stage.CLOSED
        self._received.clear()
        self._queue.clear()
        self._piece = b""
        self.sock.close()
        _forget_errors()

    def _hand_out(self, take: Callable[[bytes], None]) -> None:
        start, data = 0, self._received
        while self.stage is not Stage.CLOSED and len(data) - start >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(data, start)
            most = FRAME_BYTES_MAX if self.stage is Stage.UP else HELLO_BYTES_MAX
            if size > most:
                raise Ended(f"it announced a frame of {size} bytes")
            end = start + _LENGTH.size + size
            if end > len(data):
                break
            frame = bytes(data[start + _LENGTH.size : end])
            start = end
            take(frame)
        if self.stage is not Stage.CLOSED:
            del data[:start]

    def _next_piece(self) -> bytes:
        parts, size = [], 0
        while self._queue and size < _PIECE_BYTES:
            parts.append(self._queue.popleft())
            size += len(parts[-1])
        data = b"".join(parts)
        if size > _PIECE_BYTES:
            self._queue.appendleft(data[_PIECE_BYTES:])
            data = data[:_PIECE_BYTES]
        return data


def new_socket() -> socket.socket:
    """A TCP socket as all connections have it."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    prepare(sock)
    return sock


def prepare(sock: socket.socket) -> None:
    """Never block, send at once, and notice a peer that is gone."""
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _TCP_USER_TIMEOUT_MS)


def _forget_errors() -> None:
    """Keep what ended one connection from being told of the next.

    OpenSSL has one list of errors per thread, which Python 3.13 does not clear when a peer reset
    the connection: whatever is read next from another peer fails with the same error, and members
    lose each other when they lose their leader. The first step of any handshake clears the list.
    """
    with suppress(ssl.SSLError, OSError):
        _NOBODY.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True).do_handshake()


def _told(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {error.reason or error}"
    return str(error)
