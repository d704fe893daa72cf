"""The task network in memory, for tests of what stands on `drivers.ports.TaskNetwork`."""

from collections import deque

from warren.model.errors import WarrenError


class FakeTaskNetwork:
    """Remembers what it was configured to be."""

    def __init__(self) -> None:
        self.configured: list[tuple[str, int]] = []
        """Subnet and MTU of every change, in order; repeating the last one is no change."""
        self.failures: deque[WarrenError] = deque()
        """Raised by the next calls of `configure`, one each."""

    async def configure(self, subnet: str, mtu: int) -> None:
        if self.failures:
            raise self.failures.popleft()
        if not self.configured or self.configured[-1] != (subnet, mtu):
            self.configured.append((subnet, mtu))
