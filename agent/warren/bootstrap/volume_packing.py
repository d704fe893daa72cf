"""Packs the directory of a volume into an archive, or unpacks one: a process of its own on a node.

It goes on while pieces are fetched from the spool, or brought (volume_spool.py), and gets its order
on its standard input, so that nobody reads the key. Archives are encrypted and decrypted here, with
the key of that one archive. When this tells its end, what is unpacked was verified to its last byte
and is on the disk; then it takes the volume's place (volume_transfers.py), or this removes it.
"""

import base64
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, BinaryIO, cast

from warren.bootstrap.volume_spool import End, Gone, Spool, SpooledFile
from warren.model.errors import FailedPrecondition, WarrenError
from warren.store import archives, volume_backup

_KEPT = ("--numeric-owner", "--xattrs", "--xattrs-include=*", "--acls")
_FAST = "--use-compress-program=gzip -1"
_FILES_CHANGED = 1
"""An exit code of tar."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be done."""

    spool: str
    piece_bytes: int
    directory: str
    """What is packed; or, made anew, where is unpacked."""
    key: str = field(repr=False)
    """Of the archive, in base64."""
    header: str = ""
    """Of the archive that is written, in base64; empty: one is read."""
    may_change: bool = False
    """What is packed may change meanwhile."""


def main() -> None:
    """Carry out the order on standard input."""
    order = Order(**json.loads(sys.stdin.buffer.read()))
    spool = Spool(Path(order.spool), piece_bytes=order.piece_bytes)
    try:
        end = _pack(order, spool) if order.header else _unpack(order, spool)
    except Gone:
        end = None
    except (WarrenError, OSError) as error:
        end = End(error=str(error))
    if end is not None:
        spool.tell_end(end)
    if not order.header:
        shutil.rmtree(order.directory, ignore_errors=True)
    spool.leave()


def _pack(order: Order, spool: Spool) -> End:
    seal = archives.Seal(
        kind=volume_backup.KIND,
        header=base64.b64decode(order.header),
        key=base64.b64decode(order.key),
    )
    packer = _Packer(order)
    spool.put_all(archives.write(seal, packer.pieces()))
    return End(changed=packer.changed)


class _Packer:
    """What tar makes of a directory, and whether something changed in it meanwhile."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self.changed = False

    def pieces(self) -> Iterator[bytes]:
        """FailedPrecondition, and so no whole archive, when tar did not end well."""
        command = ("tar", "--create", "--file=-", "--sparse", "--one-file-system", *_KEPT, _FAST)
        with _running(*command, "--directory", self._order.directory, ".") as tar:
            while piece := tar.output.read(archives.CHUNK_BYTES):
                yield piece
            code, complaint = tar.finish()
        self.changed = code == _FILES_CHANGED
        if self.changed and not self._order.may_change:
            raise FailedPrecondition(f"it changed while it was read: {complaint}")
        if code and not self.changed:
            raise FailedPrecondition(f"it cannot be read: {complaint}")


def _unpack(order: Order, spool: Spool) -> End:
    directory = Path(order.directory)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700)
    file = cast(BinaryIO, SpooledFile(spool))
    archive = volume_backup.Archive(file, "the archive")
    command = ("tar", "--extract", "--file=-", "--same-owner", "--same-permissions", *_KEPT, _FAST)
    with _running(*command, "--directory", order.directory) as tar:
        with contextlib.suppress(BrokenPipeError):  # then tar has ended, and says why
            for piece in archive.read(base64.b64decode(order.key)):
                tar.input.write(piece)
            tar.input.close()
        code, complaint = tar.finish()
    if code:
        raise FailedPrecondition(f"it cannot be written: {complaint}")
    subprocess.run(("sync", "--file-system", order.directory), check=True)
    return End()


class _Running:
    """A process with pipes. Its complaints go to a file: a pipe that nobody reads would stop it."""

    def __init__(self, process: "subprocess.Popen[bytes]", complaints: IO[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._complaints = complaints
        self.input = process.stdin
        self.output = process.stdout

    def finish(self) -> tuple[int, str]:
        """Its exit code, and the first line of its complaints that is no farewell."""
        code = self._process.wait()
        self._complaints.seek(0)
        lines = self._complaints.read().decode(errors="replace").splitlines()
        return code, lines[0] if lines else "no reason given"


@contextlib.contextmanager
def _running(*command: str) -> Iterator[_Running]:
    """It is dead afterwards, whatever happens."""
    with tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=complaints
        )
        try:
            yield _Running(process, complaints)
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):
                    assert pipe is not None
                    pipe.close()


if __name__ == "__main__":
    main()
