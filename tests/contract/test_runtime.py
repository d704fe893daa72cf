"""The contract of `Runtime`, kept by the fake and by the real driver alike."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from warren.drivers.ports import ExecOutput, Instance, InstanceState, Runtime, StartOrder
from warren.model.errors import DeadlineExceeded, DriverError, ImageUnavailable
from warren.model.services import PullPolicy

from tests.contract.images import BUSYBOX
from tests.contract.orders import FAILS, SPEAKS, STUBBORN, TAKES_USR1, an_order

_SOON = timedelta(seconds=10)


async def wait_exited(runtime: Runtime, task_id: str) -> Instance:
    """The task's instance, once its process has ended. A runtime tells nobody: one has to ask."""
    async with asyncio.timeout(10):
        while True:
            for instance in await runtime.instances():
                if (instance.task_id, instance.state) == (task_id, InstanceState.EXITED):
                    return instance
            await asyncio.sleep(0.01)


async def start_ready(runtime: Runtime, order: StartOrder) -> Instance:
    """Start it, and wait until its process says that it is ready for signals."""
    started = await runtime.start(order)
    async with asyncio.timeout(10):
        while "ready" not in written(order.log_path):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return started


def written(log: Path) -> str:
    """The log so far."""
    return log.read_text() if log.exists() else ""


async def test_says_its_name_and_version(runtime: Runtime) -> None:
    name, version = (await runtime.version()).split()

    assert name.isalpha()
    assert version[0].isdigit()


async def test_a_started_task_is_listed_as_it_was_answered(runtime: Runtime, log_dir: Path) -> None:
    started = await runtime.start(an_order(log_dir))

    assert await runtime.instances() == (started,)
    assert (started.task_id, started.attempt) == ("web-1-aaaaa", 0)
    assert started.state is InstanceState.RUNNING
    assert started.address.startswith("10.88.1.")
    assert started.image_digest == await runtime.ensure_image(BUSYBOX, PullPolicy.NEVER, None)
    assert started.started_at is not None
    assert (started.exit_code, started.finished_at) == (None, None)


async def test_starting_the_same_attempt_again_answers_the_one_that_runs(
    runtime: Runtime, log_dir: Path
) -> None:
    first = await runtime.start(an_order(log_dir))

    second = await runtime.start(an_order(log_dir))

    assert second == first
    assert await runtime.instances() == (first,)


async def test_an_attempt_that_has_ended_is_not_run_again(runtime: Runtime, log_dir: Path) -> None:
    await runtime.start(an_order(log_dir, command=FAILS))
    ended = await wait_exited(runtime, "web-1-aaaaa")

    again = await runtime.start(an_order(log_dir, command=FAILS))

    assert again == ended


async def restarted(runtime: Runtime, log_dir: Path, attempt: int = 1) -> tuple[Instance, Instance]:
    """A first attempt that has ended, and the next one in its sandbox."""
    await runtime.start(an_order(log_dir, command=FAILS))
    ended = await wait_exited(runtime, "web-1-aaaaa")
    order = an_order(log_dir, attempt=attempt, sandbox_id=ended.sandbox_id)
    return ended, await runtime.start(order)


async def test_the_next_attempt_in_the_same_sandbox_has_the_same_address(
    runtime: Runtime, log_dir: Path
) -> None:
    first = await runtime.start(an_order(log_dir, command=FAILS))
    ended = await wait_exited(runtime, "web-1-aaaaa")

    second = await runtime.start(an_order(log_dir, attempt=1, sandbox_id=ended.sandbox_id))

    assert (second.attempt, second.state) == (1, InstanceState.RUNNING)
    assert (second.sandbox_id, second.address) == (first.sandbox_id, first.address)
    assert second.container_id != first.container_id
    assert await runtime.instances() == (ended, second)


async def test_removing_an_ended_attempt_leaves_the_one_in_its_sandbox_alone(
    runtime: Runtime, log_dir: Path
) -> None:
    ended, second = await restarted(runtime, log_dir)

    await runtime.remove(ended)
    await runtime.remove(ended)

    assert await runtime.instances() == (second,)
    answer = await runtime.execute(second, ["true"], _SOON)
    assert answer.exit_code == 0


