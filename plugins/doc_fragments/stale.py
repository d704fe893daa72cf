# Copyright (c) The Warren authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """The option of modules that only read."""

    DOCUMENTATION = r"""
options:
  stale:
    description:
      - Answer from what the manager that is asked knows, be it old. Also answers when there is no
        majority of managers.
    type: bool
    default: false
"""
