"""Each defect of pysyncobj that loses data, as a schedule to show it. S numbers: docs/raft.md.

A schedule ends with `settle`: everything heals, and the simulation demands progress, convergence,
equal histories, and every acknowledged operation once.
"""

import pytest
from warren.store.raft import replication, snapshots
from warren.store.raft.compaction import Limits
from warren.store.raft.members import Change, Step
from warren.store.raft.messages import Append, Message, SnapshotChunk, VoteRequest
from warren.store.raft.pending import Answer, Done, NotDone, Unknown
from warren.store.raft.raft_state import Leader
from warren.testing.raft_simulation_world import Killed, World

from tests.simulation.raft import levers

SOON = Limits(snapshot_entries=20, tail_entries=0)


def test_s1_a_snapshot_does_not_confirm_what_an_old_leader_wrote_alone() -> None:
    world = levers.a_world(limits=SOON)
    levers.isolate(world, "n1")
    alone = levers.write(world, "n1", "alone", 20)
    new = levers.wait_leader(world, other_than="n1")
    for number in range(40):
        levers.write(world, new, f"others-{number}")
        world.run(0.02)
    assert world.processes[new].node.log.base_index > 10

    levers.rejoin(world, "n1")
    world.run(3.0)

    assert levers.acknowledged(world, alone) == 0
    assert world.processes["n1"].node.newest_snapshot.index > 10
    world.settle()


@pytest.mark.parametrize("seed", range(5))
def test_s2_a_repeated_append_does_not_shorten_a_log(seed: int) -> None:
    world = levers.a_world(seed)
    levers.isolate(world, "n3", "n2")
    world.network.slow["n1", "n2"] = world.network.slow["n2", "n1"] = 0.02
    longest = 0
    for number in range(100):
        levers.write(world, "n1", f"many-{number}", 5, size=3000)
        world.run(0.004)
        assert levers.last(world.processes["n2"]) >= longest
        longest = levers.last(world.processes["n2"])
        if number % 20 == 7:
            world.network.break_pair("n1", "n2")

    world.crash("n1", silently=True)
    levers.rejoin(world, "n3")
    world.run(3.0)

    world.settle()


def test_s2_an_old_append_that_arrives_late_changes_nothing() -> None:
    world = levers.a_world()
    first: list[Append] = []

    def keep(sender: str, receiver: str, message: Message) -> None:
        if receiver == "n2" and isinstance(message, Append) and message.entries:
            first.append(message)

    world.network.on_message = keep
    levers.write(world, "n1", "op", 20)
    world.run(0.1)
    levers.write(world, "n1", "more", 20)
    world.run(0.1)
    process = world.processes["n2"]
    before = levers.last(process)

    process.heard("n1", first[0])
    world.run(0.001)

    assert levers.last(process) == before
    world.settle()


@pytest.mark.parametrize("seed", range(5))
def test_s3_a_snapshot_older_than_the_log_is_not_installed(seed: int) -> None:
    world = levers.a_world(seed, limits=Limits(snapshot_entries=60, tail_entries=0))
    world.network.slow["n1", "n3"] = world.network.slow["n3", "n1"] = 0.15
    committed = 0
    for number in range(120):
        levers.write(world, "n1", f"op-{number}", 4)
        world.run(0.005)
        if number == 60:
            world.network.block("n1", "n2")
        commit = world.processes["n3"].node.raft.commit
        assert commit >= committed
        committed = commit
    world.crash("n1", silently=True)
    world.run(3.0)

    world.settle()


def test_s3_pieces_of_an_old_snapshot_are_answered_and_not_kept() -> None:
    world = levers.a_world(limits=SOON)
    levers.write(world, "n1", "op", 60)
    world.run(1.0)
    node = world.processes["n2"].node
    before = (node.raft.commit, levers.last(world.processes["n2"]), node.applied)
    old = SnapshotChunk(
        term=node.raft.term, index=10, last_term=1, size=4, offset=0, data=b"oldx", round=0
    )

    world.processes["n2"].heard("n1", old)
    world.run(0.001)

    assert (node.raft.commit, levers.last(world.processes["n2"]), node.applied) == before
    world.settle()


def test_s4_an_answer_of_an_older_term_is_not_counted_in_a_newer_one() -> None:
    world = levers.a_world(3, members=5)
    for other in ("n3", "n4", "n5"):
        world.network.block("n1", other)
    world.network.slow["n2", "n1"] = 0.9
    levers.write(world, "n1", "old", 10)
    world.run(0.1)
    world.network.block("n1", "n2", both=False)
    levers.elect(world, "n3")
    world.run(0.2)
    assert world.leader() == "n3"
    for other in ("n3", "n4", "n5"):
        world.network.unblock("n1", other)
    world.run(0.3)
    levers.isolate(world, "n4", "n1")
    levers.elect(world, "n1")
    world.run(0.05)
    levers.isolate(world, "n1", "n4", "n2")
    lonely = levers.write(world, "n1", "lonely", 9)
    world.run(1.2)
    held = sum(levers.last(world.processes[n]) >= 20 for n in ("n2", "n3", "n5"))

    assert levers.acknowledged(world, lonely) == 0 or held
    world.crash("n1", silently=True)
    world.crash("n4", silently=True)
    world.run(3.0)
    world.settle()


