"""Every error that Warren raises on purpose.

    WarrenError
     ├─ InvalidInput            a value the user gave is wrong: names the field by its path
     ├─ NotFound                the object does not exist
     ├─ AlreadyExists           an object of that name exists
     ├─ Conflict                expected_version is not the stored version
     ├─ FailedPrecondition      right request, wrong moment ("web is being removed")
     ├─ PermissionDenied        the caller's role may not do this
     ├─ Unauthenticated         the caller's certificate or token is not accepted
     ├─ Unavailable             no manager answered, or no leader is known    (transient)
     │   └─ LeaderMoved         … and another manager leads now, or soon      (transient)
     ├─ DeadlineExceeded        the answer did not come in time
     │   └─ OutcomeUnknown      … of a change, which may have been made or may be made yet
     ├─ WaitFailed              the object will not become what was waited for; carries the object
     └─ DriverError             a technology under a driver failed
         ├─ RuntimeUnavailable  the container runtime does not answer         (transient)
         └─ ImageUnavailable    an image cannot be had: not found, refused, or registry down
             └─ CredentialsRefused  … as its registry does not take what it was given

`transient` says whether the same call may succeed later; it is decided where the error is raised.
"""

from typing import ClassVar


class WarrenError(Exception):
    """Base of all errors that Warren raises on purpose. `str(error)` is one line for the user."""

    transient: ClassVar[bool] = False

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidInput(WarrenError):
    """A value is wrong. `path` is where, in the user's words: `web.ports[0].target`."""

    def __init__(self, message: str, *, path: str = "") -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path


class NotFound(WarrenError):
    """The object does not exist."""


class AlreadyExists(WarrenError):
    """An object of that name exists."""


class Conflict(WarrenError):
    """The object changed since the caller read it: read again, decide again."""


class FailedPrecondition(WarrenError):
    """Well formed, but cannot be done now; the message says what stands against it."""


class PermissionDenied(WarrenError):
    """The caller is known, but its role may not do this."""


class Unauthenticated(WarrenError):
    """The caller's certificate or token is not accepted."""


class Unavailable(WarrenError):
    """No manager answered, or no leader is known."""

    transient: ClassVar[bool] = True


class LeaderMoved(Unavailable):
    """The manager that was asked does not lead any more; what was asked was not done."""


class DeadlineExceeded(WarrenError):
    """No answer in time."""


class OutcomeUnknown(DeadlineExceeded):
    """A change may have been made, or may be made yet. With the same key it may be repeated."""


class WaitFailed(WarrenError):
    """What was waited for did not, or can never, come true. The message gives the reason."""


class DriverError(WarrenError):
    """A technology under a driver failed."""


class RuntimeUnavailable(DriverError):
    """The container runtime does not answer."""

    transient: ClassVar[bool] = True


class ImageUnavailable(DriverError):
    """An image cannot be had. The message says which, from where, and why."""


class CredentialsRefused(ImageUnavailable):
    """Its registry did not take the credentials that were sent along."""
