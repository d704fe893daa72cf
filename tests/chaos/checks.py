"""The verdict: every register's history has an order, nothing is lost, and all managers agree."""

import time
from collections.abc import Sequence
from dataclasses import replace

from warren.client.client import Client
from warren.client.connection import Connection
from warren.model.errors import WarrenError
from warren.model.views import ServiceView
from warren.testing.linearizability import unexplained

from tests.chaos.registers import Registers, noted_read

EQUAL_WITHIN = 30.0


def failures(registers: Registers, connection: Connection) -> list[str]:
    """What is wrong with the answers and with the managers; nothing, if all is well."""
    try:
        read_all(registers, connection)
        different = difference(connection)
    except WarrenError as error:
        different = f"the cluster does not answer: {error}"
    found = []
    history = registers.history
    for key, explained in unexplained(history).items():
        count = sum(operation.key == key for operation in history)
        found.append(f"{key}: no order explains its {count} operations (at most {explained})")
    return [*found, different] if different else found


def read_all(registers: Registers, connection: Connection) -> None:
    """One more read of every register: what was acknowledged must be there."""
    with Client(connection, timeout=EQUAL_WITHIN) as client:
        for key in sorted({operation.key for operation in registers.history}):
            registers.note(noted_read(client, key))


def difference(connection: Connection) -> str:
    """Why the managers' own states are not one; empty when they become so in time."""
    end = time.monotonic() + EQUAL_WITHIN
    found = ""
    while time.monotonic() < end:
        managers = endpoints(connection)
        states, silent = own_states(connection, managers)
        indexes = [index for index, _ in states]
        if silent:
            found = silent
        elif len(states) < len(managers) or len(set(indexes)) > 1:
            found = f"managers are at {indexes}"
        elif any(state != states[0] for state in states):
            return f"managers differ at index {indexes[0]}"
        else:
            return ""
        time.sleep(0.1)
    return f"not equal after {EQUAL_WITHIN:g} s: {found}"


def endpoints(connection: Connection) -> tuple[str, ...]:
    """Of those that are managers now; the context may know others."""
    with Client(connection, timeout=EQUAL_WITHIN) as client:
        view = client.get_cluster()
    addresses = (manager.node.description.address for manager in view.managers)
    return tuple(f"{address}:{view.spec.api_port}" for address in addresses)


def own_states(
    connection: Connection, managers: Sequence[str]
) -> tuple[list[tuple[int, tuple[ServiceView, ...]]], str]:
    """Index and services of each manager that stood still meanwhile; why one did not answer."""
    states = []
    for endpoint in managers:
        try:
            with Client(replace(connection, endpoints=(endpoint,)), timeout=5.0) as client:
                index = client.get_cluster(stale=True).index
                services = client.list_services(stale=True)
                if client.get_cluster(stale=True).index == index:
                    states.append((index, services))
        except WarrenError as error:
            return states, str(error)
    return states, ""
