"""Placeholders in configs: `{{ node.name }}` and the like, filled in for each task. Pure.

Checked by the API before anything is stored; filled in by the worker before each start.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from warren.model.tasks import Task

_PLACEHOLDER = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
_LABEL = "node.labels."
KNOWN = (
    *("node.id", "node.name", "node.labels.<key>", "service.name"),
    *("task.id", "task.name", "task.slot", "task.revision"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """What a node can fill in of itself."""

    id: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)


def refusal(data: bytes) -> str:
    """Why it cannot be filled in, to follow its name; empty: it can."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return "is not UTF-8 text, so that it has no placeholders"
    for word in _PLACEHOLDER.findall(text):
        if word not in KNOWN and not (word.startswith(_LABEL) and word != _LABEL):
            return f"has {{{{ {word} }}}}, which means nothing: known are {', '.join(KNOWN)}"
    return ""


def fill(data: bytes, task: Task, node: NodeFacts) -> bytes:
    """With everything filled in that is known. KeyError names a label that the node lacks."""
    facts = {
        "node.id": node.id,
        "node.name": node.name,
        "service.name": task.service,
        "task.id": task.id,
        "task.name": task.name,
        "task.slot": str(task.slot),
        "task.revision": str(task.revision),
        **{f"{_LABEL}{key}": value for key, value in node.labels.items()},
    }
    return _PLACEHOLDER.sub(lambda found: facts[found[1]], data.decode()).encode()
