"""The contract of `Publisher`, and what only the kernel can show of nftables.

The node is the test run's own network namespace. Around it: a client on the underlay, two tasks as
CNI's `ptp` connects them, and another host's task behind the mesh. As WireGuard would, the other
host takes packets only from this node's mesh address, and answers only there.
"""

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from warren.drivers.nftables import Nftables
from warren.drivers.ports import Publisher
from warren.model.assignments import Endpoint, PublishedPort
from warren.model.errors import DriverError
from warren.model.services import PortMode, Protocol
from warren.testing.fake_publisher import FakePublisher

from tests.contract import namespaces
from tests.contract.namespaces import run

_TALK = str(Path(__file__).with_name("talk.py"))
_NODE, _CLIENT = "192.168.9.1", "192.168.9.2"
_MESH = "10.86.0.1"
_FIRST, _SECOND, _REMOTE = "10.88.1.2", "10.88.1.3", "10.88.2.2"


class Network:
    """Who is where: the names of the network namespaces around the node."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.client = self._host("client")
        self.first = self._host("task1")
        self.second = self._host("task2")
        self.remote = self._host("remote")

    def connect(self, port: int, *, netns: str, address: str = _NODE, count: int = 1) -> list[str]:
        """What a client in `netns` hears; on the node itself when that is empty."""
        command = f"{sys.executable} {_TALK} connect {address} {port} {count}"
        return run(command, netns=netns).splitlines()

    def start_client(self, *arguments: str) -> subprocess.Popen[str]:
        """A Python program on the client, with pipes to talk with it."""
        command = ["ip", "netns", "exec", self.client, sys.executable, *arguments]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def build(self) -> None:
        """Interfaces, addresses, routes and a server in every task."""
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        self._link("under0", self.client)
        run("ip addr add 192.168.9.1/24 dev under0")
        run(f"ip -n {self.client} addr add 192.168.9.2/24 dev peer0")
        for name, netns, address in (
            ("task1", self.first, _FIRST),
            ("task2", self.second, _SECOND),
        ):
            self._link(name, netns)
            run(f"ip addr add 10.88.1.1/32 dev {name}")
            run(f"ip route add {address}/32 dev {name}")
            run(f"ip -n {netns} addr add {address}/32 dev peer0")
            run(f"ip -n {netns} route add 10.88.1.1 dev peer0")
            run(f"ip -n {netns} route add default via 10.88.1.1")
        self._link("mesh0", self.remote)
        run("ip link set mesh0 mtu 1420")
        run(f"ip addr add {_MESH}/32 dev mesh0")
        run(f"ip route add 10.88.0.0/14 dev mesh0 src {_MESH}")
        run(f"ip -n {self.remote} addr add {_REMOTE}/32 dev peer0")
        run(f"ip -n {self.remote} route add {_MESH}/32 dev peer0")
        for netns in (self.client, self.first, self.second, self.remote):
            self._serve(netns)

    def _host(self, name: str) -> str:
        return self._stack.enter_context(namespaces.host(name))

    def _link(self, name: str, netns: str) -> None:
        run(f"ip link add {name} type veth peer name peer0 netns {netns}")
        run(f"ip link set {name} up")
        run(f"ip -n {netns} link set peer0 up")

    def _serve(self, netns: str) -> None:
        server = subprocess.Popen(
            ["ip", "netns", "exec", netns, sys.executable, _TALK, "serve", "8080"],
            stdout=subprocess.PIPE,
        )
        self._stack.callback(_end, server)
        assert server.stdout is not None
        assert server.stdout.readline() == b"listening\n"


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.communicate()


@pytest.fixture(scope="module")
def network(private_network: None) -> Iterator[Network]:
    """A node without any rules of ours, and its neighbours."""
    namespaces.require("nft", "ip")
    with namespaces.own_network(), ExitStack() as stack:
        built = Network(stack)
        built.build()
        yield built


@pytest.fixture
def nftables(network: Network) -> Iterator[Nftables]:
    """The real driver on a node without rules."""
    yield Nftables()
    subprocess.run(["nft", "flush", "ruleset"], check=True)


def a_port(*addresses: str, mode: PortMode = PortMode.MESH, published: int = 80) -> PublishedPort:
    """Port 80 of `web`, with a task at each address."""
    return PublishedPort(
        service="web",
        published=published,
        protocol=Protocol.TCP,
        mode=mode,
        endpoints=tuple(
            Endpoint(
                address=address,
                port=8080,
                task_id=f"web-{address}",
                node_id="other" if address == _REMOTE else "this",
            )
            for address in addresses
        ),
    )


async def apply(publisher: Publisher, *ports: PublishedPort) -> None:
    """On the node `this`."""
    await publisher.apply(
        ports, task_network="10.88.0.0/14", mesh_interface="mesh0", node_id="this"
    )


def set_source_ports(low: int, high: int) -> None:
    """The ports that the node's own connections may come from."""
    Path("/proc/sys/net/ipv4/ip_local_port_range").write_text(f"{low} {high}")


