import dataclasses

import pytest

from tests.fleet import fleets
from tests.fleet.errors import FleetError
from tests.fleet.fleets import Fleet, Host


def a_fleet(*names: str) -> Fleet:
    empty = Fleet(name="demo", subnet="10.77.0.0/24", hosts=())
    return fleets.extend(empty, names, "trixie")


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("m1", "10.77.0.11"),
        ("m9", "10.77.0.19"),
        ("m10", "10.77.0.20"),
        ("w1", "10.77.0.21"),
        ("w79", "10.77.0.99"),
    ],
)
def test_an_address_can_be_read_off_a_name(name: str, address: str) -> None:
    assert fleets.address_of(name, "10.77.0.0/24") == address


@pytest.mark.parametrize("name", ["", "m0", "m11", "w80", "m01", "x1", "m-1", "m1\n", "../m1"])
def test_refuses_a_host_name_without_an_address(name: str) -> None:
    with pytest.raises(FleetError, match="want m1 to m10 or w1 to w79"):
        fleets.address_of(name, "10.77.0.0/24")


def test_no_two_names_share_an_address() -> None:
    every = [f"m{n}" for n in range(1, 11)] + [f"w{n}" for n in range(1, 80)]

    addresses = {fleets.address_of(name, "10.77.0.0/24") for name in every}

    assert len(addresses) == len(every)
    assert "10.77.0.1" not in addresses


@pytest.mark.parametrize("subnet", ["10.77.0.0/16", "10.77.0.1/24", "8.8.8.0/24", "nonsense"])
def test_refuses_a_subnet_that_is_no_private_24(subnet: str) -> None:
    with pytest.raises(FleetError, match="--subnet"):
        fleets.check_subnet(subnet)


@pytest.mark.parametrize("name", ["", "Demo", "1demo", "a" * 13, "a/b", "..", "a_b"])
def test_refuses_a_fleet_name_that_cannot_name_a_bridge(name: str) -> None:
    with pytest.raises(FleetError, match="--name"):
        fleets.check_name(name)


def test_the_bridge_name_fits_an_interface() -> None:
    longest = fleets.check_name("a" * 12)

    assert len(Fleet(name=longest, subnet="10.77.0.0/24", hosts=()).bridge) <= 15


def test_adding_hosts_leaves_the_others_as_they_are() -> None:
    before = a_fleet("m1", "w1")

    after = fleets.extend(before, ["m2"], "bookworm")

    added = Host(fleet="demo", name="m2", address="10.77.0.12", release="bookworm")
    assert after == dataclasses.replace(before, hosts=(before.host("m1"), added, before.host("w1")))


def test_without_a_release_a_host_keeps_its_own() -> None:
    before = fleets.extend(a_fleet(), ["m1"], "bookworm")

    assert fleets.extend(before, ["m1"], None) == before


def test_refuses_to_change_the_release_of_a_host() -> None:
    with pytest.raises(FleetError, match="m1 of fleet demo is trixie, not bookworm"):
        fleets.extend(a_fleet("m1"), ["m1"], "bookworm")


def test_an_unknown_host_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(FleetError, match="no host m3: it has m1, m2"):
        a_fleet("m1", "m2").host("m3")
