"""What the mesh costs beside bare wireguard-go: `python -m tests.bench.mesh [--seconds 5]`.

Two hosts are network namespaces on one bridge. The same two processes carry both, in turns: as the
`wg` tool sets them up, and as our driver does, which looks after them every second meanwhile. Needs
root, wireguard-go, wireguard-tools and iperf3.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from warren.drivers import mesh_key

from tests.contract import mesh_hosts, namespaces
from tests.contract.mesh_hosts import Host, peer_of
from tests.contract.namespaces import run
from tests.contract.peers import a_config

TARGET = 0.95


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    namespaces.require("wireguard-go", "wg", "iperf3")
    bare, ours = [], []
    for _ in range(options.rounds):
        bare.append(measure(options.seconds, ours=False))
        ours.append(measure(options.seconds, ours=True))
        print(f"bare {bare[-1]:6.3f}  mesh {ours[-1]:6.3f} Gbit/s", flush=True)
    one, other = statistics.median(bare), statistics.median(ours)
    verdict = "met" if other >= TARGET * one else "MISSED"
    print(
        f"mesh throughput {other:.3f} Gbit/s, {other / one:.1%} of bare wireguard-go "
        f"({one:.3f}); target {TARGET:.0%}: {verdict}"
    )


def measure(seconds: int, *, ours: bool) -> float:
    """Gbit/s from the first host to the second, over one connection."""
    with tempfile.TemporaryDirectory() as name, namespaces.own_network(), ExitStack() as stack:
        mesh_hosts.make_bridge()
        first, second = (Host(number, stack, Path(name)) for number in (1, 2))
        if ours:
            asyncio.run(mesh_hosts.connect(first, second))
            stack.enter_context(looked_after(first, second))
        else:
            connect_bare(first, second, Path(name))
        server = ["ip", "netns", "exec", second.netns, "iperf3", "-s", "-1", "--forceflush"]
        process = subprocess.Popen(server, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        while "listening" not in process.stdout.readline():
            pass
        said = run(f"iperf3 -c 10.86.0.2 -t {seconds} -J", netns=first.netns)
        process.communicate()
    return float(json.loads(said)["end"]["sum_received"]["bits_per_second"]) / 1e9


def connect_bare(first: Host, second: Host, directory: Path) -> None:
    """As a person does with `wg` and `ip`."""
    for host, other in ((first, second), (second, first)):
        key = directory / f"mesh{host.number}.key"
        other_key = directory / f"mesh{other.number}.key"
        mesh_key.load_or_create(key)
        run(
            f"wg set {host.interface} private-key {key} listen-port 51820 "
            f"peer {mesh_key.public_key(other_key)} endpoint 192.168.9.{other.number}:51820 "
            f"allowed-ips 10.86.0.{other.number}/32 persistent-keepalive 25"
        )
        run(f"ip -n {host.netns} addr add 10.86.0.{host.number}/16 dev {host.interface}")
        run(f"ip -n {host.netns} link set {host.interface} mtu 1420 up")
    run("ping -c 1 -W 5 10.86.0.2", netns=first.netns)


@contextmanager
def looked_after(first: Host, second: Host) -> Iterator[None]:
    """Within, another thread applies the configuration of the first host again every second."""
    stop = threading.Event()

    async def look() -> None:
        config = a_config(await peer_of(second))
        while not stop.wait(1):
            await first.mesh.apply(config)

    def in_its_network() -> None:
        with namespaces.entered(first.netns):
            asyncio.run(look())

    thread = threading.Thread(target=in_its_network)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


if __name__ == "__main__":
    main()
