"""Images that are pulled with a secret: when it is asked for, and what is said of it."""

import asyncio
import json
from dataclasses import replace
from pathlib import Path

import pytest
from warren.api import convert, warren_pb2
from warren.core.placeholders import NodeFacts
from warren.model.errors import FailedPrecondition
from warren.model.secrets import FileKey, FileKind, SecretReference, TaskFile
from warren.model.services import PullPolicy, RegistryAuth, Secret, TaskTemplate
from warren.model.tasks import Task, TaskState
from warren.testing.fake_runtime import FakeRuntime
from warren.testing.fake_task_files import FakeTaskFiles
from warren.worker.task_files import TaskFiles

from tests.unit.worker.test_executor import an_agent, settle
from tests.unit.worker.virtual_time import in_virtual_time, now
from tests.unit.worker.worker_kit import a_task

IMAGE = "registry.example/web:1"
GOOD = RegistryAuth(username="deploy", password=Secret("good-4711"))
WAITS = (
    f"waits for secret registry, to pull {IMAGE}: "
    "no manager has told it since this host was started"
)


def a_secret(number: int = 1, password: str = "good-4711", *, for_pulls: bool = True) -> TaskFile:
    return TaskFile(
        key=FileKey(kind=FileKind.SECRET, name="registry", number=number),
        data=json.dumps({"username": "deploy", "password": password}).encode(),
        for_pulls=for_pulls,
    )


def a_puller(slot: int = 1, pull: PullPolicy = PullPolicy.MISSING) -> Task:
    template = TaskTemplate(image=IMAGE, pull=pull, registry_secret="registry")
    return replace(a_task(slot), template=template)


def told(*files: TaskFile) -> warren_pb2.TaskFiles:
    return warren_pb2.TaskFiles(files=[convert.to_message(file) for file in files])


def files_of(driver: FakeTaskFiles) -> TaskFiles:
    return TaskFiles(driver, lambda: NodeFacts(id="n1", name="w1"))


def a_guarded_runtime() -> FakeRuntime:
    runtime = FakeRuntime(now=now)
    runtime.credentials[IMAGE] = GOOD
    return runtime


def numbers(driver: FakeTaskFiles) -> list[int]:
    return sorted(key.number for key in driver.files)


def test_a_newer_version_takes_the_place_of_the_last_at_once() -> None:
    driver = FakeTaskFiles()
    files = files_of(driver)
    files.take(told(a_secret(1, "old")))
    files.retain([a_puller()])

    files.take(told(a_secret(2)))

    assert files.credentials(a_puller().template) == GOOD
    assert numbers(driver) == [2]


def test_a_version_that_is_a_file_of_a_task_stays_beside_the_newest() -> None:
    driver = FakeTaskFiles()
    files = files_of(driver)
    mounted = SecretReference(name="registry", pinned=1)
    template = replace(a_puller().template, secrets=(mounted,))
    files.take(told(a_secret(1, "old")))
    files.retain([replace(a_puller(), template=template)])

    files.take(told(a_secret(1, "old", for_pulls=False), a_secret(2)))

    assert files.credentials(template) == GOOD
    assert not files.missing(template)
    assert numbers(driver) == [1, 2]


def test_a_secret_that_was_made_anew_counts_with_its_lower_number() -> None:
    driver = FakeTaskFiles()
    driver.keep(a_secret(5, "of the last"))
    files = files_of(driver)

    files.take(told(a_secret(1)))
    files.retain([a_puller()])

    assert files.credentials(a_puller().template) == GOOD
    assert numbers(driver) == [1]


def test_nothing_is_kept_once_no_task_needs_it() -> None:
    driver = FakeTaskFiles()
    files = files_of(driver)
    files.take(told(a_secret()))
    files.retain([a_puller(), a_task(2)])
    assert numbers(driver) == [1]

    files.retain([a_task(2)])

    assert numbers(driver) == []
    assert files.missing_credentials(a_puller().template) == WAITS


def test_a_secret_that_a_locked_manager_names_is_waited_for() -> None:
    files, key = files_of(FakeTaskFiles()), convert.to_message(a_secret().key)
    files.take(warren_pb2.TaskFiles(locked=[key]))
    files.retain([a_puller()])

    waiting = files.missing_credentials(a_puller().template)
    files.take(told(a_secret()))

    reason = "the managers are locked (warren cluster unlock)"
    assert waiting == f"waits for secret registry, to pull {IMAGE}: {reason}"
    assert not files.missing_credentials(a_puller().template)


