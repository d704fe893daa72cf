"""Warren turns an Ansible inventory into a container cluster.

The packages, from the bottom up: `model` (the vocabulary), `state` (the replicated state as pure
data), `core` (decisions), `api` (wire schema), `client` and `cli` (for users), `store` (the
replicated log), `manager` and `worker` (the daemons' loops), `drivers` (the world).
"""

__version__ = "0.1.0"
