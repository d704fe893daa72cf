"""Each defect of pysyncobj that stops or slows a cluster, as a schedule. L: see docs/raft.md."""

import pytest
from warren.store.raft.compaction import Limits
from warren.store.raft.members import Change, Step
from warren.store.raft.messages import Message, SnapshotChunk
from warren.store.raft.pending import Answer, Done, NotDone, Unknown
from warren.store.raft.raft_state import Leader
from warren.testing.raft_simulation_world import World

from tests.simulation.raft import levers


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("silently", [False, True])
def test_l1_a_leader_that_dies_after_a_quiet_minute_is_replaced_within_a_second(
    seed: int, silently: bool
) -> None:
    world = levers.a_world(seed)
    world.run(60.0)
    began = world.now

    world.crash("n1", silently=silently)

    levers.wait_leader(world, other_than="n1", seconds=2.0)
    assert world.now - began <= 1.0
    world.settle()


def test_l3_a_long_wrong_tail_is_replaced_in_a_few_rounds() -> None:
    world = levers.a_world()
    levers.isolate(world, "n1")
    levers.write(world, "n1", "wrong", 1000)
    new = levers.wait_leader(world, other_than="n1")
    levers.write(world, new, "right", 5)
    world.run(0.5)
    before = world.network.messages
    levers.rejoin(world, "n1")

    def agrees() -> bool:
        return levers.last(world.processes["n1"]) == levers.last(world.processes[new])

    assert world.run(2.0, agrees)
    assert world.network.messages - before < 150
    world.settle()


def test_l4_nobody_spins_while_a_snapshot_is_written_or_sent() -> None:
    world = levers.a_world(limits=Limits(snapshot_entries=20, tail_entries=0))
    object.__setattr__(world.plan, "snapshot_seconds", (1.0, 1.0))
    levers.isolate(world, "n3")
    levers.write(world, "n1", "op", 60)
    world.run(3.0)
    levers.rejoin(world, "n3")
    before = world.network.messages

    world.run(1.0)

    assert world.network.messages - before < 200
    world.settle()


def test_l5_a_member_that_returns_disturbs_nobody() -> None:
    world = levers.a_world()
    terms = len(world.checks.leaders)
    for number in range(10):
        levers.isolate(world, "n3")
        levers.write(world, "n1", f"op-{number}")
        world.run(3.0)
        levers.rejoin(world, "n3")
        world.run(2.0)

    assert len(world.checks.leaders) == terms
    world.settle()


def test_l5_one_cut_link_among_three_does_not_make_the_lead_wander() -> None:
    world = levers.a_world()
    terms = len(world.checks.leaders)
    world.network.block("n1", "n3")

    world.run(60.0)

    assert len(world.checks.leaders) - terms <= 1
    world.settle()


def test_l6_a_leader_that_is_cut_off_answers_no_read() -> None:
    world = levers.a_world()
    process = world.processes["n1"]
    levers.isolate(world, "n1")
    answers: list[Answer] = []
    process.shell.submit(lambda now: process.node.read(now + 2.0, answers.append), answers.append)
    world.wake(process)

    world.run(0.6)

    assert answers == [NotDone(reason="this manager lost the lead")]
    assert not isinstance(process.node.raft.role, Leader)
    world.settle()


def test_l7_writes_go_on_while_a_snapshot_is_written() -> None:
    world = levers.a_world(limits=Limits(snapshot_entries=20, tail_entries=5))
    object.__setattr__(world.plan, "snapshot_seconds", (5.0, 5.0))
    levers.write(world, "n1", "before", 50)
    world.run(0.5)
    assert world.processes["n1"].node._compaction.is_running

    during = levers.write(world, "n1", "during", 10)
    world.run(0.2)

    assert levers.acknowledged(world, during) == 10
    world.settle()


def test_l8_every_request_is_answered_once_by_its_deadline() -> None:
    world = levers.a_world()
    node = world.processes["n1"].node
    answers: list[Answer] = []
    levers.isolate(world, "n1")
    node.propose(levers.command("op"), world.now + 0.2, answers.append)

    world.run(5.0)

    assert [type(answer) for answer in answers] == [Unknown]
    world.settle()


def test_l10_a_second_member_counts_only_when_it_has_caught_up() -> None:
    world = levers.a_world(members=3)
    for gone in ("n3", "n2"):
        assert _change(world, Change(step=Step.REMOVE, node_id=gone)) == Done()
        world.retire(gone)
    levers.write(world, "n1", "op", 10)
    world.run(0.5)
    answer = _change(world, Change(step=Step.ADD, node_id="n9", address="n9:1"))
    assert answer == Done()
    early = _change(world, Change(step=Step.PROMOTE, node_id="n9"))
    alone = levers.write(world, "n1", "alone", 3)
    world.run(0.5)

    assert early == NotDone(reason="n9 has not caught up with the log yet")
    assert levers.acknowledged(world, alone) == 3


