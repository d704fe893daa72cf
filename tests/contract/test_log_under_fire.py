"""Real processes that are killed and stopped while clients write and read: is every answer true?

Three members on loopback; kill -9 of the leader or of all, SIGSTOP for longer than a lead lasts.
Clients write through whoever leads, stale leaders included, and repeat with the same key what they
do not know the end of. Then: the history is linearizable, and all members are equal.
`WARREN_FIRE_SECONDS` makes it longer.
"""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from warren.testing.linearizability import Kind, Operation, unexplained

from tests.contract.raft_members import a_pki
from tests.contract.raft_process import Member

SECONDS = float(os.environ.get("WARREN_FIRE_SECONDS", "12"))
PORT = 21645
CLIENTS = 12
KEYS = 4


@pytest.fixture
def members(tmp_path: Path) -> Iterator[list[Member]]:
    """Three members, grown from one."""
    pki = a_pki(tmp_path / "pki")
    for number in (1, 2, 3):
        pki.files(f"n{number}")
    made = [Member(tmp_path, number, PORT) for number in (1, 2, 3)]
    for member in made:
        member.start()
    leader = wait_leader(made)
    for number in (2, 3):
        answer = leader.ask({"do": "add", "number": number, "port": PORT}, timeout=15)
        assert answer is not None
        assert "refused" not in answer, answer
        assert "unknown" not in answer, answer
    yield made
    for member in made:
        if member.process is not None:
            member.kill()


def test_every_answer_is_true_while_members_die_and_sleep(members: list[Member]) -> None:
    clients = Clients(members)
    clients.start()
    chance = random.Random(os.environ.get("WARREN_FIRE_SEED", "1"))
    counts = {"leader killed": 0, "all killed": 0, "stopped": 0}
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        hurt(members, chance, counts)
        time.sleep(chance.uniform(0.8, 1.6))

    clients.finish()

    print(f"\n{counts}, {clients.summary()}")
    assert unexplained(clients.history) == {}
    for member in members:
        member.signal(signal.SIGCONT)
        if member.process is None:
            member.start()
    states = wait_equal(members)
    assert len(states) == 1
    assert clients.acknowledged > 50


def hurt(members: list[Member], chance: random.Random, counts: dict[str, int]) -> None:
    """Do one bad thing, and undo it after a while."""
    kind = chance.random()
    if kind < 0.15:
        for member in members:
            member.kill()
        for member in members:
            member.start()
        counts["all killed"] += 1
        return
    leader = find_leader(members)
    victim = leader if leader and chance.random() < 0.8 else chance.choice(members)
    if kind < 0.6:
        victim.kill()
        time.sleep(chance.uniform(0.0, 1.0))
        victim.start()
        counts["leader killed"] += victim is leader
    else:
        victim.signal(signal.SIGSTOP)
        time.sleep(chance.uniform(0.4, 1.5))
        victim.signal(signal.SIGCONT)
        counts["stopped"] += 1


def find_leader(members: list[Member]) -> Member | None:
    """Whoever says that it leads, in the newest term."""
    found = []
    for member in members:
        status = member.ask({"do": "status"}, timeout=0.3)
        if status and status["leads"]:
            found.append((status["term"], member.number, member))
    return max(found)[2] if found else None


def wait_leader(members: list[Member], seconds: float = 20.0) -> Member:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        leader = find_leader(members)
        if leader is not None:
            return leader
        time.sleep(0.02)
    raise AssertionError("nobody leads")


def wait_equal(members: list[Member]) -> set[tuple[int, str]]:
    """States of all members, once they are the same or time is over."""
    states: set[tuple[int, str]] = set()
    end = time.monotonic() + 20
    while time.monotonic() < end:
        answers = [member.ask({"do": "status"}) for member in members]
        states = {(a["applied"], a["digest"]) for a in answers if a}
        if len(states) == 1 and all(answers) and any(a and a["leads"] for a in answers):
            return states
        time.sleep(0.1)
    return states


class Clients:
    """Threads that write and read, and write down what they were told."""

    def __init__(self, members: list[Member]) -> None:
        self.history: list[Operation] = []
        self.acknowledged = self.unknown = self.reads = 0
        self._members = members
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(number,), daemon=True)
            for number in range(CLIENTS)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join(timeout=30)

    def summary(self) -> str:
        return f"{self.acknowledged} acknowledged, {self.unknown} unknown, {self.reads} reads"

    def _work(self, number: int) -> None:
        """Each client keeps to one key, and to the member that answered last."""
        chance, key = random.Random(number), f"k{number % KEYS}"
        member, count = self._members[number % 3], 0
        while not self._done.is_set():
            count += 1
            if chance.random() < 0.5:
                ok = self._write(member, key, f"{number}-{count}")
            else:
                ok = self._read(member, key)
            if not ok:
                member = chance.choice(self._members)
                self._done.wait(0.02)
            self._done.wait(0.01)

    def _write(self, member: Member, key: str, value: str) -> bool:
        """Repeated once with the same key when its end is unknown: it stays one operation."""
        began = time.monotonic()
        answer = None
        for attempt in range(2):
            request = {"do": "write", "key": key, "value": value, "once": value}
            answer = member.ask(request, timeout=2.5)
            if answer is not None and ("done" in answer or ("refused" in answer and not attempt)):
                break
            leader = find_leader(self._members)
            member = leader or member
        done = answer is not None and "done" in answer
        if answer is not None and "refused" in answer and attempt == 0:
            return False
        ended = time.monotonic() if done else None
        self._note(
            Operation(key=key, kind=Kind.WRITE, called_at=began, returned_at=ended, value=value)
        )
        with self._lock:
            self.acknowledged += done
            self.unknown += not done
        return done

    def _read(self, member: Member, key: str) -> bool:
        began = time.monotonic()
        answer = member.ask({"do": "read", "key": key}, timeout=2.5)
        if answer is None or "value" not in answer:
            return False
        ended = time.monotonic()
        self._note(
            Operation(
                key=key,
                kind=Kind.READ,
                called_at=began,
                returned_at=ended,
                value=answer["value"],
            )
        )
        with self._lock:
            self.reads += 1
        return True

    def _note(self, operation: Operation) -> None:
        with self._lock:
            self.history.append(operation)
