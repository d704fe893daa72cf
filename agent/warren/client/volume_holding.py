"""Keeping the tasks that have a volume from writing to it, for a while, and putting all back.

By stopping them: their services have no replicas meanwhile, and how many they had is written into
labels of the volume first, so that a run that dies forgets nothing: the next one puts back what it
found. Or by a command in each task before, and another one after. The steps are those of
backup-volume.yml and restore-volume.yml, by the module warren_volume_hold.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING

from warren.client import waits
from warren.model.errors import FailedPrecondition, NotFound, WaitFailed, WarrenError
from warren.model.services import ServiceSpec
from warren.model.units import format_duration
from warren.model.views import ServiceView, VolumeView
from warren.model.volumes import LOCAL

if TYPE_CHECKING:
    from warren.client import Client

LABEL = "warren.replicas-of/"
"""Of a volume, with the name of a service that is held: how many replicas it has otherwise."""
_PAUSE_SECONDS = 0.2
_SAID_MAX = 300


class Quiesce(Enum):
    """How tasks are kept from writing."""

    STOP = "stop"
    EXEC = "exec"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What holding a volume's tasks is about, as it was before it began."""

    view: VolumeView
    services: tuple[ServiceView, ...] = ()
    """Those that use it."""
    replicas: Mapping[str, int] = field(default_factory=dict)
    """Of each of them, when it is not held."""

    @property
    def stopped(self) -> Mapping[str, int]:
        """The services that a stop concerns."""
        return {name: number for name, number in self.replicas.items() if number}


def find(client: "Client", name: str) -> Holding:
    """Look, and change nothing."""
    view = client.get_volume(name)
    services = [client.get_service(service) for service in view.services]
    replicas = {each.service.spec.name: _replicas(each, view) for each in services}
    return Holding(view=view, services=tuple(services), replicas=replicas)


def check(holding: Holding, quiesce: Quiesce, *, exclusive: bool = False) -> None:
    """FailedPrecondition: the volume's tasks cannot be held that way, or not so that none of them
    has it (`exclusive`)."""
    view, volume = holding.view, holding.view.volume
    name = volume.spec.name
    if volume.spec.driver != LOCAL:
        raise FailedPrecondition(
            f"volume {name} has driver {volume.spec.driver}: only those on a node's disk are "
            "backed up and restored; back this one up where its driver keeps it"
        )
    if volume.removing:
        raise FailedPrecondition(f"volume {name} is being removed")
    if quiesce is Quiesce.STOP:
        for service in holding.services:
            _check_stoppable(service, name)
    elif exclusive and view.tasks:
        have = f"{', '.join(view.tasks)} {'has' if len(view.tasks) == 1 else 'have'}"
        raise FailedPrecondition(f"{have} volume {name} now: take quiesce stop, or stop them")
    elif quiesce is Quiesce.EXEC and not view.tasks:
        raise FailedPrecondition(f"volume {name} has no task that a command could be run in")


def stop(client: "Client", holding: Holding, *, timeout: timedelta) -> None:
    """Have no task have the volume. WaitFailed: they did not stop in time."""
    name = holding.view.volume.spec.name
    marks = {f"{LABEL}{service}": str(count) for service, count in holding.stopped.items()}
    _label(client, name, marks)
    for service in holding.stopped:
        _scale(client, service, 0)
    deadline = time.monotonic() + timeout.total_seconds()
    while tasks := client.get_volume(name, usage=False).tasks:
        if time.monotonic() > deadline:
            after = format_duration(timeout)
            raise WaitFailed(f"volume {name}: {', '.join(tasks)} did not stop within {after}")
        time.sleep(_PAUSE_SECONDS)


def start(client: "Client", holding: Holding, *, timeout: timedelta) -> tuple[str, ...]:
    """Put back what `stop` took; answers the services that it was needed for.

    A service that somebody has scaled meanwhile stays so; one that is gone stays gone. WaitFailed:
    they do not run; the volume is no longer marked then.
    """
    started, troubles = [], []
    for service, count in holding.stopped.items():
        try:
            if client.get_service(service).service.spec.replicas == 0:
                _scale(client, service, count)
                started.append(service)
        except NotFound:
            continue
        except WarrenError as error:
            troubles.append(f"{service} could not be given its {count} replicas back: {error}")
    if troubles:
        raise FailedPrecondition("; ".join(troubles))
    _label(client, holding.view.volume.spec.name, {})
    for service in started:
        waits.wait_service(client, service, timeout=timeout)
    return tuple(started)


def run(
    client: "Client", holding: Holding, command: Sequence[str], *, timeout: timedelta
) -> dict[str, str]:
    """Run a command in each task that has the volume; what each printed.

    FailedPrecondition says of which tasks it failed, after it was tried in all.
    """
    said, troubles = {}, []
    for task in holding.view.tasks:
        try:
            done = client.execute(task, command, timeout=timeout)
        except WarrenError as error:
            troubles.append(f"{task}: {error}")
            continue
        said[task] = done.stdout.decode(errors="replace").strip()
        if done.exit_code:
            complaint = done.stderr.decode(errors="replace").strip() or said[task]
            troubles.append(f"{task}: exit code {done.exit_code}: {complaint[-_SAID_MAX:]}")
    if troubles:
        raise FailedPrecondition(f"{' '.join(command)}: {'; '.join(troubles)}")
    return said


def _check_stoppable(view: ServiceView, volume: str) -> None:
    spec = view.service.spec
    if spec.is_global:
        raise FailedPrecondition(
            f"volume {volume} is used by the global service {spec.name}, which cannot be stopped "
            "and stay: take quiesce exec, or remove the service"
        )
    if view.rollout is not None and view.rollout.rollout.live:
        raise FailedPrecondition(
            f"service {spec.name}, which uses volume {volume}, is being rolled out: wait for the "
            "end, or abort it"
        )


def _replicas(service: ServiceView, view: VolumeView) -> int:
    """What it has; if none, what the volume's labels say that it had before a run that died."""
    spec = service.service.spec
    if spec.is_global or spec.replicas:
        return spec.replicas
    marked = view.volume.spec.labels.get(f"{LABEL}{spec.name}", "")
    return int(marked) if marked.isdecimal() else 0


def _label(client: "Client", name: str, marks: Mapping[str, str]) -> None:
    """These are the volume's only marks; its other labels stay."""
    volume = client.get_volume(name, usage=False).volume
    kept = {key: text for key, text in volume.spec.labels.items() if not key.startswith(LABEL)}
    labels = {**kept, **marks}
    if labels != dict(volume.spec.labels):
        spec = replace(volume.spec, labels=labels)
        client.apply_volume(spec, ("labels",), expected_version=volume.version)


def _scale(client: "Client", service: str, replicas: int) -> None:
    spec = ServiceSpec(name=service, image="", replicas=replicas)
    client.apply_service(spec, ("replicas",))
