import pytest

from tests.fleet import fleets, inventory, network, registry, ssh
from tests.fleet.errors import FleetError
from tests.fleet.fleets import Fleet
from tests.fleet.inventory import Groups


def a_fleet(*names: str) -> Fleet:
    empty = Fleet(name="demo", subnet="10.77.0.0/24", hosts=())
    return fleets.extend(empty, names, "trixie")


def test_by_default_three_hosts_manage_and_all_work() -> None:
    groups = inventory.groups(a_fleet("m1", "m2", "m3", "w1"), (), ())

    assert groups == Groups(managers=("m1", "m2", "m3"), workers=("m1", "m2", "m3", "w1"))


def test_refuses_a_group_with_a_host_that_the_fleet_lacks() -> None:
    with pytest.raises(FleetError, match="no host w1"):
        inventory.groups(a_fleet("m1"), (), ("w1",))


def test_a_host_has_its_address_where_it_is_first_named() -> None:
    fleet = a_fleet("m1", "w1")

    text = inventory.render(fleet, Groups(managers=("m1",), workers=("m1", "w1")))

    assert (
        text
        == """\
---
# Written by `python3 -m tests.fleet inventory --name demo`.
warren_managers:
  hosts:
    m1:
      ansible_host: 10.77.0.11
warren_workers:
  hosts:
    m1:
    w1:
      ansible_host: 10.77.0.21
warren_fleet:
  children:
    warren_managers:
    warren_workers:
  vars:
    ansible_user: root
    ansible_python_interpreter: /usr/bin/python3
    ansible_ssh_private_key_file: /var/lib/warren-fleet/demo/id_ed25519
    ansible_ssh_common_args: -F /var/lib/warren-fleet/demo/ssh_config
"""
    )


def test_ssh_finds_a_host_by_name_or_address_and_checks_its_key() -> None:
    text = ssh.render_config(a_fleet("m1", "m2"))

    assert (
        text
        == """\
Host m1 10.77.0.11
    HostName 10.77.0.11
Host m2 10.77.0.12
    HostName 10.77.0.12

Host *
    User root
    IdentityFile /var/lib/warren-fleet/demo/id_ed25519
    IdentitiesOnly yes
    UserKnownHostsFile /var/lib/warren-fleet/demo/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
    ControlPath /var/lib/warren-fleet/demo/control-%C
    ConnectTimeout 5
    ServerAliveInterval 5
    ServerAliveCountMax 3
    LogLevel ERROR
"""
    )


def test_known_hosts_names_each_host_both_ways() -> None:
    text = ssh.render_known_hosts(a_fleet("m1"), {"m1": "ssh-ed25519 AAAA"})

    assert text == "m1,10.77.0.11 ssh-ed25519 AAAA\n"


def test_the_wall_lets_hosts_reach_only_served_ports_of_the_bridge_address() -> None:
    rules = network.wall(a_fleet("m1"))

    accepted = [line.strip() for line in rules.splitlines() if line.strip().endswith("accept")]
    assert accepted == [
        'iifname != "wf-demo" accept',
        "ct state established,related accept",
        "ip daddr 10.77.0.1 icmp type echo-request accept",
        "ip daddr 10.77.0.1 tcp dport 5000-5999 accept",
    ]
    assert "masquerade" not in rules
    assert "snat" not in rules


def test_the_registry_listens_on_the_bridge_only() -> None:
    assert '"addr": "10.77.0.1:5000"' in registry.render_config(a_fleet(), with_account=False)
