"""Renews this node's certificate when a third of its life is left, and when its roles change.

No session is disturbed.
The key stays the same, so that certificate and key on disk always fit together; each connection
reads them anew. The dates are read here, from DER, because the library that could read them costs
as much memory as the rest of the worker: it is loaded only to make a request.
"""

import asyncio
import base64
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc

from warren.api import warren_pb2, warren_pb2_grpc
from warren.files import write_whole
from warren.model.nodes import NodeRole

log = logging.getLogger(__name__)

CHECK_INTERVAL = timedelta(hours=1)
RETRY_ROLES = timedelta(seconds=1)
"""New roles are waited for."""
_ANSWER_SECONDS = 30

Roles = tuple[NodeRole, ...]
_SEQUENCE, _UTC_TIME, _GENERALIZED_TIME, _VERSION = 0x30, 0x17, 0x18, 0xA0


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """From when until when a certificate is valid."""

    begin: datetime
    end: datetime

    @property
    def renew_at(self) -> datetime:
        """When a third of its life is left."""
        return self.end - (self.end - self.begin) / 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """The node's identity on disk."""

    ca: Path
    certificate: Path
    key: Path

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """For a connection to be made now."""
        return grpc.ssl_channel_credentials(
            root_certificates=self.ca.read_bytes(),
            private_key=self.key.read_bytes(),
            certificate_chain=self.certificate.read_bytes(),
        )


def files(state_dir: Path) -> Files:
    """Where they are below the state directory."""
    pki = state_dir / "pki"
    return Files(ca=pki / "ca.crt", certificate=pki / "node.crt", key=pki / "node.key")


class Renewal:
    """Watches over one certificate."""

    def __init__(
        self,
        identity: Files,
        *,
        connect: Callable[[], grpc.aio.Channel],
        now: Callable[[], datetime],
        roles: Roles,
        certified: Callable[[Roles], None],
    ) -> None:
        """`connect` gives a channel to any manager. `roles`: as certified now; `certified` is
        called with others as soon as the certificate on disk has them."""
        self._identity = identity
        self._connect = connect
        self._now = now
        self._roles = self._wanted = roles
        self._certified = certified
        self._news = asyncio.Event()

    def want(self, roles: Roles) -> None:
        """The cluster says what this node is."""
        if roles and set(roles) != set(self._wanted):
            self._wanted = roles
            self._news.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.renew_if_due()
            except (grpc.aio.AioRpcError, OSError, ValueError) as error:
                detail = error.details() if isinstance(error, grpc.aio.AioRpcError) else error
                log.warning("cannot renew the node certificate, will try again: %s", detail)
            self._news.clear()
            pause = CHECK_INTERVAL if self._has_roles else RETRY_ROLES
            with suppress(TimeoutError):
                async with asyncio.timeout(pause.total_seconds()):
                    await self._news.wait()

    @property
    def _has_roles(self) -> bool:
        return set(self._roles) == set(self._wanted)

    async def renew_if_due(self) -> bool:
        """Renew the certificate if it is time; whether it was."""
        valid = validity(self._identity.certificate.read_text())
        wanted = self._wanted
        if self._now() < valid.renew_at and self._has_roles:
            return False
        request = warren_pb2.RenewCertificateRequest(csr=_signing_request(self._identity))
        async with self._connect() as channel:
            stub = warren_pb2_grpc.ManagersStub(channel)
            response = await stub.RenewCertificate(request, timeout=_ANSWER_SECONDS)
        renewed = validity(response.certificate)
        write_whole(self._identity.certificate, response.certificate.encode())
        log.info("the node certificate was renewed, it is valid until %s", renewed.end.date())
        if not self._has_roles:
            self._certified(wanted)
            self._roles = wanted
            log.info("this node is %s now", " and ".join(role.value for role in wanted))
        return True


def validity(pem: str) -> Validity:
    """Validity of the first certificate in `pem`. ValueError if there is none."""
    body = pem.partition("-----BEGIN CERTIFICATE-----")[2].partition("-----END")[0]
    der = base64.b64decode(body)
    try:
        certificate, _ = _element(der, _SEQUENCE)
        fields, _ = _element(certificate, _SEQUENCE)
        if fields[0] == _VERSION:
            _, fields = _element(fields)
        for _ in ("serial number", "signature algorithm", "issuer"):
            _, fields = _element(fields)
        dates, _ = _element(fields, _SEQUENCE)
        begin, dates = _time(dates)
        end, _ = _time(dates)
    except IndexError:
        raise ValueError("the node certificate is damaged") from None
    return Validity(begin=begin, end=end)


def _element(der: bytes, tag: int | None = None) -> tuple[bytes, bytes]:
    """Content of the first element, and what follows it."""
    if tag is not None and der[0] != tag:
        raise ValueError("the node certificate is damaged")
    length, begin = der[1], 2
    if length & 0x80:
        begin += length & 0x7F
        length = int.from_bytes(der[2:begin], "big")
    return der[begin : begin + length], der[begin + length :]


def _time(der: bytes) -> tuple[datetime, bytes]:
    text, rest = _element(der)
    form = {_UTC_TIME: "%y%m%d%H%M%SZ", _GENERALIZED_TIME: "%Y%m%d%H%M%SZ"}.get(der[0], "")
    return datetime.strptime(text.decode(), form).replace(tzinfo=UTC), rest


def _signing_request(identity: Files) -> str:
    """A request for the same subject and names, signed with the same key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = serialization.load_pem_private_key(identity.key.read_bytes(), password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the node key is not an elliptic-curve key")  # noqa: TRY004 - data, not type
    current = x509.load_pem_x509_certificates(identity.certificate.read_bytes())[0]
    builder = x509.CertificateSigningRequestBuilder().subject_name(current.subject)
    request = builder.sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()
