"""Who is calling, and what they may do.

A caller is known by the certificate of its connection, by the unix socket (which is root's alone),
or by the manager that forwarded its call and vouches for it. Roles are in the certificate.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, unquote

import grpc

from warren.api import status
from warren.bootstrap import certificates
from warren.model.errors import PermissionDenied, Unauthenticated, Unavailable
from warren.model.nodes import NodeRole
from warren.state.cluster import ClusterState

OPERATOR = certificates.OPERATOR
MANAGER = NodeRole.MANAGER.value
WORKER = NodeRole.WORKER.value

FORWARDED_KEY = "warren-forwarded-for"
_MARK_BYTES = 4
_CALL = re.compile(r"[A-Za-z0-9_-]{1,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The other end of a call."""

    name: str = ""
    """Node id or operator's name; empty for one without a certificate, who may only join."""
    roles: frozenset[str] = frozenset()
    forwarded: bool = False
    """A manager passed the call on: it must be answered here or not at all."""
    via: str = ""
    """Node id of that manager."""
    call: str = ""
    """Names the call, the same for all its attempts; empty: it is never attempted again."""
    attempt: int = 1

    def key(self, number: int = 1) -> str:
        """Of the call's change, or of its change tried anew from a newer state, for the log."""
        if not self.call:
            return ""
        return f"{self.name}/{self.call}" if number == 1 else f"{self.name}/{self.call}/{number}"

    @property
    def mark(self) -> str:
        """For the name of what the call makes: the same in all its attempts. Empty: it has one
        attempt only, and any name will do."""
        if not self.call:
            return ""
        return hashlib.blake2b(self.call.encode(), digest_size=_MARK_BYTES).hexdigest()


ROOT = Caller(name="root", roles=frozenset({OPERATOR}))
"""Who can open the unix socket."""

ANYONE: frozenset[str] = frozenset()
"""As required roles: also callers without a certificate."""


def caller_of(context: grpc.aio.ServicerContext[Any, Any]) -> Caller:
    """The caller of a call, as far as the connection proves it."""
    direct = _peer(context)
    metadata = dict(context.invocation_metadata() or ())
    call, attempt = str(metadata.get(status.CALL_KEY, "")), str(metadata.get(status.ATTEMPT_KEY))
    if _CALL.fullmatch(call):
        number = int(attempt) if re.fullmatch(r"[1-9]\d{0,5}", attempt) else 1
        direct = replace(direct, call=call, attempt=number)
    claim = metadata.get(FORWARDED_KEY)
    if claim is None or MANAGER not in direct.roles:
        return direct
    name, *roles = str(claim).split(",")
    return replace(
        direct, name=unquote(name), roles=frozenset(roles), forwarded=True, via=direct.name
    )


def claim_for(caller: Caller) -> str:
    """What `caller_of` reads on the manager that a call is forwarded to."""
    return ",".join((quote(caller.name), *sorted(caller.roles)))


def require(caller: Caller, roles: Iterable[str], method: str) -> None:
    """PermissionDenied unless the caller has one of `roles`; none asked: anyone may."""
    wanted = sorted(roles)
    if not wanted or caller.roles.intersection(wanted):
        return
    if not caller.roles:
        raise Unauthenticated(f"{method} needs a client certificate of this cluster")
    has = " and ".join(sorted(caller.roles))
    raise PermissionDenied(f"{method} is for {' or '.join(wanted)}; {caller.name} is {has}")


def as_of(caller: Caller, state: ClusterState) -> Caller:
    """The caller with the roles that it still has: a certificate outlives what it says.

    PermissionDenied when its node has left the cluster; Unavailable when the manager that vouches
    for it is none any more: another manager may be asked.
    """
    if state.cluster is None:
        return caller
    if caller.via:
        via = state.nodes.get(caller.via)
        if via is None or NodeRole.MANAGER not in via.spec.roles:
            raise Unavailable("this manager is a manager no longer: ask another")
    if not caller.roles & {MANAGER, WORKER}:
        return caller
    return replace(caller, roles=caller.roles & _roles_of(caller.name, state))


def _roles_of(node_id: str, state: ClusterState) -> frozenset[str]:
    node = state.nodes.get(node_id)
    if node is None:
        raise PermissionDenied(f"{node_id} is not a node of this cluster: it was removed")
    return frozenset(role.value for role in node.spec.roles)


def _peer(context: grpc.aio.ServicerContext[Any, Any]) -> Caller:
    if context.peer().startswith("unix:"):
        return ROOT
    pem = b"".join(context.auth_context().get("x509_pem_cert", ()))
    if not pem:
        return Caller()
    subject = certificates.subject_of(pem.decode())
    return Caller(name=subject.name, roles=frozenset(subject.roles))
