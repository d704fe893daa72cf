"""Files that are written whole or not at all."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from warren import files


def test_what_was_there_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "node.json"
    path.write_bytes(b"old")

    files.write_whole(path, b"new", mode=0o644)

    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(tmp_path.iterdir()) == [path]


def test_parts_are_joined_and_root_alone_may_read(tmp_path: Path) -> None:
    path = tmp_path / "backup"

    files.write_whole(path, iter((b"one ", b"two")))

    assert path.read_bytes() == b"one two"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_part_that_cannot_be_had_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "backup"
    path.write_bytes(b"old")

    with pytest.raises(ConnectionError):
        files.write_whole(path, broken())

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def broken() -> Iterator[bytes]:
    yield b"new"
    raise ConnectionError
