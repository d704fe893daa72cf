"""The contract of `Balancer`: the fake and both layouts of nftables show a client the same."""

from collections.abc import AsyncIterator

import pytest
from warren.drivers.nftables import Nftables
from warren.drivers.ports import HeldPort
from warren.model.services import Affinity, PortMode, Protocol
from warren.testing.fake_balancer import FakeBalancer

from tests.contract.balanced_network import (
    CLIENT,
    FIRST,
    GATEWAY,
    NODE,
    REMOTE,
    SECOND,
    UDP,
    VIP,
    Network,
    a_service,
    apply,
    end,
)


class Balanced:
    """A balancer, and what a client of it finds."""

    def __init__(self, balancer: Nftables | FakeBalancer, network: Network | None) -> None:
        self.balancer = balancer
        self.network = network

    def answering(
        self, port: int, address: str = "", protocol: Protocol = Protocol.TCP, *, count: int = 40
    ) -> set[str]:
        """Addresses of the tasks that answer; none: the client was refused at once.

        Without an address, a client of the underlay at a published port; else one on the node.
        """
        if isinstance(self.balancer, FakeBalancer):
            source = GATEWAY if address else CLIENT
            found = self.balancer.answering(port, address=address, protocol=protocol, source=source)
            return {endpoint.address for endpoint in found or ()}
        assert self.network is not None
        heard = self.network.connect(
            port,
            netns="" if address else self.network.client,
            address=address or NODE,
            count=count,
            verb="send" if protocol is UDP else "connect",
        )
        return {line.split()[1] for line in heard if line != "refused"}


@pytest.fixture(params=["fake", "ranges", "chains"])
async def balanced(request: pytest.FixtureRequest) -> AsyncIterator[Balanced]:
    if request.param == "fake":
        yield Balanced(FakeBalancer(), None)
        return
    network = request.getfixturevalue("balanced_network")
    request.getfixturevalue("no_rules")
    yield Balanced(Nftables(layout=request.param), network)


async def test_every_endpoint_answers_at_the_virtual_address(balanced: Balanced) -> None:
    await apply(balanced.balancer, a_service(FIRST, SECOND, REMOTE))

    assert balanced.answering(8080, VIP) == {FIRST, SECOND, REMOTE}


async def test_every_endpoint_answers_on_the_published_port(balanced: Balanced) -> None:
    await apply(balanced.balancer, a_service(FIRST, SECOND, REMOTE))

    assert balanced.answering(80) == {FIRST, SECOND, REMOTE}


async def test_without_endpoints_both_are_refused(balanced: Balanced) -> None:
    await apply(balanced.balancer, a_service())

    assert balanced.answering(8080, VIP) == set()
    assert balanced.answering(80) == set()


async def test_datagrams_find_endpoints_too(balanced: Balanced) -> None:
    await apply(balanced.balancer, a_service(FIRST, REMOTE, protocol=UDP))

    assert balanced.answering(8080, VIP, UDP) == {FIRST, REMOTE}
    assert balanced.answering(80, protocol=UDP) == {FIRST, REMOTE}


async def test_datagrams_are_refused_without_endpoints(balanced: Balanced) -> None:
    await apply(balanced.balancer, a_service(protocol=UDP))

    # Few: the kernel sends a client six refusals of datagrams at once, then one per second.
    assert balanced.answering(8080, VIP, UDP, count=3) == set()
    assert balanced.answering(80, protocol=UDP, count=3) == set()


async def test_mode_host_answers_from_this_node_alone(balanced: Balanced) -> None:
    await apply(balanced.balancer, a_service(FIRST, REMOTE, mode=PortMode.HOST))

    assert balanced.answering(80) == {FIRST}
    assert balanced.answering(8080, VIP) == {FIRST, REMOTE}


async def test_an_endpoint_without_weight_stands_back(balanced: Balanced) -> None:
    await apply(balanced.balancer, a_service(FIRST, SECOND, weights=(100, 0)))

    assert balanced.answering(8080, VIP) == {FIRST}


async def test_when_nobody_has_weight_all_answer(balanced: Balanced) -> None:
    await apply(balanced.balancer, a_service(FIRST, SECOND, weights=(0, 0)))

    assert balanced.answering(8080, VIP) == {FIRST, SECOND}


async def test_what_is_applied_replaces_what_was(balanced: Balanced) -> None:
    web, shop = a_service(FIRST), a_service(SECOND, name="shop", vip="10.92.0.2", published=81)
    await apply(balanced.balancer, web, shop)

    await apply(balanced.balancer, a_service(SECOND, published=82))

    assert balanced.answering(8080, VIP) == {SECOND}
    assert balanced.answering(80) == set()
    assert balanced.answering(81) == set()
    assert balanced.answering(82) == {SECOND}
    assert balanced.answering(8080, "10.92.0.2") == set()


