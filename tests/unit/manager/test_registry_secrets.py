"""Secrets that images are pulled with: what Apply refuses, and which nodes are told them."""

import json
from dataclasses import replace

import pytest
from warren.api import convert, warren_pb2
from warren.core import assignment
from warren.manager.authorization import ROOT
from warren.manager.secrets_api import SecretsApi
from warren.manager.task_files import Opener, Provision
from warren.model.errors import FailedPrecondition, InvalidInput
from warren.model.secrets import FileKey, FileKind, SecretReference, TaskFile
from warren.model.tasks import TaskState
from warren.store.locking import Keyring
from warren.testing.builders import a_node, a_service, a_spec, a_task

from tests.unit.manager.manager_kit import Kit, a_cluster_state, a_kit
from tests.unit.manager.test_secrets_api import an_apply, apply, apply_service

PULLING = a_spec(image="registry.example/web:1", registry_secret="registry")
FIELDS = ("image", "registry_secret")


def value(password: str = "marker-81c0", **more: str) -> bytes:
    return json.dumps({"username": "deploy", "password": password, **more}).encode()


async def put(kit: Kit, data: bytes, name: str = "registry") -> None:
    await apply(kit, an_apply(name, data))


def told(messages: tuple[warren_pb2.ManagerMessage, ...]) -> list[TaskFile]:
    return [convert.from_message(each, TaskFile) for m in messages for each in m.files.files]


def a_file(number: int, data: bytes, *, for_pulls: bool = True) -> TaskFile:
    key = FileKey(kind=FileKind.SECRET, name="registry", number=number)
    return TaskFile(key=key, data=data, for_pulls=for_pulls)


async def test_a_service_that_pulls_with_a_secret_is_taken_and_shows_its_name() -> None:
    async with a_kit() as kit:
        await put(kit, value())

        applied = await apply_service(kit, PULLING, *FIELDS)

        assert applied.after.registry_secret == "registry"
        assert b"marker" not in convert.to_message(applied).SerializeToString()


async def test_a_secret_that_does_not_exist_is_refused_at_apply() -> None:
    async with a_kit() as kit:
        with pytest.raises(FailedPrecondition) as refused:
            await apply_service(kit, PULLING, *FIELDS)

    assert str(refused.value) == "web.registry_secret: there is no secret registry"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"marker-81c0", "is no JSON, and credentials of a registry are: want "),
        (b'{"username": "deploy"}', "has no text in password"),
        (
            b'{"auths": {"other.example": {"auth": "bWFya2VyLTgxYzA="}}}',
            "has no credentials for registry registry.example, only for other.example",
        ),
    ],
)
async def test_a_secret_that_holds_no_credentials_is_refused_at_apply(
    data: bytes, why: str
) -> None:
    async with a_kit() as kit:
        await put(kit, data)
        with pytest.raises(InvalidInput) as refused:
            await apply_service(kit, PULLING, *FIELDS)

        assert str(refused.value).startswith(f"web.registry_secret: secret registry {why}")
        assert "marker" not in str(refused.value)
        assert kit.state.services == {}


async def test_a_value_that_a_service_could_not_pull_with_makes_no_version() -> None:
    async with a_kit() as kit:
        await put(kit, value())
        await apply_service(kit, PULLING, *FIELDS)

        with pytest.raises(InvalidInput) as refused:
            await put(kit, b"marker-new")

        assert str(refused.value).startswith("registry.value: is no JSON")
        assert str(refused.value).endswith("(service web pulls with it)")
        assert "marker" not in str(refused.value)
        assert kit.state.secrets["registry"].newest.number == 1


async def test_a_new_value_begins_no_rollout() -> None:
    async with a_kit() as kit:
        await put(kit, value())
        await apply_service(kit, PULLING, *FIELDS)
        before = kit.state.services["web"]

        applied = await apply(kit, an_apply("registry", value("next")))

        assert (applied.changed, applied.number, applied.rollouts) == (True, 2, {})
        assert kit.state.services["web"] == before


async def test_a_secret_that_is_pulled_with_is_not_removed() -> None:
    async with a_kit() as kit:
        await put(kit, value())
        await apply_service(kit, PULLING, *FIELDS)

        with pytest.raises(FailedPrecondition, match=r"^secret registry is used by service web$"):
            await SecretsApi(kit.context).delete_secret(
                warren_pb2.DeleteSecretRequest(name="registry"), ROOT
            )


async def test_nodes_whose_tasks_pull_with_a_secret_are_told_it_and_its_new_values() -> None:
    service = a_service(image=PULLING.image, registry_secret="registry")
    nodes = [a_node("w1"), a_node("w2", number=2)]
    task = a_task(1, "w1", state=TaskState.RUNNING)
    task = replace(task, template=replace(task.template, registry_secret="registry"))
    state = a_cluster_state(nodes=nodes, services=[service], tasks=[task])
    async with a_kit(state) as kit:
        await put(kit, value())
        puller, other = Provision(Opener(Keyring()), "w1"), Provision(Opener(Keyring()), "w2")

        newest = assignment.begin(kit.state)
        first = told(puller.news(newest))
        again = told(puller.news(newest))
        await put(kit, b"of nobody here", "another")
        newest = assignment.advance(newest, kit.state)
        beside = told(puller.news(newest))
        await put(kit, value("next"))
        newest = assignment.advance(newest, kit.state)
        second = told(puller.news(newest))

        assert first == [a_file(1, value())]
        assert second == [a_file(2, value("next"))]
        assert (again, beside) == ([], [])
        assert told(other.news(newest)) == []


async def test_a_version_that_is_also_a_file_is_told_as_such_when_a_newer_is_pulled_with() -> None:
    mounted = SecretReference(name="registry", pinned=1)
    task = a_task(1, "w1", state=TaskState.RUNNING)
    template = replace(task.template, registry_secret="registry", secrets=(mounted,))
    state = a_cluster_state(nodes=[a_node("w1")], tasks=[replace(task, template=template)])
    async with a_kit(state) as kit:
        await put(kit, value())
        provision = Provision(Opener(Keyring()), "w1")

        newest = assignment.begin(kit.state)
        first = told(provision.news(newest))
        await put(kit, value("next"))
        second = told(provision.news(assignment.advance(newest, kit.state)))

        assert first == [a_file(1, value())]
        assert second == [a_file(1, value(), for_pulls=False), a_file(2, value("next"))]
