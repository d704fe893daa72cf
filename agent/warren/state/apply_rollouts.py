"""What commands of rollouts make of a service. Part of `apply`: total, deterministic, no clock.

The laws: only the newest rollout of a service may be live; while it is, the service's revision is
its target; the revisions that it leads between are kept. A number is never given to two revisions.
"""

from collections.abc import Iterable
from dataclasses import replace

from warren.model.rollouts import Rollout, RolloutPhase, RolloutState, Strategy, UpdatePolicy
from warren.model.services import Revision, Service, template_of, with_template
from warren.state import commands as c
from warren.state.refusals import Refusal

ROLLOUTS_KEPT = 10


def start(before: Service, command: c.StartRollout, index: int) -> Service:
    """The service on its way to another revision."""
    name = before.spec.name
    if any(rollout.id == command.rollout_id for rollout in before.rollouts):
        raise Refusal("AlreadyExists", f"rollout {command.rollout_id} of {name} exists")
    template = template_of(command.spec)
    kept = _kept(before)
    number = command.revision or next_number(before)
    if command.revision and kept.get(number, None) is None:
        raise Refusal("NotFound", f"revision {number} of {name} is not kept")
    if command.revision and kept[number].template != template:
        raise Refusal("InvalidInput", f"that is not the template of revision {number} of {name}")
    kept.setdefault(number, Revision(number=number, template=template, created_at=command.now))
    left = kept.get(before.revision)
    if command.rollback and command.started_because and left is not None:
        why = f"rolled back by {command.started_by}: {command.started_because}"
        kept[left.number] = replace(left, reason=why)
    rollout = _new_rollout(before, command, number, index)
    return replace(
        before,
        spec=command.spec,
        version=index,
        revision=number,
        updated_at=command.now,
        revisions=_pruned(kept.values(), rollout),
        last_revision=max(number, _newest_number(before)),
        rollouts=(*_superseded(before, rollout), rollout)[-ROLLOUTS_KEPT:],
    )


def next_number(service: Service) -> int:
    """Of a new revision."""
    return _newest_number(service) + 1


def rollout_id(service: Service, revision: int, new_id: str) -> str:
    """Unique for ever, and readable."""
    return f"{service.spec.name}-r{revision}-{new_id}"


def go_on(before: Service, command: c.SetRollout, index: int) -> Service:
    """The service after the next step of its rollout."""
    rollout = _live(before, command.rollout.id)
    if rollout.version != command.expected_version:
        raise Refusal("Conflict", f"rollout {rollout.id} is at version {rollout.version}")
    after = replace(command.rollout, version=index)
    service = replace(before, rollouts=(*before.rollouts[:-1], after))
    if after.backwards and not rollout.backwards:
        return _turned_back(service, after, command, index)
    if after.target != before.revision:
        raise Refusal("InvalidInput", f"rollout {after.id} does not lead to {before.revision}")
    if after.state is RolloutState.COMPLETE:
        return _with_revision(service, after.to_revision, completed_at=command.now, reason="")
    return service


def record(before: Service, command: c.RecordAnalysis, index: int) -> Service:
    """The service whose rollout knows of one more analysis."""
    rollout = _live(before, command.rollout_id)
    others = tuple(each for each in rollout.analyses if each.name != command.record.name)
    after = replace(rollout, analyses=(*others, command.record), version=index)
    return replace(before, rollouts=(*before.rollouts[:-1], after))


def superseded_by_put(before: Service, command: c.PutService, number: int) -> Service:
    """For a new revision that came without a rollout of its own, from a manager that knows none."""
    kept = _kept(before)
    template = template_of(command.spec)
    kept[number] = Revision(number=number, template=template, created_at=command.now)
    ended = tuple(
        replace(each, state=RolloutState.SUPERSEDED, ended_at=command.now) if each.live else each
        for each in before.rollouts
    )
    revisions = tuple(kept[each] for each in sorted(kept))
    return replace(before, revisions=revisions, last_revision=number, rollouts=ended)


def _newest_number(service: Service) -> int:
    return max(service.revision, service.last_revision)


