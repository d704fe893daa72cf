"""One member: carries out what the decisions ask for, in turns, on a disk, without a clock.

A turn is: what was received and asked for, then `turn`: time, commit, apply, what a leader has to
say, and one sync of the journal. Only after that does `turn` hand out the messages, so nothing that
this member says is ever ahead of its disk. The shell calls it with real time and connections, the
simulation with virtual ones; both run exactly this.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import assert_never

from warren.model.errors import FailedPrecondition
from warren.store.log import StateMachine
from warren.store.raft import elections, members, replication, snapshots, trust
from warren.store.raft.compaction import Background, Compaction, Limits
from warren.store.raft.disks import Disk
from warren.store.raft.entries import Entry, Kind, Log
from warren.store.raft.journal import Content, Identity, Journal, open_journal
from warren.store.raft.members import Change, Configuration, Member, Refusal, Situation
from warren.store.raft.messages import (
    Append,
    AppendAnswer,
    Heartbeat,
    Hello,
    Message,
    Refused,
    SnapshotAnswer,
    SnapshotChunk,
    TimeoutNow,
    VoteAnswer,
    VoteRequest,
)
from warren.store.raft.pending import Done, NotDone, Pending, Reply
from warren.store.raft.raft_state import (
    Add,
    Broken,
    Decision,
    Effect,
    Install,
    KeepChunk,
    Leader,
    Raft,
    RefusedByPeers,
    Send,
    SendSnapshot,
    Timing,
    Truncate,
)
from warren.store.raft.snapshot_files import Meta, SnapshotFiles
from warren.store.raft.trust import Witness

APPLY_PER_TURN = 512
"""Entries; a long backlog is applied in several turns, so that heartbeats go on."""
WITNESS_PERIOD = 1.0
EXPIRE_PERIOD = 0.05
SLEPT = 0.2
"""Seconds between two turns that only a stopped process lets pass."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a member is made of."""

    identity: Identity
    address: str
    disk: Disk
    machine: StateMachine
    background: Background
    chance: Callable[[], float]
    """A number in [0, 1)."""
    new_disk_id: str
    pace: Callable[[Iterator[bytes]], Iterator[bytes]] = iter
    """Slows the writing of a snapshot down, so that turns go on."""
    bootstrap: bool = False
    """Found a cluster of one, if the disk is empty."""
    timing: Timing = field(default_factory=Timing)
    limits: Limits = field(default_factory=Limits)
    commands_version: int = 1


