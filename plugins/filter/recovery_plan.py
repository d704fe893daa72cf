# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Chooses the survivor that a cluster without a majority goes on from, and says what is lost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DOCUMENTATION = r"""
name: recovery_plan
short_description: Choose the best survivor of a lost majority
version_added: 0.2.0
author:
  - The Warren authors
description:
  - Compares what the managers that are left have in their logs, by Raft's own rule. The log whose
    last entry has the highest term, and among those the longest, holds everything that is committed
    in the others.
options:
  _input:
    description: What M(warren.core.warren_recovery) returned as C(log), by host.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Say what will be done
  ansible.builtin.debug:
    msg: "{{ (logs | warren.core.recovery_plan).lines }}"
"""

RETURN = r"""
_value:
  description: >-
    C(survivor), the host to go on from, or empty text; C(others), the hosts whose logs are set
    aside; C(removed) and C(given_up), ids and names of managers that are gone; C(majority), whether
    there is a majority after all; C(lossless), whether nothing that was acknowledged can be lost;
    and C(lines) for people.
  type: dict
"""


def recovery_plan(logs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    usable = {host: log for host, log in logs.items() if log["has_log"]}
    if not usable:
        return {
            "survivor": "",
            "others": sorted(logs),
            "removed": [],
            "given_up": [],
            "majority": False,
            "lossless": False,
            "lines": [_without_log(host, log) for host, log in sorted(logs.items())],
        }
    survivor = max(sorted(usable), key=lambda host: _rank(usable[host]))
    best = usable[survivor]
    voters = {member["node_id"] for member in best["members"] if member["voter"]}
    here = {log["node_id"] for log in usable.values()}
    quorum = len(voters) // 2 + 1
    present = {log["node_id"] for log in logs.values()}
    gone = [each["node_id"] for each in best["members"] if each["node_id"] not in present]
    lossless = len(voters - here) < quorum
    others = [host for host in sorted(logs) if host != survivor]
    return {
        "survivor": survivor,
        "others": others,
        "removed": gone,
        "given_up": sorted(best["names"].get(node_id, node_id) for node_id in gone),
        "majority": len(voters & here) >= quorum,
        "lossless": lossless,
        "lines": [
            _of_survivor(survivor, best),
            *(_of_other(host, logs[host], best) for host in others),
            *_of_lost(best, sorted(voters - here), lossless=lossless),
        ],
    }


def _rank(log: Mapping[str, Any]) -> tuple[int, int]:
    return log["last_term"], log["last_index"]


def _of_survivor(host: str, log: Mapping[str, Any]) -> str:
    last, known = log["last_index"], log["committed_index"]
    line = f"{host} has the best log that is left, and the cluster goes on from it: it {_end(log)}"
    if log["written_at"]:
        line += f", written at {log['written_at'][:19]}Z"
    if known < last:
        line += (
            f". Entries {known + 1} to {last} stay, whether or not those who asked for them "
            "were told that they are done"
        )
    return line


def _of_other(host: str, log: Mapping[str, Any], best: Mapping[str, Any]) -> str:
    if not log["has_log"]:
        return _without_log(host, log)
    dropped = log["last_index"] > best["last_index"] or (
        log["last_term"] < best["last_term"] and log["last_index"] > log["committed_index"]
    )
    if dropped:
        return (
            f"{host} {_end(log)}: what it has beyond the common part was never acknowledged to "
            "anybody, and is dropped"
        )
    return f"{host} {_end(log)}: it has nothing that is lost"


def _without_log(host: str, log: Mapping[str, Any]) -> str:
    if log["trouble"]:
        return f"the log of {host} cannot be used: {log['trouble']}"
    kept = f"; {log['kept'][-1]} is kept there" if log["kept"] else ""
    return f"{host} has no log{kept}"


def _of_lost(best: Mapping[str, Any], missing: list[str], *, lossless: bool) -> list[str]:
    if not missing:
        return []
    names = ", ".join(sorted(best["names"].get(node_id, node_id) for node_id in missing))
    if lossless:
        return [f"nothing that was acknowledged is lost: {names} could not acknowledge it alone"]
    return [
        f"what {names} acknowledged after entry {best['last_index']} is lost, if there was any: "
        "nobody who is left can tell"
    ]


def _end(log: Mapping[str, Any]) -> str:
    return f"ends with entry {log['last_index']} of term {log['last_term']}"


class FilterModule:
    def filters(self) -> dict[str, Any]:
        return {"recovery_plan": recovery_plan}
