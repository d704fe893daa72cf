"""Simulates rollouts: `python -m warren.testing.rollout_simulation`.

The cluster of `simulation.py`, of which the users change images all the time, by every strategy,
scale meanwhile, promote, pause, resume, abort and go back, while tasks fail, images turn bad, nodes
are lost and leaders change, in some lives at each step of a rollout. After every step the laws of
`simulation_laws.py` hold; when the faults stop, every rollout comes to its end.
"""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from random import Random

from warren.core import acts, analyses, situation, updates
from warren.core.situation import Situation
from warren.model.checks import HttpCheck
from warren.model.errors import WarrenError
from warren.model.rollouts import (
    Analysis,
    AnalysisRecord,
    CanaryStep,
    FailureAction,
    Pin,
    Rollout,
    RolloutState,
    Strategy,
    UpdateOrder,
    UpdatePolicy,
)
from warren.model.services import Service, ServiceMode, ServiceSpec
from warren.state import commands as c
from warren.testing import seeds
from warren.testing.builders import NOON
from warren.testing.simulation import LAST_IMAGE, SERVICES, Simulation

IMAGES = ("good:1", "good:2", "good:3", "good:4", "bad:1", "sick:1", "late:1")
PERIOD = timedelta(seconds=1)
"""How often users look whether a rollout waits for them, once the faults have ended."""


