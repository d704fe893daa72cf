"""A name server in memory, for tests of what stands on `drivers.ports.Resolver`."""

from collections import deque

from warren.drivers.ports import ResolverConfig
from warren.model.errors import WarrenError

NXDOMAIN = None


class FakeResolver:
    """Answers from the zone that it is given, as the real one does."""

    def __init__(self) -> None:
        self.failures: deque[WarrenError] = deque()
        """Raised by the next calls of `apply`, one each."""
        self._records: dict[str, list[tuple[str, str]]] = {}
        self._domain = ""

    async def apply(self, config: ResolverConfig, zone: str) -> None:
        if self.failures:
            raise self.failures.popleft()
        self._domain = config.domain
        self._records = {}
        for line in zone.splitlines():
            if not line.startswith("$"):
                name, kind, value = line.split(maxsplit=2)
                self._records.setdefault(name, []).append((kind, value))

    def ask(self, name: str, kind: str = "A") -> tuple[str, ...] | None:
        """The sorted values of a full name's records of that kind; NXDOMAIN for an unknown name."""
        label = name.removesuffix(f".{self._domain}")
        known = label in self._records or any(n.endswith(f".{label}") for n in self._records)
        if label == name or not known:
            return NXDOMAIN
        found = (v for k, v in self._records.get(label, ()) if k == kind)
        return tuple(sorted(self._full(value, kind) for value in found))

    def _full(self, value: str, kind: str) -> str:
        """Names in values are completed, as on the wire."""
        return f"{value}.{self._domain}." if kind == "SRV" else value

    async def close(self) -> None:
        """Nothing to let go of."""
