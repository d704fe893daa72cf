"""What an Apply of a secret or config means, and what reads answer. Pure; called by the API."""

from collections.abc import Container, Iterable, Iterator
from dataclasses import replace

from warren.core import file_references, placeholders, specs
from warren.model import manifest
from warren.model.errors import FailedPrecondition, InvalidInput, NotFound
from warren.model.secrets import (
    VALUE_BYTES_MAX,
    ConfigSpec,
    FileKey,
    FileKind,
    SecretSpec,
)
from warren.model.services import HIDDEN
from warren.model.views import (
    Change,
    ConfigVersionView,
    ConfigView,
    SecretKeysView,
    SecretVersionView,
    SecretView,
)
from warren.state import apply_secrets, references
from warren.state.cluster import ClusterState
from warren.state.commands import ResealedSecret
from warren.state.references import Uses


def merge_secret(before: SecretSpec | None, given: SecretSpec, fields: Iterable[str]) -> SecretSpec:
    """The whole spec that the user means."""
    path = given.name or "secret"
    merged = specs.merge(before, given, {"name", *fields}, path=path)
    return manifest.parse_secret(manifest.to_dict(merged))[0]


def merge_config(before: ConfigSpec | None, given: ConfigSpec, fields: Iterable[str]) -> ConfigSpec:
    """The same of a config."""
    path = given.name or "config"
    merged = specs.merge(before, given, {"name", *fields}, path=path)
    return manifest.parse_config(manifest.to_dict(merged))[0]


def check_value(kind: FileKind, name: str, value: bytes | None, *, is_new: bool) -> None:
    """InvalidInput if there can be no such version. The value is never told."""
    path = f"{name}.value"
    if value is None:
        if is_new:
            raise InvalidInput("is required", path=path)
        return
    if not value and kind is FileKind.SECRET:
        raise InvalidInput("must not be empty", path=path)
    if len(value) > VALUE_BYTES_MAX:
        most = VALUE_BYTES_MAX // 1024
        raise InvalidInput(f"{len(value)} bytes are more than {most} KiB", path=path)


def check_followers(state: ClusterState, name: str, data: bytes) -> None:
    """InvalidInput if a service would have the config filled in, and it cannot be."""
    refusal = placeholders.refusal(data)
    if not refusal:
        return
    for service in file_references.templating(state, name):
        message = f"{refusal} (service {service} has it filled in)"
        raise InvalidInput(message, path=f"{name}.value")


def check_unused(state: ClusterState, kind: FileKind, name: str) -> None:
    """FailedPrecondition names those who need it."""
    users = references.users(state, kind, name)
    if users:
        raise FailedPrecondition(apply_secrets.in_use(kind, name, users))


def changes(
    before: SecretSpec | ConfigSpec | None,
    after: SecretSpec | ConfigSpec,
    numbers: tuple[int, int],
    *,
    hidden: bool,
) -> tuple[Change, ...]:
    """Every difference, for people; `numbers` of the newest version before and after."""
    found = specs.changes(before, after)
    old, new = numbers
    if old == new:
        return found
    note = f" {HIDDEN}" if hidden else ""
    value = Change(
        path="value",
        before=f"version {old}{note}" if old else "",
        after=f"version {new}{note}",
    )
    return (*found, value)


def rollouts(
    before: ClusterState, after: ClusterState, kind: FileKind, name: str
) -> dict[str, str]:
    """Ids of the rollouts that a new version begins, by service."""
    found = {}
    for service in file_references.following(before, kind, name):
        newest = after.services[service].rollout
        if newest is not None and after.services[service] is not before.services[service]:
            found[service] = newest.id
    return found


def outdated(state: ClusterState, passed_over: Container[FileKey]) -> Iterator[ResealedSecret]:
    """Versions whose key is wrapped by another key-encryption key than the newest, by name."""
    keys = state.secret_keys
    if keys is None or len(keys.keys) < 2:
        return
    newest = keys.keys[-1].id
    for name, found in sorted(state.secrets.items()):
        for each in found.versions:
            key = FileKey(kind=FileKind.SECRET, name=name, number=each.number)
            if each.key.kek != newest and key not in passed_over:
                yield ResealedSecret(name=name, version=each)


def keys_view(state: ClusterState) -> SecretKeysView:
    """NotFound if there are none yet."""
    keys = state.secret_keys
    if keys is None:
        raise NotFound("there was no secret yet, and so there is no key")
    newest = keys.keys[-1]
    return SecretKeysView(
        id=newest.id,
        created_at=newest.created_at,
        versions=sum(len(found.versions) for found in state.secrets.values()),
        left=apply_secrets.wrapped_before(state),
    )


def secret_view(state: ClusterState, name: str, uses: Uses) -> SecretView:
    """NotFound if there is none. `uses` are those of the state."""
    found = state.secrets.get(name)
    if found is None:
        raise NotFound(f"there is no secret {name}")
    return SecretView(
        spec=found.spec,
        version=found.version,
        created_at=found.created_at,
        updated_at=found.updated_at,
        versions=tuple(
            SecretVersionView(
                number=each.number,
                created_at=each.created_at,
                size=each.size,
                services=_names(uses.by_key.get(_key(FileKind.SECRET, name, each.number))),
            )
            for each in found.versions
        ),
        services=_names(uses.by_name.get((FileKind.SECRET, name))),
    )


def config_view(state: ClusterState, name: str, uses: Uses) -> ConfigView:
    """NotFound if there is none."""
    found = state.configs.get(name)
    if found is None:
        raise NotFound(f"there is no config {name}")
    return ConfigView(
        spec=found.spec,
        version=found.version,
        created_at=found.created_at,
        updated_at=found.updated_at,
        versions=tuple(
            ConfigVersionView(
                number=each.number,
                created_at=each.created_at,
                data=each.data,
                services=_names(uses.by_key.get(_key(FileKind.CONFIG, name, each.number))),
            )
            for each in found.versions
        ),
        services=_names(uses.by_name.get((FileKind.CONFIG, name))),
    )


def without_contents(view: ConfigView) -> ConfigView:
    """As lists answer it."""
    return replace(view, versions=tuple(replace(each, data=b"") for each in view.versions))


def _key(kind: FileKind, name: str, number: int) -> FileKey:
    return FileKey(kind=kind, name=name, number=number)


def _names(found: frozenset[str] | None) -> tuple[str, ...]:
    return tuple(sorted(found or ()))
