"""Apply and Delete of secrets and configs: all that the two nouns share.

They live one life. What differs is how a value becomes a version, and whether it may be shown: that
is in `secrets_api.py` and `configs_api.py`.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from warren.core import secrets
from warren.core.specs import Edit
from warren.manager.authorization import Caller
from warren.manager.changing import Intent, Wish, carry_out
from warren.manager.cluster import ManagerContext
from warren.model.secrets import FileKind
from warren.model.views import ConfigApplied, SecretApplied
from warren.state import references
from warren.state.apply import apply
from warren.state.cluster import ClusterState
from warren.state.commands import PutConfig, PutSecret, RemoveConfig, RemoveSecret

A = TypeVar("A", SecretApplied, ConfigApplied)


def put_fields(context: ManagerContext, edit: Edit[Any], wish: Wish) -> dict[str, Any]:
    """Of the command that puts the spec, whatever the value."""
    return {
        "spec": edit.after,
        "expected_version": wish.expected_version or edit.version,
        "mark": wish.caller.mark or context.new_id(),
        "by": wish.caller.name,
        "now": context.now(),
    }


def intent(
    state: ClusterState,
    edit: Edit[Any],
    command: PutSecret | PutConfig,
    applied: Callable[[ClusterState, dict[str, Any]], A],
) -> Intent[A]:
    """What the command comes to. `applied` makes the answer of the state after it, and of the
    fields that both nouns answer."""
    kind = FileKind.SECRET if isinstance(command, PutSecret) else FileKind.CONFIG
    name = edit.after.name
    needed = edit.needed or command.value is not None
    after = apply(state, command)[0] if needed else state
    was = references.newest_number(state, kind, name)
    number = references.newest_number(after, kind, name)
    hidden = kind is FileKind.SECRET
    fields = {
        "changed": needed,
        "before": edit.before,
        "after": edit.after,
        "changes": secrets.changes(edit.before, edit.after, (was, number), hidden=hidden),
        "number": number,
        "rollouts": secrets.rollouts(state, after, kind, name),
    }
    answer = applied(after, fields)
    return Intent(
        command=command if needed else None,
        version=edit.version,
        answer=lambda changed, version: replace(answer, changed=changed, version=version),
        summary=f"{kind.value} {name} {'created' if edit.before is None else 'changed'}",
    )


async def delete(context: ManagerContext, kind: FileKind, request: Any, caller: Caller) -> bool:
    """Whether there was one. FailedPrecondition names those who use it."""
    name = request.name
    remove = RemoveSecret if kind is FileKind.SECRET else RemoveConfig

    def decide(state: ClusterState, wish: Wish) -> Intent[bool]:
        stored = references.stored(state, kind).get(name)
        if stored is not None:
            wish.require_version(stored.version, f"{kind.value} {name}")
            secrets.check_unused(state, kind, name)
        command = remove(name=name, expected_version=request.expected_version)
        return Intent(
            command=command if stored is not None else None,
            version=stored.version if stored is not None else state.index,
            answer=lambda changed, _: changed,
            summary=f"{kind.value} {name} removed",
        )

    return await carry_out(context, Wish.of(request, caller), decide)
