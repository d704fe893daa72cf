"""What users have a rollout do, and what is refused."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from warren.core import acts, situation, updates
from warren.core.situation import Situation
from warren.model.errors import FailedPrecondition, NotFound
from warren.model.rollouts import (
    CanaryStep,
    Rollout,
    RolloutPhase,
    RolloutState,
    Strategy,
    UpdatePolicy,
)
from warren.state.commands import PutService, StartRollout
from warren.testing.builders import a_service, a_task, an_update, at

from tests.unit.core.rollout_kit import a_world

STEPS = tuple(CanaryStep(weight=weight, manual=True) for weight in (10, 50))


def at_hand(
    strategy: Strategy = Strategy.CANARY, *, ready: bool = True, **rollout: Any
) -> Situation:
    """Web, at its first step, with a new task in its first slot."""
    update = UpdatePolicy(strategy=strategy, steps=STEPS, monitor=timedelta())
    step = {"phase": RolloutPhase.STEP, "step": 1, "batch": (1,), "weight": 10}
    web = an_update(replicas=3, update=update, rollout={**step, **rollout})
    tasks = [a_task(n, f"w{n}") for n in (1, 2, 3)]
    if ready:
        tasks.append(a_task(1, "w1", revision=2))
    state = a_world(web, *tasks)
    return situation.of(state, web, tasks, at(100))


def test_pause_keeps_all_as_it_is() -> None:
    now_is = at_hand()

    assert acts.pause(now_is, "ann") == replace(
        now_is.rollout, state=RolloutState.PAUSED, reason="paused by ann"
    )


def test_resume_forgives_what_failed_and_begins_the_deadline_anew() -> None:
    now_is = at_hand(state=RolloutState.PAUSED, reason="web.1 failed", failed=True)

    assert acts.resume(now_is) == replace(
        now_is.rollout,
        state=RolloutState.RUNNING,
        reason="",
        failed=False,
        resumed_at=at(100),
        progress_at=at(100),
    )


def test_abort_turns_back_and_takes_the_traffic_at_once() -> None:
    now_is = at_hand(state=RolloutState.WAITING)

    after = acts.abort(now_is, "ann", "errors went up")

    assert (after.state, after.weight, after.batch) == (RolloutState.ROLLING_BACK, 0, ())
    assert after.reason == "aborted by ann: errors went up"
    assert not after.failed


def test_promote_goes_on_from_the_step() -> None:
    now_is = at_hand(state=RolloutState.WAITING)

    assert acts.promote(now_is, step=1).step == 2
    assert acts.promote(now_is, full=True).phase is RolloutPhase.REPLACE


def test_promote_asks_nothing_of_slots_that_scaling_has_taken_away() -> None:
    now_is = at_hand(state=RolloutState.WAITING, batch=(1, 7))

    assert acts.promote(now_is).step == 2


@pytest.mark.parametrize(
    ("act", "now_is"),
    [
        ("pause", at_hand(state=RolloutState.PAUSED)),
        ("resume", at_hand()),
        ("abort", at_hand(state=RolloutState.ROLLING_BACK)),
        ("abort", at_hand(state=RolloutState.ROLLED_BACK)),
        ("promote", at_hand(state=RolloutState.COMPLETE)),
        ("promote", at_hand(phase=RolloutPhase.REPLACE)),
        ("promote step 1", at_hand(step=2)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_so_already_changes_nothing(act: str, now_is: Situation) -> None:
    assert _act(act, now_is) == now_is.rollout


@pytest.mark.parametrize(
    ("act", "now_is", "why"),
    [
        ("promote", at_hand(Strategy.ROLLING), "is rolling: it needs no promotion"),
        ("promote", at_hand(ready=False), "0 of 1 tasks of revision 2 are ready"),
        ("promote", at_hand(state=RolloutState.PAUSED), "is paused: resume it first"),
        ("promote step 2", at_hand(), "is at step 1, not 2 yet"),
        ("promote", at_hand(state=RolloutState.ROLLED_BACK), "has ended: rolled back"),
        ("pause", at_hand(state=RolloutState.ROLLING_BACK), "is rolling back"),
        ("pause", at_hand(state=RolloutState.COMPLETE), "has ended: complete"),
        ("resume", at_hand(state=RolloutState.SUPERSEDED), "has ended: superseded"),
        ("abort", at_hand(state=RolloutState.COMPLETE), "has ended: complete"),
        ("abort", at_hand(from_revision=2), "has no revision before"),
    ],
)
def test_what_cannot_be_done_says_why(act: str, now_is: Situation, why: str) -> None:
    with pytest.raises(FailedPrecondition, match=why):
        _act(act, now_is)


def _act(act: str, now_is: Situation) -> Rollout:
    match act.split():
        case ["pause"]:
            return acts.pause(now_is, "ann")
        case ["resume"]:
            return acts.resume(now_is)
        case ["abort"]:
            return acts.abort(now_is, "ann")
        case ["promote", "step", number]:
            return acts.promote(now_is, step=int(number))
        case _:
            return acts.promote(now_is)


class TestFind:
    """A rollout by its id."""

    def test_the_newest_without_one(self) -> None:
        assert acts.find(an_update(), "").id == "web-r2"
        assert acts.find(an_update(), "web-r2").id == "web-r2"

    def test_an_unknown_one_is_refused(self) -> None:
        with pytest.raises(NotFound, match=r"web has no rollout$"):
            acts.find(a_service(), "")
        with pytest.raises(NotFound, match="web has no rollout web-r1, or it was too long ago"):
            acts.find(an_update(), "web-r1")


class TestUpdates:
    """What begins a rollout."""

    def change(self, **values: Any) -> PutService | StartRollout:
        web = an_update(replicas=3)
        spec = replace(web.spec, **values)
        return updates.change(web, spec, expected_version=1, new_id="x", by="ann", now=at(1))

    def test_scaling_is_none(self) -> None:
        assert isinstance(self.change(replicas=5), PutService)

    def test_another_template_is_one_to_a_new_revision(self) -> None:
        command = self.change(image="new")

        assert isinstance(command, StartRollout)
        assert (command.revision, command.rollout_id) == (0, "web-r3-x")

    @pytest.mark.parametrize(("replicas", "slots_before"), [(5, 3), (3, 0), (2, 0)])
    def test_knows_how_many_slots_there_were_if_it_adds_some(
        self, replicas: int, slots_before: int
    ) -> None:
        command = self.change(image="new", replicas=replicas)

        assert isinstance(command, StartRollout)
        assert command.slots_before == slots_before

    def test_a_template_that_is_kept_is_that_revision_again(self) -> None:
        command = self.change(image="registry.example/web:1")

        assert isinstance(command, StartRollout)
        assert (command.revision, command.rollout_id) == (1, "web-r1-x")

    def test_the_way_back_is_where_the_newest_complete_rollout_came_from(self) -> None:
        web = an_update(rollout={"state": RolloutState.COMPLETE})

        command = updates.way_back(
            web, 0, expected_version=1, new_id="x", by="ann", because="wrong prices", now=at(1)
        )

        assert (command.revision, command.spec.image) == (1, "registry.example/web:1")
        assert (command.rollback, command.started_because) == (True, "wrong prices")

    def test_a_revision_that_is_not_kept_is_refused_with_those_that_are(self) -> None:
        with pytest.raises(NotFound, match="web has no revision 7 any more: it keeps 1 and 2"):
            updates.way_back(an_update(), 7, expected_version=1, new_id="x", by="a", now=at(1))

    def test_without_a_revision_before_there_is_no_way_back(self) -> None:
        with pytest.raises(FailedPrecondition, match="web has no revision before 1"):
            updates.way_back(a_service(), 0, expected_version=1, new_id="x", by="a", now=at(1))
