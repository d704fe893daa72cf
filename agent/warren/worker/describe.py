"""What this host is: read once per session, from /proc and os-release."""

import asyncio
import os
import platform
from pathlib import Path

import warren
from warren.drivers.ports import Mesh, Runtime
from warren.model.errors import WarrenError
from warren.model.nodes import NodeDescription
from warren.model.services import Bytes

_ANSWER_SECONDS = 2


async def describe(
    runtime: Runtime, mesh: Mesh, address: str, root: Path = Path("/")
) -> NodeDescription:
    """The description; a runtime that does not answer is left out, it delays no session."""
    return NodeDescription(
        address=address,
        cpus=float(len(os.sched_getaffinity(0))),
        memory=Bytes(_memory(root / "proc/meminfo")),
        architecture=platform.machine(),
        os=_pretty_name(root / "etc/os-release"),
        kernel=platform.release(),
        runtime=await _runtime_version(runtime),
        warren=warren.__version__,
        mtu=await _mtu(mesh),
    )


async def _mtu(mesh: Mesh) -> int:
    """0 when the host does not know, as long as it lacks the address that it advertises."""
    try:
        return await mesh.mtu()
    except WarrenError:
        return 0


async def _runtime_version(runtime: Runtime) -> str:
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            return await runtime.version()
    except (WarrenError, TimeoutError):
        return ""


def _memory(path: Path) -> int:
    """MemTotal, in bytes."""
    for line in path.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "MemTotal":
            return int(value.split()[0]) * 1024
    return 0


def _pretty_name(path: Path) -> str:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return platform.system()
    values = dict(line.partition("=")[::2] for line in lines)
    return values.get("PRETTY_NAME", "").strip("\"'") or platform.system()
