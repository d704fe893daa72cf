"""Backup archives: a cluster's whole state in an archive (archives.py).

The state inside is a `warren.v1.ClusterState`, the cluster's keys with it. The head says what it is
of, and can be read without the passphrase.
"""

from collections.abc import Iterable, Iterator
from typing import BinaryIO

from google.protobuf.message import DecodeError

from warren.api import convert, warren_pb2
from warren.model.errors import InvalidInput
from warren.model.services import Secret
from warren.model.views import BackupHead
from warren.state.cluster import ClusterState
from warren.store import archives, passphrases
from warren.store.passphrases import Cost

KIND = archives.Kind(magic=b"warren-backup\n", noun="a backup of Warren")


def write(
    head: BackupHead,
    pieces: Iterable[bytes],
    passphrase: Secret,
    *,
    chance: bytes,
    cost: Cost = passphrases.USUAL,
) -> Iterator[bytes]:
    """The archive, in parts as they come. `chance` is `archives.CHANCE_BYTES` random bytes."""
    raw = convert.to_message(head).SerializeToString(deterministic=True)
    seal = archives.new_seal(KIND, raw, passphrase, chance=chance, cost=cost)
    return archives.write(seal, pieces)


class Archive:
    """A backup in a file that can be sought in."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        """Reads the head. InvalidInput when this is no backup, or one of a newer format."""
        self._archive = archives.Archive(file, name, KIND)
        try:
            message = warren_pb2.BackupHead.FromString(self._archive.head)
            self.head = convert.from_message(message, BackupHead)
        except (DecodeError, InvalidInput):
            raise self._archive.damaged() from None

    def check(self) -> str:
        """Compare the checksum; answers it in hexadecimal. InvalidInput: cut off, or damaged."""
        return self._archive.check()

    def pieces(self, passphrase: Secret) -> Iterator[bytes]:
        """The state in pieces. Call `check` before: it tells damage from a wrong passphrase."""
        return self._archive.pieces(passphrase)

    def state(self, passphrase: Secret) -> ClusterState:
        """The whole state. Call `check` before, as for `pieces`."""
        data = b"".join(self.pieces(passphrase))
        try:
            message = warren_pb2.ClusterState.FromString(data)
        except DecodeError:
            raise self._archive.refusal("holds no cluster's state") from None
        state = convert.from_message(message, ClusterState)
        if state.cluster is None or state.cluster.id != self.head.cluster_id:
            raise self._archive.refusal("holds no cluster's state")
        return state
