"""What one member knows and is, as one immutable value; and what its decisions may ask for.

A decision is `(raft, log, …, now) -> Decision`: the next state and the effects, in order. `node.py`
carries the effects out, and writes term and vote to the journal whenever they differ from before;
nothing leaves the member before all of that is on the disk. `now` is a monotonic clock in seconds;
`chance` is a number in [0, 1) from the member's own generator.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from warren.store.raft.entries import Entry
from warren.store.raft.messages import Message

NEVER = float("-inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds. For a LAN and disks that sync in well under 100 ms; double the last three if not."""

    heartbeat: float = 0.05
    """A leader speaks to each member at least this often."""
    election_min: float = 0.31
    """A leader silent for less than this is believed in."""
    election_max: float = 0.62
    """Each member draws its own patience between the two, so that one comes first."""
    quorum_check: float = 0.35
    """A leader that no majority answered for this long steps down."""
    hush: float = 0.08
    """A leader says no more to a member that has not answered for this long, until it does, or
    `quorum_check` is over: if it hears nobody any more, it must not keep the others patient."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A snapshot that a follower is receiving. Another leader's file may differ in its bytes."""

    leader: str
    term: int
    index: int
    size: int
    offset: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Follower:
    """Believes in a leader, or knows none."""

    leader: str | None = None
    heard_at: float = NEVER
    incoming: Incoming | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """Asks for votes; `pre`: asks whether it would get them, in its old term."""

    pre: bool
    granted: frozenset[str]
    """Voters, this member included. A set: no answer counts twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """A snapshot on its way to a follower."""

    index: int
    offset: int = 0
    sent_at: float = NEVER
    """Of the piece that is not answered yet; NEVER: the next may go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What the leader knows of one other member."""

    next: int
    """First entry to send. Moves back only on a refusal or a new connection."""
    match: int = 0
    """The follower's log is this leader's up to here, durably."""
    probing: bool = True
    """Until a first answer, one message at a time."""
    waiting: bool = False
    """That one message is out."""
    answered_at: float = NEVER
    asked_at: float | None = None
    """When it was told the first thing that it has not answered."""
    echoed: int = 0
    """Newest round that it answered."""
    told_commit: int = 0
    sending: Sending | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """A hand-over of the lead, under way."""

    to: str
    until: float
    asked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Leader:
    """Leads its term."""

    opening: int
    """Its first entry: until that is committed, it cannot know what else is."""
    progress: Mapping[str, Progress] = field(default_factory=dict)
    round: int = 0
    told_round: int = 0
    told_at: float = NEVER
    transfer: Transfer | None = None


Role = Follower | Candidate | Leader


@dataclass(frozen=True, slots=True, kw_only=True)
class Raft:
    """A member. `term` and `vote` are as on its disk, but within a turn of `node.py`."""

    me: str
    timing: Timing
    term: int = 0
    vote: str | None = None
    commit: int = 0
    role: Role = Follower()
    deadline: float = 0.0
    """When a follower or candidate starts an election."""
    connected: frozenset[str] = frozenset()
    """Members with a connection to this one."""

    @property
    def leader(self) -> str | None:
        """Who leads, as far as known."""
        match self.role:
            case Leader():
                return self.me
            case Follower(leader=leader):
                return leader
            case _:
                return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Give a message to the connection with `to`, if there is one."""

    to: str
    message: Message


@dataclass(frozen=True, slots=True, kw_only=True)
class Add:
    """Append entries to the log."""

    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Truncate:
    """Forget the entries from `first` on: another leader's take their place."""

    first: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SendSnapshot:
    """Send the piece of the newest snapshot at `offset`."""

    to: str
    index: int
    offset: int
    round: int


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepChunk:
    """Write a piece of a snapshot that is being received; `first`: begin the file anew."""

    offset: int
    data: bytes
    first: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Install:
    """The snapshot is complete: check it, make it durable, become it, answer its sender."""

    sender: str
    index: int
    term: int
    round: int


Effect = Send | Add | Truncate | SendSnapshot | KeepChunk | Install


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """The next state, and what must be done to the world on the way there."""

    raft: Raft
    effects: tuple[Effect, ...] = ()


class Broken(Exception):
    """A law of Raft does not hold here: going on could destroy data. The daemon must end."""


class RefusedByPeers(Broken):
    """The others will not have this member, for what is on its disk."""
