"""Entry point: the tree of commands, global options, and errors as one line.

Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted; `service exec` passes its own on.
"""

import argparse
import os
import sys
from collections.abc import Sequence

import warren
from warren.cli import (
    apply,
    clusters,
    common,
    completion,
    configs,
    contexts,
    events,
    mesh,
    nodes,
    rollouts,
    secrets,
    services,
    tasks,
    volumes,
)
from warren.model.errors import WarrenError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; answers the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == [completion.HIDDEN_COMMAND]:
        return completion.complete(build_parser(), words[1:])
    options = build_parser().parse_args(words)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except WarrenError as error:
        print(f"warren: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def build_parser() -> argparse.ArgumentParser:
    """The tree of commands. Every `run` default is a function from the options to an exit code."""
    parser = argparse.ArgumentParser(
        prog="warren", description="Runs containers on a cluster of Linux hosts."
    )
    parser.add_argument("--version", action="version", version=f"warren {warren.__version__}")
    parser.set_defaults(output="table", context="", timeout=10.0)
    _add_common(parser)
    shared = argparse.ArgumentParser(add_help=False)
    _add_common(shared)
    nouns = parser.add_subparsers(metavar="COMMAND", required=True)
    for noun in (
        services,
        rollouts,
        secrets,
        configs,
        volumes,
        tasks,
        nodes,
        mesh,
        clusters,
        contexts,
        events,
        apply,
        completion,
    ):
        noun.register(nouns, shared)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    """Options that may stand before or after the command, so without defaults of their own."""
    group = parser.add_argument_group("where and how")
    group.add_argument(
        "-o",
        "--output",
        choices=("table", "json", "yaml"),
        default=argparse.SUPPRESS,
        help="form of what is printed (table)",
    )
    common.add_connection(group)


if __name__ == "__main__":
    sys.exit(main())
