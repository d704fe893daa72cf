"""Quantities as people write them: `256MiB`, `1.5GB`, `500ms`, `2m30s`.

Parsers raise ValueError with a message that says what is accepted; the manifest adds the path.
Formatters give the shortest exact form, so that format and parse are inverse.
"""

import re
from datetime import timedelta
from decimal import Decimal
from typing import NewType

Bytes = NewType("Bytes", int)
"""A size in bytes; manifests write `256MiB`."""

_BYTES = {
    "": 1,
    "B": 1,
    "kB": 10**3,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
    "KiB": 2**10,
    "MiB": 2**20,
    "GiB": 2**30,
    "TiB": 2**40,
    "k": 2**10,
    "K": 2**10,
    "m": 2**20,
    "M": 2**20,
    "g": 2**30,
    "G": 2**30,
}
_BYTES_TEXT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")
_DURATIONS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def parse_bytes(value: object) -> int:
    """Bytes from an int or text such as `256MiB`, `1.5GB`, `512M` (binary, as Docker reads it)."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _BYTES_TEXT.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[2] not in _BYTES:
        raise ValueError(f"{value!r} is not a size: write 256MiB, 1.5GB or a number of bytes")
    return int(Decimal(match[1]) * _BYTES[match[2]])


def format_bytes(value: int) -> str:
    """`256MiB` for 268435456; the largest binary unit that divides it exactly."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if value and value % _BYTES[unit] == 0:
            return f"{value // _BYTES[unit]}{unit}"
    return f"{value}B" if value else "0"


def format_bytes_short(value: int) -> str:
    """`1.2 GiB`: rounded, for tables and messages."""
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if value >= _BYTES[unit]:
            count = value / _BYTES[unit]
            return f"{count:.0f} {unit}" if count >= 100 else f"{count:.3g} {unit}"
    return f"{value} B"


def parse_duration(value: object) -> timedelta:
    """A duration from a number of seconds or text such as `500ms`, `10s`, `2m30s`, `1d`."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return timedelta(seconds=value)
    text = value.strip() if isinstance(value, str) else ""
    if re.fullmatch(r"\d+(?:\.\d+)?", text):
        return timedelta(seconds=float(text))
    parts = _DURATION_PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{value!r} is not a duration: write 500ms, 10s, 2m30s or seconds")
    return sum((float(number) * _DURATIONS[unit] for number, unit in parts), timedelta())


def format_duration(value: timedelta) -> str:
    """`2m30s`; zero is `0s`; milliseconds are the smallest unit."""
    milliseconds = round(value / _DURATIONS["ms"])
    parts = []
    for unit in ("d", "h", "m", "s", "ms"):
        count, milliseconds = divmod(milliseconds, round(_DURATIONS[unit] / _DURATIONS["ms"]))
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"
