"""Rollouts: how a service goes from one revision to another.

`UpdatePolicy` is the part of a service's spec in which its user says how; a `Rollout` is the
replicated record of one going. It lives in the state, not in a process or a client, and what it
does next is decided by `core/rollout.py`, where its states and steps stand in a table.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Annotated

from warren.model.checks import ExecCheck, HttpCheck
from warren.model.constraints import Network, NotEmpty, Pattern, Range

Amount = Annotated[
    str,
    Pattern(r"(0*[1-9]\d{0,4}|0*([1-9]\d?|100)%)", "a number of tasks from 1, or a share to 100%"),
]
"""`3`, or a share of the replicas: `25%`."""


class Strategy(Enum):
    """ROLLING: batch by batch. BLUE_GREEN: the whole new set beside the old, then all traffic at
    once. CANARY: a growing share of the traffic to some new tasks, then ROLLING for the rest."""

    ROLLING = "rolling"
    BLUE_GREEN = "blue_green"
    CANARY = "canary"


class UpdateOrder(Enum):
    """Of the tasks of a slot: whether the new one is ready before the old one stops, or is made
    after it has stopped."""

    START_FIRST = "start_first"
    STOP_FIRST = "stop_first"


class FailureAction(Enum):
    """What happens when the new revision is found bad."""

    PAUSE = "pause"
    ROLLBACK = "rollback"
    CONTINUE = "continue"


@dataclass(frozen=True, slots=True, kw_only=True)
class PrometheusQuery:
    """A query of which every value must lie within the bounds; no value at all is bad, too."""

    url: Annotated[str, Pattern(r"https?://[!-~]+", "an address such as http://host:9090")]
    query: Annotated[str, NotEmpty()]
    min: float | None = None
    max: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Analysis:
    """A check of the new revision, made by the leading manager. Exactly one of http, prometheus,
    exec; http and exec are of the new tasks, one after another."""

    name: str = ""
    http: HttpCheck | None = None
    prometheus: PrometheusQuery | None = None
    exec: ExecCheck | None = None
    interval: timedelta = timedelta(seconds=10)
    timeout: timedelta = timedelta(seconds=5)
    retries: Annotated[int, Range(1, 100)] = 3
    """So many bad results in a row, and the revision is bad."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CanaryStep:
    """A share of the traffic, in percent, for as long as `duration`, or until somebody promotes.
    With 0, which is for the first, only whom the policy's `pin` names reaches the new tasks."""

    weight: Annotated[int, Range(0, 100)]
    duration: timedelta = timedelta()
    manual: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """Who reaches the new tasks for certain while a rollout tries them, whatever share of the
    traffic the others give them."""

    sources: Annotated[tuple[Annotated[str, Network()], ...], NotEmpty()]
    """Addresses and networks of clients, as the node sees them that is asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatePolicy:
    """How a new revision of a service comes into use. Written by users only; a rollout goes on by
    the policy that it began with."""

    strategy: Strategy = Strategy.ROLLING
    parallelism: Amount = "1"
    """Slots in one batch."""
    delay: timedelta = timedelta()
    """Between two batches."""
    order: UpdateOrder = UpdateOrder.START_FIRST
    monitor: timedelta = timedelta(seconds=5)
    """How long new tasks are watched, from the moment when all of a batch are ready, before the
    old ones go and the next batch begins."""
    max_failure_ratio: Annotated[float, Range(0, 1)] = 0.0
    """Share of the replicas of which the new tasks may fail before the revision is bad."""
    on_failure: FailureAction = FailureAction.ROLLBACK
    progress_deadline: timedelta = timedelta(minutes=10)
    """Without any progress for so long, the revision is bad; 0: never."""
    min_healthy: Annotated[
        str, Pattern(r"(\d{1,5}|\d{1,2}%|100%)?", "a number of tasks, or a share to 100%")
    ] = ""
    """Slots with a ready task that a rollout leaves at least. Empty: all with START_FIRST (but for
    one, where tasks exclude each other from their nodes), all but one batch with STOP_FIRST."""
    auto_promote: bool = True
    """BLUE_GREEN: traffic is switched when the new set is found good; else somebody promotes."""
    smoke: Analysis | None = None
    """BLUE_GREEN: the new set must pass it once before it gets traffic."""
    grace_period: timedelta = timedelta(minutes=1)
    """BLUE_GREEN: how long the old set is kept after the switch, for a way back in an instant."""
    steps: tuple[CanaryStep, ...] = ()
    """CANARY: in order; weights grow."""
    analysis: tuple[Analysis, ...] = ()
    """CANARY: made while the new tasks have traffic, one bad is enough."""
    keep_revisions: Annotated[int, Range(1, 100)] = 10
    """How many revisions before the current one can be gone back to."""
    pin: Pin | None = None
    """CANARY, BLUE_GREEN: who reaches the new tasks before all others do."""


class RolloutState(Enum):
    """RUNNING goes on by itself; WAITING for somebody to promote; PAUSED until resumed; all else
    has ended, but for ROLLING_BACK, which goes on to the revision before."""

    RUNNING = "running"
    WAITING = "waiting"
    PAUSED = "paused"
    ROLLING_BACK = "rolling_back"
    COMPLETE = "complete"
    ROLLED_BACK = "rolled_back"
    SUPERSEDED = "superseded"

    @property
    def ended(self) -> bool:
        """Nothing more comes of it."""
        return self in _ENDED


_ENDED = (RolloutState.COMPLETE, RolloutState.ROLLED_BACK, RolloutState.SUPERSEDED)


class RolloutPhase(Enum):
    """What a rollout is at.

    REPLACE: slots change over, batch by batch; ROLLING, and the end of the others. SURGE: the new
    set comes up beside the old. TRIAL: it is ready, and is tried. SWITCHED: it has all traffic, the
    old set is kept. STEP: some new tasks come up, and then have their share of the traffic.
    """

    REPLACE = "replace"
    SURGE = "surge"
    TRIAL = "trial"
    SWITCHED = "switched"
    STEP = "step"


_TRIED = (RolloutPhase.SURGE, RolloutPhase.TRIAL, RolloutPhase.STEP)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisRecord:
    """What is known of one analysis (or of the smoke check) within a rollout's phase or step."""

    name: str
    """As the policy has it; `analysis 1`, … or `smoke check` where it has none."""
    checked_at: datetime
    good: int = 0
    bad: int = 0
    """In a row; good ones clear it."""
    output: str = ""
    """What the last one said, one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """One going from one revision to another. Written by the leader, and by users' acts."""

    id: str
    """`<service>-r<revision>-<random>`."""
    from_revision: int
    """The last good one: where a rollback leads."""
    to_revision: int
    policy: UpdatePolicy
    state: RolloutState = RolloutState.RUNNING
    phase: RolloutPhase = RolloutPhase.REPLACE
    step: int = 0
    """CANARY: which step, from 1."""
    batch: tuple[int, ...] = ()
    """Slots that are to have the new revision now."""
    batches: int = 0
    """How many there were, with this one."""
    ready_at: datetime | None = None
    """Since when all new tasks of the batch are ready, and watched. Without a batch: since when
    nothing is left to change; see `ending`. SWITCHED: since when all nodes follow the switch."""
    next_at: datetime | None = None
    """No new batch before."""
    weight: int | None = None
    """Share of the traffic, in percent, that the new revision has; None: each task has the same."""
    weight_at: datetime | None = None
    """Since when."""
    started_at: datetime
    started_by: str = ""
    started_because: str = ""
    """What that user said, who had the service go back."""
    slots_before: int = 0
    """How many slots there were, if the change that began it made more of them, too; else 0."""
    rollback: bool = False
    """A user has the service go back to an earlier revision: that waits for nobody, so its policy
    has no steps, no checks and no promotion."""
    progress_at: datetime
    """When it last got any further."""
    resumed_at: datetime | None = None
    """What failed before is forgiven."""
    ended_at: datetime | None = None
    reason: str = ""
    """One line: why it was paused, rolled back or superseded."""
    failed: bool = False
    """The new revision was found bad, and `reason` says how."""
    analyses: tuple[AnalysisRecord, ...] = ()
    version: int = 0
    """Log index of the last change."""

    @property
    def live(self) -> bool:
        """It has not ended."""
        return not self.state.ended

    @property
    def backwards(self) -> bool:
        """It leads, or has led, back to `from_revision`."""
        return self.state in (RolloutState.ROLLING_BACK, RolloutState.ROLLED_BACK)

    @property
    def target(self) -> int:
        """The revision that the service shall have in the end."""
        return self.from_revision if self.backwards else self.to_revision

    @property
    def ending(self) -> bool:
        """All slots have what they shall have, and only nodes are waited for that have yet to
        follow. Managers of before end it at once."""
        replaced = self.phase is RolloutPhase.REPLACE and self.state is RolloutState.RUNNING
        goes = replaced or self.state is RolloutState.ROLLING_BACK
        return goes and not self.batch and self.ready_at is not None

    def adds(self, slot: int) -> bool:
        """The slot of that number came with the change that began the rollout."""
        return 0 < self.slots_before < slot

    @property
    def switched(self) -> bool:
        """BLUE_GREEN: the new set has had the traffic, and nobody turned back since."""
        has = self.phase in (RolloutPhase.SWITCHED, RolloutPhase.REPLACE)
        return self.policy.strategy is Strategy.BLUE_GREEN and has and not self.backwards

    @property
    def pin(self) -> Pin | None:
        """The policy's, while the new revision is on trial: from when traffic is divided until all
        has gone over to it, or it turned back."""
        canary = self.policy.strategy is Strategy.CANARY
        tried = self.phase in _TRIED or (canary and self.phase is RolloutPhase.REPLACE)
        on_trial = self.live and not self.backwards and tried and self.weight is not None
        return self.policy.pin if on_trial else None

    @property
    def decided(self) -> bool:
        """Who waits for it need not wait longer: it has ended, or all traffic goes to the new set
        on all nodes, and only the grace period of the old one is to come."""
        switched = self.phase is RolloutPhase.SWITCHED and self.ready_at is not None
        return not self.live or (switched and self.state is RolloutState.RUNNING)
