"""Which command set a command needs."""

from dataclasses import replace

import pytest
from hypothesis import given
from warren.model.nodes import NodeDescription
from warren.model.rollouts import Pin, Strategy, UpdatePolicy
from warren.model.secrets import (
    ConfigSpec,
    KeyEncryptionKey,
    KeyLock,
    SecretKeys,
    SecretSpec,
    WrappedKey,
)
from warren.model.services import ServiceMode, ServiceSpec
from warren.model.volumes import VolumeSpec
from warren.state import versions
from warren.state.apply import apply
from warren.state.cluster import ClusterState
from warren.state.commands import (
    Applied,
    Batch,
    Command,
    CreateTask,
    LockSecretKeys,
    PutConfig,
    PutSecret,
    PutService,
    PutVolume,
    RemoveJoinToken,
    SetNodeDescription,
    SetSecretKeys,
    StartRollout,
)
from warren.testing.builders import (
    NOON,
    a_config,
    a_mount,
    a_secret_version,
    a_service,
    a_spec,
    a_state,
    a_task,
)

from tests.unit.strategies import COMMANDS, states

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


def test_mounts_need_managers_that_know_volumes() -> None:
    mounted = PutService(spec=a_spec(mounts=(a_mount(),)), expected_version=0, now=NOON)
    described = NodeDescription(volume_drivers=("local",))

    assert versions.version_of(mounted) == 4
    assert versions.version_of(SetNodeDescription(node_id="w1", description=described)) == 4
    plain = SetNodeDescription(node_id="w1", description=NodeDescription())
    assert versions.version_of(plain) == 1


def test_a_secret_for_pulls_needs_managers_that_know_it() -> None:
    spec = a_spec(registry_secret="registry")
    template = replace(a_task().template, registry_secret="registry")

    assert versions.version_of(PutService(spec=spec, expected_version=0, now=NOON)) == 4
    assert versions.version_of(CreateTask(task=replace(a_task(), template=template))) == 4


WRAPPED = WrappedKey(kek="k1", nonce=b"n", data=b"d")
LOCK = KeyLock(
    id="l1",
    created_at=NOON,
    salt=b"salt",
    scrypt_log_n=17,
    scrypt_r=8,
    scrypt_p=1,
    nonce=b"nonce",
    data=b"data",
)


@pytest.mark.parametrize(
    "command",
    [
        PutService(spec=a_spec("other"), expected_version=0, now=NOON),
        StartRollout(spec=a_spec(image="web:2"), expected_version=1, rollout_id="r", now=NOON),
        SetSecretKeys(keys=SecretKeys(keys=(), hash_key=WRAPPED)),
        PutSecret(
            spec=SecretSpec(name="db"), value=a_secret_version(), expected_version=0, now=NOON
        ),
        PutConfig(
            spec=ConfigSpec(name="nginx"),
            value=a_config().versions[0],
            expected_version=0,
            now=NOON,
        ),
        PutVolume(spec=VolumeSpec(name="data"), id="v1", expected_version=0, now=NOON),
    ],
    ids=lambda command: type(command).__name__,
)
def test_a_state_needs_what_the_command_needed_that_made_it(command: Command) -> None:
    before = a_state(services=[a_service()])

    after, outcome = apply(before, command)

    assert isinstance(outcome, Applied)
    assert versions.version_of(before) == 1
    assert versions.version_of(after) == versions.version_of(command)


def test_a_state_with_a_lock_needs_managers_that_know_locks() -> None:
    key = KeyEncryptionKey(id="k1", created_at=NOON, locked=WRAPPED)
    keys = SecretKeys(keys=(key,), hash_key=WRAPPED, lock=LOCK)

    assert versions.version_of(LockSecretKeys(lock=LOCK, keys=(key,))) == 4
    assert versions.version_of(replace(a_state(), secret_keys=keys)) == 4
    assert versions.version_of(replace(a_state(), secret_keys=replace(keys, lock=None))) == 4


@given(states(), COMMANDS)
def test_no_command_leaves_more_in_a_state_than_it_says(
    before: ClusterState, command: Command
) -> None:
    after, _ = apply(before, command)

    least = max(versions.version_of(before), versions.version_of(command))
    assert versions.version_of(after) <= least
