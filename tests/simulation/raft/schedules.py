"""What happens to a cluster, step by step, whatever its engine: a schedule for each known defect.

Each answers with what it saw. That is harm done to pysyncobj as it comes, and none to our engine;
`unmodified/test_losses.py` and `unmodified/test_stops.py` say which. S and L numbers: docs/raft.md.
"""

import hashlib

from tests.simulation.raft.clusters import Cluster


def damage(cluster: Cluster, *, down: tuple[str, ...] = (), seconds: float = 60.0) -> set[str]:
    """Let everything heal and be written to once more; then judge what is left.

    `down`: members that stay away.
    """
    ids = [node_id for node_id in cluster.ids if node_id not in down]
    cluster.network.heal()
    for node_id in ids:
        cluster.start(node_id)
    began = cluster.now
    number = 0
    while cluster.now - began < seconds:
        cluster.write(cluster.leader() or ids[0], f"last-{number}")
        number += 1
        if cluster.run(2.0, lambda: _agree(cluster, ids) and _has_answered(cluster)):
            break
    members = cluster.member_ids()
    running = [node_id for node_id in ids if cluster.runs(node_id) and node_id in members]
    histories = [cluster.operations(node_id) for node_id in running]
    found = set()
    if not _has_answered(cluster):
        found.add("stopped")
    if any(set(cluster.acknowledged) - set(history) for history in histories):
        found.add("lost")
    if any(history != histories[0] for history in histories):
        found.add("diverged")
    if any(len(set(history)) != len(history) for history in histories):
        found.add("repeated")
    return found


def confirm_by_snapshot(cluster: Cluster) -> int:
    """S1: an old leader, cut off with writes of its own, is sent a snapshot. How many of those
    writes, which nobody else ever had, it reports as done."""
    cluster.network.latency = (0.0002, 0.02)
    isolate(cluster, "n1")
    alone = write(cluster, "n1", "alone", 20)
    new = wait_leader(cluster, "n1")
    for number in range(60):
        cluster.write(new, f"others-{number}")
        cluster.run(0.02)
    cluster.run(1.0)
    rejoin(cluster, "n1")
    cluster.run(5.0)
    return len(set(alone) & set(cluster.acknowledged))


def repeat_appends(cluster: Cluster) -> int:
    """S2: the answer to one batch arrives while the next is under way, again and again. How many
    entries the follower's log was short of what is committed when the leader died."""
    isolate(cluster, "n3", "n2")
    cluster.network.slow["n1", "n2"] = cluster.network.slow["n2", "n1"] = 0.02
    for number in range(300):
        write(cluster, "n1", f"many-{number}", 4, size=400)
        cluster.run(0.003)
        short = cluster.committed("n1") - cluster.bounds("n2")[1]
        if short > 0:
            break
    lose_host(cluster, "n1")
    rejoin(cluster, "n3")
    cluster.run(20.0)
    return max(0, short)


def send_old_snapshot(cluster: Cluster) -> int:
    """S3: a follower on a slow link is sent a snapshot older than its log. How often what it had
    applied went back."""
    cluster.network.slow["n1", "n3"] = cluster.network.slow["n3", "n1"] = 0.15
    before, times = 0, 0
    for number in range(300):
        write(cluster, "n1", f"op-{number}", 4)
        cluster.run(0.005)
        applied = cluster.applied("n3")
        times += applied < before
        before = applied
    return times


def count_stale_answers(cluster: Cluster) -> int:
    """S4: of five, n1 leads terms 1 and 3; what n2 answered in term 1 arrives in term 3. How many
    writes are reported as done that two of five have."""
    slow = 2.5
    others = ("n3", "n4", "n5")
    for other in others:
        cluster.network.block("n1", other)
    cluster.network.slow["n2", "n1"] = slow
    write(cluster, "n1", "old", 10)
    cluster.run(0.2)
    cluster.network.block("n1", "n2", both=False)
    cluster.elect("n3")
    cluster.run(0.3)
    for other in others:
        cluster.network.unblock("n1", other)
    cluster.run(0.6)
    isolate(cluster, "n4", "n1")
    cluster.elect("n1")
    cluster.run(0.1)
    if cluster.leader() != "n1":
        return 0
    isolate(cluster, "n1", "n4", "n2")
    cluster.network.blocked.discard(("n2", "n1"))
    lonely = write(cluster, "n1", "lonely", 9)
    cluster.run(slow + 0.2)
    return len(set(lonely) & set(cluster.acknowledged))


