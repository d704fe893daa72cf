"""What rollouts make of a service in the replicated state."""

from dataclasses import replace
from typing import Any

import pytest
from warren.model.rollouts import (
    AnalysisRecord,
    Rollout,
    RolloutPhase,
    RolloutState,
    Strategy,
    UpdatePolicy,
)
from warren.model.services import Revision, Service, template_of
from warren.state import commands as c
from warren.state import invariants
from warren.state.apply import apply
from warren.state.cluster import ClusterState
from warren.testing.builders import a_service, a_spec, a_state, an_update, at


def start(image: str = "new", *, version: int = 1, **values: Any) -> c.StartRollout:
    spec = a_spec(**{"image": image, "replicas": 3, **values.pop("spec", {})})
    return c.StartRollout(
        **{
            "spec": spec,
            "expected_version": version,
            "rollout_id": "web-r2-x",
            "started_by": "ann",
            "now": at(5),
            **values,
        }
    )


def applied(state: ClusterState, command: c.Command) -> Service:
    after, outcome = apply(state, command)
    assert isinstance(outcome, c.Applied), outcome
    assert invariants.check(after) == ()
    return after.services["web"]


def refused(state: ClusterState, command: c.Command) -> str:
    after, outcome = apply(state, command)
    assert isinstance(outcome, c.Rejected)
    assert after == replace(state, index=state.index + 1)
    return f"{outcome.reason}: {outcome.message}"


def go_on(service: Service, **values: Any) -> c.SetRollout:
    before = service.rollouts[-1]
    return c.SetRollout(
        service="web",
        rollout=replace(before, **values),
        expected_version=before.version,
        now=at(9),
    )


