"""Options of the checks that a new revision has to pass: `smoke` of blue/green, `analysis` of a
canary. Both have the same; an analysis may be several checks, of one kind or of many."""

import argparse
from collections.abc import Sequence
from typing import Any

from warren.cli import common
from warren.cli.common import Options
from warren.model.errors import InvalidInput

KINDS = ("http", "exec", "prometheus")
_HTTP = ("port", "header", "status")
_QUERY = ("query", "min", "max")
_TIMING = ("interval", "timeout", "retries")


def add_to(group: argparse._ArgumentGroup, what: str, *, several: bool) -> None:
    """Add `--<what>-http` and the rest."""
    action = "append" if several else "store"
    more = "; may stand several times" if several else ""

    def add(name: str, metavar: str, about: str, *, action: str = "store") -> None:
        group.add_argument(f"--{what}-{name}", action=action, metavar=metavar, help=about)

    add("http", "PATH", f"GET on the new tasks, such as /ready{more}", action=action)
    add("port", "PORT", "of the first TCP port, if not given")
    add("header", "NAME=VALUE", "sent with it; may stand several times", action="append")
    add("status", "STATUSES", "expected (200-399)")
    add("command", "COMMAND", f"exits with 0, in the new tasks{more}", action=action)
    add("prometheus", "URL", "of a server that managers reach")
    add("query", "QUERY", "in PromQL: every value lies within the bounds")
    add("min", "N", "lower bound of the query's values")
    add("max", "N", "upper bound")
    add("interval", "DURATION", "between checks (10s)")
    add("timeout", "DURATION", "of one check (5s)")
    add("retries", "N", "bad ones in a row until the revision is bad (3)")


def one(options: Options, what: str) -> dict[str, Any]:
    """The check that the options describe, perhaps a part of one. More than one kind is refused by
    the cluster, in the words that it has for manifests."""
    path, command = _given(options, what, "http"), _given(options, what, "command")
    return {
        "http": _http(options, what, path),
        "exec": _command(what, command) if command is not None else None,
        "prometheus": _prometheus(options, what),
        **_timing(options, what),
    }


def several(options: Options, what: str) -> list[dict[str, Any]]:
    """One check for each path, command and query, all at the same interval."""
    paths: Sequence[str] = _given(options, what, "http") or ()
    commands: Sequence[str] = _given(options, what, "command") or ()
    query = _prometheus(options, what) if _given(options, what, "prometheus") is not None else None
    checks = [
        *({"http": _http(options, what, path)} for path in paths),
        *({"exec": _command(what, command)} for command in commands),
        *([{"prometheus": query}] if query is not None else []),
    ]
    _refuse_without(options, what, _HTTP, "http", given=bool(paths))
    _refuse_without(options, what, _QUERY, "prometheus", given=query is not None)
    _refuse_without(options, what, _TIMING, "http, -command or -prometheus", given=bool(checks))
    return [{**check, **_timing(options, what)} for check in checks]


def without_other_kinds(kept: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a check, of which another kind may have been given."""
    if not any(kind in given for kind in KINDS):
        return kept
    return {key: value for key, value in kept.items() if key not in KINDS or key in given}


def _given(options: Options, what: str, name: str) -> Any:
    return getattr(options, f"{what}_{name}")


def _http(options: Options, what: str, path: str | None) -> dict[str, Any]:
    headers = common.pairs(_given(options, what, "header") or (), f"--{what}-header")
    return {
        "path": path,
        "port": _given(options, what, "port"),
        "headers": headers,
        "status": _given(options, what, "status"),
    }


def _command(what: str, command: str) -> dict[str, Any]:
    words = common.words(command, f"--{what}-command")
    if not words:
        raise InvalidInput("must not be empty", path=f"--{what}-command")
    return {"command": words}


def _prometheus(options: Options, what: str) -> dict[str, Any]:
    url = {"url": _given(options, what, "prometheus")}
    return url | {name: _given(options, what, name) for name in _QUERY}


def _timing(options: Options, what: str) -> dict[str, Any]:
    return {name: _given(options, what, name) for name in _TIMING}


def _refuse_without(
    options: Options, what: str, names: Sequence[str], needed: str, *, given: bool
) -> None:
    for name in names:
        if _given(options, what, name) is not None and not given:
            raise InvalidInput(f"needs --{what}-{needed} beside it", path=f"--{what}-{name}")
