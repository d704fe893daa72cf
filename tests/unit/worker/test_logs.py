"""Reading the logs of tasks: format, tails, merging, following."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from warren.drivers.ports import StartOrder
from warren.model.errors import RuntimeUnavailable
from warren.model.instances import Instance
from warren.model.services import PullPolicy
from warren.testing.fake_runtime import FakeRuntime
from warren.worker import task_logs
from warren.worker.log_rotation import CHECK_SECONDS, SIZE_MAX_BYTES, LogRotation
from warren.worker.logs import LogReader
from warren.worker.task_logs import Record

from tests.unit.worker.virtual_time import in_virtual_time
from tests.unit.worker.worker_kit import a_task


def write(log_dir: Path, task_id: str, *lines: str, attempt: int = 0) -> Path:
    """Append lines such as `3 hello`: written in second 3."""
    path = task_logs.path_of(log_dir, task_id, attempt)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        for line in lines:
            second, _, text = line.partition(" ")
            file.write(f"2026-01-01T00:00:{int(second):02}.000000001Z stdout F {text}\n")
    return path


async def read(log_dir: Path, *task_ids: str, tail: int = 0) -> list[str]:
    reader = LogReader(log_dir)
    return [
        line.line.decode()
        async for chunk in reader.read(task_ids, tail=tail, follow=False)
        for line in chunk
    ]


def test_a_record_is_parsed() -> None:
    record = task_logs.parse(b"2026-01-01T02:00:00.123456789+02:00 stderr P two  words ")

    assert record == Record(
        time=datetime(2026, 1, 1, 0, 0, 0, 123456, tzinfo=UTC),
        stderr=True,
        whole=False,
        text=b"two  words ",
    )


@pytest.mark.parametrize(
    "line", [b"", b"panic: no", b"2026-01-01T00:00:00Z stdout", b"yesterday stdout F x"]
)
def test_what_is_not_a_record_is_none(line: bytes) -> None:
    assert task_logs.parse(line) is None


def test_the_last_line_with_something_in_it_is_found(tmp_path: Path) -> None:
    path = write(tmp_path, "web", "1 KeyError: X", "2 ", "3    ")

    assert task_logs.last_line(path) == "KeyError: X"


def test_a_long_last_line_is_cut(tmp_path: Path) -> None:
    path = write(tmp_path, "web", f"1 {'x' * 1000}")

    assert task_logs.last_line(path) == "x" * 500


def test_a_missing_log_has_no_last_line(tmp_path: Path) -> None:
    assert task_logs.last_line(tmp_path / "none.log") == ""


@given(st.lists(st.integers(0, 200_000), max_size=4), st.integers(1, 6), st.booleans())
def test_the_tail_of_a_file_begins_at_a_line(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], count: int, half: bool
) -> None:
    path = tmp_path_factory.mktemp("logs") / "0.log"
    lines = [f"2026-01-01T00:00:00Z stdout F {'x' * size}{i}\n" for i, size in enumerate(sizes)]
    path.write_text("".join(lines) + ("2026-01" if half else ""))

    offset, found = task_logs.tail_offset(path, count)

    wanted = lines[-count:]
    assert found == len(wanted)
    assert path.read_text()[offset:].startswith("".join(wanted))


async def test_all_lines_of_all_attempts_are_read_in_order(tmp_path: Path) -> None:
    write(tmp_path, "web", "1 a", "2 b", attempt=9)
    write(tmp_path, "web", "3 c", attempt=10)

    assert await read(tmp_path, "web") == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("tail", "expected"), [(1, "d"), (2, "cd"), (3, "bcd"), (4, "abcd"), (9, "abcd")]
)
async def test_a_tail_reaches_into_earlier_attempts(
    tmp_path: Path, tail: int, expected: str
) -> None:
    write(tmp_path, "web", "1 a", "2 b", attempt=0)
    write(tmp_path, "web", "3 c", "4 d", attempt=1)

    assert await read(tmp_path, "web", tail=tail) == list(expected)


async def test_the_lines_of_several_tasks_are_merged_by_time(tmp_path: Path) -> None:
    write(tmp_path, "web-1", "1 a", "4 d", "5 e")
    write(tmp_path, "web-2", "2 b", "3 c", "6 f")

    assert await read(tmp_path, "web-1", "web-2", "web-3") == list("abcdef")


async def test_parts_of_a_line_are_joined(tmp_path: Path) -> None:
    path = write(tmp_path, "web", "1 a")
    with path.open("a") as file:
        file.write("2026-01-01T00:00:02Z stdout P one \n")
        file.write("2026-01-01T00:00:02Z stderr F other\n")
        file.write("2026-01-01T00:00:02Z stdout F line\n")

    assert await read(tmp_path, "web") == ["a", "other", "one line"]


async def test_a_line_that_is_still_being_written_is_left_for_later(tmp_path: Path) -> None:
    path = write(tmp_path, "web", "1 a")
    with path.open("a") as file:
        file.write("2026-01-01T00:00:02Z stdout F b")

    assert await read(tmp_path, "web") == ["a"]


async def test_a_log_larger_than_a_block_is_read_whole(tmp_path: Path) -> None:
    lines = [f"{i % 60} {'x' * 100}{i}" for i in range(3000)]
    write(tmp_path, "web", *lines)

    assert len(await read(tmp_path, "web")) == 3000
    assert (await read(tmp_path, "web", tail=1500))[0] == f"{'x' * 100}1500"


@in_virtual_time
async def test_new_lines_and_new_attempts_are_followed(tmp_path: Path) -> None:
    write(tmp_path, "web", "1 a", "2 b")
    lines = LogReader(tmp_path).read(["web"], tail=1, follow=True)

    first = await anext(lines)
    write(tmp_path, "web", "3 c")
    second = await anext(lines)
    write(tmp_path, "web", "4 d", attempt=1)
    third = await anext(lines)

    texts = [[line.line for line in chunk] for chunk in (first, second, third)]
    assert texts == [[b"b"], [b"c"], [b"d"]]
    assert asyncio.get_running_loop().time() < 1


def test_only_the_newest_logs_are_kept(tmp_path: Path) -> None:
    for attempt in range(12):
        write(tmp_path, "web", "1 a", attempt=attempt)

    task_logs.prune(tmp_path, "web", keep=3)

    assert task_logs.attempts(tmp_path, "web") == (9, 10, 11)


def test_only_logs_of_tasks_are_removed(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    write(logs, "web", "1 a")
    (tmp_path / "other").mkdir()

    for task_id in ("../other", ".", "", "web", "web"):
        task_logs.remove(logs, task_id)

    assert (task_logs.task_ids(logs), (tmp_path / "other").exists()) == (frozenset(), True)


async def test_rotated_files_are_read_in_order(tmp_path: Path) -> None:
    for second, text in enumerate("abcd"):
        path = write(tmp_path, "web", f"{second} {text}")
        if text != "d":
            task_logs.rotate(path)

    assert await read(tmp_path, "web") == list("bcd")
    assert await read(tmp_path, "web", tail=2) == list("cd")


@in_virtual_time
async def test_a_follower_notices_no_rotation(tmp_path: Path) -> None:
    path = write(tmp_path, "web", "1 a", "2 b")
    lines = LogReader(tmp_path).read(["web"], tail=1, follow=True)

    first = await anext(lines)
    write(tmp_path, "web", "3 c")
    task_logs.rotate(path)
    write(tmp_path, "web", "4 d")
    second = await anext(lines)

    assert [[line.line for line in chunk] for chunk in (first, second)] == [[b"b"], [b"c", b"d"]]


def test_the_last_line_may_be_in_a_rotated_file(tmp_path: Path) -> None:
    path = write(tmp_path, "web", "1 KeyError: X")
    task_logs.rotate(path)
    path.touch()

    assert task_logs.last_line(path) == "KeyError: X"


@in_virtual_time
async def test_a_large_log_of_a_running_task_is_rotated(tmp_path: Path) -> None:
    runtime, instance = await a_running_task(tmp_path)
    path = task_logs.path_of(tmp_path, instance.task_id, 0)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x" * (SIZE_MAX_BYTES + 1))

    await rotate_once(tmp_path, runtime, instance)

    assert sizes(path.parent) == {"0.log": 0, "0.log.1": SIZE_MAX_BYTES + 1}


@in_virtual_time
async def test_a_log_keeps_its_name_when_the_runtime_goes_on_in_it(tmp_path: Path) -> None:
    runtime, instance = await a_running_task(tmp_path)
    runtime.fail_next("reopen_log", RuntimeUnavailable("containerd does not answer"))
    path = task_logs.path_of(tmp_path, instance.task_id, 0)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x" * (SIZE_MAX_BYTES + 1))

    await rotate_once(tmp_path, runtime, instance)

    assert sizes(path.parent) == {"0.log": SIZE_MAX_BYTES + 1}


async def a_running_task(log_dir: Path) -> tuple[FakeRuntime, Instance]:
    runtime, task = FakeRuntime(), a_task()
    await runtime.ensure_image(task.template.image, PullPolicy.MISSING, None)
    path = task_logs.path_of(log_dir, task.id, 0)
    order = StartOrder(task=task, attempt=0, node_name="w1", log_path=path)
    return runtime, await runtime.start(order)


async def rotate_once(log_dir: Path, runtime: FakeRuntime, instance: Instance) -> None:
    rotation = asyncio.create_task(LogRotation(log_dir, runtime, lambda: [instance]).run())
    await asyncio.sleep(CHECK_SECONDS + 1)
    rotation.cancel()


def sizes(directory: Path) -> dict[str, int]:
    return {path.name: path.stat().st_size for path in directory.iterdir()}
