# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The control node's half of warren_preflight: is the host's clock right?

The host read its clock at some moment between our question and its answer. Only a difference that
no such moment explains is held against it, so a slow connection never looks like a wrong clock.
"""

from __future__ import annotations

import time
from typing import Any

from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    _supports_check_mode = True
    _supports_async = False

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        result = super().run(tmp, task_vars)
        asked = time.time()
        answer = self._execute_module(task_vars=task_vars)
        answered = time.time()
        if answer.get("failed") or "time" not in answer:
            return {**result, **answer}
        skew = difference(answer.pop("time"), asked, answered)
        allowed = float(self._task.args.get("max_clock_skew", 5))
        if abs(skew) > allowed:
            answer["problems"].append(
                f"its clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the "
                f"control node's, allowed are {allowed:g} s: certificates and leases need one time"
            )
        answer["ansible_facts"]["warren_host"]["clock_skew"] = round(skew, 1)
        if answer["problems"]:
            host = (task_vars or {}).get("inventory_hostname", "the host")
            answer |= {"failed": True, "msg": f"{host}: {'; '.join(answer['problems'])}"}
        return {**result, **answer}


def difference(read: float, asked: float, answered: float) -> float:
    """By how much a clock read between two moments is off at the least; positive is ahead."""
    if read > answered:
        return read - answered
    return min(0.0, read - asked)
