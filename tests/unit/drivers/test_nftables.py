"""The text that publishes ports. That it does what it says is tested in tests/contract."""

from warren.drivers.nftables import elements
from warren.model.assignments import Endpoint, PublishedPort
from warren.model.services import PortMode, Protocol


def a_port(published: int, *addresses: str, protocol: Protocol = Protocol.TCP) -> PublishedPort:
    return PublishedPort(
        service="web",
        published=published,
        protocol=protocol,
        mode=PortMode.MESH,
        endpoints=tuple(
            Endpoint(address=address, port=8080, task_id=address, node_id="n1")
            for address in addresses
        ),
    )


def text_of(*ports: PublishedPort) -> str:
    return elements(ports, node_id="n1")


def test_three_endpoints_share_the_whole_range() -> None:
    lines = text_of(a_port(80, "10.88.1.2", "10.88.1.3", "10.88.1.4")).splitlines()

    assert [line.strip() for line in lines if ":" in line and "-" in line and "." in line][:3] == [
        "tcp . 80 . 0-3332 : 10.88.1.2 . 8080,",
        "tcp . 80 . 3333-6665 : 10.88.1.3 . 8080,",
        "tcp . 80 . 6666-9999 : 10.88.1.4 . 8080",
    ]


def test_the_order_of_what_is_given_does_not_matter() -> None:
    first, second = a_port(80, "10.88.1.2", "10.88.1.3"), a_port(53, protocol=Protocol.UDP)

    assert text_of(first, second) == text_of(second, a_port(80, "10.88.1.3", "10.88.1.2"))


def test_a_port_without_endpoints_is_refused_and_not_mapped() -> None:
    text = text_of(a_port(53, protocol=Protocol.UDP))

    assert "udp . 53\n" in text
    assert "udp . 53 ." not in text
