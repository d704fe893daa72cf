"""What becomes of secrets and configs in the replicated state, and of who has them."""

from dataclasses import replace
from typing import Any

import pytest
from warren.model.secrets import (
    ConfigReference,
    ConfigSpec,
    ConfigVersion,
    FileKey,
    FileKind,
    KeyEncryptionKey,
    KeyLock,
    SecretKeys,
    SecretReference,
    SecretSpec,
    SecretVersion,
    WrappedKey,
)
from warren.model.services import Service
from warren.model.tasks import TaskState
from warren.state import commands as c
from warren.state import invariants, references, versions
from warren.state.apply import apply
from warren.state.cluster import ClusterState
from warren.testing.builders import (
    NOON,
    a_config,
    a_node,
    a_secret,
    a_secret_version,
    a_service,
    a_spec,
    a_state,
    a_task,
    at,
)

DB = SecretReference(name="db", pinned=1)
KEYS = SecretKeys(keys=(), hash_key=WrappedKey(kek="k1", nonce=b"n", data=b"d"))


def put(number: int | None = 2, *, version: int = 1, **spec: Any) -> c.PutSecret:
    return c.PutSecret(
        spec=SecretSpec(name="db", **spec),
        value=a_secret_version(number) if number else None,
        expected_version=version,
        mark="x",
        by="ann",
        now=at(5),
    )


def applied(state: ClusterState, command: c.Command) -> ClusterState:
    after, outcome = apply(state, command)
    assert isinstance(outcome, c.Applied), outcome
    assert invariants.check(after) == ()
    return after


def refused(state: ClusterState, command: c.Command) -> str:
    after, outcome = apply(state, command)
    assert isinstance(outcome, c.Rejected)
    assert after == replace(state, index=state.index + 1)
    return f"{outcome.reason}: {outcome.message}"


def numbers(state: ClusterState) -> list[int]:
    return [each.number for each in state.secrets["db"].versions]


def consumer(*secrets: SecretReference, name: str = "web", **values: Any) -> Service:
    return a_service(name, secrets=secrets or (DB,), **values)


def test_creates_a_secret() -> None:
    after = applied(a_state(), put(1, version=0, labels={"team": "a"}))

    secret = replace(
        a_secret(labels={"team": "a"}), version=101, created_at=at(5), updated_at=at(5)
    )
    assert after.secrets == {"db": secret}


def test_a_new_version_follows_the_last() -> None:
    after = applied(a_state(secrets=[a_secret()]), put(2))

    assert numbers(after) == [1, 2]
    assert after.secrets["db"].created_at == NOON
    assert after.secrets["db"].version == 101


def test_only_labels_change_where_there_is_no_value() -> None:
    after = applied(a_state(secrets=[a_secret()]), put(None, labels={"a": "b"}))

    assert numbers(after) == [1]
    assert after.secrets["db"].spec.labels == {"a": "b"}


@pytest.mark.parametrize(
    ("command", "refusal"),
    [
        (put(2, version=9), "Conflict: secret db was changed: version 1, not 9"),
        (put(2, version=0), "Conflict: secret db was changed: version 1, not 0"),
        (put(3), "Conflict: secret db: 3 does not follow 1"),
        (c.RemoveSecret(name="x"), "NotFound: there is no secret x"),
        (
            c.RemoveSecret(name="db", expected_version=3),
            "Conflict: secret db was changed: version 1, not 3",
        ),
    ],
)
def test_refuses(command: c.Command, refusal: str) -> None:
    assert refused(a_state(secrets=[a_secret()]), command) == refusal


def test_a_new_secret_needs_a_value() -> None:
    command = put(None, version=0)

    assert refused(a_state(), command) == "InvalidInput: new secret db has no value"


def test_keys_are_set_once() -> None:
    state = applied(a_state(), c.SetSecretKeys(keys=KEYS))

    assert state.secret_keys == KEYS
    assert refused(state, c.SetSecretKeys(keys=KEYS)) == "AlreadyExists: secrets have keys already"


