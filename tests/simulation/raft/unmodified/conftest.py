"""Clusters of both engines, made for one schedule."""

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.simulation.raft.unmodified.cluster import Unmodified

Make = Callable[..., Unmodified]


@pytest.fixture
def unmodified(tmp_path: Path) -> Iterator[Make]:
    """Makes a cluster of pysyncobj as it comes."""
    made: list[Unmodified] = []

    def make(seed: int = 1, **options: Any) -> Unmodified:
        made.append(Unmodified(tmp_path, seed, **options))
        return made[-1]

    yield make
    for cluster in made:
        cluster.close()


@pytest.fixture
def port() -> int:
    """Of loopback, free a moment ago."""
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        number: int = asked.getsockname()[1]
        return number
