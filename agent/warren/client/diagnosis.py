"""Why an endpoint cannot be talked to, in the words of the user.

gRPC reports every failure to connect as one and the same "unavailable", so the client asks here,
after a failure, with plain sockets and Python's ssl. `first_listening` also picks the endpoint to
begin with, so that a dead manager costs a quarter of a second and not a TCP timeout.
"""

import errno
import os
import selectors
import socket
import ssl
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from warren.client.connection import Connection, Credentials

STAGGER = 0.25
"""Seconds that an endpoint has to answer before the next is tried beside it."""
PATIENCE = 2.0
"""Seconds that an endpoint has to accept a connection, or to shake hands."""
SERVER_NAME = "manager.warren"
"""The name that every manager's certificate carries."""


def first_listening(endpoints: Sequence[str], timeout: float) -> tuple[str, dict[str, str]]:
    """The endpoint that accepts a connection first, earlier ones preferred, or empty text.

    Also why others did not, as far as known.
    """
    deadline = time.monotonic() + timeout
    refusals: dict[str, str] = {}
    targets = _targets(endpoints, refusals)
    with selectors.DefaultSelector() as selector:
        try:
            found = _race(selector, targets, refusals, deadline)
        finally:
            for key in list(selector.get_map().values()):
                key.fileobj.close()  # type: ignore[union-attr]
    if not found:
        refusals = {endpoint: refusals.get(endpoint, "timed out") for endpoint in endpoints}
    return found, refusals


def explain(endpoint: str, connection: Connection) -> str:
    """Why `endpoint` failed; empty text when nothing is found wrong with it now."""
    found, refusals = first_listening([endpoint], PATIENCE)
    if not found:
        return refusals[endpoint]
    if connection.credentials is None:
        return ""
    return _explain_tls(endpoint, connection.credentials, connection.source)


def _targets(
    endpoints: Sequence[str], refusals: dict[str, str]
) -> Iterator[tuple[str, int, object]]:
    """Each endpoint with its addresses, resolved only when its turn comes."""
    for endpoint in endpoints:
        if endpoint.startswith("unix:"):
            yield endpoint, socket.AF_UNIX, endpoint.removeprefix("unix:").removeprefix("//")
            continue
        host, _, port = endpoint.rpartition(":")
        try:
            found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
        except OSError as error:
            refusals[endpoint] = f"unknown host ({error.strerror})"
            continue
        for family, _, _, _, address in found:
            yield endpoint, family, address


def _race(
    selector: selectors.BaseSelector,
    targets: Iterator[tuple[str, int, object]],
    refusals: dict[str, str],
    deadline: float,
) -> str:
    exhausted = False
    while True:
        target = None if exhausted else next(targets, None)
        exhausted = target is None
        if exhausted and not selector.get_map():
            return ""
        if target is not None:
            endpoint, family, address = target
            code = _start(selector, endpoint, family, address)
            if code:
                refusals[endpoint] = _os_reason(code)
                continue
        wait = max(0.0, deadline - time.monotonic())
        if wait == 0.0:
            return ""
        for key, _ in selector.select(wait if exhausted else min(wait, STAGGER)):
            assert isinstance(key.fileobj, socket.socket)
            code = key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code == 0:
                return str(key.data)
            refusals[key.data] = _os_reason(code)
            selector.unregister(key.fileobj)
            key.fileobj.close()


def _start(selector: selectors.BaseSelector, endpoint: str, family: int, address: object) -> int:
    """Begin to connect; an errno if that fails at once."""
    opened = socket.socket(family, socket.SOCK_STREAM)
    opened.setblocking(False)
    try:
        code = opened.connect_ex(address)  # type: ignore[arg-type]
    except OSError as error:
        code = error.errno or errno.EINVAL
    if code not in (0, errno.EINPROGRESS, errno.EAGAIN):
        opened.close()
        return code
    selector.register(opened, selectors.EVENT_WRITE, endpoint)
    return 0


def _os_reason(code: int) -> str:
    return os.strerror(code).lower()


def _explain_tls(endpoint: str, credentials: Credentials, source: str) -> str:
    host, _, port = endpoint.rpartition(":")
    try:
        context = _tls_context(credentials)
    except (ssl.SSLError, ValueError):
        return f"the certificate, key or CA of {source} cannot be used: not a PEM, or no pair"
    try:
        with (
            socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE) as plain,
            context.wrap_socket(plain, server_hostname=SERVER_NAME) as secured,
        ):
            # In TLS 1.3 the server judges our certificate after the handshake; gRPC just closes.
            if not secured.recv(1):
                return _certificate_reason(credentials, source)
    except ssl.SSLCertVerificationError as error:
        return _verification_reason(error, source)
    except ssl.SSLError as error:
        if "ALERT" in (error.reason or ""):
            return _certificate_reason(credentials, source)
        return f"TLS failed ({error.reason or error})"
    except TimeoutError:
        return "timed out in the TLS handshake"
    except OSError as error:
        return f"the connection broke in the TLS handshake ({error.strerror})"
    return ""


def _certificate_reason(credentials: Credentials, source: str) -> str:
    """What is wrong with our own certificate, by what can be seen of it here."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature

    ours = x509.load_pem_x509_certificate(credentials.client_cert.encode())
    authority = x509.load_pem_x509_certificate(credentials.ca_cert.encode())
    if datetime.now(UTC) > ours.not_valid_after_utc:
        return f"our certificate ({source}) has expired"
    try:
        ours.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return f"our certificate ({source}) is not signed by its CA: of another cluster?"
    return f"it closes the connection: our certificate ({source}) may be of another cluster"


def _verification_reason(error: ssl.SSLCertVerificationError, source: str) -> str:
    if error.verify_code in (18, 19, 20, 21, 7):
        return f"its certificate is not signed by the CA of {source} (another cluster?)"
    if error.verify_code in (9, 10):
        return "its certificate is not valid at this time (is a clock wrong?)"
    if error.verify_code == 62:
        return "it is not a manager: its certificate has another name"
    return f"its certificate is not accepted: {error.verify_message}"


def _tls_context(credentials: Credentials) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=credentials.ca_cert)
    context.set_alpn_protocols(["h2"])
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:  # 0600; ssl reads files only
        file.write(credentials.client_cert + "\n" + credentials.client_key)
        file.flush()
        context.load_cert_chain(file.name)
    return context
