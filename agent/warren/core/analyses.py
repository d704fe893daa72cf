"""Which analyses of rollouts are due, and what their results come to. Pure.

Asked by the leader's loop (`manager/analyst.py`), which makes them and proposes what came of them.
A smoke check must be good once; an analysis of a canary must be good in each step, and so many bad
results in a row as its `retries` say are the end of the rollout (`failures.py`).
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from warren.core import failures, situation
from warren.core.decisions import earliest
from warren.core.situation import Situation
from warren.model.rollouts import Analysis, AnalysisRecord, Rollout, RolloutPhase, RolloutState
from warren.model.services import Protocol, Service
from warren.model.tasks import Task
from warren.state.cluster import ClusterState


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One analysis to be made now."""

    service: str
    rollout_id: str
    name: str
    analysis: Analysis
    task: Task
    """Of the new revision, ready: each in its turn."""
    port: int
    """Stands for a port of 0."""
    before: AnalysisRecord | None

    @property
    def key(self) -> tuple[str, str]:
        """There is one at a time of these."""
        return self.rollout_id, self.name


def due(
    state: ClusterState, now: datetime, among: Iterable[Service] | None = None
) -> tuple[tuple[Check, ...], datetime | None]:
    """Those to be made now, and when the next ones are; of all services, or of those `among`."""
    checks: list[Check] = []
    wake_ups: list[datetime] = []
    for service in state.services.values() if among is None else among:
        live = service.live_rollout
        if live is None or service.removing or not _is_watched(live):
            continue
        wanted = failures.analyses(live)
        if not wanted:
            continue
        now_is = situation.of(state, service, state.tasks_of(service.spec.name), now)
        tasks = _ready(now_is)
        for name, analysis in wanted if tasks else ():
            record = next((each for each in live.analyses if each.name == name), None)
            moment = record.checked_at + analysis.interval if record is not None else now
            if moment > now:
                wake_ups.append(moment)
                continue
            turn = record.good + record.bad if record is not None else 0
            check = Check(
                service=service.spec.name,
                rollout_id=live.id,
                name=name,
                analysis=analysis,
                task=tasks[turn % len(tasks)],
                port=_first_port(service),
                before=record,
            )
            checks.append(check)
    return tuple(checks), earliest(wake_ups)


def _is_watched(live: Rollout) -> bool:
    """Who is paused is not judged; a trial that was passed is over."""
    if live.state is RolloutState.RUNNING:
        return live.phase in (RolloutPhase.TRIAL, RolloutPhase.STEP)
    return live.state is RolloutState.WAITING and live.phase is RolloutPhase.STEP


def _ready(now_is: Situation) -> list[Task]:
    new = (task for slot in now_is.slots for task in slot.of(now_is.new))
    return [task for task in new if task.ready and task.status.address]


def _first_port(service: Service) -> int:
    tcp = (p.target for p in service.spec.ports if p.protocol is Protocol.TCP)
    return next(tcp, 0)


def taken(before: AnalysisRecord, *, good: bool, output: str, now: datetime) -> AnalysisRecord:
    """The record with one more result."""
    if good:
        return replace(before, checked_at=now, good=before.good + 1, bad=0, output="")
    return replace(before, checked_at=now, bad=before.bad + 1, output=output)


def names_of(policy_analyses: Iterable[Analysis]) -> list[str]:
    """As they are shown, for those who check that none is there twice."""
    return [name for name, _ in failures.named(policy_analyses)]
