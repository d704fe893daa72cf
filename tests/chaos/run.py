"""One run: a fault after another, each on a cluster that is whole, until the plan is through."""

import random
import time
from collections.abc import Iterable

from warren.client.client import Client
from warren.client.connection import Connection
from warren.model.errors import WarrenError
from warren.model.views import ClusterView

from tests.chaos import checks, figures
from tests.chaos.cluster import say
from tests.chaos.faults import Faults
from tests.chaos.figures import Outcome, Report
from tests.chaos.hosts import Hosts
from tests.chaos.plan import Kind
from tests.chaos.registers import Registers

WHOLE_WITHIN = 40.0
"""Seconds within which all managers must take part again after a fault."""
QUIET = (0.4, 0.9)
"""Seconds before and after a fault that belong to it."""


class Run:
    """What happened so far."""

    def __init__(self, hosts: Hosts, connection: Connection, seed: int) -> None:
        self._hosts, self._connection, self._seed = hosts, connection, seed
        self._chance = random.Random(seed)
        self._faults = Faults(hosts, self._chance)
        self._registers = Registers(connection)
        self._outcomes: list[Outcome] = []
        self._failures: list[str] = []

    def carry_out(self, kinds: Iterable[Kind], *, total: int | None, seconds: float) -> Report:
        """Make the faults until they or the seconds are over; then judge."""
        begin = time.monotonic()
        self._registers.start()
        try:
            for number, kind in enumerate(kinds, 1):
                if time.monotonic() - begin > seconds:
                    break
                outcome = self._one(kind)
                self._outcomes.append(outcome)
                say(figures.progress(number, total, outcome))
        except (RuntimeError, WarrenError) as error:
            self._failures.append(str(error))
        finally:
            self._hosts.pull_up()
            self._registers.stop()
        took = time.monotonic() - begin
        if total is not None and len(self._outcomes) < total and not self._failures:
            self._failures.append(f"only {len(self._outcomes)} of {total} in {seconds:.0f} s")
        say("checking")
        self._failures += checks.failures(self._registers, self._connection)
        return Report(
            seed=self._seed,
            seconds=took,
            outcomes=tuple(self._outcomes),
            history=self._registers.history,
            errors=dict(self._registers.errors),
            failures=tuple(self._failures),
        )

    def _one(self, kind: Kind) -> Outcome:
        before = wait_whole(self._connection)
        self._registers.next_epoch()
        self._wait_quiet()
        begin = self._faults.make(kind, before.leader)
        after = wait_whole(self._connection)
        self._wait_quiet()
        end = time.monotonic()
        answered = self._registers.answered_since(begin)
        return Outcome(
            kind=kind,
            begin=begin,
            end=end,
            next_write=figures.next_write(begin, end, answered),
            without_write=figures.longest_gap(begin, figures.accepted(answered), end),
            slowest_answer=figures.slowest(answered),
            elections=after.term - before.term,
            before=before.leader,
            after=after.leader,
        )

    def _wait_quiet(self) -> None:
        time.sleep(self._chance.uniform(*QUIET))


def wait_whole(connection: Connection) -> ClusterView:
    """The cluster, as soon as it has a leader and all managers take part."""
    end = time.monotonic() + WHOLE_WITHIN
    missing = "nobody answers"
    while time.monotonic() < end:
        try:
            with Client(connection, timeout=5.0) as client:
                view = client.get_cluster()
        except WarrenError as error:
            missing = str(error)
        else:
            absent = [m.node.spec.name for m in view.managers if not m.reachable]
            if view.leader and not absent and len(view.managers) == len(connection.endpoints):
                return view
            missing = f"{', '.join(absent)} not reachable"
        time.sleep(0.1)
    raise RuntimeError(f"the cluster is not whole after {WHOLE_WITHIN:g} s: {missing}")
