"""A containerd of the test run's own: everything in a temporary directory, ended by process id.

It runs in a mount namespace, so that its mounts go when it goes. Its socket, images, CNI
configuration and cgroups are its own too, so that a containerd of the machine is not touched.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.contract import images, namespaces

_CAP_SYS_RESOURCE = 24
_PLUGINS_OFF = ("aufs", "btrfs", "devmapper", "zfs", "native")


@dataclass(frozen=True, slots=True, kw_only=True)
class PrivateContainerd:
    """Where it is."""

    directory: Path
    cgroup_parent: str

    @property
    def endpoint(self) -> str:
        return f"unix://{self.socket}"

    @property
    def socket(self) -> Path:
        return self.directory / "c.sock"

    @property
    def cni_config_dir(self) -> Path:
        return self.directory / "cni"

    @property
    def leases_dir(self) -> Path:
        return self.directory / "leases"

    @property
    def registries_dir(self) -> Path:
        return self.directory / "registries"


@contextmanager
def running(directory: Path) -> Iterator[PrivateContainerd]:
    """Start it with both test images, and end it with all that it started."""
    namespaces.require("containerd", "runc", "ctr", "unshare", "busybox", "catatonit")
    ours = PrivateContainerd(directory=directory, cgroup_parent=f"/warren-test-{os.getpid()}")
    for path in (ours.cni_config_dir, ours.registries_dir):
        path.mkdir()
    (directory / "config.toml").write_text(_config(ours))
    with (directory / "containerd.log").open("w") as log:
        process = subprocess.Popen(
            [
                *("unshare", "--mount", "--propagation", "private", "sh", "-c"),
                "mkdir -p /run/containerd && mount -t tmpfs tmpfs /run/containerd"
                f" && exec containerd --config {directory}/config.toml",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        _wait_until_it_serves(ours, process)
        _import_images(ours)
        yield ours
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        _end_the_rest(ours)


def _config(ours: PrivateContainerd) -> str:
    root = ours.directory
    plugins = ", ".join(f'"io.containerd.snapshotter.v1.{name}"' for name in _PLUGINS_OFF)
    return f"""
version = 2
root = "{root}/root"
state = "{root}/state"
disabled_plugins = [{plugins}]
[grpc]
  address = "{ours.socket}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{root}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{images.PAUSE}"
  restrict_oom_score_adj = {str(not _may_lower_oom_score()).lower()}
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{ours.cni_config_dir}"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{ours.registries_dir}"
"""


def _may_lower_oom_score() -> bool:
    """runc wants -998 for sandboxes, which takes CAP_SYS_RESOURCE."""
    status = Path("/proc/self/status").read_text()
    capabilities = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(capabilities.split()[1], 16) >> _CAP_SYS_RESOURCE & 1)


def _wait_until_it_serves(ours: PrivateContainerd, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        listed = subprocess.run(
            ["ctr", "-a", str(ours.socket), "plugins", "ls", "-q"], capture_output=True, check=False
        )
        if listed.returncode == 0:
            return
        assert process.poll() is None, (ours.directory / "containerd.log").read_text()
        time.sleep(0.05)  # another program's start: nothing to wait on but its socket
    raise AssertionError("containerd did not start: see its containerd.log")


def _import_images(ours: PrivateContainerd) -> None:
    for name, write in (("pause", images.write_pause), ("busybox", images.write_busybox)):
        archive = ours.directory / f"{name}.tar"
        write(archive)
        namespaces.run(f"ctr -a {ours.socket} -n k8s.io images import {archive}")


def _end_the_rest(ours: PrivateContainerd) -> None:
    """Shims outlive containerd by design, and so do containers that a failed test left."""
    for directory in Path("/sys/fs/cgroup").glob(f"*{ours.cgroup_parent}/**/cgroup.procs"):
        for line in directory.read_text().split():
            _kill(int(line))
    for pid in namespaces.processes_with(str(ours.socket)):
        _kill(pid)
    for parent in Path("/sys/fs/cgroup").glob(f"*{ours.cgroup_parent}"):
        _remove_cgroups(parent)


def _remove_cgroups(parent: Path) -> None:
    """A cgroup is busy until its last process, which was just killed, has been reaped."""
    for _ in range(100):
        for directory in sorted(parent.glob("**/"), reverse=True):
            with suppress(OSError):
                directory.rmdir()
        if not parent.exists():
            return
        time.sleep(0.05)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
