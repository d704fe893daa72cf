# Copyright (c) The Warren authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Options of the modules that wait."""

    DOCUMENTATION = r"""
options:
  wait:
    description:
      - Wait until it is so, and fail with the reason if it will not be.
      - Nothing is waited for in check mode.
    type: bool
    default: true
  wait_timeout:
    description: Seconds after which waiting has failed.
    type: float
    default: 300.0
"""
