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
    label: str | None = None,
) -> str:
    """Run a program to its end and return what it printed. Failures begin with the label."""
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
        reason = _reason(done.stderr) or _reason(done.stdout) or f"exit code {done.returncode}"
        raise FleetError(f"{label or ' '.join(argv[:4])}: {reason}")
    return done.stdout


def succeeds(argv: Sequence[str]) -> bool:
    """Whether the program ends well; what it prints does not matter."""
    try:
        run(argv)
    except FleetError:
        return False
    return True


def _reason(output: str) -> str:
    """The line that says what went wrong: the one that apt or debootstrap marks, or the last."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    marked = [line.removeprefix("E: ") for line in lines if line.startswith("E: ")]
    return (marked or lines or [""])[-1]
