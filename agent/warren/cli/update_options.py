"""Options that say how a new revision comes into use: the key `update` of a manifest."""

import argparse
import re
from typing import Any

from warren.cli import check_options
from warren.cli.common import Options
from warren.model.errors import InvalidInput

OF_OTHERS = {
    "rolling": ("smoke", "auto_promote", "steps", "analysis", "pin"),
    "blue_green": ("steps", "analysis"),
    "canary": ("smoke", "auto_promote"),
}
"""Settings that are refused with a strategy, because only others know them."""


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add them to the verb."""
    update = parser.add_argument_group("updates: how a new revision comes into use")
    update.add_argument("--strategy", metavar="rolling|blue_green|canary")
    update.add_argument("--parallelism", metavar="N|N%", help="tasks replaced at a time (1)")
    update.add_argument("--delay", metavar="DURATION", help="between two batches (0s)")
    update.add_argument("--order", metavar="start_first|stop_first")
    update.add_argument("--monitor", metavar="DURATION", help="new tasks are watched for (5s)")
    update.add_argument("--max-failure-ratio", metavar="N", help="0 to 1 (0)")
    update.add_argument("--on-failure", metavar="rollback|pause|continue")
    update.add_argument("--progress-deadline", metavar="DURATION", help="0s: never (10m)")
    update.add_argument("--min-healthy", metavar="N|N%", help="tasks that stay ready at least")
    update.add_argument("--keep-revisions", metavar="N", help="that can be gone back to (10)")
    blue_green = parser.add_argument_group("updates: blue_green")
    promote = blue_green.add_mutually_exclusive_group()
    promote.add_argument("--auto-promote", action="store_true", default=None, help="(default)")
    promote.add_argument(
        "--manual-promote",
        action="store_false",
        dest="auto_promote",
        help="switch by warren rollout promote",
    )
    blue_green.add_argument("--grace-period", metavar="DURATION", help="the old set is kept (1m)")
    smoke = parser.add_argument_group(
        "updates: blue_green, the one check before the new set has traffic"
    )
    check_options.add_to(smoke, "smoke", several=False)
    trial = parser.add_argument_group("updates: blue_green, canary")
    trial.add_argument(
        "--pin",
        action="append",
        default=[],
        metavar="ADDRESS|NETWORK",
        help="clients that reach the new tasks before all others; may stand several times",
    )
    canary = parser.add_argument_group("updates: canary")
    canary.add_argument(
        "--step",
        action="append",
        default=[],
        metavar="PERCENT[:DURATION|:manual]",
        help="a share of the traffic, and for how long; may stand several times",
    )
    analysis = parser.add_argument_group(
        "updates: canary, checks made all the time that new tasks have traffic"
    )
    check_options.add_to(analysis, "analysis", several=True)


def add_removals_to(parser: argparse.ArgumentParser) -> None:
    """Add what only a service that is there can lose."""
    update = parser.add_argument_group("updates: no more checks")
    update.add_argument("--no-smoke", action="store_true", help="the new set needs to pass none")
    update.add_argument("--no-analysis", action="store_true", help="a canary neither")


def manifest(options: Options) -> dict[str, Any]:
    """As a manifest has it, with None for what was not said."""
    return {
        "strategy": options.strategy,
        "parallelism": options.parallelism,
        "delay": options.delay,
        "order": options.order,
        "monitor": options.monitor,
        "max_failure_ratio": options.max_failure_ratio,
        "on_failure": options.on_failure,
        "progress_deadline": options.progress_deadline,
        "min_healthy": options.min_healthy,
        "keep_revisions": options.keep_revisions,
        "auto_promote": options.auto_promote,
        "grace_period": options.grace_period,
        "smoke": check_options.one(options, "smoke"),
        "steps": [_step(text) for text in options.step],
        "pin": {"sources": options.pin},
        "analysis": check_options.several(options, "analysis"),
    }


def kept(before: dict[str, Any], given: dict[str, Any], options: Options) -> dict[str, Any]:
    """What stays of a service's `update`: not what belongs to the strategy that is left, nor to
    another kind of check, nor what shall go."""
    gone = {name for name in ("smoke", "analysis") if getattr(options, f"no_{name}")}
    for name in sorted(gone & given.keys()):
        raise InvalidInput(f"stands beside options of {name}", path=f"--no-{name}")
    gone.update(OF_OTHERS.get(given.get("strategy", ""), ()))
    stays = {key: value for key, value in before.items() if key not in gone}
    if "smoke" in stays:
        smoke = check_options.without_other_kinds(stays["smoke"] or {}, given.get("smoke", {}))
        stays["smoke"] = smoke or None
    return stays


def _step(text: str) -> dict[str, Any]:
    match = re.fullmatch(r"(\d+)%?(?::(.+))?", text)
    if match is None:
        raise InvalidInput(f"{text!r} is not PERCENT[:DURATION|:manual]", path="--step")
    if match[2] == "manual":
        return {"weight": match[1], "manual": True}
    return {"weight": match[1], **({"duration": match[2]} if match[2] else {})}
