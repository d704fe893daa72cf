"""Waiting for what others bring, and saying what is missing."""

import asyncio
from collections.abc import Callable


class News:
    """Wakes all who wait whenever there is something new."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def tell(self) -> None:
        """There is."""
        self._event.set()
        self._event = asyncio.Event()

    async def wait(self) -> None:
        """Until there is something new."""
        await self._event.wait()

    async def wait_complete(
        self, missing: Callable[[], str], say: Callable[[str], None] = lambda _: None
    ) -> None:
        """Until nothing is missing; says what is, each time that it is something else."""
        said = ""
        while sentence := missing():
            if sentence != said:
                say(sentence)
            said = sentence
            await self.wait()
