"""Hosts of a mesh for tests: network namespaces on one bridge, each with its own wireguard-go."""

import os
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

from warren.drivers.wireguard import WireGuard
from warren.model.assignments import Peer

from tests.contract import namespaces
from tests.contract.namespaces import run
from tests.contract.peers import a_config, a_peer

_SOCKETS = Path("/var/run/wireguard")


def make_bridge() -> None:
    """Of all hosts, in the network namespace of the caller."""
    run("ip link add bridge0 type bridge")
    run("ip link set bridge0 up")


class Host:
    """One host on the underlay: number N has 192.168.9.N, and the interface `wt<N>-<pid>`."""

    def __init__(self, number: int, stack: ExitStack, directory: Path) -> None:
        self.number = number
        self.interface = f"wt{number}-{os.getpid()}"
        self.netns = stack.enter_context(namespaces.host(f"mesh{number}"))
        run(f"ip link add under{number} type veth peer name under0 netns {self.netns}")
        run(f"ip link set under{number} master bridge0 up")
        run(f"ip -n {self.netns} addr add 192.168.9.{number}/24 dev under0")
        run(f"ip -n {self.netns} link set under0 up")
        self._process: subprocess.Popen[bytes] | None = None
        self.start_device()
        stack.callback(self.stop_device)
        self.mesh = WireGuard(
            self.interface,
            userspace=True,
            key_path=directory / f"mesh{number}.key",
            underlay_address=f"192.168.9.{number}",
        )

    def start_device(self) -> None:
        """As warren-wireguard.service does."""
        self._process = subprocess.Popen(
            ["ip", "netns", "exec", self.netns, "wireguard-go", "-f", self.interface],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(200):
            if (_SOCKETS / f"{self.interface}.sock").exists():
                return
            time.sleep(0.02)  # another program's start: nothing to wait on but its socket
        raise AssertionError("wireguard-go did not start")

    def stop_device(self) -> None:
        """Interface, addresses and routes go with it."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait()
        (_SOCKETS / f"{self.interface}.sock").unlink(missing_ok=True)

    def kill_device(self) -> None:
        """Without a chance to clean up."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        (_SOCKETS / f"{self.interface}.sock").unlink(missing_ok=True)

    def ip(self, command: str) -> list[str]:
        """Lines that `ip` prints on this host."""
        return [line.strip() for line in run(f"ip -n {self.netns} {command}").splitlines()]


async def connect(first: Host, second: Host) -> None:
    """Make them peers of each other, with a handshake done."""
    for host, other in ((first, second), (second, first)):
        with namespaces.entered(host.netns):
            await host.mesh.apply(a_config(await peer_of(other), number=host.number))
    run("ping -c 1 -W 5 10.86.0.2", netns=first.netns)


async def peer_of(host: Host) -> Peer:
    """How others know a host."""
    return a_peer(host.number, key=await host.mesh.public_key())


def start(host: Host, command: str) -> subprocess.Popen[str]:
    """A program on the host, while the test goes on."""
    arguments = ["ip", "netns", "exec", host.netns, *command.split()]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
