"""What becomes of connections when their task drains, ends, or loses its host."""

import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from warren.drivers.nftables import Nftables
from warren.model.assignments import ServiceTraffic

from tests.contract.balanced_network import (
    CONFIG,
    FIRST,
    NODE,
    REMOTE,
    SECOND,
    Network,
    a_service,
    ask,
    line,
)
from tests.contract.namespaces import run

ENDING = replace(CONFIG, ends_connections=True)
REMEMBERED = Path("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established")
PORT = 40001
"""Of the client."""
_CLIENT = f"""
import socket, sys
connection = socket.create_connection(("{NODE}", 80), timeout=10)
print(connection.makefile().readline().strip(), flush=True)
sys.stdin.readline()
try:
    connection.sendall(b"x")
    print("closed" if connection.recv(1) == b"" else "more")
except ConnectionResetError:
    print("reset")
"""
_FROM_ONE_PORT = f"""
import socket, sys
for _ in sys.stdin:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        connection.bind(("", {PORT}))
        connection.settimeout(0.5)
        try:
            connection.connect(("{NODE}", 80))
            print(connection.makefile().readline().split()[1], flush=True)
        except TimeoutError:
            print("silence", flush=True)
"""


@pytest.fixture
async def nftables(balanced_network: Network, no_rules: None) -> AsyncIterator[Nftables]:
    driver = Nftables(layout="ranges", pause_s=0)
    yield driver
    await driver.close()


@pytest.fixture
def network(balanced_network: Network) -> Network:
    return balanced_network


@pytest.fixture
def dead_host(network: Network) -> Iterator[None]:
    """The other host says nothing any more."""
    run(f"ip -n {network.remote} addr del {REMOTE}/32 dev peer0")
    yield
    run(f"ip -n {network.remote} addr add {REMOTE}/32 dev peer0")


async def apply(nftables: Nftables, *services: ServiceTraffic) -> None:
    await nftables.apply(ENDING, {service.name: service for service in services})


def connected(network: Network) -> subprocess.Popen[str]:
    """A client from outside, with an open connection to the first task."""
    client = network.start("-c", _CLIENT, netns=network.client)
    assert line(client).split()[1] == FIRST
    return client


def hear_nothing_for_seconds() -> None:
    """Connections that are there seem so long ago: the kernel keeps the time that is left."""
    REMEMBERED.write_text(str(int(REMEMBERED.read_text()) + 10))


async def test_a_connection_goes_on_while_its_task_drains(
    nftables: Nftables, network: Network
) -> None:
    await apply(nftables, a_service(FIRST))
    client = connected(network)

    draining = replace(a_service(SECOND), draining=a_service(FIRST).endpoints)
    await apply(nftables, draining)
    await apply(nftables, draining, a_service(name="other", vip="10.92.0.2", published=81))

    assert client.communicate("go\n", timeout=10)[0] == "closed\n"


async def test_a_connection_goes_on_while_its_task_answers_though_it_is_given_up_for_lost(
    nftables: Nftables, network: Network
) -> None:
    await apply(nftables, a_service(FIRST))
    client = connected(network)

    await apply(nftables, a_service(SECOND))

    assert client.communicate("go\n", timeout=10)[0] == "closed\n"


@pytest.mark.parametrize("others", [(SECOND,), ()], ids=["others are there", "nobody is"])
async def test_a_connection_to_a_task_that_has_gone_is_reset(
    nftables: Nftables, network: Network, others: tuple[str, ...]
) -> None:
    await apply(nftables, a_service(FIRST))
    client = connected(network)
    await apply(nftables, a_service(*others))  # a moment ago it was still there

    hear_nothing_for_seconds()
    await apply(nftables, a_service(*others))

    assert client.communicate("go\n", timeout=10)[0] == "reset\n"


async def test_a_new_process_ends_what_an_earlier_one_left(
    nftables: Nftables, network: Network
) -> None:
    await apply(nftables, a_service(FIRST, SECOND))
    await apply(nftables, a_service(FIRST))
    client = connected(network)

    hear_nothing_for_seconds()
    await apply(Nftables(layout="ranges"), a_service(SECOND))

    assert client.communicate("go\n", timeout=10)[0] == "reset\n"


async def test_a_client_that_waits_for_a_dead_host_reaches_another_task(
    nftables: Nftables, network: Network, dead_host: None
) -> None:
    await apply(nftables, a_service(REMOTE))
    client = network.start("-c", _CLIENT, netns=network.client)
    while "SYN_SENT" not in run("conntrack -L -p tcp"):
        assert client.poll() is None

    await apply(nftables, a_service(FIRST))

    assert line(client).split()[1] == FIRST
    client.communicate("go\n", timeout=10)


async def test_a_port_that_spoke_to_a_dead_host_reaches_another_task(
    nftables: Nftables, network: Network, dead_host: None
) -> None:
    await apply(nftables, a_service(REMOTE))
    client = network.start("-c", _FROM_ONE_PORT, netns=network.client)
    heard = [ask(client)]

    await apply(nftables, a_service(FIRST))
    heard.append(ask(client))

    client.communicate("", timeout=10)
    assert heard == ["silence", FIRST]
