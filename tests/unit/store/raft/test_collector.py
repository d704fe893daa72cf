"""What the collector of cyclic garbage walks."""

import gc
from collections.abc import Iterator

import pytest
from warren.store.raft import collector


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """The collector is the whole process's."""
    yield
    collector.work_as_usual()


def test_what_is_made_within_is_not_walked_later() -> None:
    with collector.set_aside():
        made = [[number] for number in range(1000)]

    assert gc.get_freeze_count() >= len(made)
    assert gc.isenabled()


def test_what_survives_a_long_collection_is_set_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "LONG", 0.0)
    collector.keep_short()
    before = gc.get_freeze_count()
    survivors = [[number] for number in range(1000)]

    gc.collect()

    assert gc.get_freeze_count() - before >= len(survivors)


def test_after_a_short_one_everything_is_walked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector, "LONG", 60.0)
    collector.keep_short()
    before = gc.get_freeze_count()

    gc.collect()

    assert gc.get_freeze_count() == before


def test_all_is_as_it_was_once_the_state_is_gone() -> None:
    before = gc.get_threshold(), list(gc.callbacks)
    collector.keep_short()
    with collector.set_aside():
        pass

    collector.work_as_usual()

    assert (gc.get_threshold(), list(gc.callbacks)) == before
    assert gc.get_freeze_count() < 1000
