"""Who is a member, who counts, and which changes of that are lawful.

Laws: one change at a time, each by one member, so that any two majorities before and after share
someone; a new member learns first and counts when it has caught up; a change that would leave no
majority in contact is refused; who was removed never comes back under the same id.
Pure. `node.py` puts the configuration that `change` answers into the log.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property

from warren.store.raft import raft_pb2

REMOVED_REMEMBERED = 1000
"""Node ids kept as removed; an id is never given twice, so only a very old host could slip in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """One manager in the log's eyes."""

    node_id: str
    address: str
    """Mesh `address:port`."""
    voter: bool = False
    """False: a learner."""


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """All members at a place of the log. Without slots, so that its views are computed once."""

    members: tuple[Member, ...] = ()
    """By node id."""
    removed: tuple[str, ...] = ()
    """Oldest first."""

    @cached_property
    def voters(self) -> frozenset[str]:
        """Node ids that count."""
        return frozenset(member.node_id for member in self.members if member.voter)

    @cached_property
    def ids(self) -> frozenset[str]:
        """Node ids of all."""
        return frozenset(member.node_id for member in self.members)

    @cached_property
    def quorum(self) -> int:
        """How many voters decide."""
        return len(self.voters) // 2 + 1

    def member(self, node_id: str) -> Member | None:
        """The member of that id."""
        return next((m for m in self.members if m.node_id == node_id), None)

    def has_quorum(self, present: Collection[str]) -> bool:
        """`present` holds a majority of the voters."""
        return sum(voter in present for voter in self.voters) >= self.quorum


class Step(Enum):
    """The four changes."""

    ADD = "add"
    """Become a learner."""
    PROMOTE = "promote"
    """A learner counts from now on."""
    DEMOTE = "demote"
    """A voter becomes a learner."""
    REMOVE = "remove"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One wish. `address` matters for ADD alone."""

    step: Step
    node_id: str
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why a change is not made, in the user's words."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What the leader knows that bears on a change."""

    settled: bool
    """The leader's first entry and the last change of members are committed."""
    present: frozenset[str]
    """Members heard within the last election timeout, the leader included."""
    caught_up: frozenset[str]
    """Members whose log is within `CAUGHT_UP` entries of the leader's."""


CAUGHT_UP = 100
"""Entries behind the leader at which a learner may begin to count."""


def change(before: Configuration, wish: Change, now: Situation) -> Configuration | Refusal:
    """The members after `wish`; the same configuration when there is nothing to do."""
    member = before.member(wish.node_id)
    if _is_done(member, wish):
        return before
    if not now.settled:
        return Refusal(reason="a change of members is under way; one is made at a time")
    if wish.step is Step.ADD:
        if wish.node_id in before.removed:
            return Refusal(reason=f"{wish.node_id} was removed; its host must join as a new node")
        known = member or Member(node_id=wish.node_id, address=wish.address)
        return _with(before, replace(known, address=wish.address))
    if member is None:
        return Refusal(reason=f"{wish.node_id} is not a member")
    match wish.step:
        case Step.PROMOTE:
            if wish.node_id not in now.caught_up or wish.node_id not in now.present:
                return Refusal(reason=f"{wish.node_id} has not caught up with the log yet")
            after = _with(before, replace(member, voter=True))
        case Step.DEMOTE:
            after = _with(before, replace(member, voter=False))
        case Step.REMOVE:
            after = _without(before, wish.node_id)
    return _checked(after, now.present)


def to_message(configuration: Configuration) -> raft_pb2.Configuration:
    """For entries and snapshots."""
    return raft_pb2.Configuration(
        members=[
            raft_pb2.Member(node_id=m.node_id, address=m.address, voter=m.voter)
            for m in configuration.members
        ],
        removed=configuration.removed,
    )


def from_message(message: raft_pb2.Configuration) -> Configuration:
    """What `to_message` wrote."""
    return Configuration(
        members=tuple(
            Member(node_id=m.node_id, address=m.address, voter=m.voter) for m in message.members
        ),
        removed=tuple(message.removed),
    )


def to_bytes(configuration: Configuration) -> bytes:
    """The data of a MEMBERS entry."""
    return to_message(configuration).SerializeToString(deterministic=True)


def from_bytes(data: bytes) -> Configuration:
    """What `to_bytes` wrote."""
    return from_message(raft_pb2.Configuration.FromString(data))


def _is_done(member: Member | None, wish: Change) -> bool:
    match wish.step:
        case Step.ADD:
            return member is not None and (member.address == wish.address or not wish.address)
        case Step.PROMOTE:
            return member is not None and member.voter
        case Step.DEMOTE:
            return member is not None and not member.voter
        case Step.REMOVE:
            return member is None


def _with(before: Configuration, member: Member) -> Configuration:
    others = tuple(m for m in before.members if m.node_id != member.node_id)
    return replace(before, members=tuple(sorted((*others, member), key=lambda m: m.node_id)))


def _without(before: Configuration, node_id: str) -> Configuration:
    left = tuple(m for m in before.members if m.node_id != node_id)
    removed = (*before.removed, node_id)[-REMOVED_REMEMBERED:]
    return Configuration(members=left, removed=removed)


def _checked(after: Configuration, present: frozenset[str]) -> Configuration | Refusal:
    if not after.voters:
        return Refusal(reason="it is the last manager that counts")
    if after.has_quorum(present):
        return after
    here = sum(voter in present for voter in after.voters)
    return Refusal(
        reason=f"quorum would be lost: {here} of the {len(after.voters)} managers that would be "
        f"left are in contact, {after.quorum} are needed"
    )
