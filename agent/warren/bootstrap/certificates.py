"""X.509 for the cluster: keys, signing requests, the CA, and whom a certificate names.

Used by the host that creates the cluster, by joiners, and by managers that sign. EC P-256
throughout. The subject says all: CN is the node id or the operator's name, O the cluster id, OU one
per role. No function here stores anything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from warren.model.errors import InvalidInput
from warren.model.services import Secret

CA_LIFETIME = timedelta(days=3650)
NODE_LIFETIME = timedelta(days=90)
OPERATOR_LIFETIME = timedelta(days=365)

OPERATOR = "operator"
"""Role of a person's certificate; nodes have those of `NodeRole`."""

_BACKDATED = timedelta(minutes=10)
"""Hosts whose clocks are a little behind accept a new certificate at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A cluster's CA: what signing needs. Both PEM."""

    cluster_id: str
    certificate: str
    key: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """Whom a certificate names."""

    name: str
    """Node id, or the operator's name."""
    cluster_id: str
    roles: tuple[str, ...]


def create_authority(cluster_id: str, cluster: str, now: datetime) -> Authority:
    """A new self-signed CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(f"{cluster[:60]} CA", cluster_id, ())
    certificate = (
        _builder(name, name, key.public_key(), now, CA_LIFETIME)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Authority(cluster_id=cluster_id, certificate=_pem(certificate), key=_key_pem(key))


def new_key() -> Secret:
    """A new private key, PEM."""
    return _key_pem(ec.generate_private_key(ec.SECP256R1()))


def signing_request(key: Secret, name: str) -> str:
    """A PKCS#10 request, PEM. `name` is for people: the CA decides what the certificate says."""
    private = _load_key(key)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return request.sign(private, hashes.SHA256()).public_bytes(_PEM).decode()


def sign_node(
    authority: Authority,
    request: str,
    *,
    node_id: str,
    name: str,
    roles: Sequence[str],
    now: datetime,
) -> str:
    """A node's certificate, PEM: for both ends of TLS, valid under `<role>.warren` and its name."""
    names = [x509.DNSName(f"{role}.warren") for role in roles]
    return _sign(
        authority,
        request,
        _name(node_id, authority.cluster_id, roles),
        now,
        NODE_LIFETIME,
        alternative=x509.SubjectAlternativeName([*names, x509.DNSName(name)]),
    )


def sign_operator(authority: Authority, request: str, *, name: str, now: datetime) -> str:
    """A person's certificate, PEM: for the client's end of TLS only."""
    subject = _name(name, authority.cluster_id, (OPERATOR,))
    return _sign(authority, request, subject, now, OPERATOR_LIFETIME)


@lru_cache(maxsize=256)
def subject_of(certificate: str) -> Subject:
    """Whom the certificate (PEM) names. Its signature is TLS's to check."""
    subject = _load(certificate).subject
    return Subject(
        name=_attribute(subject, NameOID.COMMON_NAME)[0],
        cluster_id=_attribute(subject, NameOID.ORGANIZATION_NAME)[0],
        roles=tuple(_attribute(subject, NameOID.ORGANIZATIONAL_UNIT_NAME)),
    )


def valid_since(certificate: str) -> datetime:
    """When a certificate began to be one."""
    return _load(certificate).not_valid_before_utc


def renew_at(certificate: str) -> datetime:
    """When a certificate should be renewed: a third of its life before its end."""
    loaded = _load(certificate)
    life = loaded.not_valid_after_utc - loaded.not_valid_before_utc
    return loaded.not_valid_after_utc - life / 3


def digest(certificate: str) -> bytes:
    """SHA-256 of the certificate's DER form."""
    return _load(certificate).fingerprint(hashes.SHA256())


def pem_from_der(data: bytes) -> str:
    """The same certificate in PEM."""
    return _pem(x509.load_der_x509_certificate(data))


_PEM = serialization.Encoding.PEM


def _sign(
    authority: Authority,
    request: str,
    subject: x509.Name,
    now: datetime,
    lifetime: timedelta,
    alternative: x509.SubjectAlternativeName | None = None,
) -> str:
    issuer = _load(authority.certificate)
    usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
    builder = _builder(subject, issuer.subject, _requested_key(request), now, lifetime)
    if alternative is not None:
        builder = builder.add_extension(alternative, critical=False)
        usages.append(ExtendedKeyUsageOID.SERVER_AUTH)
    certificate = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_issuer_key(issuer), critical=False)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .sign(_load_key(authority.key), hashes.SHA256())
    )
    return _pem(certificate)


def _requested_key(request: str) -> ec.EllipticCurvePublicKey:
    """The key to certify, after proof that the requester has its private half."""
    try:
        loaded = x509.load_pem_x509_csr(request.encode())
        key = loaded.public_key()
        proved = loaded.is_signature_valid
    except (ValueError, InvalidSignature) as error:
        raise InvalidInput("is not a certificate signing request in PEM", path="csr") from error
    if not proved:
        raise InvalidInput("is not signed by its own key", path="csr")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InvalidInput("must have an EC P-256 key", path="csr")
    return key


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    now: datetime,
    lifetime: timedelta,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + lifetime)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _issuer_key(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common: str, cluster_id: str, roles: Sequence[str]) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, common),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, cluster_id),
            *(x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, role) for role in roles),
        ]
    )


def _attribute(name: x509.Name, oid: x509.ObjectIdentifier) -> list[str]:
    return [str(attribute.value) for attribute in name.get_attributes_for_oid(oid)]


def _load(certificate: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate(certificate.encode())


def _load_key(key: str) -> ec.EllipticCurvePrivateKey:
    loaded = serialization.load_pem_private_key(key.encode(), password=None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey)
    return loaded


def _pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(_PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> Secret:
    data = key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return Secret(data.decode())
