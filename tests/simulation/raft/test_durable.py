"""What a leader holds only in memory counts for nothing."""

import pytest
from warren.store.raft.journal import Journal

from tests.simulation.raft.levers import a_world, acknowledged, write


def test_a_member_alone_applies_nothing_unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    world = a_world(members=1)
    node = world.processes["n1"].node
    sync, ahead = Journal.sync, []

    def watched(journal: Journal) -> None:
        ahead.append(node.applied - node.durable)
        sync(journal)

    monkeypatch.setattr(Journal, "sync", watched)
    operations = write(world, "n1", "a", 3)
    world.run(1.0)

    assert acknowledged(world, operations) == 3
    assert max(ahead) == 0
