# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The control node's half of warren_volume_backup: make the key, fetch the pieces, keep the file.

The pieces are encrypted where they are made, so that neither the volume's content nor the
passphrase passes through anything that is between the two.
"""

from __future__ import annotations

import base64
import secrets
import tempfile
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible_collections.warren.core.plugins.plugin_utils.volume_steps import VolumeAction

try:
    import warren
    from warren.bootstrap import backups, volume_backups
    from warren.model.errors import InvalidInput
    from warren.store import archives, volume_backup
except ImportError:  # told by plugin_utils/volume_steps.py
    pass


class ActionModule(VolumeAction):
    MODULE = "warren.core.warren_volume_backup"
    ARGUMENTS = {
        "quiesce": {"type": "str", "choices": ["stop", "exec", "none"], "required": True},
        "dest": {"type": "path", "required": True},
        "keep": {"type": "int", "default": 0},
    }

    def act(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """A new file, and no more old ones than are wanted."""
        directory, keep, volume = Path(arguments["dest"]), arguments["keep"], arguments["volume"]
        if keep < 0:
            raise InvalidInput("must not be negative", path="keep")
        backups.require_directory(directory)
        passphrase, now = self.passphrase(arguments), datetime.now(timezone.utc)
        path = directory / volume_backups.name_for(volume["name"], now)
        self.step("check")
        made: dict[str, Any] = {}
        changed_while_read = False
        if not self._task.check_mode:
            head = volume_backup.VolumeHead(
                cluster=volume["cluster"],
                cluster_id=volume["cluster_id"],
                volume=volume["name"],
                node=volume["node"],
                services=tuple(sorted(volume["services"])),
                created_at=now,
                quiesce=arguments["quiesce"],
                warren=warren.__version__,
            )
            chance = secrets.token_bytes(archives.CHANCE_BYTES)
            seal = volume_backup.new_seal(head, passphrase, chance=chance)
            try:
                self.step("begin", header=_text(seal.header), key=_text(seal.key))
                checked = volume_backups.save(path, self._pieces())
                made = volume_backups.described(checked)
                changed_while_read = self.step("end")["changed_while_read"]
            finally:
                self.forget()
        left = keep - 1 if self._task.check_mode else keep
        old = (
            volume_backups.superfluous(directory, volume["cluster_id"], volume["name"], left)
            if keep
            else ()
        )
        if not self._task.check_mode:
            for each in old:
                each.unlink(missing_ok=True)
        return {
            "changed": True,
            "file": str(path),
            "backup": made,
            "changed_while_read": changed_while_read,
            "pruned": [str(each) for each in old],
        }

    def _pieces(self) -> Iterator[bytes]:
        """As they come. Each is fetched while the next is made."""
        number = 0
        with tempfile.NamedTemporaryFile(prefix="warren-volume-") as local:
            while piece := self.step("piece", number=number)["piece"]:
                self._connection.fetch_file(piece, local.name)
                yield Path(local.name).read_bytes()
                number += 1


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