def test_l10_a_leader_removes_itself_and_another_one_leads_at_once() -> None:
    world = levers.a_world()

    assert _change(world, Change(step=Step.REMOVE, node_id="n1")) == Done()
    began = world.now
    levers.wait_leader(world, other_than="n1")

    assert world.now - began < 0.15
    world.retire("n1")
    world.settle()


def test_the_lead_is_handed_over_within_100_ms() -> None:
    world = levers.a_world()
    levers.write(world, "n1", "op", 100)
    process = world.processes["n1"]
    answers: list[Answer] = []
    process.shell.submit(
        lambda now: process.node.transfer("n2", now, answers.append), answers.append
    )
    world.wake(process)

    assert world.run(0.1, lambda: world.leader() == "n2" and world.processes["n2"].node.leads)
    world.run(0.05)
    assert answers == [Done()]
    world.settle()


def test_a_change_that_would_lose_the_quorum_is_refused() -> None:
    world = levers.a_world()
    world.crash("n2")
    world.run(0.4)

    answer = _change(world, Change(step=Step.REMOVE, node_id="n3"))

    assert answer == NotDone(
        reason="quorum would be lost: 1 of the 2 managers that would be left are in contact, "
        "2 are needed"
    )
    world.settle()


def test_a_dead_member_is_replaced() -> None:
    world = levers.a_world()
    world.crash("n3")
    world.run(0.5)

    assert _change(world, Change(step=Step.REMOVE, node_id="n3")) == Done()
    world.ids.remove("n3")
    node_id = world.add_host()
    add = Change(step=Step.ADD, node_id=node_id, address="x:1")
    assert _change(world, add) == Done()
    world.run(0.5)
    assert _change(world, Change(step=Step.PROMOTE, node_id=node_id)) == Done()

    world.crash("n2")
    levers.write(world, "n1", "op", 3)
    world.settle()


def test_a_removed_member_does_not_come_back_by_itself() -> None:
    world = levers.a_world()
    world.crash("n3")
    world.run(0.4)
    _change(world, Change(step=Step.REMOVE, node_id="n3"))
    terms = len(world.checks.leaders)
    world.start("n3")
    world.run(5.0)
    back = _change(world, Change(step=Step.ADD, node_id="n3", address="n3:1"))

    assert len(world.checks.leaders) == terms
    node = world.processes["n3"].node
    assert node.refused == "n3 was removed from the cluster; its host must join anew"
    assert back == NotDone(reason="n3 was removed; its host must join as a new node")


def test_a_member_whose_disk_was_wiped_is_stopped_before_it_votes() -> None:
    world = levers.a_world()
    levers.write(world, "n1", "op", 10)
    world.run(0.5)
    world.crash("n3")
    world.disk("n3").wipe()
    world.start("n3")
    world.run(1.0)

    reason = "n3 has lost its log: remove it and join its host anew"
    assert world.stopped == {"n3": f"the other managers refuse this one: {reason}"}


def test_a_member_with_an_older_journal_than_its_peers_remember_is_stopped() -> None:
    world = levers.a_world()
    levers.write(world, "n1", "op", 10)
    world.run(0.5)
    image = type(world.disk("n3"))()
    image.copy_from(world.disk("n3"))
    for number in range(30):
        levers.write(world, "n1", f"more-{number}")
        world.run(0.1)
    levers.lead(world, "n2")
    world.crash("n3")
    world.disk("n3").copy_from(image)
    world.start("n3")
    world.run(1.0)

    (reason,) = world.stopped.values()
    assert reason.startswith(
        "the other managers refuse this one: the journal of n3 is older than its peers remember"
    )


def test_a_full_disk_costs_the_lead_and_nothing_else() -> None:
    world = levers.a_world()
    levers.write(world, "n1", "before", 10)
    world.run(0.2)
    world.disk("n1").is_full = True
    levers.write(world, "n1", "during", 3)
    new = levers.wait_leader(world, other_than="n1")
    after = levers.write(world, new, "after", 3)
    world.run(0.5)

    assert levers.acknowledged(world, after) == 3
    world.settle()


def test_a_snapshot_is_sent_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warren.store.raft.snapshots.CHUNK_BYTES", 200)
    world = levers.a_world(limits=Limits(snapshot_entries=20, tail_entries=0))
    levers.isolate(world, "n3")
    levers.write(world, "n1", "op", 60)
    world.run(3.0)
    pieces: list[Message] = []
    world.network.on_message = lambda a, b, m: (
        pieces.append(m) if isinstance(m, SnapshotChunk) else None
    )
    levers.rejoin(world, "n3")
    world.run(2.0)

    assert len(pieces) >= 3
    world.settle()


def _change(world: World, wish: Change) -> Answer:
    answers: list[Answer] = []
    world.change(wish, answers.append)
    assert world.run(3.0, lambda: bool(answers))
    return answers[0]
