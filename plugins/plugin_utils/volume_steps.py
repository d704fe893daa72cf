# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the control node's halves of warren_volume_backup and warren_volume_restore share."""

from __future__ import annotations

import contextlib
import traceback
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.basic import missing_required_lib
from ansible.plugins.action import ActionBase
from ansible_collections.warren.core.plugins.module_utils.volume_transfer import SHARED

try:
    from warren.bootstrap import backups
    from warren.model.errors import WarrenError
    from warren.model.services import Secret
except ImportError:
    WARREN_IMPORT_ERROR: str | None = traceback.format_exc()
else:
    WARREN_IMPORT_ERROR = None


class VolumeAction(ActionBase):
    """An action whose module does the node's half, a step at a time."""

    _supports_check_mode = True
    _supports_async = False
    MODULE = ""
    ARGUMENTS: dict[str, Any] = {}

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """What the action answers. Errors of `warren` are one line."""
        result = super().run(tmp, task_vars)
        _dummy, arguments = self.validate_argument_spec(
            {**SHARED, **self.ARGUMENTS},
            mutually_exclusive=[("passphrase", "passphrase_file")],
        )
        if WARREN_IMPORT_ERROR is not None:
            raise AnsibleActionFail(missing_required_lib("warren"))
        self._given, self._task_vars = arguments, task_vars
        try:
            return {**result, **self.act(arguments)}
        except WarrenError as error:
            raise AnsibleActionFail(str(error)) from None

    def act(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The work, by a subclass."""
        raise NotImplementedError

    def passphrase(self, arguments: dict[str, Any]) -> Secret:
        """As it was given, or as the environment has it."""
        if arguments["passphrase"]:
            return Secret(arguments["passphrase"])
        return backups.passphrase_from(arguments["passphrase_file"] or "")

    def step(self, name: str, **more: Any) -> dict[str, Any]:
        """Have the node do one; what it answers."""
        given = {
            key: value for key, value in self._given.items() if not key.startswith("passphrase")
        }
        answer = self._execute_module(
            self.MODULE, module_args={**given, "step": name, **more}, task_vars=self._task_vars
        )
        if answer.get("failed"):
            raise AnsibleActionFail(str(answer.get("msg") or answer.get("module_stderr")))
        return answer

    def forget(self) -> None:
        """Leave nothing on the node. If it cannot be told, what is there ends by itself."""
        with contextlib.suppress(Exception):
            self.step("forget")
