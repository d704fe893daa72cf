"""How a host becomes a member of a cluster, and what membership leaves on its disk.

Synchronous, run on the host itself by the CLI and by Ansible modules; errors are `model.errors`.
"""