class Published:
    """A publisher, and what a client of the node finds on a port."""

    def __init__(self, publisher: Nftables | FakePublisher, network: Network | None) -> None:
        self.publisher = publisher
        self._network = network

    def answering(self, port: int) -> set[str]:
        """Addresses of the tasks that answer; none: the client was refused at once."""
        if isinstance(self.publisher, FakePublisher):
            return {endpoint.address for endpoint in self.publisher.answering(port) or ()}
        assert self._network is not None
        heard = self._network.connect(port, netns=self._network.client, count=40)
        return {line.split()[1] for line in heard if line != "refused"}


@pytest.fixture(params=["fake", "real"])
def published(request: pytest.FixtureRequest) -> Published:
    if request.param == "fake":
        return Published(FakePublisher(), None)
    return Published(request.getfixturevalue("nftables"), request.getfixturevalue("network"))


async def test_every_endpoint_answers(published: Published) -> None:
    await apply(published.publisher, a_port(_FIRST, _SECOND, _REMOTE))

    assert published.answering(80) == {_FIRST, _SECOND, _REMOTE}


async def test_a_port_without_endpoints_is_refused(published: Published) -> None:
    await apply(published.publisher, a_port())

    assert published.answering(80) == set()


async def test_mode_host_answers_from_this_node_alone(published: Published) -> None:
    await apply(published.publisher, a_port(_FIRST, _REMOTE, mode=PortMode.HOST))

    assert published.answering(80) == {_FIRST}


async def test_what_is_applied_replaces_what_was(published: Published) -> None:
    await apply(published.publisher, a_port(_FIRST), a_port(_SECOND, published=81))

    await apply(published.publisher, a_port(_SECOND))

    assert published.answering(80) == {_SECOND}
    assert published.answering(81) == set()


async def test_shares_connections_evenly(nftables: Nftables, network: Network) -> None:
    await apply(nftables, a_port(_FIRST, _SECOND))

    heard = network.connect(80, netns=network.client, count=400)

    counts = Counter(line.split()[1] for line in heard)
    assert counts.total() == 400
    assert min(counts[_FIRST], counts[_SECOND]) > 130  # 7 standard deviations below one half


async def test_a_task_sees_the_address_of_an_outside_client(
    nftables: Nftables, network: Network
) -> None:
    await apply(nftables, a_port(_FIRST))

    (heard,) = network.connect(80, netns=network.client)

    assert heard.split()[:2] == [_CLIENT, _FIRST]


async def test_through_the_mesh_a_client_comes_from_this_node(
    nftables: Nftables, network: Network
) -> None:
    await apply(nftables, a_port(_REMOTE))

    (heard,) = network.connect(80, netns=network.client)

    assert heard.split()[:2] == [_MESH, _REMOTE]


async def test_segments_from_outside_fit_into_the_mesh(
    nftables: Nftables, network: Network
) -> None:
    await apply(nftables, a_port(_REMOTE))

    (heard,) = network.connect(80, netns=network.client)

    assert int(heard.split()[2]) <= 1420 - 40


@pytest.mark.parametrize("endpoint", [_FIRST, _REMOTE])
async def test_the_host_itself_reaches_a_published_port(
    nftables: Nftables, network: Network, endpoint: str
) -> None:
    await apply(nftables, a_port(endpoint))

    (heard,) = network.connect(80, netns="")

    assert heard.split()[1] == endpoint


@pytest.mark.parametrize("endpoint", [_FIRST, _SECOND, _REMOTE])
async def test_a_task_reaches_a_published_port_even_when_it_is_its_own(
    nftables: Nftables, network: Network, endpoint: str
) -> None:
    await apply(nftables, a_port(endpoint))

    (heard,) = network.connect(80, netns=network.first)

    assert heard.split()[1] == endpoint


