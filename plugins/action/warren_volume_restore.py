# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The control node's half of warren_volume_restore: verify the file, bring it in pieces.

The pieces are decrypted where they are unpacked, so that neither the volume's content nor the
passphrase passes through anything that is between the two.
"""

from __future__ import annotations

import base64
import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ansible_collections.warren.core.plugins.plugin_utils.volume_steps import VolumeAction

with contextlib.suppress(ImportError):  # told by plugin_utils/volume_steps.py
    from warren.bootstrap import volume_backups, volume_spool


class ActionModule(VolumeAction):
    MODULE = "warren.core.warren_volume_restore"
    ARGUMENTS = {"src": {"type": "path", "required": True}}

    def act(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The volume has what the file has."""
        path = Path(arguments["src"])
        checked = volume_backups.check(path, self.passphrase(arguments))
        if checked.seal is None:
            raise AssertionError("what was checked with its passphrase has its key")
        replaced = self.step("check")["exists"]
        if not self._task.check_mode:
            key = base64.b64encode(checked.seal.key).decode()
            try:
                self.step("begin", key=key)
                self._bring(path)
                self.step("finish")
            finally:
                self.forget()
        return {
            "changed": True,
            "backup": volume_backups.described(checked),
            "replaced": replaced,
        }

    def _bring(self, path: Path) -> None:
        number = 0
        with tempfile.NamedTemporaryFile(prefix="warren-volume-") as local:
            for number, piece in enumerate(_pieces(path), start=1):
                place = self.step("place", number=number - 1)["place"]
                Path(local.name).write_bytes(piece)
                self._transfer_file(local.name, place)
                self.step("put", number=number - 1)
        self.step("end", number=number)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(volume_spool.PIECE_BYTES):
            yield piece
