"""What preflight finds in the packet filters of a host."""

from collections.abc import Iterator

import pytest
from ansible_collections.warren.core.plugins.modules import warren_preflight

from tests.contract import namespaces
from tests.contract.namespaces import run


@pytest.fixture
def host(private_network: None) -> Iterator[None]:
    """A host without any rules, with this process in it."""
    namespaces.require("nft", "ip")
    with namespaces.own_network():
        yield


def a_chain(family: str, table: str, chain: str, policy: str, hook: str = "forward") -> str:
    return (
        f"table {family} {table} {{\n chain {chain} {{\n"
        f" type filter hook {hook} priority 0; policy {policy};\n }}\n}}\n"
    )


@pytest.mark.parametrize(
    ("rules", "named"),
    [
        (a_chain("ip", "filter", "FORWARD", "drop"), "chain ip filter FORWARD"),
        (a_chain("inet", "mine", "forward", "drop"), "chain inet mine forward"),
        (a_chain("inet", "firewalld", "filter_FORWARD", "accept"), "inet firewalld filter_FORWARD"),
    ],
)
def test_a_chain_that_drops_what_is_forwarded_is_named(host: None, rules: str, named: str) -> None:
    run("nft -f -", text=rules)

    (problem,) = warren_preflight.foreign_firewalls()

    assert named in problem


@pytest.mark.parametrize(
    "rules",
    [
        a_chain("ip", "filter", "FORWARD", "accept"),
        a_chain("ip", "filter", "INPUT", "drop", hook="input"),
        a_chain("ip6", "filter", "FORWARD", "drop"),
        a_chain("ip", "warren", "forward", "drop"),
    ],
)
def test_chains_that_are_no_matter_are_not(host: None, rules: str) -> None:
    run("nft -f -", text=rules)

    assert warren_preflight.foreign_firewalls() == []
