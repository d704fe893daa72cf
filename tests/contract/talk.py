"""A program for both ends of a connection, run in some network namespace by the tests.

`serve PORT` answers every TCP connection with the caller's address, the server's address and the
MSS, then closes; it prints a line once it listens. `connect ADDRESS PORT COUNT` prints what it
heard, one line per connection: the answer, or `refused`, or `silence`.
"""

import socket
import sys


def serve(port: int) -> None:
    with socket.create_server(("", port), backlog=512) as listener:
        print("listening", flush=True)
        while True:
            connection, caller = listener.accept()
            with connection:
                segment = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)
                answer = f"{caller[0]} {connection.getsockname()[0]} {segment}\n"
                connection.sendall(answer.encode())
                connection.recv(1)  # the caller closes first and keeps no port busy here


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


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", port]:
            serve(int(port))
        case ["connect", address, port, count]:
            connect(address, int(port), int(count))
