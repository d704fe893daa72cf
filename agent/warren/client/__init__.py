"""The synchronous client of the cluster API, used by the CLI and by the Ansible modules.

`connection` decides where to connect, `contexts` keeps what is needed for it on the control node,
`client` makes the calls and finds a manager that serves, `waits` waits for services.
"""

import os

# gRPC would print its own account of a failed handshake beside ours. Read when it is imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from warren.client.client import Client, connect

__all__ = ["Client", "connect"]