class RolloutSimulation(Simulation):
    """One life."""

    replay = "python -m warren.testing.rollout_simulation --seeds 1 --start"
    chaos = timedelta(seconds=60)

    def __init__(self, seed: int, *, log: Callable[[str], None] | None = None) -> None:
        super().__init__(seed, log=log)
        self.counts: Counter[str] = Counter()
        self._leaders_die = self.random.random() < 0.2
        """At each step of a rollout, in some lives."""
        self._modes = Random(seed)
        """Drawn apart, so that lives without global services are what they would be without any."""
        self._has_global = self._modes.random() < 0.3
        self._seen: dict[str, Rollout] = {}
        self._asked: set[object] = set()
        self._analyses_at: datetime | None = None
        """When the next ones are due."""

    def _actions(self) -> list[tuple[float, Callable[[], None]]]:
        return [*super()._actions(), (8, self._update), (3, self._scale), (5, self._act)]

    def _new_spec(self, name: str) -> ServiceSpec:
        spec = super()._new_spec(name)
        image = self.random.choice(IMAGES[:3])
        if self._has_global and self._modes.random() < 0.6:
            spec = replace(spec, mode=ServiceMode.GLOBAL)
            self.counts["global services"] += 1
        return replace(spec, image=image, replicas=self.random.randint(0, 8), update=self._policy())

    def _policy(self) -> UpdatePolicy | None:
        pick = self.random.choice
        if self.random.random() < 0.1:
            return None
        weights = sorted(self.random.sample([1, 10, 25, 50, 75, 100], self.random.randint(1, 3)))
        check = Analysis(http=HttpCheck(), interval=timedelta(seconds=1), retries=pick([1, 3]))
        return UpdatePolicy(
            strategy=pick(list(Strategy)),
            parallelism=pick(["1", "2", "3", "50%", "100%"]),
            delay=timedelta(seconds=pick([0, 0, 1])),
            order=pick([UpdateOrder.START_FIRST, UpdateOrder.START_FIRST, UpdateOrder.STOP_FIRST]),
            monitor=timedelta(seconds=pick([0, 0, 1, 5])),
            max_failure_ratio=pick([0, 0, 0.3]),
            on_failure=pick([FailureAction.ROLLBACK, FailureAction.ROLLBACK, *FailureAction]),
            progress_deadline=timedelta(seconds=pick([0, 10, 20])),
            min_healthy=pick(["", "", "50%", "1"]),
            auto_promote=pick([True, True, False]),
            smoke=pick([None, check]),
            grace_period=timedelta(seconds=pick([0, 1, 5])),
            steps=tuple(self._canary_step(weight) for weight in weights),
            analysis=pick([(), (check,)]),
            keep_revisions=pick([1, 2, 10]),
            pin=Pin(sources=("192.0.2.0/24",)) if weights[0] == 10 else None,
        )

    def _canary_step(self, weight: int) -> CanaryStep:
        duration = timedelta(seconds=self.random.choice([0, 1, 3]))
        return CanaryStep(weight=weight, duration=duration, manual=self.random.random() < 0.3)

    # ---- users

    def _some(self) -> Service | None:
        service = self.state.services.get(self.random.choice(SERVICES))
        return None if service is None or service.removing else service

    def _update(self) -> None:
        service = self._some()
        if service is not None:
            update = service.spec.update if self.random.random() < 0.5 else self._policy()
            image = self.random.choice(IMAGES)
            replicas = service.spec.replicas
            if self.random.random() < 0.2:
                replicas += self.random.randint(-2, 4)
            spec = replace(service.spec, image=image, replicas=max(0, replicas), update=update)
            self._put(spec, service)

    def _scale(self) -> None:
        service = self._some()
        if service is not None:
            replicas = self.random.randint(0, 8)
            self._put(replace(service.spec, replicas=replicas), service)

    def _act(self) -> None:
        service = self._some()
        if service is None or service.rollout is None:
            return
        acts_known = ("promote", "promote", "pause", "resume", "resume", "abort", "back")
        act = self.random.choice(acts_known)
        try:
            if act == "back":
                self._go_back(service)
            else:
                self._do(service, act)
        except WarrenError as error:
            self.say(f"user: {act} {service.spec.name}: refused: {error}")

    def _go_back(self, service: Service) -> None:
        revision = self.random.choice([0, *(each.number for each in service.revisions)])
        command = updates.way_back(
            service,
            revision,
            expected_version=service.version,
            new_id=f"{next(self._ids):05}",
            by="user",
            now=self.now,
        )
        self.say(f"user: {service.spec.name} back to revision {command.revision}")
        self._apply(command)
        self.counts["ways back"] += 1

    def _do(self, service: Service, act: str) -> None:
        now_is = self._situation(service)
        match act:
            case "promote":
                after = acts.promote(now_is, full=self.random.random() < 0.2)
            case "pause":
                after = acts.pause(now_is, "user")
            case "resume":
                after = acts.resume(now_is)
            case _:
                after = acts.abort(now_is, "user")
        if after != now_is.rollout:
            self.say(f"user: {act} {service.spec.name}")
            self.counts[f"acts: {act}"] += 1
            self._apply(
                c.SetRollout(
                    service=service.spec.name,
                    rollout=after,
                    expected_version=now_is.rollout.version,
                    now=self.now,
                )
            )

    def _situation(self, service: Service) -> Situation:
        tasks = tuple(self.state.tasks_of(service.spec.name))
        return situation.of(self.state, service, tasks, self.now)

    # ---- the leader's analyses, and its end at each step

    def look(self) -> None:
        super().look()
        self._analyse()
        for name, service in self.state.services.items():
            rollout = service.rollout
            if rollout is None or self._seen.get(name) == rollout:
                continue
            self._seen[name] = rollout
            self.counts[f"{rollout.policy.strategy.value} {rollout.state.value}"] += 1
            if self._leaders_die and not self.calm and self.leads:
                self.after(self.delay(0, 0.02), self._lose_leader)

    def _lose_leader(self) -> None:
        if self.leads and not self.calm:
            self._change_leader()

    def _analyse(self) -> None:
        """What is due is done soon, by who leads then."""
        if not self.leads:
            return
        due, wake_at = analyses.due(self.state, self.now)
        for check in due:
            if check.key not in self._asked:
                self._asked.add(check.key)
                self.after(self.delay(0.001, 0.5), partial(self._analysed, check))
        before, self._analyses_at = self._analyses_at, wake_at
        if wake_at is not None and wake_at != before:
            self.after(wake_at - self.now, lambda: self._analyse_at(wake_at))

    def _analyse_at(self, moment: datetime) -> None:
        if self._analyses_at == moment:
            self._analyses_at = None
            self._analyse()

    def _analysed(self, check: analyses.Check) -> None:
        self._asked.discard(check.key)
        if not self.leads:
            return
        good = self.calm or self.random.random() < 0.9
        before = check.before or AnalysisRecord(name=check.name, checked_at=self.now)
        output = "" if good else "GET /: 503"
        record = analyses.taken(before, good=good, output=output, now=self.now)
        self._apply(
            c.RecordAnalysis(service=check.service, rollout_id=check.rollout_id, record=record)
        )

    # ---- the end

    def _end_faults(self) -> None:
        super()._end_faults()
        self._push()

    def _put(self, spec: ServiceSpec, before: Service | None) -> None:
        """The last change of all must not turn back for want of room: there would be no end."""
        if spec.is_global:
            spec = replace(spec, replicas=1)
        if self.calm and spec.update is not None:
            patient = replace(
                spec.update, progress_deadline=timedelta(), on_failure=FailureAction.PAUSE
            )
            spec = replace(spec, update=patient)
        super()._put(spec, before)

    def _push(self) -> None:
        """Once all is calm, users attend to what waits for them."""
        for service in list(self.state.services.values()):
            if service.removing:
                continue
            live = service.live_rollout
            if live is None and service.spec.image != LAST_IMAGE:
                self._put(replace(service.spec, image=LAST_IMAGE), service)
            try:
                if live is None:
                    continue
                if live.state is RolloutState.PAUSED:
                    self._do(service, "resume")
                elif live.state is RolloutState.WAITING:
                    self._do(service, "promote")
            except WarrenError as error:
                self.say(f"user: {service.spec.name}: refused: {error}")
        self.after(PERIOD, self._push)


def live(seed: int) -> seeds.Life:
    """One life, in whichever process."""
    simulation = RolloutSimulation(seed)
    try:
        events = simulation.run()
    except Exception as error:  # noqa: BLE001 - any end but a good one is a finding
        return seeds.ended_by(error, seed)
    simulation.counts["events"] = events
    hours = (simulation.now - NOON) / timedelta(hours=1)
    return seeds.Life(seed=seed, hours=hours, counts=simulation.counts)


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    return seeds.run("warren.testing.rollout_simulation", __doc__ or "", live, arguments)


if __name__ == "__main__":
    sys.exit(main())
