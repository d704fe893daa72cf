"""The text of the balancer's table. That it does what it says is tested in tests/contract."""

import pytest
from warren.drivers import nftables_text
from warren.drivers.balancer_plan import Balance, Changes, Frontend, Share
from warren.drivers.nftables_chains import Chains
from warren.drivers.nftables_ranges import Ranges
from warren.drivers.nftables_text import Layout
from warren.drivers.ports import BalancerConfig
from warren.model.services import Protocol

CONFIG = BalancerConfig(
    node_id="n1",
    vip_network="10.92.0.0/16",
    task_network="10.88.0.0/14",
    mesh_interface="warren0",
    gateway="10.88.1.1",
)
WEB = Frontend("10.92.0.1", Protocol.TCP, 80)
DNS = Frontend("", Protocol.UDP, 53)
NOBODY = Balance(())


def two(first: str, second: str, *, by_source: bool = False) -> Balance:
    return Balance((Share(0, 4999, first, 8080), Share(5000, 9999, second, 8080)), by_source)


def whole(address: str) -> Balance:
    return Balance((Share(0, 9999, address, 8080),))


def change(layout: Layout, changes: Changes) -> list[str]:
    text = nftables_text.change(layout, changes, contents="contents_1", marks=("::1", "::2"))
    statements = text.replace("{\n  ", "{ ").replace(",\n  ", ", ").replace("\n}", " }")
    return statements.splitlines()


def test_a_service_that_comes_is_named_in_each_map() -> None:
    changes = Changes(after={WEB: two("10.88.1.2", "10.88.2.2")}, local_after={"10.88.1.2"})

    assert change(Ranges(), changes) == [
        "delete element ip warren contents_1 { ::1 }",
        "add element ip warren virtual_1_by_chance { "
        "10.92.0.1 . tcp . 80 . 0-4999 : 10.88.1.2 . 8080, "
        "10.92.0.1 . tcp . 80 . 5000-9999 : 10.88.2.2 . 8080 }",
        "add element ip warren served { 10.92.0.1 . tcp . 80 }",
        "add element ip warren hairpin { 10.88.1.2 . 10.88.1.2 }",
        "add element ip warren contents_1 { ::2 }",
    ]


def test_intervals_that_stay_are_not_touched() -> None:
    changes = Changes(
        before={WEB: two("10.88.1.2", "10.88.2.2")}, after={WEB: two("10.88.1.2", "10.88.2.3")}
    )

    assert [line for line in change(Ranges(), changes) if "virtual" in line] == [
        "delete element ip warren virtual_1_by_chance { "
        "10.92.0.1 . tcp . 80 . 5000-9999 : 10.88.2.2 . 8080 }",
        "add element ip warren virtual_1_by_chance { "
        "10.92.0.1 . tcp . 80 . 5000-9999 : 10.88.2.3 . 8080 }",
    ]


def test_a_frontend_with_pinned_sources_is_in_maps_of_its_own() -> None:
    pinned = whole("10.88.1.2")._replace(
        pinned=("10.0.0.7/32", "192.0.2.0/24"), pinned_shares=whole("10.88.1.3").shares
    )

    assert change(Ranges(), Changes(before={WEB: whole("10.88.1.2")}, after={WEB: pinned})) == [
        "delete element ip warren contents_1 { ::1 }",
        "delete element ip warren served { 10.92.0.1 . tcp . 80 }",
        "delete element ip warren virtual_1_by_chance { "
        "10.92.0.1 . tcp . 80 . 0-9999 : 10.88.1.2 . 8080 }",
        "add element ip warren pinned_clients_virtual { "
        "10.0.0.7/32 . 10.92.0.1 . tcp . 80, 192.0.2.0/24 . 10.92.0.1 . tcp . 80 }",
        "add element ip warren pinned_virtual_by_chance { "
        "10.92.0.1 . tcp . 80 . 0-9999 : 10.88.1.3 . 8080 }",
        "add element ip warren others_virtual_by_chance { "
        "10.92.0.1 . tcp . 80 . 0-9999 : 10.88.1.2 . 8080 }",
        "add element ip warren served { 10.92.0.1 . tcp . 80 }",
        "add element ip warren contents_1 { ::2 }",
    ]


def test_while_sources_are_pinned_a_change_names_what_differs() -> None:
    before = two("10.88.1.2", "10.88.2.2")._replace(
        pinned=("10.0.0.7/32",), pinned_shares=whole("10.88.1.3").shares
    )
    after = two("10.88.1.2", "10.88.2.3")._replace(
        pinned=("10.0.0.7/32",), pinned_shares=whole("10.88.1.3").shares
    )

    changed = change(Ranges(), Changes(before={WEB: before}, after={WEB: after}))

    assert [line for line in changed if "virtual" in line] == [
        "delete element ip warren others_virtual_by_chance { "
        "10.92.0.1 . tcp . 80 . 5000-9999 : 10.88.2.2 . 8080 }",
        "add element ip warren others_virtual_by_chance { "
        "10.92.0.1 . tcp . 80 . 5000-9999 : 10.88.2.3 . 8080 }",
    ]


