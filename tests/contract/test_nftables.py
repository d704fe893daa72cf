"""What only the kernel can show of the balancer: for both layouts, on a node with neighbours."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from warren.drivers.nftables import Nftables
from warren.model.errors import DriverError
from warren.model.services import Affinity, PortMode

from tests.contract.balanced_network import (
    CLIENT,
    CONFIG,
    FIRST,
    GATEWAY,
    MESH,
    NODE,
    REMOTE,
    SECOND,
    TALK,
    UDP,
    VIP,
    Network,
    a_service,
    apply,
    ask,
    line,
)
from tests.contract.namespaces import run


@pytest.fixture(params=["ranges", "chains"])
async def nftables(
    request: pytest.FixtureRequest, balanced_network: Network, no_rules: None
) -> AsyncIterator[Nftables]:
    """The real driver on a node without rules."""
    driver = Nftables(layout=request.param)
    yield driver
    await driver.close()


@pytest.fixture
def network(balanced_network: Network) -> Network:
    return balanced_network


async def test_connections_are_shared_by_weight(nftables: Nftables, network: Network) -> None:
    """Within 1 % of the weights: that is 3.5 standard deviations or more."""
    weights = (80, 15, 5)
    await apply(nftables, a_service(FIRST, SECOND, REMOTE, weights=weights))

    client = network.start(TALK, "count", VIP, "8080", "20000", netns=network.first)
    counts = _counts(client.communicate("", timeout=300)[0])

    assert set(counts) == {FIRST, SECOND, REMOTE}
    for address, weight in zip((FIRST, SECOND, REMOTE), weights, strict=True):
        assert abs(counts[address] - 200 * weight) <= 200, counts


async def test_changes_of_weights_refuse_nobody(nftables: Nftables, network: Network) -> None:
    client = network.start(TALK, "count", VIP, "8080", "8000", netns=network.first)
    outside = network.start(TALK, "count", NODE, "80", "100", netns=network.client)
    await apply(nftables, a_service(FIRST, SECOND, REMOTE))
    assert client.poll() is None

    for change in range(300):
        weights = (100 - change % 100, 1 + change % 100, 50)
        await apply(nftables, a_service(FIRST, SECOND, REMOTE, weights=weights))

    counts = _counts(client.communicate("", timeout=300)[0])
    assert set(counts) == {FIRST, SECOND, REMOTE}, counts
    assert sum(counts.values()) >= 8000
    assert set(_counts(outside.communicate("", timeout=300)[0])) == {FIRST, SECOND, REMOTE}


async def test_pinned_and_other_clients_get_their_shares(
    nftables: Nftables, network: Network
) -> None:
    """Every connection of the one, and a tenth of those of the other: within four standard
    deviations."""
    service = a_service(FIRST, REMOTE, weights=(90, 10), new=(REMOTE,), pin=(f"{FIRST}/32",))
    await apply(nftables, service)

    pinned = network.start(TALK, "count", VIP, "8080", "2000", netns=network.first)
    other = network.start(TALK, "count", VIP, "8080", "5000", netns=network.second)
    of_pinned = _counts(pinned.communicate("", timeout=300)[0])
    of_other = _counts(other.communicate("", timeout=300)[0])

    assert set(of_pinned) == {REMOTE}, of_pinned
    assert sum(of_pinned.values()) >= 2000
    assert of_other[REMOTE] / sum(of_other.values()) == pytest.approx(0.1, abs=0.017), of_other


async def test_a_trial_that_begins_goes_on_and_ends_refuses_nobody(
    nftables: Nftables, network: Network
) -> None:
    pin = (f"{FIRST}/32", f"{CLIENT}/32")
    client = network.start(TALK, "count", VIP, "8080", "4000", netns=network.second)
    pinned = network.start(TALK, "count", NODE, "80", "1000", netns=network.client)
    await apply(nftables, a_service(SECOND))

    for change in range(100):
        weights = (100 - change, change)
        await apply(nftables, a_service(SECOND, REMOTE, weights=weights, new=(REMOTE,), pin=pin))
        if change % 10 == 9:
            await apply(nftables, a_service(SECOND, weights=(100,)))

    for process in (client, pinned):
        counts = _counts(process.communicate("", timeout=300)[0])
        assert set(counts) == {SECOND, REMOTE}, counts


async def test_many_pinned_networks_are_loaded(nftables: Nftables, network: Network) -> None:
    """64 of them, on the two ports of a service with 20 new tasks."""
    new = tuple(f"10.88.3.{number}" for number in range(1, 20))
    pin = (f"{FIRST}/32", *(f"203.0.113.{4 * number}/30" for number in range(63)))
    service = a_service(SECOND, REMOTE, *new, new=(REMOTE,), pin=pin)
    many = a_service(*new, new=new, pin=pin, name="many", vip="10.92.0.2", published=81)
    await apply(nftables, service, many)

    await apply(nftables, service, a_service(*new[:9], name="many", vip="10.92.0.2", published=81))
    await apply(Nftables(layout=nftables.layout), service, many)

    assert _heard(network, netns=network.first, count=20) == {REMOTE}


async def test_switching_endpoints_refuses_nobody(nftables: Nftables, network: Network) -> None:
    await apply(nftables, a_service(FIRST))
    client = network.start(TALK, "count", NODE, "80", "1500", netns=network.client)

    for switch in range(50):
        await apply(nftables, a_service((SECOND, FIRST)[switch % 2]))

    assert set(_counts(client.communicate("", timeout=300)[0])) == {FIRST, SECOND}


async def test_a_client_stays_with_its_task(nftables: Nftables, network: Network) -> None:
    """And every host chooses the same task for it."""
    service = a_service(FIRST, SECOND, REMOTE, affinity=Affinity.SOURCE)
    await apply(nftables, service)
    first = _heard(network, netns=network.second, count=20)
    run("nft flush ruleset")

    await apply(Nftables(layout=nftables.layout), service)

    assert len(first) == 1
    assert _heard(network, netns=network.second, count=20) == first


async def test_clients_are_spread_over_tasks(nftables: Nftables, network: Network) -> None:
    addresses = [f"10.88.1.{number}" for number in range(100, 140)]
    for address in addresses:
        run(f"ip -n {network.first} addr replace {address}/32 dev lo")
        run(f"ip route replace {address}/32 dev task1")
    await apply(nftables, a_service(SECOND, REMOTE, affinity=Affinity.SOURCE))

    heard = {address: _heard_from(network, address) for address in addresses}

    assert set(heard.values()) == {SECOND, REMOTE}


@pytest.mark.alone
async def test_nobody_there_is_said_at_once(nftables: Nftables, network: Network) -> None:
    await apply(nftables, a_service())

    for netns, address, port in (
        ("", VIP, 8080),
        (network.first, VIP, 8080),
        (network.first, "10.92.7.7", 1),
        (network.client, NODE, 80),
    ):
        began = time.monotonic()
        heard = network.connect(port, netns=netns, address=address, count=50)
        assert heard == ["refused"] * 50
        assert time.monotonic() - began < 2  # with the start of two programs


@pytest.mark.parametrize("endpoint", [FIRST, SECOND, REMOTE])
async def test_a_task_reaches_a_service_even_when_it_is_its_own(
    nftables: Nftables, network: Network, endpoint: str
) -> None:
    await apply(nftables, a_service(endpoint))

    for port, address in ((8080, VIP), (80, NODE)):
        (heard,) = network.connect(port, netns=network.first, address=address)
        assert heard.split()[1] == endpoint


async def test_a_service_sees_which_task_calls(nftables: Nftables, network: Network) -> None:
    """On this host and on another; but for a call to itself."""
    for endpoint, caller in ((SECOND, FIRST), (REMOTE, FIRST), (FIRST, GATEWAY)):
        await apply(nftables, a_service(endpoint))

        (heard,) = network.connect(8080, netns=network.first, address=VIP)

        assert heard.split()[:2] == [caller, endpoint]


@pytest.mark.parametrize("endpoint", [FIRST, REMOTE])
async def test_the_host_itself_reaches_a_service(
    nftables: Nftables, network: Network, endpoint: str
) -> None:
    await apply(nftables, a_service(endpoint))

    (by_vip,) = network.connect(8080, netns="", address=VIP)
    (by_port,) = network.connect(80, netns="")

    assert by_vip.split()[:2] == [GATEWAY, endpoint]
    assert by_port.split()[1] == endpoint


async def test_the_hosts_way_outlives_its_tasks(nftables: Nftables, network: Network) -> None:
    await apply(nftables, a_service(REMOTE))
    run("ip link add gone0 type veth peer name gone1")
    run(f"ip addr add {GATEWAY}/32 dev gone0")

    run("ip link del gone0")

    (heard,) = network.connect(8080, netns="", address=VIP)
    assert heard.split()[:2] == [GATEWAY, REMOTE]


@pytest.mark.parametrize("mode", PortMode)
async def test_a_task_sees_the_address_of_an_outside_client(
    nftables: Nftables, network: Network, mode: PortMode
) -> None:
    await apply(nftables, a_service(FIRST, mode=mode))

    (heard,) = network.connect(80, netns=network.client)

    assert heard.split()[:2] == [CLIENT, FIRST]


async def test_through_the_mesh_a_client_comes_from_this_node(
    nftables: Nftables, network: Network
) -> None:
    await apply(nftables, a_service(REMOTE))

    (heard,) = network.connect(80, netns=network.client)

    caller, endpoint, segment = heard.split()
    assert (caller, endpoint) == (MESH, REMOTE)
    assert int(segment) <= 1420 - 40


async def test_in_mode_host_a_port_is_free_where_no_task_runs(
    nftables: Nftables, network: Network
) -> None:
    await apply(nftables, a_service(REMOTE, mode=PortMode.HOST))
    server = network.serve(80, netns="")

    (heard,) = network.connect(80, netns=network.client)

    server.terminate()
    assert heard.split()[:2] == [CLIENT, NODE]


async def test_who_comes_later_does_not_get_a_port_in_use(
    nftables: Nftables, network: Network
) -> None:
    await apply(nftables, a_service(FIRST))
    server = network.serve(80, netns="")

    held = await apply(nftables, a_service(FIRST))
    held_later = await apply(Nftables(layout=nftables.layout), a_service(FIRST, SECOND))

    server.terminate()
    assert (held, held_later) == ((), ())


async def test_the_hosts_own_ports_are_left_alone(nftables: Nftables, network: Network) -> None:
    await apply(nftables, a_service(FIRST))

    assert network.connect(8080, netns=network.client) == ["refused"]


async def test_loopback_is_left_alone(nftables: Nftables, network: Network) -> None:
    await apply(nftables, a_service(FIRST))

    assert network.connect(80, netns="", address="127.0.0.1") == ["refused"]


async def test_a_refused_port_stays_usable_as_a_source(
    nftables: Nftables, network: Network
) -> None:
    services = [a_service(name=f"s{port}", vip="", published=port) for port in range(32768, 33068)]
    await apply(nftables, *services)
    _set_source_ports(32768, 33067)

    heard = network.connect(8080, netns="", address=CLIENT, count=5)

    _set_source_ports(32768, 60999)
    assert {text.split()[1] for text in heard} == {CLIENT}


async def test_tasks_reach_the_outside_as_the_node(nftables: Nftables, network: Network) -> None:
    await apply(nftables)

    (heard,) = network.connect(8080, netns=network.first, address=CLIENT)

    assert heard.split()[0] == NODE


async def test_tasks_see_each_other_as_they_are(nftables: Nftables, network: Network) -> None:
    await apply(nftables)

    (heard,) = network.connect(8080, netns=network.first, address=SECOND)

    assert heard.split()[0] == FIRST


async def test_an_open_connection_outlives_its_endpoint(
    nftables: Nftables, network: Network
) -> None:
    await apply(nftables, a_service(FIRST))
    client = network.start("-c", _SLOW_CLIENT, netns=network.client)
    assert line(client).split()[1] == FIRST

    await apply(nftables, a_service(SECOND))

    # The client sends a byte over its open connection; the task closes when it has it.
    assert client.communicate("go\n", timeout=10)[0] == "closed\n"
    assert client.returncode == 0


@pytest.mark.parametrize("published", [False, True])
async def test_datagrams_from_one_port_follow_the_endpoints(
    nftables: Nftables, network: Network, published: bool
) -> None:
    """A change, nobody, somebody again, and a service that is no more."""
    netns, address, port = (
        (network.client, NODE, "80") if published else (network.first, VIP, "8080")
    )
    await apply(nftables, a_service(SECOND, protocol=UDP))
    client = network.start(TALK, "keep", address, port, netns=netns)
    heard = [ask(client)]

    for endpoints in ((REMOTE,), (), (SECOND,)):
        await apply(nftables, a_service(*endpoints, protocol=UDP))
        heard.append(ask(client))
    await apply(nftables)
    heard.append(ask(client))
    await apply(nftables, a_service(REMOTE, protocol=UDP))
    heard.append(ask(client))

    client.communicate("", timeout=10)
    answerers = [text.split()[1] if " " in text else text for text in heard]
    assert answerers == [SECOND, REMOTE, "refused", SECOND, "refused", REMOTE]


async def test_datagrams_that_go_right_are_not_disturbed(
    nftables: Nftables, network: Network
) -> None:
    """Not by a start of the agent, nor by changes to others."""
    service = a_service(FIRST, SECOND, protocol=UDP)
    await apply(nftables, service)
    client = network.start(TALK, "keep", VIP, "8080", netns="")
    before = ask(client)
    flow = run("conntrack -L -p udp -o id --orig-dst 10.92.0.1").split("id=")[1].split()[0]

    other = a_service(REMOTE, name="other", vip="10.92.0.2", published=53, protocol=UDP)
    await apply(Nftables(layout=nftables.layout), service, other)

    assert ask(client) == before
    client.communicate("", timeout=10)
    assert f"id={flow}" in run("conntrack -L -p udp -o id --orig-dst 10.92.0.1")


async def test_a_new_process_touches_nothing(nftables: Nftables, network: Network) -> None:
    services = (
        a_service(FIRST, REMOTE, new=(REMOTE,), pin=("192.0.2.0/24",)),
        a_service(FIRST, name="b", vip="10.92.0.2", published=0),
    )
    await apply(nftables, services[0])
    await apply(nftables, *services)
    before = run("nft -a list table ip warren")

    await apply(Nftables(layout=nftables.layout), *services)

    assert run("nft -a list table ip warren") == before


async def test_a_new_process_finds_what_changed_meanwhile(
    nftables: Nftables, network: Network
) -> None:
    await apply(nftables, a_service(FIRST))

    await apply(Nftables(layout=nftables.layout), a_service(SECOND))

    assert _heard(network, netns="", count=3) == {SECOND}


async def test_other_networks_make_other_rules(nftables: Nftables, network: Network) -> None:
    await apply(nftables, a_service(FIRST))

    changed = CONFIG.__class__(
        node_id="this",
        vip_network="10.93.0.0/16",
        task_network="10.96.0.0/14",
        mesh_interface="mesh0",
    )
    await nftables.apply(changed, {})

    text = run("nft list table ip warren")
    assert "10.88.0.0" not in text
    assert "10.96.0.0/14" in text
    assert "10.92.0.0" not in run("ip route")
    assert "10.93.0.0/16 dev lo" in run("ip route")
    assert GATEWAY not in run("ip addr show dev lo")


async def test_rules_that_somebody_flushed_come_back(nftables: Nftables, network: Network) -> None:
    service = a_service(FIRST)
    for command in ("nft flush ruleset", "nft delete table ip warren"):
        await apply(nftables, service)
        run(command)

        await apply(nftables, service)

        assert _heard(network, netns="", count=1) == {FIRST}


async def test_a_change_after_a_flush_brings_all_back(nftables: Nftables, network: Network) -> None:
    other = a_service(REMOTE, name="other", vip="10.92.0.2", published=0)
    await apply(nftables, a_service(FIRST), other)
    run("nft flush ruleset")

    await apply(nftables, a_service(SECOND), other)

    assert _heard(network, netns="", count=3) == {SECOND}
    assert _heard(network, netns="", count=1, address="10.92.0.2") == {REMOTE}


async def test_rules_of_others_are_left_alone(nftables: Nftables) -> None:
    run("nft -f -", text="table ip other {\n chain theirs {\n counter accept\n }\n }\n")

    await apply(nftables, a_service(FIRST))

    assert "table ip other" in run("nft list tables")


async def test_the_same_services_are_not_written_again(network: Network, tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    command = ("sh", "-c", f'echo "$1" >>{calls}; exec nft "$@"', "nft")
    nftables = Nftables(command, layout="ranges")
    service = a_service(FIRST)
    await apply(nftables, service)
    calls.write_text("")

    await apply(nftables, service)
    await apply(nftables, a_service(SECOND))

    run("nft flush ruleset")
    assert calls.read_text().split() == ["list", "-f"]


async def test_the_first_layout_that_works_is_taken(
    network: Network, no_rules: None, tmp_path: Path
) -> None:
    """An nft that knows no intervals in concatenations, as it were."""
    command = ("sh", "-c", _OLD_NFT, "nft")
    nftables = Nftables(command)

    await apply(nftables, a_service(FIRST))

    assert nftables.layout == "chains"
    assert _heard(network, netns="", count=1) == {FIRST}


async def test_the_layout_of_choice_works_here(network: Network, no_rules: None) -> None:
    nftables = Nftables()

    await apply(nftables, a_service(FIRST))

    assert nftables.layout == "ranges"


async def test_without_nft_the_error_says_so(network: Network) -> None:
    with pytest.raises(DriverError) as refused:
        await apply(Nftables(("no-such-nft",), layout="ranges"), a_service(FIRST))

    assert str(refused.value) == "no-such-nft is not installed on this node"


def _heard(network: Network, *, netns: str, count: int, address: str = VIP) -> set[str]:
    heard = network.connect(8080, netns=netns, address=address, count=count)
    return {text.split()[1] for text in heard}


def _heard_from(network: Network, source: str) -> str:
    """Who answers a task that has this address."""
    command = f"import socket; c = socket.create_connection(('{VIP}', 8080), 2, ('{source}', 0));"
    client = network.start("-c", f"{command} print(c.makefile().readline())", netns=network.first)
    return client.communicate("", timeout=10)[0].split()[1]


def _counts(printed: str) -> dict[str, int]:
    return {whom: int(times) for whom, times in map(str.split, printed.splitlines())}


def _set_source_ports(low: int, high: int) -> None:
    """The ports that the node's own connections may come from."""
    Path("/proc/sys/net/ipv4/ip_local_port_range").write_text(f"{low} {high}")


_OLD_NFT = """
text=$(cat)
case "$text" in *"flags interval"*) echo "no intervals here" >&2; exit 1 ;; esac
printf "%s" "$text" | nft "$@"
"""

_SLOW_CLIENT = f"""
import socket, sys
connection = socket.create_connection(("{NODE}", 80), timeout=5)
print(connection.makefile().readline().strip(), flush=True)
sys.stdin.readline()
connection.sendall(b"x")
assert connection.recv(1) == b""
print("closed")
"""
