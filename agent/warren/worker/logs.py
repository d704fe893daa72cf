"""Reads logs of tasks for users: the last lines, then new ones as they come, merged by time.

Memory is bounded: files are read in blocks, chunks are sent before more is read, and a reader that
cannot keep up slows its own reading down. There is no way to be told of new lines but to look.
"""

import asyncio
import heapq
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from warren.api import warren_pb2
from warren.worker import task_logs

FOLLOW_INTERVAL = 0.2
"""Seconds between looks at files that are followed."""
_LINES_PER_CHUNK = 200
_BLOCK = 64 * 1024

Lines = list[warren_pb2.LogLine]


class LogReader:
    """Reads below one directory, the worker's `log_dir`."""

    def __init__(self, log_dir: Path) -> None:
        self._log_dir = log_dir

    async def read(
        self, task_ids: Sequence[str], *, tail: int, follow: bool
    ) -> AsyncIterator[Lines]:
        """Chunks of lines; `tail` 0 means from the beginning. Following ends by cancellation."""
        cursors = [Cursor(self._log_dir, task_id, tail) for task_id in task_ids]
        while True:
            new = heapq.merge(*(cursor.new_lines() for cursor in cursors), key=_time)
            for lines in _chunks(new):
                yield lines
                await asyncio.sleep(0)
            if not follow:
                return
            await asyncio.sleep(FOLLOW_INTERVAL)


class Cursor:
    """How far one task's logs have been read, over all its files. A file keeps its number when it
    is renamed."""

    def __init__(self, log_dir: Path, task_id: str, tail: int) -> None:
        self._log_dir = log_dir
        self._task_id = task_id
        self._parts: dict[bool, bytes] = {}
        """Begun lines by stream."""
        self._file, self._offset = self._begin(tail)

    def _begin(self, tail: int) -> tuple[int, int]:
        """File and offset of the first line wanted."""
        file, offset = 0, 0
        missing = tail
        for path in reversed(self._segments()):
            file, offset = _file_number(path), 0
            if tail:
                offset, found = task_logs.tail_offset(path, missing)
                missing -= found
                if not missing:
                    break
        return file, offset

    def new_lines(self) -> Iterator[warren_pb2.LogLine]:
        """Complete lines behind the cursor, which moves as they are taken."""
        paths = self._segments()
        known = [number for number, path in enumerate(paths) if _file_number(path) == self._file]
        for path in paths[known[0] if known else 0 :]:
            file = _file_number(path)
            if file != self._file:
                self._file, self._offset = file, 0
            yield from self._read_file(path)

    def _segments(self) -> tuple[Path, ...]:
        return task_logs.segments(self._log_dir, self._task_id)

    def _read_file(self, path: Path) -> Iterator[warren_pb2.LogLine]:
        try:
            file = path.open("rb")
        except OSError:
            return
        with file:
            file.seek(self._offset)
            rest = b""
            while block := file.read(_BLOCK):
                *lines, rest = (rest + block).split(b"\n")
                for line in lines:
                    self._offset += len(line) + 1
                    message = self._line(line)
                    if message is not None:
                        yield message
                if len(rest) > task_logs.LINE_LENGTH_MAX:
                    self._offset += len(rest)
                    rest = b""

    def _line(self, line: bytes) -> warren_pb2.LogLine | None:
        record = task_logs.parse(line)
        if record is None:
            return None
        text = self._parts.pop(record.stderr, b"") + record.text
        if not record.whole and len(text) < task_logs.LINE_LENGTH_MAX:
            self._parts[record.stderr] = text
            return None
        message = warren_pb2.LogLine(task_id=self._task_id, stderr=record.stderr, line=text)
        message.time.FromDatetime(record.time)
        return message


def _file_number(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def _time(line: warren_pb2.LogLine) -> tuple[int, int]:
    return line.time.seconds, line.time.nanos


def _chunks(lines: Iterator[warren_pb2.LogLine]) -> Iterator[Lines]:
    chunk: Lines = []
    for line in lines:
        chunk.append(line)
        if len(chunk) == _LINES_PER_CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk
