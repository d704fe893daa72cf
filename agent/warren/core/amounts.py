"""`3` or `25%`: amounts of an update policy, as numbers of a service's slots."""

from warren.model.rollouts import UpdateOrder, UpdatePolicy


def of(text: str, replicas: int) -> int:
    """Shares are rounded up."""
    if text.endswith("%"):
        return -(-replicas * int(text[:-1]) // 100)
    return int(text)


def parallelism(policy: UpdatePolicy, replicas: int) -> int:
    """Slots in one batch, at least one."""
    return max(1, of(policy.parallelism, replicas))


def min_healthy(policy: UpdatePolicy, replicas: int, *, exclusive: bool = False) -> int:
    """Slots with a ready task that a rollout leaves at least.

    `exclusive`: tasks of the service shut each other out of their nodes, so that a new one may not
    find a place before an old one has gone.
    """
    if policy.min_healthy:
        return min(replicas, of(policy.min_healthy, replicas))
    if policy.order is UpdateOrder.STOP_FIRST:
        return max(0, replicas - parallelism(policy, replicas))
    return max(0, replicas - 1) if exclusive else replicas
