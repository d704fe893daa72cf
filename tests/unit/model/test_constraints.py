"""The sentences that refuse a value."""

import pytest
from warren.model.constraints import DNS_LABEL, Constraint, Network, NotEmpty, Pattern, Range

NO_NETWORK = "is not an IPv4 address or network, such as 192.0.2.0/24"
MEANT = "is not a network: is"


@pytest.mark.parametrize(
    ("constraint", "value", "refusal"),
    [
        (Range(1, 3), 1, None),
        (Range(1, 3), 3, None),
        (Range(1, 3), 0, "0 is not between 1 and 3"),
        (Range(1, 3), 3.5, "3.5 is not between 1 and 3"),
        (NotEmpty(), "x", None),
        (NotEmpty(), "", "must not be empty"),
        (NotEmpty(), (), "must not be empty"),
        (Pattern("a+", "some a"), "aa", None),
        (Pattern("a+", "some a"), "aab", "'aab' is not some a"),
        (Pattern("a+", "some a"), "a\n", "'a\\n' is not some a"),
        (Network(), "192.0.2.0/24", None),
        (Network(), "10.0.0.7", None),
        (Network(), "10.0.0.7/32", None),
        (Network(), "0.0.0.0/0", None),
        (Network(), "10.0.0.7/24", "'10.0.0.7/24' is not a network: is 10.0.0.0/24 meant?"),
        (Network(), "10.0.0.0/255.0.0.0", f"'10.0.0.0/255.0.0.0' {MEANT} 10.0.0.0/8 meant?"),
        (
            Network(),
            "::1",
            "'::1' is IPv6, and services have IPv4 addresses only",
        ),
        (Network(), "10.0.0.256", f"'10.0.0.256' {NO_NETWORK}"),
        (Network(), " 10.0.0.1", f"' 10.0.0.1' {NO_NETWORK}"),
        (Network(), "", f"'' {NO_NETWORK}"),
    ],
)
def test_says_why_a_value_is_refused(
    constraint: Constraint, value: object, refusal: str | None
) -> None:
    assert constraint.check(value) == refusal


@pytest.mark.parametrize("name", ["a", "web", "web-1", "1", "a" * 63])
def test_takes_dns_labels(name: str) -> None:
    assert DNS_LABEL.check(name) is None


@pytest.mark.parametrize("name", ["", "Web", "-web", "web-", "a.b", "a_b", "a" * 64, "wéb", "a "])
def test_refuses_other_names(name: str) -> None:
    assert DNS_LABEL.check(name) is not None
