"""What unbound is to be told when the records of a service change. Pure; called by `unbound.py`.

unbound holds records as local data. A command adds records, or takes all records from names; none
puts one in the place of another. Each command is carried out between two questions. So a name that
has records before and after a change is hidden behind a copy of the old ones (in a view, which
is asked first) while the real ones are taken and added, and the copy goes in one command.

Behind the copy of a name are those of the names above it: in a view, a name without records that
has longer ones below it is asked of other servers.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

LABEL_CHARACTERS_MAX = 63
NAME_CHARACTERS_MAX = 253


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """In this order; each is one command, or none if there is nothing to say."""

    copy: tuple[str, ...] = ()
    """Records of before, to be answered until the change is over."""
    take: tuple[str, ...] = ()
    """Names."""
    add: tuple[str, ...] = ()
    """Records."""
    uncover: tuple[str, ...] = ()
    """Names of the copies."""


def change(before: Iterable[str], after: Iterable[str]) -> Change:
    """From the records of a service to others."""
    old, new = _by_name(before), _by_name(after)
    take = {name for name, records in old.items() if not records.keys() <= _of(new, name).keys()}
    copied = set(_with_those_above(old, take & new.keys()))
    return Change(
        copy=tuple(record for name in old if name in copied for record in old[name]),
        take=tuple(name for name in old if name in take),
        add=tuple(
            record
            for name, records in new.items()
            for record in records
            if name in take or record not in _of(old, name)
        ),
        uncover=tuple(name for name in old if name in copied),
    )


def together(changes: Iterable[Change]) -> Change:
    """As one: those of services do not touch each other."""
    several = tuple(changes)
    return Change(
        copy=tuple(record for each in several for record in each.copy),
        take=tuple(name for each in several for name in each.take),
        add=tuple(record for each in several for record in each.add),
        uncover=tuple(name for each in several for name in each.uncover),
    )


def in_batches(changes: Iterable[Change], lines_max: int) -> Iterator[Change]:
    """Whole services; unbound answers nobody while it carries out a command."""
    batch: list[Change] = []
    lines = 0
    for each in changes:
        size = len(each.copy) + len(each.take) + len(each.add) + len(each.uncover)
        if batch and lines + size > lines_max:
            yield together(batch)
            batch, lines = [], 0
        batch.append(each)
        lines += size
    if batch:
        yield together(batch)


def mistake(records: Iterable[str]) -> str:
    """Why unbound would refuse one of them, and then not start with it; empty if it would not."""
    for record in records:
        name, _, _, kind, value = record.split(" ", 4)
        if len(name) > NAME_CHARACTERS_MAX:
            return f"{name} has more than {NAME_CHARACTERS_MAX} characters"
        if any(not 0 < len(label) <= LABEL_CHARACTERS_MAX for label in name[:-1].split(".")):
            return f"{name} is not a name"
        if kind == "A" and not _is_address(value):
            return f"{value!r}, for {name}, is not an address"
    return ""


def _by_name(records: Iterable[str]) -> dict[str, dict[str, None]]:
    """In order, and each record once."""
    found: dict[str, dict[str, None]] = {}
    for record in records:
        found.setdefault(record.partition(" ")[0], {})[record] = None
    return found


def _of(records: dict[str, dict[str, None]], name: str) -> dict[str, None]:
    return records.get(name, {})


def _with_those_above(known: dict[str, dict[str, None]], names: Iterable[str]) -> Iterator[str]:
    for name in names:
        above = name
        while above in known:
            yield above
            above = above.partition(".")[2]


def _is_address(text: str) -> bool:
    try:
        IPv4Address(text)
    except ValueError:
        return False
    return True
