"""Members of a real log over loopback: certificates, addresses, a state machine that keeps all."""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from warren.bootstrap import certificates
from warren.bootstrap.certificates import Authority
from warren.store.raft.compaction import Limits
from warren.store.raft.engine import RaftConfig, RaftLog
from warren.store.raft.raft_state import Timing
from warren.store.raft.tls import TlsFiles
from warren.store.raft.transport import Contact

CLUSTER = "cluster1"
PORT = 21545


@dataclass(frozen=True, slots=True)
class Pki:
    """A cluster's CA and where the nodes' files are."""

    directory: Path
    authority: Authority

    def files(self, node_id: str, *, roles: tuple[str, ...] = ("manager",)) -> TlsFiles:
        """Certificate and key of a node; made at the first call."""
        home = self.directory / node_id
        files = TlsFiles(ca=home / "ca.crt", certificate=home / "node.crt", key=home / "node.key")
        if not home.exists():
            home.mkdir(parents=True)
            key = certificates.new_key()
            certificate = certificates.sign_node(
                self.authority,
                certificates.signing_request(key, node_id),
                node_id=node_id,
                name=node_id,
                roles=roles,
                now=datetime.now(UTC),
            )
            files.ca.write_text(self.authority.certificate)
            files.certificate.write_text(certificate)
            files.key.write_text(key)
        return files


def a_pki(directory: Path, cluster_id: str = CLUSTER) -> Pki:
    """A new CA."""
    authority = certificates.create_authority(cluster_id, "lab", datetime.now(UTC))
    return Pki(directory, authority)


def node_id(number: int) -> str:
    """`n1` and so on."""
    return f"n{number}"


def address(number: int, port: int = PORT) -> str:
    """On a loopback address of its own."""
    return f"127.0.0.{number}:{port}"


def a_config(
    directory: Path,
    number: int,
    pki: Pki,
    *,
    port: int = PORT,
    limits: Limits | None = None,
    timing: Timing | None = None,
) -> RaftConfig:
    """Member 1 founds the cluster; the others call it first."""
    return RaftConfig(
        directory=directory / node_id(number),
        cluster_id=CLUSTER,
        node_id=node_id(number),
        address=address(number, port),
        tls=pki.files(node_id(number)),
        contacts=(Contact(node_id=node_id(1), address=address(1, port)),),
        bootstrap=number == 1,
        limits=limits or Limits(),
        timing=timing or Timing(),
    )


async def stop_all(logs: Iterable[RaftLog]) -> None:
    """Those that still run, also after a test that failed: the next one has the same addresses."""
    for log in logs:
        if log._thread is not None:
            await log.stop()


class Keeper:
    """A state machine that keeps what it is given. Made in the event loop, for which it waits."""

    def __init__(self) -> None:
        self.commands: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()

    async def wait(self, commands: list[bytes]) -> None:
        """Until exactly these were applied."""
        async with asyncio.timeout(20):
            while self.commands != commands:
                self._changed.clear()
                await self._changed.wait()

    def apply(self, command: bytes) -> bytes:
        self.commands.append(command)
        self._loop.call_soon_threadsafe(self._changed.set)
        return b"%d:%s" % (len(self.commands), command)

    def snapshot(self) -> Iterator[bytes]:
        return iter([b"\n".join(self.commands)])

    def restore(self, snapshot: bytes) -> None:
        self.commands = snapshot.split(b"\n") if snapshot else []
        self._loop.call_soon_threadsafe(self._changed.set)
