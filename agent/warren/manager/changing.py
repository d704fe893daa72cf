"""How a user's change is carried out, whatever its noun: decided, made once, answered.

`decide` is the noun's own and pure: what the request comes to at one state. It is asked about the
state that is here, without a question to the other managers, because the write that follows is one:
it is committed only while this manager leads, and then it was decided on the newest state. Every
other answer, a refusal, a dry run, nothing to do, waits for a barrier first.
"""

import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Generic, Protocol, TypeVar

from warren.api import convert
from warren.core.specs import Edit
from warren.manager.authorization import Caller
from warren.manager.cluster import ManagerContext
from warren.model.errors import Conflict, NotFound, WarrenError
from warren.state.cluster import ClusterState
from warren.state.commands import Batch, Command

logger = logging.getLogger(__name__)

A = TypeVar("A")

ATTEMPTS = 3
"""When the caller named no version, a change that came in between is no reason to refuse."""
_NOTHING = Batch(commands=())


async def _no_preparation() -> None:
    return


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent(Generic[A]):
    """What a request comes to at one state."""

    command: Command | None
    """Makes the change; None: all is as it should be."""
    version: int
    """Of what is stored; of the whole state, where nothing is."""
    answer: Callable[[bool, int], A]
    """From whether the call changed something, and the version that is stored now."""
    summary: str
    """Of the change, for the log of the manager: `service web created`."""
    prepare: Callable[[], Awaitable[None]] = _no_preparation
    """What must come before the command."""

    @property
    def needed(self) -> bool:
        """There is something to change."""
        return self.command is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """The part of a request that is the same for every noun."""

    caller: Caller
    expected_version: int = 0
    dry_run: bool = False

    @staticmethod
    def of(request: Any, caller: Caller) -> "Wish":
        """Of a request that has both fields."""
        return Wish(
            caller=caller, expected_version=request.expected_version, dry_run=request.dry_run
        )

    def require_stored(self, stored: "Stored | None", what: str) -> int:
        """The version that is stored; 0: it is not there yet. NotFound, Conflict: it is not what
        the caller means to change."""
        if stored is None and self.expected_version:
            raise NotFound(f"there is no {what}")
        version = stored.version if stored is not None else 0
        self.require_version(version, what)
        return version

    def require_version(self, stored: int, what: str) -> None:
        """Conflict unless the version is the one that the caller expects.

        Of a repeated call only the log can say: the attempt before may have made a new version.
        """
        expected = self.expected_version
        if expected and stored != expected and (self.dry_run or self.caller.attempt == 1):
            raise Conflict(f"{what} was changed: version {stored}, not {expected}")

    def as_first(self) -> "Wish":
        """The same of a call of which nothing came so far."""
        return replace(self, caller=replace(self.caller, attempt=1))


class Stored(Protocol):
    """What the cluster has of a noun."""

    @property
    def version(self) -> int: ...


Decide = Callable[[ClusterState, Wish], Intent[A]]


async def carry_out(context: ManagerContext, wish: Wish, decide: Decide[A]) -> A:
    """The answer to the request. Repeated by the caller, the change is made once."""
    for attempt in range(1, ATTEMPTS + 1):
        intent = await _decided(context, wish, decide, barrier=attempt > 1)
        if wish.dry_run:
            return intent.answer(intent.needed, intent.version)
        try:
            if intent.command is not None:
                return await _make(context, wish, intent, intent.command, attempt)
            if await _was_made(context, wish, intent, attempt):
                return intent.answer(True, intent.version)
            intent = decide(context.store.state, wish.as_first())
            return intent.answer(False, intent.version)
        except Conflict:
            if wish.expected_version or attempt == ATTEMPTS:
                raise
    raise AssertionError("the last attempt answers or raises")


async def _decided(
    context: ManagerContext, wish: Wish, decide: Decide[A], *, barrier: bool
) -> Intent[A]:
    if not (barrier or wish.dry_run):
        with suppress(WarrenError):  # of an old state, perhaps: the newest is asked below
            intent = decide(context.store.state, wish)
            if intent.needed:
                return intent
    return decide(await context.store.barrier(), wish)


async def _make(
    context: ManagerContext, wish: Wish, intent: Intent[A], command: Command, attempt: int
) -> A:
    await intent.prepare()
    applied = await context.store.commit(command, key=wish.caller.key(attempt))
    logger.info("%s by %s", intent.summary, wish.caller.name)
    return intent.answer(True, applied.index)


async def _was_made(context: ManagerContext, wish: Wish, intent: Intent[A], attempt: int) -> bool:
    """Whether what is stored is so by an earlier attempt of this call: its key has the outcome."""
    if wish.caller.attempt == 1:
        return False
    try:
        applied = await context.store.commit(_NOTHING, key=wish.caller.key(attempt))
    except NotFound:
        return False
    return applied.index <= intent.version


def edit_fields(edit: Edit[Any], *, changed: bool) -> dict[str, Any]:
    """Of the answer to an Apply, as most nouns give it."""
    return {
        "changed": changed,
        "before": convert.to_message(edit.before),
        "after": convert.to_message(edit.after),
        "changes": [convert.to_message(change) for change in edit.changes()],
    }
