"""Certificates say who somebody is, for how long, and are made only for those who have the key."""

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from warren.bootstrap import certificates
from warren.bootstrap.certificates import Subject
from warren.model.errors import InvalidInput
from warren.testing.builders import NOON

AUTHORITY = certificates.create_authority("c1", "demo", NOON)
KEY = certificates.new_key()
REQUEST = certificates.signing_request(KEY, "anything")


def node_certificate(request: str = REQUEST) -> str:
    return certificates.sign_node(
        AUTHORITY, request, node_id="n1", name="m1", roles=["manager", "worker"], now=NOON
    )


def extension(certificate: x509.Certificate, kind: type[x509.ExtensionType]) -> x509.ExtensionType:
    return certificate.extensions.get_extension_for_class(kind).value


def test_a_node_is_known_by_its_certificate() -> None:
    subject = certificates.subject_of(node_certificate())

    assert subject == Subject(name="n1", cluster_id="c1", roles=("manager", "worker"))


def test_an_operator_is_known_by_their_certificate() -> None:
    certificate = certificates.sign_operator(AUTHORITY, REQUEST, name="anna", now=NOON)

    subject = certificates.subject_of(certificate)

    assert subject == Subject(name="anna", cluster_id="c1", roles=("operator",))


def test_a_node_serves_under_its_roles_and_its_name() -> None:
    loaded = x509.load_pem_x509_certificate(node_certificate().encode())

    names = extension(loaded, x509.SubjectAlternativeName)

    assert isinstance(names, x509.SubjectAlternativeName)
    assert names.get_values_for_type(x509.DNSName) == ["manager.warren", "worker.warren", "m1"]


def test_an_operator_cannot_serve() -> None:
    certificate = certificates.sign_operator(AUTHORITY, REQUEST, name="anna", now=NOON)
    loaded = x509.load_pem_x509_certificate(certificate.encode())

    usage = extension(loaded, x509.ExtendedKeyUsage)

    assert isinstance(usage, x509.ExtendedKeyUsage)
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_is_signed_by_the_authority_for_the_requested_key() -> None:
    loaded = x509.load_pem_x509_certificate(node_certificate().encode())
    authority = x509.load_pem_x509_certificate(AUTHORITY.certificate.encode())

    loaded.verify_directly_issued_by(authority)

    key = serialization.load_pem_private_key(KEY.encode(), password=None)
    assert loaded.public_key() == key.public_key()


def test_is_renewed_when_a_third_of_its_life_is_left() -> None:
    ninety_days = timedelta(days=90)

    renew_at = certificates.renew_at(node_certificate())

    assert abs(renew_at - (NOON + ninety_days * 2 / 3)) < timedelta(hours=1)


def test_the_digest_is_that_of_the_der_form() -> None:
    der = x509.load_pem_x509_certificate(AUTHORITY.certificate.encode()).public_bytes(
        serialization.Encoding.DER
    )

    assert certificates.pem_from_der(der) == AUTHORITY.certificate
    assert len(certificates.digest(AUTHORITY.certificate)) == 32


def test_a_long_cluster_name_fits() -> None:
    authority = certificates.create_authority("c1", "x" * 63, NOON)

    assert certificates.subject_of(authority.certificate).cluster_id == "c1"


def forged() -> str:
    """A request whose signature is another key's."""
    lines = REQUEST.splitlines()
    other = certificates.signing_request(certificates.new_key(), "anything").splitlines()
    return "\n".join((*lines[:-2], other[-2], lines[-1])) + "\n"


def of_another_kind(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return request.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


@pytest.mark.parametrize(
    ("request_text", "sentence"),
    [
        ("", "is not a certificate signing request in PEM"),
        ("nonsense", "is not a certificate signing request in PEM"),
        (
            of_another_kind(rsa.generate_private_key(65537, 2048)),
            "must have an EC P-256 key",
        ),
        (
            of_another_kind(ec.generate_private_key(ec.SECP384R1())),
            "must have an EC P-256 key",
        ),
    ],
    ids=["empty", "nonsense", "rsa", "other curve"],
)
def test_refuses_a_request_that_is_not_one(request_text: str, sentence: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        node_certificate(request_text)

    assert str(refused.value) == f"csr: {sentence}"


def test_refuses_a_request_by_someone_who_has_not_the_key() -> None:
    with pytest.raises(InvalidInput, match=r"^csr: is not "):
        node_certificate(forged())
