"""The store over the fake log: commands become states, rejections become errors."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import fields, replace
from datetime import timedelta

import pytest
from warren.api import convert
from warren.model.errors import Conflict, DeadlineExceeded, NotFound, Unavailable
from warren.state.cluster import ClusterState
from warren.state.commands import (
    Applied,
    CreateCluster,
    PutService,
    Rejected,
    RemoveJoinToken,
    RemoveService,
)
from warren.store import sealing
from warren.store.store import PIECE_OBJECTS, Store, pieces
from warren.testing.builders import (
    NOON,
    a_cluster,
    a_config,
    a_node,
    a_secret,
    a_service,
    a_spec,
    a_state,
    a_task,
    a_token,
    a_volume,
)
from warren.testing.fake_log import FakeLog

EMPTY = a_state()
"""A cluster with nothing in it; its index is 100."""
PUT = PutService(spec=a_spec(), expected_version=0, now=NOON)


def snapshot_of(state: ClusterState) -> bytes:
    data: bytes = convert.to_message(state).SerializeToString()
    return data


@pytest.fixture
async def log() -> FakeLog:
    return FakeLog(snapshot=snapshot_of(EMPTY))


@pytest.fixture
async def store(log: FakeLog) -> AsyncIterator[Store]:
    made = Store(log)
    await made.start()
    yield made
    await made.stop()


async def test_a_proposed_command_is_in_the_state_when_its_outcome_is_known(store: Store) -> None:
    outcome = await store.propose(PUT)

    assert outcome == Applied(index=101)
    assert store.state.services["web"].spec == a_spec()


async def test_a_rejection_is_an_outcome_of_propose_and_an_error_of_commit(store: Store) -> None:
    remove = RemoveService(name="web", expected_version=0, now=NOON)

    outcome = await store.propose(remove)

    assert outcome == Rejected(index=101, reason="NotFound", message="there is no service web")
    with pytest.raises(NotFound, match="there is no service web"):
        await store.commit(remove)
    await store.commit(PUT)
    with pytest.raises(Conflict, match="service web was changed: version 103, not 0"):
        await store.commit(PUT)


async def test_a_failed_proposal_changes_nothing(store: Store, log: FakeLog) -> None:
    log.fail_next()
    log.fail_next(outcome_unknown=True)

    with pytest.raises(Unavailable):
        await store.propose(PUT)
    with pytest.raises(DeadlineExceeded):
        await store.propose(PUT)

    assert store.state == EMPTY


async def test_a_change_of_the_state_wakes_waiters(store: Store) -> None:
    waiter = asyncio.create_task(store.changes.wait_newer(store.changes.count))
    await asyncio.sleep(0)

    await store.propose(PUT)

    await waiter
    assert store.state.index == 101


async def test_a_change_of_the_lead_wakes_waiters_too(store: Store, log: FakeLog) -> None:
    waiter = asyncio.create_task(store.changes.wait_newer(store.changes.count))
    await asyncio.sleep(0)

    log.follow("10.86.0.2:7445")

    await waiter
    assert (store.status.leader, store.status.is_leader) == ("10.86.0.2:7445", False)


async def test_a_barrier_needs_the_lead(store: Store, log: FakeLog) -> None:
    log.follow(None)

    with pytest.raises(Unavailable):
        await store.barrier()


async def test_started_again_it_has_the_same_state() -> None:
    log = FakeLog()
    store = Store(log)
    await store.start()
    await store.propose(CreateCluster(cluster=a_cluster(), node=a_node("m1")))
    await store.propose(PUT)
    again = Store(FakeLog(entries=tuple(log.entries)))

    await again.start()

    assert again.state == store.state
    await again.stop()


async def test_a_snapshot_holds_the_whole_state() -> None:
    state = a_state(
        nodes=[a_node(f"w{number}") for number in range(PIECE_OBJECTS + 1)],
        services=[a_service()],
        tasks=[a_task()],
        tokens=[a_token()],
        secrets=[a_secret()],
        configs=[a_config()],
        volumes=[a_volume()],
    )
    state = replace(state, secret_keys=sealing.new_keys("c1", NOON))
    assert [field.name for field in fields(state) if not getattr(state, field.name)] == []
    store = Store(FakeLog(snapshot=b"".join(pieces(state))))

    await store.start()

    assert store.state == state
    await store.stop()


async def test_bytes_that_are_no_command_are_skipped_alike_everywhere(
    store: Store, log: FakeLog, caplog: pytest.LogCaptureFixture
) -> None:
    outcome = convert.outcome_from_bytes(await log.propose(b"\xff", timedelta(seconds=1)))

    assert outcome == Rejected(index=101, reason="InvalidInput", message="malformed command")
    assert "could not be applied" in caplog.text
    assert await store.propose(RemoveJoinToken(token_id="x")) == Rejected(
        index=102, reason="NotFound", message="there is no join token x"
    )