class Node:
    """A member. Not thread-safe: one loop calls everything."""

    def __init__(self, setup: Setup, now: float) -> None:
        """Recover what the disk holds. FailedPrecondition, in one line, if it must not be used."""
        self._setup = setup
        self._files = SnapshotFiles(setup.disk, setup.identity.cluster_id)
        state = self._files.open()
        self._journal, content = open_journal(setup.disk, setup.identity, setup.new_disk_id)
        self.disk_id = content.disk_id
        self.log = recovered_log(self._journal, content, self._files.newest)
        setup.machine.restore(state)
        self.applied = self._files.newest.index
        self.raft = Raft(
            me=setup.identity.node_id,
            timing=setup.timing,
            term=content.term,
            vote=content.vote,
            commit=self.applied,
            deadline=now + setup.timing.election_min * (1 + setup.chance()),
        )
        self._pending = Pending()
        self._compaction = Compaction(setup.limits, setup.background, setup.chance())
        self._outbox: list[Send] = []
        self._met: set[str] = set()
        """Peers that said an acceptable hello; nobody else is listened to."""
        self._disk_ids: dict[str, str] = {}
        self._versions: dict[str, int] = {setup.identity.node_id: setup.commands_version}
        self.silent: frozenset[str] = frozenset()
        """Of a leader that no majority answered: who did not, and has not been heard since. Their
        connections look alive for longer."""
        self._handed_over: Reply | None = None
        self._last_turn = now
        self._witnessed_at = self._expired_at = now
        self.refused = ""
        """Why a peer will not talk to this member; "" when none refused."""
        self.elections_won = 0
        self.snapshots_written = 0
        if setup.bootstrap and self.log.last_index == 0:
            self._found(content)
        self._journal.sync()
        self.durable = self.log.last_index
        if self.log.configuration.voters == {self.raft.me}:
            self.raft = replace(self.raft, deadline=now)  # nobody else could lead

    @property
    def leads(self) -> bool:
        """It leads, and has applied everything that was committed before its term."""
        role = self.raft.role
        return isinstance(role, Leader) and self.applied >= role.opening

    @property
    def newest_snapshot(self) -> Meta:
        """The newest snapshot on the disk."""
        return self._files.newest

    @property
    def journal_bytes(self) -> int:
        """Of all journal files."""
        return self._journal.size_bytes

    def known_version(self) -> int:
        """The newest command set that all members know, as far as they have said hello."""
        return min(self._versions.get(node_id, 1) for node_id in self.log.configuration.ids)

    def hello(self) -> Hello:
        """How this member introduces itself."""
        return Hello(
            term=self.raft.term,
            cluster_id=self._setup.identity.cluster_id,
            node_id=self.raft.me,
            address=self._setup.address,
            disk_id=self.disk_id,
            last_index=self.log.last_index,
            last_term=self.log.last_term,
            configuration_index=self.log.configuration_index,
            commands_version=self._setup.commands_version,
        )

    def meet(self, hello: Hello) -> Refused | None:
        """Hear a peer's hello; answer why it is refused, or None."""
        witnesses = {**self._journal.witnesses, **self._witnesses()}
        cluster_id = self._setup.identity.cluster_id
        known = trust.Members(
            possible=frozenset[str]().union(
                *(c.ids for c in self.log.possible_configurations(self.raft.commit))
            ),
            voters=self.log.configuration.voters,
            newest_index=self.log.configuration_index,
            removed=self.log.configuration_at(self.raft.commit).removed,
        )
        refused = trust.meet(hello, cluster_id, self.raft.term, known, witnesses)
        self._met.discard(hello.node_id)
        if refused is None:
            self._met.add(hello.node_id)
            self._disk_ids[hello.node_id] = hello.disk_id
            self._versions[hello.node_id] = hello.commands_version
            self.refused = ""
        return refused

    def connect(self, peer: str) -> None:
        """There is a new connection with `peer`, which was met."""
        self.raft = replication.connect(self.raft, peer)

    def disconnect(self, peer: str, now: float) -> None:
        """The connection with `peer` ended."""
        self.raft = elections.lose_contact(self.raft, peer, now, self._setup.chance())

    def receive(self, sender: str, message: Message, now: float) -> None:
        """Take a message from a peer that was met. What is not lawful is ignored, not obeyed."""
        if isinstance(message, Refused):
            self._take_refusal(message)
            return
        if sender not in self._met or self._was_removed(sender):
            return
        if self.silent:
            is_led = isinstance(message, Append | Heartbeat)
            self.silent = frozenset() if is_led else self.silent - {sender}
        if isinstance(message, VoteRequest):
            self._decide(
                elections.receive_request(
                    self.raft, self.log, sender, message, now, self._setup.chance()
                )
            )
            return
        if isinstance(message, VoteAnswer) and message.pre and message.term <= self.raft.term:
            # Whether it would vote is not said in any term: it names the one it is for.
            self._receive(sender, message, now)
            return
        if message.term < self.raft.term:
            if isinstance(message, Append | Heartbeat | SnapshotChunk):
                self._outbox.append(elections.stale(self.raft, sender))
            return
        if message.term > self.raft.term:
            chance = self._setup.chance()
            down = elections.step_down(self.raft, message.term, now, chance)
            self._decide(Decision(raft=down))
        self._receive(sender, message, now)

    def propose(self, command: bytes, until: float, reply: Reply) -> None:
        """Put a command into the log, on the leader only."""
        role = self.raft.role
        if not isinstance(role, Leader):
            leader = self.raft.leader
            reply(NotDone(reason=f"the leader is {leader}" if leader else "no leader is known"))
        elif role.transfer is not None:
            reply(NotDone(reason="the lead is being handed over"))
        else:
            self._add(Kind.COMMAND, command, until, reply)

    def read(self, until: float, reply: Reply) -> None:
        """Answer once this member has proved, after now, that it leads, and has applied all."""
        if isinstance(self.raft.role, Leader):
            self._pending.add_read(until, reply)
        else:
            reply(NotDone(reason="this manager does not lead"))

    def change(self, wish: Change, now: float, until: float, reply: Reply) -> None:
        """Change the members, on the leader only."""
        if not isinstance(self.raft.role, Leader):
            reply(NotDone(reason="this manager does not lead"))
            return
        before = self.log.configuration
        after = members.change(before, wish, self._situation(now))
        if isinstance(after, Refusal):
            reply(NotDone(reason=after.reason))
        elif after is not before:
            self._add(Kind.MEMBERS, members.to_bytes(after), until, reply)
        elif self.log.configuration_index <= self.applied:
            reply(Done())
        else:
            place = self.log.configuration_index
            self._pending.add_proposal(place, self.log.entry(place).term, until, reply)

    def transfer(self, to: str | None, now: float, reply: Reply) -> None:
        """Hand the lead to `to`, or to whoever has most. Answered when it is gone, or stays."""
        role = self.raft.role
        if not isinstance(role, Leader):
            reply(Done())
            return
        here = (elections.present(self.raft, now) & self.raft.connected) - {self.raft.me}
        voters = sorted(here & self.log.configuration.voters)
        able = sorted(voters, key=lambda peer: role.progress[peer].match)
        if to not in able and not (to is None and able):
            reply(NotDone(reason="no other manager is ready to lead"))
        elif role.transfer is not None:
            reply(NotDone(reason="the lead is already being handed over"))
        else:
            self._handed_over = reply
            self.raft = elections.begin_transfer(self.raft, to or able[-1], now)

    def force_election(self, now: float) -> None:
        """Ask for votes at once, as if the leader had handed over. For tests of elections."""
        if self.raft.me in self.log.configuration.voters:
            chance = self._setup.chance()
            self._decide(elections.elect(self.raft, self.log, now, chance, transfer=True))

    def turn(self, now: float) -> tuple[Send, ...]:
        """Everything else. Answers what may now leave the node."""
        if now - self._last_turn > SLEPT:
            self.raft = elections.wake(self.raft, now, self._setup.chance())
        self._last_turn = now
        before = self.raft
        self._decide(elections.tick(self.raft, self.log, now, self._setup.chance()))
        if isinstance(before.role, Leader) and not isinstance(self.raft.role, Leader):
            self.silent = self.raft.connected - elections.present(before, now)
        self._commit()
        self._begin_round()
        self._decide(replication.outgoing(self.raft, self.log, self._files.newest.index, now))
        self._note_witnesses(now)
        self._journal.sync()
        self.durable = self.log.last_index
        outbox, self._outbox = tuple(self._outbox), []
        self._commit()
        self._compact()
        self._answer(now)
        return outbox

    def has_more(self) -> bool:
        """Another turn is due at once."""
        if self.raft.commit > self.applied or self._outbox:
            return True
        role = self.raft.role
        if not isinstance(role, Leader):
            return False
        if self._pending.has_waiting_reads and replication.is_open(self.raft):
            return True
        return any(
            p.told_commit < self.raft.commit
            and peer in self.raft.connected
            and not p.sending
            and not replication.is_hushed(self.raft, p, self._last_turn)
            for peer, p in role.progress.items()
        )

    def close(self) -> None:
        """Let go of the files and answer who waits. What waits for a sync is dropped."""
        self._pending.lead_lost()
        self._journal.close()
        self._files.drop_incoming()

    def _was_removed(self, peer: str) -> bool:
        """By a committed entry: one that is not committed may yet be undone.

        Who leads may be on its way out: it hands over when its own removal is committed.
        """
        if peer in self.log.configuration.ids or peer == self.raft.leader:
            return False
        return peer in self.log.configuration_at(self.raft.commit).removed

    def _receive(self, sender: str, message: Message, now: float) -> None:
        """A message of this term."""
        raft, log, chance = self.raft, self.log, self._setup.chance()
        match message:
            case Append():
                self._decide(replication.receive_append(raft, log, sender, message, now, chance))
            case AppendAnswer():
                self.raft = replication.receive_answer(raft, sender, message, now)
            case Heartbeat():
                self._decide(replication.receive_heartbeat(raft, sender, message, now, chance))
            case VoteAnswer():
                self._decide(elections.receive_answer(raft, log, sender, message, now, chance))
            case SnapshotChunk():
                self._decide(snapshots.receive_chunk(raft, sender, message, now, chance))
            case SnapshotAnswer():
                self.raft = snapshots.receive_answer(raft, sender, message, now)
            case TimeoutNow():
                self._decide(elections.receive_timeout_now(raft, log, sender, now, chance))
            case Hello() | Refused() | VoteRequest():
                pass
            case _:
                assert_never(message)

    def _decide(self, decision: Decision) -> None:
        """Become what was decided, and do what it takes, in that order on the disk."""
        before, self.raft = self.raft, decision.raft
        if (before.term, before.vote) != (self.raft.term, self.raft.vote):
            self._journal.save_state(self.raft.term, self.raft.vote)
        for effect in decision.effects:
            self._do(effect)
        if isinstance(before.role, Leader) and not isinstance(self.raft.role, Leader):
            self._pending.lead_lost()
        elif isinstance(self.raft.role, Leader) and not isinstance(before.role, Leader):
            self.elections_won += 1

    def _do(self, effect: Effect) -> None:
        match effect:
            case Send():
                self._outbox.append(effect)
            case Add(entries=entries):
                self.log.append(entries)
                self._journal.append(entries)
            case Truncate(first=first):
                self.log.truncate(first)
                self._journal.truncate(first, self.log.last_term)
                self.durable = min(self.durable, self.log.last_index)
            case SendSnapshot():
                self._send_chunk(effect)
            case KeepChunk():
                self._files.keep_chunk(effect.offset, effect.data, first=effect.first)
            case Install():
                self._install(effect)
            case _:
                assert_never(effect)

    def _add(self, kind: Kind, data: bytes, until: float, reply: Reply) -> None:
        entry = Entry(self.log.last_index + 1, self.raft.term, kind, data)
        self.log.append((entry,))
        self._journal.append((entry,))
        self._pending.add_proposal(entry.index, entry.term, until, reply)

    def _commit(self) -> None:
        self.raft = replication.advance(self.raft, self.log, self.durable)
        if self.raft.commit > self.log.last_index:
            raise Broken(f"entry {self.raft.commit} is committed and not in the log")
        last = min(self.raft.commit, self.applied + APPLY_PER_TURN)
        while self.applied < last:
            entry = self.log.entry(self.applied + 1)
            outcome = b""
            if entry.kind == Kind.COMMAND:
                outcome = self._setup.machine.apply(entry.data)
            self.applied = entry.index
            self._pending.applied(entry.index, entry.term, outcome)

    def _begin_round(self) -> None:
        if self._pending.has_waiting_reads and replication.is_open(self.raft):
            self.raft = replication.begin_round(self.raft)
            assert isinstance(self.raft.role, Leader)
            self._pending.begin_round(self.raft.role.round, self.raft.commit)

    def _answer(self, now: float) -> None:
        if isinstance(self.raft.role, Leader):
            self._pending.confirmed(replication.confirmed_round(self.raft, self.log), self.applied)
        if now - self._expired_at >= EXPIRE_PERIOD:
            self._expired_at = now
            self._pending.expire(now)
        reply, role = self._handed_over, self.raft.role
        if reply is None or (isinstance(role, Leader) and role.transfer is not None):
            return
        self._handed_over = None
        stays = isinstance(role, Leader)
        reply(NotDone(reason="the other manager did not take over") if stays else Done())

    def _situation(self, now: float) -> Situation:
        role = self.raft.role
        assert isinstance(role, Leader)
        enough = max(1, self.log.last_index - members.CAUGHT_UP)
        settled = self.log.configuration_index <= self.raft.commit
        return Situation(
            settled=settled and replication.is_open(self.raft),
            present=elections.present(self.raft, now),
            caught_up=frozenset(p for p, known in role.progress.items() if known.match >= enough),
        )

    def _witnesses(self) -> dict[str, Witness]:
        """What is known of the others while this member leads."""
        role = self.raft.role
        if not isinstance(role, Leader):
            return {}
        return {
            peer: Witness(
                node_id=peer,
                disk_id=self._disk_ids[peer],
                term=self.raft.term,
                index=min(known.match, self.raft.commit),
            )
            for peer, known in role.progress.items()
            if known.match and peer in self._disk_ids
        }

    def _note_witnesses(self, now: float) -> None:
        if now - self._witnessed_at < WITNESS_PERIOD or not self._journal.is_dirty:
            return
        self._witnessed_at = now
        for peer, witness in self._witnesses().items():
            if self._journal.witnesses.get(peer) != witness:
                self._journal.witness(witness)
        for gone in set(self._journal.witnesses) - self.log.configuration.ids:
            self._journal.forget_witness(gone)

    def _take_refusal(self, refused: Refused) -> None:
        if refused.fatal:
            raise RefusedByPeers(f"the other managers refuse this one: {refused.reason}")
        self.refused = refused.reason

    def _send_chunk(self, effect: SendSnapshot) -> None:
        newest = self._files.newest
        if effect.index != newest.index:
            self.raft = snapshots.forget_sending(self.raft, effect.to)
            return
        chunk = SnapshotChunk(
            term=self.raft.term,
            index=newest.index,
            last_term=newest.term,
            size=newest.size_bytes,
            offset=effect.offset,
            data=self._files.chunk(effect.offset, snapshots.CHUNK_BYTES),
            round=effect.round,
        )
        self._outbox.append(Send(to=effect.to, message=chunk))

    def _install(self, install: Install) -> None:
        # The term first: a disk with a snapshot of a term that it has not heard of is no state.
        self._journal.sync()
        found = self._files.finish_incoming(install.index, install.term)
        if found is None:
            again = snapshots.start_over(self.raft, install.sender, install.index, install.round)
            self._outbox.append(again)
            return
        meta, state = found
        assert meta.index > self.raft.commit
        known = (meta.index, meta.configuration)
        if snapshots.agrees(self.log, meta.index, meta.term):
            self.log.compact(self._compaction.base(self.log, meta), known)
        else:
            self.log.restart(meta.index, meta.term, meta.configuration)
            self._journal.restart(meta.index, meta.term)
            self.durable = min(self.durable, meta.index)
        self._setup.machine.restore(state)
        self.applied = meta.index
        self.raft = replace(self.raft, commit=meta.index)
        self._pending.skipped(meta.index)
        done = snapshots.have_all(self.raft, install.sender, meta.index, install.round)
        self._outbox.append(done)

    def _compact(self) -> None:
        if self._compaction.finish(self._files):
            self.snapshots_written += 1
            newest = self._files.newest
            if newest.index > self.log.last_index:
                raise Broken(f"snapshot {newest.index} is ahead of the log")
            base = self._compaction.base(self.log, newest)
            self.log.compact(base, (newest.index, newest.configuration))
            self._journal.compact(base)
        if self._compaction.is_due(self.log, self._files.newest, self.applied):
            self._journal.roll()
            state = self._setup.pace(self._setup.machine.snapshot())
            self._compaction.begin(self._files, self.log, self.applied, state)

    def _found(self, content: Content) -> None:
        """The first entry of a new cluster."""
        me = Member(node_id=self.raft.me, address=self._setup.address, voter=True)
        data = members.to_bytes(Configuration(members=(me,)))
        self._decide(Decision(raft=replace(self.raft, term=max(1, content.term))))
        entry = Entry(1, self.raft.term, Kind.MEMBERS, data)
        self._do(Add(entries=(entry,)))


def recovered_log(journal: Journal, content: Content, newest: Meta) -> Log:
    """The log as journal and snapshot agree on it; what contradicts the snapshot is dropped."""
    if content.base_index > newest.index:
        raise FailedPrecondition(
            f"the journal begins after entry {content.base_index}, and the newest snapshot ends "
            f"with {newest.index}: a snapshot is missing; remove the node and join its host anew"
        )
    log = Log()
    log.restart(content.base_index, content.base_term, Configuration())
    log.append(content.entries)
    if not log.is_sound() or content.term < log.last_term:
        raise FailedPrecondition("the journal contradicts itself; remove the node and join anew")
    if snapshots.agrees(log, newest.index, newest.term):
        log.compact(log.base_index, (newest.index, newest.configuration))
    else:
        log.restart(newest.index, newest.term, newest.configuration)
        journal.restart(newest.index, newest.term)
    return log
