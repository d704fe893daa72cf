"""A changed copy of a record is what `dataclasses` would make of it."""

import dataclasses

import pytest
from warren.model import records
from warren.model.tasks import DesiredState
from warren.state.cluster import ClusterState
from warren.testing.builders import a_node, a_service, a_state, a_task


def test_changes_what_is_named_and_keeps_the_rest() -> None:
    task = a_task(1, "w1")

    changed = records.replace(task, version=7, desired=DesiredState.STOPPED)

    assert changed == dataclasses.replace(task, version=7, desired=DesiredState.STOPPED)
    assert task == a_task(1, "w1")


def test_copies_records_that_inherit_fields() -> None:
    spec = a_service(replicas=2).spec

    assert records.replace(spec, image="new") == dataclasses.replace(spec, image="new")


def test_copies_a_whole_state() -> None:
    state = a_state(nodes=[a_node("w1")], services=[a_service()], tasks=[a_task(1, "w1")])

    assert records.replace(state, index=9) == dataclasses.replace(state, index=9)
    assert records.replace(ClusterState(), index=9).tasks == {}


def test_the_copy_is_as_frozen_as_the_record() -> None:
    copy = records.replace(a_task(1), version=7)

    with pytest.raises(dataclasses.FrozenInstanceError):
        copy.version = 8  # type: ignore[misc]


def test_says_which_field_there_is_not() -> None:
    with pytest.raises(AttributeError, match="colour"):
        records.replace(a_task(1), colour="red")  # type: ignore[call-arg]
