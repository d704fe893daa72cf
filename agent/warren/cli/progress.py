"""Progress of a wait, on stderr: a line that is rewritten on a terminal, else one per change."""

import shutil
import sys
from typing import TextIO

from warren.cli import rollout_text
from warren.model.views import RolloutView, ServiceView


class Progress:
    """Pass `report` to a wait; use `with`, so that the line is wiped at the end."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._last = ""

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: object) -> None:
        if self._terminal and self._last:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def report(self, view: ServiceView) -> None:
        """Say how far the service is, if that is news."""
        self._say(describe(view))

    def report_rollout(self, view: RolloutView) -> None:
        """Say how far the rollout is, if that is news."""
        self._say(rollout_text.line(view))

    def _say(self, line: str) -> None:
        if line == self._last:
            return
        self._last = line
        self._stream.write(f"\r\x1b[K{line}" if self._terminal else f"{line}\n")
        self._stream.flush()


class Picture:
    """Some lines: drawn over and over on a terminal, else written at each change of `line`."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._terminal = self._stream.isatty()
        self._height = 0
        self._last = ""

    @property
    def live(self) -> bool:
        """It can be drawn over, so that it is worth drawing again when only time has passed."""
        return self._terminal

    def draw(self, lines: list[str], line: str) -> None:
        """Show the lines; where there is no terminal, the one line that tells the same."""
        if not self._terminal:
            if line != self._last:
                self._stream.write(f"{line}\n")
            self._last = line
        else:
            above = f"\x1b[{self._height}F\x1b[J" if self._height else ""
            width = shutil.get_terminal_size().columns
            self._stream.write(above + "".join(f"{each[: width - 1]}\n" for each in lines))
            self._height = len(lines)
        self._stream.flush()


def describe(view: ServiceView) -> str:
    """`web: 2 of 3 tasks run; web.3 is pending: …`."""
    name, status = view.service.spec.name, view.status
    if status.converged:
        return f"{name}: {status.running} of {status.desired} tasks run"
    return f"{name}: {status.reason}"
