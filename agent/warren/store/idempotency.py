"""Makes a command that is proposed again have its first outcome again, on any engine.

A client that does not know what became of its command repeats it with the same key. The keys and
outcomes of the last commands are part of the replicated state: every manager remembers the same
ones, in the order of the log, and snapshots carry them. `Remembering` stands between an engine and
the state machine; engines wrap what they are started with.

It is also where a command set's version is checked: a manager that does not know a command stops,
as skipping it would make its state differ from the others'. Snapshots say the newest version of
what was applied, not of who wrote them: until a new command is in the log, managers of two versions
write the same snapshot, and each can restore the other's.
"""

import struct
from collections import OrderedDict
from collections.abc import Iterable, Iterator

from warren.store import store_pb2
from warren.store.log import StateMachine

REMEMBERED = 10_000
FORMAT = 1
_LENGTH = struct.Struct("<I")


class TooNew(Exception):
    """The log holds what only a newer version of Warren knows: upgrade this manager."""


def proposal(command: bytes, key: str = "", version: int = 1) -> bytes:
    """The bytes that go into the log."""
    message = store_pb2.Proposal(version=version, key=key, command=command)
    return message.SerializeToString()


class Remembering:
    """A state machine around another one."""

    def __init__(self, machine: StateMachine, version: int = 1) -> None:
        """`version`: the newest command set that `machine` knows."""
        self._machine = machine
        self._version = version
        self._applied_version = 1
        self._outcomes: OrderedDict[str, bytes] = OrderedDict()

    def apply(self, command: bytes) -> bytes:
        """Apply a proposal, or answer what became of the first one with its key."""
        message = store_pb2.Proposal.FromString(command)
        if message.version > self._version:
            raise self._too_new("the log holds a command", message.version)
        self._applied_version = max(self._applied_version, message.version)
        if not message.key:
            return self._machine.apply(message.command)
        outcome = self._outcomes.get(message.key)
        if outcome is None:
            outcome = self._outcomes[message.key] = self._machine.apply(message.command)
            if len(self._outcomes) > REMEMBERED:
                self._outcomes.popitem(last=False)
        return outcome

    def snapshot(self) -> Iterator[bytes]:
        """Keys and outcomes, then the pieces of the machine's own snapshot."""
        outcomes = list(self._outcomes.items())
        state = self._machine.snapshot()
        head = store_pb2.SnapshotHead(format=FORMAT, version=self._applied_version)
        return _pieces(head, outcomes, state)

    def restore(self, snapshot: bytes) -> None:
        """Become what `snapshot` wrote."""
        self._outcomes.clear()
        self._applied_version = 1
        if not snapshot:
            self._machine.restore(b"")
            return
        start = _LENGTH.size + _LENGTH.unpack_from(snapshot)[0]
        head = store_pb2.SnapshotHead.FromString(snapshot[_LENGTH.size : start])
        if head.format != FORMAT:
            raise TooNew(f"the snapshot has format {head.format}, and this manager knows {FORMAT}")
        if head.version > self._version:
            raise self._too_new("the snapshot holds the effect of commands", head.version)
        self._applied_version = max(1, head.version)
        self._outcomes.update((known.key, known.outcome) for known in head.outcomes)
        self._machine.restore(snapshot[start:])

    def _too_new(self, what: str, version: int) -> TooNew:
        return TooNew(
            f"{what} of version {version} and this manager knows {self._version}: upgrade it"
        )


def first_snapshot(state: Iterable[bytes], version: int) -> Iterator[bytes]:
    """For a log that begins with `state`, which commands of up to `version` made elsewhere."""
    return _pieces(store_pb2.SnapshotHead(format=FORMAT, version=version), [], state)


def _pieces(
    head: store_pb2.SnapshotHead, outcomes: list[tuple[str, bytes]], state: Iterable[bytes]
) -> Iterator[bytes]:
    for key, outcome in outcomes:
        head.outcomes.add(key=key, outcome=outcome)
    data = head.SerializeToString(deterministic=True)
    yield _LENGTH.pack(len(data)) + data
    yield from state
