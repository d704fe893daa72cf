# Copyright (c) The Warren authors
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Options of every module that speaks to a cluster."""

    DOCUMENTATION = r"""
options:
  endpoints:
    description:
      - Managers to talk to, as C(host:port) or C(unix:///path/to/socket). Any one that serves is
        enough.
      - Without it, the first of these is used that is there. The option O(context), the environment
        variable E(WARREN_ENDPOINTS) (separated by commas), the environment variable
        E(WARREN_CONTEXT),
        the current context in C(~/.config/warren), and on a manager its unix socket.
    type: list
    elements: str
  ca_cert:
    description:
      - File with the CA certificate of the cluster (PEM). Needed with O(endpoints).
      - By default the value of E(WARREN_CA_CERT).
    type: path
  client_cert:
    description:
      - File with the operator's certificate (PEM). Needed with O(endpoints).
      - By default the value of E(WARREN_CLIENT_CERT).
    type: path
  client_key:
    description:
      - File with the key of O(client_cert) (PEM). Needed with O(endpoints).
      - By default the value of E(WARREN_CLIENT_KEY).
    type: path
  context:
    description:
      - Name of a context file in C(~/.config/warren/contexts), as M(warren.core.warren_context)
        writes it.
      - E(WARREN_CONFIG_DIR) replaces C(~/.config/warren).
    type: str
  timeout:
    description: Seconds that one call to the API may take, with its retries.
    type: float
    default: 10.0
requirements:
  - python >= 3.11
  - The Python package C(warren), which is in the directory C(agent) of this collection
notes:
  - Runs on the control node (C(delegate_to=localhost) with C(ansible_python_interpreter={{
    ansible_playbook_python }}))
    or on a manager, there as root with C(ansible_python_interpreter=/opt/warren/venv/bin/python).
"""
