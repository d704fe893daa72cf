"""Manifests: plain data as users write it, to and from the vocabulary, driven by the type hints.

Called at the edge only: by the CLI, by the Ansible modules and for what they print. Finds unknown
keys, wrong types and values outside their constraints before any connection is made, and names
the place by its path (`web.ports[0].target`). What needs more than one value to judge (a
reservation above its limit, a port taken twice) is judged by `core/services.py`, on the server.
"""

import math
import re
import types
from collections.abc import Callable, Container, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass, replace
from datetime import timedelta
from difflib import get_close_matches
from enum import Enum
from typing import (
    Annotated,
    Any,
    NamedTuple,
    NewType,
    TypeVar,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from warren.model import units
from warren.model.clusters import ClusterSpec
from warren.model.constraints import Constraint, Network, NotEmpty, Pattern, Range
from warren.model.errors import InvalidInput
from warren.model.nodes import NodeSpec
from warren.model.secrets import ConfigSpec, SecretSpec
from warren.model.services import HIDDEN, Bytes, Secret, ServiceSpec
from warren.model.volumes import VolumeSpec

T = TypeVar("T")
Q = TypeVar("Q", int, timedelta)
Path = tuple[str | int, ...]
"""The way to a value, outermost first: `("web", "ports", 0, "target")`."""
Reader = Callable[[object, Path], Any]
"""A value of the model from a value as YAML gives it."""
Writer = Callable[[Any, "Form"], object]
"""The reverse."""

_INT64_MAX = 2**63 - 1


class Form(NamedTuple):
    """How `to_dict` writes."""

    omit_defaults: bool
    secrets: bool


def parse_service(data: object, *, partial: bool = False) -> tuple[ServiceSpec, tuple[str, ...]]:
    """The service, and the keys that `data` has: others are left as they are by an Apply.

    A key whose value is null counts as there, with its default. With `partial` the image may be
    missing, for a change to a service that exists; it then reads as empty text.
    """
    if partial and isinstance(data, Mapping) and "image" not in data:
        spec, fields_given = _parse_top(ServiceSpec, {**data, "image": "-"}, "service")
        return replace(spec, image=""), tuple(name for name in fields_given if name != "image")
    return _parse_top(ServiceSpec, data, "service")


def parse_node(data: object) -> tuple[NodeSpec, tuple[str, ...]]:
    """The node's spec, and the keys that `data` has."""
    return _parse_top(NodeSpec, data, "node")


def parse_cluster(data: object) -> tuple[ClusterSpec, tuple[str, ...]]:
    """The cluster's settings, and the keys that `data` has."""
    return _parse_top(ClusterSpec, data, "cluster")


def parse_secret(data: object) -> tuple[SecretSpec, tuple[str, ...]]:
    """The secret's spec, which has no value, and the keys that `data` has."""
    return _parse_top(SecretSpec, data, "secret")


def parse_config(data: object) -> tuple[ConfigSpec, tuple[str, ...]]:
    """The config's spec, and the keys that `data` has."""
    return _parse_top(ConfigSpec, data, "config")


def parse_volume(data: object) -> tuple[VolumeSpec, tuple[str, ...]]:
    """The volume's spec, and the keys that `data` has."""
    return _parse_top(VolumeSpec, data, "volume")


def service_to_dict(
    spec: ServiceSpec, *, omit_defaults: bool = True, secrets: bool = False
) -> dict[str, Any]:
    """What `parse_service` would read as `spec`: short human forms, and the name first."""
    return {"name": spec.name, **to_dict(spec, omit_defaults=omit_defaults, secrets=secrets)}


def to_dict(
    value: Any,
    *,
    omit_defaults: bool = False,
    secrets: bool = False,
    only: Container[str] | None = None,
) -> dict[str, Any]:
    """A dataclass of the model as plain data. Secrets read `(hidden)` unless asked for.

    `only`: the fields to write, if not all.
    """
    return _write_fields(value, Form(omit_defaults, secrets), only)


def format_path(path: Path) -> str:
    """`web.ports[0].target`; a key that is not a plain word is quoted: `web.labels['a.b']`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif re.fullmatch(r"[\w-]+", step):
            text += f".{step}" if text else step
        else:
            text += f"[{step!r}]"
    return text


def unknown_key(key: str, known: tuple[str, ...], path: Path) -> InvalidInput:
    """The refusal of a key, with the known key it was probably meant to be."""
    close = get_close_matches(key, known, n=1, cutoff=0.6)
    hint = f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}"
    return InvalidInput(f"unknown key ({hint})", path=format_path((*path, key)))


def _parse_top(kind: type[T], data: object, noun: str) -> tuple[T, tuple[str, ...]]:
    """The path starts with the object's own name when it has one, else with what it is."""
    entries = _mapping(data, (noun,))
    name = entries.get("name")
    path = (name if isinstance(name, str) and re.fullmatch(r"[a-z0-9-]+", name) else noun,)
    value = _read_fields(kind, entries, path)
    return value, tuple(f.name for f in fields(kind) if f.name in entries)  # type: ignore[arg-type]


def _read_fields(kind: type[T], entries: dict[str, object], path: Path) -> T:
    plan = _plan(kind)
    for key in entries:
        if key not in plan:
            raise unknown_key(key, tuple(plan), path)
    values = {}
    for name, entry in plan.items():
        if entries.get(name) is not None:
            values[name] = entry.read(entries[name], (*path, name))
        elif entry.required:
            raise InvalidInput("is required", path=format_path((*path, name)))
    return kind(**values)


def _write_fields(value: Any, form: Form, only: Container[str] | None = None) -> dict[str, Any]:
    written = {}
    plan = _plan(type(value))
    for name, entry in plan.items():
        if only is not None and name not in only:
            continue
        current = getattr(value, name)
        if form.omit_defaults and not entry.required and current == entry.default:
            continue
        written[name] = entry.write(current, form)
    return written


class _Entry(NamedTuple):
    """How one field is read and written."""

    read: Reader
    write: Writer
    required: bool
    default: object


def _plan(kind: type) -> dict[str, _Entry]:
    plan = _plans.get(kind)
    if plan is None:
        hints = get_type_hints(kind, include_extras=True)
        plan = {f.name: _entry(f, hints[f.name]) for f in fields(kind)}
        _plans[kind] = plan
    return plan


_plans: dict[type, dict[str, _Entry]] = {}


def _entry(entry: "Field[Any]", hint: Any) -> _Entry:
    read, write = _codec(hint)
    if entry.default_factory is not MISSING:
        return _Entry(read, write, required=False, default=entry.default_factory())
    return _Entry(read, write, required=entry.default is MISSING, default=entry.default)


def _codec(hint: Any) -> tuple[Reader, Writer]:
    origin = get_origin(hint)
    if origin is Annotated:
        inner, *constraints = get_args(hint)
        read, write = _codec(inner)
        return _constrained(read, constraints), write
    if origin in (Union, types.UnionType):
        (inner,) = (arg for arg in get_args(hint) if arg is not type(None))
        read, write = _codec(inner)
        return read, lambda value, form: None if value is None else write(value, form)
    if origin is tuple:
        return _list(*_codec(get_args(hint)[0]))
    if origin is Mapping:
        return _map(*_codec(get_args(hint)[1]))
    if isinstance(hint, NewType):
        return _NEW_TYPES[hint]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _enum(hint)
    if is_dataclass(hint):
        return (
            lambda value, path: _read_fields(hint, _mapping(value, path), path),  # type: ignore[arg-type]
            _write_fields,
        )
    read_scalar, write_scalar = _SCALARS[hint]
    return read_scalar, write_scalar


def _constrained(read: Reader, constraints: list[Constraint]) -> Reader:
    def read_checked(value: object, path: Path) -> Any:
        parsed = read(value, path)
        for constraint in constraints:
            assert isinstance(constraint, Range | Pattern | NotEmpty | Network)
            refusal = constraint.check(parsed)
            if refusal:
                raise InvalidInput(refusal, path=format_path(path))
        return parsed

    return read_checked


def _list(read: Reader, write: Writer) -> tuple[Reader, Writer]:
    def read_list(value: object, path: Path) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise InvalidInput(f"{_shown(value)} is not a list", path=format_path(path))
        return tuple(read(item, (*path, place)) for place, item in enumerate(value))

    return read_list, lambda value, form: [write(item, form) for item in value]


def _map(read: Reader, write: Writer) -> tuple[Reader, Writer]:
    def read_map(value: object, path: Path) -> dict[str, Any]:
        entries = _mapping(value, path)
        return {key: read(item, (*path, key)) for key, item in entries.items()}

    return read_map, lambda value, form: {
        key: write(value[key], form) for key in sorted(value)
    }  # protobuf maps have no order: sorted, so that two reads print the same


def _enum(kind: type[Enum]) -> tuple[Reader, Writer]:
    members = {member.value: member for member in kind}

    def read(value: object, path: Path) -> Enum:
        member = members.get(value) if isinstance(value, str) else None
        if member is None:
            raise InvalidInput(
                f"{_shown(value)} is not one of {', '.join(members)}", path=format_path(path)
            )
        return member

    return read, lambda value, _form: value.value


def _mapping(value: object, path: Path) -> dict[str, object]:
    """The value as a mapping with text keys; YAML also allows numbers there."""
    if not isinstance(value, Mapping):
        raise InvalidInput(f"{_shown(value)} is not a mapping", path=format_path(path))
    return {_text(key, path): item for key, item in value.items()}


def _text(value: object, path: Path) -> str:
    """Text. Whole numbers are accepted, since templates make them of `"{{ port }}"`.

    Other numbers are not: YAML has already turned `1.10` into 1.1.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        hint = ": put it in quotes" if isinstance(value, bool | float) else ""
        raise InvalidInput(f"{_shown(value)} is not text{hint}", path=format_path(path))
    try:
        value.encode()
    except UnicodeEncodeError:
        raise InvalidInput("is not valid Unicode text", path=format_path(path)) from None
    if "\0" in value:
        raise InvalidInput("contains a NUL character", path=format_path(path))
    return str(value)


def _integer(value: object, path: Path) -> int:
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?[0-9]{1,20}\s*", value):
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidInput(f"{_shown(value)} is not a whole number", path=format_path(path))
    return value


def _number(value: object, path: Path) -> float:
    if isinstance(value, str) and re.fullmatch(r"\s*[+-]?[0-9]+(\.[0-9]+)?\s*", value):
        value = float(value)
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise InvalidInput(f"{_shown(value)} is not a number", path=format_path(path))
    return float(value)


def _boolean(value: object, path: Path) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput(f"{_shown(value)} is not true or false", path=format_path(path))
    return value


def _size(value: object, path: Path) -> Bytes:
    return Bytes(_quantity(units.parse_bytes, value, path, 0, _INT64_MAX))


def _duration(value: object, path: Path) -> timedelta:
    return _quantity(units.parse_duration, value, path, timedelta(), timedelta(days=36_500))


def _quantity(parse: Callable[[object], Q], value: object, path: Path, low: Q, high: Q) -> Q:
    try:
        parsed = parse(value)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(str(error), path=format_path(path)) from None
    if not low <= parsed <= high:
        sense = "negative" if parsed < low else "too large"
        raise InvalidInput(f"{_shown(value)} is {sense}", path=format_path(path))
    return parsed


def _shown(value: object) -> str:
    """The value as the user may recognise it, cut short."""
    if isinstance(value, bool):
        return "true" if value else "false"
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _as_is(value: Any, _form: Form) -> object:
    return value


def _write_secret(value: Any, form: Form) -> object:
    return value if form.secrets else HIDDEN


def _write_size(value: Any, _form: Form) -> object:
    return units.format_bytes(value)


def _write_duration(value: Any, _form: Form) -> object:
    return units.format_duration(value)


def _write_number(value: Any, _form: Form) -> object:
    return int(value) if value == int(value) else value


_SCALARS: dict[type, tuple[Reader, Writer]] = {
    str: (_text, _as_is),
    int: (_integer, _as_is),
    float: (_number, _write_number),
    bool: (_boolean, _as_is),
    timedelta: (_duration, _write_duration),
}
_NEW_TYPES: dict[Any, tuple[Reader, Writer]] = {
    Bytes: (_size, _write_size),
    Secret: (_text, _write_secret),
}
