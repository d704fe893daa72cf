"""Filters for the sake of mounts: which nodes can give a task its volumes and paths.

Part of `filters.py`. The law of volumes is in `state/mounts.py`; `apply` refuses what these let
pass.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol as TypingProtocol

from warren.core.filter_texts import counted
from warren.model.nodes import Node
from warren.model.services import TaskTemplate
from warren.model.volumes import LOCAL, MountKind
from warren.state import mounts
from warren.state.cluster import ClusterState
from warren.state.mounts import Tie


class Usage(TypingProtocol):
    """The part of `filters.NodeUsage` that is asked here."""

    @property
    def node(self) -> Node: ...
    @property
    def writers(self) -> Mapping[str, int]: ...


@dataclass(frozen=True, slots=True)
class Tied:
    """The node is the one that a volume is on."""

    tie: Tie

    def passes(self, usage: Usage) -> bool:
        return usage.node.id == self.tie.node_id

    def explain(self, count: int, total: int) -> str:
        lacks = f"volume {self.tie.volume}, which is on {self.tie.node_name}"
        part = (f"does not have {lacks}", f"do not have {lacks}")
        return counted(count, total, f"no node has {lacks}", part)


@dataclass(frozen=True, slots=True)
class HasDriver:
    """The node has the driver of a volume."""

    driver: str

    def passes(self, usage: Usage) -> bool:
        return self.driver in usage.node.description.volume_drivers

    def explain(self, count: int, total: int) -> str:
        lacks = f"volume driver {self.driver}"
        part = (f"does not have {lacks}", f"do not have {lacks}")
        return counted(count, total, f"no node has {lacks}", part)


@dataclass(frozen=True, slots=True)
class AllowsBind:
    """The node's owner lets tasks mount the path."""

    path: str

    def passes(self, usage: Usage) -> bool:
        return is_below(self.path, usage.node.description.bind_paths)

    def explain(self, count: int, total: int) -> str:
        what = f"let tasks mount {self.path}"
        part = (f"does not {what} (bind_paths)", f"do not {what} (bind_paths)")
        return counted(count, total, f"no node lets tasks mount {self.path} (bind_paths)", part)


@dataclass(frozen=True, slots=True)
class NotWritten:
    """No task in the whole cluster writes to the volume, which is not shared."""

    volume: str

    def passes(self, usage: Usage) -> bool:
        return not usage.writers.get(self.volume)

    def explain(self, count: int, total: int) -> str:
        part = f"waits for the writer of volume {self.volume} to end"
        return counted(
            count, total, f"volume {self.volume} is written by another task", (part, part)
        )


def is_below(path: str, allowed: Iterable[str]) -> bool:
    """The path is one of these, or inside of one."""
    return any(f"{path}/".startswith(f"{each.rstrip('/')}/") for each in allowed)


def of_place(
    state: ClusterState, template: TaskTemplate
) -> tuple[Tied | HasDriver | AllowsBind, ...]:
    """What a node must be and have, whatever runs on it."""
    if not template.mounts:
        return ()
    names = dict.fromkeys([LOCAL])  # an agent that has not even this knows no mounts at all
    for mount in mounts.of_volumes(template):
        volume = state.volumes.get(mount.source)
        if volume is not None:
            names[volume.spec.driver] = None
    ties = dict.fromkeys(mounts.ties(state, template))
    binds = (mount.source for mount in template.mounts if mount.type is MountKind.BIND)
    return (
        *(Tied(tie) for tie in ties),
        *(HasDriver(name) for name in names),
        *(AllowsBind(path) for path in dict.fromkeys(binds)),
    )


def of_writer(state: ClusterState, template: TaskTemplate) -> tuple[NotWritten, ...]:
    """What tasks forbid to each other."""
    if not template.mounts:
        return ()
    return tuple(
        NotWritten(name)
        for name in sorted(mounts.written(template))
        if (volume := state.volumes.get(name)) is not None and not volume.spec.shared
    )


def explain_tied(tied: Tied, others: str | None) -> str:
    """Why no node takes a task that can only be on one; `others` is what that node lacks, None: it
    is not in the cluster."""
    tie = tied.tie
    help_ = f"if it does not come back, warren volume release {tie.volume} gives it up"
    if tie.lost_writer:
        what = f"volume {tie.volume} was last written by {tie.lost_writer} on {tie.node_name}"
    else:
        what = f"volume {tie.volume} is on {tie.node_name}"
    if others is None:
        return f"{what}, which has left the cluster: {help_}"
    return f"{what}, which {others}" + (f": {help_}" if "is not ready" in others else "")
