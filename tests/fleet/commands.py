"""Runs other programs, and turns their failure into one clear line.

Every program that the fleet starts and waits for goes through `run`; only the hosts themselves
and the registry, which outlive the command that starts them, do not.
"""

import subprocess
from collections.abc import Mapping, Sequence

from tests.fleet.errors import FleetError


def run(
    argv: Sequence[str],
    *,
    text_in: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a program to its end and return what it printed."""
    try:
        done = subprocess.run(
            argv,
            input=text_in,
            stdin=subprocess.DEVNULL if text_in is None else None,
            capture_output=True,
            text=True,
            env=environment,
            check=False,
        )
    except FileNotFoundError as error:
        raise FleetError(
            f"{argv[0]} is not installed: install the packages in tests/fleet/apt-packages.txt"
        ) from error
    if done.returncode:
        output = (done.stderr.strip() or done.stdout.strip()).splitlines()
        reason = output[-1] if output else f"exit code {done.returncode}"
        raise FleetError(f"{' '.join(argv[:4])}: {reason}")
    return done.stdout


def succeeds(argv: Sequence[str]) -> bool:
    """Whether the program ends well; what it prints does not matter."""
    try:
        run(argv)
    except FleetError:
        return False
    return True