class TestStart:
    """A change of the template."""

    def test_makes_a_revision_and_a_rollout_to_it(self) -> None:
        before = a_service(replicas=3)

        service = applied(a_state(services=[before]), start())

        old = Revision(number=1, template=template_of(before.spec), created_at=before.created_at)
        new = Revision(number=2, template=template_of(service.spec), created_at=at(5))
        assert service == replace(
            before,
            spec=start().spec,
            version=101,
            revision=2,
            updated_at=at(5),
            revisions=(old, new),
            last_revision=2,
            rollouts=(
                Rollout(
                    id="web-r2-x",
                    from_revision=1,
                    to_revision=2,
                    policy=UpdatePolicy(),
                    started_at=at(5),
                    started_by="ann",
                    progress_at=at(5),
                    version=101,
                ),
            ),
        )

    @pytest.mark.parametrize(
        ("strategy", "phase", "weight", "step"),
        [
            (Strategy.ROLLING, RolloutPhase.REPLACE, None, 0),
            (Strategy.BLUE_GREEN, RolloutPhase.SURGE, 0, 0),
            (Strategy.CANARY, RolloutPhase.REPLACE, None, 0),
        ],
    )
    def test_begins_as_the_strategy_says(
        self, strategy: Strategy, phase: RolloutPhase, weight: int | None, step: int
    ) -> None:
        command = start(spec={"update": UpdatePolicy(strategy=strategy)})

        rollout = applied(a_state(services=[a_service()]), command).rollouts[-1]

        assert (rollout.phase, rollout.weight, rollout.step) == (phase, weight, step)

    def test_supersedes_what_is_under_way_and_leads_back_to_the_last_good_one(self) -> None:
        service = applied(a_state(services=[an_update()]), start(rollout_id="web-r3-x"))

        old, new = service.rollouts
        assert (old.state, old.ended_at) == (RolloutState.SUPERSEDED, at(5))
        assert old.reason == "superseded by web-r3-x"
        assert (new.from_revision, new.to_revision, service.revision) == (1, 3, 3)

    def test_a_set_that_has_the_traffic_is_good_enough_to_lead_back_to(self) -> None:
        policy = UpdatePolicy(strategy=Strategy.BLUE_GREEN)
        switched = {"phase": RolloutPhase.SWITCHED, "weight": 100}
        web = an_update(update=policy, rollout=switched)

        service = applied(a_state(services=[web]), start(rollout_id="web-r3-x"))

        assert service.rollouts[-1].from_revision == 2

    def test_goes_to_a_kept_revision_by_its_number(self) -> None:
        web = an_update(rollout={"state": RolloutState.COMPLETE})
        back = start("registry.example/web:1", revision=1, rollout_id="web-r1-x")

        service = applied(a_state(services=[web]), back)

        assert (service.revision, service.last_revision) == (1, 2)
        assert service.rollouts[-1].to_revision == 1

    def test_the_reason_of_a_way_back_is_kept_with_what_is_left(self) -> None:
        web = an_update(rollout={"state": RolloutState.COMPLETE})
        back = start(
            "registry.example/web:1",
            revision=1,
            rollout_id="x",
            rollback=True,
            started_because="wrong prices",
        )

        service = applied(a_state(services=[web]), back)

        assert service.rollouts[-1].started_because == "wrong prices"
        assert [(each.number, each.reason) for each in service.revisions] == [
            (1, ""),
            (2, "rolled back by ann: wrong prices"),
        ]

    def test_no_number_is_given_twice(self) -> None:
        web = replace(an_update(rollout={"state": RolloutState.ROLLED_BACK}), revision=1)

        assert applied(a_state(services=[web]), start(rollout_id="x")).revision == 3

    def test_forgets_the_oldest_revisions(self) -> None:
        policy = UpdatePolicy(keep_revisions=1)
        state = a_state(services=[an_update(rollout={"state": RolloutState.COMPLETE})])

        service = applied(state, start(spec={"update": policy}, rollout_id="x"))

        assert [each.number for each in service.revisions] == [2, 3]

    @pytest.mark.parametrize(
        ("command", "why"),
        [
            (start(version=7), "Conflict: service web was changed: version 1, not 7"),
            (start(revision=9), "NotFound: revision 9 of web is not kept"),
            (start(revision=1), "InvalidInput: that is not the template of revision 1 of web"),
            (start(rollout_id="web-r2"), "AlreadyExists: rollout web-r2 of web exists"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, command: c.Command, why: str) -> None:
        assert refused(a_state(services=[an_update()]), command) == why

    def test_a_service_that_is_being_removed_is_not_updated(self) -> None:
        state = a_state(services=[replace(an_update(), removing=True)])

        assert refused(state, start()) == "FailedPrecondition: service web is being removed"


class TestSteps:
    """What the leader and users make of a rollout."""

    def test_a_step_is_taken_once(self) -> None:
        web = an_update()
        command = go_on(web, batch=(1,))

        service = applied(a_state(services=[web]), command)

        assert service.rollouts == (replace(web.rollouts[0], batch=(1,), version=101),)
        again = a_state(services=[service])
        assert refused(again, command) == "Conflict: rollout web-r2 is at version 101"

    def test_turning_back_puts_the_template_before_into_the_spec(self) -> None:
        web = an_update(replicas=5, labels={"a": "b"})
        command = go_on(web, state=RolloutState.ROLLING_BACK, reason="it was bad")

        service = applied(a_state(services=[web]), command)

        assert service.spec == replace(web.spec, image="registry.example/web:1")
        assert (service.revision, service.version) == (1, 101)
        assert service.revisions[1].reason == "it was bad"

    def test_the_end_is_noted_with_the_revision(self) -> None:
        web = an_update()

        service = applied(a_state(services=[web]), go_on(web, state=RolloutState.COMPLETE))

        assert service.revisions[1].completed_at == at(9)

    def test_one_that_has_ended_goes_nowhere(self) -> None:
        web = an_update(rollout={"state": RolloutState.COMPLETE})

        why = refused(a_state(services=[web]), go_on(web, state=RolloutState.RUNNING))

        assert why == "Conflict: rollout web-r2 has ended: complete"

    def test_an_analysis_is_recorded_by_its_name(self) -> None:
        first = AnalysisRecord(name="errors", checked_at=at(1), bad=1)
        web = an_update(rollout={"analyses": (first,)})
        second = AnalysisRecord(name="errors", checked_at=at(2), good=1)
        command = c.RecordAnalysis(service="web", rollout_id="web-r2", record=second)

        service = applied(a_state(services=[web]), command)

        assert service.rollouts[0].analyses == (second,)
        assert service.rollouts[0].version == 101


def test_a_change_by_a_manager_that_knows_no_rollouts_ends_the_one_under_way() -> None:
    web = an_update()
    put = c.PutService(spec=replace(web.spec, image="other"), expected_version=1, now=at(3))

    service = applied(a_state(services=[web]), put)

    assert service.revision == 3
    assert service.rollouts[0].state is RolloutState.SUPERSEDED
    assert [each.number for each in service.revisions] == [1, 2, 3]
