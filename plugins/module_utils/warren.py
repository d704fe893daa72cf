# Copyright (c) The Warren authors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every module that speaks to a cluster shares: connection options, and errors as results.

The work is done by the Python package `warren`; importing it is guarded here and nowhere else.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from typing import Any

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

try:
    from warren.client import Client, connect
    from warren.model.errors import InvalidInput, NotFound, WarrenError
except ImportError:
    WARREN_IMPORT_ERROR: str | None = traceback.format_exc()
else:
    WARREN_IMPORT_ERROR = None

ERRORS = "warren.model.errors"
"""Names of the errors that users meet are those of this module, not of classes below them."""
_STARTED = time.monotonic()

CONNECTION_ARGUMENTS: dict[str, Any] = {
    "endpoints": {"type": "list", "elements": "str"},
    "ca_cert": {"type": "path"},
    "client_cert": {"type": "path"},
    "client_key": {"type": "path", "no_log": False},
    "context": {"type": "str"},
    "timeout": {"type": "float", "default": 10.0},
}

WAIT_ARGUMENTS: dict[str, Any] = {
    "wait": {"type": "bool", "default": True},
    "wait_timeout": {"type": "float", "default": 300.0},
}


class WarrenModule(AnsibleModule):
    """A module that may speak to a cluster. Errors of `warren` end it with one clear line."""

    def __init__(self, argument_spec: dict[str, Any], **settings: Any) -> None:
        together = [*settings.pop("required_together", ()), ("client_cert", "client_key")]
        super().__init__(
            {**CONNECTION_ARGUMENTS, **argument_spec},
            supports_check_mode=True,
            required_together=together,
            **settings,
        )
        require_warren(self)

    def client(self) -> Client:
        """A client for the options, the environment, or this host."""
        return connect(
            endpoints=self.params["endpoints"] or (),
            ca_cert=self.params["ca_cert"] or "",
            client_cert=self.params["client_cert"] or "",
            client_key=self.params["client_key"] or "",
            context=self.params["context"] or "",
            timeout=self.params["timeout"],
        )


INFO_ARGUMENTS: dict[str, Any] = {
    "name": {"type": "str"},
    "stale": {"type": "bool", "default": False},
}


def find(module: WarrenModule, get: Callable[..., Any], list_all: Callable[..., Any]) -> Any:
    """The views that an info module asks for by INFO_ARGUMENTS: of one name, if there is one, or
    all."""
    name, stale = module.params["name"], module.params["stale"]
    if not name:
        return list_all(stale=stale)
    try:
        return (get(name, stale=stale),)
    except NotFound:
        return ()


def require_warren(module: AnsibleModule) -> None:
    """Fail, saying how to get it, when the package `warren` is not there."""
    if WARREN_IMPORT_ERROR is not None:
        module.fail_json(
            msg=missing_required_lib(
                "warren",
                reason="to speak to a Warren cluster (pip install ./agent, or use "
                "ansible_python_interpreter=/opt/warren/venv/bin/python on a node)",
            ),
            exception=WARREN_IMPORT_ERROR,
        )


def run(module: AnsibleModule, work: Callable[[], dict[str, Any]]) -> None:
    """End the module with what `work` returns, or with its error and what it carries."""
    try:
        result = work()
    except WarrenError as error:
        fail(module, error)
    else:
        module.exit_json(**result, duration=elapsed())


def fail(module: AnsibleModule, error: WarrenError, **result: Any) -> None:
    """End the module with an error: its sentence, its class, and the path of the field."""
    path = error.path if isinstance(error, InvalidInput) else ""
    kind = next(base.__name__ for base in type(error).__mro__ if base.__module__ == ERRORS)
    module.fail_json(msg=str(error), error=kind, path=path, duration=elapsed(), **result)


def elapsed() -> float:
    """Seconds since the module was started."""
    return round(time.monotonic() - _STARTED, 3)
