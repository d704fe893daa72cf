"""Plants bugs in the engine, one at a time, and asks whether the tests notice.

`python tests/simulation/raft/mutants.py [NAME…]` copies the package, changes one place, and runs
the directed scenarios, then seeds, until something fails. A mutant that survives means that the
tests are blind to that bug: add a scenario. Takes some minutes, so it is no part of `make test`.
"""
# ruff: noqa: E501 - the places to change are quoted as they are

import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SECONDS = 60
"""Of chance faults for a mutant that the scenarios do not find."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One planted bug."""

    name: str
    file: str
    old: str
    new: str


RAFT = "store/raft"
MUTANTS = (
    Mutant(
        "journal is never synced",
        f"{RAFT}/journal.py",
        "        file.write(data)\n        file.sync()\n        self._size +=",
        "        file.write(data)\n        self._size +=",
    ),
    Mutant(
        "every second turn says things before the sync",
        f"{RAFT}/node.py",
        "        self._note_witnesses(now)\n        self._journal.sync()\n",
        "        self._note_witnesses(now)\n        self._turns = getattr(self, '_turns', 0) + 1\n"
        "        if self._turns % 2:\n            self._journal.sync()\n",
    ),
    Mutant(
        "term and vote are not kept",
        f"{RAFT}/node.py",
        "            self._journal.save_state(self.raft.term, self.raft.vote)\n        for",
        "            pass\n        for",
    ),
    Mutant(
        "what a killed process wrote is not synced at the start",
        f"{RAFT}/journal.py",
        "            self._file.sync()\n",
        "",
    ),
    Mutant(
        "a torn record is not cut",
        f"{RAFT}/journal.py",
        "            disk.truncate(_name(number), end)\n",
        "",
    ),
    Mutant(
        "names are not synced after a snapshot",
        f"{RAFT}/snapshot_files.py",
        "        self._disk.sync_names()\n        self.newest = meta\n",
        "        self.newest = meta\n",
    ),
    Mutant(
        "a snapshot is not synced",
        f"{RAFT}/snapshot_files.py",
        "            file.sync()\n        finally",
        "        finally",
    ),
    Mutant(
        "the log does not restart where it contradicts the snapshot",
        f"{RAFT}/node.py",
        "    if snapshots.agrees(log, newest.index, newest.term):\n        log.compact(log.base_index",
        "    if log.term_at(newest.index) is not None:\n        log.compact(log.base_index",
    ),
    Mutant(
        "append always truncates",
        f"{RAFT}/replication.py",
        "        if log.term_at(entry.index) != entry.term:\n            return position",
        "        return 0 if entry.index > 0 else position",
    ),
    Mutant(
        "append truncates committed entries",
        f"{RAFT}/replication.py",
        "    known = _already_known(log, append)\n    fresh = append.entries[known:]",
        "    known = 0\n    fresh = append.entries[known:]",
    ),
    Mutant(
        "commit up to the own last entry",
        f"{RAFT}/replication.py",
        "min(append.commit, confirmed)",
        "min(append.commit, max(log.last_index, confirmed))",
    ),
    Mutant(
        "the term of the entry before is not checked",
        f"{RAFT}/replication.py",
        "    if term != append.previous_term:\n",
        "    if term is None:\n",
    ),
    Mutant(
        "entries of older terms are committed by counting",
        f"{RAFT}/replication.py",
        "    if index <= raft.commit or log.term_at(index) != raft.term:\n",
        "    if index <= raft.commit:\n",
    ),
    Mutant(
        "the leader counts what it has not synced",
        f"{RAFT}/node.py",
        "replication.advance(self.raft, self.log, self.durable)",
        "replication.advance(self.raft, self.log, self.log.last_index)",
    ),
    Mutant(
        "answers of older terms count",
        f"{RAFT}/node.py",
        "                self._outbox.append(elections.stale(self.raft, sender))\n            return\n",
        "                self._outbox.append(elections.stale(self.raft, sender))\n                return\n            if not isinstance(message, AppendAnswer):\n                return\n",
    ),
    Mutant(
        "good news moves the next entry back",
        f"{RAFT}/replication.py",
        "max(before.next, match + 1)",
        "match + 1",
    ),
    Mutant(
        "an older snapshot is installed",
        f"{RAFT}/snapshots.py",
        "    if chunk.index <= raft.commit:\n",
        "    if chunk.index < 0:\n",
    ),
    Mutant(
        "an installed snapshot drops what follows it",
        f"{RAFT}/node.py",
        "        if snapshots.agrees(self.log, meta.index, meta.term):\n",
        "        if meta.index < 0:\n",
    ),
    Mutant(
        "pieces of two snapshots are mixed",
        f"{RAFT}/snapshots.py",
        "    return incoming.offset if same else 0\n",
        "    return incoming.offset\n",
    ),
    Mutant(
        "a received snapshot is not checked",
        f"{RAFT}/snapshot_files.py",
        "    if hashlib.sha256(body).digest() != data[-_DIGEST_BYTES:]:\n        return None\n",
        "",
    ),
    Mutant(
        "a vote for a log that is behind",
        f"{RAFT}/elections.py",
        "    if (request.last_term, request.last_index) < (log.last_term, log.last_index):\n        return False\n",
        "",
    ),
    Mutant("two votes in a term", f"{RAFT}/elections.py", " and raft.vote in (None, sender)", ""),
    Mutant(
        "learners make a quorum",
        f"{RAFT}/members.py",
        "        return sum(voter in present for voter in self.voters) >= self.quorum\n",
        "        return len(set(present)) >= self.quorum\n",
    ),
    Mutant(
        "a quorum is half",
        f"{RAFT}/members.py",
        "        return len(self.voters) // 2 + 1\n",
        "        return (len(self.voters) + 1) // 2\n",
    ),
    Mutant(
        "no pre-vote",
        f"{RAFT}/elections.py",
        "    return campaign(raft, log, now, chance)\n",
        "    return elect(raft, log, now, chance, transfer=False)\n",
    ),
    Mutant(
        "no loyalty to a leader",
        f"{RAFT}/elections.py",
        "    if is_led(raft, now) and not request.transfer:\n        return _deny(raft, sender, request)\n",
        "",
    ),
    Mutant(
        "a leader never gives up",
        f"{RAFT}/elections.py",
        "    if left or not configuration.has_quorum(present(raft, now)):\n",
        "    if left:\n",
    ),
    Mutant(
        "a read without proof of the lead",
        f"{RAFT}/replication.py",
        "    return _majority(log.configuration, echoed)\n",
        "    return raft.role.round\n",
    ),
    Mutant(
        "a read counts answers from before it",
        f"{RAFT}/pending.py",
        "if r.round <= round_ and",
        "if r.round <= round_ + 3 and",
    ),
    Mutant(
        "a read before the leader knows what is committed",
        f"{RAFT}/replication.py",
        "    return isinstance(raft.role, Leader) and raft.commit >= raft.role.opening\n",
        "    return isinstance(raft.role, Leader)\n",
    ),
    Mutant(
        "two changes of members at once",
        f"{RAFT}/node.py",
        "            settled=settled and replication.is_open(self.raft),\n",
        "            settled=True,\n",
    ),
    Mutant(
        "a member counts before it has caught up",
        f"{RAFT}/members.py",
        "            if wish.node_id not in now.caught_up or wish.node_id not in now.present:\n",
        "            if not wish.node_id:\n",
    ),
    Mutant(
        "truncation leaves the members as they were",
        f"{RAFT}/entries.py",
        "        while len(self._configurations) > 1 and self._configurations[-1][0] >= first:\n            self._configurations.pop()\n",
        "",
    ),
    Mutant(
        "who was removed may return",
        f"{RAFT}/trust.py",
        "    if hello.node_id in known.removed:\n",
        "    if not hello.node_id:\n",
    ),
    Mutant(
        "an uncommitted removal already counts",
        f"{RAFT}/node.py",
        "        return peer in self.log.configuration_at(self.raft.commit).removed\n",
        "        return peer in self.log.configuration.removed\n",
    ),
    Mutant(
        "whoever an uncommitted change leaves out never stands",
        f"{RAFT}/elections.py",
        "not log.may_count(raft.me, raft.commit)",
        "raft.me not in log.configuration.voters",
    ),
    Mutant(
        "a wiped disk is not noticed",
        f"{RAFT}/trust.py",
        "    if counts and hello.last_index == 0:\n",
        "    if not hello.node_id:\n",
    ),
    Mutant(
        "an older journal is not noticed",
        f"{RAFT}/trust.py",
        "    if hello.term < witness.term or hello.last_index < witness.index:\n",
        "    if not hello.node_id:\n",
    ),
    Mutant(
        "strangers are obeyed",
        f"{RAFT}/node.py",
        "        if sender not in self._met or self._was_removed(sender):\n",
        "        if self._was_removed(sender):\n",
    ),
    Mutant(
        "a proposal is answered with another's outcome",
        f"{RAFT}/pending.py",
        "            if proposal.term == term:\n",
        "            if term:\n",
    ),
    Mutant(
        "a leader that hears nobody keeps the others patient",
        f"{RAFT}/replication.py",
        "timing.hush < now - known.asked_at",
        "now < now - known.asked_at",
    ),
    Mutant(
        "two candidates that deny each other wait for all their patience",
        f"{RAFT}/elections.py",
        "raft.deadline if role.pre else min(raft.deadline, _soon(raft, now, chance))",
        "raft.deadline",
    ),
    Mutant(
        "a leader that was cut off believes in its connections",
        f"{RAFT}/node.py",
        "            self.silent = self.raft.connected - elections.present(before, now)\n",
        "            self.silent = frozenset()\n",
    ),
    Mutant(
        "keys are not remembered",
        "store/idempotency.py",
        "        outcome = self._outcomes.get(message.key)\n",
        "        outcome = None\n",
    ),
    Mutant(
        "keys are not in the snapshot",
        "store/idempotency.py",
        "        head.outcomes.add(key=key, outcome=outcome)\n",
        "        pass\n",
    ),
    Mutant(
        "a command of a newer set is applied",
        "store/idempotency.py",
        "        if message.version > self._version:\n",
        "        if message.version > self._version + 9:\n",
    ),
    Mutant(
        "a snapshot does not say what it needs",
        "store/idempotency.py",
        "        self._applied_version = max(self._applied_version, message.version)\n",
        "",
    ),
    Mutant(
        "new commands wait for nobody",
        f"{RAFT}/node.py",
        "        return min(self._versions.get(node_id, 1)",
        "        return max(self._versions.get(node_id, 1)",
    ),
)