async def test_a_service_may_come_back(balanced: Balanced) -> None:
    for services in ((a_service(FIRST),), (), (a_service(SECOND),), (a_service(),)):
        await apply(balanced.balancer, *services)

    await apply(balanced.balancer, a_service(FIRST, SECOND))

    assert balanced.answering(8080, VIP) == {FIRST, SECOND}
    assert balanced.answering(80) == {FIRST, SECOND}


async def test_affinity_may_be_switched_on(balanced: Balanced) -> None:
    await apply(balanced.balancer, a_service(FIRST))

    await apply(balanced.balancer, a_service(SECOND, affinity=Affinity.SOURCE))

    assert balanced.answering(8080, VIP) == {SECOND}
    assert balanced.answering(80) == {SECOND}


@pytest.mark.parametrize("protocol", Protocol)
@pytest.mark.parametrize("affinity", Affinity)
async def test_a_pinned_client_reaches_new_tasks_alone(
    balanced: Balanced, protocol: Protocol, affinity: Affinity
) -> None:
    """Whatever their weight."""
    pin = (f"{GATEWAY}/32", "192.168.9.0/28")
    for weights in ((50, 50, 0), (45, 45, 10)):
        service = a_service(
            FIRST,
            SECOND,
            REMOTE,
            weights=weights,
            new=(REMOTE,),
            pin=pin,
            protocol=protocol,
            affinity=affinity,
        )
        await apply(balanced.balancer, service)

        assert balanced.answering(8080, VIP, protocol) == {REMOTE}
        assert balanced.answering(80, protocol=protocol) == {REMOTE}


async def test_clients_beside_a_pin_are_shared_by_weight(balanced: Balanced) -> None:
    service = a_service(
        FIRST, SECOND, weights=(100, 0), new=(SECOND,), pin=("10.88.1.2/32", "192.168.9.4/30")
    )
    await apply(balanced.balancer, service)

    assert balanced.answering(8080, VIP) == {FIRST}
    assert balanced.answering(80) == {FIRST}


async def test_without_a_new_task_a_pinned_client_is_as_all(balanced: Balanced) -> None:
    pin = (f"{GATEWAY}/32", f"{CLIENT}/32")
    await apply(balanced.balancer, a_service(FIRST, SECOND, weights=(100, 0), pin=pin))

    assert balanced.answering(8080, VIP) == {FIRST}
    assert balanced.answering(80) == {FIRST}


async def test_in_mode_host_a_pin_counts_where_a_new_task_runs(balanced: Balanced) -> None:
    pin = (f"{CLIENT}/32", f"{GATEWAY}/32")
    service = a_service(FIRST, REMOTE, mode=PortMode.HOST, new=(REMOTE,), pin=pin)
    await apply(balanced.balancer, service)

    assert balanced.answering(80) == {FIRST}
    assert balanced.answering(8080, VIP) == {REMOTE}


async def test_a_pin_comes_and_goes(balanced: Balanced) -> None:
    pin = (f"{CLIENT}/32", f"{GATEWAY}/32")
    trial = a_service(FIRST, SECOND, weights=(100, 0), new=(SECOND,), pin=pin)
    heard = []

    for service in (a_service(FIRST), trial, a_service(FIRST), trial, a_service(SECOND)):
        await apply(balanced.balancer, service)
        heard.append((balanced.answering(8080, VIP), balanced.answering(80)))

    assert heard == [({each}, {each}) for each in (FIRST, SECOND, FIRST, SECOND, SECOND)]


async def test_a_port_that_the_host_holds_is_left_to_it(balanced: Balanced) -> None:
    if isinstance(balanced.balancer, FakeBalancer):
        balanced.balancer.held[80, Protocol.TCP] = "python3 (pid 1)"
        process = None
    else:
        assert balanced.network is not None
        process = balanced.network.serve(80, netns="")

    (held,) = await apply(balanced.balancer, a_service(FIRST))

    assert (held.service, held.port, held.protocol) == ("web", 80, Protocol.TCP)
    assert isinstance(held, HeldPort)
    assert held.holder.startswith("python")
    assert FIRST not in balanced.answering(80)
    assert balanced.answering(8080, VIP) == {FIRST}
    if process is not None:
        assert held.holder.endswith(f"(pid {process.pid})")
        end(process)
    elif isinstance(balanced.balancer, FakeBalancer):
        balanced.balancer.held.clear()
    assert await apply(balanced.balancer, a_service(FIRST)) == ()
    assert balanced.answering(80) == {FIRST}
