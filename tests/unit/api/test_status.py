"""An error raised on a manager is the same error for the caller."""

import grpc
import pytest
from warren.api import status
from warren.model import errors

EVERY_KIND = [
    errors.InvalidInput("must be text", path="web.ports[0].name"),
    errors.InvalidInput("is nothing"),
    errors.InvalidInput("must not be empty", path="web.env.GRÜSSE"),
    errors.NotFound("there is no service web"),
    errors.AlreadyExists("a node named w1 is in the cluster"),
    errors.Conflict("service web was changed"),
    errors.FailedPrecondition("web is being removed"),
    errors.PermissionDenied("Exec is for operator"),
    errors.Unauthenticated("the join token has expired"),
    errors.Unavailable("no leader"),
    errors.LeaderMoved("the leader has changed: ask again"),
    errors.OutcomeUnknown("no majority answered"),
    errors.DeadlineExceeded("no answer"),
    errors.WaitFailed("web.1 failed"),
    errors.DriverError("nft failed"),
    errors.RuntimeUnavailable("containerd does not answer"),
    errors.ImageUnavailable("no such image"),
    errors.CredentialsRefused("registry refused the credentials"),
]


@pytest.mark.parametrize("error", EVERY_KIND, ids=lambda error: type(error).__name__)
def test_an_error_survives_the_wire(error: errors.WarrenError) -> None:
    code, metadata = status.code_of(error), status.metadata_of(error)

    received = status.error_from_status(code, str(error), metadata)

    assert type(received) is type(error)
    assert (str(received), vars(received)) == (str(error), vars(error))
    assert all(value.isascii() for _, value in metadata)


def test_every_kind_of_error_has_a_code() -> None:
    kinds = {
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.WarrenError)
    }

    assert kinds - {type(error) for error in EVERY_KIND} == {errors.WarrenError}


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, errors.Unavailable),
        (grpc.StatusCode.CANCELLED, errors.Unavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, errors.DeadlineExceeded),
        (grpc.StatusCode.FAILED_PRECONDITION, errors.FailedPrecondition),
        (grpc.StatusCode.INVALID_ARGUMENT, errors.InvalidInput),
        (grpc.StatusCode.UNIMPLEMENTED, errors.WarrenError),
    ],
)
def test_what_grpc_itself_says_becomes_the_nearest_error(
    code: grpc.StatusCode, kind: type[errors.WarrenError]
) -> None:
    error = status.error_from_status(code, "Socket closed", None)

    assert type(error) is kind
    assert str(error) == "Socket closed"


def test_an_error_without_words_says_what_happened() -> None:
    error = status.error_from_status(grpc.StatusCode.CANCELLED, "", ())

    assert str(error) == "the call failed (cancelled)"
