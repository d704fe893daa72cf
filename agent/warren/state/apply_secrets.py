"""What commands make of secrets and configs. Part of `apply`: total, deterministic, no clock.

The laws: a version never changes and its number is given once; what a service's spec refers to is
there; what a service needs is not removed. A new version and the rollouts that it begins are one
step.
"""

from dataclasses import replace
from typing import TypeVar

from warren.model.secrets import (
    ConfigReference,
    FileKey,
    FileKind,
    SecretReference,
    SecretVersion,
    VersionedConfig,
    VersionedSecret,
)
from warren.model.services import Service, ServiceSpec, TaskTemplate
from warren.state import apply_rollouts, maps, references
from warren.state import commands as c
from warren.state.cluster import ClusterState
from warren.state.references import Versioned
from warren.state.refusals import Refusal

R = TypeVar("R", SecretReference, ConfigReference)
Put = c.PutSecret | c.PutConfig
Remove = c.RemoveSecret | c.RemoveConfig


def put(state: ClusterState, command: Put) -> ClusterState:
    """With the secret or config as the command says, and its followers on their way to it."""
    kind = FileKind.SECRET if isinstance(command, c.PutSecret) else FileKind.CONFIG
    name = command.spec.name
    before = references.stored(state, kind).get(name)
    _expect(before, command.expected_version, f"{kind.value} {name}")
    numbers = [each.number for each in before.versions] if before is not None else [0]
    if command.value is None:
        if before is None:
            raise Refusal("InvalidInput", f"new {kind.value} {name} has no value")
    elif command.value.number != numbers[-1] + 1:
        number = command.value.number
        raise Refusal("Conflict", f"{kind.value} {name}: {number} does not follow {numbers[-1]}")
    state = _with(state, _after(before, command, state.index))
    if command.value is not None:
        key = FileKey(kind=kind, name=name, number=command.value.number)
        state = _with_followers(state, key, command)
    return _pruned(state, kind, name)


def remove(state: ClusterState, command: Remove) -> ClusterState:
    """Without it. Refused while a service needs it."""
    kind = FileKind.SECRET if isinstance(command, c.RemoveSecret) else FileKind.CONFIG
    name = command.name
    before = references.stored(state, kind).get(name)
    if before is None:
        raise Refusal("NotFound", f"there is no {kind.value} {name}")
    if command.expected_version:
        _expect(before, command.expected_version, f"{kind.value} {name}")
    users = references.users(state, kind, name)
    if users:
        raise Refusal("FailedPrecondition", in_use(kind, name, users))
    if kind is FileKind.SECRET:
        return replace(state, secrets=maps.without(state.secrets, name))
    return replace(state, configs=maps.without(state.configs, name))


def add_key(state: ClusterState, command: c.AddSecretKey) -> ClusterState:
    """With another key-encryption key, if what the last one was for is done."""
    keys = state.secret_keys
    if keys is None:
        raise Refusal("FailedPrecondition", "there was no secret yet, and so there is no key")
    if len(keys.keys) > 1:
        raise Refusal("FailedPrecondition", "the key of secrets is being replaced already")
    if not command.key.is_under(keys.lock):
        raise Refusal("Conflict", "the keys of secrets were changed meanwhile")
    return replace(state, secret_keys=replace(keys, keys=(*keys.keys, command.key)))


def lock(state: ClusterState, command: c.LockSecretKeys) -> ClusterState:
    """With the same keys under another lock, or under none."""
    keys = state.secret_keys
    if keys is None:
        raise Refusal("FailedPrecondition", "there are no keys of secrets")
    stored = keys.lock.id if keys.lock is not None else ""
    ids = [key.id for key in keys.keys]
    if stored != command.expected or ids != [key.id for key in command.keys][: len(ids)]:
        raise Refusal("Conflict", "the keys of secrets were changed meanwhile")
    if not all(key.is_under(command.lock) for key in command.keys):
        raise Refusal("InvalidInput", "keys of secrets are not under their lock")
    return replace(state, secret_keys=replace(keys, lock=command.lock, keys=command.keys))


def reseal(state: ClusterState, command: c.ResealSecrets) -> ClusterState:
    """With these versions sealed anew, and without keys that wrap nothing any more."""
    keys = state.secret_keys
    if keys is None:
        raise Refusal("FailedPrecondition", "there are no keys of secrets")
    newest = keys.keys[-1].id
    for each in command.secrets:
        found = state.secrets.get(each.name)
        if found is not None and each.version.key.kek == newest:
            versions = tuple(_resealed(old, each.version) for old in found.versions)
            state = _with(state, replace(found, versions=versions))
    if command.hash_key is not None and command.hash_key.kek == newest:
        keys = replace(keys, hash_key=command.hash_key)
    if not wrapped_before(replace(state, secret_keys=keys)):
        keys = replace(keys, keys=keys.keys[-1:])
    return replace(state, secret_keys=keys)


