# Copyright (c) The Warren authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """How a new revision of a service comes into use: the option `update`."""

    DOCUMENTATION = r"""
options:
  update:
    description:
      - How a new revision comes into use. Replaced as a whole, and an empty mapping stands for all
        defaults. It counts from the next rollout on, as one under way goes on as it began.
      - Sizes marked as a number or share are a number of tasks, or text such as V(25%).
    type: dict
    suboptions:
      strategy:
        description:
          - V(rolling) replaces tasks batch by batch.
          - V(blue_green) starts the whole new set beside the old, and then gives it all traffic at
            once.
          - V(canary) gives a growing share of the traffic to some new tasks, and then replaces the
            rest batch by batch.
        type: str
        choices: [rolling, blue_green, canary]
        default: rolling
      parallelism:
        description: Tasks that are replaced at a time, a number or share.
        type: str
        default: "1"
      delay:
        description: Wait between two batches, such as V(10s).
        type: str
        default: 0s
      order:
        description:
          - Whether the new task of a slot is ready before the old one stops, or starts after it.
        type: str
        choices: [start_first, stop_first]
        default: start_first
      monitor:
        description:
          - How long new tasks are watched, from when all of a batch are ready, before the rollout
            goes on.
        type: str
        default: 5s
      max_failure_ratio:
        description: Share of the tasks, from 0 to 1, that may fail before the revision is bad.
        type: float
        default: 0
      on_failure:
        description: What happens when the new revision is bad.
        type: str
        choices: [pause, rollback, continue]
        default: rollback
      progress_deadline:
        description: Without progress for so long, the revision is bad. V(0) means never.
        type: str
        default: 10m
      min_healthy:
        description:
          - Tasks that a rollout leaves ready at least, a number or share. By default all of them
            with V(start_first), all but those of one batch with V(stop_first).
        type: str
      keep_revisions:
        description: Revisions before the current one that can be gone back to.
        type: int
        default: 10
      auto_promote:
        description:
          - With V(blue_green), switch when the new set is ready. Otherwise the rollout waits for
            M(warren.core.warren_rollout) with O(warren.core.warren_rollout#module:state=promoted).
        type: bool
        default: true
      smoke:
        description:
          - With V(blue_green), a check that the new set must pass before it gets traffic. Exactly
            one of O(update.smoke.http), O(update.smoke.exec) and O(update.smoke.prometheus).
        type: dict
        suboptions: &analysis
          name:
            description: What messages call it.
            type: str
          http:
            description:
              - GET on the address of each new task. V(path), V(port), V(headers) and V(status) are
                those of O(health.http).
            type: dict
          exec:
            description: A V(command) in the container of each new task that exits with 0.
            type: dict
          prometheus:
            description:
              - A query whose every value must lie within bounds. No value at all is bad, too.
            type: dict
            suboptions:
              url:
                description: Address of the Prometheus server, reached from the managers.
                type: str
                required: true
              query:
                description: In PromQL.
                type: str
                required: true
              min:
                description: Least value that is good.
                type: float
              max:
                description: Greatest value that is good.
                type: float
          interval:
            description: Time between two checks.
            type: str
            default: 10s
          timeout:
            description: Most that a check may take.
            type: str
            default: 5s
          retries:
            description: Bad results in a row that make the revision bad.
            type: int
            default: 3
      grace_period:
        description:
          - With V(blue_green), how long the old set is kept after the switch, for a way back in an
            instant.
        type: str
        default: 1m
      steps:
        description: With V(canary), the shares of traffic, one after another. They grow.
        type: list
        elements: dict
        suboptions:
          weight:
            description:
              - Share of the traffic that the new revision has, in percent. V(0) in the first one
                leaves it to O(update.pin).
            type: int
            required: true
          duration:
            description: How long it keeps that share, such as V(5m).
            type: str
            default: 0s
          manual:
            description:
              - Wait for M(warren.core.warren_rollout) with
                O(warren.core.warren_rollout#module:state=promoted).
            type: bool
            default: false
      pin:
        description:
          - With V(canary) and V(blue_green), clients that reach the new tasks before all others.
        type: dict
        suboptions:
          sources:
            description:
              - IPv4 addresses and networks, such as V(192.0.2.7) and V(10.0.0.0/24), at most 64.
                Their connections go to new tasks only, from when the first is ready until all
                traffic has gone over to the new revision or it was taken back.
            type: list
            elements: str
            required: true
      analysis:
        description:
          - With V(canary), checks that are made while new tasks have traffic. One that is bad makes
            the revision bad. Each has exactly one of V(http), V(exec) and V(prometheus).
        type: list
        elements: dict
        suboptions: *analysis
"""
