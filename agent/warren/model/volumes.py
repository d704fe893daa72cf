"""Volumes: directories that outlive tasks; and mounts, by which tasks have them.

A `VolumeSpec` is written by users alone. Where a volume is, the replicated state says: a local one
stays on the node of its first use, until a user releases it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Annotated

from warren.model.constraints import DNS_LABEL, Pattern, Range
from warren.model.units import Bytes

LOCAL = "local"
"""The driver of directories on the disk of one node. What any other gives, all nodes that have the
driver can reach."""
NFS = "nfs"
_ID_MAX = 2**31 - 1
_MODE = r"[01]?[0-7]{3}"


class MountKind(Enum):
    """What stands behind a mount: a volume of the cluster, a path of the node, or memory."""

    VOLUME = "volume"
    BIND = "bind"
    TMPFS = "tmpfs"


@dataclass(frozen=True, slots=True, kw_only=True)
class MountSpec:
    """A directory in the containers of a service's tasks."""

    type: MountKind = MountKind.VOLUME
    source: str = ""
    """Name of the volume, or path on the node; a tmpfs has none."""
    target: str
    """Whole path in the container."""
    read_only: bool = False
    size: Bytes = Bytes(0)
    """Most that a tmpfs holds; 0: half of the node's memory, as the kernel has it."""
    mode: Annotated[str, Pattern(rf"({_MODE})?", 'a file mode in quotes, such as "1777"')] = ""
    """Of a tmpfs; empty: 1777."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeSpec:
    """A volume as its user declares it. Only `labels` and `shared` change; `node` is changed by a
    release."""

    name: Annotated[str, DNS_LABEL]
    driver: Annotated[str, DNS_LABEL] = LOCAL
    options: Mapping[str, str] = field(default_factory=dict)
    """Of the driver."""
    node: str = ""
    """Name of the node that a local volume shall be on; empty: that of its first use."""
    uid: Annotated[int, Range(0, _ID_MAX)] = 0
    """Owner of a local volume's directory, when it is made."""
    gid: Annotated[int, Range(0, _ID_MAX)] = 0
    mode: Annotated[str, Pattern(_MODE, 'a file mode in quotes, such as "0755"')] = "0755"
    shared: bool = False
    """More than one task at a time may write to it."""
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A volume as it is stored. `spec` by users, all else by the replicated state's `apply`."""

    spec: VolumeSpec
    id: str
    """Part of the name of its directory, and another after a release: what was written before is
    never taken for what comes after it."""
    version: int
    """Log index of the last change by a user: what `expected_version` is compared with."""
    created_at: datetime
    updated_at: datetime
    node_id: str = ""
    """Of the node that it is on; of one that is on no node, where it was written last, unless it is
    shared. Empty: it was not used yet."""
    node_name: str = ""
    """Name of that node, which may have left the cluster."""
    removing: bool = False
    """Its data is being deleted."""

    @property
    def is_local(self) -> bool:
        """It is a directory of one node."""
        return self.spec.driver == LOCAL

    @property
    def directory(self) -> str:
        """Name of a directory of its own."""
        return f"{self.spec.name}.{self.id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeUsage:
    """A volume on a node, as its worker measured it. Never stored."""

    name: str
    id: str
    path: str
    """On the node."""
    size: int
    """In bytes, as the disk has them."""
