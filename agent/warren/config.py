"""Where the daemons keep things, and what the host's owner configured: /etc/warren/warren.toml.

The file is written by the `agent` role and read once at start. Everything has a default, so an
empty file is a valid configuration. Facts about this node's membership are not configuration: they
are in `bootstrap/node_files.py`.
"""

import re
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from warren.model.errors import InvalidInput

_METRICS = re.compile(r"unix|off|mesh:[1-9][0-9]{0,4}")

DEFAULT_PATH = Path("/etc/warren/warren.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Every setting, flat. The TOML file has the same keys at its top level."""

    state_dir: Path = Path("/var/lib/warren")
    """node.json, pki/, mesh.key, raft/ (manager), worker/ (last assignment)."""
    run_dir: Path = Path("/run/warren")
    """warren.sock: the API for root on a manager."""
    log_dir: Path = Path("/var/log/warren/tasks")
    """One directory per task: `<task id>/<attempt>.log`, in CRI format."""
    volumes_dir: Path = Path("/var/lib/warren-volumes")
    """Local volumes, one directory each. Apart from the rest: nothing but the removal of a volume
    deletes what is here."""
    mounts_dir: Path = Path("/run/warren-mounts")
    """Where the memory of tasks, and volumes of other hosts, are mounted."""
    bind_paths: tuple[str, ...] = ()
    """Paths of this host that tasks may mount, with all below; by default none."""
    advertise_address: str = ""
    """Underlay address that other nodes reach this one by; required to create or join."""
    listen_address: str = "0.0.0.0"
    """Where managers listen for the API and for joining."""
    mesh_interface: str = "warren0"
    mesh_driver: str = "kernel"
    """`kernel` or `userspace` (wireguard-go, its own unit); the wireguard role probes for it."""
    runtime_endpoint: str = "unix:///run/containerd/containerd.sock"
    cni_config_dir: Path = Path("/etc/cni/net.d")
    cgroup_parent: str = "/warren"
    dns: bool = True
    """The host has a name server for services, in the unit warren-dns.service."""
    metrics_address: str = "unix"
    """Where a manager serves /metrics: `unix` (metrics.sock, root's), `mesh:PORT` (on its address
    inside the mesh, which only nodes reach), or `off`."""
    worker_metrics_address: str = "mesh:7446"
    """The same of the worker; with `unix` at worker-metrics.sock."""
    log_level: str = "info"

    @property
    def mesh_key_path(self) -> Path:
        """The private key of the mesh interface; made on the host, never sent anywhere."""
        return self.state_dir / "mesh.key"

    @property
    def socket_path(self) -> Path:
        """The root-only API socket on a manager."""
        return self.run_dir / "warren.sock"

    @property
    def metrics_socket_path(self) -> Path:
        """The root-only socket of /metrics on a manager."""
        return self.run_dir / "metrics.sock"

    @property
    def worker_metrics_socket_path(self) -> Path:
        """The root-only socket of a worker's /metrics."""
        return self.run_dir / "worker-metrics.sock"


def load(path: Path = DEFAULT_PATH) -> Config:
    """The configuration in `path`, defaults where it is silent. InvalidInput names file and key."""
    try:
        values = tomllib.loads(path.read_text())
    except FileNotFoundError:
        return Config()
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(str(error), path=str(path)) from error
    return Config(**{key: _convert(path, key, value) for key, value in values.items()})


def _convert(path: Path, key: str, value: object) -> Any:
    known = {f.name: f.type for f in fields(Config)}
    if key not in known:
        raise InvalidInput(f"unknown key, known are {', '.join(known)}", path=f"{path}: {key}")
    if known[key] is bool:
        if not isinstance(value, bool):
            raise InvalidInput("must be true or false", path=f"{path}: {key}")
        return value
    if key == "bind_paths":
        return _paths(path, key, value)
    if not isinstance(value, str):
        raise InvalidInput("must be text", path=f"{path}: {key}")
    if key == "mesh_driver" and value not in ("kernel", "userspace"):
        raise InvalidInput("must be kernel or userspace", path=f"{path}: {key}")
    if key in ("metrics_address", "worker_metrics_address") and not _METRICS.fullmatch(value):
        raise InvalidInput("must be unix, mesh:PORT or off", path=f"{path}: {key}")
    return Path(value) if known[key] is Path else value


def _paths(path: Path, key: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise InvalidInput("must be a list of paths", path=f"{path}: {key}")
    for each in value:
        if not each.startswith("/") or ".." in each.split("/"):
            raise InvalidInput(f"{each!r} is no whole path", path=f"{path}: {key}")
    return tuple(value)
