"""What an inventory must say before any host is asked."""

from ansible_collections.warren.core.plugins.filter.hosts_by_answer import hosts_by_answer
from ansible_collections.warren.core.plugins.filter.inventory_problems import inventory_problems


def test_an_odd_number_of_managers_and_further_workers_are_fine() -> None:
    groups = {"warren_managers": ["m1"], "warren_workers": ["m1", "w1.example.org"]}
    hostvars = {"m1": {}, "w1.example.org": {"ansible_host": "10.0.0.2"}}

    assert inventory_problems(groups, hostvars) == []


def test_an_even_number_of_managers_is_refused_with_the_reason() -> None:
    groups = {"warren_managers": ["a", "b"]}

    assert inventory_problems(groups, {"a": {}, "b": {}}) == [
        "warren_managers: 2 managers (a, b): an even number survives no more failures than 1 and "
        "has more that can fail: use 1, 3 or 5"
    ]


def test_an_inventory_without_managers_is_refused() -> None:
    assert inventory_problems({"warren_workers": ["w1"]}, {"w1": {}}) == [
        "warren_managers: no hosts: a cluster has 1, 3 or 5 managers"
    ]


def test_names_must_be_dns_labels_and_neither_names_nor_addresses_shared() -> None:
    groups = {"warren_managers": ["m_1", "web.a", "web.b"]}
    same = {"ansible_host": "10.0.0.9"}

    assert inventory_problems(groups, {"m_1": {}, "web.a": same, "web.b": same}) == [
        "node name m_1 of m_1 is not a DNS label (a-z, 0-9 and -, at most 63): rename the host or "
        "set warren_node_name",
        "node name web is that of web.a, web.b: set warren_node_name",
        "address 10.0.0.9 is that of web.a, web.b",
    ]


def test_hosts_are_sorted_by_what_they_said() -> None:
    member = {"member": {"cluster": "demo"}, "serves": True}
    hostvars = {
        "a": {"ansible_facts": {"warren_host": member}},
        "b": {"ansible_facts": {"warren_host": {**member, "serves": False}}},
        "c": {"ansible_facts": {"warren_host": {"member": {}, "serves": False}}},
        "d": {},
    }

    assert hosts_by_answer(["a", "b", "c", "d"], hostvars) == {
        "serving": ["a"],
        "members": ["a", "b"],
        "bare": ["c"],
        "silent": ["d"],
        "clusters": {"a": "demo", "b": "demo"},
    }
