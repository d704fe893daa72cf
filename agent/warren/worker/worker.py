"""The worker's parts put together: sessions bring assignments, the others carry them out.

Every assignment goes first to the executor, to traffic and to the network, then to disk. Ending the
worker ends the session in order and touches no container, no rule and no interface.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import grpc

from warren.api import convert, warren_pb2
from warren.config import Config
from warren.drivers.ports import Prober, Runtime
from warren.model.assignments import Assignment
from warren.worker import certificates, describe, executor, membership, network, session, traffic
from warren.worker.assignment_store import AssignmentStore
from warren.worker.local_store import ProgressFile
from warren.worker.log_rotation import LogRotation
from warren.worker.logs import LogReader
from warren.worker.reporter import Reporter
from warren.worker.requests import Requests

log = logging.getLogger(__name__)

_CLOSING_SECONDS = 1.0
_CHANNEL_OPTIONS = (
    ("grpc.ssl_target_name_override", "manager.warren"),
    ("grpc.max_receive_message_length", 64 * 2**20),
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    # A pool shared between channels would hold back the next try after a failed one, and keep
    # using a certificate that has been renewed.
    ("grpc.use_local_subchannel_pool", 1),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drivers:
    """Everything that touches this host."""

    runtime: Runtime
    prober: Prober
    network: network.Drivers
    traffic: traffic.Drivers


class Worker:
    """One node's worker."""

    def __init__(
        self,
        config: Config,
        member: membership.Membership,
        drivers: Drivers,
        *,
        connect: Callable[[str], grpc.aio.Channel] | None = None,
    ) -> None:
        self._config = config
        self._member = member
        self._drivers = drivers
        self._identity = certificates.files(config.state_dir)
        self._connect = connect or self._connect_with_certificate
        self._store = AssignmentStore(config.state_dir / "worker" / "assignment.db")
        self._assignment: Assignment | None = None
        self._managers = member.managers
        """As node.json has them."""
        self._unsaved = asyncio.Event()
        self._reporter = Reporter(changed=lambda: self._traffic.look_again())
        self._carriage = session.Carriage()
        self._network = network.Network(drivers.network)
        self._traffic = traffic.Traffic(
            drivers.traffic,
            node_id=member.node_id,
            mesh_interface=config.mesh_interface,
            reporter=self._reporter,
            carried=self._carriage.put,
        )
        self._executor = executor.Executor(
            executor.Surroundings(
                node_name=member.name,
                log_dir=config.log_dir,
                runtime=drivers.runtime,
                prober=drivers.prober,
                reporter=self._reporter,
                progress_file=ProgressFile(config.state_dir / "worker" / "tasks.json"),
                network_ready=self._network.ready,
                now=_now,
            )
        )
        self._log_rotation = LogRotation(config.log_dir, drivers.runtime, self._executor.running)
        self._sessions = session.Sessions(
            session.Surroundings(
                connect=self._connect,
                hello=self._hello,
                assigned=self._assigned,
                reporter=self._reporter,
                carriage=self._carriage,
                requests=Requests(LogReader(config.log_dir), self._executor.execute),
            ),
            tuple(manager.api for manager in member.managers),
        )
        self._renewal = certificates.Renewal(
            self._identity,
            connect=lambda: self._connect(self._sessions.target),
            now=_now,
            roles=member.roles,
            certified=lambda roles: membership.write_roles(config.state_dir / "node.json", roles),
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set."""
        kept = self._store.load()
        if kept is not None:
            log.info("going on with assignment %d from disk", kept.index)
            living = (task.id for task in kept.tasks if not task.status.state.terminal)
            self._reporter.expect(living)
            self._distribute(kept)
        async with asyncio.TaskGroup() as group:
            sessions = group.create_task(self._sessions.run())
            others = [
                group.create_task(self._executor.run()),
                group.create_task(self._network.run()),
                group.create_task(self._traffic.run()),
                group.create_task(self._save_assignments()),
                group.create_task(self._renewal.run()),
                group.create_task(self._log_rotation.run()),
            ]
            await stop.wait()
            self._sessions.close()
            await asyncio.wait([sessions], timeout=_CLOSING_SECONDS)
            for task in (sessions, *others):
                task.cancel()
        self._save_assignment()
        self._store.close()
        await self._close_drivers()

    def _assigned(self, assignment: Assignment) -> None:
        """A manager has spoken."""
        self._distribute(assignment)
        self._renewal.want(assignment.roles)
        self._unsaved.set()

    def _distribute(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._executor.assign(assignment.tasks, assignment.services)
        self._traffic.assign(assignment)
        self._network.assign(assignment)
        self._sessions.learn(assignment)

    async def _save_assignments(self) -> None:
        """After everything else has begun with it: waiting for the disk delays no task."""
        while True:
            await self._unsaved.wait()
            self._save_assignment()

    def _save_assignment(self) -> None:
        self._unsaved.clear()
        assignment = self._assignment
        if assignment is None:
            return
        self._store.save(assignment)
        if assignment.managers != self._managers:
            membership.refresh_managers(self._config.state_dir / "node.json", assignment.managers)
            self._managers = assignment.managers

    async def _hello(self) -> warren_pb2.Hello:
        address = self._config.advertise_address
        description = await describe.describe(self._drivers.runtime, address)
        return warren_pb2.Hello(
            description=convert.to_message(description),
            public_key=await self._drivers.network.mesh.public_key(),
            endpoint=f"{address}:{self._member.mesh_port}",
        )

    def _connect_with_certificate(self, address: str) -> grpc.aio.Channel:
        credentials = self._identity.channel_credentials()
        return grpc.aio.secure_channel(address, credentials, options=_CHANNEL_OPTIONS)

    async def _close_drivers(self) -> None:
        await self._drivers.prober.close()
        await self._drivers.runtime.close()
        await self._drivers.network.mesh.close()
        await self._drivers.traffic.balancer.close()
        if self._drivers.traffic.resolver is not None:
            await self._drivers.traffic.resolver.close()


def _now() -> datetime:
    return datetime.now(UTC)
