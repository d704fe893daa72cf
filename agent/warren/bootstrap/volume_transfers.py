"""A volume's content on its way between its node and the control node: what is done on the node.

Called there by the modules warren_volume_backup and warren_volume_restore, one step at a time,
while a process of its own packs or unpacks (volume_packing.py). What is restored is put beside the
volume's directory, and takes its place in one step: the old or the new is there, never a part.
"""

import base64
import ctypes
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from warren import files
from warren.bootstrap import volume_packing
from warren.bootstrap.volume_packing import Order
from warren.bootstrap.volume_places import beside
from warren.bootstrap.volume_spool import Spool
from warren.model.errors import FailedPrecondition, NotFound
from warren.store.archives import Seal

_RENAME_EXCHANGE = 2
_AT_FDCWD = -100


def begin_packing(spool: Spool, directory: Path, seal: Seal, *, may_change: bool) -> None:
    """The archive comes in pieces from now on. NotFound: there is no such directory."""
    require_directory(directory)
    _begin(
        spool,
        Order(
            spool=str(spool.directory),
            piece_bytes=spool.piece_bytes,
            directory=str(directory),
            key=base64.b64encode(seal.key).decode(),
            header=base64.b64encode(seal.header).decode(),
            may_change=may_change,
        ),
    )


def require_directory(directory: Path) -> None:
    """NotFound: there is none, so no task has had the volume yet."""
    if not directory.is_dir():
        raise NotFound(f"there is no directory {directory}: nothing was written to the volume yet")


def begin_unpacking(spool: Spool, directory: Path, key: bytes) -> None:
    """Pieces of an archive may be put from now on; they are unpacked beside the directory.

    FailedPrecondition: a process has it.
    """
    _refuse_used(directory)
    directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    _begin(
        spool,
        Order(
            spool=str(spool.directory),
            piece_bytes=spool.piece_bytes,
            directory=str(beside(directory)),
            key=base64.b64encode(key).decode(),
        ),
    )


def finish_unpacking(spool: Spool, directory: Path) -> None:
    """What was unpacked becomes the directory. FailedPrecondition: why not; it is as it was."""
    spool.wait_end()
    _refuse_used(directory)
    new = beside(directory)
    if directory.exists():
        _exchange(new, directory)
    else:
        new.rename(directory)
    files.sync_directory(directory.parent)
    shutil.rmtree(new, ignore_errors=True)


def _begin(spool: Spool, order: Order) -> None:
    """It outlives the module that begins it."""
    lock = spool.begin()
    try:
        subprocess.run(
            ("setsid", "--fork", sys.executable, "-m", volume_packing.__name__),
            input=json.dumps(asdict(order)).encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            pass_fds=(lock,),  # the lock is let go when the process has ended, however
            check=True,
        )
    finally:
        os.close(lock)


def _exchange(one: Path, other: Path) -> None:
    """Each gets the other's name, in one step."""
    library = ctypes.CDLL(None, use_errno=True)
    names = (os.fsencode(one), os.fsencode(other))
    if library.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE):
        reason = os.strerror(ctypes.get_errno())
        raise FailedPrecondition(f"{other} cannot be exchanged for what was restored: {reason}")


def _refuse_used(directory: Path) -> None:
    """No process on this host may have the directory mounted, whatever the cluster says."""
    if not directory.exists():
        return
    wanted = (directory.stat().st_dev, _path_in_file_system(directory))
    for table in Path("/proc").glob("[0-9]*/mountinfo"):
        if wanted in _mounts(table):
            raise FailedPrecondition(f"{directory} is used by process {table.parent.name}")


def _path_in_file_system(directory: Path) -> str:
    """As mount tables have it: from the root of its file system."""
    for line in reversed(Path("/proc/self/mountinfo").read_text().splitlines()):
        root, point = (_plain(field) for field in line.split()[3:5])
        if directory.is_relative_to(point):
            return str(Path(root) / directory.relative_to(point))
    return str(directory)


def _mounts(table: Path) -> set[tuple[int, str]]:
    """Device and root of each mount. Processes come and go."""
    try:
        rows = [line.split() for line in table.read_text().splitlines()]
    except OSError:
        return set()
    return {(_device(row[2]), _plain(row[3])) for row in rows}


def _device(text: str) -> int:
    major, minor = text.split(":")
    return os.makedev(int(major), int(minor))


def _plain(text: str) -> str:
    """Without the escapes of mount tables."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text
