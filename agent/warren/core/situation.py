"""What a rollout's next step is decided from, and what the decision is."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property

from warren.core import capacity, nodes, slots
from warren.core.room import Room
from warren.core.slots import Slot
from warren.model.rollouts import Rollout
from warren.model.services import Service
from warren.model.tasks import Task, TaskState
from warren.state.cluster import ClusterState


@dataclass(frozen=True, kw_only=True)
class Situation:
    """A service with its rollout at one moment."""

    state: ClusterState
    service: Service
    rollout: Rollout
    tasks: tuple[Task, ...]
    slots: tuple[Slot, ...]
    beyond: tuple[Task, ...] = ()
    """Tasks that are in none of them."""
    now: datetime
    unheard: Collection[str] = ()
    carried: Mapping[str, int]
    """Up to which index of the log each node's rules are as it was told, by node id."""

    @property
    def replicas(self) -> int:
        """As many as there are slots."""
        return len(self.slots)

    @cached_property
    def by_number(self) -> Mapping[int, Slot]:
        """The slots, by number."""
        return {slot.number: slot for slot in self.slots}

    @property
    def numbers(self) -> tuple[int, ...]:
        """Of all slots."""
        return tuple(slot.number for slot in self.slots)

    @property
    def new(self) -> int:
        """The revision that the rollout is to bring."""
        return self.rollout.to_revision

    @cached_property
    def room(self) -> Room:
        """The nodes."""
        return Room(state=self.state, service=self.service)

    @cached_property
    def floor(self) -> int:
        """Slots that the rollout leaves served."""
        return capacity.floor(self.rollout.policy, self.slots, self.room)

    @cached_property
    def served(self) -> int:
        """Slots that are served."""
        return capacity.served(self.slots)

    @cached_property
    def serves_old(self) -> bool:
        """The revision before has a ready task."""
        origin = self.rollout.from_revision
        return any(t.revision == origin and t.ready for slot in self.slots for t in slot.wanted)

    def is_done(self, slot: Slot) -> bool:
        """The new revision is there, ready, and trusted; or it has done its work."""
        new = self.rollout.to_revision
        for task in slot.wanted:
            if task.revision == new and slots.is_steady(task, self.now, self.unheard):
                return True
        return slot.ended(new, TaskState.COMPLETE)

    def all_done(self, numbers: Iterable[int]) -> bool:
        """So it is in all of these slots, as far as they are there: a batch may be older than a
        scaling."""
        return all(self.is_done(slot) for slot in self._there(numbers))

    def ready_text(self, numbers: Iterable[int]) -> str:
        """`2 of 3 tasks of revision 5 are ready`."""
        there = self._there(numbers)
        ready = sum(self.is_done(slot) for slot in there)
        return f"{ready} of {len(there)} tasks of revision {self.new} are ready"

    def _there(self, numbers: Iterable[int]) -> list[Slot]:
        return [self.by_number[number] for number in numbers if number in self.by_number]

    @cached_property
    def progress_at(self) -> datetime:
        """When the rollout last got any further: a step of its own, or a task that became ready."""
        ready = (
            task.status.since
            for slot in self.slots
            for task in slot.wanted
            if task.ready and task.revision == self.new and task.status.since <= self.now
        )
        latest: datetime = max((self.rollout.progress_at, *ready))
        return latest

    @cached_property
    def deadline(self) -> datetime | None:
        """When too long will have passed since; None: it never does."""
        allowed = self.rollout.policy.progress_deadline
        return self.progress_at + allowed if allowed else None

    @cached_property
    def followed_by(self) -> datetime:
        """When nodes have had long enough to follow the rollout's last step."""
        assert self.state.cluster is not None, "there is a service"
        moment: datetime = self.rollout.progress_at + self.state.cluster.spec.drain_timeout
        return moment

    @cached_property
    def followed(self) -> bool:
        """All nodes that are there send traffic as after the rollout's last step, or had long
        enough to. Of a step that is not in the log yet nobody has heard."""
        if not self.service.spec.ports or self.followed_by <= self.now:
            return True
        in_log = self.rollout == self.service.rollout
        index = self.rollout.version if in_log else self.state.index + 1
        return next(nodes.behind(self.state, index, self.carried), None) is None

    def following(self, what: str) -> "Step":
        """Wait until nodes have followed."""
        return Step(
            rollout=self.rollout,
            wake_at=self.followed_by,
            awaits=True,
            waits_for=f"{what}: waits until all nodes follow",
        )

    def progressed(self, rollout: Rollout) -> Rollout:
        """The rollout, a step further at this moment."""
        return replace(rollout, progress_at=self.now)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What becomes of the rollout now: another value, or the same, and what it waits for."""

    rollout: Rollout
    wake_at: datetime | None = None
    """When time alone brings the next step."""
    awaits: bool = False
    """That all nodes have followed the last step brings the next one, too."""
    stalls: bool = False
    """It waits for tasks or for room: the progress deadline counts."""
    waits_for: str = ""
    """One line for people."""


def of(
    state: ClusterState,
    service: Service,
    tasks: Iterable[Task],
    now: datetime,
    unheard: Collection[str] = (),
    carried: Mapping[str, int] | None = None,
) -> Situation:
    """The situation of a service that has, or had, a rollout."""
    assert service.rollout is not None
    every = tuple(tasks)
    within, beyond = slots.survey(state, service, every)
    return Situation(
        state=state,
        service=service,
        rollout=service.rollout,
        tasks=every,
        slots=within,
        beyond=beyond,
        now=now,
        unheard=unheard,
        carried=carried or {},
    )
