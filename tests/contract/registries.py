"""Docker's registry on loopback of the test run's own network namespace: open, or with a password.

containerd speaks plain HTTP to `localhost`, so no certificates are needed.
"""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.contract import namespaces

USER, PASSWORD = "warren", "correct horse"
_HTPASSWD = f"{USER}:$2b$05$SZX9Q7lNf7ZnVt2XdnFU5eWCk0OTenJsPqQ2oaKO92KjXDgddQgb6\n"


@contextmanager
def running(directory: Path, port: int, *, password: bool) -> Iterator[str]:
    """Serve on `localhost:port`, and answer that name."""
    namespaces.require("docker-registry")
    config = directory / f"registry-{port}.yml"
    (directory / "htpasswd").write_text(_HTPASSWD)
    auth = f"auth: {{htpasswd: {{realm: warren, path: {directory}/htpasswd}}}}" if password else ""
    config.write_text(
        f"version: 0.1\nlog: {{level: error}}\n{auth}\n"
        f"storage: {{filesystem: {{rootdirectory: {directory}/registry-{port}}}}}\n"
        f"http: {{addr: 'localhost:{port}'}}\n"
    )
    with (directory / f"registry-{port}.log").open("w") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(config)], stdout=log, stderr=log
        )
    try:
        _wait_until_it_listens(port, process)
        yield f"localhost:{port}"
    finally:
        process.terminate()
        process.wait()


def _wait_until_it_listens(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("localhost", port)) == 0:
                return
        assert process.poll() is None, "docker-registry ended: see its log"
        time.sleep(0.05)  # another program's start: nothing to wait on but its port
    raise AssertionError("docker-registry did not start")