def test_a_new_version_begins_a_rollout_of_those_who_follow() -> None:
    fixed = SecretReference(name="db", version=1, pinned=1)
    later = SecretReference(name="db", follow=False, pinned=1)
    services = [
        consumer(),
        consumer(fixed, name="fixed"),
        consumer(later, name="later"),
        consumer(name="leaving", removing=True),
        a_service("other"),
    ]
    state = a_state(secrets=[a_secret()], services=services)

    after = applied(state, put(2))

    web = after.services["web"]
    assert web.spec.secrets == (replace(DB, pinned=2),)
    assert (web.revision, web.version) == (2, 101)
    rollout = web.live_rollout
    assert rollout is not None
    assert (rollout.id, rollout.started_by) == ("web-r2-x", "ann")
    for name in ("fixed", "later", "leaving", "other"):
        assert after.services[name] is state.services[name]


def test_a_rollout_that_turns_back_brings_the_version_before_back() -> None:
    state = applied(a_state(secrets=[a_secret()], services=[consumer()]), put(2))
    rollout = state.services["web"].live_rollout
    assert rollout is not None

    turned = replace(rollout, state=type(rollout.state).ROLLING_BACK, reason="bad password")
    command = c.SetRollout(
        service="web", rollout=turned, expected_version=rollout.version, now=at(9)
    )
    after = applied(state, command)

    assert after.services["web"].spec.secrets == (DB,)
    assert after.services["web"].revision == 1


def test_keeps_the_newest_versions_and_those_that_are_needed() -> None:
    secret = a_secret(numbers=(1, 2, 3, 4), keep_versions=2)
    old = SecretReference(name="db", version=2, pinned=2)
    state = a_state(secrets=[secret], services=[consumer(old)])

    assert numbers(applied(state, put(5, keep_versions=2))) == [2, 4, 5]


def test_keeps_what_a_living_task_has() -> None:
    secret = a_secret(numbers=(1, 2), keep_versions=1)
    tasks = [
        a_task(1, "w1", spec=a_spec(secrets=(DB,)), id="web-1-old"),
        a_task(2, "w1", spec=a_spec(secrets=(DB,)), state=TaskState.STOPPED, id="web-2-old"),
    ]
    service = a_service("web", revision=2)
    state = a_state(secrets=[secret], services=[service], nodes=[a_node("w1")], tasks=[])
    state = replace(state, tasks={task.id: task for task in tasks})

    assert numbers(applied(state, put(3, keep_versions=1))) == [1, 3]
    ended = replace(state, tasks={"web-2-old": tasks[1]})
    assert numbers(applied(ended, put(3, keep_versions=1))) == [3]


def test_removes_what_nobody_uses() -> None:
    state = a_state(secrets=[a_secret(), a_secret("other")], services=[a_service("web")])

    assert set(applied(state, c.RemoveSecret(name="db")).secrets) == {"other"}


def test_what_is_used_stays_and_its_users_are_named() -> None:
    state = a_state(secrets=[a_secret()], services=[consumer(), consumer(name="api")])

    refusal = refused(state, c.RemoveSecret(name="db"))

    assert refusal == "FailedPrecondition: secret db is used by services api, web"


def test_what_a_task_still_has_stays() -> None:
    task = a_task(1, "w1", spec=a_spec(secrets=(DB,)))
    state = a_state(secrets=[a_secret()], nodes=[a_node("w1")], services=[a_service("web")])
    state = replace(state, tasks={task.id: task})

    refusal = refused(state, c.RemoveSecret(name="db"))

    assert refusal == "FailedPrecondition: secret db is used by service web"


def test_a_service_cannot_refer_to_what_is_not_there() -> None:
    create = c.PutService(spec=a_spec(secrets=(DB,)), expected_version=0, now=at(5))
    change = c.StartRollout(
        spec=a_spec(secrets=(replace(DB, pinned=2),)),
        expected_version=1,
        rollout_id="web-r2-x",
        now=at(5),
    )

    refusal = "FailedPrecondition: there is no secret db version"
    assert refused(a_state(), create) == f"{refusal} 1"
    with_secret = a_state(secrets=[a_secret()], services=[a_service("web")])
    assert refused(with_secret, change) == f"{refusal} 2"


