"""A name server in memory, for tests of what stands on `drivers.ports.Resolver`."""

from collections import deque
from collections.abc import Mapping

from warren.drivers.ports import ResolverConfig
from warren.model.errors import WarrenError

NXDOMAIN = None


class FakeResolver:
    """Answers from the records that it is given, as the real one does."""

    def __init__(self) -> None:
        self.failures: deque[WarrenError] = deque()
        """Raised by the next calls of `apply`, one each."""
        self._records: dict[str, list[tuple[str, str]]] = {}
        self._domain = ""

    async def apply(self, config: ResolverConfig, names: Mapping[str, tuple[str, ...]]) -> None:
        if self.failures:
            raise self.failures.popleft()
        self._domain = config.domain
        self._records = {}
        for record in (record for records in names.values() for record in records):
            name, _, _, kind, value = record.split(" ", 4)
            self._records.setdefault(name, []).append((kind, value))

    def ask(self, name: str, kind: str = "A") -> tuple[str, ...] | None:
        """The sorted values of a full name's records of that kind; NXDOMAIN for an unknown name."""
        known = f"{name}." in self._records or any(n.endswith(f".{name}.") for n in self._records)
        if not f".{name}".endswith(f".{self._domain}") or not known:
            return NXDOMAIN
        return tuple(sorted(v for k, v in self._records.get(f"{name}.", ()) if k == kind))

    async def close(self) -> None:
        """Nothing to let go of."""
