"""Which manager to try next, and after what wait. Pure; `session.py` connects and sleeps."""

from dataclasses import dataclass, replace
from datetime import timedelta

WAIT_MIN = timedelta(milliseconds=100)
WAIT_MAX = timedelta(seconds=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A worker's search for the leader."""

    managers: tuple[str, ...]
    """Addresses, in the order in which they are tried."""
    target: str
    """The one to try now. A leader that a manager named need not be among `managers`."""
    failures: int = 0
    """Tries in a row that led to no assignment, but for the first redirection."""
    redirected: bool = False

    def wait(self, chance: float) -> timedelta:
        """How long to wait before trying `target`; `chance` in [0, 1) keeps workers apart."""
        if not self.failures:
            return timedelta()
        longest = min(WAIT_MIN * (1 << min(self.failures - 1, 10)), WAIT_MAX)
        return longest * (0.5 + chance / 2)


def begin(managers: tuple[str, ...]) -> Search:
    """Nothing is known but where managers are."""
    return Search(managers=managers, target=managers[0] if managers else "")


def connected(search: Search) -> Search:
    """The target leads: it sent an assignment."""
    return replace(search, failures=0, redirected=False)


def redirect(search: Search, leader: str) -> Search:
    """The target named the leader. The first time this costs no wait; managers that point at
    each other in an election do."""
    failures = search.failures + search.redirected
    return replace(search, target=leader, failures=failures, redirected=True)


def fail(search: Search) -> Search:
    """The target is not to be had: on to the next manager."""
    return replace(search, target=_next(search), failures=search.failures + 1, redirected=False)


def learn(search: Search, managers: tuple[str, ...]) -> Search:
    """The managers are others now; an empty answer teaches nothing."""
    if not managers:
        return search
    return replace(search, managers=managers, target=search.target or managers[0])


def _next(search: Search) -> str:
    if not search.managers:
        return search.target
    if search.target not in search.managers:
        return search.managers[0]
    position = search.managers.index(search.target)
    return search.managers[(position + 1) % len(search.managers)]
