"""Backups of volumes: the content of one directory in an archive (archives.py).

The content is what GNU tar makes of the directory, compressed by gzip. The head is the manifest,
and can be read without the passphrase. The node that has the volume writes the archive, and reads
it; the passphrase stays on the control node, which hands out the seal.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO

from google.protobuf.message import DecodeError

from warren.model.services import Secret
from warren.store import archives, backup_pb2

KIND = archives.Kind(magic=b"warren-volume\n", noun="a volume's backup of Warren")


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeHead:
    """What a volume's backup is of."""

    cluster: str
    """The cluster's name."""
    cluster_id: str
    volume: str
    node: str
    """Name of the node that had it."""
    services: tuple[str, ...]
    """Those that referred to it."""
    created_at: datetime
    quiesce: str
    """How its tasks were kept from writing: stop, exec or none."""
    warren: str
    """Version of the control node's Warren."""


def new_seal(head: VolumeHead, passphrase: Secret, *, chance: bytes) -> archives.Seal:
    """For one backup. `chance` is `archives.CHANCE_BYTES` random bytes."""
    message = backup_pb2.VolumeHead(
        cluster=head.cluster,
        cluster_id=head.cluster_id,
        volume=head.volume,
        node=head.node,
        services=head.services,
        created_at_unix=int(head.created_at.timestamp()),
        quiesce=head.quiesce,
        warren=head.warren,
    )
    raw = message.SerializeToString(deterministic=True)
    return archives.new_seal(KIND, raw, passphrase, chance=chance)


class Archive(archives.Archive):
    """A volume's backup in a file."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        """Reads the head. InvalidInput when this is no such backup, or one of a newer format."""
        super().__init__(file, name, KIND)
        try:
            message = backup_pb2.VolumeHead.FromString(self.head)
        except DecodeError:
            raise self.damaged() from None
        self.volume_head = VolumeHead(
            cluster=message.cluster,
            cluster_id=message.cluster_id,
            volume=message.volume,
            node=message.node,
            services=tuple(message.services),
            created_at=datetime.fromtimestamp(message.created_at_unix, UTC),
            quiesce=message.quiesce,
            warren=message.warren,
        )
