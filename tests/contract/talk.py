"""A program for both ends of a connection, run in some network namespace by the tests.

`serve PORT` answers every TCP connection with the caller's address, the server's address and the
MSS, then closes, and every datagram with the two addresses; it prints a line once it listens.
`connect ADDRESS PORT COUNT` prints what it heard, one line per connection: the answer, `refused`
or `silence`; `send` the same for datagrams, of a new socket each. `count ADDRESS PORT COUNT` goes
on until standard input ends, but for at least COUNT connections, and prints how often it heard
whom. `keep ADDRESS PORT` sends a datagram for each line that it reads, from one socket, and prints
the answers.
"""

import asyncio
import contextlib
import socket
import struct
import sys
import threading
from collections import Counter

_AT_ONCE = 20
"""Connections of `count`."""


async def serve(port: int) -> None:
    threading.Thread(target=_echo, args=(port,), daemon=True).start()
    async with await asyncio.start_server(_answer_caller, "0.0.0.0", port, backlog=512) as server:
        print("listening", flush=True)
        await server.serve_forever()


async def _answer_caller(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    connection = writer.get_extra_info("socket")
    segment = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
    caller, own = connection.getpeername()[0], connection.getsockname()[0]
    with contextlib.suppress(ConnectionError):
        writer.write(f"{caller} {own} {segment}\n".encode())
        await reader.read(1)  # the caller closes first and keeps no port busy here
        writer.close()
        await writer.wait_closed()


def _echo(port: int) -> None:
    """The server of a namespace has one address that is not loopback: the task's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.bind(("", port))
        while True:
            _, caller = channel.recvfrom(64)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way_back:
                way_back.connect(caller)
                own = way_back.getsockname()[0]
            channel.sendto(f"{caller[0]} {own}\n".encode(), caller)


def connect(address: str, port: int, count: int) -> None:
    for _ in range(count):
        print(_hear(address, port), flush=True)


def _hear(address: str, port: int) -> str:
    try:
        with socket.create_connection((address, port), timeout=2) as connection:
            return connection.makefile().readline().strip()
    except ConnectionRefusedError:
        return "refused"
    except TimeoutError:
        return "silence"


def send(address: str, port: int, count: int) -> None:
    for _ in range(count):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
            channel.connect((address, port))
            print(_answer(channel), flush=True)


def _answer(channel: socket.socket) -> str:
    channel.settimeout(2)
    try:
        channel.send(b"?")
        return channel.recv(64).decode().strip()
    except (ConnectionRefusedError, PermissionError):  # the latter: refused on the host itself
        return "refused"
    except TimeoutError:
        return "silence"


def keep(address: str, port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        channel.connect((address, port))
        for _ in sys.stdin:
            print(_answer(channel), flush=True)


async def count(address: str, port: int, least: int) -> None:
    enough = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, enough.set)  # at its end, too
    heard: Counter[str] = Counter()

    async def go_on() -> None:
        while heard.total() < least or not enough.is_set():
            heard[await _count_one(address, port)] += 1

    await asyncio.gather(*(go_on() for _ in range(_AT_ONCE)))
    for whom, times in heard.items():
        print(whom, times, flush=True)


async def _count_one(address: str, port: int) -> str:
    try:
        async with asyncio.timeout(30):
            reader, writer = await asyncio.open_connection(address, port)
            answer = await reader.readline()
            # Thousands of connections that are closed in order would use up the ports.
            connection = writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return answer.split()[1].decode()
    except (OSError, IndexError) as error:  # a timeout is an OSError
        return type(error).__name__


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", port]:
            asyncio.run(serve(int(port)))
        case ["connect", address, port, times]:
            connect(address, int(port), int(times))
        case ["send", address, port, times]:
            send(address, int(port), int(times))
        case ["count", address, port, least]:
            asyncio.run(count(address, int(port), int(least)))
        case ["keep", address, port]:
            keep(address, int(port))
