"""Published ports in memory, for tests of what stands on `drivers.ports.Publisher`."""

from collections import deque

from warren.model.assignments import Endpoint, PublishedPort
from warren.model.errors import WarrenError
from warren.model.services import PortMode, Protocol


class FakePublisher:
    """Knows, as the kernel would, which endpoints answer on a published port."""

    def __init__(self) -> None:
        self.applied: list[tuple[PublishedPort, ...]] = []
        """Every set of ports that was applied, in order; unchanged ones too."""
        self.failures: deque[WarrenError] = deque()
        """Raised by the next calls of `apply`, one each."""
        self._node_id = ""

    async def apply(
        self,
        ports: tuple[PublishedPort, ...],
        *,
        task_network: str,
        mesh_interface: str,
        node_id: str,
    ) -> None:
        if self.failures:
            raise self.failures.popleft()
        self.applied.append(ports)
        self._node_id = node_id

    def answering(
        self, published: int, protocol: Protocol = Protocol.TCP
    ) -> tuple[Endpoint, ...] | None:
        """Endpoints behind the port on this host; none: it refuses; None: it isn't published."""
        for port in self.applied[-1] if self.applied else ():
            if (port.published, port.protocol) == (published, protocol):
                return tuple(
                    endpoint
                    for endpoint in port.endpoints
                    if port.mode is PortMode.MESH or endpoint.node_id == self._node_id
                )
        return None

    async def close(self) -> None:
        """Nothing to let go of; the ports stay."""
