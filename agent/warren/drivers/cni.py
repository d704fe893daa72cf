"""The task network of this host: a CNI configuration for the container runtime.

`ptp` + `host-local`, so that every packet between tasks is routed, also between two on one host:
with `bridge`, replies between them would skip address translation. Implements
`ports.TaskNetwork`. Masquerading is `nftables.py`'s, hence `ipMasq` off.

host-local's leases are kept below /run: a reboot ends every task, and leases that outlived it
would use up the subnet.
"""

import json
from pathlib import Path

from warren.model.errors import DriverError

FILE_NAME = "10-warren.conflist"
_LEASES = Path("/run/cni/networks")
_IP_FORWARD = Path("/proc/sys/net/ipv4/ip_forward")


class CniNetwork:
    """Writes the configuration; the runtime watches the directory and picks it up by itself."""

    def __init__(
        self,
        config_dir: Path,
        *,
        leases_dir: Path = _LEASES,
        ip_forward: Path = _IP_FORWARD,
    ) -> None:
        self._path = config_dir / FILE_NAME
        self._leases_dir = leases_dir
        self._ip_forward = ip_forward

    async def configure(self, subnet: str, mtu: int) -> None:
        wanted = _conflist(subnet, mtu, self._leases_dir)
        try:
            if not self._path.exists() or self._path.read_text() != wanted:
                _write(self._path, wanted)
            if self._ip_forward.read_text().strip() != "1":
                self._ip_forward.write_text("1\n")
        except OSError as error:
            raise DriverError(
                f"cannot configure the task network: {error.strerror} ({error.filename})"
            ) from error


def _conflist(subnet: str, mtu: int, leases_dir: Path) -> str:
    plugin = {
        "type": "ptp",
        "ipMasq": False,
        "mtu": mtu,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": subnet}]],
            "routes": [{"dst": "0.0.0.0/0"}],
            "dataDir": str(leases_dir),
        },
    }
    network = {"cniVersion": "0.4.0", "name": "warren", "plugins": [plugin]}
    return json.dumps(network, indent=2) + "\n"


def _write(path: Path, text: str) -> None:
    """By rename, so that the runtime never reads half a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.new")
    draft.write_text(text)
    draft.chmod(0o644)
    draft.replace(path)