async def test_removing_every_attempt_of_a_sandbox_leaves_nothing(
    runtime: Runtime, log_dir: Path
) -> None:
    ended, second = await restarted(runtime, log_dir)

    await runtime.remove(second)
    await runtime.remove(ended)

    assert await runtime.instances() == ()
    again = await runtime.start(an_order(log_dir, attempt=2, sandbox_id=ended.sandbox_id))
    assert again.sandbox_id != ended.sandbox_id


async def test_starting_the_same_attempt_again_in_a_sandbox_answers_the_one_that_runs(
    runtime: Runtime, log_dir: Path
) -> None:
    ended, second = await restarted(runtime, log_dir)

    again = await runtime.start(an_order(log_dir, attempt=1, sandbox_id=ended.sandbox_id))

    assert again == second
    assert await runtime.instances() == (ended, second)


async def test_a_failed_start_leaves_the_sandbox_of_the_attempt_before(
    runtime: Runtime, log_dir: Path
) -> None:
    await runtime.start(an_order(log_dir, command=FAILS))
    ended = await wait_exited(runtime, "web-1-aaaaa")
    refused = an_order(
        log_dir, attempt=1, sandbox_id=ended.sandbox_id, image="localhost:5000/web:9"
    )

    with pytest.raises(ImageUnavailable):
        await runtime.start(refused)

    assert await runtime.instances() == (ended,)
    third = await runtime.start(an_order(log_dir, attempt=2, sandbox_id=ended.sandbox_id))
    assert third.sandbox_id == ended.sandbox_id


async def test_lists_by_task_and_attempt(runtime: Runtime, log_dir: Path) -> None:
    orders = [
        an_order(log_dir, task="web-2-bbbbb"),
        an_order(log_dir, attempt=1),
        an_order(log_dir, attempt=0),
    ]
    await asyncio.gather(*(runtime.start(order) for order in orders))

    listed = await runtime.instances()

    names = [(instance.task_id, instance.attempt) for instance in listed]
    assert names == [("web-1-aaaaa", 0), ("web-1-aaaaa", 1), ("web-2-bbbbb", 0)]
    assert len({instance.address for instance in listed}) == 3


async def test_a_process_that_ends_leaves_its_exit_code(runtime: Runtime, log_dir: Path) -> None:
    started = await runtime.start(an_order(log_dir, command=FAILS))

    ended = await wait_exited(runtime, "web-1-aaaaa")

    assert ended.exit_code == 3
    assert ended.message == "Error"
    assert ended.sandbox_id == started.sandbox_id
    assert ended.started_at is not None
    assert ended.finished_at is not None
    assert ended.finished_at >= ended.started_at


async def test_output_goes_to_the_log_in_cri_format_and_stays(
    runtime: Runtime, log_dir: Path
) -> None:
    order = an_order(log_dir, command=SPEAKS)
    await runtime.start(order)
    ended = await wait_exited(runtime, order.task.id)

    await runtime.remove(ended)

    lines = [line.split(" ", 3) for line in order.log_path.read_text().splitlines()]
    assert [line[1:] for line in lines] == [["stdout", "F", "one"], ["stdout", "F", "two"]]


async def test_a_stopped_task_stays_until_it_is_removed(runtime: Runtime, log_dir: Path) -> None:
    started = await start_ready(runtime, an_order(log_dir))

    await runtime.stop(started, signal="", grace=_SOON)

    (stopped,) = await runtime.instances()
    assert (stopped.state, stopped.exit_code) == (InstanceState.EXITED, 143)


async def test_stopping_again_changes_nothing(runtime: Runtime, log_dir: Path) -> None:
    started = await start_ready(runtime, an_order(log_dir))
    await runtime.stop(started, signal="", grace=_SOON)
    before = await runtime.instances()

    await runtime.stop(started, signal="SIGUSR1", grace=_SOON)

    assert await runtime.instances() == before


