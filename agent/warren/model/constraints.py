"""Limits on a field's value, written in its annotation and checked by the manifest parser.

`replicas: Annotated[int, Range(0, 10_000)]` — the type says what it is, the constraint what it may
be. `check` returns the sentence that refuses the value, or None.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Range:
    """A number between `low` and `high`, both included."""

    low: float
    high: float

    def check(self, value: object) -> str | None:
        assert isinstance(value, int | float)
        if self.low <= value <= self.high:
            return None
        return f"{value} is not between {self.low} and {self.high}"


@dataclass(frozen=True, slots=True)
class Pattern:
    """Text that matches `regex` as a whole; `meaning` tells the user what is accepted."""

    regex: str
    meaning: str

    def check(self, value: object) -> str | None:
        assert isinstance(value, str)
        if re.fullmatch(self.regex, value):
            return None
        return f"{value!r} is not {self.meaning}"


@dataclass(frozen=True, slots=True)
class NotEmpty:
    """Text or a list with something in it."""

    def check(self, value: object) -> str | None:
        return None if value else "must not be empty"


DNS_LABEL = Pattern(
    r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
    "a DNS label (lower-case letters, digits and inner hyphens, at most 63)",
)
"""RFC 1123: names become host names, cgroup names and interface names."""

DNS_NAME = Pattern(
    r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*",
    "a DNS name (lower-case labels, divided by dots)",
)

Constraint = Range | Pattern | NotEmpty
