"""Three hosts with a network of their own each, so that a manager can be cut off and not killed.

Network namespaces on a bridge; `cut` drops packets there. Nothing is left behind.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from tests.contract import namespaces
from tests.contract.manager_processes import SPEC, Host

MESH = replace(SPEC, mesh_network="10.97.0.0/29")
INPUT, OUTPUT = ("input",), ("output",)
BOTH = (*INPUT, *OUTPUT)


@contextmanager
def three_hosts(directory: Path) -> Iterator[list[Host]]:
    """Managers of one cluster on a bridge of their own."""
    namespaces.require("ip", "nft")
    with ExitStack() as stack:
        stack.enter_context(namespaces.own_network())
        namespaces.run("ip link add bridge0 type bridge")
        namespaces.run("ip link set bridge0 up")
        namespaces.run("ip address add 10.97.1.254/24 dev bridge0")
        made = []
        for number in (1, 2, 3):
            name = stack.enter_context(namespaces.host(f"m{number}"))
            _connect(name, number)
            address = f"10.97.1.{number}"
            host = Host(directory, number, spec=MESH, address=address, namespace=name)
            stack.callback(host.kill)
            made.append(host)
        yield made


def _connect(name: str, number: int) -> None:
    """The mesh addresses are given in the order of joining: the first managers' first. They are on
    the hosts alone: the cluster is created beside the bridge, where its network must be free."""
    namespaces.run(f"ip link add port{number} type veth peer name eth0 netns {name}")
    namespaces.run(f"ip link set port{number} master bridge0 up")
    for address in (f"10.97.0.{number}/29", f"10.97.1.{number}/24"):
        namespaces.run(f"ip address add {address} dev eth0", netns=name)
    namespaces.run("ip link set eth0 up", netns=name)


@contextmanager
def cut(host: Host, ways: tuple[str, ...]) -> Iterator[None]:
    """Within, nothing arrives at `host` ("input"), or leaves it ("output")."""
    name = host.namespace
    rules = "table inet cut {\n"
    for way in ways:
        side = "iifname" if way == "input" else "oifname"
        rules += f"chain {way} {{ type filter hook {way} priority -300; {side} eth0 drop; }}\n"
    namespaces.run("nft -f -", netns=name, text=rules + "}\n")
    try:
        yield
    finally:
        namespaces.run("nft delete table inet cut", netns=name)
