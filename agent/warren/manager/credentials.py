"""This node's certificate, as it is on disk now.

The worker daemon of the node renews it, for the same key; every new connection uses the newest.
"""

import logging

import grpc

from warren.bootstrap import node_files
from warren.bootstrap.node_files import Credentials
from warren.config import Config
from warren.model.errors import FailedPrecondition

logger = logging.getLogger(__name__)


class CredentialFiles:
    """Reads the files again when the certificate's file has changed."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._stamp = 0
        self._newest = self._read()

    def newest(self) -> Credentials:
        """The pair on disk; the last good one while it cannot be read."""
        try:
            self._newest = self._read()
        except FailedPrecondition as error:
            logger.warning("%s", error)
        return self._newest

    def server(self, *, requires_client: bool) -> grpc.ServerCredentials:
        """TLS for a listener that takes a renewed certificate without a restart."""
        served = self._newest

        def renewed() -> grpc.ServerCertificateConfiguration | None:
            nonlocal served
            newest = self.newest()
            if newest == served:
                return None
            served = newest
            logger.info("serving with the renewed certificate")
            return _configuration(newest)

        return grpc.dynamic_ssl_server_credentials(
            _configuration(served),
            renewed,  # type: ignore[arg-type]  # None means unchanged
            require_client_authentication=requires_client,
        )

    def _read(self) -> Credentials:
        stamp = _stamp(self._config)
        if stamp and stamp == self._stamp:
            return self._newest
        newest = node_files.read_credentials(self._config)
        self._stamp = stamp
        return newest


def _stamp(config: Config) -> int:
    try:
        return (node_files.pki_path(config) / "node.crt").stat().st_mtime_ns
    except OSError:
        return 0


def _configuration(credentials: Credentials) -> grpc.ServerCertificateConfiguration:
    """The chain has the CA too: a joiner compares its digest with the token's."""
    chain = credentials.certificate + credentials.ca_certificate
    return grpc.ssl_server_certificate_configuration(
        [(credentials.key.encode(), chain.encode())], credentials.ca_certificate.encode()
    )
