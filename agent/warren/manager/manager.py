"""`Manager`: all parts of the daemon, put together, from start to stop."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from warren.manager.cluster import ManagerContext
from warren.manager.contacts import Contacts
from warren.manager.credentials import CredentialFiles
from warren.manager.dispatcher import Dispatcher
from warren.manager.forwarding import Forwarder
from warren.manager.founding import found_cluster
from warren.manager.joining import join_members, refresh_managers
from warren.manager.leadership import Leadership
from warren.manager.reconciler import Reconciler
from warren.manager.reports import Reports
from warren.manager.routes import all_routes
from warren.manager.rpc import Router
from warren.manager.server import Server
from warren.manager.sessions import Sessions

logger = logging.getLogger(__name__)


class Manager:
    """One manager of a cluster. It starts and stops the store that it is given."""

    def __init__(self, context: ManagerContext) -> None:
        self._context = context
        self._credentials = CredentialFiles(context.config)
        self._forwarder = Forwarder(context, self._credentials.newest)
        sessions, contacts, reports = Sessions(), Contacts(), Reports(context)
        router = Router(context, self._forwarder, all_routes(context, sessions))
        self.dispatcher = Dispatcher(context, sessions, contacts, reports)
        self._server = Server(context, router, self.dispatcher)
        reconciler = Reconciler(context, contacts)
        loops: tuple[Callable[[], Awaitable[None]], ...] = (
            lambda: found_cluster(context),
            reconciler.run,
            reports.run,
        )
        self._leadership = Leadership(context, contacts, loops)

    async def run(self, stop: asyncio.Event, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until `stop` is set. `ready` is called when calls are accepted."""
        await self._context.store.start()
        try:
            await self._server.start(self._credentials)
            ready()
            await self._run_loops(stop)
        finally:
            await self._server.stop()
            await self._forwarder.close()
            await self._context.store.stop()

    async def _run_loops(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            loops = [
                group.create_task(self._leadership.run()),
                group.create_task(join_members(self._context, self._credentials.newest)),
                group.create_task(refresh_managers(self._context)),
            ]
            await stop.wait()
            for loop in loops:
                loop.cancel()
