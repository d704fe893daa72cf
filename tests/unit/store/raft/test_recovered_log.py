"""The log of a member that starts, from a journal and a snapshot that need not agree.

A host that loses power after a snapshot from its leader was renamed into place, and before the
journal knew of it, finds such a journal.
"""

from unittest.mock import create_autospec

from warren.store.raft.entries import Entry, Kind
from warren.store.raft.journal import Content, Journal
from warren.store.raft.members import Configuration, Member
from warren.store.raft.node import recovered_log
from warren.store.raft.snapshot_files import Meta

THREE = Configuration(members=(Member(node_id="n1", address="n1:1"),))


def entries(*terms: int) -> list[Entry]:
    return [Entry(index, term, Kind.COMMAND, b"") for index, term in enumerate(terms, 1)]


def test_entries_that_contradict_the_snapshot_are_dropped_with_all_that_follow() -> None:
    journal = create_autospec(Journal, instance=True)
    content = Content(term=2, entries=entries(1, 1, 1, 1, 1))

    log = recovered_log(journal, content, Meta(index=3, term=2, configuration=THREE))

    assert (log.base_index, log.base_term, log.last_index, log.last_term) == (3, 2, 3, 2)
    journal.restart.assert_called_once_with(3, 2)


def test_entries_that_go_on_from_the_snapshot_stay() -> None:
    journal = create_autospec(Journal, instance=True)
    content = Content(term=2, entries=entries(1, 1, 2, 2))

    log = recovered_log(journal, content, Meta(index=3, term=2, configuration=THREE))

    assert (log.last_index, log.last_term, log.term_at(4)) == (4, 2, 2)
    journal.restart.assert_not_called()
