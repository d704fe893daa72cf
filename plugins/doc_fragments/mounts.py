# Copyright (c) The Warren authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What the tasks of a service have as directories."""

    DOCUMENTATION = r"""
options:
  mounts:
    description:
      - Directories that the tasks have. Replaces all that were given before. An empty list removes
        all.
    type: list
    elements: dict
    suboptions:
      type:
        description:
          - V(volume) is a volume of the cluster, that M(warren.core.warren_volume) keeps.
          - V(bind) is a path of the node, which its owner must have allowed with
            C(warren_bind_paths).
          - V(tmpfs) is memory, empty whenever the task starts.
        type: str
        choices: [volume, bind, tmpfs]
        default: volume
      source:
        description: Name of the volume, or path on the node. A tmpfs has none.
        type: str
      target:
        description: Whole path in the container.
        type: str
        required: true
      read_only:
        description:
          - Whether the task can only read it. Any number of tasks may read a volume.
        type: bool
        default: false
      size:
        description: Most that a tmpfs holds, such as V(64MiB). By default half of the memory.
        type: str
      mode:
        description: Mode of a tmpfs, in quotes. By default V(1777).
        type: str
"""
