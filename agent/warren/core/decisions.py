"""What every decider answers: commands to propose, and when to ask again.

A decider looks at the whole state each time and remembers nothing. That makes a change of leader
uneventful: the new one asks the same question of the same data.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from warren.state.commands import Command


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Commands in the order they must be applied; none when there is nothing to do."""

    commands: tuple[Command, ...] = ()
    wake_at: datetime | None = None
    """The next moment at which time alone could change the answer; always later than `now`."""
    awaits: frozenset[int] = frozenset()
    """Indexes of the log; that all nodes have carried one of them could change the answer."""


def earliest(moments: Iterable[datetime | None]) -> datetime | None:
    """The first of the moments that are given."""
    return min((moment for moment in moments if moment is not None), default=None)
