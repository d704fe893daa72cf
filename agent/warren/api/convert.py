"""The one converter between the vocabulary and the wire: by field name, driven by type hints.

Pairs, each way: dataclass - message of the same name; enum member - enum value `TYPE_MEMBER`;
datetime - Timestamp (UTC); timedelta - Duration; tuple - repeated; Mapping - map; `X | None` -
`optional`. `Command` and `Outcome` are unions of dataclasses - a message with one oneof.
A test compares every dataclass with its descriptor, so a forgotten field is found there.
"""

import re
import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import cache
from operator import attrgetter
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

from google.protobuf.message import Message

from warren.api import warren_pb2
from warren.model.errors import InvalidInput
from warren.state import commands

M = TypeVar("M")
Encoder = Callable[[Any, Any, str], None]
"""Sets `message.field` from a value: (message, value, field name)."""
Decoder = Callable[[Any, str], Any]
"""Reads `message.field`: (message, field name)."""


def to_message(value: object) -> Any:
    """The message of the same name as `value`'s class."""
    message = getattr(warren_pb2, type(value).__name__)()
    _fill(message, value)
    return message


def from_message(message: Message, kind: type[M]) -> M:
    """The dataclass `kind` from a message of the same name. InvalidInput if it cannot be one."""
    try:
        plan = _plan(kind)
        values = dict(zip(plan.scalars, plan.read_scalars(message), strict=True))
        for name, read in plan.others:
            values[name] = read(message, name)
        return kind(**values)
    except (ValueError, KeyError, OverflowError) as error:
        raise InvalidInput(f"malformed {kind.__name__}: {error}") from error


def command_to_bytes(command: commands.Command) -> bytes:
    """A command as it stands in the log."""
    data: bytes = _command_message(command).SerializeToString(deterministic=True)
    return data


def command_from_bytes(data: bytes) -> commands.Command:
    """The command that `command_to_bytes` wrote."""
    return _command_from_message(warren_pb2.Command.FromString(data))


def outcome_to_bytes(outcome: commands.Outcome) -> bytes:
    """An outcome, to be carried back to the proposer."""
    field = _snake(type(outcome).__name__)
    data: bytes = warren_pb2.Outcome(**{field: to_message(outcome)}).SerializeToString()
    return data


def outcome_from_bytes(data: bytes) -> commands.Outcome:
    """The outcome that `outcome_to_bytes` wrote."""
    message = warren_pb2.Outcome.FromString(data)
    if message.WhichOneof("outcome") == "applied":
        return from_message(message.applied, commands.Applied)
    return from_message(message.rejected, commands.Rejected)


def _command_message(command: commands.Command) -> warren_pb2.Command:
    if isinstance(command, commands.Batch):
        members = [_command_message(member) for member in command.commands]
        return warren_pb2.Command(batch=warren_pb2.Batch(commands=members))
    return warren_pb2.Command(**{_snake(type(command).__name__): to_message(command)})


def _command_from_message(message: warren_pb2.Command) -> commands.Command:
    name = message.WhichOneof("command")
    if name is None:
        raise InvalidInput("malformed command: a kind that this version does not know")
    if name == "batch":
        members = tuple(_command_from_message(member) for member in message.batch.commands)
        return commands.Batch(commands=members)
    kind: type[commands.Command] = _COMMANDS[name]
    return from_message(getattr(message, name), kind)


def _fill(message: Any, value: object) -> None:
    """What is nothing is left out: that is how it is read again."""
    for name, write, is_optional in _plan(type(value)).writers:
        current = getattr(value, name)
        if current or is_optional:
            write(message, current, name)


class _Plan(NamedTuple):
    """How the fields of a dataclass are written and read."""

    writers: tuple[tuple[str, Encoder, bool], ...]
    """Field, how it is written, and whether there is a difference between nothing and unset."""
    scalars: tuple[str, ...]
    """Fields that are in the message as they are."""
    read_scalars: Callable[[Any], tuple[Any, ...]]
    """All of them at once, which is much faster than one by one."""
    others: tuple[tuple[str, Decoder], ...]


def _plan(kind: type) -> _Plan:
    """Worked out once per class."""
    plan = _plans.get(kind)
    if plan is None:
        plan = _plans[kind] = _new_plan(kind)
    return plan


_plans: dict[type, _Plan] = {}


def _new_plan(kind: Any) -> _Plan:
    hints = get_type_hints(kind, include_extras=True)
    codecs = {f.name: _codec(hints[f.name]) for f in fields(kind)}
    scalars = tuple(name for name, codec in codecs.items() if codec is _SCALAR)
    return _Plan(
        writers=tuple((n, write, _is_optional(hints[n])) for n, (write, _) in codecs.items()),
        scalars=scalars,
        read_scalars=_getter(scalars),
        others=tuple(
            (f.name, _with_default(codecs[f.name][1], f.default))
            for f in fields(kind)
            if f.name not in scalars
        ),
    )


def _with_default(read: Decoder, default: object) -> Decoder:
    """An enum that is not set, because who wrote it did not know the field, is at its default."""
    if not isinstance(default, Enum):
        return read
    return lambda message, name: read(message, name) if getattr(message, name) else default