def kill_all_at_snapshot(cluster: Cluster) -> int:
    """S5: every member is killed when its snapshot has its name, before its journal follows. How
    many died there."""
    died = cluster.kill_when_snapshot_is_named(*cluster.ids)
    for number in range(400):
        if len(died) == len(cluster.ids):
            break
        leader = cluster.leader()
        if leader is not None:
            write(cluster, leader, f"op-{number}", 3)
        cluster.run(0.01)
    for node_id in cluster.ids:
        cluster.crash(node_id)
    return len(died)


def kill_in_compaction(cluster: Cluster) -> int:
    """S6: a follower is killed while its journal is compacted, and then the leader's host is lost.
    How many entries of its log are gone."""
    cluster.network.block("n3", "n1")
    died = cluster.kill_while_compacting("n2")
    for number in range(600):
        if died:
            break
        before = cluster.bounds("n2")[1]
        write(cluster, "n1", f"op-{number}", 3, size=600)
        cluster.run(0.01)
    assert died == {"n2"}
    lose_host(cluster, "n1")
    cluster.start("n2")
    return max(0, before - cluster.bounds("n2")[1])


def outlive_parent(cluster: Cluster) -> int:
    """S7: a process is killed while its snapshot (of 2 s) is written, and again after that time.
    How many entries of its log are gone after the second start."""
    for number in range(40):
        cluster.write("n1", f"op-{number}")
        cluster.run(0.01)
    cluster.crash("n2")
    cluster.start("n2")
    for number in range(20):
        cluster.write("n1", f"more-{number}")
        cluster.run(0.1)
    before = cluster.bounds("n2")[1]
    cluster.crash("n2")
    cluster.start("n2")
    cluster.run(0.01)
    return max(0, before - cluster.bounds("n2")[1])


def outrun_a_slow_follower(cluster: Cluster) -> int:
    """S8: plain writes, no fault, and one follower 150 ms away. How many logs became empty."""
    cluster.network.slow["n1", "n3"] = cluster.network.slow["n3", "n1"] = 0.15
    for number in range(400):
        write(cluster, "n1", f"op-{number}", 4, size=100)
        cluster.run(0.005)
        empty = [node_id for node_id in cluster.ids if cluster.bounds(node_id) == (0, 0)]
        if empty:
            return len(empty)
    return 0


def add_two_at_once(cluster: Cluster) -> int:
    """S10: a leader that is cut off is asked to add two members, which only it reaches. How many
    writes are reported as done on its side while others lead on the other side."""
    isolate(cluster, "n1")
    for node_id in ("n4", "n5"):
        for other in ("n2", "n3"):
            cluster.network.block(other, node_id)
        cluster.ids.append(node_id)
        cluster.add_member(node_id)
        cluster.run(0.05)
    for node_id in ("n4", "n5"):
        cluster.start(node_id)
    cluster.run(3.0)
    alone = write(cluster, "n1", "alone", 10)
    other = next((node_id for node_id in ("n2", "n3") if cluster.leads(node_id)), "n2")
    write(cluster, other, "others", 10)
    cluster.run(3.0)
    return len(set(alone) & set(cluster.acknowledged))


def break_transfer(cluster: Cluster) -> int:
    """S12: the connection breaks, and is there again, while a snapshot is being sent. How many
    transfers were broken."""
    isolate(cluster, "n3")
    for number in range(60):
        cluster.write("n1", hashlib.sha256(b"%d" % number).hexdigest())
        cluster.run(0.02)
    cluster.run(6.0)
    cluster.network.slow["n1", "n3"] = 0.05
    cluster.network.unblock("n1", "n3")
    broken = 0
    while broken < 5 and cluster.run(3.0, lambda: cluster.receives_snapshot("n3")):
        broken += 1
        cluster.network.break_pair("n1", "n3")
        cluster.network.connect("n1", "n3")
        cluster.run(0.2)
    cluster.run(5.0)
    return broken


def return_wiped(cluster: Cluster) -> bool:
    """S16: a member that made up a majority returns without its disk, and the leader's host is
    lost. Whether those that are left, which lack what was reported as done, get a leader."""
    isolate(cluster, "n2")
    write(cluster, "n1", "op", 20)
    cluster.run(0.5)
    cluster.crash("n3")
    cluster.wipe("n3")
    lose_host(cluster, "n1")
    rejoin(cluster, "n2")
    cluster.network.block("n1", "n2")
    cluster.start("n3")
    return cluster.run(10.0, lambda: cluster.leader() in ("n2", "n3"))


