"""Brings traffic to services on this host: virtual addresses, published ports, names.

The assignment says how, and what this worker knows of its own tasks goes before it
(`core/endpoints.py`). Once the kernel's rules are as an assignment says, its index is `carried`:
the leader waits for that before it stops a task. Rules outlive the agent, and are left alone after
its start until it knows of its own tasks again.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from warren.core import dns, endpoints
from warren.drivers.ports import Balancer, BalancerConfig, Resolver, ResolverConfig
from warren.model.assignments import Assignment, ServiceTraffic
from warren.model.nodes import HeldPort
from warren.model.tasks import Task
from warren.worker.keeper import Keeper
from warren.worker.news import News
from warren.worker.reporter import Reporter

log = logging.getLogger(__name__)

WITHDRAWN_SECONDS_MAX = 5.0
"""How long rules that cannot be changed hold up the stop of a task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drivers:
    """What carries it out."""

    balancer: Balancer
    resolver: Resolver | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Wish:
    """Compared by identity: it may hold thousands of services."""

    assignment: Assignment
    services: Mapping[str, ServiceTraffic]

    def asks_same(self, other: "_Wish") -> bool:
        """Most assignments say something new of tasks or peers only."""
        old, new = self.assignment, other.assignment
        return (
            old.spec == new.spec
            and old.mesh == new.mesh
            and old.tells_draining == new.tells_draining
            and endpoints.are_same(self.services, other.services)
        )


class Traffic:
    """Applies the newest assignment as this host knows it."""

    def __init__(
        self,
        drivers: Drivers,
        *,
        node_id: str,
        mesh_interface: str,
        reporter: Reporter,
        carried: Callable[[int], None],
        held: Callable[[tuple[HeldPort, ...]], None],
    ) -> None:
        self._drivers = drivers
        self._node_id = node_id
        self._mesh_interface = mesh_interface
        self._reporter = reporter
        self._carried = carried
        self._held = held
        self._assignment: Assignment | None = None
        self._services: Mapping[str, ServiceTraffic] = {}
        self._changed = asyncio.Event()
        self._in_kernel: Mapping[str, ServiceTraffic] | None = None
        """None: it is not known what an earlier process left there."""
        self._brought = News()
        self._names = dns.Names()
        self._balancer = Keeper(
            "virtual addresses",
            self._balance,
            applied=self._note_balanced,
            same=_Wish.asks_same,
        )
        self._resolver = Keeper("names", self._resolve, same=_Wish.asks_same)

    def assign(self, assignment: Assignment) -> None:
        """This is how services are reached."""
        self._assignment = assignment
        self._changed.set()

    def look_again(self) -> None:
        """Something else than before is known of this host's tasks."""
        self._changed.set()

    def doubt(self) -> None:
        """What the rules stand on was made anew: they are looked after now."""
        self._balancer.doubt()

    async def wait_withdrawn(self, task: Task) -> None:
        """Until this host sends no new connections to the task; not for ever."""
        try:
            async with asyncio.timeout(WITHDRAWN_SECONDS_MAX):
                while self._sends_to(task):
                    await self._brought.wait()
        except TimeoutError:
            log.warning("this host may still send connections to task %s, which stops", task.name)

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._balancer.run())
            if self._drivers.resolver is not None:
                group.create_task(self._resolver.run())
            await self._reporter.wait_complete()
            while True:
                self._changed.clear()
                self._decide()
                await self._changed.wait()

    def _decide(self) -> None:
        assignment = self._assignment
        if assignment is None:
            return
        before = self._services
        self._services = endpoints.as_known(
            assignment, self._node_id, self._reporter.latest, before
        )
        wish = _Wish(assignment=assignment, services=self._services)
        self._balancer.want(wish)
        self._resolver.want(wish)

    def _sends_to(self, task: Task) -> bool:
        if self._in_kernel is None:
            return True
        traffic = self._in_kernel.get(task.service)
        return traffic is not None and any(e.task_id == task.id for e in traffic.endpoints)

    def _note_balanced(self, wish: _Wish) -> None:
        self._in_kernel = wish.services
        self._brought.tell()
        self._carried(wish.assignment.index)

    async def _balance(self, wish: _Wish) -> None:
        spec = wish.assignment.spec
        config = BalancerConfig(
            node_id=self._node_id,
            vip_network=spec.vip_network,
            task_network=spec.task_network,
            mesh_interface=self._mesh_interface,
            gateway=dns.gateway(wish.assignment.mesh.subnet),
            ends_connections=wish.assignment.tells_draining,
        )
        self._held(await self._drivers.balancer.apply(config, wish.services))

    async def _resolve(self, wish: _Wish) -> None:
        assert self._drivers.resolver is not None, "it runs only with one"
        spec = wish.assignment.spec
        config = ResolverConfig(
            domain=spec.dns_domain,
            listen=(dns.gateway(wish.assignment.mesh.subnet), dns.HOST_ADDRESS),
            allow=(spec.task_network, spec.mesh_network),
            forwarders=spec.dns_forwarders,
        )
        names = self._names.of(config.domain, wish.services)
        await self._drivers.resolver.apply(config, names)
