"""Secrets and configs of a node's tasks: there before a start, gone after the end."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from warren.api import convert, warren_pb2
from warren.core.placeholders import NodeFacts
from warren.drivers.ports import PlacedFile
from warren.model.errors import FailedPrecondition
from warren.model.secrets import (
    ConfigReference,
    FileKey,
    FileKind,
    SecretReference,
    TaskFile,
)
from warren.model.services import TaskTemplate
from warren.model.tasks import Task, TaskState
from warren.testing.fake_runtime import FakeRuntime
from warren.testing.fake_task_files import FakeTaskFiles
from warren.worker.task_files import TaskFiles

from tests.unit.worker.test_executor import an_agent, settle
from tests.unit.worker.virtual_time import in_virtual_time, now
from tests.unit.worker.worker_kit import a_task, stopped

DB = SecretReference(name="db", pinned=2, uid=70, mode="0440")
NGINX = ConfigReference(name="nginx", target="/etc/nginx.conf", pinned=1, template=True)
SECRET = TaskFile(key=FileKey(kind=FileKind.SECRET, name="db", number=2), data=b"marker-9b")
CONFIG = TaskFile(
    key=FileKey(kind=FileKind.CONFIG, name="nginx", number=1),
    data=b"{{ node.name }} {{ task.slot }} {{ node.labels.zone }}",
)
NODE = NodeFacts(id="n1", name="w1", labels={"zone": "north"})


def a_consumer(slot: int = 1) -> Task:
    template = TaskTemplate(image="example:1", secrets=(DB,), configs=(NGINX,))
    return replace(a_task(slot), template=template)


def told(*files: TaskFile) -> warren_pb2.TaskFiles:
    return warren_pb2.TaskFiles(files=[convert.to_message(file) for file in files])


def files_of(driver: FakeTaskFiles) -> TaskFiles:
    return TaskFiles(driver, lambda: NODE)


def test_places_what_a_task_refers_to_as_it_is_referred_to() -> None:
    driver, task = FakeTaskFiles(), a_consumer()
    files = files_of(driver)
    files.take(told(SECRET, CONFIG))

    mounts = files.place(task)

    assert driver.placed[task.id] == (
        PlacedFile(path="/run/secrets/db", data=SECRET.data, uid=70, mode=0o440),
        PlacedFile(path="/etc/nginx.conf", data=b"w1 1 north", mode=0o444),
    )
    assert [mount.target for mount in mounts] == ["/run/secrets", "/etc/nginx.conf"]


def test_keeps_what_living_tasks_need_and_nothing_else() -> None:
    driver = FakeTaskFiles()
    files = files_of(driver)
    files.take(told(SECRET, CONFIG))

    files.retain([a_consumer(), a_task(2)])
    assert set(driver.kept()) == {SECRET, CONFIG}
    assert not files_of(driver).missing(a_consumer().template)

    ended = a_consumer()
    files.retain([replace(ended, status=replace(ended.status, state=TaskState.STOPPED))])
    assert driver.kept() == ()
    assert files.missing(a_consumer().template) == (
        "waits for secret db version 2: no manager has told it since this host was started"
    )


def test_what_a_manager_could_not_open_is_why_the_task_does_not_start() -> None:
    files = files_of(FakeTaskFiles())
    broken = replace(SECRET, data=b"", error="secret db version 2 cannot be opened: damaged")
    files.take(told(broken, CONFIG))

    with pytest.raises(FailedPrecondition, match=r"^secret db version 2 cannot be opened"):
        files.place(a_consumer())


def test_what_a_locked_manager_names_is_waited_for_and_what_was_told_stays() -> None:
    files, key = files_of(FakeTaskFiles()), convert.to_message(SECRET.key)
    files.take(told(CONFIG))
    files.take(warren_pb2.TaskFiles(locked=[key]))

    waiting = files.missing(a_consumer().template)
    files.take(told(SECRET))
    files.take(warren_pb2.TaskFiles(locked=[key]))

    reason = "waits for secret db version 2: the managers are locked (warren cluster unlock)"
    assert waiting == reason
    assert not files.missing(a_consumer().template)


@in_virtual_time
async def test_a_task_says_what_it_waits_for_each_time_that_it_is_something_else(
    tmp_path: Path,
) -> None:
    task = a_consumer()
    async with an_agent(tmp_path, FakeRuntime(now=now), [task]) as agent:
        await asyncio.sleep(5)
        reasons = [agent.status(task).message]
        agent.files.take(warren_pb2.TaskFiles(locked=[convert.to_message(SECRET.key)]))
        await settle()
        reasons.append(agent.status(task).message)
        agent.files.take(told(SECRET, replace(CONFIG, data=b"plain")))
        await asyncio.sleep(5)
        states = agent.states()

    assert reasons == [
        "waits for secret db version 2: no manager has told it since this host was started",
        "waits for secret db version 2: the managers are locked (warren cluster unlock)",
    ]
    assert states == {"web-1": TaskState.RUNNING}


def test_a_label_that_the_node_lacks_is_why_the_task_does_not_start() -> None:
    files = TaskFiles(FakeTaskFiles(), lambda: replace(NODE, labels={}))
    files.take(told(SECRET, CONFIG))

    refusal = "config nginx version 1 asks for node.labels.zone, which w1 does not have"
    with pytest.raises(FailedPrecondition, match=f"^{refusal}$"):
        files.place(a_consumer())


@in_virtual_time
async def test_a_task_starts_with_its_files_and_leaves_none(tmp_path: Path) -> None:
    driver, task = FakeTaskFiles(), a_consumer()
    plain = replace(CONFIG, data=b"plain")
    driver.files = {file.key: file for file in (SECRET, plain)}
    runtime = FakeRuntime(now=now)
    async with an_agent(tmp_path, runtime, [task], files=driver) as agent:
        while_it_runs = dict(driver.placed)
        agent.executor.assign([stopped(task)])
        await asyncio.sleep(30)
        states = agent.states()

    assert [mount.target for mount in runtime.orders[0].mounts] == [
        "/run/secrets",
        "/etc/nginx.conf",
    ]
    assert set(while_it_runs) == {task.id}
    assert states == {"web-1": TaskState.STOPPED}
    assert driver.placed == {}


@in_virtual_time
async def test_a_task_waits_for_its_secret_and_says_so(tmp_path: Path) -> None:
    driver, task = FakeTaskFiles(), a_consumer()
    runtime = FakeRuntime(now=now)
    async with an_agent(tmp_path, runtime, [task], files=driver) as agent:
        await asyncio.sleep(60)
        waiting = agent.status(task)
        agent.files.take(told(SECRET, replace(CONFIG, data=b"plain")))
        await settle()
        running = agent.status(task)

    assert (waiting.state, waiting.message) == (
        TaskState.STARTING,
        "waits for secret db version 2: no manager has told it since this host was started",
    )
    assert (running.state, running.message, running.failures) == (TaskState.RUNNING, "", 0)


@in_virtual_time
async def test_a_task_that_is_not_wanted_any_more_waits_for_nothing(tmp_path: Path) -> None:
    task = a_consumer()
    async with an_agent(tmp_path, FakeRuntime(now=now), [task]) as agent:
        await asyncio.sleep(5)
        agent.executor.assign([stopped(task)])
        await settle()
        states = agent.states()

    assert states == {"web-1": TaskState.STOPPED}


@in_virtual_time
async def test_a_restart_of_the_agent_needs_no_manager_for_a_restart_of_the_task(
    tmp_path: Path,
) -> None:
    driver, task = FakeTaskFiles(), a_consumer()
    driver.files = {file.key: file for file in (SECRET, replace(CONFIG, data=b"plain"))}
    runtime = FakeRuntime(now=now)
    async with an_agent(tmp_path, runtime, [task], files=driver):
        pass
    runtime.exit(task.id, 1)
    async with an_agent(tmp_path, runtime, [task], files=driver):
        await asyncio.sleep(30)

    assert len(runtime.orders) == 2
    assert runtime.orders[1].mounts == runtime.orders[0].mounts


@in_virtual_time
async def test_what_is_left_of_a_task_that_is_unknown_is_removed(tmp_path: Path) -> None:
    driver = FakeTaskFiles()
    driver.place("web-9-gone", (PlacedFile(path="/run/secrets/db", data=b"x"),))
    async with an_agent(tmp_path, FakeRuntime(now=now), [a_task()], files=driver):
        await settle()

    assert driver.placed == {}