async def test_the_hosts_own_ports_are_left_alone(nftables: Nftables, network: Network) -> None:
    await apply(nftables, a_port(_FIRST))

    (heard,) = network.connect(8080, netns=network.client)

    assert heard == "refused"


async def test_a_refused_port_stays_usable_as_a_source(
    nftables: Nftables, network: Network
) -> None:
    await apply(nftables, *(a_port(published=port) for port in range(32768, 33768)))
    set_source_ports(32768, 33767)

    heard = network.connect(8080, netns="", address=_CLIENT, count=5)

    set_source_ports(32768, 60999)
    assert {line.split()[1] for line in heard} == {_CLIENT}


async def test_tasks_reach_the_outside_as_the_node(nftables: Nftables, network: Network) -> None:
    await apply(nftables)

    (heard,) = network.connect(8080, netns=network.first, address=_CLIENT)

    assert heard.split()[0] == _NODE


async def test_tasks_see_each_other_as_they_are(nftables: Nftables, network: Network) -> None:
    await apply(nftables)

    (heard,) = network.connect(8080, netns=network.first, address=_SECOND)

    assert heard.split()[0] == _FIRST


async def test_an_open_connection_outlives_its_endpoint(
    nftables: Nftables, network: Network
) -> None:
    await apply(nftables, a_port(_FIRST))
    client = network.start_client("-c", _SLOW_CLIENT)
    assert client.stdout is not None
    assert client.stdout.readline().split()[1] == _FIRST

    await apply(nftables, a_port(_SECOND))

    # The client sends a byte over its open connection; the task closes when it has it.
    assert client.communicate("go\n", timeout=10)[0] == "closed\n"
    assert client.returncode == 0


async def test_switching_endpoints_refuses_nobody(nftables: Nftables, network: Network) -> None:
    await apply(nftables, a_port(_FIRST))
    client = network.start_client(_TALK, "connect", _NODE, "80", "1500")

    for switch in range(50):
        await apply(nftables, a_port((_SECOND, _FIRST)[switch % 2]))

    heard = client.communicate()[0].splitlines()
    assert len(heard) == 1500
    assert {line.split()[-2] for line in heard} == {_FIRST, _SECOND}


async def test_the_same_ports_are_not_written_again(network: Network, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    nftables = Nftables(("sh", "-c", f'echo "$1" >>{calls}; exec nft "$@"', "nft"))
    await apply(nftables, a_port(_FIRST))
    written = calls.read_text().split()

    await apply(nftables, a_port(_FIRST))

    run("nft flush ruleset")
    assert written == ["list", "-f"]
    assert calls.read_text().split() == [*written, "list"]


async def test_a_new_process_keeps_the_table_of_the_one_before(nftables: Nftables) -> None:
    await apply(nftables, a_port(_FIRST))
    before = run("nft -a list table ip warren")

    await apply(Nftables(), a_port(_FIRST))

    assert run("nft -a list table ip warren") == before


async def test_other_networks_make_other_rules(nftables: Nftables) -> None:
    await apply(nftables, a_port(_FIRST))

    await nftables.apply((), task_network="10.99.0.0/16", mesh_interface="mesh0", node_id="this")

    text = run("nft list table ip warren")
    assert "10.88.0.0" not in text
    assert "10.99.0.0/16" in text


async def test_rules_that_somebody_flushed_come_back(nftables: Nftables, network: Network) -> None:
    await apply(nftables, a_port(_FIRST))
    run("nft flush ruleset")

    await apply(nftables, a_port(_FIRST))

    assert network.connect(80, netns=network.client)[0].split()[1] == _FIRST


async def test_rules_of_others_are_left_alone(nftables: Nftables) -> None:
    run("nft -f -", text="table ip other {\n chain theirs {\n counter accept\n }\n }\n")

    await apply(nftables, a_port(_FIRST))

    assert "table ip other" in run("nft list tables")


async def test_without_nft_the_error_says_so(network: Network) -> None:
    with pytest.raises(DriverError) as refused:
        await apply(Nftables(("no-such-nft",)), a_port(_FIRST))

    assert str(refused.value) == "nft is not installed on this node"


_SLOW_CLIENT = f"""
import socket, sys
connection = socket.create_connection(("{_NODE}", 80), timeout=5)
print(connection.makefile().readline().strip(), flush=True)
sys.stdin.readline()
connection.sendall(b"x")
assert connection.recv(1) == b""
print("closed")
"""
