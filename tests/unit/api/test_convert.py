"""The wire carries the whole vocabulary: every field of every dataclass, there and back."""

import dataclasses
import inspect
import types
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from hypothesis import given, settings
from hypothesis import strategies as st
from warren.api import convert, warren_pb2
from warren.model import (
    assignments,
    checks,
    clusters,
    events,
    nodes,
    rollouts,
    secrets,
    services,
    tasks,
    views,
)
from warren.model.errors import InvalidInput
from warren.model.services import Port, ServiceSpec
from warren.state import cluster, commands
from warren.state.cluster import ClusterState
from warren.testing.builders import a_spec, a_state, a_token

from tests.unit.strategies import COMMANDS, states

MODULES = (
    assignments,
    checks,
    clusters,
    commands,
    events,
    nodes,
    rollouts,
    secrets,
    services,
    tasks,
    views,
    cluster,
)
KINDS = sorted(
    {
        value
        for module in MODULES
        for value in vars(module).values()
        if inspect.isclass(value) and dataclasses.is_dataclass(value)
        if value.__module__.startswith(("warren.model", "warren.state"))
        if value.__module__ != "warren.model.constraints"
    },
    key=lambda kind: kind.__name__,
)
ENUMS = sorted(
    {
        value
        for module in MODULES
        for value in vars(module).values()
        if inspect.isclass(value) and issubclass(value, Enum) and value is not Enum
    },
    key=lambda kind: kind.__name__,
)


def test_the_vocabulary_is_found() -> None:
    assert len(KINDS) > 50
    assert len(ENUMS) >= 9


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.__name__))
def test_a_dataclass_and_its_message_have_the_same_fields(kind: Any) -> None:
    descriptor = getattr(warren_pb2, kind.__name__).DESCRIPTOR
    hints = get_type_hints(kind, include_extras=True)

    assert {f.name: _wire(hints[f.name]) for f in dataclasses.fields(kind)} == _fields(descriptor)


@pytest.mark.parametrize("kind", ENUMS, ids=lambda kind: str(kind.__name__))
def test_an_enum_and_its_wire_form_have_the_same_members(kind: type[Enum]) -> None:
    wire = getattr(warren_pb2, kind.__name__)
    prefix = f"{convert._snake(kind.__name__).upper()}_"

    expected = {f"{prefix}{member.name}" for member in kind} | {f"{prefix}UNSPECIFIED"}
    assert set(wire.keys()) == expected
    assert wire.Value(f"{prefix}UNSPECIFIED") == 0


def test_every_command_is_on_the_wire() -> None:
    names = {convert._snake(kind.__name__) for kind in get_args(commands.Command)}

    assert {field.name for field in warren_pb2.Command.DESCRIPTOR.fields} == names


def _fields(descriptor: Descriptor) -> dict[str, str]:
    """Fields of a message: `repeated Port`, `map Node`, `optional int32`, …"""
    return {field.name: _shape(field) for field in descriptor.fields}


def _shape(field: FieldDescriptor) -> str:
    message = field.message_type
    if message is not None and message.GetOptions().map_entry:
        return f"map {_kind(message.fields_by_name['value'])}"
    if field.is_repeated:
        return f"repeated {_kind(field)}"
    optional = field.containing_oneof is not None
    return f"{'optional ' if optional else ''}{_kind(field)}"


def _kind(field: FieldDescriptor) -> str:
    if field.message_type is not None:
        return str(field.message_type.name)
    if field.enum_type is not None:
        return str(field.enum_type.name)
    if field.type == FieldDescriptor.TYPE_BYTES:
        return "bytes"
    return {
        FieldDescriptor.CPPTYPE_STRING: "text",
        FieldDescriptor.CPPTYPE_BOOL: "bool",
        FieldDescriptor.CPPTYPE_DOUBLE: "float",
    }.get(field.cpp_type, "int")


