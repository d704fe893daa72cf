"""Which registry an image is of, and what a secret says of how to pull from there."""

import base64
import json
from typing import Any

import pytest
from warren.model import registries
from warren.model.services import RegistryAuth, Secret

IMAGE = "registry.example/team/web:1"
WANTED = 'want {"username": …, "password": …} or {"auths": {…}}'


def auth(username: str, password: str) -> RegistryAuth:
    return RegistryAuth(username=username, password=Secret(password))


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def credentials(value: Any, image: str = IMAGE) -> RegistryAuth | str:
    return registries.credentials(json.dumps(value).encode(), image)


@pytest.mark.parametrize(
    ("image", "registry"),
    [
        ("registry.example/team/web:1", "registry.example"),
        ("10.77.0.1:5000/web:9", "10.77.0.1:5000"),
        ("localhost/web", "localhost"),
        ("team/web:1", "docker.io"),
        ("busybox", "docker.io"),
    ],
)
def test_names_the_registry_of_an_image(image: str, registry: str) -> None:
    assert registries.registry_of(image) == registry


def test_credentials_are_for_the_host_that_the_image_names() -> None:
    assert registries.server_address(IMAGE) == "https://registry.example"
    assert registries.server_address("busybox") == "https://registry-1.docker.io"


def test_a_user_and_a_password_are_for_any_registry() -> None:
    assert credentials({"username": "deploy", "password": "a:b"}) == auth("deploy", "a:b")


@pytest.mark.parametrize(
    ("auths", "image"),
    [
        ({"registry.example": {"username": "u", "password": "p"}}, IMAGE),
        ({"https://registry.example": {"auth": encoded("u:p")}}, IMAGE),
        ({"registry.example": {}, "registry.example/team": {"auth": encoded("u:p")}}, IMAGE),
        ({"registry.example/team/web": {"auth": encoded("u:p")}}, f"{IMAGE}@sha256:0123"),
        ({"registry.example": {"auth": "", "username": "u", "password": "p"}}, IMAGE),
        ({"https://index.docker.io/v1/": {"auth": encoded("u:p")}}, "busybox"),
        ({"registry.example:5000": {"auth": encoded("u:p")}}, "registry.example:5000/web"),
    ],
)
def test_a_config_of_docker_has_one_entry_for_each_registry(auths: Any, image: str) -> None:
    assert credentials({"auths": auths}, image) == auth("u", "p")


def test_a_password_may_have_colons() -> None:
    entry = {"auth": encoded("u:p:q")}

    assert credentials({"auths": {"registry.example": entry}}) == auth("u", "p:q")


def test_the_entry_of_another_registry_is_not_taken() -> None:
    auths = {"other.example": {"auth": encoded("u:p")}, "registry.example/teams": {}}

    assert credentials({"auths": auths}) == (
        "has no credentials for registry registry.example, only for other.example, "
        "registry.example/teams"
    )


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("hunter2", f"holds no mapping: {WANTED}"),
        ({}, f"holds no credentials of a registry: {WANTED}"),
        ({"user": "u"}, f"holds no credentials of a registry: {WANTED}"),
        ({"username": "u"}, "has no text in password"),
        ({"username": "", "password": "hunter2"}, "has no text in username"),
        ({"username": "u", "password": 7}, "has no text in password"),
        ({"username": "u", "password": "hunter\ud800"}, "has no text in password"),
        ({"auths": ["hunter2"]}, "holds no mapping in auths"),
        ({"auths": {}}, "has no credentials for registry registry.example, only for none"),
        (
            {"auths": {"registry.example": {}}},
            "has neither username and password nor auth in auths.registry.example",
        ),
        (
            {"auths": {"registry.example": {"identitytoken": "hunter2"}}},
            "has neither username and password nor auth in auths.registry.example",
        ),
        (
            {"auths": {"registry.example": {"password": "hunter2"}}},
            "has no text in auths.registry.example.username",
        ),
        (
            {"auths": {"registry.example": {"auth": "hunter2"}}},
            "does not have username:password in base64 in auths.registry.example.auth",
        ),
        (
            {"auths": {"registry.example": {"auth": encoded("hunter2")}}},
            "does not have username:password in base64 in auths.registry.example.auth",
        ),
    ],
)
def test_says_what_is_wrong_and_not_what_is_there(value: Any, why: str) -> None:
    assert credentials(value) == why


@pytest.mark.parametrize("value", [b"hunter2", b"\xff\xfe", b"deploy:hunter2", b"", b"[" * 400_000])
def test_what_is_no_json_is_not_quoted(value: bytes) -> None:
    assert registries.credentials(value, IMAGE) == (
        f"is no JSON, and credentials of a registry are: {WANTED}"
    )


def test_a_password_is_not_in_what_is_printed() -> None:
    assert "hunter2" not in repr(auth("deploy", "hunter2"))