@pytest.mark.parametrize("where", ["renamed snapshot", "synced snapshot", "rename snapshot"])
@pytest.mark.parametrize("power", [False, True])
def test_s5_all_killed_between_snapshot_and_journal_lose_nothing(where: str, power: bool) -> None:
    world = levers.a_world(limits=SOON)
    world.power_share = float(power)
    died = _kill_at(world, where)
    number = 0
    while len(died) < 3 and number < 400:
        number += 1
        if world.leader():
            levers.write(world, world.leader() or "", f"op-{number}", 3)
        world.run(0.01)
    assert len(died) >= 2

    for node_id in world.ids:
        world.crash(node_id, power=power)
        world.disk(node_id).failpoint = lambda where: None
    world.run(0.5)

    world.settle()


@pytest.mark.parametrize(
    "where", ["remove journal", "removed journal", "sync names", "rename journal"]
)
def test_s6_killed_while_the_journal_is_compacted_loses_nothing(where: str) -> None:
    world = levers.a_world(limits=SOON)
    world.network.block("n3", "n1")
    died = _kill_at(world, where, only="n2")
    number = 0
    while not died and number < 400:
        number += 1
        levers.write(world, "n1", f"op-{number}", 3, size=600)
        world.run(0.01)
    assert died == {"n2"}

    world.crash("n1", silently=True)
    world.disk("n2").failpoint = lambda where: None
    world.start("n2")
    world.run(3.0)

    world.settle()


def test_s7_a_snapshot_that_was_being_written_is_nothing_after_a_restart() -> None:
    world = levers.a_world(limits=SOON)
    object.__setattr__(world.plan, "snapshot_seconds", (2.0, 2.0))
    levers.write(world, "n1", "op", 60)
    world.run(0.5)
    before = levers.last(world.processes["n2"])
    assert world.processes["n2"].node._compaction.is_running

    world.crash("n2")
    world.start("n2")
    world.run(3.0)
    world.crash("n2")
    world.start("n2")

    assert levers.last(world.processes["n2"]) >= before
    world.settle()


def test_s8_the_log_of_a_slow_follower_is_never_emptied() -> None:
    world = levers.a_world(8, limits=Limits(snapshot_entries=30, tail_entries=3))
    world.network.slow["n1", "n3"] = world.network.slow["n3", "n1"] = 0.15
    for number in range(300):
        levers.write(world, "n1", f"op-{number}", 3)
        world.run(0.005)
        node = world.processes["n3"].node
        assert levers.last(world.processes["n3"]) >= node.applied >= node.log.base_index

    world.settle()


def test_s9_after_a_power_loss_nothing_is_applied_that_is_not_committed() -> None:
    world = levers.a_world()
    levers.write(world, "n1", "op", 50)
    world.run(0.5)
    world.crash("n1", power=True)
    world.crash("n2")
    world.crash("n3")
    world.start("n1")
    node = world.processes["n1"].node
    world.run(2.0)

    assert (node.applied, node.raft.commit) == (0, 0)
    world.settle()


def test_s10_two_changes_of_members_are_never_under_way_at_once() -> None:
    world = levers.a_world()
    levers.isolate(world, "n1")
    for node_id in ("n4", "n5"):
        world.add_host()
        world.network.block("n2", node_id)
        world.network.block("n3", node_id)
    answers: list[Answer] = []
    for node_id in ("n4", "n5"):
        add = Change(step=Step.ADD, node_id=node_id, address=f"{node_id}:1")
        world.change(add, answers.append)
    world.run(0.2)
    alone = levers.write(world, "n1", "alone", 10)
    world.run(3.0)

    assert [type(answer) for answer in answers] == [NotDone, Unknown]
    assert levers.acknowledged(world, alone) == 0
    world.settle()


def test_s11_what_was_sent_on_a_broken_connection_never_arrives() -> None:
    world = levers.a_world()
    world.network.slow["n1", "n2"] = 0.2
    arrived: list[Message] = []
    world.network.on_message = lambda a, b, m: arrived.append(m) if (a, b) == ("n1", "n2") else None
    levers.write(world, "n1", "late", 1)
    world.run(0.01)
    world.network.break_pair("n1", "n2")
    world.network.connect("n1", "n2")
    world.network.slow.clear()
    before = len(arrived)
    world.run(0.1)

    terms = {m.term for m in arrived[before:]}
    assert terms == {world.processes["n1"].node.raft.term}
    world.settle()


