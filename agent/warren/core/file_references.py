"""What a service's references to secrets and configs mean: which version, and which path.

Called by the API for every Apply of a service, and by the worker for where files go. Errors name
the field.
"""

from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import TypeVar

from warren.core import placeholders
from warren.model.errors import FailedPrecondition, InvalidInput
from warren.model.secrets import (
    CONFIGS_ROOT,
    SECRETS_ROOT,
    ConfigReference,
    ConfigVersion,
    FileKind,
    Reference,
    SecretReference,
)
from warren.model.services import ServiceSpec, same_template
from warren.state import references
from warren.state.cluster import ClusterState

R = TypeVar("R", SecretReference, ConfigReference)

_CLOSED_TO_CONFIGS = (SECRETS_ROOT, "/proc", "/sys", "/dev")


def resolve(
    spec: ServiceSpec, before: ServiceSpec | None, given: Collection[str], state: ClusterState
) -> ServiceSpec:
    """The spec with the version that each reference stands for now.

    Where no version is named, the newest; but what does not follow, or was not spoken of, keeps
    its version while nothing else of the template changes.
    """
    if before is not None:
        kept = _pinned(spec, before, given, state)
        if same_template(before, kept):
            return kept
    return _pinned(spec, None, given, state)


def _pinned(
    spec: ServiceSpec, before: ServiceSpec | None, given: Collection[str], state: ClusterState
) -> ServiceSpec:
    """`before`: what keeps its version keeps the one from there."""
    secrets, configs = (
        {
            reference.name: reference.pinned
            for reference in (getattr(before, noun) if before is not None else ())
            if not (reference.version or (reference.follow and noun in given))
        }
        for noun in ("secrets", "configs")
    )
    return replace(
        spec,
        secrets=tuple(
            _resolved(each, secrets, state, f"{spec.name}.secrets[{place}]")
            for place, each in enumerate(spec.secrets)
        ),
        configs=tuple(
            _resolved(each, configs, state, f"{spec.name}.configs[{place}]")
            for place, each in enumerate(spec.configs)
        ),
    )


def _resolved(reference: R, kept: dict[str, int], state: ClusterState, path: str) -> R:
    kind = references.key_of(reference).kind
    found = references.stored(state, kind).get(reference.name)
    if found is None:
        raise FailedPrecondition(f"{path}.name: there is no {kind.value} {reference.name}")
    numbers = [each.number for each in found.versions]
    if reference.version:
        if reference.version not in numbers:
            has = ", ".join(map(str, numbers))
            what = f"{kind.value} {reference.name} has no version {reference.version}"
            raise FailedPrecondition(f"{path}.version: {what}, it has {has}")
        return replace(reference, pinned=reference.version)
    number = kept.get(reference.name, 0)
    return replace(reference, pinned=number if number in numbers else numbers[-1])


def check(spec: ServiceSpec, state: ClusterState) -> None:
    """InvalidInput if a file cannot be where its reference says, or cannot be filled in."""
    taken: dict[str, str] = {}
    for field, reference in _named(spec):
        path = f"{spec.name}.{field}.target"
        refusal = _refusal(reference)
        if refusal:
            raise InvalidInput(f"{reference.target!r} {refusal}", path=path)
        target = path_of(reference)
        for other, owner in taken.items():
            if other == target:
                raise InvalidInput(f"{target} is the target of {owner} already", path=path)
            if f"{target}/".startswith(f"{other}/") or f"{other}/".startswith(f"{target}/"):
                raise InvalidInput(f"{target} and {other} of {owner} contain each other", path=path)
        taken[target] = field
    for field, reference in _named(spec):
        if isinstance(reference, ConfigReference) and reference.template:
            _check_template(reference, state, f"{spec.name}.{field}.template")


def require(state: ClusterState, spec: ServiceSpec, what: str) -> None:
    """FailedPrecondition if something is gone by now that the spec, of `what`, refers to."""
    missing = references.missing(state, spec)
    if missing:
        raise FailedPrecondition(f"{spec.name}: {what} refers to {missing}, which is gone")


def path_of(reference: Reference) -> str:
    """The whole path of the file in the container."""
    root = SECRETS_ROOT if isinstance(reference, SecretReference) else CONFIGS_ROOT
    target = reference.target or reference.name
    return target if target.startswith("/") else f"{root}/{target}"


def _named(spec: ServiceSpec) -> Iterator[tuple[str, Reference]]:
    for kind in FileKind:
        for place, reference in enumerate(references.of_kind(spec, kind)):
            yield f"{kind.value}s[{place}]", reference


def _refusal(reference: Reference) -> str:
    target = path_of(reference)
    parts = target.split("/")[1:]
    if any(part in ("", ".", "..") for part in parts):
        return "is no plain path: write it without empty parts, . and .."
    if isinstance(reference, SecretReference):
        inside = target.startswith(f"{SECRETS_ROOT}/")
        return "" if inside else f"is outside {SECRETS_ROOT}"
    closed = [root for root in _CLOSED_TO_CONFIGS if f"{target}/".startswith(f"{root}/")]
    return f"is inside {closed[0]}, where no config may be" if closed else ""


def _check_template(reference: ConfigReference, state: ClusterState, path: str) -> None:
    version = references.version(state, references.key_of(reference))
    if isinstance(version, ConfigVersion):
        refusal = placeholders.refusal(version.data)
        if refusal:
            raise InvalidInput(f"config {reference.name} {refusal}", path=path)


def templating(state: ClusterState, name: str) -> Iterator[str]:
    """Services that have the config's newest version filled in."""
    for service in state.services.values():
        for each in service.spec.configs:
            if each.template and references.follows(each, name):
                yield service.spec.name


def following(state: ClusterState, kind: FileKind, name: str) -> tuple[str, ...]:
    """Services of which a new version begins a rollout."""
    found = (
        service.spec.name
        for service in state.services.values()
        if not service.removing
        and any(references.follows(each, name) for each in references.of_kind(service.spec, kind))
    )
    return tuple(sorted(found))
