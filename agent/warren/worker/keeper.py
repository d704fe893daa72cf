"""Keeps one part of this host as it should be: at once when that changes, and looked after always.

A part that cannot be set up is tried again every second, one that is set up is applied again every
few: another program may have undone it, and drivers find that out by themselves. A wish that asks
for no more than the last is not applied before that. What goes wrong is told once, not at every
try, and holds up no other part.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar

from warren.model.errors import WarrenError

log = logging.getLogger(__name__)

CHECK_SECONDS = 5.0
RETRY_SECONDS = 1.0

W = TypeVar("W")


class Keeper(Generic[W]):
    """One part, with the newest wish for it."""

    def __init__(
        self,
        part: str,
        apply: Callable[[W], Awaitable[None]],
        *,
        applied: Callable[[W], None] = lambda _: None,
        same: Callable[[W, W], bool] = lambda _, __: False,
    ) -> None:
        """`applied` is told each wish that the part is as; `same`: two wishes ask for the same."""
        self._part = part
        self._apply = apply
        self._applied = applied
        self._same = same
        self._wish: W | None = None
        self._done: W | None = None
        """What the part is as, unless another program undid it."""
        self._doubted = False
        self._changed = asyncio.Event()
        self._trouble = ""

    @property
    def wish(self) -> W | None:
        """The newest."""
        return self._wish

    def want(self, wish: W) -> None:
        """This is how the part should be from now on."""
        self._wish = wish
        self._changed.set()

    def doubt(self) -> None:
        """The part may have been undone: as it should be anyway, it is applied again, now."""
        if self._wish is not None:
            self._doubted = True
            self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        await self._changed.wait()
        while True:
            self._changed.clear()
            await self._bring()
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY_SECONDS if self._trouble else CHECK_SECONDS):
                    await self._wait_different()

    async def _wait_different(self) -> None:
        await self._changed.wait()
        while self._wish is not None and self._is_done(self._wish):
            self._changed.clear()
            self._applied(self._wish)
            await self._changed.wait()

    def _is_done(self, wish: W) -> bool:
        return not self._doubted and self._done is not None and self._same(self._done, wish)

    async def _bring(self) -> None:
        wish = self._wish
        assert wish is not None, "there is one when it changed"
        self._done, self._doubted = None, False
        try:
            await self._apply(wish)
        except WarrenError as error:
            self._note_trouble(str(error))
        except Exception as error:
            log.exception("a bug in the driver of the %s", self._part)
            self._note_trouble(f"internal error: {error}")
        else:
            if self._trouble:
                log.info("%s: set up", self._part)
            self._trouble, self._done = "", wish
            self._applied(wish)

    def _note_trouble(self, trouble: str) -> None:
        if self._trouble != trouble:
            log.warning("%s: cannot be set up, will be tried again: %s", self._part, trouble)
        self._trouble = trouble
