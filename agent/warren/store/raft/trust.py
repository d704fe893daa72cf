"""Whether a peer's disk is the one that this member knows: decided at each hello. Pure.

A member that lost part of what it acknowledged would, by voting, undo what clients were told. Its
peers can tell: each leader notes in its own journal what every member acknowledged (`Witness`), and
what was acknowledged in a term, and is committed, no member may lack again. The member is then told
to stop, which saves what it has for the operator to look at.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from warren.store.raft.messages import FORMAT, Hello, Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """Who is a member, to a log."""

    possible: frozenset[str]
    """By the committed configuration, or one after it: any of those may turn out to hold."""
    voters: frozenset[str]
    """By the newest configuration."""
    newest_index: int
    """Where that one is."""
    removed: Collection[str]
    """By committed entries: a removal that is not committed may yet be undone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """What a member acknowledged, to a leader of `term`, of entries committed since."""

    node_id: str
    disk_id: str
    term: int
    index: int


def meet(
    hello: Hello, cluster_id: str, term: int, known: Members, witnesses: Mapping[str, Witness]
) -> Refused | None:
    """Why the sender of `hello` is not to be talked to; None: it may."""
    reason, fatal = _objection(hello, cluster_id, known, witnesses)
    return Refused(term=term, reason=reason, fatal=fatal) if reason else None


def _objection(
    hello: Hello, cluster_id: str, known: Members, witnesses: Mapping[str, Witness]
) -> tuple[str, bool]:
    if hello.format != FORMAT:
        return f"it speaks format {hello.format} of the log's protocol, not {FORMAT}", False
    if hello.cluster_id != cluster_id:
        return f"it belongs to cluster {hello.cluster_id}, not {cluster_id}", True
    if hello.node_id in known.removed:
        return f"{hello.node_id} was removed from the cluster; its host must join anew", False
    if not _is_acceptable(hello, known):
        return f"{hello.node_id} is not a manager of the cluster", False
    return _lapse(hello, known, witnesses.get(hello.node_id))


def _is_acceptable(hello: Hello, known: Members) -> bool:
    """Members may speak, and who is one by an entry that this log does not have yet.

    A member that has no configuration yet is about to be given one, by whoever leads.
    """
    if not known.possible or hello.node_id in known.possible:
        return True
    return hello.configuration_index > known.newest_index


def _lapse(hello: Hello, known: Members, witness: Witness | None) -> tuple[str, bool]:
    counts = hello.node_id in known.voters
    if counts and hello.last_index == 0:
        return f"{hello.node_id} has lost its log: remove it and join its host anew", True
    if witness is None:
        return "", False
    if hello.disk_id != witness.disk_id:
        return f"{hello.node_id} has another disk than before: remove it and join anew", True
    if hello.term < witness.term or hello.last_index < witness.index:
        held = f"entry {hello.last_index} of term {hello.term}"
        owed = f"entry {witness.index} of term {witness.term}"
        return (
            f"the journal of {hello.node_id} is older than its peers remember: it ends with {held} "
            f"and acknowledged {owed}; remove it and join its host anew",
            True,
        )
    return "", False
