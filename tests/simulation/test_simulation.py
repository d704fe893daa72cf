"""Whole clusters on virtual time. What a failing seed prints is how to replay it."""

import time
from collections.abc import Callable

import pytest
from warren.testing.simulation import LawBrokenError, Simulation

SEEDS = 300


def test_the_laws_hold_for_every_seed(record_property: Callable[[str, object], None]) -> None:
    began = time.perf_counter()

    events = sum(Simulation(seed).run() for seed in range(SEEDS))

    rate = SEEDS / (time.perf_counter() - began)
    record_property("seeds_per_second", rate)
    print(f"\n{SEEDS} seeds, {events} events, {rate:.1f} seeds/s")


def test_a_seed_is_the_same_story_each_time() -> None:
    stories: list[list[str]] = [[], []]

    for story in stories:
        Simulation(7, log=story.append).run()

    assert stories[0] == stories[1]
    assert len(stories[0]) > 50


def test_a_broken_law_names_its_seed() -> None:
    simulation = Simulation(5)

    with pytest.raises(LawBrokenError) as caught:
        simulation.fail("nothing holds")

    assert str(caught.value) == (
        "seed 5 at 0.000 s: nothing holds\nreplay: python -m warren.testing.simulation --seed 5"
    )
