"""The fleet's managers, by ssh: running a script on one or on all, and undoing what faults left."""

import json
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

from tests.fleet import fleets

UNIT = "warren-manager"
STATE = "/var/lib/warren"
RAFT = f"{STATE}/raft"
FILLER = f"{STATE}/filler"
TABLE = "inet chaos"

MOMENT = "date +%s.%N"
"""Prints when something is about to be done, by the clock that all hosts and this machine share."""


class Hosts:
    """Managers by name, and their addresses."""

    def __init__(self, fleet: str) -> None:
        directory = fleets.STATE / fleet
        self._config = directory / "ssh_config"
        known = json.loads((directory / "hosts.json").read_text())["hosts"]
        self.addresses: dict[str, str] = {host["name"]: host["address"] for host in known}
        self._offset = time.time() - time.monotonic()

    def run(self, host: str, script: str, *, check: bool = True) -> str:
        """What a shell script prints there."""
        command = ["ssh", "-F", str(self._config), "-o", "ControlMaster=auto", "-o"]
        command += ["ControlPersist=60s", host, script]
        done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
        if check and done.returncode:
            raise RuntimeError(f"{host}: {script!r} failed: {done.stderr.strip()}")
        return done.stdout

    def run_all(self, script: str, *, check: bool = True) -> dict[str, str]:
        """The same at once on all."""
        with ThreadPoolExecutor(max_workers=len(self.addresses)) as pool:
            outputs = pool.map(lambda host: self.run(host, script, check=check), self.addresses)
            return dict(zip(self.addresses, outputs, strict=True))

    def moment(self, output: str) -> float:
        """What `MOMENT` printed as a script's first line, by this process's monotonic clock."""
        return float(output.split("\n", 1)[0]) - self._offset

    def pull_up(self) -> None:
        """Undo whatever is left of any fault."""
        self.run_all(
            f"nft delete table {TABLE} 2>/dev/null; rm -f {FILLER}; "
            f"systemctl kill -s CONT {UNIT}; systemctl start {UNIT} || true",
            check=False,
        )

    def have_small_disks(self) -> bool:
        """Whether what a manager keeps is on a file system of its own, which may be filled."""
        asked = f"mountpoint -q {STATE} && echo yes || true"
        return all(answer.strip() == "yes" for answer in self.run_all(asked).values())
