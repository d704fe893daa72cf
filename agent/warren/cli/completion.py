"""`warren completion bash|zsh|fish`, and what the scripts ask: `warren __complete WORD…`.

Candidates come from the tree of commands itself, so nothing can be missing; names of services,
nodes, secrets, configs, volumes and contexts come from the cluster, within a second or not at all.
"""

import argparse
import re
from collections.abc import Callable, Iterable, Sequence

from warren.cli import common
from warren.cli.common import Nouns, Options
from warren.model.errors import WarrenError

HIDDEN_COMMAND = "__complete"

_SCRIPTS = {
    "bash": """\
_warren() {
    local IFS=$'\\n'
    COMPREPLY=($(warren __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _warren warren wrn
""",
    "zsh": """\
#compdef warren wrn
_warren() {
    local -a found
    found=("${(@f)$(warren __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    compadd -a found
}
compdef _warren warren wrn
""",
    "fish": """\
function __warren_complete
    set -l words (commandline -opc) (commandline -ct)
    warren __complete $words[2..-1] 2>/dev/null
end
complete -c warren -c wrn -f -a '(__warren_complete)'
""",
}


def register(nouns: Nouns, shared: argparse.ArgumentParser) -> None:
    """Add the command."""
    verb = common.add_verb(nouns, shared, "completion", "print a completion script", script)
    verb.add_argument("shell", choices=sorted(_SCRIPTS))


def script(options: Options) -> int:
    """Print the script for a shell."""
    print(_SCRIPTS[options.shell], end="")
    return 0


def complete(parser: argparse.ArgumentParser, words: Sequence[str]) -> int:
    """Print what the last of `words` may become, one candidate to a line."""
    *before, current = words or [""]
    for candidate in candidates(parser, before):
        if candidate.startswith(current) and (current or not candidate.startswith("-")):
            print(candidate)
    return 0


def candidates(parser: argparse.ArgumentParser, before: Sequence[str]) -> Iterable[str]:
    """All that may stand after the words `before`."""
    pending: argparse.Action | None = None
    for word in before:
        if pending is not None:
            pending = None
            continue
        verbs = _subparsers(parser)
        if word in verbs:
            parser = verbs[word]
            continue
        option = parser._option_string_actions.get(word)
        pending = option if option is not None and option.nargs != 0 else None
    if pending is not None:
        return _values(pending)
    options = [text for text in parser._option_string_actions if text.startswith("--")]
    positional = [
        value
        for action in parser._actions
        if not action.option_strings
        for value in _values(action)
    ]
    return [*_subparsers(parser), *positional, *options]


def _subparsers(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def _values(action: argparse.Action) -> list[str]:
    if isinstance(action, argparse._SubParsersAction):
        return []
    if action.choices:
        return [str(choice) for choice in action.choices]
    if isinstance(action.metavar, str) and re.fullmatch(r"[a-z_]+(\|[a-z_]+)+", action.metavar):
        return action.metavar.split("|")  # the cluster refuses another, in its own words
    names = _NAMES.get(action.dest)
    try:
        return names() if names else []
    except WarrenError:
        return []


def _service_names() -> list[str]:
    from warren.client import connect

    with connect(timeout=1.0) as client:
        return [view.service.spec.name for view in client.list_services()]


def _node_names() -> list[str]:
    from warren.client import connect

    with connect(timeout=1.0) as client:
        return [view.node.spec.name for view in client.list_nodes()]


def _volume_names() -> list[str]:
    from warren.client import connect

    with connect(timeout=1.0) as client:
        return [view.volume.spec.name for view in client.list_volumes(usage=False)]


def _secret_names() -> list[str]:
    from warren.client import connect

    with connect(timeout=1.0) as client:
        return [view.spec.name for view in client.list_secrets()]


def _config_names() -> list[str]:
    from warren.client import connect

    with connect(timeout=1.0) as client:
        return [view.spec.name for view in client.list_configs()]


def _context_names() -> list[str]:
    from warren.client import contexts

    return list(contexts.names())


_NAMES: dict[str, Callable[[], list[str]]] = {
    "service": _service_names,
    "node": _node_names,
    "secret_name": _secret_names,
    "volume_name": _volume_names,
    "config_name": _config_names,
    "context": _context_names,
    "context_name": _context_names,
}