def _kept(service: Service) -> dict[int, Revision]:
    """By number. A service that had no rollout yet has only the revision that it is at."""
    if service.revisions:
        return {revision.number: revision for revision in service.revisions}
    only = Revision(
        number=service.revision, template=template_of(service.spec), created_at=service.created_at
    )
    return {only.number: only}


def _new_rollout(before: Service, command: c.StartRollout, number: int, index: int) -> Rollout:
    policy = command.spec.policy
    if command.rollback:
        policy = going_back(policy)
    origin = _last_good(before)
    phase = RolloutPhase.REPLACE if number == origin else first_phase(policy)
    return Rollout(
        id=command.rollout_id,
        from_revision=origin,
        to_revision=number,
        policy=policy,
        phase=phase,
        step=1 if phase is RolloutPhase.STEP else 0,
        weight=None if phase is RolloutPhase.REPLACE else 0,
        started_at=command.now,
        started_by=command.started_by,
        started_because=command.started_because,
        slots_before=command.slots_before,
        rollback=command.rollback,
        progress_at=command.now,
        version=index,
    )


def going_back(policy: UpdatePolicy) -> UpdatePolicy:
    """The policy of a way back: what it leads to was good before, and nobody is asked."""
    canary = policy.strategy is Strategy.CANARY
    return replace(
        policy,
        strategy=Strategy.ROLLING if canary else policy.strategy,
        auto_promote=True,
        smoke=None,
        steps=(),
        analysis=(),
        pin=None,
    )


def first_phase(policy: UpdatePolicy) -> RolloutPhase:
    """What a rollout by that policy begins with."""
    if policy.strategy is Strategy.BLUE_GREEN:
        return RolloutPhase.SURGE
    if policy.strategy is Strategy.CANARY and policy.steps:
        return RolloutPhase.STEP
    return RolloutPhase.REPLACE


def _last_good(service: Service) -> int:
    """Where a rollout that begins now would lead back to. One that is superseded on its way was not
    found good yet, unless it has all of the traffic already."""
    live = service.live_rollout
    if live is None:
        return service.revision
    return live.to_revision if live.switched else live.from_revision


def _superseded(service: Service, by: Rollout) -> tuple[Rollout, ...]:
    live = service.live_rollout
    if live is None:
        return service.rollouts
    ended = replace(
        live,
        state=RolloutState.SUPERSEDED,
        ended_at=by.started_at,
        reason=f"superseded by {by.id}",
        version=by.version,
    )
    return (*service.rollouts[:-1], ended)


def _pruned(revisions: Iterable[Revision], rollout: Rollout) -> tuple[Revision, ...]:
    """Those of the rollout, and of the others the newest."""
    by_number = sorted(revisions, key=lambda revision: revision.number)
    needed = (rollout.from_revision, rollout.to_revision)
    others = [each.number for each in by_number if each.number != rollout.to_revision]
    newest = others[-rollout.policy.keep_revisions :]
    return tuple(each for each in by_number if each.number in (*needed, *newest))


def _live(service: Service, rollout_id: str) -> Rollout:
    rollout = service.rollout
    if rollout is None or rollout.id != rollout_id:
        raise Refusal("Conflict", f"rollout {rollout_id} of {service.spec.name} is another by now")
    if not rollout.live:
        raise Refusal("Conflict", f"rollout {rollout_id} has ended: {rollout.state.value}")
    return rollout


def _turned_back(service: Service, after: Rollout, command: c.SetRollout, index: int) -> Service:
    """The spec is again as it was at the revision before, as far as the template goes."""
    kept = _kept(service)
    origin = kept.get(after.from_revision)
    if origin is None:
        raise Refusal("FailedPrecondition", f"revision {after.from_revision} is not kept")
    turned = replace(
        service,
        spec=with_template(service.spec, origin.template),
        revision=origin.number,
        version=index,
        updated_at=command.now,
    )
    return _with_revision(turned, after.to_revision, reason=after.reason)


def _with_revision(service: Service, number: int, **values: object) -> Service:
    revisions = tuple(
        replace(each, **values) if each.number == number else each  # type: ignore[arg-type]
        for each in service.revisions
    )
    return replace(service, revisions=revisions)
