"""The faults: each makes one kind of harm, holds it for a while, and undoes it.

What a fault answers is when the harm began, by the clock of the clients; the work before that, and
the way of a command to its host, does not count as the cluster's.
"""

import random
import shlex
import time
from collections.abc import Callable, Sequence

from tests.chaos.hosts import FILLER, MOMENT, RAFT, TABLE, UNIT, Hosts
from tests.chaos.plan import Kind

LEAD_LASTS = 0.6
"""Seconds after which a leader that hears nobody has left the lead; a stop lasts longer."""
PID = f"pid=$(systemctl show -p MainPID --value {UNIT})"
TORN_TAILS = (
    "head -c {length} /dev/urandom",  # sectors with old content
    "head -c {length} /dev/zero",  # the file had grown, and its content was not there yet
    "tail -c 4096 $last | head -c {length}",  # a part of something that was a record once
)


class Faults:
    """Made on the hosts, one at a time, by name of the leader."""

    def __init__(self, hosts: Hosts, chance: random.Random) -> None:
        self._hosts = hosts
        self._chance = chance
        self._make: dict[Kind, Callable[[str], float]] = {
            Kind.LEADER_KILLED: self._kill,
            Kind.ALL_KILLED: self._kill_all,
            Kind.CUT: lambda leader: self._cut(leader, ("input", "output")),
            Kind.CUT_IN: lambda leader: self._cut(leader, ("input",)),
            Kind.CUT_OUT: lambda leader: self._cut(leader, ("output",)),
            Kind.STOPPED: self._stop,
            Kind.LEADER_DISK_FULL: self._fill_disk,
            Kind.FOLLOWER_DISK_FULL: lambda leader: self._fill_disk(self._follower(leader)),
            Kind.TORN: self._tear_journal,
        }

    def make(self, kind: Kind, leader: str) -> float:
        """Do it and undo it; when the harm began."""
        return self._make[kind](leader)

    def _kill(self, leader: str) -> float:
        began = self._hosts.run(leader, f"{PID}; {MOMENT}; kill -KILL $pid")
        self._wait(1.2, 1.6)  # systemd starts it again after a second
        return self._hosts.moment(began)

    def _kill_all(self, _leader: str) -> float:
        """At one moment, which the hosts agree on beforehand."""
        at = time.time() + 1.0
        script = (
            f"{PID}; sleep $(date +%s.%N | awk '{{print {at:.6f} - $1}}'); "
            f"{MOMENT}; kill -KILL $pid"
        )
        began = self._hosts.run_all(script)
        self._wait(1.5, 2.5)
        return min(map(self._hosts.moment, began.values()))

    def _stop(self, leader: str) -> float:
        began = self._hosts.run(leader, f"{PID}; {MOMENT}; kill -STOP $pid")
        self._wait(LEAD_LASTS + 0.2, 2.5)
        self._hosts.run(leader, f"{PID}; kill -CONT $pid")
        return self._hosts.moment(began)

    def _cut(self, leader: str, chains: Sequence[str]) -> float:
        """From the other managers, below the mesh; clients still reach it."""
        others = ", ".join(a for host, a in self._hosts.addresses.items() if host != leader)
        rules = f"table {TABLE} {{\n"
        for chain in chains:
            side = "saddr" if chain == "input" else "daddr"
            rules += f"chain {chain} {{ type filter hook {chain} priority -300; "
            rules += f"ip {side} {{ {others} }} drop; }}\n"
        began = self._hosts.run(leader, f"{MOMENT}; echo {shlex.quote(rules + '}')} | nft -f -")
        self._wait(1.5, 3.0)
        self._hosts.run(leader, f"nft delete table {TABLE}")
        return self._hosts.moment(began)

    def _fill_disk(self, host: str) -> float:
        fill = f"dd if=/dev/zero of={FILLER} bs=64k status=none"
        began = self._hosts.run(host, f"{MOMENT}; {fill}", check=False)
        self._wait(2.0, 4.0)
        self._hosts.run(host, f"rm -f {FILLER}")
        return self._hosts.moment(began)

    def _tear_journal(self, leader: str) -> float:
        """What a crash in the middle of an append leaves: bytes that were never synced."""
        tail = self._chance.choice(TORN_TAILS).format(length=self._chance.randint(1, 200))
        began = self._hosts.run(
            leader,
            f"{PID}; {MOMENT}; kill -KILL $pid; while [ -d /proc/$pid ]; do sleep 0.01; done; "
            f"last=$(ls {RAFT}/journal-* | sort -V | tail -n 1); {tail} >> $last",
        )
        self._wait(1.2, 1.6)  # systemd starts it again a second after it was killed
        return self._hosts.moment(began)

    def _follower(self, leader: str) -> str:
        return self._chance.choice([host for host in self._hosts.addresses if host != leader])

    def _wait(self, least: float, most: float) -> None:
        time.sleep(self._chance.uniform(least, most))
