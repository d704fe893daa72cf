"""How many slots of a service must stay served, and how many are.

The law: `min_healthy` slots keep a ready task, whatever a rollout does. Where the user says
nothing, slots whose tasks find no place do not count: a service that lost a node can be updated all
the same.
"""

from collections.abc import Sequence
from dataclasses import replace

from warren.core import amounts
from warren.core.room import Room
from warren.core.slots import Slot
from warren.model.rollouts import UpdateOrder, UpdatePolicy
from warren.model.tasks import TaskState


def served(slots: Sequence[Slot]) -> int:
    """Slots with a ready task."""
    return sum([slot.alone != 0 or slot.served for slot in slots])


def floor(policy: UpdatePolicy, slots: Sequence[Slot], room: Room) -> int:
    """Slots that must stay served."""
    if room.exclusive and room.service.spec.is_global:  # no other node can help: it is stop first
        policy = replace(policy, order=UpdateOrder.STOP_FIRST)
    least = amounts.min_healthy(policy, len(slots), exclusive=room.exclusive)
    may_empty = room.exclusive or policy.order is UpdateOrder.STOP_FIRST
    if policy.min_healthy or not may_empty:
        return least
    hopeless = sum(waits_only(slot) and not room.free_for(slot) for slot in slots)
    return max(0, least - hopeless)


def waits_only(slot: Slot) -> bool:
    """All that it has is tasks without a place."""
    if slot.alone or slot.leaving or not slot.wanted:
        return False
    return all(task.status.state is TaskState.PENDING for task in slot.wanted)