def _getter(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    if len(names) > 1:
        return attrgetter(*names)
    return lambda message: tuple(getattr(message, name) for name in names)


def _is_optional(hint: Any) -> bool:
    return get_origin(_plain(hint)) in (Union, types.UnionType)


def _codec(hint: Any) -> tuple[Encoder, Decoder]:
    if _is_optional(hint):
        (inner,) = (arg for arg in get_args(_plain(hint)) if arg is not type(None))
        return _optional(_codec(inner), _is_message(_plain(inner)))
    hint = _plain(hint)
    if get_origin(hint) is tuple:
        return _repeated(_plain(get_args(hint)[0]))
    if get_origin(hint) is Mapping:
        return _map(_plain(get_args(hint)[1]))
    if is_dataclass(hint):
        return _nested(hint)
    if hint is datetime:
        return _TIME
    if hint is timedelta:
        return _DURATION
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _enum(hint)
    return _SCALAR


def _plain(hint: Any) -> Any:
    """The hint without Annotated and NewType."""
    if get_origin(hint) is Annotated:
        return _plain(get_args(hint)[0])
    if isinstance(hint, NewType):
        return _plain(hint.__supertype__)
    return hint


def _is_message(hint: Any) -> bool:
    return isinstance(hint, type) and is_dataclass(hint)


def _optional(codec: tuple[Encoder, Decoder], is_message: bool) -> tuple[Encoder, Decoder]:
    write, read = codec

    def write_present(message: Any, value: Any, name: str) -> None:
        if value is None:
            return
        if is_message:
            getattr(message, name).SetInParent()
        write(message, value, name)

    return (
        write_present,
        lambda message, name: read(message, name) if message.HasField(name) else None,
    )


def _repeated(item: Any) -> tuple[Encoder, Decoder]:
    if _is_message(item):

        def write_messages(message: Any, value: Any, name: str) -> None:
            getattr(message, name).extend(to_message(element) for element in value)

        return write_messages, lambda message, name: tuple(
            from_message(element, item) for element in getattr(message, name)
        )
    if isinstance(item, type) and issubclass(item, Enum):
        numbers, members = _enum_tables(item)

        def write_enums(message: Any, value: Any, name: str) -> None:
            getattr(message, name).extend(numbers[element] for element in value)

        return write_enums, lambda message, name: tuple(
            members[number] for number in getattr(message, name)
        )

    def write_scalars(message: Any, value: Any, name: str) -> None:
        getattr(message, name).extend(value)

    return write_scalars, lambda message, name: tuple(getattr(message, name))


def _map(item: Any) -> tuple[Encoder, Decoder]:
    if _is_message(item):

        def write_messages(message: Any, value: Any, name: str) -> None:
            field = getattr(message, name)
            for key, element in value.items():
                _fill(field[key], element)

        return write_messages, lambda message, name: {
            key: from_message(element, item) for key, element in getattr(message, name).items()
        }

    def write_scalars(message: Any, value: Any, name: str) -> None:
        getattr(message, name).update(value)

    return write_scalars, lambda message, name: dict(getattr(message, name))


def _nested(kind: Any) -> tuple[Encoder, Decoder]:
    empty: list[Any] = []
    """The one that stands for an absent message, once it was read."""

    def write(message: Any, value: Any, name: str) -> None:
        _fill(getattr(message, name), value)

    def read(message: Any, name: str) -> Any:
        if message.HasField(name):
            return from_message(getattr(message, name), kind)
        if not empty:
            empty.append(from_message(getattr(message, name), kind))
        return empty[0]

    return write, read


@cache
def _enum_tables(kind: type[Enum]) -> tuple[dict[Enum, int], dict[int, Enum]]:
    wire = getattr(warren_pb2, kind.__name__)
    prefix = _snake(kind.__name__).upper()
    numbers = {member: int(wire.Value(f"{prefix}_{member.name}")) for member in kind}
    return numbers, {number: member for member, number in numbers.items()}


def _enum(kind: type[Enum]) -> tuple[Encoder, Decoder]:
    numbers, members = _enum_tables(kind)

    def write(message: Any, value: Any, name: str) -> None:
        setattr(message, name, numbers[value])

    return write, lambda message, name: members[getattr(message, name)]


def _set(message: Any, value: Any, name: str) -> None:
    setattr(message, name, value)


def _set_time(message: Any, value: datetime, name: str) -> None:
    _set_parts(getattr(message, name), value - _EPOCH)


def _time(message: Any, name: str) -> datetime:
    return _EPOCH + _duration(message, name)


def _set_duration(message: Any, value: timedelta, name: str) -> None:
    if value < timedelta():
        getattr(message, name).FromTimedelta(value)
    else:
        _set_parts(getattr(message, name), value)


def _duration(message: Any, name: str) -> timedelta:
    parts = getattr(message, name)
    return timedelta(seconds=parts.seconds, microseconds=int(parts.nanos / 1000))


def _set_parts(parts: Any, value: timedelta) -> None:
    """As protobuf's own, which take several times as long."""
    parts.seconds = value.days * 86_400 + value.seconds
    parts.nanos = value.microseconds * 1000


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SCALAR: tuple[Encoder, Decoder] = (_set, lambda message, name: getattr(message, name))
_TIME: tuple[Encoder, Decoder] = (_set_time, _time)
_DURATION: tuple[Encoder, Decoder] = (_set_duration, _duration)


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


_COMMANDS: dict[str, type[Any]] = {
    _snake(kind.__name__): kind for kind in get_args(commands.Command)
}
