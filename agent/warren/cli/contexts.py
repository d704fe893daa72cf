"""`warren context …`: the clusters that this machine can reach."""

import argparse

from warren.cli import common
from warren.cli.common import Nouns, Options


def register(nouns: Nouns, shared: argparse.ArgumentParser) -> None:
    """Add the noun with its verbs."""
    verbs = common.add_noun(nouns, "context", "the clusters that this machine can reach")
    common.add_verb(verbs, shared, "ls", "list contexts", ls)
    verb = common.add_verb(verbs, shared, "use", "make a context the current one", use)
    verb.add_argument("context_name", metavar="NAME")


def ls(options: Options) -> int:
    """List contexts; a star marks the current one."""
    from warren.client import contexts

    current = contexts.current()
    found = {name: contexts.load(name) for name in contexts.names()}
    rows = [
        ("*" if name == current else "", name, context.cluster, ",".join(context.endpoints))
        for name, context in found.items()
    ]
    data = [
        {
            "name": name,
            "current": name == current,
            "cluster": context.cluster,
            "endpoints": list(context.endpoints),
        }
        for name, context in found.items()
    ]
    return common.show(options, data, ("CURRENT", "NAME", "CLUSTER", "ENDPOINTS"), rows)


def use(options: Options) -> int:
    """Make a context the current one."""
    from warren.client import contexts

    contexts.use(options.context_name)
    print(options.context_name)
    return 0
