"""What a container runtime's refusals mean, in the user's words. Text in, errors of ours out.

Called by `containerd.py` alone. Runtimes answer most failures with code UNKNOWN and a chain of Go
errors, so the text is all there is; what is not recognised is shown from its innermost part.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from warren.model.errors import (
    CredentialsRefused,
    DeadlineExceeded,
    DriverError,
    ImageUnavailable,
    RuntimeUnavailable,
)
from warren.model.registries import registry_of

_REASONS: tuple[tuple[str, str], ...] = (
    (r"connect: connection refused", "is down: connection refused"),
    (r"no such host", "is not known: its name does not resolve"),
    (r"network is unreachable|no route to host", "is not reachable from this node"),
    (r"i/o timeout|deadline exceeded|TLS handshake timeout", "does not answer: timed out"),
    (r"server gave HTTP response to HTTPS client", "speaks plain HTTP, and HTTPS was expected"),
    (r"x509: certificate signed by unknown authority", "has a certificate of an unknown authority"),
    (r"x509: ", "has a certificate that is not valid for it"),
    (r"50\d (Internal|Bad|Service|Gateway)", "failed with a server error"),
    (r"429 Too Many Requests|toomanyrequests", "refuses more pulls for now: too many requests"),
)
_CREDENTIALS = re.compile(
    r"40[13] (Unauthorized|Forbidden)|no basic auth credentials|authorization failed|"
    r"authentication required|insufficient_scope|failed to fetch (anonymous|oauth) token"
)
_MISSING = re.compile(r": not found\b|manifest unknown|repository name not known")
_NAME_RESERVED = re.compile(r"failed to reserve (sandbox )?name|name .* is reserved")
_NOT_RUNNING = re.compile(r"is in CONTAINER_\w+ state|is not running")
_IMAGE_ABSENT = re.compile(
    r'failed to (?:resolve|get) image (?:from containerd )?"([^"]+)".*not found'
)
_INNERMOST = (
    "unable to start container process: ",
    "OCI runtime create failed: ",
    "failed to create containerd task: ",
    "failed to setup network for sandbox ",
    "OCI runtime exec failed: exec failed: ",
)


def image_unavailable(image: str, details: str, *, anonymous: bool) -> ImageUnavailable:
    """Why `image` could not be pulled, from the runtime's error text."""
    registry = registry_of(image)
    for pattern, reason in _REASONS:
        if re.search(pattern, details):
            return ImageUnavailable(f"image {image} cannot be pulled: registry {registry} {reason}")
    if _CREDENTIALS.search(details):
        kind = ImageUnavailable if anonymous else CredentialsRefused
        wants = "wants credentials" if anonymous else "refused the credentials"
        return kind(f"image {image} cannot be pulled: registry {registry} {wants}")
    if _MISSING.search(details):
        return ImageUnavailable(f"image {image} does not exist in its registry")
    if "invalid reference format" in details or "failed to parse" in details:
        return ImageUnavailable(f"{image} is not the name of an image")
    return ImageUnavailable(f"image {image} cannot be pulled: {_innermost(details)}")


@contextmanager
def translated(action: str) -> Iterator[None]:
    """Turn a failed call into an error of ours; `action` says what was wanted: `start web.1`."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise _translate(action, error) from error


def is_not_found(error: grpc.aio.AioRpcError) -> bool:
    """What the call was about does not exist: for a removal that is success."""
    details = error.details() or ""
    return error.code() is grpc.StatusCode.NOT_FOUND or details.endswith(": not found")


def is_name_reserved(error: grpc.aio.AioRpcError) -> bool:
    """An earlier try to make this sandbox is not over, or was never cleaned up."""
    return _NAME_RESERVED.search(error.details() or "") is not None


def is_not_running(error: grpc.aio.AioRpcError) -> bool:
    """No command can run in the container: it has ended, or was removed."""
    return is_not_found(error) or _NOT_RUNNING.search(error.details() or "") is not None


def is_still_starting(error: grpc.aio.AioRpcError) -> bool:
    """A start that its caller dropped is not given up yet."""
    return "is in starting state" in (error.details() or "")


def is_network_missing(error: grpc.aio.AioRpcError) -> bool:
    """The runtime has not yet seen the CNI configuration."""
    return "cni plugin not initialized" in (error.details() or "")


def _translate(action: str, error: grpc.aio.AioRpcError) -> DriverError | DeadlineExceeded:
    details = error.details() or ""
    absent = _IMAGE_ABSENT.search(details)
    if absent:
        return ImageUnavailable(f"image {absent[1]} is not on this node")
    match error.code():
        case grpc.StatusCode.UNAVAILABLE:
            return RuntimeUnavailable(f"cannot {action}: the container runtime does not answer")
        case grpc.StatusCode.DEADLINE_EXCEEDED if action.startswith("run "):
            return DeadlineExceeded(f"cannot {action}: it did not end in time")
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return RuntimeUnavailable(f"cannot {action}: the container runtime takes too long")
        case _:
            return DriverError(f"cannot {action}: {_innermost(details)}")


def _innermost(details: str) -> str:
    """The part of a chain of Go errors that a person can use, on one line."""
    text = " ".join(details.split()).removesuffix(": unknown")
    for marker in _INNERMOST:
        _, found, rest = text.rpartition(marker)
        if found:
            return rest
    return text or "the runtime gave no reason"