def test_configs_live_the_same_life() -> None:
    reference = ConfigReference(name="nginx", pinned=1)
    state = a_state(configs=[a_config()], services=[a_service("web", configs=(reference,))])
    value = ConfigVersion(number=2, created_at=at(5), data=b"listen 81;")
    command = c.PutConfig(
        spec=ConfigSpec(name="nginx"), value=value, expected_version=1, mark="x", now=at(5)
    )

    after = applied(state, command)

    assert after.configs["nginx"].newest == value
    assert after.services["web"].spec.configs == (replace(reference, pinned=2),)
    refusal = "FailedPrecondition: config nginx is used by service web"
    assert refused(after, c.RemoveConfig(name="nginx")) == refusal


def test_tells_who_could_go_back_to_a_version() -> None:
    state = applied(a_state(secrets=[a_secret()], services=[consumer()]), put(2))
    key = FileKey(kind=FileKind.SECRET, name="db", number=1)

    assert references.uses(state) == references.Uses(
        by_name={(FileKind.SECRET, "db"): frozenset({"web"})},
        by_key={key: frozenset({"web"}), replace(key, number=2): frozenset({"web"})},
    )


def test_a_secret_that_is_pulled_with_stays_and_its_new_version_touches_no_service() -> None:
    service = a_service("web", registry_secret="db")
    state = a_state(secrets=[a_secret()], services=[service])

    after = applied(state, put(2))

    assert after.services["web"] == service
    assert references.pull_key(after, service.spec) == FileKey(
        kind=FileKind.SECRET, name="db", number=2
    )
    refusal = "FailedPrecondition: secret db is used by service web"
    assert refused(after, c.RemoveSecret(name="db")) == refusal
    assert references.uses(after).by_name == {(FileKind.SECRET, "db"): frozenset({"web"})}


def test_a_service_that_pulls_with_a_secret_that_is_not_there_is_refused() -> None:
    command = c.PutService(spec=a_spec(registry_secret="db"), expected_version=0, now=at(5))

    assert refused(a_state(), command) == "FailedPrecondition: there is no secret db"


def a_kek(name: str) -> KeyEncryptionKey:
    return KeyEncryptionKey(id=name, key=b"", created_at=NOON)


def wrapped(number: int, kek: str, **values: Any) -> SecretVersion:
    version = a_secret_version(number)
    return replace(version, key=replace(version.key, kek=kek), **values)


ROTATING = replace(KEYS, keys=(a_kek("k1"), a_kek("k2")))
HASH_KEY = replace(KEYS.hash_key, kek="k2")


def test_another_key_wraps_what_is_new_once_the_last_rotation_is_over() -> None:
    state = replace(a_state(), secret_keys=replace(KEYS, keys=(a_kek("k1"),)))

    after = applied(state, c.AddSecretKey(key=a_kek("k2")))

    assert after.secret_keys == ROTATING
    again = "FailedPrecondition: the key of secrets is being replaced already"
    assert refused(after, c.AddSecretKey(key=a_kek("k3"))) == again
    none = "FailedPrecondition: there was no secret yet, and so there is no key"
    assert refused(a_state(), c.AddSecretKey(key=a_kek("k2"))) == none


def test_keys_are_put_under_a_lock_and_under_another() -> None:
    state = replace(a_state(), secret_keys=replace(KEYS, keys=(a_kek("k1"),)))
    one = c.LockSecretKeys(lock=a_lock("l1"), keys=(locked("k1", "l1"), locked("k2", "l1")))
    two = c.LockSecretKeys(
        lock=a_lock("l2"), keys=(locked("k1", "l2"), locked("k2", "l2")), expected="l1"
    )
    off = c.LockSecretKeys(keys=(a_kek("k1"), a_kek("k2")), expected="l2")

    first = applied(state, one)
    second = applied(first, two)
    last = applied(second, off)

    assert first.secret_keys == replace(KEYS, keys=one.keys, lock=one.lock)
    assert second.secret_keys == replace(KEYS, keys=two.keys, lock=two.lock)
    assert last.secret_keys == replace(KEYS, keys=off.keys)


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"expected": ""}, "Conflict: the keys of secrets were changed meanwhile"),
        ({"expected": "l9"}, "Conflict: the keys of secrets were changed meanwhile"),
        ({"keys": ()}, "Conflict: the keys of secrets were changed meanwhile"),
        ({"keys": ("k2",)}, "Conflict: the keys of secrets were changed meanwhile"),
        ({"lock": "l3"}, "InvalidInput: keys of secrets are not under their lock"),
        ({"lock": None}, "InvalidInput: keys of secrets are not under their lock"),
    ],
)
def test_a_lock_that_was_decided_on_other_keys_is_refused(
    change: dict[str, Any], refusal: str
) -> None:
    keys = replace(KEYS, keys=(locked("k1", "l1"),), lock=a_lock("l1"))
    values = {"lock": "l2", "keys": ("k1",), "expected": "l1"} | change
    name = values["lock"]
    command = c.LockSecretKeys(
        lock=a_lock(name) if name else None,
        keys=tuple(locked(each, "l2") for each in values["keys"]),
        expected=values["expected"],
    )

    assert refused(replace(a_state(), secret_keys=keys), command) == refusal
    none = "FailedPrecondition: there are no keys of secrets"
    assert refused(a_state(), command) == none


