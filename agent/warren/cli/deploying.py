"""Bringing services to their specs and waiting for them: what create, scale and apply share."""

import argparse
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from warren.cli import common, rollout_text
from warren.cli.common import Options
from warren.cli.progress import Progress
from warren.model import manifest
from warren.model.errors import InvalidInput
from warren.model.services import ServiceSpec
from warren.model.views import Change, ServiceApplied, ServiceView

if TYPE_CHECKING:
    from warren.client import Client

Specs = Sequence[tuple[ServiceSpec, tuple[str, ...]]]


def add_wait_options(parser: argparse.ArgumentParser) -> None:
    """How long to wait, or not at all."""
    parser.add_argument("-d", "--detach", action="store_true", help="do not wait")
    parser.add_argument(
        "--wait-timeout",
        type=common.duration,
        default=timedelta(minutes=5),
        metavar="DURATION",
        help="most that is waited (5m)",
    )


def read_manifests(path: str) -> list[Any]:
    """Manifests in a YAML file, `-` for stdin: themselves, or under `service` or `services`."""
    import yaml

    try:
        text = sys.stdin.read() if path == "-" else Path(path).read_text()
        documents = list(yaml.safe_load_all(text))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise InvalidInput(f"cannot read: {reason}", path=path) from None
    except yaml.YAMLError as error:
        raise InvalidInput(f"is not YAML: {' '.join(str(error).split())}", path=path) from None
    found = [each for document in documents if document for each in _manifests_in(document)]
    if not found:
        raise InvalidInput("holds no manifest", path=path)
    return found


def parse(manifests: Sequence[Any]) -> list[tuple[ServiceSpec, tuple[str, ...]]]:
    """Every manifest read, before the first is applied."""
    specs = [manifest.parse_service(each) for each in manifests]
    for spec, _ in specs:
        if "{{" in spec.image:
            raise InvalidInput(
                f"{spec.image!r} is a template: use ansible-playbook deploy-service.yml",
                path=f"{spec.name}.image",
            )
    return specs


def deploy(options: Options, client: "Client", specs: Specs) -> int:
    """Apply all, then wait for all. What the cluster refuses it refuses before the first."""
    if len(specs) > 1:
        for spec, fields in specs:
            client.apply_service(spec, fields, dry_run=True)
    applied = [client.apply_service(spec, fields) for spec, fields in specs]
    return follow(options, client, applied)


def follow(options: Options, client: "Client", applied: Sequence[ServiceApplied]) -> int:
    """Wait for what was applied, if asked to, and tell what came of it."""
    from warren.client import reports, rollouts

    views = []
    with Progress() as progress:
        for each in applied:
            if options.detach:
                views.append(client.get_service(each.after.name))
                continue
            try:
                view, _ = rollouts.wait_applied(
                    client,
                    each,
                    timeout=options.wait_timeout,
                    on_service=progress.report,
                    on_rollout=progress.report_rollout,
                )
            except rollouts.RolloutWaitFailed as error:
                raise rollouts.explained(client, error) from None
            views.append(view)
    if options.output != "table":
        return common.show_data(options, [reports.service(view) for view in views])
    for each, view in zip(applied, views, strict=True):
        did = "created" if each.before is None else "changed" if each.changed else "unchanged"
        live = view.rollout if view.rollout and view.rollout.rollout.live else None
        running = live.served if live is not None else view.status.running
        counts = f"{running} of {view.status.desired} tasks run"
        print(f"{each.after.name}: {did}, revision {view.service.revision}, {counts}")
        if live is not None:
            common.say(rollout_text.line(live))
        say_warnings(view)
    return 0


def say_warnings(view: ServiceView) -> None:
    """What a service does not get although it runs."""
    for warning in view.status.warnings:
        common.say(f"{view.service.spec.name}: {warning}")


def dry_run(options: Options, client: "Client", specs: Specs) -> int:
    """Show what would happen, as the cluster computes it."""
    from warren.client import reports

    answers = [client.apply_service(spec, fields, dry_run=True) for spec, fields in specs]
    if options.output == "table":
        for answer in answers:
            print("\n".join(plan_lines(answer)))
        return 0
    data = [
        {
            "name": answer.after.name,
            "changed": answer.changed,
            "changes": reports.changes(answer.changes),
            "plan": list(answer.plan),
            "rollout_plan": reports.rollout_plan(answer.rollout_plan)
            if answer.rollout_plan is not None
            else None,
        }
        for answer in answers
    ]
    return common.show_data(options, data)


def plan_lines(answer: ServiceApplied) -> list[str]:
    """What changes, then what that means for tasks."""
    name = answer.after.name
    if not answer.changed:
        return [f"service {name}: stays as it is"]
    if answer.before is None:
        title = f"service {name}: is created"
    elif (plan := answer.rollout_plan) is not None:
        way = f"revision {plan.from_revision} -> {plan.to_revision}"
        title = f"service {name}: {way} ({plan.strategy.value})"
    else:
        title = f"service {name}: changes (revision {answer.revision} after that)"
    width = max((len(change.path) for change in answer.changes), default=0)
    changes = [f"  {change.path.ljust(width)}  {_change(change)}" for change in answer.changes]
    return [title, *changes, *(f"  {line}" for line in answer.plan)]


def _change(change: Change) -> str:
    if change.before == change.after:
        return f"{change.after} (changed)"
    return f"{change.before} -> {change.after}" if change.before else change.after


def _manifests_in(document: Any) -> list[Any]:
    if not isinstance(document, dict) or "name" in document:
        return [document]
    found: list[Any] = []
    for key, value in document.items():
        if key == "service":
            found.append(value)
        elif key == "services" and isinstance(value, list):
            found.extend(value)
        else:
            raise manifest.unknown_key(str(key), ("service", "services", "name"), ())
    return found
