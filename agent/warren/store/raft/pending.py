"""Requests that wait for an answer, so that each gets exactly one: applied, refused, or unknown.

A proposal waits at its place in the log. If that place is applied with the term it was proposed in,
the outcome is its answer; with another term, it was never committed and never will be. A truncated
entry may still be committed by a leader that kept it, so truncation answers nothing; losing the
lead, a deadline and a snapshot over the place answer `Unknown`. Request ids never cross the wire.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """It is committed and applied here."""

    outcome: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class NotDone:
    """It did not happen, and it never will."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """It may have happened, or may happen yet."""

    reason: str


Answer = Done | NotDone | Unknown
Reply = Callable[[Answer], None]


@dataclass(frozen=True, slots=True)
class _Proposal:
    term: int
    until: float
    reply: Reply


@dataclass(frozen=True, slots=True)
class _Read:
    round: int
    index: int
    until: float
    reply: Reply


class Pending:
    """All requests of one member. Everything here is lost with the process, as it should be."""

    def __init__(self) -> None:
        self._proposals: dict[int, list[_Proposal]] = {}
        self._waiting: list[tuple[float, Reply]] = []
        self._reads: list[_Read] = []

    @property
    def has_waiting_reads(self) -> bool:
        """Reads that no round was begun for yet."""
        return bool(self._waiting)

    def add_proposal(self, index: int, term: int, until: float, reply: Reply) -> None:
        """Wait for the entry at `index` to be applied."""
        self._proposals.setdefault(index, []).append(_Proposal(term, until, reply))

    def add_read(self, until: float, reply: Reply) -> None:
        """Wait for a round."""
        self._waiting.append((until, reply))

    def begin_round(self, round_: int, index: int) -> None:
        """All waiting reads are answered when the round is confirmed and `index` applied."""
        self._reads.extend(_Read(round_, index, until, reply) for until, reply in self._waiting)
        self._waiting = []

    def applied(self, index: int, term: int, outcome: bytes) -> None:
        """The entry at `index` was applied."""
        for proposal in self._proposals.pop(index, ()):
            if proposal.term == term:
                proposal.reply(Done(outcome=outcome))
            else:
                proposal.reply(NotDone(reason="another leader took over"))

    def confirmed(self, round_: int, applied: int) -> None:
        """Rounds up to `round_` are confirmed."""
        ready = [r for r in self._reads if r.round <= round_ and r.index <= applied]
        if ready:
            self._reads = [r for r in self._reads if r.round > round_ or r.index > applied]
            for read in ready:
                read.reply(Done())

    def skipped(self, index: int) -> None:
        """A snapshot took the place of the entries up to `index`."""
        for place in sorted(place for place in self._proposals if place <= index):
            for proposal in self._proposals.pop(place):
                proposal.reply(Unknown(reason="this manager fell behind before it was answered"))

    def lead_lost(self) -> None:
        """Whoever waits had better ask the next leader."""
        proposals, self._proposals = self._proposals, {}
        for place in sorted(proposals):
            for proposal in proposals[place]:
                proposal.reply(Unknown(reason="the leader changed before it answered"))
        for read in self._reads:
            read.reply(NotDone(reason="this manager lost the lead"))
        for _, reply in self._waiting:
            reply(NotDone(reason="this manager lost the lead"))
        self._reads, self._waiting = [], []

    def expire(self, now: float) -> None:
        """Answer those whose time is over. Called every few turns, not in each."""
        late = "no majority of the managers answered in time"
        for place, proposals in list(self._proposals.items()):
            if any(p.until <= now for p in proposals):
                keep = [p for p in proposals if p.until > now]
                self._proposals[place] = keep
                for proposal in proposals:
                    if proposal.until <= now:
                        proposal.reply(Unknown(reason=late))
        for read in [r for r in self._reads if r.until <= now]:
            read.reply(Unknown(reason=late))
        for _, reply in [w for w in self._waiting if w[0] <= now]:
            reply(Unknown(reason=late))
        self._reads = [r for r in self._reads if r.until > now]
        self._waiting = [w for w in self._waiting if w[0] > now]
