"""What the nouns share: adding commands, a client, and printing.

A command that prints objects gives them as plain data for `-o json` and `-o yaml`, and as rows.
"""

import argparse
import json
import shlex
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from warren.model.errors import InvalidInput
from warren.model.units import parse_duration

if TYPE_CHECKING:
    from warren.client import Client

Options = argparse.Namespace
Command = Callable[[Options], int]
Nouns = Any
"""What `add_subparsers` answers; argparse has no public name for it."""


def add_noun(nouns: Nouns, name: str, summary: str) -> Nouns:
    """A noun, to add verbs to."""
    noun = nouns.add_parser(name, help=summary, description=summary)
    return noun.add_subparsers(metavar="VERB", required=True)


def add_verb(
    verbs: Nouns, common: argparse.ArgumentParser, name: str, summary: str, run: Command
) -> argparse.ArgumentParser:
    """A verb with the common options."""
    parser: argparse.ArgumentParser = verbs.add_parser(
        name, help=summary, description=summary, parents=[common]
    )
    parser.set_defaults(run=run)
    return parser


def add_connection(parser: argparse._ActionsContainer) -> None:
    """Options of every command that speaks to a cluster, without defaults of their own."""
    parser.add_argument(
        "--context",
        metavar="NAME",
        default=argparse.SUPPRESS,
        help="context of the cluster (WARREN_CONTEXT, or the current one)",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=argparse.SUPPRESS,
        help="most that one call to the cluster may take (10)",
    )


def add_stale(verb: argparse.ArgumentParser) -> None:
    """For verbs that only read."""
    verb.add_argument(
        "--stale",
        action="store_true",
        help="what the manager that is asked knows, be it old; also without a majority",
    )


def client(options: Options) -> "Client":
    """A client for the context that the options name, the environment, or this host."""
    from warren.client import connect

    return connect(context=options.context, timeout=options.timeout)


def show(options: Options, data: Any, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> int:
    """Print objects as the user asked for them."""
    if options.output == "table":
        print_table(headers, rows)
    else:
        show_data(options, data)
    return 0


def show_data(options: Options, data: Any) -> int:
    """Print an object as JSON, else as YAML."""
    if options.output == "json":
        print(json.dumps(data, indent=2, ensure_ascii=False))
    else:
        import yaml

        print(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), end="")
    return 0


def print_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their widest cell, two spaces apart."""
    lines = [headers, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print("  ".join(cells).rstrip())


def age(since: datetime, now: datetime | None = None) -> str:
    """`3s`, `12m`, `5h`, `9d`: one unit, rounded down."""
    seconds = int(((now or datetime.now(UTC)) - since).total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{max(0, seconds)}s"


def duration(text: str) -> Any:
    """Type of an option that is a duration."""
    try:
        return parse_duration(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def pairs(texts: Sequence[str], option: str) -> dict[str, str]:
    """`KEY=VALUE` options as a mapping."""
    found = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise InvalidInput(f"{text!r} is not KEY=VALUE", path=option)
        found[key] = value
    return found


def words(command: str | None, option: str) -> list[str]:
    """As a shell divides them; for a shell's own means, name it: `sh -c '…'`."""
    try:
        return shlex.split(command or "")
    except ValueError as error:
        raise InvalidInput(f"{command!r}: {error}", path=option) from None


def say(text: str) -> None:
    """A remark beside the output, which stays clean for `-o json`."""
    print(text, file=sys.stderr)
