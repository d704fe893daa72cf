"""Where a volume's content is on its node while it is backed up or restored, and what remains.

    <state_dir>/volume-transfers/<name>    the spool that an archive passes through
    <volumes_dir>/.<name>.<id>.restored    what is unpacked; after the exchange, the old content
    <volumes_dir>/.<name>.<id>.leaving     the same, when nobody can want it any more

Used by the modules' half (volume_transfers.py). The agent calls `remove_leftovers` at its start: a
host that loses its power in a restore has the old volume or the new, and perhaps one of these
beside it. No volume has a name that begins with a dot, so no volume is ever removed here.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from warren.bootstrap.volume_spool import Spool
from warren.config import Config
from warren.model.errors import FailedPrecondition


def spool_of(config: Config, volume: str) -> Spool:
    """Where the pieces of its archive are."""
    return Spool(_spools(config) / volume)


def beside(directory: Path) -> Path:
    """Where a volume is unpacked: on the same file system."""
    return directory.with_name(f".{directory.name}.restored")


def remove_leftovers(config: Config) -> tuple[Path, ...]:
    """Remove what runs that were broken off have left: each is over, as its process is. Answers
    which parts of volumes that were. OSError: one cannot be removed."""
    removed: list[Path] = []
    for name in sorted({*_volumes_with_parts(config), *_volumes_with_spools(config)}):
        spool = spool_of(config, name)
        try:
            lock = spool.begin()
        except FailedPrecondition:
            continue  # it goes on
        try:
            for part in _parts(config, name):
                _remove(part)
                removed.append(part)
        finally:
            os.close(lock)
            spool.remove()
    return tuple(removed)


def _remove(part: Path) -> None:
    """Who is about to give it the volume's name may do so before, or finds nothing: never what is
    left of it."""
    leaving = part.with_suffix(".leaving")
    if part != leaving:
        shutil.rmtree(leaving, ignore_errors=True)
        part.rename(leaving)
    shutil.rmtree(leaving)


def _parts(config: Config, name: str) -> Iterator[Path]:
    for suffix in ("leaving", "restored"):
        yield from sorted(config.volumes_dir.glob(f".{name}.*.{suffix}"))


def _volumes_with_parts(config: Config) -> Iterator[str]:
    return (part.name.split(".")[1] for part in _parts(config, "*"))


def _volumes_with_spools(config: Config) -> Iterator[str]:
    return (path.stem for path in _spools(config).glob("*"))


def _spools(config: Config) -> Path:
    return config.state_dir / "volume-transfers"
