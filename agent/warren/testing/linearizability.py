"""Is a history of concurrent reads and writes explained by one order of them? (Wing, Gong, Lowe)

For registers: each key is a register of its own, and a history is linearizable if that of each key
is, which keeps the search small. An operation whose outcome nobody knows may have taken effect at
any time after its call, or never. Give few concurrent clients to a key (five or less), values that
differ, and few unknown outcomes: the search is exponential in those.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

Value = str | None


class Kind(Enum):
    """What a client did."""

    READ = "read"
    WRITE = "write"
    SWAP = "swap"
    """Write `value` if the register holds `expected`; `succeeded` says whether it did."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One call by one client. Times are of one clock."""

    key: str
    kind: Kind
    called_at: float
    returned_at: float | None
    """None: nobody knows whether it took effect."""
    value: Value = None
    """Written, or read."""
    expected: Value = None
    succeeded: bool = False


def unexplained(history: Iterable[Operation], initial: Value = None) -> dict[str, int]:
    """Keys whose operations no order explains, with how many of them the best order explains."""
    keys: defaultdict[str, list[Operation]] = defaultdict(list)
    for operation in history:
        if operation.kind is not Kind.READ or operation.returned_at is not None:
            keys[operation.key].append(operation)
    found = {key: _Search(operations).run(initial) for key, operations in keys.items()}
    return {key: best for key, best in sorted(found.items()) if best is not None}


class _Search:
    """Tries orders depth first: calls and returns in a list that chosen operations are cut from."""

    def __init__(self, operations: list[Operation]) -> None:
        self._operations = sorted(operations, key=lambda o: o.called_at)
        events = []
        for number, operation in enumerate(self._operations):
            ends = math.inf if operation.returned_at is None else operation.returned_at
            events.append((operation.called_at, 0, number))
            events.append((ends, 1, number))
        events.sort()
        self._events = [(kind, number) for _, kind, number in events]
        self._place = {event: place for place, event in enumerate(self._events)}
        self._head = len(events)
        self._after = [*range(1, len(events) + 1), 0]
        self._before = [len(events), *range(len(events))]

    def run(self, initial: Value) -> int | None:
        """None when an order explains all, else how many the longest attempt explained."""
        needed = sum(o.returned_at is not None for o in self._operations)
        state, chosen, explained, best = initial, 0, 0, 0
        tried: set[tuple[int, Value]] = set()
        stack: list[tuple[int, Value]] = []
        place = self._after[self._head]
        while explained < needed:
            kind, number = self._events[place] if place != self._head else (1, -1)
            if kind == 0:
                after = _step(state, self._operations[number])
                if after is not _IMPOSSIBLE and (chosen | 1 << number, after) not in tried:
                    assert after is None or isinstance(after, str)
                    chosen |= 1 << number
                    tried.add((chosen, after))
                    stack.append((number, state))
                    state = after
                    explained += self._operations[number].returned_at is not None
                    best = max(best, explained)
                    self._cut(number)
                    place = self._after[self._head]
                else:
                    place = self._after[place]
                continue
            if not stack:
                return best
            number, state = stack.pop()
            chosen &= ~(1 << number)
            explained -= self._operations[number].returned_at is not None
            self._put_back(number)
            place = self._after[self._place[0, number]]
        return None

    def _cut(self, number: int) -> None:
        for place in (self._place[0, number], self._place[1, number]):
            self._after[self._before[place]] = self._after[place]
            self._before[self._after[place]] = self._before[place]

    def _put_back(self, number: int) -> None:
        for place in (self._place[1, number], self._place[0, number]):
            self._after[self._before[place]] = place
            self._before[self._after[place]] = place


_IMPOSSIBLE = object()


def _step(state: Value, operation: Operation) -> object:
    """The register after an operation, or `_IMPOSSIBLE` if it cannot have answered so there."""
    known = operation.returned_at is not None
    match operation.kind:
        case Kind.READ:
            return state if operation.value == state else _IMPOSSIBLE
        case Kind.WRITE:
            return operation.value
        case Kind.SWAP:
            succeeds = state == operation.expected
            if known and operation.succeeded != succeeds:
                return _IMPOSSIBLE
            return operation.value if succeeds else state
