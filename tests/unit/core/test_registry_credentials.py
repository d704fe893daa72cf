"""Services that pull with a secret, and secrets that services pull with: what is refused."""

import pytest
from warren.core import file_references, registry_credentials, services
from warren.model.errors import FailedPrecondition, InvalidInput
from warren.model.services import RegistryAuth, Secret, ServiceSpec
from warren.testing.builders import a_secret, a_service, a_spec, a_state

STORED = RegistryAuth(username="deploy", password=Secret("hunter2"))
PULLING = a_spec(image="registry.example/web:1", registry_secret="registry")
GOOD = b'{"username": "deploy", "password": "hunter2"}'
OTHER = b'{"auths": {"other.example": {"username": "deploy", "password": "hunter2"}}}'
IN_THE_OPEN = (
    "web.registry_auth: would be stored in the open, and is not taken any more: make a secret of "
    "username and password, and name it in registry_secret"
)


def test_a_secret_that_is_there_is_taken() -> None:
    registry_credentials.check(PULLING, a_state(secrets=[a_secret("registry")]))


def test_a_secret_that_is_not_there_is_named_with_the_field() -> None:
    with pytest.raises(FailedPrecondition) as refused:
        services.check(PULLING, a_state())

    assert str(refused.value) == "web.registry_secret: there is no secret registry"


def test_a_password_in_the_open_is_not_taken() -> None:
    with pytest.raises(InvalidInput) as refused:
        services.check(a_spec(registry_auth=STORED), a_state())

    assert str(refused.value) == IN_THE_OPEN


def test_a_password_that_is_stored_stays_until_a_secret_takes_its_place() -> None:
    before = a_service(registry_auth=STORED)
    state = a_state(services=[before], secrets=[a_secret("registry")])

    kept = services.merge(before.spec, a_spec(replicas=5), ("replicas",))
    moved = services.merge(before.spec, PULLING, ("registry_secret",))

    services.check(kept, state)
    services.check(moved, state)
    assert (kept.registry_auth, kept.registry_secret) == (STORED, "")
    assert (moved.registry_auth, moved.registry_secret) == (None, "registry")


def test_a_password_beside_a_secret_is_not_taken() -> None:
    before = a_service(registry_auth=STORED)
    state = a_state(services=[before], secrets=[a_secret("registry")])
    given = a_spec(registry_auth=STORED, registry_secret="registry")

    after = services.merge(before.spec, given, ("registry_auth", "registry_secret"))

    with pytest.raises(InvalidInput, match=r"^web\.registry_auth: would be stored in the open"):
        services.check(after, state)


@pytest.mark.parametrize(
    ("before", "after", "speaks"),
    [
        (None, PULLING, True),
        (None, a_spec(), False),
        (PULLING, PULLING, False),
        (a_spec(image=PULLING.image), PULLING, True),
        (a_spec(image="registry.example/web:0", registry_secret="registry"), PULLING, True),
        (PULLING, a_spec(image=PULLING.image), False),
    ],
)
def test_credentials_are_looked_at_when_the_change_is_about_pulls(
    before: ServiceSpec | None, after: ServiceSpec, speaks: bool
) -> None:
    assert registry_credentials.speaks_of_pulls(before, after) is speaks


def test_a_secret_without_credentials_for_the_image_is_refused_for_the_service() -> None:
    registry_credentials.check_service(PULLING, GOOD)
    with pytest.raises(InvalidInput) as refused:
        registry_credentials.check_service(PULLING, OTHER)

    assert str(refused.value) == (
        "web.registry_secret: secret registry has no credentials for registry registry.example, "
        "only for other.example"
    )


def test_a_value_that_a_service_could_not_pull_with_is_refused_for_the_secret() -> None:
    services_there = [a_service(image=PULLING.image, registry_secret="registry"), a_service("db")]
    state = a_state(services=services_there)

    registry_credentials.check_secret(state, "registry", GOOD)
    registry_credentials.check_secret(state, "other", OTHER)
    with pytest.raises(InvalidInput) as refused:
        registry_credentials.check_secret(state, "registry", OTHER)

    assert str(refused.value) == (
        "registry.value: has no credentials for registry registry.example, only for other.example "
        "(service web pulls with it)"
    )


def test_a_revision_is_not_gone_back_to_without_its_secret() -> None:
    with pytest.raises(FailedPrecondition) as refused:
        file_references.require(a_state(), PULLING, "revision 1")

    assert str(refused.value) == "web: revision 1 refers to secret registry, which is gone"
