"""Does a layout of the balancer's table do on this host what it says? Tried before it is used.

What the kernel and its nft accept and do differs between versions. So a small table is loaded into
a network namespace of its own, where connections are made through it; the host's own rules and
interfaces are out of reach. That takes a process of its own, too: `python -m` this module.
"""

import ctypes
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from warren.drivers import nftables_text
from warren.drivers.balancer_plan import Plan
from warren.drivers.commands import run
from warren.drivers.nftables_chains import Chains
from warren.drivers.nftables_ranges import Ranges
from warren.drivers.nftables_text import Layout
from warren.drivers.ports import BalancerConfig
from warren.model.assignments import Endpoint, PinnedSources, ServiceTraffic
from warren.model.errors import DriverError
from warren.model.services import Affinity, Port

LAYOUTS: Mapping[str, Callable[[], Layout]] = {"ranges": Ranges, "chains": Chains}
"""By preference."""

_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_NO_NAMESPACE = 3
_CONFIG = BalancerConfig(
    node_id="this",
    vip_network="10.92.0.0/16",
    task_network="10.88.0.0/14",
    mesh_interface="warren0",
    gateway="10.88.1.1",
)
_PATIENCE = 10
"""Seconds; a host that is busy just now is not one that cannot balance."""
_FIRST, _SECOND = "10.88.1.2", "10.88.1.3"


async def attempt(layout: str, command: Sequence[str] = ("nft",)) -> str:
    """What is wrong with the layout on this host; empty: nothing."""
    module = (sys.executable, "-m", "warren.drivers.balancer_trial", layout, *command)
    code, _, complaint = await run(module)
    if code != _NO_NAMESPACE:
        return complaint if code else ""
    # A host that lets nobody make namespaces: what its nft says of the text must do.
    text = nftables_text.rules(_CONFIG, LAYOUTS[layout]()).text
    code, _, complaint = await run((*command, "-c", "-f", "-"), text)
    return complaint if code else ""


def main() -> None:
    """In the process of its own."""
    if not _leave_network():
        sys.exit(_NO_NAMESPACE)
    try:
        _try(LAYOUTS[sys.argv[1]](), sys.argv[2:])
    except (DriverError, OSError, subprocess.SubprocessError) as error:
        sys.exit(str(error))


def _try(layout: Layout, command: Sequence[str]) -> None:
    answers = {address: _serve(address) for address in (_FIRST, _SECOND)}
    plan = Plan("this")
    changes = plan.change(_services(_FIRST, _SECOND), frozenset())
    rules = nftables_text.rules(_CONFIG, layout)
    first = nftables_text.change(layout, changes, contents=rules.contents, marks=("", "::1"))
    _load(command, rules.text + first)
    heard = {_ask("10.92.0.1") for _ in range(64)}
    _expect("connections by weight reached", heard, set(answers))
    heard = {_ask("10.92.0.2") for _ in range(8)}
    if len(heard) != 1:
        raise DriverError(f"connections of one client reached {', '.join(sorted(heard))}")
    _expect("connections of a pinned client reached", {_ask("10.92.0.4")}, {_SECOND})
    heard = {_ask("10.92.0.4", source=_FIRST) for _ in range(8)}
    _expect("connections of another client reached", heard, {_FIRST})
    _expect("an address with nobody behind it gave", {_ask("10.92.0.3")}, {"refused"})
    changes = plan.change(_services(_SECOND), frozenset())
    second = nftables_text.change(layout, changes, contents=rules.contents, marks=("::1", "::2"))
    _load(command, second)
    for address in ("10.92.0.1", "10.92.0.2", "10.92.0.4"):
        heard = {_ask(address) for _ in range(16)}
        _expect("connections after a change reached", heard, {_SECOND})


def _leave_network() -> bool:
    """Into one that has only our addresses. Within a user namespace, because the agent may do
    little outside; False if this host lets nobody."""
    user, group = os.geteuid(), os.getegid()
    if ctypes.CDLL(None).unshare(_CLONE_NEWUSER | _CLONE_NEWNET) != 0:
        return False
    try:
        for file, mapping in (
            ("setgroups", "deny"),
            ("uid_map", f"0 {user} 1"),
            ("gid_map", f"0 {group} 1"),
        ):
            Path(f"/proc/self/{file}").write_text(mapping)
        _build_network()
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def _services(*addresses: str) -> dict[str, ServiceTraffic]:
    endpoints = tuple(
        Endpoint(address=address, task_id=address, node_id="this", slot=slot)
        for slot, address in enumerate(addresses)
    )
    ports = (Port(target=80),)
    return {
        "chance": ServiceTraffic(name="chance", vip="10.92.0.1", ports=ports, endpoints=endpoints),
        "source": ServiceTraffic(
            name="source",
            vip="10.92.0.2",
            ports=ports,
            endpoints=endpoints,
            affinity=Affinity.SOURCE,
        ),
        "nobody": ServiceTraffic(name="nobody", vip="10.92.0.3", ports=ports),
        "pinned": ServiceTraffic(
            name="pinned",
            vip="10.92.0.4",
            ports=ports,
            endpoints=tuple(
                replace(each, pinned=True, weight=0) if each.address == _SECOND else each
                for each in endpoints
            ),
            pin=PinnedSources(networks=(f"{_CONFIG.gateway}/32", "192.0.2.0/24"), revision=2),
        ),
    }


def _build_network() -> None:
    for arguments in (
        "link set lo up",
        *(f"addr add {address}/32 dev lo" for address in (_CONFIG.gateway, _FIRST, _SECOND)),
        f"route add {_CONFIG.vip_network} dev lo src {_CONFIG.gateway}",
    ):
        subprocess.run(["ip", *arguments.split()], check=True, timeout=10)


def _serve(address: str) -> threading.Thread:
    """Tells who connects which address has answered."""
    listener = socket.create_server((address, 80), backlog=128)

    def answer() -> None:
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(address.encode())

    thread = threading.Thread(target=answer, daemon=True)
    thread.start()
    return thread


def _ask(address: str, *, source: str = "") -> str:
    try:
        with socket.create_connection((address, 80), _PATIENCE, (source, 0)) as connection:
            return connection.recv(64).decode()
    except ConnectionRefusedError:
        return "refused"
    except TimeoutError:
        return "silence"


def _load(command: Sequence[str], text: str) -> None:
    loaded = subprocess.run(
        [*command, "-f", "-"], input=text, capture_output=True, text=True, check=False, timeout=20
    )
    if loaded.returncode:
        raise DriverError(next(iter(loaded.stderr.splitlines()), f"exit code {loaded.returncode}"))


def _expect(what: str, heard: set[str], expected: set[str]) -> None:
    if heard != expected:
        raise DriverError(
            f"{what} {', '.join(sorted(heard))} instead of {', '.join(sorted(expected))}"
        )


if __name__ == "__main__":
    os.nice(5)
    main()
