"""Progress of a wait, on stderr: a line that is rewritten on a terminal, else one per change."""

import sys
from typing import TextIO

from warren.model.views import ServiceView


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
        line = describe(view)
        if line == self._last:
            return
        self._last = line
        self._stream.write(f"\r\x1b[K{line}" if self._terminal else f"{line}\n")
        self._stream.flush()


def describe(view: ServiceView) -> str:
    """`web: 2 of 3 tasks run; web.3 is pending: …`."""
    name, status = view.service.spec.name, view.status
    if status.converged:
        return f"{name}: {status.running} of {status.desired} tasks run"
    return f"{name}: {status.reason}"
