"""How often a call is attempted, and what its end means."""

from typing import Any

import grpc
import pytest
from warren.api import status
from warren.client.attempts import Attempts
from warren.model.errors import DeadlineExceeded, OutcomeUnknown, Unavailable, WarrenError


class Failed(grpc.RpcError, grpc.Call):
    """As much of a failed call as is asked."""

    def __init__(self, code: grpc.StatusCode, details: str, error: str = "") -> None:
        self._code, self._details = code, details
        self._metadata = ((status.ERROR_KEY, error),) if error else ()

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> Any:
        return self._metadata

    def initial_metadata(self) -> Any:
        return ()

    def is_active(self) -> bool:
        return False

    def time_remaining(self) -> float:
        return 0.0

    def cancel(self) -> None:
        return None

    def add_callback(self, callback: object) -> bool:
        return False


NOT_SENT = Failed(grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses")
BROKEN = Failed(grpc.StatusCode.UNAVAILABLE, "Socket closed")
SILENT = Failed(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
NO_LEADER = Failed(grpc.StatusCode.UNAVAILABLE, "no leader is known", "Unavailable")
UNKNOWN = Failed(grpc.StatusCode.DEADLINE_EXCEEDED, "the leader changed", "OutcomeUnknown")
CONFLICT = Failed(grpc.StatusCode.ABORTED, "web was changed", "Conflict")


def a_call(method: str = "ApplyNode", *, repeatable: bool = True) -> Attempts:
    return Attempts(method, 10.0, repeatable=repeatable)


def goes_on(error: Failed, *, repeatable: bool = True) -> bool:
    attempts = a_call(repeatable=repeatable)
    return attempts.goes_on(error, attempts.note(error), 0.2)


def end_after(method: str, *errors: Failed, repeatable: bool = True) -> WarrenError:
    attempts = a_call(method, repeatable=repeatable)
    failures = [attempts.note(error) for error in errors]
    return attempts.told(failures[-1])


@pytest.mark.parametrize("error", [NOT_SENT, BROKEN, SILENT, NO_LEADER, UNKNOWN])
def test_whatever_may_end_otherwise_is_attempted_again(error: Failed) -> None:
    assert goes_on(error)


def test_a_refusal_is_an_answer() -> None:
    assert not goes_on(CONFLICT)


def test_what_must_not_be_done_twice_goes_on_only_if_it_was_never_sent() -> None:
    assert goes_on(NOT_SENT, repeatable=False)
    assert not goes_on(BROKEN, repeatable=False)
    assert not goes_on(NO_LEADER, repeatable=False)


def test_attempts_of_a_call_have_one_name_and_are_counted() -> None:
    attempts = a_call()

    first, second = dict(attempts.next_metadata()), dict(attempts.next_metadata())

    assert first[status.CALL_KEY] == second[status.CALL_KEY]
    assert (first[status.ATTEMPT_KEY], second[status.ATTEMPT_KEY]) == ("1", "2")
    assert dict(a_call().next_metadata())[status.CALL_KEY] != first[status.CALL_KEY]


def test_a_manager_that_hangs_does_not_use_up_the_call() -> None:
    attempts = a_call()

    first = attempts.patience()
    attempts.note(SILENT)

    assert (first, attempts.patience()) == (1.0, 2.0)


@pytest.mark.parametrize(
    ("method", "errors", "kind"),
    [
        ("ApplyNode", (NOT_SENT,), Unavailable),
        ("ApplyNode", (NO_LEADER,), Unavailable),
        ("ApplyNode", (BROKEN, NO_LEADER), OutcomeUnknown),
        ("ApplyNode", (SILENT,), OutcomeUnknown),
        ("ApplyNode", (UNKNOWN,), OutcomeUnknown),
        ("GetNode", (SILENT,), DeadlineExceeded),
        ("GetNode", (BROKEN, NO_LEADER), Unavailable),
    ],
)
def test_a_change_that_may_have_been_made_is_called_unknown(
    method: str, errors: tuple[Failed, ...], kind: type[WarrenError]
) -> None:
    assert type(end_after(method, *errors)) is kind


def test_the_sentence_says_what_is_unknown() -> None:
    assert str(end_after("ApplyNode", BROKEN, NO_LEADER)) == (
        "no leader is known: whether the change was made is unknown"
    )
    assert str(end_after("Exec", BROKEN, repeatable=False)) == (
        "Socket closed: whether it was done is unknown"
    )
