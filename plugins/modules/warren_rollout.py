#!/usr/bin/python
# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: warren_rollout
short_description: Promote, pause, abort or roll back a rollout of a Warren cluster
version_added: 0.1.0
description:
  - Acts on the rollout of a service that is under way, as M(warren.core.warren_service) began it,
    or takes a service back to an earlier revision. Then waits for what comes of it.
  - Waiting ends when the rollout is complete, or waits to be promoted, or has switched all traffic
    and only keeps the old set for a while. When it was rolled back or paused, the task has failed,
    unless that is what O(state) asked for.
author:
  - The Warren authors (@warren)
options:
  service:
    description: Name of the service.
    type: str
    required: true
  rollout_id:
    description:
      - Only this rollout, as RV(warren.core.warren_service#module:rollout_id) names it. By default
        the newest of the service.
    type: str
  state:
    description:
      - V(promoted) has a rollout that waits go on. That is the next step of a canary, the switch of
        a blue/green one.
      - V(paused) leaves all as it is, tasks and traffic, until it is resumed or aborted.
      - V(resumed) has a paused one go on. What failed before is forgiven.
      - V(aborted) has a rollout under way turn back to the revision that it came from.
      - V(rolled_back) does the same, and takes a service whose rollout has ended back to an earlier
        revision.
      - V(attached) changes nothing, and only waits.
    type: str
    choices: [promoted, paused, resumed, aborted, rolled_back, attached]
    default: attached
  step:
    description:
      - Only with O(state=promoted). Go on from this step of a canary. When the rollout is beyond it
        nothing changes, so a task that names its step may be repeated.
    type: int
  full:
    description: Only with O(state=promoted). Go on through all steps that are left.
    type: bool
    default: false
  revision:
    description:
      - Only with O(state=rolled_back). The revision to go back to, one that is kept. By default
        the last good one before. Without it, a service that went back last stays as it is.
    type: int
  reason:
    description:
      - Only with O(state=aborted) and O(state=rolled_back). Why, for those who look later.
    type: str
extends_documentation_fragment:
  - warren.core.connection
  - warren.core.wait
  - warren.core.attributes
  - warren.core.attributes.actiongroup
attributes:
  check_mode:
    support: full
    details:
      - The cluster makes a dry run, and refuses what it would refuse.
  diff_mode:
    support: full
    details:
      - Shows what becomes of the rollout, and the plan of a rollback.
  idempotent:
    support: partial
    details:
      - Promoting a canary goes on by one manual step each time, unless O(step) or O(full) is given.
seealso:
  - module: warren.core.warren_service
  - module: warren.core.warren_rollout_info
"""

EXAMPLES = r"""
- name: Web goes on from its first step
  warren.core.warren_rollout:
    service: web
    state: promoted
    step: 1

- name: Web is at its new revision
  warren.core.warren_rollout:
    service: web
    rollout_id: "{{ rollout_id }}"  # from set_stats in an earlier job
    state: attached
    wait_timeout: 1800

- name: The new revision of web is judged by tasks of ours
  block:
    - name: It answers
      ansible.builtin.uri:
        url: http://web.example/version
        return_content: true
      register: answer

    - name: It is as it should be
      ansible.builtin.assert:
        that: answer.elapsed < 2
  rescue:
    - name: Web goes back
      warren.core.warren_rollout:
        service: web
        state: aborted
        reason: "{{ ansible_failed_result.msg }}"

- name: Web is at revision 4 again
  warren.core.warren_rollout:
    service: web
    state: rolled_back
    revision: 4
"""

RETURN = r"""
rollout:
  description: The rollout as it is, or in check mode as it would be.
  returned: always, but for errors before it was read
  type: dict
  contains:
    id:
      description: Its id.
      type: str
      returned: always
    state:
      description:
        - V(running), V(waiting) for a promotion, V(paused), V(rolling_back), or one of the ends
          V(complete), V(rolled_back) and V(superseded).
      type: str
      returned: always
    ended:
      description: Nothing more comes of it.
      type: bool
      returned: always
    decided:
      description: It has ended, or all traffic goes to the new set and only a grace period is left.
      type: bool
      returned: always
    reason:
      description:
        - Why it was paused, rolled back or superseded, with the task that failed and its last line.
      type: str
      returned: always
    failed:
      description: The new revision was found bad. An abort by a user does not count.
      type: bool
      returned: always
    from_revision:
      description: The last good revision, where a rollback leads.
      type: int
      returned: always
    to_revision:
      description: The new revision.
      type: int
      returned: always
    rollback:
      description: A user had the service go back to an earlier revision.
      type: bool
      returned: always
    strategy:
      description: V(rolling), V(blue_green) or V(canary).
      type: str
      returned: always
    phase:
      description:
        - V(replace) batch by batch, V(surge) until the new set is ready, V(trial) by a smoke check,
          V(switched) with all traffic on the new set, or V(step) of a canary.
      type: str
      returned: always
    step:
      description: Step of a canary, from 1, of RV(rollout.steps).
      type: int
      returned: always
    steps:
      description: All its steps, each with C(weight), C(duration) and C(manual).
      type: list
      elements: dict
      returned: always
    weight:
      description: Percent of the traffic that the new revision has. None while nobody has any.
      type: int
      returned: always
    pinned:
      description: Sources that O(warren.core.warren_service#module:update.pin) leads to it now.
      type: list
      elements: str
      returned: always
    tasks_new:
      description: Tasks of the new revision, of which RV(rollout.ready_new) are ready.
      type: int
      returned: always
    ready_new:
      description: Ready tasks of the new revision.
      type: int
      returned: always
    tasks_old:
      description: Other tasks, of which RV(rollout.ready_old) are ready.
      type: int
      returned: always
    ready_old:
      description: Ready tasks that are not of the new revision.
      type: int
      returned: always
    served:
      description: So many of RV(rollout.replicas) tasks are ready, in one revision or the other.
      type: int
      returned: always
    replicas:
      description: Tasks that the service shall have.
      type: int
      returned: always
    min_healthy:
      description: Ready tasks that the rollout leaves at least.
      type: int
      returned: always
    waiting_for:
      description: What has to happen next.
      type: str
      returned: always
    failing:
      description: Tasks that speak against the new revision.
      type: list
      elements: dict
      returned: always
      sample:
        - {name: web.1, id: web-1-k3x7q, node: m2, message: exit code 1, last_log: "KeyError: X"}
rollout_id:
  description: The id of that rollout. A rollback to an earlier revision is a rollout of its own.
  returned: always, but for errors before it was read
  type: str
  sample: web-r5-k3x7q
plan:
  description: What a rollback to an earlier revision does to tasks, line by line.
  returned: success, and when waiting failed
  type: list
  elements: str
logs:
  description:
    - The last lines of the tasks that the rollout failed by. They stand in C(msg), too.
  returned: when the rollout failed
  type: list
  elements: dict
  sample: [{name: web.1, node: m2, lines: ["KeyError: DATABASE_URL"]}]
duration:
  description: Seconds that it took.
  returned: always
  type: float
error:
  description:
    - Class of the error, such as V(NotFound), V(FailedPrecondition), V(Unavailable) or
      V(WaitFailed).
  returned: failure
  type: str
path:
  description: The option that is wrong, where one is.
  returned: failure
  type: str
"""

from ansible_collections.warren.core.plugins.module_utils.rollouts import carry_out
from ansible_collections.warren.core.plugins.module_utils.warren import (
    WAIT_ARGUMENTS,
    WarrenModule,
    run,
)

STATES = ("promoted", "paused", "resumed", "aborted", "rolled_back", "attached")
ONLY_WITH = {
    "step": ("promoted",),
    "full": ("promoted",),
    "revision": ("rolled_back",),
    "reason": ("aborted", "rolled_back"),
}


def main() -> None:
    """Entry point."""
    module = WarrenModule(
        {
            "service": {"type": "str", "required": True},
            "rollout_id": {"type": "str"},
            "state": {"type": "str", "choices": list(STATES), "default": "attached"},
            "step": {"type": "int"},
            "full": {"type": "bool", "default": False},
            "revision": {"type": "int"},
            "reason": {"type": "str"},
            **WAIT_ARGUMENTS,
        }
    )
    for option, states in ONLY_WITH.items():
        if module.params[option] and module.params["state"] not in states:
            allowed = " or ".join(f"state: {state}" for state in states)
            module.fail_json(
                msg=f"{option}: only with {allowed}", error="InvalidInput", path=option
            )
    run(module, lambda: carry_out(module))


if __name__ == "__main__":
    main()
