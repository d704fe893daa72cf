"""What a health check says when it is bad, in the user's words. Data in, text out.

Used by the real prober and by its fake, so that both say the same. One line, at most 500
characters: it travels with the task's status to every manager.
"""

from datetime import timedelta

from warren.model.services import HealthCheck
from warren.model.units import format_duration

OUTPUT_MAX = 500
_COMMAND_MAX = 100


def subject(check: HealthCheck, address: str, port: int) -> str:
    """`GET /healthz on 10.88.1.5:8080`, `TCP connection to …` or `exec pg_isready -q`."""
    if check.http is not None:
        return f"GET {check.http.path} on {address}:{port}"
    if check.exec is not None:
        command = " ".join(check.exec.command)
        return f"exec {_cut(command, _COMMAND_MAX)}"
    return f"TCP connection to {address}:{port}"


def late(check: HealthCheck) -> str:
    """Nothing came within the timeout."""
    after = format_duration(max(check.timeout, timedelta(milliseconds=1)))
    verb = "did not end" if check.exec is not None else "no answer"
    return f"{verb} within {after}"


def status(number: int, body: str) -> str:
    """`503`, or `503: no database` when the body says something readable."""
    return f"{number}: {body}" if body else f"{number}"


def exit_code(number: int, stdout: bytes, stderr: bytes) -> str:
    """`exit code 2: could not connect`: the last line that the command wrote."""
    lines = [*_lines(stdout), *_lines(stderr)]
    return f"exit code {number}: {lines[-1]}" if lines else f"exit code {number}"


def first_line(body: bytes) -> str:
    """The first line of a body that is text."""
    return next(iter(_lines(body)), "")


def on_one_line(text: str) -> str:
    """Printable, and not too long."""
    return _cut("".join(c if c.isprintable() else " " for c in text), OUTPUT_MAX)


def _lines(output: bytes) -> list[str]:
    text = output.decode(errors="replace")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _cut(text: str, length: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else f"{text[: length - 1]}…"
