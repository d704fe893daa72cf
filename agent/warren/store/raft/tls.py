"""Who is at the other end of a connection: mutual TLS 1.3 under the cluster's CA and no other.

A certificate names a node id, the cluster and the node's roles; only managers of this cluster may
speak Raft, and `trust` decides which of them. Files are read again when they change, as node
certificates are renewed while the daemon runs.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MANAGER = "manager"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files of this node."""

    ca: Path
    certificate: Path
    key: Path


class Stranger(Exception):
    """A certificate of the cluster's CA that is not that of a manager, or not the one expected."""


class Contexts:
    """The TLS settings for both ends."""

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._read_at = 0.0
        self._dialing, self._accepting = self._read()

    def dialing(self) -> ssl.SSLContext:
        """For connections that this node makes."""
        self._refresh()
        return self._dialing

    def accepting(self) -> ssl.SSLContext:
        """For connections that others make."""
        self._refresh()
        return self._accepting

    def _refresh(self) -> None:
        if self._files.certificate.stat().st_mtime != self._read_at:
            self._dialing, self._accepting = self._read()

    def _read(self) -> tuple[ssl.SSLContext, ssl.SSLContext]:
        self._read_at = self._files.certificate.stat().st_mtime
        dialing = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        dialing.check_hostname = False  # the name that counts is the node id: see `manager_named`
        accepting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        accepting.num_tickets = 0
        for context in (dialing, accepting):
            context.minimum_version = ssl.TLSVersion.TLSv1_3
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self._files.ca)
            context.load_cert_chain(self._files.certificate, self._files.key)
        return dialing, accepting


def manager_named(sock: ssl.SSLSocket, cluster_id: str) -> str:
    """The node id that the peer's certificate, which TLS verified, names. Raises Stranger."""
    certificate: dict[str, Any] = sock.getpeercert() or {}
    subject: dict[str, list[str]] = {}
    for names in certificate.get("subject", ()):
        for field, value in names:
            subject.setdefault(field, []).append(value)
    if subject.get("organizationName") != [cluster_id]:
        raise Stranger("its certificate is for another cluster")
    if MANAGER not in subject.get("organizationalUnitName", []):
        raise Stranger("its certificate is not that of a manager")
    return subject.get("commonName", [""])[0]
