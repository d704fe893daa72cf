"""Sizes and durations as people write them."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from warren.model import units


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("256MiB", 268435456),
        ("256M", 268435456),
        ("1.5GB", 1_500_000_000),
        ("1.5 GiB", 1610612736),
        ("10kB", 10_000),
        ("0", 0),
        ("12B", 12),
        (42, 42),
    ],
)
def test_reads_sizes(text: object, value: int) -> None:
    assert units.parse_bytes(text) == value


@pytest.mark.parametrize("text", ["", "MiB", "1 MeB", "-1", "1,5GB", None, 1.5, True, "1e3"])
def test_refuses_what_is_no_size(text: object) -> None:
    with pytest.raises(ValueError, match=r"is not a size: write 256MiB, 1\.5GB or a number of"):
        units.parse_bytes(text)


@pytest.mark.parametrize(
    ("value", "exact", "short"),
    [
        (0, "0", "0 B"),
        (1, "1B", "1 B"),
        (1024, "1KiB", "1 KiB"),
        (268435456, "256MiB", "256 MiB"),
        (1_500_000_000, "1500000000B", "1.4 GiB"),
        (1610612736, "1536MiB", "1.5 GiB"),
        (2**50, "1024TiB", "1024 TiB"),
        (1000 * 2**20, "1000MiB", "1000 MiB"),
        (2**54 + 1, "18014398509481985B", "16384 TiB"),
    ],
)
def test_writes_sizes(value: int, exact: str, short: str) -> None:
    assert (units.format_bytes(value), units.format_bytes_short(value)) == (exact, short)


@given(st.integers(0, 2**63))
def test_sizes_survive_writing_and_reading(value: int) -> None:
    assert units.parse_bytes(units.format_bytes(value)) == value


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("10s", 10), ("2m30s", 150), ("1d", 86400), ("1.5h", 5400), (3, 3), ("4", 4)],
)
def test_reads_durations(text: object, seconds: float) -> None:
    assert units.parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "s", "1x", "1s2", "-1s", "1 s", None, True, "1m 2s"])
def test_refuses_what_is_no_duration(text: object) -> None:
    with pytest.raises(ValueError, match=r"is not a duration: write 500ms, 10s, 2m30s or seconds"):
        units.parse_duration(text)


@given(st.integers(0, 10**12))
def test_durations_survive_writing_and_reading(milliseconds: int) -> None:
    duration = timedelta(milliseconds=milliseconds)

    assert units.parse_duration(units.format_duration(duration)) == duration
