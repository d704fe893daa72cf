"""Published ports that this node leaves to processes of its host, on their way to the manager."""

import asyncio

from warren.model.nodes import HeldPort


class HeldPorts:
    """The balancer puts, the session takes; the newest counts."""

    def __init__(self) -> None:
        self._ports: tuple[HeldPort, ...] | None = None
        """None: the balancer has not looked yet."""
        self._news = asyncio.Event()

    def put(self, ports: tuple[HeldPort, ...]) -> None:
        """All that are held now."""
        if ports != self._ports:
            self._ports = ports
            self._news.set()

    def begin_session(self) -> None:
        """A manager that may know something else listens now."""
        if self._ports is not None:
            self._news.set()

    async def wait_news(self) -> tuple[HeldPort, ...]:
        """The next to tell."""
        await self._news.wait()
        self._news.clear()
        return self._ports or ()