def test_connections_to_other_frontends_never_come_to_the_pinned_ones() -> None:
    """What is asked for those stands behind what is asked for all others."""
    text = nftables_text.rules(CONFIG, Ranges()).text

    for chain in (*(f"virtual_{part}" for part in range(16)), "published"):
        kind = chain.partition("_")[0]
        rules = text.split(f"  chain {chain} {{\n")[1].split("  }\n")[0].splitlines()
        assert [rule.rpartition(" ")[2] for rule in rules] == [
            f"@{chain}_by_chance",
            f"@{chain}_by_source",
            f"trials_{kind}",
        ]


def test_with_chains_the_rule_for_pinned_sources_comes_first() -> None:
    balance = whole("10.88.1.2")._replace(
        pinned=("10.0.0.7/32", "192.0.2.0/24"), pinned_shares=whole("10.88.1.3").shares
    )

    rules = [line for line in change(Chains(), Changes(after={WEB: balance})) if "rule" in line]

    assert rules == [
        "add rule ip warren to_10.92.0.1_tcp_80 ip saddr { 10.0.0.7/32, 192.0.2.0/24 } "
        "meta l4proto tcp dnat ip to numgen random mod 10000 map { 0-9999 : 10.88.1.3 . 8080 }",
        "add rule ip warren to_10.92.0.1_tcp_80 "
        "meta l4proto tcp dnat ip to numgen random mod 10000 map { 0-9999 : 10.88.1.2 . 8080 }",
    ]


def test_by_source_another_map_has_them() -> None:
    both = ("10.88.1.2", "10.88.2.2")
    changes = Changes(before={WEB: two(*both)}, after={WEB: two(*both, by_source=True)})

    maps = [line.split()[:5] for line in change(Ranges(), changes) if "virtual" in line]
    assert maps == [
        ["delete", "element", "ip", "warren", "virtual_1_by_chance"],
        ["add", "element", "ip", "warren", "virtual_1_by_source"],
    ]


def test_a_published_port_without_endpoints_is_refused() -> None:
    assert change(Ranges(), Changes(after={DNS: NOBODY})) == [
        "delete element ip warren contents_1 { ::1 }",
        "add element ip warren unmatched { udp . 53 : goto refuse }",
        "add element ip warren contents_1 { ::2 }",
    ]


def test_a_published_port_with_endpoints_is_never_refused() -> None:
    balance = Balance((Share(0, 9999, "10.88.1.2", 53),))

    assert change(Ranges(), Changes(before={DNS: NOBODY}, after={DNS: balance})) == [
        "delete element ip warren contents_1 { ::1 }",
        "delete element ip warren unmatched { udp . 53 : goto refuse }",
        "add element ip warren published_by_chance { udp . 53 . 0-9999 : 10.88.1.2 . 53 }",
        "add element ip warren unmatched { udp . 53 : drop }",
        "add element ip warren contents_1 { ::2 }",
    ]


def test_many_elements_are_added_some_at_a_time() -> None:
    text = nftables_text.add("served", (f"10.92.0.1 . tcp . {port}" for port in range(1, 1202)))

    assert text.count("add element ip warren served") == 3
    assert text.count("10.92.0.1") == 1201


def test_with_chains_a_change_rewrites_the_chain_of_the_frontend() -> None:
    changes = Changes(
        before={WEB: two("10.88.1.2", "10.88.2.2")}, after={WEB: two("10.88.1.2", "10.88.2.3")}
    )

    assert [line for line in change(Chains(), changes) if "chain" in line or "rule" in line] == [
        "flush chain ip warren to_10.92.0.1_tcp_80",
        "add rule ip warren to_10.92.0.1_tcp_80 meta l4proto tcp dnat ip to "
        "numgen random mod 10000 map { 0-4999 : 10.88.1.2 . 8080, 5000-9999 : 10.88.2.3 . 8080 }",
    ]


def test_a_chain_goes_one_change_after_its_frontend() -> None:
    layout, balance = Chains(), two("10.88.1.2", "10.88.2.2")
    change(layout, Changes(after={WEB: balance}))

    gone = change(layout, Changes(before={WEB: balance}))
    later = change(layout, Changes(after={DNS: NOBODY}))
    last = change(layout, Changes(before={DNS: NOBODY}))

    assert "flush chain ip warren to_10.92.0.1_tcp_80" in gone
    assert not [line for line in gone + last if line.startswith("delete chain")]
    assert "delete chain ip warren to_10.92.0.1_tcp_80" in later


def test_a_frontend_that_comes_back_keeps_its_chain() -> None:
    layout, balance = Chains(), two("10.88.1.2", "10.88.2.2")
    change(layout, Changes(after={WEB: balance}))
    change(layout, Changes(before={WEB: balance}))

    back = change(layout, Changes(after={WEB: balance}))

    assert "add chain ip warren to_10.92.0.1_tcp_80" in back
    assert not [line for line in back if line.startswith("delete chain")]


@pytest.mark.parametrize("layout", [Ranges(), Chains()])
def test_other_settings_make_other_rules(layout: Layout) -> None:
    rules = nftables_text.rules(CONFIG, layout)
    other = BalancerConfig(
        node_id="n1", vip_network="10.92.0.0/16", task_network="10.96.0.0/14", mesh_interface="w0"
    )

    assert nftables_text.rules(CONFIG, layout) == rules
    assert nftables_text.rules(other, layout).contents != rules.contents
