"""Renewal of the node certificate, against a CA and a manager of the test's own."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from warren.api import warren_pb2, warren_pb2_grpc
from warren.model.nodes import NodeRole
from warren.worker import certificates
from warren.worker.certificates import Renewal, Validity

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)

WORKER = (NodeRole.WORKER,)
BOTH = (NodeRole.MANAGER, NodeRole.WORKER)


@dataclass
class Authority(warren_pb2_grpc.ManagersServicer):
    """Signs whatever it is asked to."""

    key: ec.EllipticCurvePrivateKey
    begin: datetime

    def sign(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> str:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")]))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.begin)
            .not_valid_after(self.begin + 90 * DAY)
        )
        certificate = builder.sign(self.key, hashes.SHA256())
        return certificate.public_bytes(serialization.Encoding.PEM).decode()

    async def RenewCertificate(  # noqa: N802 - the schema's name
        self,
        request: warren_pb2.RenewCertificateRequest,
        context: grpc.aio.ServicerContext[
            warren_pb2.RenewCertificateRequest, warren_pb2.RenewCertificateResponse
        ],
    ) -> warren_pb2.RenewCertificateResponse:
        wanted = x509.load_pem_x509_csr(request.csr.encode())
        key = wanted.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        return warren_pb2.RenewCertificateResponse(certificate=self.sign(wanted.subject, key))


def an_authority(begin: datetime) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    return Authority(key, begin)  # type: ignore[abstract] # only renewal is asked of it


@dataclass
class Fixture:
    """A node's files, an authority that listens, and the time."""

    identity: certificates.Files
    authority: Authority
    address: str
    now: datetime = BEGIN
    certified: list[certificates.Roles] = field(default_factory=list)

    def renewal(self) -> Renewal:
        return Renewal(
            self.identity,
            connect=lambda: grpc.aio.insecure_channel(self.address),
            now=lambda: self.now,
            roles=WORKER,
            certified=self.certified.append,
        )


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Fixture]:
    authority = an_authority(BEGIN)
    identity = certificates.files(tmp_path)
    identity.key.parent.mkdir()
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, "node-1"),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, "worker"),
        ]
    )
    identity.certificate.write_text(authority.sign(subject, key.public_key()))
    identity.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    warren_pb2_grpc.add_ManagersServicer_to_server(authority, server)
    await server.start()
    yield Fixture(identity, authority, f"127.0.0.1:{port}")
    await server.stop(None)


async def test_a_certificate_with_more_than_a_third_of_its_life_left_is_kept(
    node: Fixture,
) -> None:
    before = node.identity.certificate.read_text()
    node.now = BEGIN + 59 * DAY

    renewed = await node.renewal().renew_if_due()

    assert (renewed, node.identity.certificate.read_text()) == (False, before)


async def test_a_certificate_with_a_third_of_its_life_left_is_renewed_for_the_same_key(
    node: Fixture,
) -> None:
    before = x509.load_pem_x509_certificate(node.identity.certificate.read_bytes())
    node.now = node.authority.begin = BEGIN + 60 * DAY

    renewed = await node.renewal().renew_if_due()

    after = x509.load_pem_x509_certificate(node.identity.certificate.read_bytes())
    assert renewed
    assert after.subject == before.subject
    assert after.public_key() == before.public_key()
    assert certificates.validity(node.identity.certificate.read_text()) == Validity(
        begin=BEGIN + 60 * DAY, end=BEGIN + 150 * DAY
    )


async def test_new_roles_are_certified_at_once_and_then_noted(node: Fixture) -> None:
    before = node.identity.certificate.read_text()
    renewal = node.renewal()

    renewal.want(WORKER)
    unchanged = await renewal.renew_if_due()
    renewal.want(BOTH)
    renewed, again = await renewal.renew_if_due(), await renewal.renew_if_due()

    assert (unchanged, renewed, again) == (False, True, False)
    assert node.identity.certificate.read_text() != before
    assert node.certified == [BOTH]


async def test_roles_that_are_not_certified_are_not_noted(node: Fixture) -> None:
    node.authority.sign = lambda *_: "sorry"  # type: ignore[method-assign]
    renewal = node.renewal()

    renewal.want(BOTH)
    with pytest.raises(ValueError, match="the node certificate is damaged"):
        await renewal.renew_if_due()

    assert node.certified == []


async def test_an_assignment_of_an_older_manager_takes_no_role_away(node: Fixture) -> None:
    renewal = node.renewal()

    renewal.want(())

    assert not await renewal.renew_if_due()


async def test_an_answer_that_is_no_certificate_replaces_nothing(node: Fixture) -> None:
    before = node.identity.certificate.read_text()
    node.now = BEGIN + 60 * DAY
    node.authority.sign = lambda *_: "sorry"  # type: ignore[method-assign]

    with pytest.raises(ValueError, match="the node certificate is damaged"):
        await node.renewal().renew_if_due()

    assert node.identity.certificate.read_text() == before


@pytest.mark.parametrize("year", [2026, 2049, 2050, 2080])
def test_dates_of_every_century_are_read(year: int) -> None:
    begin = datetime(year, 2, 3, 4, 5, 6, tzinfo=UTC)
    authority = an_authority(begin)
    text = authority.sign(x509.Name([]), authority.key.public_key())

    assert certificates.validity(text) == Validity(begin=begin, end=begin + 90 * DAY)
