"""The log files of tasks: `<task id>/<attempt>.log`, written by the runtime in CRI format.

A file that has grown large is renamed to `<attempt>.log.1` and the runtime begins another; the
older one is `<attempt>.log.2`, and there is no third.

A line reads `<time> stdout|stderr F|P <text>`; P is a part of a line that goes on in the next
record of the same stream. Files are read in blocks, so that no log is too large.
"""

import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

log = logging.getLogger(__name__)

LAST_LINE_LENGTH = 500
LINE_LENGTH_MAX = 256 * 1024
"""Longer lines are cut into lines of this length."""
ATTEMPTS_KEPT = 5
"""Logs of earlier attempts are removed when another one has ended."""
_BLOCK = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record of a log file. `whole` is False for a part of a line that goes on."""

    time: datetime
    stderr: bool
    whole: bool
    text: bytes


def path_of(log_dir: Path, task_id: str, attempt: int) -> Path:
    """Where the runtime writes the log of an attempt."""
    return log_dir / task_id / f"{attempt}.log"


def attempts(log_dir: Path, task_id: str) -> tuple[int, ...]:
    """Attempts that have a log, oldest first."""
    names = (path.stem for path in (log_dir / task_id).glob("*.log"))
    return tuple(sorted(int(name) for name in names if name.isdecimal()))


def segments(log_dir: Path, task_id: str) -> tuple[Path, ...]:
    """All files of a task's logs, oldest first."""
    found = []
    for attempt in attempts(log_dir, task_id):
        path = path_of(log_dir, task_id, attempt)
        found += [*reversed([older for older in _older(path) if older.exists()]), path]
    return tuple(found)


def rotate(path: Path) -> None:
    """Rename the file and its elders by one; the runtime must be told to begin another."""
    first, second = _older(path)
    if first.exists():
        first.rename(second)
    path.rename(first)


def unrotate(path: Path) -> None:
    """Give the file its name back, if the runtime went on in it."""
    first, _ = _older(path)
    if not path.exists():
        first.rename(path)


def _older(path: Path) -> tuple[Path, Path]:
    return path.with_name(f"{path.name}.1"), path.with_name(f"{path.name}.2")


def task_ids(log_dir: Path) -> frozenset[str]:
    """Tasks that have logs here."""
    try:
        return frozenset(entry.name for entry in os.scandir(log_dir) if entry.is_dir())
    except FileNotFoundError:
        return frozenset()


def remove(log_dir: Path, task_id: str) -> None:
    """Remove all logs of a task. The id comes from a label too, so it may name no other place."""
    directory = log_dir / task_id
    if directory.parent != log_dir or task_id in ("", ".", ".."):
        log.warning("not removing the logs of %r: not a task id", task_id)
        return
    try:
        shutil.rmtree(directory)
    except FileNotFoundError:
        return
    except OSError as error:
        log.warning("cannot remove the logs of task %s: %s", task_id, error)


def prune(log_dir: Path, task_id: str, *, keep: int = ATTEMPTS_KEPT) -> None:
    """Remove the logs of all but the newest attempts: a crash loop must not fill the disk."""
    for attempt in attempts(log_dir, task_id)[:-keep]:
        path = path_of(log_dir, task_id, attempt)
        try:
            for file in (*_older(path), path):
                file.unlink(missing_ok=True)
        except OSError as error:
            log.warning("cannot remove an old log of task %s: %s", task_id, error)


def parse(line: bytes) -> Record | None:
    """A record from a line of the file, without its newline; None if it is not one."""
    parts = line.split(b" ", 3)
    if len(parts) < 3 or parts[1] not in (b"stdout", b"stderr"):
        return None
    time = parse_time(parts[0])
    if time is None:
        return None
    return Record(
        time=time,
        stderr=parts[1] == b"stderr",
        whole=not parts[2].startswith(b"P"),
        text=parts[3] if len(parts) == 4 else b"",
    )


def parse_time(text: bytes) -> datetime | None:
    """RFC 3339 with nanoseconds, of which microseconds are kept."""
    try:
        moment, _, rest = text.decode().partition(".")
        if not rest:
            return datetime.fromisoformat(moment).astimezone(UTC)
        digits = len(rest) - len(rest.lstrip("0123456789"))
        return datetime.fromisoformat(
            f"{moment}.{rest[:digits][:6]:0<6}{rest[digits:]}"
        ).astimezone(UTC)
    except ValueError:
        return None


def last_line(path: Path) -> str:
    """The last line with something in it, at most LAST_LINE_LENGTH characters."""
    for file in (path, *_older(path)):
        for _, line in _lines_backwards(file):
            record = parse(line)
            text = record.text.decode(errors="replace").strip() if record else ""
            if text:
                return text[:LAST_LINE_LENGTH]
    return ""


def tail_offset(path: Path, count: int) -> tuple[int, int]:
    """Where the last `count` lines of the file begin, and how many there are if fewer."""
    found = 0
    begin = 0
    for offset, line in _lines_backwards(path):
        record = parse(line)
        if record is not None and record.whole:
            if found == count:
                return begin, found
            found += 1
        begin = offset
    return 0, found


def _lines_backwards(path: Path) -> Iterator[tuple[int, bytes]]:
    """Each complete line with its offset, the last one first."""
    try:
        file = path.open("rb")
    except OSError:
        return
    with file:
        pieces = _pieces_backwards(file)
        next(pieces)  # what follows the last newline is not a complete line
        yield from pieces


def _pieces_backwards(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """What newlines separate, with offsets, from the end."""
    position = file.seek(0, os.SEEK_END)
    rest = b""
    while position:
        length = min(_BLOCK, position)
        position -= length
        file.seek(position)
        rest, *pieces = (file.read(length) + rest).split(b"\n")
        offset = position + len(rest) + sum(len(piece) + 1 for piece in pieces) + 1
        for piece in reversed(pieces):
            offset -= len(piece) + 1
            yield offset, piece
    yield 0, rest
