"""The leader's one question: given this state, what must be proposed, and when to look again?

Called by the leader's loop on each change of the state or of a worker's contact, and at `wake_at`.
Each decider sees the state as the commands before it leave it, so that losing a node, creating
the replacement and placing it is one entry of the log. On a settled state there are no commands.

A service is at rest when it has no rollout under way, each of its slots has its task, ready and of
the current revision, and there is nothing to forget of it: then nobody has anything to decide about
it until it, one of its tasks or one of their nodes changes. Most services are at rest most of the
time, and who keeps a `Reconciliation` from state to state pays only for the others.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import datetime

from warren.core import (
    drain,
    eligible,
    index,
    mesh,
    nodes,
    orchestrator,
    reaper,
    rollout,
    scheduler,
    vips,
)
from warren.core.decisions import Decision, earliest
from warren.core.index import Index, Services
from warren.model.nodes import Node
from warren.model.services import Service
from warren.model.tasks import Task
from warren.state import maps
from warren.state.apply import apply
from warren.state.cluster import ClusterState
from warren.state.commands import Batch, Command

__all__ = ["Decision", "Reconciliation", "reconcile"]


def reconcile(
    state: ClusterState,
    now: datetime,
    new_id: Callable[[], str],
    contacts: Mapping[str, datetime],
    carried: Mapping[str, int] | None = None,
    unheard: Collection[str] = (),
) -> Decision:
    """All commands that the state calls for at `now`: see `Reconciliation.decide`."""
    return Reconciliation().decide(state, now, new_id, contacts, carried, unheard)


class Reconciliation:
    """Answers what `reconcile` does; that it remembers what is at rest only makes it faster."""

    def __init__(self) -> None:
        self._index: Index | None = None
        self._restless: Services = {}

    def decide(
        self,
        state: ClusterState,
        now: datetime,
        new_id: Callable[[], str],
        contacts: Mapping[str, datetime],
        carried: Mapping[str, int] | None = None,
        unheard: Collection[str] = (),
    ) -> Decision:
        """All commands that the state calls for at `now`.

        `contacts`: when the leader last heard each worker, by node id. A new leader starts with
        `nodes.first_contacts`, not with every node: to assume that a node which is DOWN was just
        heard would make it READY and give it tasks.

        `carried`: up to which index each worker's rules are as it was told. `unheard`: nodes that
        this leader knows only from the log, because their workers have not reported to it yet.
        """
        if state.cluster is None:
            return Decision()
        known = self._look(state)
        among = self._restless
        commands: list[Command] = []
        wake_ups: list[datetime | None] = []
        awaits: frozenset[int] = frozenset()
        deciders: tuple[Callable[[ClusterState], Decision], ...] = (
            lambda state: nodes.decide(state, now, contacts, known.tasks_on),
            lambda state: vips.decide(state, among),
            lambda state: rollout.decide(state, now, carried or {}, unheard, among),
            lambda state: orchestrator.decide(state, now, new_id, unheard, among),
            lambda state: drain.decide(state, now, carried or {}, among),
            lambda state: mesh.decide(state, now, carried or {}),
            lambda state: scheduler.decide(state, now, among),
            lambda state: reaper.decide(state, now, among),
        )
        for decide in deciders:
            decision = decide(state)
            commands.extend(decision.commands)
            wake_ups.append(decision.wake_at)
            awaits |= decision.awaits
            if decision.commands:
                state, _ = apply(state, Batch(commands=decision.commands))
                known, concerned = _advance(known, state)
                among = _tasks(known, (*among, *concerned))
        return Decision(commands=tuple(commands), wake_at=earliest(wake_ups), awaits=awaits)

    @property
    def looks_at(self) -> tuple[str, ...]:
        """Services that were not at rest, by name."""
        return tuple(sorted(self._restless))

    def _look(self, state: ClusterState) -> Index:
        """Follow the state, and find out which services are not at rest."""
        names: Iterable[str]
        if self._index is None:
            known, names = index.begin(state), state.services
        else:
            known, concerned = _advance(self._index, state)
            names = {**self._restless, **concerned}
        restless = _tasks(known, names)
        self._index = known
        self._restless = {
            name: tasks
            for name, tasks in restless.items()
            if not _is_at_rest(state, state.services[name], tasks)
        }
        return known


def _advance(before: Index, state: ClusterState) -> tuple[Index, dict[str, None]]:
    """As `index.advance`. Global services are concerned by nodes on which they have nothing, too,
    once those become something else for them."""
    known, concerned = index.advance(before, state, matters=orchestrator.is_leaving)
    old, new = before.state.nodes, state.nodes
    changed = maps.changed_keys(old, new) if old is not new else ()
    if any(_suitability(old.get(each)) != _suitability(new.get(each)) for each in changed):
        concerned |= {name: None for name, each in state.services.items() if each.spec.is_global}
    return known, concerned


def _suitability(node: Node | None) -> object:
    """All that filters ask of a node."""
    return node and (node.spec, node.status.state, node.description)


def _tasks(known: Index, names: Iterable[str]) -> Services:
    services = known.state.services
    return {name: known.tasks_of.get(name, {}) for name in names if name in services}


def _is_at_rest(state: ClusterState, service: Service, tasks: Mapping[str, Task]) -> bool:
    if service.live_rollout is not None:
        return False
    if service.removing or not service.vip:
        return False
    within = eligible.numbers(state, service, tasks.values())
    live = [task for task in tasks.values() if not task.status.state.terminal]
    if service.spec.is_global:
        live = [t for t in live if t.slot in within or not eligible.is_held(state, service, t)]
    if len(live) != len(within):
        return False
    if not all(_is_settled(service, task, state.nodes.get(task.node_id)) for task in live):
        return False
    if any(task.slot not in within for task in live):
        return False
    if len({task.slot for task in live}) != len(live):
        return False
    if len(live) == len(tasks):
        return True
    # Of ended tasks, the orchestrator may have to note that they are in no slot any more, and the
    # reaper to forget some; both may look at the clock.
    ended = (task for task in tasks.values() if task.status.state.terminal)
    return all(task.slot in within for task in ended) and (
        reaper.of_service(state, service, tasks.values(), service.updated_at) == Decision()
    )


def _is_settled(service: Service, task: Task, node: Node | None) -> bool:
    return (
        task.wanted
        and task.ready
        and not task.leaving
        and task.revision == service.revision
        and not orchestrator.is_leaving(node)
    )
