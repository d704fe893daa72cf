"""Names of services as lines of a zone."""

from dataclasses import replace

from warren.core.dns import Zone, servers
from warren.model.assignments import Assignment, Endpoint, Peer, ServiceTraffic
from warren.model.clusters import ClusterSpec
from warren.model.nodes import NodeMesh
from warren.model.services import Port, Protocol

WEB = ServiceTraffic(
    name="web",
    vip="10.92.0.7",
    ports=(
        Port(name="http", target=8080),
        Port(target=9000),
        Port(name="dns", target=53, protocol=Protocol.UDP),
    ),
    endpoints=(
        Endpoint(address="10.88.1.2", task_id="web-1-a", node_id="n1", slot=1),
        Endpoint(address="10.88.2.3", task_id="web-1-b", node_id="n2", slot=1),
        Endpoint(address="10.88.2.2", task_id="web-2-c", node_id="n2", slot=2),
    ),
)
HEAD = """\
$ORIGIN warren.internal.
$TTL 5
@ SOA ns hostmaster 1 3600 600 2147483647 5
@ NS ns
ns A 10.88.1.1
"""


def text(*services: ServiceTraffic) -> str:
    return Zone().text("warren.internal", "10.88.1.1", {s.name: s for s in services})


def test_a_service_is_found_by_its_virtual_address_its_tasks_and_its_named_ports() -> None:
    assert text(WEB) == HEAD + (
        "web A 10.92.0.7\n"
        "tasks.web A 10.88.1.2\n"
        "1.tasks.web A 10.88.1.2\n"
        "tasks.web A 10.88.2.3\n"
        "1.tasks.web A 10.88.2.3\n"
        "tasks.web A 10.88.2.2\n"
        "2.tasks.web A 10.88.2.2\n"
        "_http._tcp.web SRV 0 0 8080 web\n"
        "_http._tcp.tasks.web SRV 0 0 8080 1.tasks.web\n"
        "_http._tcp.tasks.web SRV 0 0 8080 2.tasks.web\n"
        "_dns._udp.web SRV 0 0 53 web\n"
        "_dns._udp.tasks.web SRV 0 0 53 1.tasks.web\n"
        "_dns._udp.tasks.web SRV 0 0 53 2.tasks.web\n"
    )


def test_names_exist_without_endpoints_and_before_there_is_an_address() -> None:
    bare = ServiceTraffic(name="web")

    assert text(bare) == HEAD + 'web TXT "no virtual address yet"\ntasks.web TXT "no endpoint"\n'


def test_tasks_ask_their_own_node_first_and_then_the_two_that_follow_it() -> None:
    def peer(number: int) -> Peer:
        return Peer(
            node_id=f"n{number}",
            name=f"w{number}",
            public_key="",
            endpoint="",
            address="",
            subnet=f"10.88.{number}.0/24",
        )

    def asked(number: int, others: tuple[int, ...]) -> tuple[str, ...]:
        mesh = NodeMesh(public_key="", endpoint="", address="", subnet=f"10.88.{number}.0/24")
        peers = tuple(peer(other) for other in others)
        assignment = Assignment(index=1, spec=ClusterSpec(), mesh=mesh, peers=peers)
        return servers(assignment, f"n{number}")

    assert asked(1, (2, 3, 4)) == ("10.88.1.1", "10.88.2.1", "10.88.3.1")
    assert asked(3, (1, 2, 4)) == ("10.88.3.1", "10.88.4.1", "10.88.1.1")
    assert asked(1, ()) == ("10.88.1.1",)


def test_the_order_of_services_does_not_matter() -> None:
    api = ServiceTraffic(name="api", vip="10.92.0.8")

    assert text(WEB, api) == text(api, WEB)


def test_a_changed_service_is_written_anew_and_one_that_is_gone_is_not_written() -> None:
    zone, api = Zone(), ServiceTraffic(name="api", vip="10.92.0.8")
    zone.text("warren.internal", "10.88.1.1", {"web": WEB, "api": api})
    moved = replace(WEB, vip="10.92.0.9", ports=(), endpoints=())

    after = zone.text("warren.internal", "10.88.1.1", {"web": moved})

    assert after == HEAD + 'web A 10.92.0.9\ntasks.web TXT "no endpoint"\n'
