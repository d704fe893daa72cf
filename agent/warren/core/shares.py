"""How a rollout divides the traffic of a service between its new tasks and the others.

The law: the new revision has its share of the connections exactly, however many tasks there are on
either side and whatever their nodes weigh. Who has no task ready has no share, and a task without
weight receives what nobody else can: no connection is refused for the sake of a share.
"""

from collections.abc import Iterable

from warren.model.rollouts import Rollout, RolloutPhase
from warren.model.tasks import Task

Weights = tuple[tuple[Task, int], ...]
"""Tasks with the weights of their endpoints, relative to each other."""

_WHOLE = 100_000
"""The sum of all weights, were it not for rounding; times 100, because shares are percents."""


def divided(rollout: Rollout, weights: Weights) -> Weights:
    """As the rollout says; `weights` are those that count within either side."""
    if rollout.weight is None or not weights:
        return weights
    new = sum(weight for task, weight in weights if task.revision == rollout.to_revision)
    old = sum(weight for _, weight in weights) - new
    share = _share(rollout, new, old)
    return tuple(
        (task, _scaled(weight, *((share, new) if is_new(rollout, task) else (100 - share, old))))
        for task, weight in weights
    )


def is_new(rollout: Rollout, task: Task) -> bool:
    """The task is one of those that the rollout brings."""
    return task.revision == rollout.to_revision


def _share(rollout: Rollout, new: int, old: int) -> int:
    """In percent. While the rest is replaced, new tasks that have come meanwhile raise it."""
    assert rollout.weight is not None
    if rollout.phase is not RolloutPhase.REPLACE or not new + old:
        return rollout.weight
    return max(rollout.weight, 100 * new // (new + old))


def _scaled(weight: int, share: int, total: int) -> int:
    return 0 if not total else round(_WHOLE * share * weight / total)


def effective(rollout: Rollout, tasks: Iterable[Task]) -> int | None:
    """The share that new tasks have now, nodes aside; None: nobody has any."""
    ready = [task for task in tasks if task.ready and task.wanted]
    new = sum(is_new(rollout, task) for task in ready)
    if not ready:
        return None
    if rollout.weight is None or new == len(ready) or not new:
        return 100 * new // len(ready)
    return _share(rollout, new, len(ready) - new)
