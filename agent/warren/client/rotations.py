"""Waiting for keys, of the mesh and of secrets, to be replaced. The cluster does the work."""

import time
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta

from warren.client.client import Client
from warren.model.errors import DeadlineExceeded, Unavailable, WaitFailed
from warren.model.nodes import Node, NodeState
from warren.model.units import format_duration
from warren.model.views import SecretKeysView

_PAUSE = 0.3

Progress = Callable[[str], None]
"""Is told the name of each node whose key has been replaced."""


def wait_rotated(
    client: Client,
    names: Sequence[str],
    *,
    timeout: timedelta,
    on_progress: Progress = lambda _: None,
) -> None:
    """Until none of these nodes is rotating. WaitFailed says who is, and what it waits for."""
    deadline = time.monotonic() + timeout.total_seconds()
    waiting, why = list(names), "no manager answered"
    while True:
        try:
            nodes = {view.node.spec.name: view.node for view in client.list_nodes()}
        except (Unavailable, DeadlineExceeded) as error:
            why = error.message
        else:
            left = [name for name in waiting if name in nodes and nodes[name].mesh.rotating]
            for name in waiting:
                if name not in left:
                    on_progress(name)
            if not left:
                return
            waiting, why = left, "; ".join(_reasons(nodes[name] for name in left))
        if time.monotonic() > deadline:
            raise WaitFailed(f"mesh keys: not done after {format_duration(timeout)}: {why}")
        time.sleep(_PAUSE)


def wait_resealed(client: Client, *, timeout: timedelta) -> SecretKeysView:
    """Until no secret is sealed with an older key. WaitFailed says how many are."""
    deadline = time.monotonic() + timeout.total_seconds()
    why = "no manager answered"
    while True:
        try:
            view = client.get_secret_keys()
        except (Unavailable, DeadlineExceeded) as error:
            why = error.message
        else:
            if not view.left:
                return view
            why = f"{view.left} of {view.versions + 1} are sealed with an older key"
        if time.monotonic() > deadline:
            told = f"keys of secrets: not done after {format_duration(timeout)}: {why}"
            raise WaitFailed(f"{told}; what the leader cannot open is in its log")
        time.sleep(_PAUSE)


def _reasons(nodes: Iterable[Node]) -> Iterable[str]:
    for node in nodes:
        mesh, name = node.mesh, node.spec.name
        if node.status.state is not NodeState.READY:
            yield f"{name} is {node.status.state.value}"
        elif mesh.switching:
            yield f"{name} does not use its new key yet"
        elif mesh.next_public_key:
            yield f"{name} waits until it is its turn and every node knows its new key"
        else:
            yield f"{name} has not made a new key yet"
