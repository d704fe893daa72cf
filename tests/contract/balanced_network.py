"""A node with tasks, a client and another host, for the tests of the balancer.

The node is the test run's own network namespace. Around it: a client on the underlay, two tasks as
CNI's `ptp` connects them, and another host's task behind the mesh. As WireGuard would, the other
host answers only to this node's mesh address and to its tasks.
"""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import IO

from warren.drivers.ports import Balancer, BalancerConfig, HeldPort
from warren.model.assignments import Endpoint, PinnedSources, ServiceTraffic
from warren.model.services import Affinity, Port, PortMode, Protocol

from tests.contract import namespaces
from tests.contract.namespaces import run

TALK = str(Path(__file__).with_name("talk.py"))
NODE, CLIENT = "192.168.9.1", "192.168.9.2"
MESH, GATEWAY = "10.86.0.1", "10.88.1.1"
FIRST, SECOND, REMOTE = "10.88.1.2", "10.88.1.3", "10.88.2.2"
VIP = "10.92.0.1"

CONFIG = BalancerConfig(
    node_id="this",
    vip_network="10.92.0.0/16",
    task_network="10.88.0.0/14",
    mesh_interface="mesh0",
    gateway=GATEWAY,
)
UDP = Protocol.UDP


def a_service(
    *addresses: str,
    name: str = "web",
    vip: str = VIP,
    published: int = 80,
    target: int = 8080,
    protocol: Protocol = Protocol.TCP,
    mode: PortMode = PortMode.MESH,
    affinity: Affinity = Affinity.NONE,
    weights: tuple[int, ...] = (),
    new: tuple[str, ...] = (),
    pin: tuple[str, ...] = (),
) -> ServiceTraffic:
    """A service with a task at each address; those of a new revision, which is on trial, at `new`,
    and pinned networks."""
    return ServiceTraffic(
        name=name,
        vip=vip,
        ports=(Port(target=target, published=published, protocol=protocol, mode=mode),),
        affinity=affinity,
        endpoints=tuple(
            Endpoint(
                address=address,
                task_id=f"{name}-{address}",
                node_id="other" if address == REMOTE else "this",
                slot=slot,
                weight=weights[slot] if weights else 100,
                pinned=bool(pin) and address in new,
            )
            for slot, address in enumerate(addresses)
        ),
        pin=PinnedSources(networks=pin, revision=2) if pin else None,
    )


async def apply(balancer: Balancer, *services: ServiceTraffic) -> tuple[HeldPort, ...]:
    """On the node `this`."""
    return await balancer.apply(CONFIG, {service.name: service for service in services})


class Network:
    """Who is where: the names of the network namespaces around the node."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.client = self._host("client")
        self.first = self._host("task1")
        self.second = self._host("task2")
        self.remote = self._host("remote")

    def connect(
        self, port: int, *, netns: str, address: str = NODE, count: int = 1, verb: str = "connect"
    ) -> list[str]:
        """What a client in `netns` hears; on the node itself when that is empty."""
        command = f"{sys.executable} {TALK} {verb} {address} {port} {count}"
        return run(command, netns=netns).splitlines()

    def start(self, *arguments: str, netns: str) -> subprocess.Popen[str]:
        """A Python program, with pipes to talk with it."""
        inside = ["ip", "netns", "exec", netns] if netns else []
        return subprocess.Popen(
            [*inside, sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def build(self) -> None:
        """Interfaces, addresses, routes and a server in every task."""
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        self._link("under0", self.client)
        run("ip addr add 192.168.9.1/24 dev under0")
        run(f"ip -n {self.client} addr add 192.168.9.2/24 dev peer0")
        for name, netns, address in (
            ("task1", self.first, FIRST),
            ("task2", self.second, SECOND),
        ):
            self._link(name, netns)
            run(f"ip addr add {GATEWAY}/32 dev {name}")
            run(f"ip route add {address}/32 dev {name}")
            run(f"ip -n {netns} addr add {address}/32 dev peer0")
            run(f"ip -n {netns} route add {GATEWAY} dev peer0")
            run(f"ip -n {netns} route add default via {GATEWAY}")
        self._link("mesh0", self.remote)
        run("ip link set mesh0 mtu 1420")
        run(f"ip addr add {MESH}/32 dev mesh0")
        run(f"ip route add 10.88.0.0/14 dev mesh0 src {MESH}")
        run(f"ip -n {self.remote} addr add {REMOTE}/32 dev peer0")
        run(f"ip -n {self.remote} route add {MESH}/32 dev peer0")
        run(f"ip -n {self.remote} route add 10.88.1.0/24 via {MESH} dev peer0")
        for netns in (self.client, self.first, self.second, self.remote):
            self.serve(8080, netns=netns)

    def serve(self, port: int, *, netns: str) -> subprocess.Popen[str]:
        """A server there, until the end or until it is ended."""
        server = self.start(TALK, "serve", str(port), netns=netns)
        self._stack.callback(end, server)
        assert line(server) == "listening"
        return server

    def _host(self, name: str) -> str:
        return self._stack.enter_context(namespaces.host(name))

    def _link(self, name: str, netns: str) -> None:
        run(f"ip link add {name} type veth peer name peer0 netns {netns}")
        run(f"ip link set {name} up")
        run(f"ip -n {netns} link set peer0 up")


def end(process: subprocess.Popen[str]) -> None:
    """Once or twice."""
    if process.poll() is None:
        process.terminate()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
    process.wait()


def line(process: subprocess.Popen[str]) -> str:
    """The next that it prints."""
    return _pipe(process.stdout).readline().strip()


def ask(process: subprocess.Popen[str]) -> str:
    """Its answer to a line."""
    pipe = _pipe(process.stdin)
    pipe.write("?\n")
    pipe.flush()
    return line(process)


def _pipe(pipe: IO[str] | None) -> IO[str]:
    assert pipe is not None
    return pipe
