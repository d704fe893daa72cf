"""The worker's parts put together: sessions bring assignments, the others carry them out.

Every assignment goes first to the executor, to traffic and to the network, then to disk. Ending the
worker ends the session in order and touches no container, no rule and no interface.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import grpc

import warren
from warren.api import convert, exposition, warren_pb2
from warren.api.metrics_server import MetricsServer
from warren.bootstrap import volume_places
from warren.config import Config
from warren.core import dns
from warren.core.placeholders import NodeFacts
from warren.drivers import service_manager
from warren.drivers.ports import MountDrivers, Prober, Runtime
from warren.drivers.ports import TaskFiles as TaskFilesDriver
from warren.model.assignments import Assignment
from warren.model.errors import WarrenError
from warren.model.views import MeshLink
from warren.worker import (
    certificates,
    describe,
    executor,
    measuring,
    membership,
    metrics,
    network,
    session,
    traffic,
)
from warren.worker.assignment_store import AssignmentStore
from warren.worker.held_ports import HeldPorts
from warren.worker.local_store import ProgressFile
from warren.worker.log_rotation import LogRotation
from warren.worker.logs import LogReader
from warren.worker.reporter import Reporter
from warren.worker.requests import Requests
from warren.worker.runner import NameServers
from warren.worker.task_files import TaskFiles
from warren.worker.volumes import Volumes

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
    files: TaskFilesDriver
    mounts: MountDrivers


class Worker:
    """One node's worker."""

    def __init__(
        self,
        config: Config,
        member: membership.Membership,
        drivers: Drivers,
        *,
        connect: Callable[[str], grpc.aio.Channel] | None = None,
        host_ends: Callable[[], Awaitable[bool]] = service_manager.host_ends,
    ) -> None:
        """`host_ends`: whether the host is being shut down, so that its tasks end, too."""
        self._config = config
        self._member = member
        self._drivers = drivers
        self._identity = certificates.files(config.state_dir)
        self._connect = connect or self._connect_with_certificate
        self._host_ends = host_ends
        self._store = AssignmentStore(config.state_dir / "worker" / "assignment.db")
        self._assignment: Assignment | None = None
        self._managers = member.managers
        """As node.json has them."""
        self._unsaved = asyncio.Event()
        self._reporter = Reporter(changed=lambda: self._traffic.look_again())
        self._carriage = session.Carriage()
        self._held_ports = HeldPorts()
        self._network = network.Network(
            drivers.network,
            mesh_interface=config.mesh_interface,
            mesh_made=lambda: self._traffic.doubt(),
        )
        self._traffic = traffic.Traffic(
            drivers.traffic,
            node_id=member.node_id,
            mesh_interface=config.mesh_interface,
            reporter=self._reporter,
            carried=self._carriage.put,
            held=self._held_ports.put,
        )
        self._files = TaskFiles(drivers.files, self._node_facts)
        self._volumes = Volumes(
            drivers.mounts, member.name, config.state_dir / "worker" / "volumes.json"
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
                name_servers=self._name_servers,
                withdrawn=self._traffic.wait_withdrawn,
                files=self._files,
                volumes=self._volumes,
            )
        )
        self._metrics = MetricsServer(self._metrics_text)
        self._log_rotation = LogRotation(config.log_dir, drivers.runtime, self._executor.running)
        self._sessions = session.Sessions(
            session.Surroundings(
                connect=self._connect,
                hello=self._hello,
                assigned=self._assigned,
                files=self._files.take,
                reporter=self._reporter,
                carriage=self._carriage,
                mesh_keys=self._network.mesh.news,
                held_ports=self._held_ports,
                requests=Requests(
                    LogReader(config.log_dir),
                    self._executor.execute,
                    self._measure_mesh,
                    self._volumes,
                ),
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
        await self._start_metrics()
        async with asyncio.TaskGroup() as group:
            sessions = group.create_task(self._sessions.run())
            others = [
                group.create_task(self._executor.run()),
                group.create_task(self._network.run()),
                group.create_task(self._traffic.run()),
                group.create_task(self._save_assignments()),
                group.create_task(self._renewal.run()),
                group.create_task(self._log_rotation.run()),
                group.create_task(self._volumes.run()),
                group.create_task(self._remove_leftovers()),
            ]
            await stop.wait()
            self._sessions.close(is_away=not await self._host_ends())
            await asyncio.wait([sessions], timeout=_CLOSING_SECONDS)
            for task in (sessions, *others):
                task.cancel()
        await self._metrics.stop()
        self._save_assignment()
        self._store.close()
        await self._close_drivers()

    async def _remove_leftovers(self) -> None:
        """Of restores that were broken off. Large ones take a while."""
        try:
            removed = await asyncio.to_thread(volume_places.remove_leftovers, self._config)
        except OSError as error:
            log.warning("what a restore that was broken off has left stays: %s", error)
            return
        for path in removed:
            log.info("removed %s: a restore that was broken off had left it", path)

    def _assigned(self, assignment: Assignment) -> None:
        """A manager has spoken."""
        self._distribute(assignment)
        self._renewal.want(assignment.roles)
        self._unsaved.set()

    def _distribute(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._files.retain(assignment.tasks)
        self._volumes.learn(assignment.volumes)
        self._executor.assign(assignment.tasks, assignment.services)
        self._traffic.assign(assignment)
        self._network.assign(assignment)
        self._sessions.learn(assignment)

    def _node_facts(self) -> NodeFacts:
        """For configs that are filled in now."""
        labels = self._assignment.labels if self._assignment is not None else {}
        return NodeFacts(id=self._member.node_id, name=self._member.name, labels=labels)

    def _name_servers(self) -> NameServers:
        """For tasks that start now."""
        if self._assignment is None or self._drivers.traffic.resolver is None:
            return NameServers()
        return NameServers(
            addresses=dns.servers(self._assignment, self._member.node_id),
            domain=self._assignment.spec.dns_domain,
        )

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
        drivers = self._drivers
        found = await describe.describe(drivers.runtime, drivers.network.mesh, address)
        description = replace(
            found,
            volume_drivers=self._volumes.drivers,
            bind_paths=self._volumes.bind_paths,
        )
        keys = await self._network.mesh.keys()
        return warren_pb2.Hello(
            description=convert.to_message(description),
            public_key=keys.public_key,
            endpoint=f"{address}:{self._member.mesh_port}",
            next_public_key=keys.next_public_key,
        )

    async def _measure_mesh(self) -> Sequence[MeshLink]:
        assignment = self._assignment
        if assignment is None:
            return ()
        return await measuring.measure(
            self._drivers.network.mesh,
            assignment.peers,
            source=self._member.name,
            mtu=assignment.mtu,
            now=_now(),
        )

    async def _start_metrics(self) -> None:
        """Without them everything else goes on."""
        config = self._config
        where, _, port = config.worker_metrics_address.partition(":")
        try:
            if where == "unix":
                await self._metrics.start_unix(config.worker_metrics_socket_path)
            elif where == "mesh" and self._member.mesh_address:
                await self._metrics.start_tcp(self._member.mesh_address, int(port))
        except WarrenError as error:
            log.warning("%s", error)

    async def _metrics_text(self) -> str:
        try:
            statuses = await self._drivers.network.mesh.peers()
        except WarrenError:
            statuses = ()
        assignment = self._assignment
        figures = metrics.of_worker(
            assignment.peers if assignment is not None else (),
            statuses,
            mtu=assignment.mtu if assignment is not None else 0,
            balancer=self._drivers.traffic.balancer.layout,
            version=warren.__version__,
            now=_now(),
            volumes=self._volumes.usages(),
        )
        return exposition.render(figures)

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
