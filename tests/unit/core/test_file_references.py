"""Which versions a service's references stand for, and which are refused."""

from dataclasses import replace
from typing import Any

import pytest
from warren.core import file_references
from warren.model.errors import FailedPrecondition, InvalidInput
from warren.model.secrets import ConfigReference, SecretReference
from warren.model.services import ServiceSpec
from warren.state.cluster import ClusterState
from warren.testing.builders import a_config, a_secret, a_spec, a_state

STATE = a_state(secrets=[a_secret(numbers=(1, 2, 3))], configs=[a_config("nginx", b"one", b"two")])


def spec(**values: Any) -> ServiceSpec:
    secrets = (SecretReference(name="db", **values),)
    return a_spec(secrets=secrets, configs=(ConfigReference(name="nginx"),))


def pins(spec: ServiceSpec) -> tuple[int, int]:
    return spec.secrets[0].pinned, spec.configs[0].pinned


def resolve(after: ServiceSpec, before: ServiceSpec | None = None, *given: str) -> tuple[int, int]:
    return pins(file_references.resolve(after, before, given, STATE))


def at_version(number: int, **values: Any) -> ServiceSpec:
    """As stored, while that was the newest."""
    found = spec(pinned=number, **values)
    return replace(found, configs=(ConfigReference(name="nginx", pinned=2),))


def test_a_reference_stands_for_the_newest_version() -> None:
    assert resolve(spec()) == (3, 2)


def test_a_version_that_is_named_stays() -> None:
    assert resolve(spec(version=2)) == (2, 2)


def test_what_users_say_of_pins_is_ignored() -> None:
    assert resolve(spec(pinned=1)) == (3, 2)


def test_what_follows_goes_to_the_newest_when_it_is_applied_again() -> None:
    assert resolve(spec(), at_version(2), "secrets") == (3, 2)


def test_what_was_not_spoken_of_stays() -> None:
    before = at_version(2)

    assert resolve(replace(before, replicas=5), before, "replicas") == (2, 2)


def test_what_does_not_follow_stays_until_the_service_changes() -> None:
    before = at_version(2, follow=False)

    assert resolve(spec(follow=False), before, "secrets", "configs") == (2, 2)
    assert resolve(replace(spec(follow=False), image="new"), before, "secrets", "image") == (3, 2)


def test_a_version_that_is_gone_is_no_place_to_stay() -> None:
    state = a_state(secrets=[a_secret(numbers=(2, 3))], configs=[a_config("nginx", b"1", b"2")])
    before = at_version(1, follow=False)

    assert pins(file_references.resolve(before, before, (), state)) == (3, 2)


@pytest.mark.parametrize(
    ("after", "refusal"),
    [
        (
            a_spec(secrets=(SecretReference(name="db"), SecretReference(name="x"))),
            "web.secrets[1].name: there is no secret x",
        ),
        (
            a_spec(configs=(ConfigReference(name="db"),)),
            "web.configs[0].name: there is no config db",
        ),
        (spec(version=9), "web.secrets[0].version: secret db has no version 9, it has 1, 2, 3"),
    ],
)
def test_what_is_not_there_is_refused_by_its_field(after: ServiceSpec, refusal: str) -> None:
    with pytest.raises(FailedPrecondition) as error:
        file_references.resolve(after, None, (), STATE)

    assert str(error.value) == refusal


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("", "/run/secrets/db"),
        ("tls.key", "/run/secrets/tls.key"),
        ("a/b", "/run/secrets/a/b"),
        ("/run/secrets/x", "/run/secrets/x"),
    ],
)
def test_a_secret_is_a_file_under_its_root(target: str, path: str) -> None:
    reference = SecretReference(name="db", target=target, pinned=1)
    file_references.check(a_spec(secrets=(reference,)), STATE)

    assert file_references.path_of(reference) == path


@pytest.mark.parametrize(
    ("target", "refusal"),
    [
        ("/etc/passwd", "is outside /run/secrets"),
        ("/run/secretsx", "is outside /run/secrets"),
        ("../x", "is no plain path: write it without empty parts, . and .."),
        ("/run/secrets/../../etc/x", "is no plain path: write it without empty parts, . and .."),
        ("a//b", "is no plain path: write it without empty parts, . and .."),
        ("/run/secrets/", "is no plain path: write it without empty parts, . and .."),
        ("/run/secrets", "is outside /run/secrets"),
    ],
)
def test_a_secret_cannot_be_elsewhere(target: str, refusal: str) -> None:
    reference = SecretReference(name="db", target=target, pinned=1)

    with pytest.raises(InvalidInput) as error:
        file_references.check(a_spec(secrets=(reference,)), STATE)

    assert str(error.value) == f"web.secrets[0].target: {target!r} {refusal}"


@pytest.mark.parametrize("target", ["/proc/x", "/sys", "/dev/x", "/run/secrets/x"])
def test_a_config_cannot_be_where_the_system_is(target: str) -> None:
    reference = ConfigReference(name="nginx", target=target, pinned=1)

    with pytest.raises(InvalidInput, match=r"web\.configs\[0\]\.target: .* is inside /"):
        file_references.check(a_spec(configs=(reference,)), STATE)


@pytest.mark.parametrize(
    ("targets", "refusal"),
    [
        (("a", "/run/secrets/a"), "/run/secrets/a is the target of secrets[0] already"),
        (("a", "a/b"), "/run/secrets/a/b and /run/secrets/a of secrets[0] contain each other"),
        (("a/b", "a"), "/run/secrets/a and /run/secrets/a/b of secrets[0] contain each other"),
    ],
)
def test_two_files_cannot_be_in_one_place(targets: tuple[str, ...], refusal: str) -> None:
    secrets = tuple(SecretReference(name="db", target=each, pinned=1) for each in targets)

    with pytest.raises(InvalidInput) as error:
        file_references.check(a_spec(secrets=secrets), STATE)

    assert str(error.value) == f"web.secrets[1].target: {refusal}"


def test_a_config_that_cannot_be_filled_in_is_refused() -> None:
    state: ClusterState = a_state(configs=[a_config("nginx", b"{{ node.colour }}")])
    reference = ConfigReference(name="nginx", template=True, pinned=1)

    with pytest.raises(InvalidInput, match=r"^web\.configs\[0\]\.template: config nginx has "):
        file_references.check(a_spec(configs=(reference,)), state)
