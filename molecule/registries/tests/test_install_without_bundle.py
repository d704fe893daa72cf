"""The scenario's hosts have no way out, so a distribution and an index come to them.

The archive is the one that this machine's apt uses, passed on byte by byte, with its signatures;
the index is a directory of wheels, as a site without a way out would keep one.
"""

import http.server
import shutil
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from conftest import FLEET, INVENTORY, REGISTRY, ROOT, changed_hosts, run, wait_until
from warren.client.client import Client
from warren.client.waits import wait_service_gone
from warren.model.services import Placement, ServiceSpec

from tests.fleet import base

HOST = "w4"
SERVED = ("10.78.0.1", 5100)
URL = f"http://{SERVED[0]}:{SERVED[1]}"
PAUSE = f"{REGISTRY}/pause:1"


class Sources(http.server.BaseHTTPRequestHandler):
    """`/debian/...` is the archive; `/wheels/...` the wheels of the bundle, not the agent's, and
    the source of the log's library: a wheel of it that was built elsewhere has another hash."""

    files: dict[str, Path]

    def do_GET(self) -> None:
        if self.path.startswith("/debian/"):
            self._pass_on(base.mirror() + self.path.removeprefix("/debian"))
        else:
            self._serve(self.path.removeprefix("/wheels/"))

    def _pass_on(self, url: str) -> None:
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                self.send_response(200)
                self.send_header("Content-Length", answer.headers["Content-Length"])
                self.end_headers()
                shutil.copyfileobj(answer, self.wfile)
        except urllib.error.HTTPError as error:
            self.send_error(error.code)

    def _serve(self, name: str) -> None:
        if name in self.files:
            body = self.files[name].read_bytes()
        else:
            body = "".join(f'<a href="{file}">{file}</a>' for file in self.files).encode()
        self.send_response(200)
        self.send_header(
            "Content-Type", "application/octet-stream" if name in self.files else "text/html"
        )
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    fetched = tmp_path_factory.mktemp("fetched")
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(fetched))
    run(*pip, "--require-hashes", "--requirement", "agent/pinned.txt")
    run(*pip, "setuptools")
    wheels = (ROOT / "bundle" / "wheels" / "trixie").glob("*.whl")
    ours = [path for path in wheels if not path.name.startswith(("warren-", "pysyncobj-"))]
    Sources.files = {path.name: path for path in (*ours, *fetched.iterdir())}
    server = http.server.ThreadingHTTPServer(SERVED, Sources)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def host(sources: None) -> Iterator[str]:
    """A bare host whose apt and pip are set up as an administrator would have done."""
    fleet = ("python3", "-m", "tests.fleet")
    run(*fleet, "up", "--name", FLEET, "--names", HOST, "--release", "trixie")
    workers = f"m1,m2,m3,w1,w2,{HOST}"
    options = ("--managers", "m1,m2,m3", "--workers", workers, "--out", str(INVENTORY))
    run(*fleet, "inventory", "--name", FLEET, *options)
    setup = (
        f"echo 'deb {URL}/debian trixie main' > /etc/apt/sources.list;"
        f"printf '[global]\\nno-index = true\\nfind-links = {URL}/wheels/\\n"
        f"trusted-host = {SERVED[0]}\\n' > /etc/pip.conf"
    )
    run(*fleet, "ssh", "--name", FLEET, HOST, setup)
    archive = f"oci-archive:{ROOT}/bundle/images/pause.tar"
    run("skopeo", "copy", "--quiet", "--dest-tls-verify=false", archive, f"docker://{PAUSE}")
    yield HOST
    run(*fleet, "kill", HOST, "--name", FLEET)


def test_a_host_joins_and_runs_tasks_without_a_bundle(
    playbook: Callable[..., subprocess.CompletedProcess[str]], host: str, client: Client
) -> None:
    variables = ("-e", "warren_bundle=", "-e", f"warren_containerd_sandbox_image={PAUSE}")

    looked = playbook("site.yml", "--limit", host, *variables, "--check")
    done = playbook("site.yml", "--limit", host, *variables)
    again = playbook("site.yml", "--limit", host, *variables)

    assert looked.returncode == 0, looked.stdout[-3000:]
    assert done.returncode == 0, done.stdout[-3000:]
    assert set(changed_hosts(again.stdout).values()) == {0}, again.stdout[-3000:]
    placement = Placement(constraints=(f"node.name == {host}",))
    spec = ServiceSpec(name="there", image=f"{REGISTRY}/hello:1", placement=placement)
    client.apply_service(spec, ("name", "image", "placement"))
    wait_until(lambda: client.get_service("there").status.converged, seconds=30)
    assert client.get_service("there").node_names[0] == host
    client.delete_service("there")
    wait_service_gone(client, "there", timeout=timedelta(seconds=30))
