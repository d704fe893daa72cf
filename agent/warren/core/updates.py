"""What begins a rollout: which command a changed spec, or a way back, comes to. Pure; asked by the
API, by plans and by simulations alike."""

from datetime import datetime

from warren.core import names
from warren.model.errors import FailedPrecondition, NotFound
from warren.model.rollouts import RolloutState
from warren.model.services import (
    Revision,
    Service,
    ServiceSpec,
    same_template,
    template_of,
    with_template,
)
from warren.state import apply_rollouts
from warren.state.commands import PutService, StartRollout


def change(
    before: Service | None,
    spec: ServiceSpec,
    *,
    expected_version: int,
    new_id: str,
    by: str,
    now: datetime,
) -> PutService | StartRollout:
    """The command that stores `spec`. Another task template is a rollout: to a revision that is
    kept, if one has that template, so that tasks which are left of it need no replacing."""
    if before is None or same_template(before.spec, spec):
        return PutService(spec=spec, expected_version=expected_version, now=now)
    template = template_of(spec)
    kept = (each.number for each in before.revisions if each.template == template)
    number = next(kept, 0)
    grows = spec.replicas > before.spec.replicas
    return StartRollout(
        spec=spec,
        expected_version=expected_version,
        revision=number,
        rollout_id=apply_rollouts.rollout_id(
            before, number or apply_rollouts.next_number(before), new_id
        ),
        started_by=by,
        slots_before=before.spec.replicas if grows else 0,
        now=now,
    )


def way_back(
    service: Service,
    revision: int,
    *,
    expected_version: int,
    new_id: str,
    by: str,
    because: str = "",
    now: datetime,
) -> StartRollout:
    """The command that leads to an earlier revision; 0: to the last good one before."""
    found = kept_revision(service, revision) if revision else last_good(service)
    return StartRollout(
        spec=with_template(service.spec, found.template),
        expected_version=expected_version,
        revision=found.number,
        rollout_id=apply_rollouts.rollout_id(service, found.number, new_id),
        started_by=by,
        started_because=because,
        rollback=True,
        now=now,
    )


def kept_revision(service: Service, number: int) -> Revision:
    """NotFound names those that are kept."""
    found = next((each for each in service.revisions if each.number == number), None)
    if found is None:
        numbers = [str(each.number) for each in service.revisions] or [str(service.revision)]
        kept = names.listing(numbers)
        raise NotFound(f"{service.spec.name} has no revision {number} any more: it keeps {kept}")
    return found


def last_good(service: Service) -> Revision:
    """Where the newest complete rollout to the current revision came from; else the newest kept
    one that was not found bad. FailedPrecondition if there is none."""
    for rollout in reversed(service.rollouts):
        complete = rollout.state is RolloutState.COMPLETE
        if complete and rollout.to_revision == service.revision:
            for each in service.revisions:
                if each.number == rollout.from_revision != service.revision:
                    return each
    others = [each for each in service.revisions if each.number != service.revision]
    good = [each for each in others if not each.reason] or others
    if not good:
        raise FailedPrecondition(f"{service.spec.name} has no revision before {service.revision}")
    return good[-1]