def _wire(hint: Any) -> str:
    """The shape that a type hint should have on the wire."""
    hint = convert._plain(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        members = [argument for argument in arguments if argument is not type(None)]
        return "Command" if len(members) > 1 else f"optional {_wire(members[0])}"
    if origin is tuple:
        return f"repeated {_wire(arguments[0])}"
    if origin is Mapping:
        return f"map {_wire(arguments[1])}"
    scalars = {str: "text", bool: "bool", float: "float", int: "int", bytes: "bytes"}
    known: dict[Any, str] = {datetime: "Timestamp", timedelta: "Duration", **scalars}
    return known.get(hint) or str(hint.__name__)


WIRE_KINDS = [kind for kind in KINDS if kind is not commands.Batch]


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Any value of a type hint, within what the wire can carry."""
    hint = convert._plain(hint)
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return st.one_of([st.none() if arg is type(None) else values(arg) for arg in arguments])
    if origin is tuple:
        return st.lists(values(arguments[0]), max_size=2).map(tuple)
    if origin is Mapping:
        return st.dictionaries(_TEXT, values(arguments[1]), max_size=2)
    if inspect.isclass(hint) and dataclasses.is_dataclass(hint):
        hints = get_type_hints(hint, include_extras=True)
        return st.deferred(
            lambda: st.builds(hint, **{name: values(inner) for name, inner in hints.items()})
        )
    if isinstance(hint, type) and issubclass(hint, Enum):
        return st.sampled_from(hint)
    return _SCALARS[hint]


_TEXT = st.text(st.characters(codec="utf-8"), max_size=5)
_SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    str: _TEXT,
    bytes: st.binary(max_size=5),
    bool: st.booleans(),
    int: st.integers(0, 2**31 - 1),
    float: st.floats(allow_nan=False),
    datetime: st.datetimes(
        datetime(1970, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
        datetime(2200, 1, 1),  # noqa: DTZ001
        timezones=st.just(UTC),
    ),
    timedelta: st.timedeltas(timedelta(days=-1000), timedelta(days=1000)),
}


@settings(max_examples=15, deadline=None)
@pytest.mark.parametrize("kind", WIRE_KINDS, ids=lambda kind: str(kind.__name__))
@given(data=st.data())
def test_every_value_survives_the_wire(kind: Any, data: st.DataObject) -> None:
    value = data.draw(values(kind))

    wire = convert.to_message(value).SerializeToString()
    message = getattr(warren_pb2, kind.__name__).FromString(wire)

    assert convert.from_message(message, kind) == value


@given(COMMANDS)
def test_every_command_survives_the_log(command: commands.Command) -> None:
    assert convert.command_from_bytes(convert.command_to_bytes(command)) == command


@given(states())
def test_every_state_survives_a_snapshot(state: ClusterState) -> None:
    assert convert.from_message(convert.to_message(state), ClusterState) == state


@pytest.mark.parametrize(
    "outcome",
    [commands.Applied(index=7), commands.Rejected(index=8, reason="Conflict", message="why")],
)
def test_every_outcome_survives_the_way_back(outcome: commands.Outcome) -> None:
    assert convert.outcome_from_bytes(convert.outcome_to_bytes(outcome)) == outcome


def test_the_same_command_is_always_the_same_bytes() -> None:
    one = commands.AddJoinToken(token=a_token())
    spec = a_spec(env={"A": "1", "B": "2"})
    turned = a_spec(env={"B": "2", "A": "1"})

    def put(spec: ServiceSpec) -> bytes:
        return convert.command_to_bytes(
            commands.PutService(spec=spec, expected_version=0, now=one.token.created_at)
        )

    assert put(spec) == put(turned)


def test_a_command_of_a_later_version_is_refused_by_name() -> None:
    with pytest.raises(InvalidInput, match="a kind that this version does not know"):
        convert.command_from_bytes(b"")


def test_an_enum_value_that_is_not_known_is_refused() -> None:
    message = warren_pb2.Port(target=80, protocol=99, mode=warren_pb2.PORT_MODE_MESH)  # type: ignore[arg-type]

    with pytest.raises(InvalidInput, match=r"^malformed Port: 99$"):
        convert.from_message(message, Port)


def test_a_state_without_a_cluster_has_none_after_the_wire() -> None:
    state = dataclasses.replace(a_state(), cluster=None)

    assert convert.from_message(convert.to_message(state), ClusterState) == state