def test_a_restarted_agent_has_what_was_kept() -> None:
    driver = FakeTaskFiles()
    files_of(driver).take(told(a_secret()))

    files = files_of(driver)
    files.retain([a_puller()])

    assert files.credentials(a_puller().template) == GOOD


def test_what_a_manager_could_not_open_is_why_nothing_is_pulled() -> None:
    files = files_of(FakeTaskFiles())
    files.take(told(replace(a_secret(), data=b"", error="secret registry cannot be opened")))

    with pytest.raises(FailedPrecondition, match=r"^secret registry cannot be opened$"):
        files.credentials(a_puller().template)


def test_a_value_that_holds_no_credentials_is_why_nothing_is_pulled() -> None:
    files = files_of(FakeTaskFiles())
    files.take(told(replace(a_secret(), data=b'{"username": "deploy"}')))

    with pytest.raises(FailedPrecondition) as refused:
        files.credentials(a_puller().template)

    assert str(refused.value) == (
        f"image {IMAGE} cannot be pulled: secret registry has no text in password"
    )


@in_virtual_time
async def test_a_task_waits_for_the_secret_and_then_runs(tmp_path: Path) -> None:
    task, runtime = a_puller(), a_guarded_runtime()
    async with an_agent(tmp_path, runtime, [task]) as agent:
        await asyncio.sleep(60)
        waiting = agent.status(task)
        agent.files.take(told(a_secret()))
        await settle()
        running = agent.status(task)

    assert (waiting.state, waiting.message) == (TaskState.PREPARING, WAITS)
    assert (running.state, running.message, running.failures) == (TaskState.RUNNING, "", 0)


@in_virtual_time
async def test_an_image_that_is_here_needs_no_secret(tmp_path: Path) -> None:
    task, runtime = a_puller(), a_guarded_runtime()
    runtime.local_images.add(IMAGE)
    async with an_agent(tmp_path, runtime, [task]) as agent:
        await settle()
        status = agent.status(task)

    assert (status.state, runtime.pulls) == (TaskState.RUNNING, [])


@in_virtual_time
async def test_an_image_that_is_asked_for_always_needs_the_secret_always(tmp_path: Path) -> None:
    task, runtime = a_puller(pull=PullPolicy.ALWAYS), a_guarded_runtime()
    runtime.local_images.add(IMAGE)
    async with an_agent(tmp_path, runtime, [task]) as agent:
        await settle()
        waiting = agent.status(task)
        agent.files.take(told(a_secret()))
        await settle()
        running = agent.status(task)

    assert (waiting.state, running.state) == (TaskState.PREPARING, TaskState.RUNNING)
    assert runtime.pulls == [IMAGE]


@in_virtual_time
async def test_a_wrong_password_is_said_tried_again_and_no_matter_of_others(
    tmp_path: Path,
) -> None:
    task, other, runtime = a_puller(), a_task(2), a_guarded_runtime()
    driver = FakeTaskFiles()
    driver.keep(a_secret(1, "wrong-4711"))
    async with an_agent(tmp_path, runtime, [task, other], files=driver) as agent:
        await asyncio.sleep(10)
        refused, beside = agent.status(task), agent.status(other)
        agent.files.take(told(a_secret(2)))
        await asyncio.sleep(30)
        running = agent.status(task)

    assert refused.state is TaskState.RESTARTING
    assert refused.message.startswith(
        f"image {IMAGE} cannot be pulled: registry registry.example refused the credentials "
        "of secret registry; next start in "
    )
    assert refused.failures > 1
    assert "4711" not in refused.message
    assert beside.state is TaskState.RUNNING
    assert running.state is TaskState.RUNNING


@in_virtual_time
async def test_a_new_password_touches_no_task_that_runs(tmp_path: Path) -> None:
    task, runtime = a_puller(pull=PullPolicy.ALWAYS), a_guarded_runtime()
    driver = FakeTaskFiles()
    driver.keep(a_secret())
    async with an_agent(tmp_path, runtime, [task], files=driver) as agent:
        await settle()
        before = agent.status(task)
        runtime.credentials[IMAGE] = RegistryAuth(username="deploy", password=Secret("next"))
        agent.files.take(told(a_secret(2, "next")))
        await asyncio.sleep(60)
        after = agent.status(task)
        runtime.exit(task.id, 1)
        await asyncio.sleep(60)
        restarted = agent.status(task)

    assert before == after
    assert len(runtime.orders) == 2
    assert restarted.state is TaskState.RUNNING
    assert runtime.pulls == [IMAGE, IMAGE]
