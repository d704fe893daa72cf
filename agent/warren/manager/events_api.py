"""Control, events: those that this manager has seen, and those to come."""

from collections.abc import AsyncGenerator
from datetime import timedelta

from warren.api import convert, warren_pb2
from warren.manager.authorization import Caller
from warren.manager.cluster import ManagerContext
from warren.manager.event_log import EventLog
from warren.model.events import Event


class EventsApi:
    """Handlers; the names are those of the RPCs."""

    def __init__(self, context: ManagerContext, log: EventLog) -> None:
        self._context = context
        self._log = log

    async def events(
        self, request: warren_pb2.EventsRequest, caller: Caller
    ) -> AsyncGenerator[warren_pb2.Event, None]:
        """A reader slower than a thousand events misses the oldest."""
        since = request.since.ToTimedelta()
        earliest = self._context.now() - since if since > timedelta() else None
        number = 0
        while True:
            count = self._log.newest.count
            for entry in self._log.after(number):
                number = entry.number
                if earliest is not None and entry.event.at < earliest:
                    continue
                if _is_asked_for(request, entry.event):
                    message: warren_pb2.Event = convert.to_message(entry.event)
                    yield message
            if not request.follow:
                return
            await self._log.newest.wait_newer(count)


def _is_asked_for(request: warren_pb2.EventsRequest, event: Event) -> bool:
    if event.index <= request.after:
        return False
    return not request.service or event.service == request.service
