"""`Manager`: all parts of the daemon, put together, from start to stop."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

import warren
from warren.api import exposition
from warren.api.metrics_server import MetricsServer
from warren.drivers.examinations import Examinations
from warren.drivers.ports import Examiner
from warren.manager import metrics
from warren.manager.analyst import Analyst
from warren.manager.cluster import ManagerContext
from warren.manager.contacts import Contacts
from warren.manager.credentials import CredentialFiles
from warren.manager.dispatcher import Dispatcher
from warren.manager.event_log import EventLog
from warren.manager.following import Following
from warren.manager.forwarding import Forwarder
from warren.manager.founding import found_cluster
from warren.manager.joining import join_members, refresh_managers, wait_demoted
from warren.manager.leadership import Leadership
from warren.manager.lock_watch import LockWatch
from warren.manager.reconciler import Reconciler
from warren.manager.reports import Reports
from warren.manager.resealer import Resealer
from warren.manager.routes import all_routes
from warren.manager.rpc import Router
from warren.manager.server import Server
from warren.manager.sessions import Sessions
from warren.manager.volume_remover import VolumeRemover
from warren.model.errors import WarrenError

logger = logging.getLogger(__name__)

FIRST_LEADER = timedelta(seconds=5)
HAND_OVER = timedelta(seconds=1)


class Manager:
    """One manager of a cluster. It starts and stops the store that it is given."""

    def __init__(self, context: ManagerContext, examiner: Examiner | None = None) -> None:
        self._context = context
        self._credentials = CredentialFiles(context.config)
        self._forwarder = Forwarder(context, self._credentials.newest)
        sessions, contacts, reports = Sessions(), Contacts(), Reports(context)
        self._event_log = EventLog(context)
        routes = all_routes(
            context,
            sessions,
            self._forwarder.member,
            self._event_log,
            self._forwarder.unlock_member,
            Following(contacts),
        )
        router = Router(context, self._forwarder, routes)
        self.dispatcher = Dispatcher(context, sessions, contacts, reports)
        self._server = Server(context, router, self.dispatcher)
        reconciler = Reconciler(context, contacts)
        loops: tuple[Callable[[], Awaitable[None]], ...] = (
            lambda: found_cluster(context),
            contacts.run,
            reconciler.run,
            Analyst(context, sessions, examiner or Examinations()).run,
            reports.run,
            Resealer(context).run,
            VolumeRemover(context, sessions).run,
        )
        self._metrics = MetricsServer(self._metrics_text)
        self._leadership = Leadership(context, contacts, loops)
        self._lock_watch = LockWatch(context, self._forwarder.member)

    async def run(self, stop: asyncio.Event, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until `stop` is set. `ready` is called when calls are accepted."""
        await self._context.store.start()
        try:
            await self._server.start(self._credentials)
            await self._start_metrics()
            await self._run_loops(stop, ready)
            await self._hand_over()
        finally:
            await self._metrics.stop()
            await self._server.stop()
            await self._forwarder.close()
            await self._context.store.stop()

    async def _run_loops(self, stop: asyncio.Event, ready: Callable[[], None]) -> None:
        async with asyncio.TaskGroup() as group:
            loops = [
                group.create_task(self._leadership.run()),
                group.create_task(join_members(self._context, self._credentials.newest)),
                group.create_task(refresh_managers(self._context)),
                group.create_task(self._stop_when_demoted(stop)),
                group.create_task(self._event_log.run()),
                group.create_task(self._lock_watch.run()),
            ]
            await self._wait_first_leader(stop)
            ready()
            await stop.wait()
            for loop in loops:
                loop.cancel()

    async def _stop_when_demoted(self, stop: asyncio.Event) -> None:
        await wait_demoted(self._context)
        logger.warning("this node is a manager no longer: stopping")
        stop.set()

    async def _start_metrics(self) -> None:
        config = self._context.config
        where, _, port = config.metrics_address.partition(":")
        if where == "unix":
            await self._metrics.start_unix(config.metrics_socket_path)
        elif where == "mesh":
            await self._metrics.start_tcp(self._context.membership.mesh_address, int(port))

    async def _metrics_text(self) -> str:
        store = self._context.store
        figures = metrics.of_manager(
            await store.metrics(),
            store.status,
            store.state,
            version=warren.__version__,
            locked=self._context.keyring.is_locked(store.state.secret_keys),
        )
        return exposition.render(figures)

    async def _wait_first_leader(self, stop: asyncio.Event) -> None:
        """Ready means: takes part. Whoever restarts managers one after another waits for that.

        Bounded, because the first managers of a cluster that was off must start without a majority.
        """
        waits = [
            asyncio.create_task(self._context.wait_leader()),
            asyncio.create_task(stop.wait()),
        ]
        await asyncio.wait(
            waits, timeout=FIRST_LEADER.total_seconds(), return_when=asyncio.FIRST_COMPLETED
        )
        for wait in waits:
            wait.cancel()

    async def _hand_over(self) -> None:
        """Give the lead away while calls are still answered: they go on to the next leader."""
        if not self._context.leads() or len(self._context.store.status.roster) < 2:
            return
        begin = time.monotonic()
        try:
            await self._context.store.transfer_leadership(timeout=HAND_OVER)
        except WarrenError as error:
            logger.warning("stopping without handing the lead over: %s", error)
            return
        milliseconds = (time.monotonic() - begin) * 1000
        leader = self._context.leader()
        name = leader.name if leader is not None else "another manager"
        logger.info("lead handed over to %s in %.0f ms", name, milliseconds)
