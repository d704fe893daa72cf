"""A network namespace of the test run's own, entered by the main thread and left at the end.

Children that are started meanwhile live in it too: nft, containerd, wireguard-go. So nothing that
a test does to addresses, routes or rules can be seen outside of it.
"""

import ctypes
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_CLONE_NEWNET = 0x40000000
_PACKAGES = "tests/contract/apt-packages.txt"
_libc = ctypes.CDLL(None, use_errno=True)


def require(*programs: str) -> None:
    """Fail, and say what to do, when the real drivers cannot be tested on this machine."""
    if os.geteuid() != 0:
        pytest.fail("the contract tests of the real drivers need root", pytrace=False)
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.fail(f"{', '.join(missing)} not found: install {_PACKAGES}", pytrace=False)


@contextmanager
def own_network() -> Iterator[None]:
    """Within, this thread and its children are in a fresh network namespace with only `lo`."""
    outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    _check(_libc.unshare(_CLONE_NEWNET))
    try:
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        yield
    finally:
        _check(_libc.setns(outside, _CLONE_NEWNET))
        os.close(outside)


@contextmanager
def host(name: str) -> Iterator[str]:
    """Another named network namespace, to play a second host: `ip netns exec NAME …`."""
    full = f"warren-test-{os.getpid()}-{name}"
    subprocess.run(["ip", "netns", "add", full], check=True)
    try:
        subprocess.run(["ip", "-n", full, "link", "set", "lo", "up"], check=True)
        yield full
    finally:
        subprocess.run(["ip", "netns", "del", full], check=True)


@contextmanager
def entered(name: str | Path) -> Iterator[None]:
    """Within, this thread is in the named namespace, or that of a path such as /proc/1/ns/net:
    sockets that it opens stay there."""
    outside = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    inside = os.open(Path("/run/netns") / name, os.O_RDONLY)
    try:
        _check(_libc.setns(inside, _CLONE_NEWNET))
        yield
    finally:
        _check(_libc.setns(outside, _CLONE_NEWNET))
        os.close(inside)
        os.close(outside)


def run(command: str, *, netns: str = "", text: str = "") -> str:
    """Run a command line, in `netns` if one is named, and answer what it printed."""
    printed, code = attempt(command, netns=netns, text=text)
    assert code == 0, f"{command}: {printed}"
    return printed


def attempt(command: str, *, netns: str = "", text: str = "") -> tuple[str, int]:
    """Run a command line that may fail: all that it printed, and its exit code."""
    finished = subprocess.run(
        [*(("ip", "netns", "exec", netns) if netns else ()), *command.split()],
        input=text,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return finished.stdout, finished.returncode


def processes_with(argument: str) -> list[int]:
    """Processes that have `argument` on their command line, by /proc."""
    found = []
    for directory in Path("/proc").iterdir():
        if not directory.name.isdecimal():
            continue
        try:
            command = (directory / "cmdline").read_bytes().split(b"\0")
        except OSError:  # it ended meanwhile
            continue
        if argument.encode() in command:
            found.append(int(directory.name))
    return found


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
