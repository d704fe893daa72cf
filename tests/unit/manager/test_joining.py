"""How often a manager asks to be a member of the log."""

from datetime import timedelta

from warren.manager.joining import PAUSE, PAUSE_MAX, next_pause
from warren.model.errors import PermissionDenied, Unavailable

REMOVED = PermissionDenied("it was removed")
AWAY = Unavailable("no leader")


def test_a_manager_asks_again_soon_while_the_others_are_away() -> None:
    assert next_pause(PAUSE, [AWAY, AWAY]) == PAUSE


def test_a_manager_that_was_removed_asks_ever_less() -> None:
    pauses = [PAUSE]
    for _ in range(8):
        pauses.append(next_pause(pauses[-1], [AWAY, REMOVED]))

    assert pauses[:4] == [timedelta(seconds=seconds) for seconds in (0.5, 1, 2, 4)]
    assert pauses[-1] == PAUSE_MAX


def test_one_that_is_put_off_after_all_asks_soon_again() -> None:
    assert next_pause(PAUSE_MAX, [AWAY]) == PAUSE
