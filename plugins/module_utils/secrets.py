# Copyright (c) The Warren authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets and configs as results. A secret's value goes to the cluster and into no result."""

from __future__ import annotations

import base64
import binascii
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ansible_collections.warren.core.plugins.module_utils.services import changed_lines, logs
from ansible_collections.warren.core.plugins.module_utils.warren import WarrenModule, fail

try:
    from warren.client import reports, rollouts
    from warren.model.errors import InvalidInput, NotFound
    from warren.model.manifest import parse_config, parse_secret
except ImportError:  # told by module_utils/warren.py
    pass

if TYPE_CHECKING:
    from collections.abc import Callable

    from warren.client import Client
    from warren.model.views import ConfigApplied, SecretApplied

SPEC_OPTIONS = ("labels", "keep_versions")


def value_of(params: dict[str, Any], plain: str, coded: str) -> bytes | None:
    """The bytes that the options give; None where they give none."""
    if params[plain] is not None:
        return str(params[plain]).encode()
    if params["src"] is not None:
        try:
            with open(params["src"], "rb") as file:  # noqa: PTH123 - as modules of Ansible do
                return file.read()
        except OSError as error:
            raise InvalidInput(f"cannot read: {error.strerror}", path=params["src"]) from None
    if params[coded] is None:
        return None
    try:
        return base64.b64decode("".join(params[coded].split()), validate=True)
    except (binascii.Error, ValueError):
        path = f"{params['name']}.{coded}"
        raise InvalidInput("is not base64", path=path) from None


def secret_present(module: WarrenModule, value: bytes | None) -> dict[str, Any]:
    """The secret is as the options say, and those who follow it have the newest version."""
    spec, fields = parse_secret(_manifest(module.params))
    with module.client() as client:
        applied = client.apply_secret(
            spec,
            fields,
            value,
            expected_version=module.params["expected_version"],
            dry_run=module.check_mode,
        )
        before, after = changed_lines(applied.changes)
        result = _result("secret", applied, {"before": before, "after": after})
        return _followed(module, client, applied, result, secret_now)


def config_present(module: WarrenModule, value: bytes | None) -> dict[str, Any]:
    """The same of a config, whose text the diff shows."""
    spec, fields = parse_config(_manifest(module.params))
    with module.client() as client:
        applied = client.apply_config(
            spec,
            fields,
            value,
            expected_version=module.params["expected_version"],
            dry_run=module.check_mode,
        )
        spec_changes = tuple(change for change in applied.changes if change.path != "value")
        before, after = changed_lines(spec_changes)
        diff = {
            "before": before + _text(applied.data_before),
            "after": after + _text(applied.data_after),
        }
        result = _result("config", applied, diff)
        return _followed(module, client, applied, result, config_now)


def secret_now(client: Client, name: str) -> dict[str, Any]:
    """What is known of the secret; empty where there is none."""
    try:
        return reports.secret(client.get_secret(name))
    except NotFound:
        return {}


def config_now(client: Client, name: str) -> dict[str, Any]:
    """The config; empty where there is none."""
    try:
        return reports.config(client.get_config(name))
    except NotFound:
        return {}


def absent(module: WarrenModule, noun: str) -> dict[str, Any]:
    """There is none of that name."""
    name = module.params["name"]
    with module.client() as client:
        delete = client.delete_secret if noun == "secret" else client.delete_config
        changed = delete(
            name,
            expected_version=module.params["expected_version"],
            dry_run=module.check_mode,
        )
    before = f"name: {name}\n" if changed else ""
    diff = {**_headers(noun, name), "before": before, "after": ""}
    return {"changed": changed, noun: {}, "changes": [], "rollouts": {}, "diff": diff}


def _manifest(params: dict[str, Any]) -> dict[str, Any]:
    given = {name: params[name] for name in SPEC_OPTIONS if params[name] is not None}
    return {"name": params["name"], **given}


def _result(
    noun: str, applied: SecretApplied | ConfigApplied, diff: dict[str, str]
) -> dict[str, Any]:
    return {
        "changed": applied.changed,
        "number": applied.number,
        "changes": reports.changes(applied.changes),
        "rollouts": dict(applied.rollouts),
        "diff": {**_headers(noun, applied.after.name), **diff},
        "noun": noun,
    }


def _followed(
    module: WarrenModule,
    client: Client,
    applied: SecretApplied | ConfigApplied,
    result: dict[str, Any],
    now: Callable[[Client, str], dict[str, Any]],
) -> dict[str, Any]:
    """Once the rollouts that it began have come to their ends, if they are to be waited for."""
    noun = result.pop("noun")
    name = applied.after.name
    if module.params["wait"] and not module.check_mode:
        timeout = timedelta(seconds=module.params["wait_timeout"])
        try:
            rollouts.wait_followers(client, applied.rollouts, timeout=timeout)
        except rollouts.RolloutWaitFailed as error:
            error = rollouts.explained(client, error)
            fail(module, error, **result, **{noun: now(client, name)}, logs=logs(error))
    return {**result, noun: now(client, name)}


def _headers(noun: str, name: str) -> dict[str, str]:
    return {"before_header": f"{noun} {name}", "after_header": f"{noun} {name}"}


def _text(data: bytes) -> str:
    """For a diff, which wants a newline at the end."""
    text = data.decode(errors="replace")
    return text if not text or text.endswith("\n") else f"{text}\n"