def wrapped_before(state: ClusterState) -> int:
    """How much is wrapped by another key-encryption key than the newest."""
    keys = state.secret_keys
    if keys is None:
        return 0
    wrapped = [keys.hash_key.kek]
    wrapped += [each.key.kek for found in state.secrets.values() for each in found.versions]
    return len(wrapped) - wrapped.count(keys.keys[-1].id)


def _resealed(old: SecretVersion, new: SecretVersion) -> SecretVersion:
    """The new one in the place of what it was made of."""
    same = old.number == new.number and old.digest == new.digest
    return new if same and old.created_at == new.created_at else old


def in_use(kind: FileKind, name: str, users: tuple[str, ...]) -> str:
    """The sentence that refuses to remove it."""
    noun = "service" if len(users) == 1 else "services"
    return f"{kind.value} {name} is used by {noun} {', '.join(users)}"


def require_references(state: ClusterState, template: TaskTemplate) -> None:
    """Refused unless all is there that the template refers to."""
    missing = references.missing(state, template)
    if missing:
        raise Refusal("FailedPrecondition", f"there is no {missing}")


def pinned_to(spec: ServiceSpec, key: FileKey) -> ServiceSpec:
    """The spec with that version wherever it follows the newest."""
    if key.kind is FileKind.SECRET:
        return replace(spec, secrets=tuple(_newer(each, key) for each in spec.secrets))
    return replace(spec, configs=tuple(_newer(each, key) for each in spec.configs))


def _newer(reference: R, key: FileKey) -> R:
    if not references.follows(reference, key.name):
        return reference
    return replace(reference, pinned=key.number)


def _after(before: Versioned | None, command: Put, index: int) -> Versioned:
    created_at = before.created_at if before is not None else command.now
    if isinstance(command, c.PutSecret):
        secrets = before.versions if isinstance(before, VersionedSecret) else ()
        return VersionedSecret(
            spec=command.spec,
            version=index,
            created_at=created_at,
            updated_at=command.now,
            versions=secrets if command.value is None else (*secrets, command.value),
        )
    configs = before.versions if isinstance(before, VersionedConfig) else ()
    return VersionedConfig(
        spec=command.spec,
        version=index,
        created_at=created_at,
        updated_at=command.now,
        versions=configs if command.value is None else (*configs, command.value),
    )


def _with_followers(state: ClusterState, key: FileKey, command: Put) -> ClusterState:
    for name in sorted(state.services):
        service = state.services[name]
        spec = pinned_to(service.spec, key)
        if service.removing or spec == service.spec:
            continue
        begun = apply_rollouts.start(service, _start(service, spec, command), state.index)
        state = replace(state, services=maps.put(state.services, name, begun))
    return state


def _start(service: Service, spec: ServiceSpec, command: Put) -> c.StartRollout:
    """To a new revision: none that is kept can have had this version."""
    number = apply_rollouts.next_number(service)
    return c.StartRollout(
        spec=spec,
        expected_version=service.version,
        rollout_id=apply_rollouts.rollout_id(service, number, command.mark),
        started_by=command.by,
        now=command.now,
    )


def _pruned(state: ClusterState, kind: FileKind, name: str) -> ClusterState:
    """Without the versions that are neither among the newest nor needed."""
    found = references.stored(state, kind)[name]
    if len(found.versions) <= found.spec.keep_versions:
        return state
    needed = references.numbers_needed(state, kind, name)
    newest = {each.number for each in found.versions[-found.spec.keep_versions :]}
    kept = newest | needed
    if isinstance(found, VersionedSecret):
        secrets = tuple(each for each in found.versions if each.number in kept)
        return _with(state, replace(found, versions=secrets))
    configs = tuple(each for each in found.versions if each.number in kept)
    return _with(state, replace(found, versions=configs))


def _with(state: ClusterState, after: Versioned) -> ClusterState:
    name = after.spec.name
    if isinstance(after, VersionedSecret):
        return replace(state, secrets=maps.put(state.secrets, name, after))
    return replace(state, configs=maps.put(state.configs, name, after))


def _expect(before: Versioned | None, expected: int, what: str) -> None:
    version = before.version if before is not None else 0
    if version != expected:
        raise Refusal("Conflict", f"{what} was changed: version {version}, not {expected}")
