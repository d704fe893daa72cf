"""Which services and tasks refer to which secrets and configs, as files or for pulls. Pure.

Asked by `apply`, so that nothing that is needed goes and nothing that is not there is referred to,
and by `core/` for what users are told.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from warren.model.secrets import (
    FileKey,
    FileKind,
    Reference,
    SecretReference,
    VersionedConfig,
    VersionedSecret,
)
from warren.model.services import Service, TaskTemplate
from warren.model.tasks import Task
from warren.state.cluster import ClusterState

Versioned = VersionedSecret | VersionedConfig


def stored(state: ClusterState, kind: FileKind) -> Mapping[str, Versioned]:
    """All secrets, or all configs."""
    return state.secrets if kind is FileKind.SECRET else state.configs


def of_kind(template: TaskTemplate, kind: FileKind) -> tuple[Reference, ...]:
    """The template's references to secrets, or to configs."""
    return template.secrets if kind is FileKind.SECRET else template.configs


def all_of(template: TaskTemplate) -> tuple[Reference, ...]:
    """To secrets, then to configs."""
    return (*template.secrets, *template.configs)


def key_of(reference: Reference) -> FileKey:
    """The version that a task with this reference is given."""
    kind = FileKind.SECRET if isinstance(reference, SecretReference) else FileKind.CONFIG
    return FileKey(kind=kind, name=reference.name, number=reference.pinned)


def keys_of(template: TaskTemplate) -> frozenset[FileKey]:
    """All versions that a task of this template is given as files."""
    if not template.secrets and not template.configs:
        return frozenset()
    return frozenset(map(key_of, all_of(template)))


def pull_key(state: ClusterState, template: TaskTemplate) -> FileKey | None:
    """The version of a secret that the template's image is pulled with now: the newest."""
    name = template.registry_secret
    if not name or name not in state.secrets:
        return None
    return FileKey(kind=FileKind.SECRET, name=name, number=state.secrets[name].newest.number)


def follows(reference: Reference, name: str) -> bool:
    """It is to that secret or config, and goes with its newest version."""
    return reference.name == name and reference.follow and not reference.version


def newest_number(state: ClusterState, kind: FileKind, name: str) -> int:
    """Of the newest version; 0 where there is none."""
    found = stored(state, kind).get(name)
    return found.newest.number if found is not None else 0


def version(state: ClusterState, key: FileKey) -> object | None:
    """What is stored under the key: a SecretVersion, a ConfigVersion, or nothing."""
    found = stored(state, key.kind).get(key.name)
    versions = found.versions if found is not None else ()
    return next((each for each in versions if each.number == key.number), None)


def missing(state: ClusterState, template: TaskTemplate) -> str:
    """The first that the template refers to and that is not there, in words; empty: none."""
    name = template.registry_secret
    if name and name not in state.secrets:
        return f"secret {name}"
    keys = map(key_of, all_of(template))
    return next((str(key) for key in keys if version(state, key) is None), "")


def users(state: ClusterState, kind: FileKind, name: str) -> tuple[str, ...]:
    """Services that need it: their spec refers to it, a rollout between revisions that do is
    under way, or one of their tasks that lives has it."""
    found = {
        service.spec.name
        for service in state.services.values()
        if any(_refers(template, kind, name) for template in _in_force(service))
    }
    found |= {task.service for task in _living(state) if _refers(task.template, kind, name)}
    return tuple(sorted(found))


@dataclass(frozen=True, slots=True, kw_only=True)
class Uses:
    """Who uses what, of a whole state: worked out once for answers about many."""

    by_name: Mapping[tuple[FileKind, str], frozenset[str]]
    """Services that need it, as `users` answers it."""
    by_key: Mapping[FileKey, frozenset[str]]
    """Services whose spec, a revision that they could go back to, or a task that lives has it."""


def uses(state: ClusterState) -> Uses:
    """All of them."""
    by_name: defaultdict[tuple[FileKind, str], set[str]] = defaultdict(set)
    by_key: defaultdict[FileKey, set[str]] = defaultdict(set)
    for service in state.services.values():
        for template in _in_force(service):
            for key in _all_keys(state, template):
                by_name[key.kind, key.name].add(service.spec.name)
        for template in _kept(service):
            for key in _all_keys(state, template):
                by_key[key].add(service.spec.name)
    for task in _living(state):
        for key in _all_keys(state, task.template):
            by_name[key.kind, key.name].add(task.service)
            by_key[key].add(task.service)
    return Uses(
        by_name={what: frozenset(names) for what, names in by_name.items()},
        by_key={key: frozenset(names) for key, names in by_key.items()},
    )


def numbers_needed(state: ClusterState, kind: FileKind, name: str) -> frozenset[int]:
    """Versions that a service could still need."""
    templates = [template for each in state.services.values() for template in _kept(each)]
    templates += [task.template for task in _living(state)]
    return frozenset(
        reference.pinned
        for template in templates
        for reference in of_kind(template, kind)
        if reference.name == name
    )


def _refers(template: TaskTemplate, kind: FileKind, name: str) -> bool:
    if kind is FileKind.SECRET and template.registry_secret == name:
        return True
    return any(reference.name == name for reference in of_kind(template, kind))


def _all_keys(state: ClusterState, template: TaskTemplate) -> frozenset[FileKey]:
    pulled_with = pull_key(state, template)
    keys = keys_of(template)
    return keys if pulled_with is None else keys | {pulled_with}


def _in_force(service: Service) -> Iterator[TaskTemplate]:
    yield service.spec
    live = service.live_rollout
    if live is not None:
        numbers = (live.from_revision, live.to_revision)
        yield from (each.template for each in service.revisions if each.number in numbers)


def _kept(service: Service) -> Iterator[TaskTemplate]:
    yield service.spec
    yield from (each.template for each in service.revisions)


def _living(state: ClusterState) -> Iterator[Task]:
    return (task for task in state.tasks.values() if not task.status.state.terminal)
