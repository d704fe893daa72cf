# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The control node's half of warren_bundle_part: send a host the files that it lacks, and no more.

A bundle is some tens of megabytes for each host, so what counts is that a run that changes nothing
costs one question, and that a changed agent costs one small file.
"""

from __future__ import annotations

import tarfile
import tempfile
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.plugins.action import ActionBase
from ansible_collections.warren.core.plugins.module_utils import bundle_files

MODULE = "warren.core.warren_bundle_part"


class ActionModule(ActionBase):
    _supports_check_mode = True
    _supports_async = False

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        _dummy, arguments = self.validate_argument_spec(
            {
                "bundle": {"type": "path", "required": True},
                "release": {"type": "str", "required": True},
                "path": {"type": "path", "default": "/opt/warren/bundle"},
            }
        )
        bundle = Path(arguments["bundle"])
        try:
            part = bundle_files.part(bundle_files.load_manifest(bundle), str(arguments["release"]))
        except bundle_files.BundleError as error:
            raise AnsibleActionFail(str(error)) from None

        answer = self._execute_module(MODULE, module_args=arguments, task_vars=task_vars)
        if answer.get("failed"):
            return {**result, **answer}
        there = answer["present"]
        missing = sorted(
            name
            for name, entry in part["files"].items()
            if there["files"].get(name) != entry["sha256"]
        )
        changed = there["digest"] != part["digest"]
        if changed and not self._task.check_mode:
            answer = self._send(bundle, part, missing, arguments, task_vars)
            if answer.get("failed"):
                return {**result, **answer}
        return {**result, "changed": changed, "sent": len(missing), "digest": part["digest"]}

    def _send(
        self,
        bundle: Path,
        part: dict[str, Any],
        missing: list[str],
        arguments: dict[str, Any],
        task_vars: dict[str, Any] | None,
    ) -> dict[str, Any]:
        remote = self._make_tmp_path()
        try:
            with tempfile.NamedTemporaryFile(prefix="warren-part-", suffix=".tar") as local:
                with tarfile.open(fileobj=local, mode="w", format=tarfile.USTAR_FORMAT) as tar:
                    for name in missing:
                        tar.add(bundle / name, arcname=name)
                local.flush()
                archive = self._connection._shell.join_path(remote, "part.tar")
                self._transfer_file(local.name, archive)
            sent = {**arguments, "part": part, "archive": archive}
            return self._execute_module(MODULE, module_args=sent, task_vars=task_vars)
        finally:
            self._remove_tmp_path(remote)
