"""Which revision, or which two, each slot of a service shall have now.

The law, with N for the revision that a rollout brings and O for the one before:

    no rollout, or it has ended                       the service's revision
    ROLLING_BACK                                      O
    REPLACE   in the batch, or N is there already     N; an O beside it goes when the slot has left
                                                      the batch
    REPLACE   else                                    what is there; O where there is nothing, or
                                                      only what leaves and is neither O nor N
    others    in the batch                            O and N, neither makes way for the other
    others    else                                    O

While it is PAUSED no slot begins to change, and none ends it. Where nothing is lost, because no O
is ready in the whole service, N comes at once: a fix must not wait for what is broken.

Slots that came with the change that began the rollout have nothing to lose, either: where there is
nothing they get N, not O, in REPLACE at once, in a new set with the set. Only a canary is another
matter: while it is tried, its steps alone say how many N there are. In REPLACE it is the same with
a node whose O failed for good: its turn may have to wait for room on others, which it does not take
from them.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from warren.core.slots import Slot, is_useless
from warren.model.rollouts import Rollout, RolloutPhase, RolloutState, UpdateOrder
from warren.model.services import Service, TaskTemplate, template_of
from warren.model.tasks import TaskState


@dataclass(frozen=True, slots=True)
class Wish:
    """What one slot shall have."""

    revision: int
    """Tasks of other revisions make way for it."""
    beside: int | None = None
    """But not those of this one, which it shall have, too."""
    keeps: bool = False
    """Others go on for now, even if it is ready."""
    stop_first: bool = False
    """Others stop before it is made."""
    instead: int = 0
    """What is made where none of it stays: it may not be kept any more, and is on its way out."""


_wish = lru_cache(maxsize=256)(Wish)
"""There are few, for many slots."""


def plain(revision: int) -> Wish:
    """A task of the revision, and no other."""
    return _wish(revision)


def of(service: Service, slots: Sequence[Slot]) -> list[tuple[Slot, Wish]]:
    """For each of the slots but those that need not be looked at: what they shall have is all that
    they have, and is `alone`."""
    rollout = service.live_rollout
    if rollout is None:
        return _all(slots, _wish(service.revision))
    if rollout.backwards:
        first = rollout.policy.order is UpdateOrder.STOP_FIRST
        return _all(slots, _wish(rollout.from_revision, stop_first=first))
    batch, old = frozenset(rollout.batch), rollout.from_revision
    if rollout.phase is not RolloutPhase.REPLACE:
        open_ones = [slot for slot in slots if slot.alone != old or slot.number in batch]
        return [(slot, _trying(slot, rollout, batch)) for slot in open_ones]
    serves = any(
        slot.alone == old or any(task.revision == old and task.ready for task in slot.wanted)
        for slot in slots
        if slot.alone in (old, 0)
    )
    open_ones = [slot for slot in slots if not slot.alone or slot.number in batch]
    return [(slot, _replacing(slot, rollout, batch, serves=serves)) for slot in open_ones]


def _all(slots: Iterable[Slot], wish: Wish) -> list[tuple[Slot, Wish]]:
    return [(slot, wish) for slot in slots if slot.alone != wish.revision]


def _trying(slot: Slot, rollout: Rollout, batch: frozenset[int]) -> Wish:
    new, old = rollout.to_revision, rollout.from_revision
    if slot.number not in batch:
        return _wish(old)
    added = rollout.phase is not RolloutPhase.STEP and rollout.adds(slot.number)
    if added and all(is_useless(task) for task in slot.of(old)):
        return _wish(new)
    return _wish(old, new)


def _replacing(slot: Slot, rollout: Rollout, batch: frozenset[int], *, serves: bool) -> Wish:
    new, old = rollout.to_revision, rollout.from_revision
    paused = rollout.state is RolloutState.PAUSED
    in_batch = slot.number in batch
    has_new = any(task.revision == new for task in slot.wanted)
    done = slot.ended(new, TaskState.COMPLETE)
    if has_new or done or (in_batch and not paused):
        first = rollout.policy.order is UpdateOrder.STOP_FIRST and in_batch
        return _wish(new, keeps=paused or (in_batch and not first), stop_first=first and not paused)
    if not slot.wanted:
        failed = slot.ended(new, TaskState.FAILED)
        gave_up = bool(slot.node) and slot.ended(old, TaskState.FAILED)
        at_once = not paused and (gave_up or rollout.adds(slot.number))
        return _wish(old if serves and not failed and not at_once else new)
    useful = {task.revision for task in slot.wanted if not is_useless(task)}
    instead = old if serves else new
    if not useful or old in useful:
        return _wish(old if useful else instead)
    return _wish(max(useful), instead=instead)


def template_for(service: Service, revision: int) -> TaskTemplate | None:
    """Of a revision that is kept; None: it is not any more."""
    if revision == service.revision:
        return template_of(service.spec)
    found = (each.template for each in service.revisions if each.number == revision)
    return next(found, None)
