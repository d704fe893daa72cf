"""Registries as image names have them, and credentials as secrets hold them. Parses alone.

A secret that images are pulled with is JSON, of one of two forms:

    {"username": "deploy", "password": "…"}                      for whichever registry is asked
    {"auths": {"registry.example": {"username", "password"}}}    a config.json of Docker, in which
                                                                 `auth` may stand for the two

Nothing here quotes what a secret holds, but for names of registries and of keys.
"""

import base64
import binascii
import json
from collections.abc import Mapping

from warren.model.services import RegistryAuth, Secret

DOCKER_HUB = "docker.io"
_HUB_HOST = "registry-1.docker.io"
_HUB_NAMES = ("index.docker.io", _HUB_HOST)
_WANTED = 'want {"username": …, "password": …} or {"auths": {…}}'


def registry_of(image: str) -> str:
    """`10.77.0.1:5000` of `10.77.0.1:5000/web:9`; the default registry where none is named."""
    first, slash, _ = image.partition("/")
    is_host = slash and ("." in first or ":" in first or first == "localhost")
    return first if is_host else DOCKER_HUB


def server_address(image: str) -> str:
    """Of the registry, as runtimes compare it with the hosts that they ask."""
    registry = registry_of(image)
    return f"https://{_HUB_HOST if registry == DOCKER_HUB else registry}"


def credentials(value: bytes, image: str) -> RegistryAuth | str:
    """What to pull the image with, of a secret's value; or why it does not say that, in words that
    follow the secret's name."""
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return f"is no JSON, and credentials of a registry are: {_WANTED}"
    if not isinstance(found, Mapping):
        return f"holds no mapping: {_WANTED}"
    if "auths" not in found:
        return _of_entry(found, "") or f"holds no credentials of a registry: {_WANTED}"
    auths = found["auths"]
    if not isinstance(auths, Mapping):
        return "holds no mapping in auths"
    place = _longest_match(auths, image)
    if place is None:
        known = ", ".join(sorted(map(_place, auths))) or "none"
        return f"has no credentials for registry {registry_of(image)}, only for {known}"
    entry = auths[place]
    answer = _of_entry(entry, place) if isinstance(entry, Mapping) else None
    return answer or f"has neither username and password nor auth in auths.{place}"


def _of_entry(entry: Mapping[str, object], place: str) -> RegistryAuth | str | None:
    """None if the entry does not speak of credentials that are known here."""
    if place and entry.get("auth"):
        return _decoded(entry["auth"], place)
    username, password = entry.get("username"), entry.get("password")
    if username is None and password is None:
        return None
    prefix = f"auths.{place}." if place else ""
    for name, text in (("username", username), ("password", password)):
        if not _is_text(text):
            return f"has no text in {prefix}{name}"
    return RegistryAuth(username=str(username), password=Secret(str(password)))


def _is_text(value: object) -> bool:
    """JSON may have halves of characters, which nothing can be made of."""
    return isinstance(value, str) and value.encode(errors="ignore").decode() == value != ""


def _decoded(auth: object, place: str) -> RegistryAuth | str:
    try:
        text = base64.b64decode(str(auth), validate=True).decode()
    except (binascii.Error, ValueError):
        text = ""
    username, _, password = text.partition(":")
    if not username or not password:
        return f"does not have username:password in base64 in auths.{place}.auth"
    return RegistryAuth(username=username, password=Secret(password))


def _longest_match(auths: Mapping[str, object], image: str) -> str | None:
    """The key of what lies closest around the image: `registry.example/team` before
    `registry.example`."""
    registry = registry_of(image)
    path = image.removeprefix(f"{registry}/").partition("@")[0].partition(":")[0]
    around = [key for key in auths if f"{registry}/{path}/".startswith(f"{_place(key)}/")]
    return max(around, key=lambda key: len(_place(key)), default=None)


def _place(key: str) -> str:
    """`docker.io` of `https://index.docker.io/v1/`."""
    registry, _, path = key.split("://")[-1].strip("/").partition("/")
    if registry in _HUB_NAMES:
        registry = DOCKER_HUB
    return registry if path in ("", "v1", "v2") else f"{registry}/{path}"
