"""Clients in threads that write and read registers through all managers, and note every answer.

A register is a label of a service without tasks. Its name is of one run, so that registers which an
aborted run left on a cluster are never taken for those of this one.
"""

import random
import secrets
import threading
import time
from collections import Counter
from dataclasses import dataclass, replace

from warren.client.client import Client
from warren.client.connection import Connection
from warren.model.errors import (
    Conflict,
    DeadlineExceeded,
    NotFound,
    OutcomeUnknown,
    Unavailable,
    WarrenError,
)
from warren.model.services import ServiceSpec
from warren.testing.linearizability import Kind, Operation

KEYS = 3
CLIENTS_PER_KEY = 3
"""Few, so that the search for an order ends; one for each manager."""
PAUSE_MAX = 0.05
CALL_TIMEOUT = 8.0
NOTED_WITHIN = 5.0
"""Seconds by which answers may be noted in another order than they came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """One fault's time: it has registers of its own, so that histories stay quick to check."""

    number: int
    prefix: str

    def key(self, number: int) -> str:
        return f"{self.prefix}-{self.number}-{number}"


class Registers:
    """Begin with `start`; `next_epoch` before each fault; `stop` ends when all calls have ended."""

    def __init__(self, connection: Connection) -> None:
        self.errors: Counter[str] = Counter()
        self._connection = connection
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._operations: list[Operation] = []
        self._epoch = Epoch(number=0, prefix=f"reg-{secrets.token_hex(4)}")
        self._threads = [
            threading.Thread(target=self._work, args=(number,), daemon=True)
            for number in range(KEYS * CLIENTS_PER_KEY)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def next_epoch(self) -> None:
        """From now on use new registers, each client again through the manager that is its own."""
        self._epoch = replace(self._epoch, number=self._epoch.number + 1)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def history(self) -> tuple[Operation, ...]:
        with self._lock:
            return tuple(self._operations)

    def answered_since(self, begin: float) -> tuple[Operation, ...]:
        """What was answered from `begin` on, without looking through all of a long history."""
        found = []
        for operation in reversed(self.history):
            end = operation.returned_at
            if end is not None and end >= begin:
                found.append(operation)
            elif end is not None and end < begin - NOTED_WITHIN:
                break
        return tuple(reversed(found))

    def note(self, operation: Operation) -> None:
        """Keep what a client was told."""
        with self._lock:
            self._operations.append(operation)

    def _work(self, number: int) -> None:
        endpoints = self._connection.endpoints
        turn = number // KEYS % len(endpoints)
        own = replace(self._connection, endpoints=endpoints[turn:] + endpoints[:turn])
        chance, count = random.Random(number), 0
        while not self._stop.is_set():
            epoch = self._epoch
            key = epoch.key(number % KEYS)
            with Client(own, timeout=CALL_TIMEOUT) as client:
                while epoch is self._epoch and not self._stop.is_set():
                    count += 1
                    if chance.random() < 0.5:
                        self._write(client, key, f"{number}-{count}")
                    else:
                        self._read(client, key)
                    self._stop.wait(chance.uniform(0.0, PAUSE_MAX))

    def _write(self, client: Client, key: str, value: str) -> None:
        begin = time.monotonic()
        end: float | None = None
        try:
            write(client, key, value)
            end = time.monotonic()
        except WarrenError as error:
            self._count(error)
            if not isinstance(error, OutcomeUnknown):
                return  # it was refused, and never will be made
        self.note(
            Operation(key=key, kind=Kind.WRITE, called_at=begin, returned_at=end, value=value)
        )

    def _read(self, client: Client, key: str) -> None:
        try:
            self.note(noted_read(client, key))
        except WarrenError as error:
            self._count(error)

    def _count(self, error: WarrenError) -> None:
        expected = isinstance(error, Unavailable | DeadlineExceeded | Conflict)
        what = type(error).__name__ if expected else f"{type(error).__name__}: {error}"
        with self._lock:
            self.errors[what] += 1
        self._stop.wait(0.2)  # clients shall not be what keeps managers from starting


def write(client: Client, key: str, value: str) -> None:
    """Set the register."""
    spec = ServiceSpec(name=key, image="registry.invalid/none:1", replicas=0, labels={"v": value})
    client.apply_service(spec, ("image", "replicas", "labels"))


def read(client: Client, key: str) -> str | None:
    """The register; None before its first write."""
    try:
        return client.get_service(key).service.spec.labels["v"]
    except NotFound:
        return None


def noted_read(client: Client, key: str) -> Operation:
    """A read, as what the history holds."""
    begin = time.monotonic()
    value = read(client, key)
    return Operation(
        key=key,
        kind=Kind.READ,
        called_at=begin,
        returned_at=time.monotonic(),
        value=value,
    )
