"""What importing the engine does to the rest of the process: nothing."""

import subprocess
import sys


def test_the_library_leaves_the_socket_module_as_it_was() -> None:
    program = (
        "import socket\n"
        "before = socket.inet_ntop\n"
        "import warren.store.raft.shell\n"
        "assert socket.inet_ntop is before\n"
    )

    subprocess.run([sys.executable, "-c", program], check=True)
