"""A program for both ends of a connection, run in some network namespace by the tests.

`serve PORT` answers every TCP connection with the caller's address, the server's address and the
MSS, then closes, and every datagram with the two addresses; it prints a line once it listens.
`connect ADDRESS PORT COUNT` prints what it heard, one line per connection: the answer, `refused`
or `silence`; `send` the same for datagrams, of a new socket each. `count ADDRESS PORT COUNT` goes
on until standard input ends, but for at least COUNT connections, and prints how often it heard
whom. `keep ADDRESS PORT` sends a datagram for each line that it reads, from one socket, and prints
the answers.
"""

import socket
import struct
import sys
import threading
from collections import Counter


def serve(port: int) -> None:
    threading.Thread(target=_echo, args=(port,), daemon=True).start()
    with socket.create_server(("", port), backlog=512) as listener:
        print("listening", flush=True)
        while True:
            connection, caller = listener.accept()
            with connection:
                segment = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
                answer = f"{caller[0]} {connection.getsockname()[0]} {segment}\n"
                try:
                    connection.sendall(answer.encode())
                    connection.recv(1)  # the caller closes first and keeps no port busy here
                except ConnectionResetError:
                    continue


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


def _hear(address: str, port: int, *, reset: bool = False) -> str:
    try:
        with socket.create_connection((address, port), timeout=2) as connection:
            heard = connection.makefile().readline().strip()
            if reset:  # thousands of connections would use up the ports
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return heard
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


def count(address: str, port: int, least: int) -> None:
    enough = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), enough.set()), daemon=True).start()
    heard: Counter[str] = Counter()
    while heard.total() < least or not enough.is_set():
        answer = _hear(address, port, reset=True).split()
        heard[answer[1] if len(answer) > 1 else "".join(answer)] += 1
    for whom, times in heard.items():
        print(whom, times, flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", port]:
            serve(int(port))
        case ["connect", address, port, times]:
            connect(address, int(port), int(times))
        case ["send", address, port, times]:
            send(address, int(port), int(times))
        case ["count", address, port, least]:
            count(address, int(port), int(least))
        case ["keep", address, port]:
            keep(address, int(port))
