"""Where values of secrets and configs come from, and what follows when they change: shared by the
two nouns."""

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from getpass import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warren.cli import common, deploying
from warren.cli.common import Options
from warren.cli.progress import Progress
from warren.model.errors import AlreadyExists, InvalidInput, NotFound

if TYPE_CHECKING:
    from warren.client import Client
    from warren.model.views import ConfigView, SecretView

HEADERS = ("NAME", "VERSION", "KEPT", "CHANGED", "SERVICES")


def add_value_options(parser: argparse.ArgumentParser) -> None:
    """Of verbs that take a value, and wait for those who follow it."""
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--from-file", metavar="FILE", help="the value is in a file; - for stdin, as without it"
    )
    source.add_argument(
        "--from-literal",
        metavar="TEXT",
        help="the value itself; others on this host see it while the command runs",
    )
    parser.add_argument("-l", "--label", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--keep-versions", metavar="N", help="newest versions that stay (5)")
    parser.add_argument("--dry-run", action="store_true", help="show what would change")
    deploying.add_wait_options(parser)


def read_value(options: Options, noun: str) -> bytes:
    """The bytes as they are: a newline at the end counts, but for one that was typed."""
    if options.from_literal is not None:
        return str(options.from_literal).encode()
    if options.from_file not in (None, "-"):
        try:
            return Path(options.from_file).read_bytes()
        except OSError as error:
            raise InvalidInput(f"cannot read: {error.strerror}", path=options.from_file) from None
    if sys.stdin.isatty():
        return getpass(f"{noun}: ").encode()
    return sys.stdin.buffer.read()


def require_new(what: str, get: Callable[[], object], instead: str) -> None:
    """AlreadyExists says what to do instead. `what`: `secret db`."""
    try:
        get()
    except NotFound:
        return
    raise AlreadyExists(f"{what} exists: {instead}")


def remove(noun: str, names: Iterable[str], delete: Callable[[str], bool]) -> None:
    """One after another, up to one that is not there or is used."""
    for name in names:
        if not delete(name):
            raise NotFound(f"there is no {noun} {name}")
        print(f"{name}: removed")


def manifest(options: Options, name: str) -> dict[str, Any]:
    """What the options say besides the value."""
    given: dict[str, Any] = {"name": name}
    if options.label:
        given["labels"] = common.pairs(options.label, "--label")
    if options.keep_versions:
        given["keep_versions"] = options.keep_versions
    return given


def rows(views: "Iterable[SecretView | ConfigView]") -> list[tuple[str, ...]]:
    """A line of a list for each, under HEADERS."""
    return [
        (
            view.spec.name,
            str(view.versions[-1].number),
            str(len(view.versions)),
            common.age(view.updated_at),
            ", ".join(view.services) or "-",
        )
        for view in views
    ]


def follow(options: Options, client: "Client", rollouts: Mapping[str, str]) -> None:
    """Wait for the services that get the new version, unless told not to."""
    from warren.client import rollouts as waits

    if options.detach or not rollouts:
        return
    timeout: timedelta = options.wait_timeout
    with Progress() as progress:
        try:
            waits.wait_followers(
                client, rollouts, timeout=timeout, on_progress=progress.report_rollout
            )
        except waits.RolloutWaitFailed as error:
            raise waits.explained(client, error) from None


def summary(name: str, applied: Any, options: Options) -> str:
    """One line on what came of it; of a dry run, what would."""
    if not applied.changed:
        return f"{name}: unchanged, version {applied.number}"
    did = "created" if applied.before is None else "changed"
    text = f"{name}: {did}, version {applied.number}"
    if applied.rollouts:
        services = ", ".join(sorted(applied.rollouts))
        text += f", {'rolls out' if options.dry_run or options.detach else 'rolled out'} {services}"
    return f"{text} (dry run)" if options.dry_run else text
