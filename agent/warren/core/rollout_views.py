"""What reads answer of rollouts and revisions: how far, what it waits for, what speaks against it.

What comes next is asked of the deciders themselves (`rollout.next_step`), so that it is the truth.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime

from warren.core import failures, hiding, names, rollout, shares, situation
from warren.core.situation import Situation, Step
from warren.model.rollouts import Rollout, RolloutState
from warren.model.services import Revision, Service, template_of
from warren.model.tasks import Task
from warren.model.views import FailingTask, RevisionView, RolloutView, ServiceHistory
from warren.state.cluster import ClusterState


def view(
    state: ClusterState, service: Service, tasks: Iterable[Task], now: datetime, of: Rollout
) -> RolloutView:
    """One of the service's rollouts; `tasks` are all of the service."""
    now_is = replace(situation.of(state, service, tasks, now), rollout=of)
    wanted = [task for slot in now_is.slots for task in slot.wanted]
    new = [task for task in wanted if task.revision == of.to_revision]
    old = [task for task in wanted if task.revision != of.to_revision]
    step = _waits(now_is) if of.live else Step(rollout=of)
    return RolloutView(
        service=service.spec.name,
        rollout=of,
        image_before=_image(service, of.from_revision),
        image_after=_image(service, of.to_revision),
        replicas=now_is.replicas,
        tasks_new=len(new),
        ready_new=sum(task.ready for task in new),
        tasks_old=len(old),
        ready_old=sum(task.ready for task in old),
        served=now_is.served,
        min_healthy=now_is.floor,
        weight=shares.effective(of, wanted) if of.live else None,
        waiting_for=step.waits_for,
        until=None if step.stalls else step.wake_at,
        deadline=now_is.deadline if step.stalls else None,
        failing=tuple(_failing(state, task) for task in _against(now_is)),
    )


def _waits(now_is: Situation) -> Step:
    """The last step that can be taken now says what comes after it."""
    step = rollout.next_step(now_is)
    if step.rollout == now_is.rollout:
        return step
    if step.rollout.live and not step.rollout.backwards:
        step = rollout.advance(now_is)
    return replace(step, wake_at=None) if not step.waits_for else step


def _against(now_is: Situation) -> list[Task]:
    """Where it went back, those that made it go, though they are stopped."""
    rollout = now_is.rollout
    if rollout.state in (RolloutState.COMPLETE, RolloutState.SUPERSEDED):
        return []
    speaks = failures.was_bad if rollout.backwards and rollout.failed else failures.is_bad
    return failures.against(rollout, now_is.tasks, now_is.by_number, speaks=speaks)


def _failing(state: ClusterState, task: Task) -> FailingTask:
    status = task.status
    message = status.message or status.health_output
    if not message and status.exit_code is not None:
        message = f"exit code {status.exit_code}"
    times = f" ({status.failures} times)" if status.failures > 1 else ""
    return FailingTask(
        name=task.name,
        task_id=task.id,
        node=names.node_name(state, task),
        message=f"{message}{times}",
        last_log=status.last_log,
    )


def _image(service: Service, number: int) -> str:
    if number == service.revision:
        return service.spec.image
    images = (each.template.image for each in service.revisions if each.number == number)
    return next(images, "")


def history(service: Service, tasks: Iterable[Task]) -> ServiceHistory:
    """The kept revisions and the newest rollouts, newest first."""
    wanted = [task.revision for task in tasks if task.wanted]
    kept = service.revisions or (
        Revision(
            number=service.revision,
            template=template_of(service.spec),
            created_at=service.created_at,
        ),
    )
    return ServiceHistory(
        service=service.spec.name,
        revisions=tuple(
            RevisionView(
                revision=hiding.of_revision(each),
                current=each.number == service.revision,
                tasks=wanted.count(each.number),
            )
            for each in reversed(kept)
        ),
        rollouts=service.rollouts[::-1],
    )
