"""Secrets sealed anew, a few at a time, by whoever leads."""

from datetime import timedelta

import pytest
from warren.api import convert, warren_pb2
from warren.core import assignment
from warren.manager import resealer
from warren.manager.authorization import ROOT
from warren.manager.resealer import Resealer
from warren.manager.secret_keys_api import SecretKeysApi
from warren.manager.task_files import Opener, Provision
from warren.model.errors import NotFound
from warren.model.secrets import SecretReference
from warren.model.tasks import TaskState
from warren.model.views import SecretKeysView
from warren.store.locking import Keyring
from warren.store.sealing import Sealer
from warren.testing.builders import NOON, a_node, a_service, a_task

from tests.unit.manager.manager_kit import Kit, a_cluster_state, a_kit
from tests.unit.manager.test_secrets_api import an_apply, apply, opened


async def rotate(kit: Kit, **request: object) -> bool:
    message = warren_pb2.RotateSecretKeysRequest(**request)  # type: ignore[arg-type]
    return (await SecretKeysApi(kit.context).rotate_secret_keys(message, ROOT)).changed


async def view(kit: Kit) -> SecretKeysView:
    message = await SecretKeysApi(kit.context).get_secret_keys(
        warren_pb2.GetSecretKeysRequest(), ROOT
    )
    return convert.from_message(message, SecretKeysView)


async def finish(kit: Kit) -> int:
    """The steps that a new leader needs."""
    leader, steps = Resealer(kit.context), 0
    while await leader.step():
        steps += 1
    return steps


async def test_all_keys_are_new_and_all_values_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resealer, "VERSIONS_MAX", 2)
    async with a_kit() as kit:
        for number in range(3):
            await apply(kit, an_apply("db", b"%d" % number))
        await apply(kit, an_apply("api", b"x"))
        before = kit.state
        assert before.secret_keys is not None

        assert await rotate(kit)
        assert (await view(kit)).left == 5
        await Resealer(kit.context).step()  # then another leads
        assert (await view(kit)).left == 2
        await apply(kit, an_apply("late", b"y"))
        assert await finish(kit) == 1

        after = kit.state
        assert after.secret_keys is not None
        assert len(after.secret_keys.keys) == 1
        assert after.secret_keys.keys[0].id != before.secret_keys.keys[0].id
        assert opened(kit, "db") == [b"0", b"1", b"2"]
        assert opened(kit, "late") == [b"y"]
        for name in ("db", "api"):
            for old, new in zip(
                before.secrets[name].versions, after.secrets[name].versions, strict=True
            ):
                assert (new.number, new.digest, new.created_at) == (
                    *(old.number, old.digest, old.created_at),
                )
                assert new.data != old.data
        same = await apply(kit, an_apply("db", b"2"))
        assert not same.changed


async def test_is_asked_for_once_and_by_age() -> None:
    async with a_kit() as kit:
        with pytest.raises(NotFound, match="there was no secret yet"):
            await view(kit)
        assert not await rotate(kit)
        await apply(kit, an_apply(value=b"x"))
        hour = {"older_than": timedelta(hours=1)}
        assert not await rotate(kit, **hour)
        kit.clock.advance(timedelta(hours=2))
        assert await rotate(kit, **hour, dry_run=True)
        assert (await view(kit)).left == 0
        assert await rotate(kit, **hour)
        assert await rotate(kit)  # under way
        await finish(kit)

        assert not await rotate(kit, **hour)
        created = NOON + timedelta(hours=2)
        keys = await view(kit)
        assert keys == SecretKeysView(id=keys.id, created_at=created, versions=1, left=0)


async def test_what_cannot_be_opened_holds_up_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with a_kit() as kit:
        for name in ("a", "b"):
            await apply(kit, an_apply(name, b"x"))
        await rotate(kit)
        leader, context = Resealer(kit.context), kit.context
        real = Sealer.reseal

        def refuse(sealer: object, name: str, version: object) -> object:
            if name == "a":
                raise NotFound("secret a version 1 cannot be opened")
            return real(sealer, name, version)  # type: ignore[arg-type]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Sealer, "reseal", refuse)
            while await leader.step():
                pass

        assert context.store.state.secrets["b"].newest.key.kek == (await view(kit)).id
        assert (await view(kit)).left == 1
        assert "secret a version 1 cannot be opened" in caplog.messages


async def test_nodes_are_not_told_again_what_was_only_sealed_anew() -> None:
    reference = SecretReference(name="db", pinned=1)
    state = a_cluster_state(
        nodes=[a_node("w1")],
        services=[a_service("web", secrets=(reference,))],
        tasks=[a_task(1, "w1", state=TaskState.ASSIGNED)],
    )
    async with a_kit(state) as kit:
        await apply(kit, an_apply(value=b"x"))
        provision = Provision(Opener(Keyring()), "w1")
        assert len(provision.news(assignment.begin(kit.state))) == 1

        await rotate(kit)
        await finish(kit)

        assert provision.news(assignment.begin(kit.state)) == ()
        assert len(Provision(Opener(Keyring()), "w1").news(assignment.begin(kit.state))) == 1