def test_a_new_key_is_under_the_lock_that_there_is() -> None:
    keys = replace(KEYS, keys=(locked("k1", "l1"),), lock=a_lock("l1"))
    state = replace(a_state(), secret_keys=keys)
    conflict = "Conflict: the keys of secrets were changed meanwhile"

    assert refused(state, c.AddSecretKey(key=a_kek("k2"))) == conflict
    assert refused(state, c.AddSecretKey(key=locked("k2", "l0"))) == conflict
    after = applied(state, c.AddSecretKey(key=locked("k2", "l1")))
    assert after.secret_keys == replace(keys, keys=(*keys.keys, locked("k2", "l1")))


def test_locks_need_managers_that_know_them() -> None:
    lock = c.LockSecretKeys(keys=())
    key = c.AddSecretKey(key=locked("k2", "l1"))
    found = [versions.version_of(each) for each in (lock, key, c.AddSecretKey(key=a_kek("k2")))]

    assert found == [4, 4, 3]


def a_lock(name: str) -> KeyLock:
    return KeyLock(
        id=name,
        created_at=NOON,
        salt=b"s",
        scrypt_log_n=1,
        scrypt_r=1,
        scrypt_p=1,
        nonce=b"n",
        data=b"d",
    )


def locked(name: str, lock: str) -> KeyEncryptionKey:
    wrapped_key = WrappedKey(kek=lock, nonce=b"n", data=b"d")
    return replace(a_kek(name), key=b"", locked=wrapped_key)


def test_an_old_key_goes_when_it_wraps_nothing_any_more() -> None:
    state = replace(a_state(secrets=[a_secret(numbers=(1, 2))]), secret_keys=ROTATING)
    one = c.ResealedSecret(name="db", version=wrapped(1, "k2"))
    two = c.ResealedSecret(name="db", version=wrapped(2, "k2"))

    first = applied(state, c.ResealSecrets(secrets=(one,), hash_key=HASH_KEY))
    second = applied(first, c.ResealSecrets(secrets=(two,)))

    assert [each.key.kek for each in first.secrets["db"].versions] == ["k2", "k1"]
    assert first.secret_keys == replace(ROTATING, hash_key=HASH_KEY)
    assert second.secret_keys == replace(ROTATING, hash_key=HASH_KEY, keys=(a_kek("k2"),))
    assert second.secrets["db"].version == state.secrets["db"].version


@pytest.mark.parametrize(
    "stale",
    [
        c.ResealedSecret(name="gone", version=wrapped(1, "k2")),
        c.ResealedSecret(name="db", version=wrapped(9, "k2")),
        c.ResealedSecret(name="db", version=wrapped(1, "k2", digest=b"of another value")),
        c.ResealedSecret(name="db", version=wrapped(1, "k2", created_at=at(9))),
        c.ResealedSecret(name="db", version=wrapped(1, "k9")),
    ],
)
def test_what_is_another_by_now_is_not_resealed(stale: c.ResealedSecret) -> None:
    state = replace(a_state(secrets=[a_secret()]), secret_keys=ROTATING)

    after = applied(state, c.ResealSecrets(secrets=(stale,)))

    assert after == replace(state, index=101)
