"""Docker's registry at an address of this machine: open, or with accounts, over http or TLS.

containerd speaks plain HTTP to `localhost`, so without TLS no certificates are needed there. The
registry reads its accounts again when their file has changed.
"""

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

USER, PASSWORD, NEXT_PASSWORD = "warren", "correct horse", "battery staple"
HTPASSWD = f"{USER}:$2b$05$SZX9Q7lNf7ZnVt2XdnFU5eWCk0OTenJsPqQ2oaKO92KjXDgddQgb6\n"
NEXT_HTPASSWD = f"{USER}:$2b$05$mI488MA1fYPfyPahspoiv.R1cgp2NQSP1lV8hnlb0YlnxDBXYb/B2\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a registry serves."""

    port: int
    host: str = "localhost"
    htpasswd: str = ""
    """Who may pull and push; empty: everybody."""
    tls: bool = False
    """With a certificate of its own, which is its authority too: `certificate_of` has it."""
    images_of: int = 0
    """Port of the registry whose images it has; 0: its own."""
    program: str = "docker-registry"

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"


@contextmanager
def running(directory: Path, settings: Settings) -> Iterator[str]:
    """Serve, and answer where."""
    place = _place(directory, settings)
    place.mkdir()
    if settings.htpasswd:
        set_accounts(directory, settings, settings.htpasswd)
    if settings.tls:
        _write_certificate(place, settings.host)
    (place / "config.yml").write_text(json.dumps(_config(place, settings)))
    with (place / "log").open("w") as log:
        process = subprocess.Popen(
            [settings.program, "serve", str(place / "config.yml")],
            stdout=log,
            stderr=log,
            env={**os.environ, "OTEL_TRACES_EXPORTER": "none"},
        )
    try:
        _wait_until_it_listens(settings, process)
        yield settings.address
    finally:
        process.terminate()
        process.wait()


def set_accounts(directory: Path, settings: Settings, htpasswd: str) -> None:
    """From the next request on, these count."""
    (_place(directory, settings) / "htpasswd").write_text(htpasswd)


def certificate_of(directory: Path, settings: Settings) -> Path:
    """The file with what its clients must trust."""
    return _place(directory, settings) / "certificate.pem"


def _place(directory: Path, settings: Settings) -> Path:
    return directory / f"registry-{settings.port}"


def _config(place: Path, settings: Settings) -> dict[str, object]:
    """YAML, of which JSON is a part."""
    storage = place.parent / f"images-{settings.images_of or settings.port}"
    http: dict[str, object] = {"addr": settings.address}
    config: dict[str, object] = {
        "version": "0.1",
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(storage)}},
        "http": http,
    }
    if settings.htpasswd:
        config["auth"] = {"htpasswd": {"realm": "warren", "path": str(place / "htpasswd")}}
    if settings.tls:
        http["tls"] = {
            "certificate": str(place / "certificate.pem"),
            "key": str(place / "key.pem"),
        }
    return config


def _write_certificate(place: Path, host: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    is_address = host[0].isdigit()
    alternative = x509.IPAddress(ip_address(host)) if is_address else x509.DNSName(host)
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (place / "certificate.pem").write_bytes(certificate.public_bytes(pem))
    (place / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def _wait_until_it_listens(settings: Settings, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex((settings.host, settings.port)) == 0:
                return
        assert process.poll() is None, "docker-registry ended: see its log"
        time.sleep(0.05)  # another program's start: nothing to wait on but its port
    raise AssertionError("docker-registry did not start")