@pytest.mark.parametrize("seed", range(8))
def test_s12_a_snapshot_whose_transfer_breaks_arrives_whole(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "CHUNK_BYTES", 100)
    world = levers.a_world(seed, limits=SOON)
    levers.isolate(world, "n3")
    for number in range(60):
        levers.write(world, "n1", f"op-{number}", 2)
        world.run(0.02)
    levers.rejoin(world, "n3")
    for _ in range(12):
        world.run(0.06)
        world.network.break_pair("n1", "n3")
        world.network.connect("n1", "n3")
    world.run(5.0)

    assert world.processes["n3"].node.newest_snapshot.index > 0
    world.settle()


def test_s13_a_stranger_is_not_obeyed() -> None:
    world = levers.a_world()
    node = world.processes["n2"].node
    before = node.raft.term
    stranger = Append(
        term=1_000_000, previous_index=0, previous_term=0, entries=(), commit=0, round=0
    )
    vote = VoteRequest(term=1_000_000, sought=1_000_000, pre=False, last_index=9**9, last_term=9**9)
    for message in (stranger, vote):
        world.processes["n2"].heard("stranger", message)
    world.run(0.5)

    assert node.raft.term == before
    assert world.leader() == "n1"
    world.settle()


def test_s14_an_answer_for_a_dead_process_answers_nobody() -> None:
    world = levers.a_world()
    levers.isolate(world, "n1")
    answers: dict[str, Answer] = {}
    process = world.processes["n1"]

    def propose(name: str, to: str) -> None:
        target = world.processes[to]
        command = levers.command(name)
        request = lambda now: target.node.propose(  # noqa: E731
            command, now + 2.0, lambda answer: answers.__setitem__(name, answer)
        )
        target.shell.submit(request, lambda answer: None)
        world.wake(target)

    propose("dead", "n1")
    world.run(0.05)
    world.crash("n1")
    assert "dead" not in answers
    world.start("n1")
    levers.rejoin(world, "n1")
    levers.lead(world, "n1")
    propose("alive", "n1")
    world.run(0.5)

    assert process is not world.processes["n1"]
    assert "dead" not in answers
    count = len(world.processes["n1"].history.operations)
    assert answers["alive"] == Done(outcome=str(count).encode())
    world.settle()


def test_a_leader_that_is_cut_off_stops_within_600_ms() -> None:
    for seed in range(10):
        world = levers.a_world(seed)
        node = world.processes["n1"].node
        levers.isolate(world, "n1")
        began = world.now

        assert world.run(2.0, lambda node=node: not isinstance(node.raft.role, Leader))  # type: ignore[misc]
        assert world.now - began <= 0.6
        world.settle()


def test_an_entry_of_an_older_term_is_not_committed_by_counting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Figure 8 of the Raft paper, with the leader's entries sent one by one."""
    monkeypatch.setattr(replication, "BATCH_ENTRIES", 1)
    world = levers.a_world(members=5)
    levers.isolate(world, "n1", "n2")
    levers.write(world, "n1", "old")
    world.run(0.05)
    place = levers.last(world.processes["n2"])
    for node_id in ("n1", "n2"):
        world.crash(node_id)
    levers.elect(world, "n5")
    assert world.run(1.0, lambda: world.leader() == "n5")
    levers.isolate(world, "n5")
    world.run(0.02)
    assert levers.last(world.processes["n5"]) == place
    world.crash("n5")
    for node_id in ("n1", "n2"):
        world.start(node_id)
    levers.rejoin(world, "n1")
    levers.isolate(world, "n1", "n2", "n3")
    world.run(0.5)
    for _ in range(5):
        levers.elect(world, "n1")
        if world.run(0.05, lambda: _match(world, "n1", "n3") == place):
            break
    assert _match(world, "n1", "n3") == place
    levers.isolate(world, "n1")
    world.run(0.02)
    old = world.processes["n1"].node.raft.commit
    for node_id in ("n1", "n2"):
        world.crash(node_id)
    world.network.heal()
    world.start("n5")
    world.run(0.4)
    levers.lead(world, "n5")

    assert old < place
    assert world.leader() == "n5"
    world.settle()


def _match(world: World, leader: str, follower: str) -> int:
    role = world.processes[leader].node.raft.role
    return role.progress[follower].match if isinstance(role, Leader) else 0


def _kill_at(world: World, where: str, *, only: str = "") -> set[str]:
    """Kill each member at its first step of that name; answers who died, as it happens."""
    died: set[str] = set()
    for node_id in world.ids:
        if only and node_id != only:
            continue

        def fail(step: str, node_id: str = node_id) -> None:
            if step == where and node_id not in died:
                died.add(node_id)
                raise Killed(step)

        world.disk(node_id).failpoint = fail
    return died
