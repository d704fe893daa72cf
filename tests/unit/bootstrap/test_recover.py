"""What is done to the files of a manager whose cluster lost its majority."""

from dataclasses import replace
from pathlib import Path

import pytest
from warren.bootstrap import node_files, recover
from warren.bootstrap.node_files import Membership
from warren.config import Config
from warren.model.errors import FailedPrecondition, Unavailable
from warren.model.nodes import NodeRole
from warren.store.raft import members
from warren.store.raft.disks import RealDisk
from warren.store.raft.entries import Entry, Kind
from warren.store.raft.journal import Identity, open_journal
from warren.store.raft.members import Configuration, Member
from warren.testing.builders import NOON

ME = Membership(
    cluster_id="c1",
    cluster="demo",
    node_id="n1",
    name="m1",
    roles=(NodeRole.MANAGER,),
    mesh_address="10.86.0.1",
    api_port=7443,
    join_port=7444,
    raft_port=7445,
    mesh_port=51820,
    managers=(),
)
KEPT = "raft.before-20260601T120000.000000Z"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Of a manager of three, with two entries after the one that names them."""
    config = Config(state_dir=tmp_path)
    node_files.write_membership(config, ME)
    disk = RealDisk(node_files.raft_path(config))
    journal, _ = open_journal(disk, Identity(cluster_id="c1", node_id="n1"), "disk")
    three = [Member(node_id=f"n{n}", address=f"10.86.0.{n}:7445", voter=True) for n in (1, 2, 3)]
    names = members.to_bytes(Configuration(members=tuple(three)))
    journal.save_state(1, None)
    journal.append([Entry(1, 1, Kind.MEMBERS, names)])
    journal.append([Entry(n, 1, Kind.COMMAND, b"command") for n in (2, 3)])
    journal.sync()
    journal.close()
    disk.close()
    return config


def test_a_log_is_found_and_left_alone(config: Config) -> None:
    before = (config.state_dir / "raft/journal-00000001").read_bytes()

    found = recover.inspect(config)

    assert found.log is not None
    assert (found.log.last_index, found.log.last_term, found.is_alone) == (3, 1, False)
    assert found.written_at is not None
    assert (config.state_dir / "raft/journal-00000001").read_bytes() == before


def test_a_manager_that_lost_its_log_and_ran_again_has_none(config: Config) -> None:
    assert recover.set_aside(config, NOON)
    disk = RealDisk(node_files.raft_path(config))
    journal, _ = open_journal(disk, Identity(cluster_id="c1", node_id="n1"), "new disk")
    journal.close()
    disk.close()

    found = recover.inspect(config)

    assert (found.log, found.trouble) == (None, "")
    assert recover.report(found)["has_log"] is False


def test_a_damaged_log_is_a_finding(config: Config) -> None:
    path = config.state_dir / "raft/journal-00000001"
    path.write_bytes(b"damaged" + path.read_bytes())

    found = recover.inspect(config)

    assert found.log is None
    assert found.trouble.startswith("the head of journal-00000001 is damaged")


def test_a_running_manager_is_not_looked_at(config: Config) -> None:
    running = RealDisk(node_files.raft_path(config))

    with pytest.raises(Unavailable, match="another process already keeps its log"):
        recover.inspect(config)

    running.close()


def test_a_worker_has_no_log(config: Config) -> None:
    node_files.write_membership(config, replace(ME, roles=(NodeRole.WORKER,)))

    with pytest.raises(FailedPrecondition, match="m1 is a worker: it has no log"):
        recover.inspect(config)


def test_a_manager_stands_alone_once_and_keeps_what_it_had(config: Config) -> None:
    first = recover.stand_alone(config, ["n3"], NOON)
    second = recover.stand_alone(config, ["n3"], NOON)

    found = recover.inspect(config)
    assert (first, second) == (True, False)
    assert found.log is not None
    assert (found.log.last_index, found.is_alone, found.kept) == (4, True, (KEPT,))
    assert found.log.configuration.removed == ("n3",)
    assert sorted(path.name for path in config.state_dir.iterdir()) == ["node.json", "raft", KEPT]


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_standing_alone_is_finished_after_a_crash(
    config: Config, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    done: list[Path] = []
    rename = recover._rename

    def crash(old: Path, new: Path) -> None:
        if len(done) == renames:
            raise KeyboardInterrupt
        done.append(new)
        rename(old, new)

    monkeypatch.setattr(recover, "_rename", crash)
    with pytest.raises(KeyboardInterrupt):
        recover.stand_alone(config, ["n3"], NOON)
    monkeypatch.setattr(recover, "_rename", rename)

    assert recover.stand_alone(config, ["n3"], NOON)

    assert recover.inspect(config).is_alone
    assert sorted(path.name for path in config.state_dir.iterdir()) == ["node.json", "raft", KEPT]


def test_a_log_that_cannot_be_used_is_not_gone_on_from(config: Config) -> None:
    path = config.state_dir / "raft/journal-00000001"
    path.write_bytes(b"damaged" + path.read_bytes())

    with pytest.raises(FailedPrecondition, match="the head of journal-00000001 is damaged"):
        recover.stand_alone(config, [], NOON)

    assert not (config.state_dir / KEPT).exists()


def test_a_log_is_set_aside_once(config: Config) -> None:
    assert recover.set_aside(config, NOON)
    assert not recover.set_aside(config, NOON)

    assert recover.inspect(config).log is None
    assert recover.inspect(config).kept == (KEPT,)
