"""Both ends of `balancer.py`'s measurement of latency, each in a network namespace of its own.

`serve` sends back what it gets; with an address, prints the medians of many round trips in one
connection and of many connections with one round trip each, in microseconds.
"""

import contextlib
import socket
import statistics
import struct
import sys
import threading
import time

PORT = 9090
TRIPS, CONNECTIONS = 5000, 1000


def serve() -> None:
    with socket.create_server(("", PORT), backlog=512) as listener:
        print("listening", flush=True)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_echo, args=(connection,), daemon=True).start()


def _echo(connection: socket.socket) -> None:
    with connection, contextlib.suppress(ConnectionResetError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := connection.recv(64):
            connection.sendall(data)


def measure(address: str) -> None:
    connections = [_connection(address) for _ in range(CONNECTIONS)]
    with socket.create_connection((address, PORT), timeout=5) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        trips = [_trip(connection) for _ in range(TRIPS)]
    print(statistics.median(trips) * 1e6, statistics.median(connections) * 1e6)


def _connection(address: str) -> float:
    began = time.perf_counter()
    with socket.create_connection((address, PORT), timeout=5) as connection:
        _trip(connection)
        took = time.perf_counter() - began
        # Closed in order, thousands of them would stand in each other's way for a minute.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        return took


def _trip(connection: socket.socket) -> float:
    began = time.perf_counter()
    connection.sendall(b"x")
    connection.recv(64)
    return time.perf_counter() - began


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve()
    else:
        measure(sys.argv[1])