async def test_stops_with_the_signal_that_the_service_asks_for(
    runtime: Runtime, log_dir: Path
) -> None:
    started = await start_ready(runtime, an_order(log_dir, command=TAKES_USR1))

    await runtime.stop(started, signal="SIGUSR1", grace=_SOON)

    (stopped,) = await runtime.instances()
    assert (stopped.state, stopped.exit_code) == (InstanceState.EXITED, 7)


@pytest.mark.parametrize("signal", ["", "SIGTERM"])
async def test_kills_what_does_not_stop_within_its_grace(
    runtime: Runtime, log_dir: Path, signal: str
) -> None:
    started = await start_ready(runtime, an_order(log_dir, command=STUBBORN))

    await runtime.stop(started, signal=signal, grace=timedelta(milliseconds=200))

    (killed,) = await runtime.instances()
    assert (killed.state, killed.exit_code) == (InstanceState.EXITED, 137)


async def test_no_grace_means_killed_at_once(runtime: Runtime, log_dir: Path) -> None:
    started = await start_ready(runtime, an_order(log_dir))

    await runtime.stop(started, signal="", grace=timedelta())

    (killed,) = await runtime.instances()
    assert (killed.state, killed.exit_code) == (InstanceState.EXITED, 137)


async def test_removes_a_running_task_and_repeats_it_without_complaint(
    runtime: Runtime, log_dir: Path
) -> None:
    started = await runtime.start(an_order(log_dir))

    await runtime.remove(started)
    await runtime.remove(started)

    assert await runtime.instances() == ()


async def test_stopping_what_was_removed_is_fine(runtime: Runtime, log_dir: Path) -> None:
    started = await runtime.start(an_order(log_dir))
    await runtime.remove(started)

    await runtime.stop(started, signal="", grace=_SOON)
    await runtime.stop(started, signal="SIGUSR1", grace=_SOON)

    assert await runtime.instances() == ()


async def test_an_image_that_is_here_is_not_pulled(runtime: Runtime) -> None:
    digest = await runtime.ensure_image(BUSYBOX, PullPolicy.MISSING, None)

    assert digest.startswith("sha256:")
    assert digest == await runtime.ensure_image(BUSYBOX, PullPolicy.NEVER, None)


async def test_an_image_that_is_not_here_and_never_pulled_is_unavailable(runtime: Runtime) -> None:
    with pytest.raises(ImageUnavailable) as refused:
        await runtime.ensure_image("localhost:5000/web:9", PullPolicy.NEVER, None)

    assert str(refused.value) == "image localhost:5000/web:9 is not on this node and pull is never"


async def test_a_start_without_its_image_leaves_nothing(runtime: Runtime, log_dir: Path) -> None:
    with pytest.raises(ImageUnavailable) as refused:
        await runtime.start(an_order(log_dir, image="localhost:5000/web:9"))

    assert str(refused.value) == "image localhost:5000/web:9 is not on this node"
    assert await runtime.instances() == ()


async def test_runs_a_command_in_a_task(runtime: Runtime, log_dir: Path) -> None:
    started = await runtime.start(an_order(log_dir))

    output = await runtime.execute(started, ["sh", "-c", "echo out; echo err >&2; exit 5"], _SOON)

    assert output == ExecOutput(stdout=b"out\n", stderr=b"err\n", exit_code=5)


async def test_a_command_that_takes_too_long_is_given_up(runtime: Runtime, log_dir: Path) -> None:
    started = await runtime.start(an_order(log_dir))

    with pytest.raises(DeadlineExceeded):
        await runtime.execute(started, ["sleep", "60"], timedelta(seconds=1))


async def test_no_command_runs_in_a_task_that_has_ended(runtime: Runtime, log_dir: Path) -> None:
    await runtime.start(an_order(log_dir, command=FAILS))
    ended = await wait_exited(runtime, "web-1-aaaaa")

    with pytest.raises(DriverError) as refused:
        await runtime.execute(ended, ["true"], _SOON)

    assert str(refused.value) == "task web-1-aaaaa is not running"
