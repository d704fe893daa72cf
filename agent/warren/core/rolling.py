"""REPLACE: slots change over to the new revision, batch by batch. Part of `rollout.py`.

The law: a batch has at most `parallelism` slots. The next begins when all new tasks of the last one
were ready for `monitor`, and `delay` later. With STOP_FIRST, or where tasks shut each other out, it
is no larger than what can stop with `min_healthy` slots served.

A batch without room for all of its tasks ends in parts: slots whose new tasks have a place, were
ready, and watched, leave it, and their old tasks make room for the others.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime

from warren.core import amounts, capacity, failures
from warren.core.decisions import earliest
from warren.core.situation import Situation, Step
from warren.core.slots import Slot, trusted_at
from warren.model.rollouts import RolloutState, UpdateOrder
from warren.model.tasks import TaskState
from warren.model.units import format_duration


def step(now_is: Situation) -> Step:
    """The next step within the phase."""
    rollout = now_is.rollout
    if rollout.state is RolloutState.WAITING:
        return Step(rollout=replace(rollout, state=RolloutState.RUNNING))
    if rollout.batch:
        return _in_batch(now_is)
    waiting = [slot.number for slot in remaining(now_is)]
    if waiting:
        return _next_batch(now_is, waiting)
    return _last_part(now_is)


def remaining(now_is: Situation) -> Iterator[Slot]:
    """Slots that have yet to get the new revision."""
    return (slot for slot in now_is.slots if not _has_new(now_is, slot))


def _has_new(now_is: Situation, slot: Slot) -> bool:
    """Or had it, and it ended for good."""
    if slot.alone:
        return slot.alone == now_is.rollout.to_revision
    ended = (TaskState.COMPLETE, TaskState.FAILED)
    if any(task.revision == now_is.new for task in slot.wanted):
        return True
    return any(slot.ended(now_is.new, state) for state in ended)


def _in_batch(now_is: Situation) -> Step:
    rollout = now_is.rollout
    batch = tuple(number for number in rollout.batch if number in now_is.by_number)
    if not batch:
        return Step(rollout=replace(rollout, batch=(), ready_at=None))
    late = _without_place(now_is, batch)
    part = tuple(number for number in batch if number not in late)
    if late and not _makes_room(now_is, part):
        late, part = (), batch
    # A task that waits for a place that there is not, in a slot that has no other, says nothing.
    unready = [n for n in part if not now_is.is_done(now_is.by_number[n])]
    hoped = [n for n in unready if not _is_hopeless(now_is, now_is.by_number[n])]
    if not all_passed(now_is, hoped):
        return Step(
            rollout=replace(rollout, batch=batch, ready_at=None),
            stalls=True,
            waits_for=f"batch {rollout.batches}: {now_is.ready_text(batch)}{obstacle(now_is)}",
        )
    if rollout.ready_at is None:
        ready = replace(rollout, batch=batch, ready_at=now_is.now)
        return Step(rollout=now_is.progressed(ready))
    watched = rollout.ready_at + rollout.policy.monitor
    if watched > now_is.now:
        monitor = format_duration(rollout.policy.monitor)
        which = f"what has room of batch {rollout.batches}" if late else f"batch {rollout.batches}"
        told = f"{which} is ready, and watched for {monitor}"
        return Step(rollout=replace(rollout, batch=batch), wake_at=watched, waits_for=told)
    over = replace(rollout, batch=late, ready_at=None)
    if not late:
        over = replace(over, next_at=now_is.now + rollout.policy.delay)
    return Step(rollout=now_is.progressed(over))


def _without_place(now_is: Situation, batch: Iterable[int]) -> tuple[int, ...]:
    """Slots of the batch whose new task waits for room that there is not, beside an old one."""
    slots = (now_is.by_number[number] for number in batch)
    waiting = [slot for slot in slots if _is_pending(slot, now_is.new)]
    return tuple(
        slot.number
        for slot in waiting
        if not now_is.room.free_for(slot) and not _is_hopeless(now_is, slot)
    )


def _is_pending(slot: Slot, revision: int) -> bool:
    """It has tasks of the revision, and none of them a place."""
    waits = [t.status.state is TaskState.PENDING for t in slot.wanted if t.revision == revision]
    return bool(waits) and all(waits)


def _makes_room(now_is: Situation, part: Iterable[int]) -> bool:
    """One of these slots has an old task that it needs no more."""
    slots = (now_is.by_number[number] for number in part)
    return any(slot.outdated(now_is.new) and now_is.is_done(slot) for slot in slots)


def all_passed(now_is: Situation, numbers: Iterable[int]) -> bool:
    """In all of these slots the new task is ready, or fails as a few may."""
    slots = (now_is.by_number[number] for number in numbers)
    return all(now_is.is_done(slot) or _tolerated(now_is, slot) for slot in slots)


def _tolerated(now_is: Situation, slot: Slot) -> bool:
    """The new task of the slot fails, and so many may."""
    own = (*slot.of(now_is.new), *(t for t in slot.final if t.revision == now_is.new))
    return bool(own) and all(failures.is_bad(task) for task in own)


def obstacle(now_is: Situation) -> str:
    """`; web.1 is pending: no node …`, if there is one."""
    for slot in now_is.slots:
        for task in slot.of(now_is.new):
            if task.status.state is TaskState.PENDING and task.status.message:
                return f"; {task.name} is pending: {task.status.message}"
            if task.status.health_output and not task.ready:
                return f"; {task.name} is not healthy: {task.status.health_output}"
    return ""


def _next_batch(now_is: Situation, waiting: list[int]) -> Step:
    rollout = now_is.rollout
    if rollout.next_at is not None and rollout.next_at > now_is.now:
        delay = format_duration(rollout.policy.delay)
        told = f"the next batch begins {delay} after the last"
        return Step(rollout=rollout, wake_at=rollout.next_at, waits_for=told)
    batch = _chosen(now_is, waiting)
    if not batch:
        told = f"no task may stop: {now_is.served} slots are served, and min_healthy is "
        return Step(rollout=rollout, stalls=True, waits_for=f"{told}{now_is.floor}")
    begun = replace(rollout, batch=batch, batches=rollout.batches + 1, ready_at=None, next_at=None)
    return Step(rollout=now_is.progressed(begun))


def _chosen(now_is: Situation, waiting: list[int]) -> tuple[int, ...]:
    """The next slots, in order; those with nothing to lose do not count as stopped."""
    policy = now_is.rollout.policy
    most = amounts.parallelism(policy, now_is.replicas)
    if policy.order is UpdateOrder.START_FIRST:
        return tuple(waiting[:most])
    may_stop = now_is.served - now_is.floor
    chosen: list[int] = []
    for number in waiting:
        costs = now_is.by_number[number].served
        if len(chosen) == most or (costs and may_stop <= 0):
            continue
        may_stop -= costs
        chosen.append(number)
    return tuple(chosen)


def _last_part(now_is: Situation) -> Step:
    """Every slot has the new revision: are the old tasks gone, and the new ones ready?"""
    rollout = now_is.rollout
    old = sum(len(slot.outdated(now_is.new)) for slot in now_is.slots)
    unready = [
        slot for slot in now_is.slots if not (now_is.is_done(slot) or _is_hopeless(now_is, slot))
    ]
    if not old and not unready:
        return ending(now_is, RolloutState.COMPLETE)
    told = f"{now_is.ready_text(now_is.numbers)}{obstacle(now_is)}"
    return Step(
        rollout=replace(rollout, ready_at=None),
        stalls=True,
        waits_for=told,
        wake_at=_trusted(now_is, unready),
    )


def ending(now_is: Situation, end: RolloutState) -> Step:
    """All slots have what they shall have. That this is so is in the log, and then, once all nodes
    follow so far, the end."""
    rollout = now_is.rollout
    if not rollout.ending:
        noted = replace(rollout, ready_at=now_is.now, next_at=None)
        return Step(rollout=now_is.progressed(noted))
    if not now_is.followed:
        return now_is.following(f"all tasks are of revision {rollout.target}")
    ended = replace(rollout, state=end, ended_at=now_is.now, ready_at=None, weight=None)
    return Step(rollout=now_is.progressed(ended))


def _is_hopeless(now_is: Situation, slot: Slot) -> bool:
    """Its task waits for a place that there is not, which says nothing about the revision: a
    service that lost a node can be updated all the same. Or it failed, and so few may."""
    if slot.ended(now_is.new, TaskState.FAILED):
        return not slot.wanted
    waits = capacity.waits_only(slot) and bool(slot.of(now_is.new))
    return waits and not now_is.room.free_for(slot)


def _trusted(now_is: Situation, unready: list[Slot]) -> datetime | None:
    moments = (
        moment
        for slot in unready
        for task in slot.of(now_is.new)
        if (moment := trusted_at(task, now_is.unheard)) is not None and moment > now_is.now
    )
    return earliest(moments)
