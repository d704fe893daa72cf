"""A rotation of secrets' keys over a real log, whose leader goes in the middle of it."""

from pathlib import Path

import pytest
from warren.manager import resealer
from warren.manager.resealer import Resealer
from warren.model.services import Secret
from warren.store import locking
from warren.store.passphrases import Cost
from warren.testing.builders import NOON

from tests.contract.raft_members import CLUSTER, node_id
from tests.contract.secret_managers import TIMEOUT, SecretManager, three_managers, wait_until

COUNT = 12
PORT = 23545


@pytest.mark.parametrize("locked", [False, True], ids=["without autolock", "under autolock"])
async def test_a_rotation_goes_on_with_the_next_leader_while_secrets_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, locked: bool
) -> None:
    monkeypatch.setattr(resealer, "VERSIONS_MAX", 3)
    async with three_managers(tmp_path, PORT) as managers:
        first, second, _ = managers
        for number in range(COUNT):
            await first.put(f"s{number}", b"%d" % number)
        passphrase = Secret("correct horse")
        cheap = Cost(log_n=1, r=1, p=1)
        opened = locking.new_lock(CLUSTER, passphrase, NOON, cost=cheap)
        if locked:
            await first.lock(opened)
            await second.unlock(opened)
        else:
            await first.rotate()
        before = first.left()
        await Resealer(first.context).step()
        left = first.left()

        await first.log.transfer_leadership(TIMEOUT, node_id(2))
        await wait_until(second.context.store, lambda: second.context.leads())
        await second.put("s0", b"changed")
        await second.put("late", b"new")
        await second.reseal()

        assert before > left > 0, "it was in the middle"
        assert second.left() == 0
        assert all_values(second) == [
            [b"0", b"changed"],
            *([b"%d" % number] for number in range(1, COUNT)),
            [b"new"],
        ]
        state = second.context.store.state
        assert state.secret_keys is not None
        (newest,) = state.secret_keys.keys
        assert {v.key.kek for s in state.secrets.values() for v in s.versions} == {newest.id}


def all_values(manager: SecretManager) -> list[list[bytes]]:
    return [*(manager.open(f"s{number}") for number in range(COUNT)), manager.open("late")]
