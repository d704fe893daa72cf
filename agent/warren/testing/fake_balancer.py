"""Virtual addresses and published ports in memory, for tests of what stands on `ports.Balancer`."""

from collections import deque
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network

from warren.drivers.ports import BalancerConfig, HeldPort
from warren.model.assignments import Endpoint, PinnedSources, ServiceTraffic
from warren.model.errors import WarrenError
from warren.model.services import Port, PortMode, Protocol


class FakeBalancer:
    """Knows, as the kernel would, which endpoints answer at an address or on a published port."""

    def __init__(self) -> None:
        self.config: BalancerConfig | None = None
        """Of the last call of `apply` that succeeded."""
        self.services: Mapping[str, ServiceTraffic] = {}
        """Likewise."""
        self.applied = 0
        """How often it succeeded."""
        self.failures: deque[WarrenError] = deque()
        """Raised by the next calls of `apply`, one each."""
        self.held: dict[tuple[int, Protocol], str] = {}
        """Ports that processes of the host hold, with the name of each."""

    @property
    def layout(self) -> str:
        return "memory" if self.applied else ""

    async def apply(
        self, config: BalancerConfig, services: Mapping[str, ServiceTraffic]
    ) -> tuple[HeldPort, ...]:
        if self.failures:
            raise self.failures.popleft()
        self.config, self.services = config, dict(services)
        self.applied += 1
        return tuple(
            HeldPort(
                service=name,
                port=port.published,
                protocol=port.protocol,
                holder=self.held[port.published, port.protocol],
            )
            for name, service in sorted(services.items())
            for port in service.ports
            if (port.published, port.protocol) in self.held and self._answers_here(service, port)
        )

    def answering(
        self,
        port: int,
        *,
        address: str = "",
        protocol: Protocol = Protocol.TCP,
        source: str = "0.0.0.0",
    ) -> tuple[Endpoint, ...] | None:
        """Endpoints that receive connections of `source` to `address`, or, without one, to a
        published port of this host; none: they are refused; None: it is not ours."""
        for service in self.services.values():
            for each in service.ports:
                if each.protocol is not protocol:
                    continue
                if address and (service.vip, each.target) == (address, port):
                    return _receiving(service.endpoints, service.pin, source)
                if not address and each.published == port:
                    return self._published(service, each, source)
        return None

    def _published(
        self, service: ServiceTraffic, port: Port, source: str
    ) -> tuple[Endpoint, ...] | None:
        if (port.published, port.protocol) in self.held or not self._answers_here(service, port):
            return None
        endpoints = service.endpoints if port.mode is PortMode.MESH else self._local(service)
        return _receiving(endpoints, service.pin, source)

    def _answers_here(self, service: ServiceTraffic, port: Port) -> bool:
        return port.mode is PortMode.MESH or bool(self._local(service))

    def _local(self, service: ServiceTraffic) -> tuple[Endpoint, ...]:
        node_id = self.config.node_id if self.config is not None else ""
        return tuple(e for e in service.endpoints if e.node_id == node_id)

    async def close(self) -> None:
        """Nothing to let go of; the rules stay."""


def _receiving(
    endpoints: tuple[Endpoint, ...], pin: PinnedSources | None, source: str
) -> tuple[Endpoint, ...]:
    """Weight 0 means: only while nobody else is there."""
    networks = map(IPv4Network, pin.networks if pin is not None else ())
    if any(IPv4Address(source) in network for network in networks):
        endpoints = tuple(e for e in endpoints if e.pinned) or endpoints
    return tuple(e for e in endpoints if e.weight) or endpoints
