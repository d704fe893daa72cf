"""Errors on the wire: `model.errors` to gRPC status and back, the same file on both ends.

The code is the nearest that gRPC has, the details are the sentence for the user, and the trailing
metadata carry what the code loses: `warren-error` names the class, `warren-path` the field of an
InvalidInput, `warren-leader` the API address of the leader where a follower sent the caller away.
The names of a request's own metadata are here, too.
"""

from collections.abc import Iterable
from urllib.parse import quote, unquote

import grpc

from warren.model import errors

ERROR_KEY = "warren-error"
PATH_KEY = "warren-path"
LEADER_KEY = "warren-leader"
SESSION_KEY = "warren-session"
"""At the beginning of a worker's session: it is taken, and not refused."""
CALL_KEY = "warren-call"
"""Of a request: names the call, the same for all its attempts, so that it takes effect once."""
ATTEMPT_KEY = "warren-attempt"
"""Of a request: counts the attempts of a call, from 1."""

Metadata = tuple[tuple[str, str], ...]

_CODES: tuple[tuple[type[errors.WarrenError], grpc.StatusCode], ...] = (
    (errors.InvalidInput, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.NotFound, grpc.StatusCode.NOT_FOUND),
    (errors.AlreadyExists, grpc.StatusCode.ALREADY_EXISTS),
    (errors.Conflict, grpc.StatusCode.ABORTED),
    (errors.FailedPrecondition, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.PermissionDenied, grpc.StatusCode.PERMISSION_DENIED),
    (errors.Unauthenticated, grpc.StatusCode.UNAUTHENTICATED),
    (errors.LeaderMoved, grpc.StatusCode.UNAVAILABLE),
    (errors.Unavailable, grpc.StatusCode.UNAVAILABLE),
    (errors.OutcomeUnknown, grpc.StatusCode.DEADLINE_EXCEEDED),
    (errors.DeadlineExceeded, grpc.StatusCode.DEADLINE_EXCEEDED),
    (errors.WaitFailed, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.RuntimeUnavailable, grpc.StatusCode.UNAVAILABLE),
    (errors.CredentialsRefused, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.ImageUnavailable, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.DriverError, grpc.StatusCode.INTERNAL),
)
"""First match wins, so a subclass stands above its base."""

_OURS = (errors.OutcomeUnknown, errors.LeaderMoved)
"""Said by managers only: gRPC by itself does not know as much."""

_KINDS = {kind.__name__: kind for kind, _ in _CODES}
_KIND_OF_CODE = {code: kind for kind, code in reversed(_CODES) if kind not in _OURS}
# A server that stops cancels the calls that are under way.
_KIND_OF_CODE[grpc.StatusCode.CANCELLED] = errors.Unavailable


def code_of(error: errors.WarrenError) -> grpc.StatusCode:
    """The gRPC code of an error that Warren raised."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), grpc.StatusCode.UNKNOWN)


def metadata_of(error: errors.WarrenError) -> Metadata:
    """Trailing metadata from which `error_from_status` makes the same error again."""
    metadata: Metadata = ((ERROR_KEY, type(error).__name__),)
    if isinstance(error, errors.InvalidInput) and error.path:
        metadata += ((PATH_KEY, quote(error.path)),)
    return metadata


def error_from_rpc(error: grpc.RpcError) -> errors.WarrenError:
    """The error that a failed call stands for, whether it was raised by a manager or by gRPC."""
    assert isinstance(error, grpc.Call | grpc.aio.AioRpcError)
    return error_from_status(error.code(), error.details(), error.trailing_metadata())


def error_from_status(
    code: grpc.StatusCode, details: str | None, metadata: Iterable[object] | None
) -> errors.WarrenError:
    """The inverse of `code_of` and `metadata_of`; without our metadata, by the code alone."""
    message = details or f"the call failed ({code.name.lower()})"
    values = _texts(metadata)
    kind = _KINDS.get(values.get(ERROR_KEY, "")) or _KIND_OF_CODE.get(code, errors.WarrenError)
    if kind is not errors.InvalidInput:
        return kind(message)
    path = unquote(values.get(PATH_KEY, ""))
    return errors.InvalidInput(message.removeprefix(f"{path}: ") if path else message, path=path)


def is_from_manager(error: grpc.RpcError) -> bool:
    """A manager answered with this error; otherwise gRPC made it up, and nobody answered."""
    assert isinstance(error, grpc.Call | grpc.aio.AioRpcError)
    return ERROR_KEY in _texts(error.trailing_metadata())


def error_named(name: str, message: str) -> errors.WarrenError:
    """The error that a `Rejected.reason` or `warren-error` names."""
    kind = _KINDS.get(name, errors.WarrenError)
    return kind(message)


def _texts(metadata: Iterable[object] | None) -> dict[str, str]:
    texts = {}
    for entry in metadata or ():
        match entry:
            case (str(key), str(value)):
                texts[key] = value
    return texts
