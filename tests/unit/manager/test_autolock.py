"""Autolock: who can open secrets, what is stored, and what a locked manager does."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from warren.api import convert, warren_pb2
from warren.core import assignment
from warren.manager.authorization import ROOT, Caller
from warren.manager.autolock_api import AutolockApi
from warren.manager.lock_watch import LockWatch
from warren.manager.resealer import Resealer
from warren.manager.secret_keys_api import SecretKeysApi
from warren.manager.task_files import Opener, Provision
from warren.model.assignments import ManagerAddress
from warren.model.errors import Conflict, FailedPrecondition, InvalidInput, Unavailable
from warren.model.secrets import (
    FileKey,
    FileKind,
    KeyEncryptionKey,
    KeyLock,
    SecretReference,
    TaskFile,
)
from warren.model.services import Secret
from warren.model.tasks import TaskState
from warren.model.views import AutolockView, ManagerLock, MemberView
from warren.state import commands
from warren.store import locking
from warren.store.locking import OpenLock
from warren.store.log import LogMember
from warren.store.sealing import Sealer
from warren.store.store import Store, pieces
from warren.testing.builders import NOON, a_node, a_service, a_spec, a_task
from warren.testing.fake_log import FakeLog

from tests.unit.manager.manager_kit import BOTH, M1, RAFT, Kit, a_cluster_state, a_kit
from tests.unit.manager.test_resealer import finish, rotate
from tests.unit.manager.test_secrets_api import an_apply, apply, apply_service
from tests.unit.store.test_locking import CHEAP, PASSPHRASE

LOCKED = "the leader is locked: warren cluster unlock opens it"
WRONG = "unlock key: is not the one that the managers are locked with"
M2 = a_node("m2", number=2, roles=BOTH)
M1_LEADS = LogMember(node_id="m1", address=RAFT)
M2_FOLLOWS = LogMember(node_id="m2", address="10.86.0.2:7445")


def a_lock(passphrase: Secret = PASSPHRASE) -> OpenLock:
    return locking.new_lock("c1", passphrase, NOON, cost=CHEAP)


async def lock(
    kit: Kit, opened: OpenLock | None, *, expected: str = "", caller: Caller = ROOT
) -> AutolockView:
    request = warren_pb2.ApplyAutolockRequest(
        lock=convert.to_message(opened.lock) if opened else None,
        key=opened.key if opened else b"",
        expected=expected,
    )
    answer = await AutolockApi(kit.context).apply_autolock(request, caller)
    return convert.from_message(answer, AutolockView)


async def unlock(kit: Kit, opened: OpenLock) -> None:
    request = warren_pb2.UnlockRequest(lock_id=opened.lock.id, key=opened.key)
    await AutolockApi(kit.context).unlock(request, ROOT)


@asynccontextmanager
async def restarted(kit: Kit) -> AsyncIterator[Kit]:
    """A manager that starts with the log of that one, and leads."""
    log = FakeLog(RAFT, tuple(kit.log.entries), snapshot=kit.log._snapshot)
    store = Store(log)
    await store.start()
    context = replace(kit.context, store=store, keyring=locking.Keyring())
    yield Kit(context=context, log=log, clock=kit.clock)
    await store.stop()


def values(kit: Kit, name: str = "db") -> list[bytes]:
    """All versions, as this manager can open them."""
    keys = kit.state.secret_keys
    assert keys is not None
    opened = kit.context.keyring.require_opened("c1", keys)
    return [Sealer("c1", opened).open(name, each) for each in kit.state.secrets[name].versions]


async def test_once_it_is_on_no_key_is_stored_in_the_clear() -> None:
    async with a_kit() as kit:
        await apply(kit, an_apply(value=b"one"))
        before = kit.state.secret_keys
        assert before is not None
        opened = a_lock()

        view = await lock(kit, opened)
        since = len(kit.log.entries)
        await finish(kit)
        await apply(kit, an_apply(value=b"two"))
        await rotate(kit)
        await finish(kit)

        assert view.lock == opened.lock
        assert values(kit) == [b"one", b"two"]
        keys = kit.state.secret_keys
        assert keys is not None
        (newest,) = kit.context.keyring.require_opened("c1", keys).keys
        (first,) = before.keys
        state = b"".join(pieces(kit.state))
        assert not [key for key in (newest.key, first.key, opened.key) if key in state]
        everything = b"".join(kit.log.entries)
        assert newest.key not in everything
        assert opened.key not in everything
        assert first.key not in b"".join(kit.log.entries[since - 1 :])
        assert first.key in b"".join(kit.log.entries[: since - 1]), "or this could not fail"


async def test_a_manager_that_starts_is_locked_until_it_is_given_the_key() -> None:
    async with a_kit() as kit:
        await apply(kit, an_apply(value=b"one"))
        opened = a_lock()
        await lock(kit, opened)
        async with restarted(kit) as again:
            with pytest.raises(FailedPrecondition, match=LOCKED):
                await apply(again, an_apply(value=b"two"))
            with pytest.raises(FailedPrecondition, match=LOCKED):
                await apply(again, an_apply("new", value=b"x", dry_run=True))
            with pytest.raises(FailedPrecondition, match=LOCKED):
                await lock(again, a_lock(), expected=opened.lock.id)
            with pytest.raises(FailedPrecondition, match=LOCKED):
                await lock(again, None, expected=opened.lock.id)
            index = again.state.index

            await unlock(again, opened)
            assert again.state.index == index
            await apply(again, an_apply(value=b"two"))

            assert values(again) == [b"one", b"two"]


async def test_a_locked_leader_does_everything_else() -> None:
    async with a_kit() as kit:
        await apply(kit, an_apply(value=b"one"))
        await apply(kit, an_apply("old", value=b"x"))
        await lock(kit, a_lock())
        async with restarted(kit) as again:
            spec = a_spec("web", secrets=(SecretReference(name="db"),))
            applied = await apply_service(again, spec, "name", "image", "secrets")
            labelled = await apply(again, an_apply(labels={"team": "a"}))

            assert applied.changed
            assert again.state.services["web"].spec.secrets[0].pinned == 1
            assert (labelled.changed, labelled.number) == (True, 1)


async def test_a_wrong_key_is_one_line_and_changes_nothing() -> None:
    async with a_kit() as kit:
        opened = a_lock()
        await lock(kit, opened)
        async with restarted(kit) as again:
            index, other = again.state.index, replace(a_lock(), lock=opened.lock)
            with pytest.raises(InvalidInput) as caught:
                await unlock(again, other)

            assert str(caught.value) == WRONG
            assert again.state.index == index
            assert again.context.keyring.is_locked(again.state.secret_keys)


async def test_off_needs_an_unlocked_leader_and_stores_keys_without_a_lock() -> None:
    async with a_kit() as kit:
        await apply(kit, an_apply(value=b"one"))
        opened = a_lock()
        await lock(kit, opened)
        await finish(kit)
        with pytest.raises(Conflict, match="autolock was changed meanwhile"):
            await lock(kit, None, expected="another")

        view = await lock(kit, None, expected=opened.lock.id)
        assert view == AutolockView(cluster_id="c1")
        async with restarted(kit) as again:
            assert values(again) == [b"one"]
            with pytest.raises(FailedPrecondition, match="autolock is off"):
                await unlock(again, opened)


async def test_another_passphrase_locks_whoever_is_not_given_it() -> None:
    async with a_kit() as kit:
        await apply(kit, an_apply(value=b"one"))
        first, second = a_lock(), a_lock(Secret("battery staple"))
        await lock(kit, first)
        await lock(kit, second, expected=first.lock.id)
        await finish(kit)

        assert values(kit) == [b"one"]
        async with restarted(kit) as again:
            with pytest.raises(Conflict, match="the passphrase was changed meanwhile"):
                await unlock(again, first)
            with pytest.raises(InvalidInput, match=WRONG):
                await unlock(again, OpenLock(lock=second.lock, key=first.key))
            await unlock(again, second)
            assert values(again) == [b"one"]


async def test_repeated_by_its_caller_it_is_done_once() -> None:
    async with a_kit() as kit:
        opened, caller = a_lock(), replace(ROOT, call="call-1")
        await lock(kit, opened, caller=caller)
        index = kit.state.index

        again = replace(caller, attempt=2)
        assert (await lock(kit, opened, caller=again)).lock == opened.lock
        assert kit.state.index == index
        with pytest.raises(Conflict, match="autolock was changed meanwhile"):
            await lock(kit, a_lock())


async def test_other_managers_are_given_the_key_and_show_whether_they_have_it() -> None:
    state = a_cluster_state(nodes=[M1, M2])
    async with a_kit(state) as kit, a_kit(state) as other:
        kit.log.seat(M1_LEADS, M2_FOLLOWS)
        opened = a_lock()

        async def tell(manager: ManagerAddress, request: warren_pb2.UnlockRequest) -> None:
            assert manager.node_id == "m2"
            if len(other.log.entries) < len(kit.log.entries):
                raise Unavailable("m2 does not answer")
            await AutolockApi(other.context).unlock_member(request, Caller(name="m1"))

        async def ask(manager: ManagerAddress) -> MemberView:
            locked = other.context.keyring.is_locked(other.state.secret_keys)
            return MemberView(node_id="m2", answered=True, locked=locked)

        api = AutolockApi(kit.context, ask, tell)
        request = warren_pb2.ApplyAutolockRequest(
            lock=convert.to_message(opened.lock), key=opened.key
        )
        await api.apply_autolock(request, ROOT)
        for entry in kit.log.entries:
            await other.context.store.propose(convert.command_from_bytes(entry))
        locked = await api.get_autolock(warren_pb2.GetAutolockRequest(), ROOT)
        key = warren_pb2.UnlockRequest(lock_id=opened.lock.id, key=opened.key)
        unlocked = await api.unlock(key, ROOT)

        assert [
            [(each.name, each.locked) for each in view.managers] for view in (locked, unlocked)
        ] == [[("m1", False), ("m2", True)], [("m1", False), ("m2", False)]]
        assert convert.from_message(unlocked, AutolockView).managers[1] == ManagerLock(
            name="m2", answered=True, locked=False
        )


async def test_a_locked_leader_gives_the_lead_to_one_that_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    async with a_kit(a_cluster_state(nodes=[M1, M2])) as kit:
        opened = a_lock()
        await lock(kit, opened)
        async with restarted(kit) as again:
            again.log.seat(M1_LEADS, M2_FOLLOWS)
            is_locked = [True]

            async def ask(manager: ManagerAddress) -> MemberView:
                return MemberView(node_id="m2", answered=True, voter=True, locked=is_locked[0])

            watch = LockWatch(again.context, ask)
            assert not await watch.hand_over()
            is_locked[0] = False
            assert not await LockWatch(kit.context, ask).hand_over(), "that one is unlocked"

            assert await watch.hand_over()
            assert (kit.context.leads(), again.context.leads()) == (True, False)
            assert "locked: handed the lead over to m2, which is not" in caplog.messages


async def test_tasks_are_told_what_a_locked_manager_has_when_it_is_unlocked() -> None:
    reference = SecretReference(name="db", pinned=1)
    state = a_cluster_state(
        nodes=[a_node("w1")],
        services=[a_service("web", secrets=(reference,))],
        tasks=[a_task(1, "w1", state=TaskState.ASSIGNED)],
    )
    async with a_kit(state) as kit:
        await apply(kit, an_apply(value=b"one"))
        opened = a_lock()
        await lock(kit, opened)
        async with restarted(kit) as again:
            key = FileKey(kind=FileKind.SECRET, name="db", number=1)
            provision = Provision(Opener(again.context.keyring), "w1")
            newest = assignment.begin(again.state)

            (locked,) = provision.news(newest)
            assert locked.files.files == []
            assert [convert.from_message(each, FileKey) for each in locked.files.locked] == [key]
            assert provision.news(newest) == ()
            count = again.context.store.changes.count
            await unlock(again, opened)

            assert again.context.store.changes.count > count, "sessions are woken"
            (told,) = provision.news(newest)
            (file,) = told.files.files
            assert convert.from_message(file, TaskFile) == TaskFile(key=key, data=b"one")


async def test_a_rotation_goes_on_where_it_was_when_the_next_leader_is_unlocked(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("warren.manager.resealer.VERSIONS_MAX", 2)
    async with a_kit() as kit:
        for number in range(5):
            await apply(kit, an_apply(f"s{number}", b"%d" % number))
        opened = a_lock()
        await lock(kit, opened)
        await Resealer(kit.context).step()
        async with restarted(kit) as again:
            leader = Resealer(again.context)
            assert not await leader.step()
            keys = SecretKeysApi(again.context)
            request = warren_pb2.GetSecretKeysRequest()
            assert (await keys.get_secret_keys(request, ROOT)).left == 3
            await unlock(again, opened)
            steps = 0
            while await leader.step():
                steps += 1

            assert steps == 2
            assert (await keys.get_secret_keys(request, ROOT)).left == 0
            assert [values(again, f"s{n}") for n in range(5)] == [[b"%d" % n] for n in range(5)]
            stored = again.state.secret_keys
            assert stored is not None
            assert [key.id for key in stored.keys] == [opened.lock.id]
            assert not [record for record in caplog.records if record.levelname == "ERROR"]


async def test_a_key_in_the_clear_is_not_put_beside_locked_ones() -> None:
    async with a_kit() as kit:
        opened = a_lock()
        await lock(kit, opened)
        await finish(kit)
        stale = commands.AddSecretKey(key=a_kek(opened.lock))

        with pytest.raises(Conflict, match="the keys of secrets were changed meanwhile"):
            await kit.context.store.commit(stale)


def a_kek(lock: KeyLock) -> KeyEncryptionKey:
    return KeyEncryptionKey(id=f"not-{lock.id}", key=b"k" * 32, created_at=NOON)
