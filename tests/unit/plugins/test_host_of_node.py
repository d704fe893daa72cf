"""Which host of the inventory is a node."""

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.warren.core.plugins.filter.host_of_node import host_of_node

GROUPS = {"warren_managers": ["m1", "m2.example"], "warren_workers": ["m1", "old"], "all": ["w9"]}
HOSTVARS = {
    "m1": {"inventory_hostname_short": "m1"},
    "m2.example": {"inventory_hostname_short": "m2"},
    "old": {"inventory_hostname_short": "old", "warren_node_name": "new"},
    "w9": {"inventory_hostname_short": "w9"},
}


@pytest.mark.parametrize(("node", "host"), [("m1", "m1"), ("m2", "m2.example"), ("new", "old")])
def test_a_node_is_the_host_of_its_name(node: str, host: str) -> None:
    assert host_of_node(node, GROUPS, HOSTVARS) == host


@pytest.mark.parametrize("node", ["old", "w9"])
def test_other_hosts_are_no_nodes(node: str) -> None:
    with pytest.raises(AnsibleFilterError, match=f"is node {node}$"):
        host_of_node(node, GROUPS, HOSTVARS)
