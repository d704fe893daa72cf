# Copyright (c) The Warren authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Services as results: what the modules that deploy them return, and in which form."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ansible_collections.warren.core.plugins.module_utils.warren import WarrenModule, fail

try:
    import yaml
    from warren.client import reports, rollouts, waits
    from warren.model.errors import InvalidInput, NotFound, WaitFailed
    from warren.model.manifest import parse_service, service_to_dict
except ImportError:  # told by module_utils/warren.py
    pass

if TYPE_CHECKING:
    from warren.client import Client
    from warren.model.services import ServiceSpec
    from warren.model.views import Change, ServiceApplied, ServiceView

SPEC_OPTIONS = (
    "image",
    "command",
    "args",
    "env",
    "user",
    "working_dir",
    "resources",
    "restart",
    "placement",
    "pull",
    "registry_secret",
    "stop_signal",
    "stop_grace_period",
    "drain_delay",
    "health",
    "mode",
    "secrets",
    "configs",
    "replicas",
    "ports",
    "affinity",
    "labels",
    "update",
)
"""Options of warren_service that are fields of a service's manifest, besides its name."""


NOTHING: dict[str, Any] = {"service": {}, "tasks": [], "rollout": {}, "endpoints": []}
"""What `current` would say of a service that is not there."""


def specs_of(manifests: list[Any]) -> list[tuple[ServiceSpec, tuple[str, ...]]]:
    """Every manifest read, before anything is asked of the cluster. Names may stand once."""
    specs = [parse_service(manifest) for manifest in manifests]
    seen: set[str] = set()
    for spec, _fields in specs:
        if spec.name in seen:
            raise InvalidInput("stands there twice", path=f"{spec.name}.name")
        seen.add(spec.name)
    return specs


def deploy(
    module: WarrenModule, client: Client, specs: list[tuple[ServiceSpec, tuple[str, ...]]]
) -> list[dict[str, Any]]:
    """Bring the services to their specs, and wait if asked to; one result for each.

    What the cluster would refuse it refuses in the dry run, before any of them is touched.
    A wait that fails ends the module, with the results so far and the view that was last seen.
    """
    expected = module.params.get("expected_version") or 0
    dry_runs = module.check_mode or len(specs) > 1
    applied = [
        client.apply_service(spec, fields, expected_version=expected, dry_run=dry_runs)
        for spec, fields in specs
    ]
    if module.check_mode:
        return [
            _result(module, client, each, _existing(client, each.after.name)) for each in applied
        ]
    if dry_runs:
        applied = [client.apply_service(spec, fields) for spec, fields in specs]
    results: list[dict[str, Any]] = []
    deadline = time.monotonic() + module.params["wait_timeout"]
    for each in applied:
        try:
            view = _view(module, client, each, deadline)
        except waits.ServiceWaitFailed as error:
            results.append(_result(module, client, each, error.view))
            _fail_waiting(module, error, results)
        except rollouts.RolloutWaitFailed as error:
            view = _existing(client, each.after.name)
            results.append(_result(module, client, each, view))
            error = rollouts.explained(client, error)
            _fail_waiting(module, error, results, logs=logs(error))
        results.append(_result(module, client, each, view))
    return results


def difference(applied: ServiceApplied) -> dict[str, str]:
    """`before` and `after` hold only what differs; `prepared` is what it means for tasks."""
    name = applied.after.name
    if applied.before is None:
        before, after = "", to_yaml(service_to_dict(applied.after))
    else:
        before, after = changed_lines(applied.changes)
    plan, old, new = applied.rollout_plan, "", ""
    if plan is not None:
        old = f", revision {plan.from_revision}"
        new = f", revision {plan.to_revision} ({plan.strategy.value})"
    shown = {
        "before_header": f"service {name}{old}",
        "after_header": f"service {name}{new}",
        "before": before,
        "after": after,
    }
    if applied.changed and applied.plan:
        shown["prepared"] = "".join(f"{line}\n" for line in applied.plan)
    return shown


def changed_lines(changes: tuple[Change, ...]) -> tuple[str, str]:
    """What differs, as text before and after. A changed secret shows only that it changed."""
    before = "".join(f"{c.path}: {c.before}\n" for c in changes if c.before)
    after = "".join(
        f"{c.path}: {c.after}{' (changed)' if c.after == c.before else ''}\n"
        for c in changes
        if c.after
    )
    return before, after


def to_yaml(data: object) -> str:
    """As people read it: block style, in the order given."""
    return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, default_flow_style=False)


def current(client: Client, view: ServiceView) -> dict[str, Any]:
    """A service as it is: in full, with its tasks, its newest rollout and where it answers."""
    published = any(port.published for port in view.service.spec.ports)
    return {
        "service": reports.service(view),
        "tasks": reports.tasks(view),
        "rollout": reports.rollout(view.rollout) if view.rollout is not None else {},
        "endpoints": reports.endpoints(view, client.list_nodes()) if published else [],
    }


def logs(error: rollouts.RolloutWaitFailed) -> list[dict[str, Any]]:
    """The last lines of the tasks that a rollout failed by."""
    return [
        {"name": each.name, "node": each.node, "lines": list(each.lines)} for each in error.lines
    ]


def _existing(client: Client, name: str) -> ServiceView | None:
    try:
        return client.get_service(name)
    except NotFound:
        return None


def _view(
    module: WarrenModule, client: Client, applied: ServiceApplied, deadline: float
) -> ServiceView:
    if not module.params["wait"]:
        return client.get_service(applied.after.name)
    left = timedelta(seconds=max(0.0, deadline - time.monotonic()))
    view, _rollout = rollouts.wait_applied(client, applied, timeout=left)
    return view


def _result(
    module: WarrenModule, client: Client, applied: ServiceApplied, view: ServiceView | None
) -> dict[str, Any]:
    """The same keys whether it was done, would be done, or failed."""
    for warning in view.status.warnings if view else ():
        module.warn(f"service {applied.after.name}: {warning}")
    now = current(client, view) if view else dict(NOTHING)
    if view is None or module.check_mode:
        now["service"] = {**now["service"], **reports.spec(applied.after)}
    plan = applied.rollout_plan
    exists = not module.check_mode or now["rollout"].get("id") == applied.rollout
    return {
        **now,
        "changed": applied.changed,
        "changes": reports.changes(applied.changes),
        "plan": list(applied.plan),
        "rollout_id": applied.rollout if exists else "",
        "rollout_plan": reports.rollout_plan(plan) if plan is not None else {},
        "diff": difference(applied),
    }


def _fail_waiting(
    module: WarrenModule, error: WaitFailed, results: list[dict[str, Any]], **more: Any
) -> None:
    """Ends the module. One service's result stands at the top, several under `services`."""
    diff = [result.pop("diff") for result in results]
    changed = any(result["changed"] for result in results)
    if "services" in module.params:
        fail(module, error, changed=changed, diff=diff, services=results, **more)
    fail(module, error, diff=diff, **results[0], **more)
