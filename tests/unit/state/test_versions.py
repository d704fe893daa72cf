"""Which command set a command needs."""

from dataclasses import replace

import pytest
from warren.model.rollouts import Pin, Strategy, UpdatePolicy
from warren.model.services import ServiceMode, ServiceSpec
from warren.state import versions
from warren.state.commands import Batch, Command, CreateTask, PutService, RemoveJoinToken
from warren.testing.builders import NOON, a_spec, a_task

PUT = PutService(spec=a_spec(replicas=3), expected_version=0, now=NOON)
REMOVE = RemoveJoinToken(token_id="x")


@pytest.mark.parametrize("command", [PUT, REMOVE, Batch(commands=(PUT, REMOVE))])
def test_the_first_set_knows_all_that_is_not_listed(command: Command) -> None:
    assert versions.version_of(command) == 1


def test_a_listed_command_needs_its_set_inside_of_a_batch_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(versions, "SINCE", {RemoveJoinToken: 3})

    assert versions.version_of(REMOVE) == 3
    assert versions.version_of(Batch(commands=(PUT, REMOVE))) == 3
    assert versions.version_of(PUT) == 1


def test_a_listed_field_counts_where_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "FIELDS_SINCE", {(ServiceSpec, "labels"): 2})
    labelled = PutService(spec=a_spec(labels={"a": "b"}), expected_version=0, now=NOON)

    assert versions.version_of(labelled) == 2
    assert versions.version_of(PUT) == 1


def test_a_pin_needs_managers_that_know_it() -> None:
    def update(pin: Pin | None) -> PutService:
        policy = UpdatePolicy(strategy=Strategy.BLUE_GREEN, pin=pin)
        return PutService(spec=a_spec(update=policy), expected_version=0, now=NOON)

    assert versions.version_of(update(None)) == 2
    assert versions.version_of(update(Pin(sources=("10.0.0.7",)))) == 3


def test_nothing_is_listed_as_newer_than_this_manager() -> None:
    newest = max([1, *versions.SINCE.values(), *versions.FIELDS_SINCE.values()])

    assert newest <= versions.COMMANDS_VERSION


def test_a_global_service_needs_managers_that_know_of_nodes_as_slots() -> None:
    spec = a_spec(mode=ServiceMode.GLOBAL)
    task = CreateTask(task=replace(a_task(), node="w1"))

    assert versions.version_of(PutService(spec=spec, expected_version=0, now=NOON)) == 3
    assert versions.version_of(task) == 3
    assert versions.version_of(CreateTask(task=a_task())) == 1


def test_a_secret_for_pulls_needs_managers_that_know_it() -> None:
    spec = a_spec(registry_secret="registry")
    template = replace(a_task().template, registry_secret="registry")

    assert versions.version_of(PutService(spec=spec, expected_version=0, now=NOON)) == 4
    assert versions.version_of(CreateTask(task=replace(a_task(), template=template))) == 4
