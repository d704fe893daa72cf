"""What users read when an image cannot be had: error texts of real runtimes in, sentences out."""

import pytest
from warren.drivers.cri_errors import image_unavailable
from warren.model.errors import CredentialsRefused, ImageUnavailable

_PREFIX = (
    'failed to pull and unpack image "registry.example/web:9": '
    'failed to resolve reference "registry.example/web:9": '
)
_HEAD = _PREFIX + 'failed to do request: Head "https://registry.example/v2/web/manifests/9": '


@pytest.mark.parametrize(
    ("details", "sentence"),
    [
        (
            _PREFIX + "registry.example/web:9: not found",
            "image registry.example/web:9 does not exist in its registry",
        ),
        (
            _HEAD + "dial tcp 10.77.0.1:443: connect: connection refused",
            "image registry.example/web:9 cannot be pulled: "
            "registry registry.example is down: connection refused",
        ),
        (
            _HEAD + "dial tcp: lookup registry.example on 10.77.0.1:53: no such host",
            "image registry.example/web:9 cannot be pulled: "
            "registry registry.example is not known: its name does not resolve",
        ),
        (
            _HEAD + "dial tcp 10.77.0.1:443: i/o timeout",
            "image registry.example/web:9 cannot be pulled: "
            "registry registry.example does not answer: timed out",
        ),
        (
            _HEAD + "http: server gave HTTP response to HTTPS client",
            "image registry.example/web:9 cannot be pulled: "
            "registry registry.example speaks plain HTTP, and HTTPS was expected",
        ),
        (
            _HEAD + "x509: certificate signed by unknown authority",
            "image registry.example/web:9 cannot be pulled: "
            "registry registry.example has a certificate of an unknown authority",
        ),
        (
            _PREFIX + "unexpected status from HEAD request to https://registry.example/v2/web"
            "/manifests/9: 503 Service Unavailable",
            "image registry.example/web:9 cannot be pulled: "
            "registry registry.example failed with a server error",
        ),
        (
            _PREFIX + "pull access denied, repository does not exist or may require authorization: "
            "server message: insufficient_scope: authorization failed",
            "image registry.example/web:9 cannot be pulled: "
            "registry registry.example refused the credentials",
        ),
        (
            "something\nunheard of: unknown",
            "image registry.example/web:9 cannot be pulled: something unheard of",
        ),
    ],
)
def test_says_why_an_image_cannot_be_had(details: str, sentence: str) -> None:
    error = image_unavailable("registry.example/web:9", details, anonymous=False)

    assert str(error) == sentence


def test_credentials_that_were_refused_are_told_from_those_that_were_not_sent() -> None:
    details = "failed to resolve reference: unexpected status: 401 Unauthorized"

    assert type(image_unavailable("r.example/web", details, anonymous=False)) is CredentialsRefused
    assert type(image_unavailable("r.example/web", details, anonymous=True)) is ImageUnavailable
