"""Mounts on this host. Implements `ports.HostMounts`.

The worker may not mount, and what it mounted would be in a mount namespace of its own, where no
container sees it: so `mount` and `umount` are run by systemd, where there is one. Directories are
removed one by one and only when they are empty, never with what is in them: it may be somebody's
data.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

from warren.drivers import commands
from warren.model.errors import DriverError

Run = Callable[[Sequence[str]], Awaitable[tuple[int, str, str]]]

_SYSTEMD = Path("/run/systemd/system")
_BY_SYSTEMD = (
    *("systemd-run", "--quiet", "--wait", "--collect", "--pipe"),
    *("--property=RuntimeMaxSec=25", "--"),
)
_TABLE = Path("/proc/self/mounts")
_ESCAPES = (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\"))


class SystemMounts:
    """Of the host that this runs on."""

    def __init__(self, run: Run = commands.run, *, systemd: bool | None = None) -> None:
        self._run = run
        self._prefix = _BY_SYSTEMD if (systemd is None and _SYSTEMD.exists()) or systemd else ()

    async def mount(self, kind: str, source: str, target: Path, options: Sequence[str]) -> None:
        if is_mounted(target):
            return
        _make(target)
        given = ("-o", ",".join(options)) if options else ()
        await self._do(("mount", "-t", kind, *given, source, str(target)), f"mount {source}")

    async def unmount(self, target: Path) -> None:
        if is_mounted(target):
            # A server that does not answer must not hold up the end of a task.
            await self._do(("umount", "--lazy", str(target)), f"unmount {target}")
        _remove(target)

    async def _do(self, command: Sequence[str], what: str) -> None:
        code, _, complaint = await self._run((*self._prefix, *command))
        if code:
            raise DriverError(f"cannot {what}: {complaint}")


def _make(target: Path) -> None:
    try:
        target.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DriverError(f"cannot make {target}: {error.strerror}") from error


def _remove(target: Path) -> None:
    """If there is nothing in it."""
    with suppress(OSError):
        target.rmdir()


def is_mounted(target: Path) -> bool:
    """Something is mounted there. Asks no file system, which may not answer."""
    return str(target) in mounted()


def mounted() -> frozenset[str]:
    """All mount points."""
    points = (line.split(" ")[1] for line in _TABLE.read_text().splitlines())
    return frozenset(map(_plain, points))


def _plain(text: str) -> str:
    for escape, character in _ESCAPES:
        text = text.replace(escape, character)
    return text
