"""Real `warren-manager` processes on loopback addresses, for tests of what only they can show.

The mesh network is a piece of 127/8, so managers find each other's Raft addresses without a mesh.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from warren.bootstrap import create, join
from warren.client import Client
from warren.client.connection import Connection
from warren.config import Config
from warren.drivers import mesh_key
from warren.model.clusters import ClusterSpec
from warren.model.errors import WarrenError
from warren.model.nodes import NodeRole, NodeSpec
from warren.model.views import ClusterView

T = TypeVar("T")

DEADLINE = 30.0
SPEC = ClusterSpec(
    name="demo",
    mesh_network="127.0.0.0/29",
    api_port=21443,
    join_port=21444,
    raft_port=21445,
)


class Host:
    """A host on which a manager may run: `number` from 1."""

    def __init__(
        self,
        directory: Path,
        number: int,
        *,
        spec: ClusterSpec = SPEC,
        address: str = "",
        namespace: str = "",
    ) -> None:
        """`namespace`: of the network that the manager is started in, if not in this one."""
        self.name = f"m{number}"
        self.address = address or f"127.0.1.{number}"
        self.spec = spec
        self.namespace = namespace
        self.directory = directory / self.name
        self.directory.mkdir()
        self.config = Config(
            state_dir=self.directory / "state",
            run_dir=self.directory / "run",
            advertise_address=self.address,
            listen_address=self.address,
        )
        self.node = NodeSpec(name=self.name, roles=(NodeRole.MANAGER, NodeRole.WORKER))
        self.process: subprocess.Popen[bytes] | None = None
        (self.directory / "warren.toml").write_text(
            "".join(
                f'{key} = "{getattr(self.config, key)}"\n'
                for key in ("state_dir", "run_dir", "advertise_address", "listen_address")
            )
        )

    @property
    def log(self) -> str:
        """What the manager wrote to standard error, over all of its runs."""
        return (self.directory / "log").read_text()

    def create(self) -> None:
        """Create a cluster here."""
        create.create_cluster(
            self.config, self.spec, self.node, mesh_key.public_key(self.config.mesh_key_path)
        )

    def join(self, token: str, *others: "Host") -> None:
        """Join through any of `others`."""
        endpoints = [f"{other.address}:{self.spec.join_port}" for other in others]
        join.join(self.config, token, endpoints, self.node)

    def start(self, **variables: str) -> None:
        """Start the manager, with these in its environment; it may not serve yet."""
        # The client of this process silences gRPC for itself, not for managers.
        inherited = {k: v for k, v in os.environ.items() if k != "GRPC_VERBOSITY"}
        environment = {**inherited, **variables}
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(("ip", "netns", "exec", self.namespace) if self.namespace else ()),
                    sys.executable,
                    "-c",
                    "from warren.manager.main import main; main()",
                    "--config",
                    str(self.directory / "warren.toml"),
                ],
                env=environment,
                stderr=log,
            )

    def kill(self) -> None:
        """As a power cut would, but for what the kernel has."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.process = None

    def terminate(self) -> int:
        """As systemd would; answers the exit status."""
        assert self.process is not None
        self.process.terminate()
        status = self.process.wait(timeout=DEADLINE)
        self.process = None
        return status

    @contextmanager
    def client(self, timeout: float = 10.0) -> Iterator[Client]:
        """A client on the host's unix socket."""
        connection = Connection(
            endpoints=(f"unix:{self.config.socket_path}",), credentials=None, source="test"
        )
        with Client(connection, timeout=timeout) as client:
            yield client

    def cluster(self) -> ClusterView | None:
        """What this manager answers now; None if it has no answer."""
        try:
            with self.client(timeout=3.0) as client:
                return client.get_cluster()
        except WarrenError:
            return None


def wait_until(condition: Callable[[], T | None], what: str, deadline: float = DEADLINE) -> T:
    """The first true answer of `condition`; AssertionError says `what` did not come true."""
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        answer = condition()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError(f"not within {deadline:g} s: {what}")


def manager_token(host: Host) -> str:
    """A new join token for managers."""
    with host.client() as client:
        return client.create_join_token(NodeRole.MANAGER, timedelta(hours=1)).token


@contextmanager
def hosts(directory: Path, count: int, *, spec: ClusterSpec = SPEC) -> Iterator[list[Host]]:
    """Hosts without a cluster; their managers are killed at the end."""
    made = [Host(directory, number, spec=spec) for number in range(1, count + 1)]
    try:
        yield made
    finally:
        for host in made:
            host.kill()


def form(made: list[Host]) -> Host:
    """Make a cluster of them; answers the first, which created it."""
    first, *others = made
    first.create()
    first.start()
    wait_until(first.cluster, "m1 serves")
    token = manager_token(first)
    for host in others:
        host.join(token, first)
        host.start()
    return first


def members(view: ClusterView | None) -> list[str]:
    """Names of the managers that the answering one can reach through Raft."""
    return [] if view is None else [m.node.spec.name for m in view.managers if m.reachable]
