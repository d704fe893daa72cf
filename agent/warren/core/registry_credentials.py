"""Secrets that images are pulled with: what Applies of services, and of such secrets, must hold to.

Called by the API on the leader, which opens the value for that. Errors name the field and the
secret, and never what is in it.
"""

from warren.model import registries
from warren.model.errors import FailedPrecondition, InvalidInput
from warren.model.services import ServiceSpec
from warren.state.cluster import ClusterState


def check(spec: ServiceSpec, state: ClusterState) -> None:
    """InvalidInput if a password comes in the open, FailedPrecondition if there is no such secret.

    What earlier versions have stored in the open stays until the service names a secret.
    """
    before = state.services.get(spec.name)
    stored = before.spec.registry_auth if before is not None else None
    if spec.registry_auth is not None and (spec.registry_auth != stored or spec.registry_secret):
        message = (
            "would be stored in the open, and is not taken any more: make a secret of username "
            "and password, and name it in registry_secret"
        )
        raise InvalidInput(message, path=f"{spec.name}.registry_auth")
    if spec.registry_secret and spec.registry_secret not in state.secrets:
        path = f"{spec.name}.registry_secret"
        raise FailedPrecondition(f"{path}: there is no secret {spec.registry_secret}")


def speaks_of_pulls(before: ServiceSpec | None, after: ServiceSpec) -> bool:
    """The change is about what is pulled with what, so the secret must hold credentials for it."""
    if not after.registry_secret:
        return False
    pulls = (after.image, after.registry_secret)
    return before is None or pulls != (before.image, before.registry_secret)


def check_service(spec: ServiceSpec, value: bytes) -> None:
    """InvalidInput if the image cannot be pulled with this value of its secret."""
    answer = registries.credentials(value, spec.image)
    if isinstance(answer, str):
        message = f"secret {spec.registry_secret} {answer}"
        raise InvalidInput(message, path=f"{spec.name}.registry_secret")


def check_secret(state: ClusterState, name: str, value: bytes) -> None:
    """InvalidInput if a service pulls with the secret, and could not with this value."""
    for service in state.services.values():
        if service.spec.registry_secret != name or service.removing:
            continue
        answer = registries.credentials(value, service.spec.image)
        if isinstance(answer, str):
            message = f"{answer} (service {service.spec.name} pulls with it)"
            raise InvalidInput(message, path=f"{name}.value")
