"""Whole clusters whose services write to volumes: nothing ever writes beside another, and all is
well in the end."""

from collections.abc import Callable
from dataclasses import replace
from random import Random

from warren.model.nodes import Node
from warren.model.services import MountSpec, Service, ServiceSpec
from warren.model.volumes import VolumeSpec
from warren.state import commands as c
from warren.testing.simulation import SERVICES, Simulation

SEEDS = 60


class Volumes(Simulation):
    """Each service may have a volume of its own, of one node or of all."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._choices = Random(seed)
        self.released = 0

    def _new_node(self) -> Node:
        node = super()._new_node()
        drivers = ("local", "nfs")
        return replace(node, description=replace(node.description, volume_drivers=drivers))

    def _put(self, spec: ServiceSpec, before: Service | None) -> None:
        if before is None and self._choices.random() < 0.7:
            self._make_volume(spec.name)
            mount = MountSpec(source=spec.name, target="/data")
            spec = replace(spec, mounts=(mount,))
        if spec.mounts:
            spec = replace(spec, replicas=min(spec.replicas, 1))
        super()._put(spec, before)

    def _make_volume(self, name: str) -> None:
        if name not in self.state.volumes:
            driver = self._choices.choice(["local", "nfs"])
            spec = VolumeSpec(name=name, driver=driver)
            self._apply(c.PutVolume(spec=spec, id="v1", expected_version=0, now=self.now))

    def _actions(self) -> list[tuple[float, Callable[[], None]]]:
        return [*super()._actions(), (2, self._release)]

    def _release(self) -> None:
        """By somebody who looks only whether it is possible."""
        name = self._choices.choice(SERVICES)
        outcome = self._apply(c.ReleaseVolume(name=name, id="v2", now=self.now))
        self.released += isinstance(outcome, c.Applied)


def test_the_laws_hold_for_every_seed() -> None:
    released = 0

    for seed in range(SEEDS):
        simulation = Volumes(seed)
        simulation.run()
        released += simulation.released

    assert released