def lose_leader_after_quiet(cluster: Cluster) -> int:
    """L1: the leader dies after a quiet minute. How many terms it took to have another one."""
    cluster.run(60.0)
    before = cluster.term("n1")
    cluster.crash("n1")
    return cluster.term(wait_leader(cluster, "n1")) - before


def replace_long_tail(cluster: Cluster) -> float:
    """L3: an old leader returns with 300 entries that nobody else has. Seconds until its log is the
    others'."""
    isolate(cluster, "n1")
    write(cluster, "n1", "wrong", 300)
    new = wait_leader(cluster, "n1")
    write(cluster, new, "right", 300)
    cluster.run(6.0)
    rejoin(cluster, "n1")
    began = cluster.now
    cluster.run(
        120.0,
        lambda: (
            cluster.network.is_connected("n1", new)
            and cluster.bounds("n1")[1] == cluster.bounds(new)[1]
            and cluster.term("n1") == cluster.term(new)
            and cluster.committed("n1") == cluster.committed(new)
        ),
    )
    return cluster.now - began


def lag_while_snapshot_is_written(cluster: Cluster) -> int:
    """L4: a follower needs a snapshot while the next one (of 4 s) is being written. Messages sent
    in a second of that."""
    isolate(cluster, "n3")
    for round_ in ("early", "late"):
        for number in range(60):
            cluster.write("n1", f"{round_}-{number}")
            cluster.run(0.01)
        if round_ == "early":
            cluster.run(10.0)
    cluster.network.unblock("n1", "n3")
    cluster.run(1.0)
    before = cluster.network.messages
    cluster.run(1.0)
    return cluster.network.messages - before


def return_often(cluster: Cluster) -> int:
    """L5: a follower is cut off for 3 s and returns, five times. How many terms that cost."""
    before = cluster.term("n1")
    for number in range(5):
        isolate(cluster, "n3")
        cluster.write(cluster.leader() or "n1", f"op-{number}")
        cluster.run(3.0)
        rejoin(cluster, "n3")
        cluster.run(4.0)
    return max(cluster.term(node_id) for node_id in cluster.ids) - before


def cut_leader_off(cluster: Cluster) -> float:
    """L6: how many seconds a leader that is cut off takes itself for the leader."""
    isolate(cluster, "n1")
    began = cluster.now
    cluster.run(60.0, lambda: not cluster.leads("n1"))
    return cluster.now - began


def add_absent_member(cluster: Cluster) -> int:
    """L10: a cluster of one is given a second member, whose host is not there. How many of three
    writes after that are done."""
    cluster.add_member("n2")
    cluster.run(0.5)
    later = write(cluster, "n1", "later", 3)
    cluster.run(10.0)
    return len(set(later) & set(cluster.acknowledged))


# --- pieces


def write(cluster: Cluster, node_id: str, name: str, count: int, *, size: int = 0) -> list[str]:
    """Write a few operations through a member."""
    names = [f"{name}-{number}" for number in range(count)]
    for operation in names:
        cluster.write(node_id, operation, size=size)
    return names


def isolate(cluster: Cluster, node_id: str, *but: str) -> None:
    """Cut a member off from all but a few."""
    for other in cluster.ids:
        if other != node_id and other not in but:
            cluster.network.block(node_id, other)


def rejoin(cluster: Cluster, node_id: str) -> None:
    """Undo `isolate`."""
    for other in cluster.ids:
        if other != node_id:
            cluster.network.unblock(node_id, other)


def lose_host(cluster: Cluster, node_id: str) -> None:
    """A process dies with what it had sent and what had not arrived."""
    for other in cluster.ids:
        if other != node_id:
            cluster.network.break_pair(node_id, other)
    cluster.crash(node_id, silently=True)


def wait_leader(cluster: Cluster, other_than: str) -> str:
    """Run until somebody else leads."""
    assert cluster.run(30.0, lambda: cluster.leader() not in (None, other_than))
    return cluster.leader() or ""


def _agree(cluster: Cluster, ids: list[str]) -> bool:
    members = cluster.member_ids()
    running = [node_id for node_id in ids if cluster.runs(node_id) and node_id in members]
    return len({(cluster.bounds(n)[1], cluster.applied(n)) for n in running}) == 1


def _has_answered(cluster: Cluster) -> bool:
    return any(operation.startswith("last-") for operation in cluster.acknowledged)
