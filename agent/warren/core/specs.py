"""Specs as users write them: what was left out, what would change, what is malformed. Any spec.

Called by the API for every Apply, dry or not; `services.py` adds what only services need. Reading
and writing is the manifest's, so that paths and texts are those that the user knows.
"""

from collections.abc import Iterable, Iterator
from dataclasses import MISSING, dataclass, fields, replace
from typing import Any, Generic, TypeVar

from warren.model import manifest
from warren.model.errors import InvalidInput
from warren.model.views import Change

S = TypeVar("S")


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit(Generic[S]):
    """What an Apply comes to."""

    before: S | None
    after: S
    version: int
    """Of what is stored; 0 where nothing is."""

    @property
    def needed(self) -> bool:
        """There is something to store."""
        return self.after != self.before

    def changes(self) -> tuple[Change, ...]:
        """Every difference, for people."""
        return changes(self.before, self.after)


def merge(before: S | None, spec: S, given: Iterable[str], *, path: str) -> S:
    """`spec` in the fields that the user gave, elsewhere what was before, else the default."""
    known = {field.name: field for field in fields(spec)}  # type: ignore[arg-type]
    names = set(given)
    for name in sorted(names - known.keys()):
        raise InvalidInput(f"unknown field, known are {', '.join(known)}", path=f"{path}.{name}")
    values = {name: getattr(spec, name) for name in known if name in names}
    if before is not None:
        return replace(before, **values)  # type: ignore[type-var]
    for name, field in known.items():
        if name not in names and field.default is field.default_factory is MISSING:
            raise InvalidInput("is required", path=f"{path}.{name}")
    return type(spec)(**values)


def differing(before: S | None, after: S) -> tuple[str, ...]:
    """Names of the fields in which two specs differ; all, where there is nothing before."""
    names = (field.name for field in fields(after))  # type: ignore[arg-type]
    if before is None:
        return tuple(names)
    return tuple(name for name in names if getattr(before, name) != getattr(after, name))


def changes(before: S | None, after: S) -> tuple[Change, ...]:
    """Every difference, in the order of the fields. On creation: all that is not the default."""
    bare = before is None
    only = differing(before, after)
    old = {} if bare else manifest.to_dict(before, secrets=True, only=only)
    new = manifest.to_dict(after, secrets=True, omit_defaults=bare, only=only)
    shown_old = {} if bare else manifest.to_dict(before, only=only)
    shown_new = manifest.to_dict(after, omit_defaults=bare, only=only)
    found = _differences((old, new), (shown_old, shown_new), ())
    return tuple(
        Change(path=manifest.format_path(path), before=_text(one), after=_text(other))
        for path, one, other in found
        if not _is_nothing_in_an_element(path, one, other)
    )


def _is_nothing_in_an_element(path: tuple[str | int, ...], one: Any, other: Any) -> bool:
    """An element of a list came or went, and had nothing in this field: not worth a line."""
    return any(isinstance(step, int) for step in path) and not one and not other


def _differences(
    actual: tuple[Any, Any], shown: tuple[Any, Any], path: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], Any, Any]]:
    """Leaves at which `actual` differs, as `shown` writes them (without the secrets)."""
    keys = _keys(*actual)
    if keys is None:
        if actual[0] != actual[1]:
            yield path, *shown
        return
    for key in keys:
        yield from _differences(
            (_entry(actual[0], key), _entry(actual[1], key)),
            (_entry(shown[0], key), _entry(shown[1], key)),
            (*path, key),
        )


def _keys(old: Any, new: Any) -> list[str | int] | None:
    """The keys within either side, in order; None if they are leaves."""
    sides = [side for side in (old, new) if side is not None]
    if sides and all(isinstance(side, dict) for side in sides):
        return list(dict.fromkeys(key for side in sides for key in side))
    objects = all(isinstance(side, list) for side in sides) and any(sides)
    if objects and all(isinstance(element, dict) for side in sides for element in side):
        return list(range(max(len(side) for side in sides)))
    return None


def _entry(side: Any, key: str | int) -> Any:
    if isinstance(side, dict):
        return side.get(key)
    if isinstance(side, list) and isinstance(key, int) and key < len(side):
        return side[key]
    return None


def _text(value: Any) -> str:
    """A leaf as a manifest would have it on one line."""
    match value:
        case None | []:
            return ""
        case bool():
            return "true" if value else "false"
        case list():
            return f"[{', '.join(_text(element) for element in value)}]"
        case float():
            return f"{value:g}"
        case _:
            return str(value)
