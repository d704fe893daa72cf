"""The command `warren` in this process, against a manager in memory."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from warren.cli import common
from warren.cli.main import main


@dataclass
class Ran:
    """One run of the command."""

    code: int
    out: str
    err: str


Run = Callable[..., Ran]


@pytest.fixture
def warren(
    endpoint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """The command, against a manager in memory."""
    monkeypatch.setenv("WARREN_ENDPOINTS", endpoint)
    monkeypatch.setattr(common, "age", lambda since: "1s")

    def run(*words: str) -> Ran:
        try:
            code = main(words)
        except SystemExit as end:
            code = int(end.code or 0)
        printed = capsys.readouterr()
        return Ran(code, printed.out, printed.err)

    return run
