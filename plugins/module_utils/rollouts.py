# Copyright (c) The Warren authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Rollouts as results: what a user has one do, and how it is waited for."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ansible_collections.warren.core.plugins.module_utils.services import logs, to_yaml
from ansible_collections.warren.core.plugins.module_utils.warren import WarrenModule, fail

try:
    from warren.client import reports, rollouts
    from warren.model.rollouts import RolloutState
    from warren.model.views import RolloutActed
except ImportError:  # told by module_utils/warren.py
    pass

if TYPE_CHECKING:
    from warren.client import Client
    from warren.model.views import RolloutView


def carry_out(module: WarrenModule) -> dict[str, Any]:
    """The rollout is as the options say. A wait that fails ends the module."""
    params = module.params
    with module.client() as client:
        before = client.get_rollout(params["service"], params["rollout_id"] or "")
        acted = _act(module, client, before)
        result = {
            "changed": acted.changed,
            "plan": list(acted.plan),
            "diff": _difference(before, acted),
        }
        view = acted.view
        if params["wait"] and not module.check_mode and params["state"] != "paused":
            try:
                view = _wait(module, client, view)
            except rollouts.RolloutWaitFailed as error:
                error = rollouts.explained(client, error)
                fail(module, error, **result, **_now(error.view or view), logs=logs(error))
        return {**result, **_now(view)}


def _act(module: WarrenModule, client: Client, before: RolloutView) -> RolloutActed:
    """What the state asks for. What is so already is left to the cluster to say."""
    params = module.params
    service, wanted = params["service"], params["rollout_id"] or ""
    dry_run = module.check_mode
    match params["state"]:
        case "promoted":
            step, full = params["step"] or 0, params["full"]
            return client.promote_rollout(service, wanted, step=step, full=full, dry_run=dry_run)
        case "paused":
            return client.pause_rollout(service, wanted, dry_run=dry_run)
        case "resumed":
            return client.resume_rollout(service, wanted, dry_run=dry_run)
        case "aborted":
            reason = params["reason"] or ""
            return client.abort_rollout(service, wanted, reason=reason, dry_run=dry_run)
        case "rolled_back":
            if not params["revision"] and _is_undone(before):
                return RolloutActed(changed=False, view=before)
            return client.roll_back_service(
                service,
                params["revision"] or 0,
                rollout=wanted,
                reason=params["reason"] or "",
                dry_run=dry_run,
            )
        case _:
            return RolloutActed(changed=False, view=before)


def _is_undone(view: RolloutView) -> bool:
    """The service goes back, or went back last. Without a revision, once is enough, however often
    it is asked."""
    rollout = view.rollout
    went_back = rollout.rollback and rollout.state is RolloutState.COMPLETE
    return rollout.backwards or went_back


def _wait(module: WarrenModule, client: Client, view: RolloutView) -> RolloutView:
    turned_back = module.params["state"] in ("aborted", "rolled_back") and view.rollout.backwards
    return rollouts.wait_rollout(
        client,
        view.service,
        view.rollout.id,
        timeout=timedelta(seconds=module.params["wait_timeout"]),
        back=turned_back,
    )


def _now(view: RolloutView) -> dict[str, Any]:
    return {"rollout": reports.rollout(view), "rollout_id": view.rollout.id}


def _difference(before: RolloutView, acted: RolloutActed) -> dict[str, str]:
    """Only what becomes of the rollout, or which one begins; then what that means for tasks."""
    old, new = _summary(before), _summary(acted.view)
    shown = {
        "before_header": f"rollout of {before.service}",
        "after_header": f"rollout of {before.service}",
        "before": to_yaml({k: v for k, v in old.items() if v != new[k]}) if acted.changed else "",
        "after": to_yaml({k: v for k, v in new.items() if v != old[k]}) if acted.changed else "",
    }
    if acted.plan:
        shown["prepared"] = "".join(f"{line}\n" for line in acted.plan)
    return shown


def _summary(view: RolloutView) -> dict[str, Any]:
    rollout = view.rollout
    return {
        "id": rollout.id,
        "state": rollout.state.value,
        "phase": rollout.phase.value,
        "step": rollout.step,
        "revision": rollout.target,
    }
