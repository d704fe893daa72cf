# Copyright (c) The Warren authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """What the tasks of a service have as files."""

    DOCUMENTATION = r"""
options:
  secrets:
    description:
      - Secrets that the tasks have as files in memory, under C(/run/secrets). An empty list removes
        all.
      - Without O(secrets[].version) it is the newest version, and a new one is rolled out unless
        O(secrets[].follow) is false. It then waits for the next change of the service.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the secret.
        type: str
        required: true
      target:
        description: Path under C(/run/secrets). By default the name.
        type: str
      uid:
        description: Owner of the file.
        type: int
        default: 0
      gid:
        description: Group of the file.
        type: int
        default: 0
      mode:
        description: Mode of the file, in quotes.
        type: str
        default: "0400"
      version:
        description: A version of the secret. V(0) is the newest.
        type: int
        default: 0
      follow:
        description: Whether a new version is rolled out.
        type: bool
        default: true
      pinned:
        description: The version that the service has. It can be read, and is ignored when given.
        type: int
  configs:
    description:
      - Configs that the tasks have as files. An empty list removes all. What is not told here is
        as with O(secrets).
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the config.
        type: str
        required: true
      target:
        description: Path in the container. A relative one is under C(/run/configs).
        type: str
      template:
        description:
          - Whether placeholders for facts of node, service and task are filled in.
        type: bool
        default: false
      uid:
        description: Owner of the file.
        type: int
        default: 0
      gid:
        description: Group of the file.
        type: int
        default: 0
      mode:
        description: Mode of the file, in quotes.
        type: str
        default: "0444"
      version:
        description: A version of the config. V(0) is the newest.
        type: int
        default: 0
      follow:
        description: Whether a new version is rolled out.
        type: bool
        default: true
      pinned:
        description: The version that the service has. It can be read, and is ignored when given.
        type: int
"""