def main(names: list[str]) -> int:
    """Try them all, or those whose name contains one of `names`."""
    chosen = [m for m in MUTANTS if not names or any(n in m.name for n in names)]
    survivors = []
    for mutant in chosen:
        began = time.monotonic()
        verdict = _try(mutant)
        print(f"{mutant.name:60} {verdict} ({time.monotonic() - began:.0f} s)", flush=True)
        if verdict == "SURVIVED":
            survivors.append(mutant.name)
    print(f"{len(chosen) - len(survivors)} of {len(chosen)} mutants killed")
    return 1 if survivors else 0


def _try(mutant: Mutant) -> str:
    with tempfile.TemporaryDirectory() as directory:
        package = Path(directory) / "warren"
        shutil.copytree(
            ROOT / "agent/warren", package, ignore=shutil.ignore_patterns("__pycache__")
        )
        file = package / mutant.file
        source = file.read_text()
        if source.count(mutant.old) != 1:
            return "STALE: the place to change is not there once"
        file.write_text(source.replace(mutant.old, mutant.new))
        environment = {**os.environ, "PYTHONPATH": directory, "PYTHONDONTWRITEBYTECODE": "1"}
        scenarios = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
        tests = [str(ROOT / "tests/simulation/raft"), str(ROOT / "tests/unit/store/raft")]
        failure = _run([*scenarios, *tests], environment)
        if failure:
            return f"killed by {failure}"
        seeds = [sys.executable, "-m", "warren.testing.raft_simulation"]
        limits = ["--seeds", "100000", "--seconds", str(SECONDS), "--stop"]
        failure = _run([*seeds, *limits], environment)
        return f"killed by {failure}" if failure else "SURVIVED"


def _run(command: list[str], environment: dict[str, str]) -> str:
    """The line that says what failed; "" when nothing did."""
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode == 0:
        return ""
    lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "seed"))]
    name = lines[0].split(" - ")[0].removeprefix("FAILED ") if lines else "a crash"
    return name.rpartition("::")[2][:70]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
