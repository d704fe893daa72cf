"""Names of services as records."""

from dataclasses import replace

from warren.core.dns import Names, records, servers
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
DOMAIN = "warren.internal"


def test_a_service_is_found_by_its_virtual_address_its_tasks_and_its_named_ports() -> None:
    assert records(DOMAIN, WEB) == (
        "web.warren.internal. 5 IN A 10.92.0.7",
        "tasks.web.warren.internal. 5 IN A 10.88.1.2",
        "1.tasks.web.warren.internal. 5 IN A 10.88.1.2",
        "tasks.web.warren.internal. 5 IN A 10.88.2.3",
        "1.tasks.web.warren.internal. 5 IN A 10.88.2.3",
        "tasks.web.warren.internal. 5 IN A 10.88.2.2",
        "2.tasks.web.warren.internal. 5 IN A 10.88.2.2",
        '_tcp.web.warren.internal. 5 IN TXT "named ports"',
        '_tcp.tasks.web.warren.internal. 5 IN TXT "named ports"',
        '_udp.web.warren.internal. 5 IN TXT "named ports"',
        '_udp.tasks.web.warren.internal. 5 IN TXT "named ports"',
        "_http._tcp.web.warren.internal. 5 IN SRV 0 0 8080 web.warren.internal.",
        "_http._tcp.tasks.web.warren.internal. 5 IN SRV 0 0 8080 1.tasks.web.warren.internal.",
        "_http._tcp.tasks.web.warren.internal. 5 IN SRV 0 0 8080 2.tasks.web.warren.internal.",
        "_dns._udp.web.warren.internal. 5 IN SRV 0 0 53 web.warren.internal.",
        "_dns._udp.tasks.web.warren.internal. 5 IN SRV 0 0 53 1.tasks.web.warren.internal.",
        "_dns._udp.tasks.web.warren.internal. 5 IN SRV 0 0 53 2.tasks.web.warren.internal.",
    )


def test_names_exist_without_endpoints_and_before_there_is_an_address() -> None:
    bare = ServiceTraffic(name="web", ports=(Port(name="http", target=80),))

    assert records(DOMAIN, bare) == (
        'web.warren.internal. 5 IN TXT "no virtual address yet"',
        'tasks.web.warren.internal. 5 IN TXT "no endpoint"',
        '_tcp.web.warren.internal. 5 IN TXT "named ports"',
        '_tcp.tasks.web.warren.internal. 5 IN TXT "named ports"',
        "_http._tcp.web.warren.internal. 5 IN SRV 0 0 80 web.warren.internal.",
        '_http._tcp.tasks.web.warren.internal. 5 IN TXT "no endpoint"',
    )


def test_every_name_between_a_service_and_a_longer_one_has_a_record() -> None:
    names = {record.partition(" ")[0] for record in records(DOMAIN, WEB)}

    above = {name.partition(".")[2] for name in names} - {f"{DOMAIN}."}

    assert above <= names


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


def test_only_services_that_changed_are_worked_out_anew() -> None:
    names, api = Names(), ServiceTraffic(name="api", vip="10.92.0.8")
    before = names.of(DOMAIN, {"web": WEB, "api": api})
    moved = replace(WEB, vip="10.92.0.9")

    after = names.of(DOMAIN, {"web": moved, "api": api})

    assert after == {"web": records(DOMAIN, moved), "api": records(DOMAIN, api)}
    assert after["api"] is before["api"]


def test_a_service_that_changed_in_nothing_that_names_tell_keeps_its_records() -> None:
    names = Names()
    before = names.of(DOMAIN, {"web": WEB})

    after = names.of(DOMAIN, {"web": replace(WEB, draining=WEB.endpoints)})

    assert after is before


def test_a_service_that_is_gone_has_no_records_and_another_domain_changes_all() -> None:
    names = Names()
    names.of(DOMAIN, {"web": WEB, "api": ServiceTraffic(name="api")})

    assert names.of(DOMAIN, {"web": WEB}) == {"web": records(DOMAIN, WEB)}
    assert names.of("example.org", {"web": WEB}) == {"web": records("example.org", WEB)}
