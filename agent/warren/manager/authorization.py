"""Who is calling, and what they may do.

A caller is known by the certificate of its connection, by the unix socket (which is root's alone),
or by the manager that forwarded its call and vouches for it. Roles are in the certificate.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote

import grpc

from warren.bootstrap import certificates
from warren.model.errors import PermissionDenied, Unauthenticated
from warren.model.nodes import NodeRole

OPERATOR = certificates.OPERATOR
MANAGER = NodeRole.MANAGER.value
WORKER = NodeRole.WORKER.value

FORWARDED_KEY = "warren-forwarded-for"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The other end of a call."""

    name: str = ""
    """Node id or operator's name; empty for one without a certificate, who may only join."""
    roles: frozenset[str] = frozenset()
    forwarded: bool = False
    """A manager passed the call on: it must be answered here or not at all."""


ROOT = Caller(name="root", roles=frozenset({OPERATOR}))
"""Who can open the unix socket."""

ANYONE: frozenset[str] = frozenset()
"""As required roles: also callers without a certificate."""


def caller_of(context: grpc.aio.ServicerContext[Any, Any]) -> Caller:
    """The caller of a call, as far as the connection proves it."""
    direct = _peer(context)
    metadata = dict(context.invocation_metadata() or ())
    claim = metadata.get(FORWARDED_KEY)
    if claim is None or MANAGER not in direct.roles:
        return direct
    name, *roles = str(claim).split(",")
    return Caller(name=unquote(name), roles=frozenset(roles), forwarded=True)


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


def _peer(context: grpc.aio.ServicerContext[Any, Any]) -> Caller:
    if context.peer().startswith("unix:"):
        return ROOT
    pem = b"".join(context.auth_context().get("x509_pem_cert", ()))
    if not pem:
        return Caller()
    subject = certificates.subject_of(pem.decode())
    return Caller(name=subject.name, roles=frozenset(subject.roles))
