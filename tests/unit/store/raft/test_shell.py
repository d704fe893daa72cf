"""The shell: pysyncobj supplies a queue, a poller and names, and its own Raft can never run."""

import re
from pathlib import Path

import pysyncobj
import pytest
import warren
from warren.store.raft import shell
from warren.store.raft.compaction import Limits
from warren.store.raft.journal import Identity
from warren.store.raft.node import Node, Setup
from warren.store.raft.pending import Answer, NotDone
from warren.store.raft.shell import Shell
from warren.testing.raft_simulation_disk import SimulatedDisk
from warren.testing.raft_simulation_world import History, Job


def test_one_module_alone_imports_pysyncobj() -> None:
    package = Path(warren.__file__).parent
    importing = [
        str(file.relative_to(package))
        for file in sorted(package.rglob("*.py"))
        if re.search(r"^\s*(import|from) pysyncobj", file.read_text(), re.MULTILINE)
    ]

    assert importing == ["store/raft/shell.py"]


def test_nothing_is_ever_unpickled() -> None:
    package = Path(warren.__file__).parent / "store"

    assert not [f for f in package.rglob("*.py") if re.search(r"import pickle", f.read_text())]


@pytest.mark.parametrize("name", shell._FORBIDDEN)
def test_the_librarys_own_raft_does_not_run(name: str) -> None:
    with pytest.raises(AssertionError, match=f"pysyncobj's own {name} must not run"):
        getattr(a_shell(), name)()


def test_every_method_of_the_library_that_sends_or_decides_is_replaced() -> None:
    """A new version may bring another one: this list is to be read again then."""
    ours = {*shell._REPLACED, *shell._FORBIDDEN}
    private = {n for n in vars(pysyncobj.SyncObj) if n.startswith("_SyncObj__")}

    assert private - ours == {
        "_SyncObj__callErrCallback",
        "_SyncObj__connectedToAnyone",
        "_SyncObj__deleteEntriesFrom",
        "_SyncObj__deleteEntriesTo",
        "_SyncObj__generateRaftTimeout",
        "_SyncObj__getCurrentLogIndex",
        "_SyncObj__getCurrentLogTerm",
        "_SyncObj__getEntries",
        "_SyncObj__getPrevLogIndexTerm",
        "_SyncObj__onLeaderChanged",
        "_SyncObj__onSetCodeVersion",
        "_SyncObj__setCodeVersion",
    }


def test_a_full_queue_refuses_instead_of_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "QUEUE_LENGTH", 2)
    answers: list[Answer] = []
    made = a_shell()

    for _ in range(3):
        made.submit(lambda now: None, answers.append)

    assert answers == [NotDone(reason="too many requests wait for this manager")]


def a_shell() -> Shell:
    setup = Setup(
        identity=Identity(cluster_id="c1", node_id="n1"),
        address="n1:1",
        disk=SimulatedDisk(),
        machine=History(lambda count, digest: None),
        background=lambda work: Job(),
        chance=lambda: 0.5,
        new_disk_id="d1",
        limits=Limits(),
    )
    return Shell(Node(setup, 0.0), lambda: 0.0)
