"""Where to connect, and as whom: one decision for the CLI and the modules.

In order: endpoints given by the caller; a context named by the caller; `WARREN_ENDPOINTS` with
`WARREN_CA_CERT`, `WARREN_CLIENT_CERT` and `WARREN_CLIENT_KEY` (paths of files); `WARREN_CONTEXT`;
the current context; on a manager the unix socket, which is root's.
"""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from warren.client import contexts
from warren.model.errors import InvalidInput

SOCKET = Path("/run/warren/warren.sock")
DEFAULT_PORT = 7443


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Mutual TLS, all PEM."""

    ca_cert: str
    client_cert: str
    client_key: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Managers to try in this order. Without credentials, all endpoints are unix sockets."""

    endpoints: tuple[str, ...]
    """`host:port` or `unix:///path`."""
    credentials: Credentials | None
    source: str
    """Where this comes from, for messages: `context demo`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the caller said; paths are of PEM files."""

    endpoints: Sequence[str] = ()
    ca_cert: str = ""
    client_cert: str = ""
    client_key: str = ""
    context: str = ""


def resolve(wanted: Wanted) -> Connection:
    """The connection that is wanted here. InvalidInput says what is missing."""
    environment = os.environ.get
    if wanted.endpoints:
        return _explicit(wanted, "the given endpoints")
    if wanted.context:
        return _context(wanted.context)
    endpoints = environment("WARREN_ENDPOINTS", "")
    if endpoints:
        return _explicit(_with_endpoints(wanted, endpoints), "WARREN_ENDPOINTS")
    name = environment("WARREN_CONTEXT") or contexts.current()
    if name:
        return _context(name)
    return _unix_socket()


def normalise_endpoint(text: str) -> str:
    """`host:port`, with the default port where none is given; `unix:` stays as it is."""
    text = text.strip()
    if text.startswith("unix:"):
        return text
    match = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^\s:/\[\]]+)(?::(\d{1,5}))?", text)
    if not match or not 0 < int(match[2] or DEFAULT_PORT) < 65536:
        raise InvalidInput(f"{text!r} is not an endpoint: write host:port or unix:///path")
    return f"{match[1]}:{match[2] or DEFAULT_PORT}"


def _with_endpoints(wanted: Wanted, endpoints: str) -> Wanted:
    return Wanted(
        endpoints=[part for part in re.split(r"[,\s]+", endpoints) if part],
        ca_cert=wanted.ca_cert,
        client_cert=wanted.client_cert,
        client_key=wanted.client_key,
    )


def _explicit(wanted: Wanted, source: str) -> Connection:
    endpoints = tuple(normalise_endpoint(endpoint) for endpoint in wanted.endpoints)
    if all(endpoint.startswith("unix:") for endpoint in endpoints):
        return Connection(endpoints=endpoints, credentials=None, source=source)
    credentials = Credentials(
        ca_cert=_pem(wanted.ca_cert, "ca_cert"),
        client_cert=_pem(wanted.client_cert, "client_cert"),
        client_key=_pem(wanted.client_key, "client_key"),
    )
    return Connection(endpoints=endpoints, credentials=credentials, source=source)


def _pem(path: str, option: str) -> str:
    variable = f"WARREN_{option.upper()}"
    path = path or os.environ.get(variable, "")
    if not path:
        raise InvalidInput(f"is needed with endpoints: a PEM file (or set {variable})", path=option)
    try:
        return Path(path).expanduser().read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a PEM file"
        raise InvalidInput(f"cannot read {path}: {reason}", path=option) from None


def _context(name: str) -> Connection:
    context = contexts.load(name)
    return Connection(
        endpoints=tuple(normalise_endpoint(endpoint) for endpoint in context.endpoints),
        credentials=Credentials(
            ca_cert=context.ca_cert,
            client_cert=context.client_cert,
            client_key=context.client_key,
        ),
        source=f"context {name}",
    )


def _unix_socket() -> Connection:
    if not SOCKET.exists():
        raise InvalidInput(
            "no cluster to talk to: give endpoints or a context, set WARREN_ENDPOINTS or "
            "WARREN_CONTEXT, or run this as root on a manager"
        )
    if not os.access(SOCKET, os.W_OK):
        raise InvalidInput(f"{SOCKET} is root's: run this as root, or give a context")
    return Connection(endpoints=(f"unix://{SOCKET}",), credentials=None, source=str(SOCKET))
