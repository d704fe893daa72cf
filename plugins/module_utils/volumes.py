# Copyright (c) The Warren authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Volumes as results."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ansible_collections.warren.core.plugins.module_utils.services import changed_lines

try:
    from warren.client import reports, volumes
    from warren.model.errors import NotFound
    from warren.model.manifest import parse_volume
except ImportError:  # told by module_utils/warren.py
    pass

if TYPE_CHECKING:
    from ansible_collections.warren.core.plugins.module_utils.warren import WarrenModule
    from warren.client import Client

SPEC_OPTIONS = ("driver", "options", "node", "uid", "gid", "mode", "shared", "labels")


def present(module: WarrenModule) -> dict[str, Any]:
    """The volume is as the options say."""
    params = module.params
    given = {name: params[name] for name in SPEC_OPTIONS if params[name] is not None}
    spec, fields = parse_volume({"name": params["name"], **given})
    with module.client() as client:
        applied = client.apply_volume(
            spec,
            fields,
            expected_version=params["expected_version"],
            dry_run=module.check_mode,
        )
        before, after = changed_lines(applied.changes)
        return _result(
            module,
            client,
            changed=applied.changed,
            changes=reports.changes(applied.changes),
            diff={"before": before, "after": after},
        )


def absent(module: WarrenModule) -> dict[str, Any]:
    """There is none of that name, and no data of it."""
    params = module.params
    name = params["name"]
    with module.client() as client:
        changed = client.delete_volume(
            name, expected_version=params["expected_version"], dry_run=module.check_mode
        )
        if not module.check_mode:
            timeout = timedelta(seconds=params["wait_timeout"])
            changed = volumes.remove(client, name, timeout=timeout) or changed
        before = f"name: {name}\n" if changed else ""
        diff = {"before": before, "after": ""}
        return _result(module, client, changed=changed, changes=[], diff=diff)


def released(module: WarrenModule) -> dict[str, Any]:
    """The volume is on no node, or on the one that is named."""
    params = module.params
    with module.client() as client:
        before, after = client.release_volume(
            params["name"],
            params["node"] or "",
            expected_version=params["expected_version"],
            dry_run=module.check_mode,
        )
        diff = {
            "before": f"node: {before.node_name or '(none)'}\n",
            "after": f"node: {after.node_name or '(none)'}\n",
        }
        return _result(module, client, changed=before != after, changes=[], diff=diff)


def _result(module: WarrenModule, client: Client, **result: Any) -> dict[str, Any]:
    name = module.params["name"]
    header = f"volume {name}"
    result["diff"] = {"before_header": header, "after_header": header, **result["diff"]}
    try:
        found = reports.volume(client.get_volume(name))
    except NotFound:
        found = {}
    return {**result, "volume": found}
