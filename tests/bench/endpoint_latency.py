"""How soon a change of one endpoint is in every node's kernel, while thousands of services are.

`python -m tests.bench.endpoint_latency [--services 10000] [--changes 200]` as root, in network
namespaces of its own. Three real managers, and beside each a real worker with the real balancer:
its kernel is what is looked at. The tasks are on three more nodes, whose workers only say how they
are (`task_node.py`): one says that a task is not healthy any more, or is again, and the clock runs
until the last of the three kernels has told of its change. Prints one line of JSON per figure.
"""

import argparse
import asyncio
import logging
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

from warren import config as configuration
from warren.api import warren_pb2
from warren.client import Client
from warren.drivers import mesh_key
from warren.drivers.nftables import Nftables
from warren.model.nodes import Availability, NodeRole, NodeSpec
from warren.model.services import Port, ServiceSpec
from warren.testing.fake_mesh import FakeMesh
from warren.testing.fake_network import FakeTaskNetwork
from warren.testing.fake_prober import FakeProber
from warren.testing.fake_runtime import FakeRuntime
from warren.testing.fake_task_files import FakeTaskFiles
from warren.testing.fake_volumes import fake_mount_drivers
from warren.worker import membership, network, traffic
from warren.worker.worker import Drivers, Worker

from tests.bench.balancer import percentiles, tell
from tests.bench.kernels import Kernel, changed
from tests.bench.manager_latency import grow
from tests.bench.task_node import TaskNode
from tests.contract import namespaces
from tests.contract.manager_networks import MESH, three_hosts
from tests.contract.manager_processes import Host, wait_until

REPLICAS = 3
WRITERS = 8
PAUSE = 0.1
"""Seconds between two changes."""
LOADING = 3600.0
TASK_NODES = 3
PORTS = (Port(name="http", target=8080),)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--services", type=int, default=10_000)
    parser.add_argument("--changes", type=int, default=200)
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker is not None:
        asyncio.run(run_worker(options.worker))
        return
    with (
        tempfile.TemporaryDirectory() as name,
        three_hosts(Path(name)) as made,
        ExitStack() as stack,
    ):
        leader = grow(made)
        nodes = [
            stack.enter_context(a_task_node(Path(name), leader, made, number))
            for number in range(1, TASK_NODES + 1)
        ]
        with leader.client() as client:
            settle(client, made)
            load(leader, client, nodes, options.services)
            # Not before: three kernels would follow each of the thousands of changes until here.
            for host in made:
                stack.enter_context(worker_of(host))
            kernels = [Kernel(host.name, host.namespace) for host in made]
            for kernel in kernels:
                stack.callback(kernel.close)
            for host in made:
                wait_until(partial(is_loaded, host, options.services), "rules", LOADING)
            wait_quiet(kernels)
            times = [change(nodes, kernels, number) for number in range(options.changes)]
    tell("an endpoint in every kernel", services=options.services, **percentiles(times))


# ------------------------------------------------------------------ hosts


@contextmanager
def worker_of(host: Host) -> Iterator[None]:
    """A real worker beside the manager of a host."""
    with (host.directory / "worker-log").open("ab") as log:
        process = subprocess.Popen(
            [
                *("ip", "netns", "exec", host.namespace, sys.executable),
                *("-m", "tests.bench.endpoint_latency", "--worker", str(host.directory)),
            ],
            stderr=log,
        )
    try:
        yield
    finally:
        process.terminate()
        process.wait()


async def run_worker(directory: Path) -> None:
    """In a process of its own: everything but the rules is in memory."""
    logging.basicConfig(level=logging.INFO)
    config = configuration.load(directory / "warren.toml")
    config = replace(
        config, dns=False, worker_metrics_address="off", log_dir=directory / "task-logs"
    )
    member = membership.load(config.state_dir / "node.json")
    assert member is not None, "the host has joined"
    mesh = FakeMesh(public_key=mesh_key.public_key(config.mesh_key_path))
    worker = Worker(
        config,
        member,
        Drivers(
            runtime=FakeRuntime(),
            prober=FakeProber(),
            network=network.Drivers(mesh=mesh, task_network=FakeTaskNetwork()),
            traffic=traffic.Drivers(balancer=Nftables()),
            files=FakeTaskFiles(),
            mounts=fake_mount_drivers(directory / "host"),
        ),
    )
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await worker.run(stop)


@contextmanager
def a_task_node(
    directory: Path, leader: Host, managers: Sequence[Host], number: int
) -> Iterator[TaskNode]:
    host = Host(directory, number + 10, spec=MESH, address="10.97.1.254")
    host.node = NodeSpec(name=f"t{number}", roles=(NodeRole.WORKER,))
    with leader.client() as client:
        token = client.create_join_token(NodeRole.WORKER, timedelta(hours=1)).token
    host.join(token, leader)
    node = TaskNode(host, managers, number)
    try:
        yield node
    finally:
        node.close()


def settle(client: Client, made: list[Host]) -> None:
    """Tasks go to the nodes that are made for them."""
    for host in made:
        spec = NodeSpec(name=host.name, availability=Availability.DRAIN)
        client.apply_node(host.name, spec, ("availability",))


# ------------------------------------------------------------------ load


def load(leader: Host, client: Client, nodes: list[TaskNode], count: int) -> None:
    """Create the services, and wait until every task runs."""
    began = time.perf_counter()
    with ThreadPoolExecutor(WRITERS) as pool:
        list(pool.map(partial(_create, leader), range(WRITERS), [count] * WRITERS))
    tell("services created", services=count, seconds=time.perf_counter() - began)

    def loaded() -> bool:
        return sum(len(node.running) for node in nodes) == REPLICAS * count

    wait_until(loaded, "all tasks have a node", LOADING)
    last = f"service-{count - 1}"
    wait_until(lambda: client.get_service(last).status.converged, "all tasks run", LOADING)
    tell("all tasks run", tasks=REPLICAS * count, seconds=time.perf_counter() - began)


def _create(leader: Host, first: int, count: int) -> None:
    with leader.client(timeout=60.0) as client:
        for number in range(first, count, WRITERS):
            spec = ServiceSpec(
                name=f"service-{number}",
                image="example/web:1",
                replicas=REPLICAS,
                ports=PORTS,
            )
            client.apply_service(spec, ("image", "replicas", "ports"))


def is_loaded(host: Host, services: int) -> bool:
    """Its kernel serves all of them."""
    printed, code = namespaces.attempt("nft list set ip warren served", netns=host.namespace)
    return code == 0 and printed.count(" . tcp . ") == services


def wait_quiet(kernels: list[Kernel]) -> None:
    """Until no kernel has told of a change for a while: the load has arrived."""
    while select.select(kernels, [], [], 3.0)[0]:
        for kernel in kernels:
            kernel.forget()


# ------------------------------------------------------------------ changes


def change(nodes: list[TaskNode], kernels: list[Kernel], number: int) -> float:
    """Take a task out of traffic, or bring the last one back; milliseconds until all know."""
    time.sleep(PAUSE)
    for kernel in kernels:
        kernel.forget()
    node = nodes[number // 2 % len(nodes)]
    task_ids = list(node.running)
    task_id = task_ids[number // 2 * 7919 % len(task_ids)]
    health = warren_pb2.HEALTH_NONE if number % 2 else warren_pb2.HEALTH_UNHEALTHY
    began = time.perf_counter()
    node.say(task_id, health)
    changed(kernels, task_id)
    return (time.perf_counter() - began) * 1000


if __name__ == "__main__":
    main()
