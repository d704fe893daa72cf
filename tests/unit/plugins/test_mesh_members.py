"""Who is in a mesh without a cluster: from the inventory, the hosts, and what they remember."""

from typing import Any

import pytest
from ansible_collections.warren.core.plugins.filter.mesh_members import mesh_members

NETWORK = "10.86.0.0/24"


def answered(key: str, *, address: str = "", peers: tuple[str, ...] = (), mtu: int = 1420) -> Any:
    """A host's own word. Peers are told by name, and have the key and address of that name."""
    config = {
        "address": address,
        "peers": [
            {
                "name": name,
                "public_key": f"key of {name}",
                "address": f"10.86.0.{name[1:]}",
                "endpoint": f"192.0.2.{name[1:]}:51820",
            }
            for name in peers
        ],
    }
    return {
        "public_key": key,
        "endpoint": f"192.0.2.{key[-1]}",
        "mtu": mtu,
        "config": config if address else {},
    }


def of_play(**hosts: Any) -> dict[str, Any]:
    """Variables of hosts, of which those with an answer are in the run."""
    return {name: {"__mesh_info": answer} if answer else {} for name, answer in hosts.items()}


def members(hostvars: dict[str, Any]) -> Any:
    return mesh_members(list(hostvars), hostvars, NETWORK, 51820)


def test_new_hosts_get_the_lowest_addresses_in_their_order() -> None:
    found = members(of_play(h1=answered("key of h1"), h2=answered("key of h2", mtu=1380)))

    assert found == {
        "members": {
            "h1": {
                "name": "h1",
                "address": "10.86.0.1",
                "subnet": "",
                "endpoint": "192.0.2.1:51820",
                "public_key": "key of h1",
            },
            "h2": {
                "name": "h2",
                "address": "10.86.0.2",
                "subnet": "",
                "endpoint": "192.0.2.2:51820",
                "public_key": "key of h2",
            },
        },
        "mtu": 1380,
        "problems": [],
    }


def test_addresses_stay_whatever_comes_before_their_hosts() -> None:
    found = members(
        of_play(
            h0=answered("key of h0"),
            h1=answered("key of h1", address="10.86.0.1"),
            h5=answered("key of h5", address="10.86.0.5"),
        )
    )

    assert {name: each["address"] for name, each in found["members"].items()} == {
        "h0": "10.86.0.2",
        "h1": "10.86.0.1",
        "h5": "10.86.0.5",
    }


def test_a_host_that_is_silent_is_remembered_by_others() -> None:
    found = members(
        of_play(h1=answered("key of h1", address="10.86.0.1", peers=("h2", "h3")), h2=None, h3=None)
    )

    assert found["members"]["h3"] == {
        "name": "h3",
        "address": "10.86.0.3",
        "subnet": "",
        "endpoint": "192.0.2.3:51820",
        "public_key": "key of h3",
    }


def test_hosts_outside_of_the_run_are_asked() -> None:
    hostvars = of_play(h1=None, h4=answered("key of h4"))
    outside = {"item": "h1", **answered("key of h1", address="10.86.0.9")}
    hostvars["h4"]["__mesh_others_info"] = {"results": [outside]}

    found = members(hostvars)["members"]

    assert (found["h1"]["public_key"], found["h1"]["address"]) == ("key of h1", "10.86.0.9")
    assert found["h4"]["address"] == "10.86.0.1"


def test_a_host_that_nobody_knows_has_an_address_and_no_key() -> None:
    found = members(of_play(h1=answered("key of h1"), h2=None))["members"]

    assert (found["h2"]["address"], found["h2"]["public_key"]) == ("10.86.0.2", "")


def test_a_host_that_leaves_is_nobodys_peer() -> None:
    hostvars = of_play(h1=answered("key of h1"), h2=answered("key of h2", address="10.86.0.2"))
    hostvars["h2"]["warren_mesh_state"] = "absent"

    assert list(members(hostvars)["members"]) == ["h1"]


def test_what_the_inventory_says_goes_before_what_hosts_have() -> None:
    hostvars = of_play(
        h1=answered("key of h1", address="10.86.0.1"), h2=answered("key of h2", address="10.86.0.2")
    )
    hostvars["h2"]["warren_mesh_address"] = "10.86.0.1"

    found = members(hostvars)

    assert found["problems"] == []
    assert {name: each["address"] for name, each in found["members"].items()} == {
        "h2": "10.86.0.1",
        "h1": "10.86.0.2",
    }


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        (
            {"warren_mesh_address": "10.99.0.1"},
            "h2: 10.99.0.1 is no address of a host in 10.86.0.0/24",
        ),
        ({"warren_mesh_address": "10.86.0.7"}, "h2: 10.86.0.7 is that of h1"),
        ({"warren_mesh_subnet": "10.1.0.0/33"}, "h2: '10.1.0.0/33' is no network"),
        ({"warren_mesh_subnet": "10.1.0.0/16"}, "h2: 10.1.0.0/16 overlaps 10.1.2.0/24 of h1"),
        ({"warren_mesh_subnet": "10.86.0.0/30"}, "overlaps 10.86.0.0/24 of the mesh itself"),
    ],
)
def test_what_cannot_be_is_told_with_the_names(variables: dict[str, str], problem: str) -> None:
    hostvars = of_play(h1=answered("key of h1"), h2=answered("key of h2"))
    hostvars["h1"] |= {"warren_mesh_address": "10.86.0.7", "warren_mesh_subnet": "10.1.2.0/24"}
    hostvars["h2"] |= variables

    (found,) = members(hostvars)["problems"]

    assert problem in found
