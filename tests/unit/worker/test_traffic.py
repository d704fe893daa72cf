"""Traffic on fake drivers, in virtual time: what is applied when, and what is carried."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace

from warren.drivers.ports import BalancerConfig
from warren.model.assignments import Assignment, Endpoint, ServiceTraffic
from warren.model.errors import DriverError
from warren.model.nodes import HeldPort
from warren.model.services import Port
from warren.model.tasks import Health, TaskState, TaskStatus
from warren.testing.fake_balancer import FakeBalancer
from warren.testing.fake_resolver import FakeResolver
from warren.worker.reporter import Reporter
from warren.worker.traffic import Drivers, Traffic

from tests.unit.worker.virtual_time import in_virtual_time
from tests.unit.worker.worker_kit import START, a_task, an_assignment

TASK = a_task()
READY = TaskStatus(state=TaskState.RUNNING, since=START, address="10.88.1.2", health=Health.HEALTHY)
SICK = replace(READY, health=Health.UNHEALTHY)
ENDPOINT = Endpoint(address="10.88.1.2", task_id=TASK.id, node_id="node-1", slot=1)
WEB = ServiceTraffic(name="web", vip="10.92.0.1", ports=(Port(target=80),), endpoints=(ENDPOINT,))


def assigned(index: int = 7) -> Assignment:
    return replace(an_assignment(TASK, index=index), services={"web": WEB})


class NotedBalancer(FakeBalancer):
    """Notes the endpoints of web at each call."""

    def __init__(self) -> None:
        super().__init__()
        self.endpoints: list[int] = []
        self.configs: list[BalancerConfig] = []

    async def apply(
        self, config: BalancerConfig, services: Mapping[str, ServiceTraffic]
    ) -> tuple[HeldPort, ...]:
        held = await super().apply(config, services)
        self.configs.append(config)
        self.endpoints.append(len(services["web"].endpoints))
        return held


class Host:
    """Fake drivers, and traffic over them."""

    def __init__(self) -> None:
        self.balancer = NotedBalancer()
        self.resolver = FakeResolver()
        self.carried: list[int] = []
        self.reporter = Reporter(changed=lambda: self.traffic.look_again())
        self.traffic = Traffic(
            Drivers(balancer=self.balancer, resolver=self.resolver),
            node_id="node-1",
            mesh_interface="warren0",
            reporter=self.reporter,
            carried=self.carried.append,
            held=lambda _: None,
        )


@asynccontextmanager
async def a_host() -> AsyncIterator[Host]:
    host = Host()
    async with asyncio.TaskGroup() as group:
        loop = group.create_task(host.traffic.run())
        yield host
        loop.cancel()


@in_virtual_time
async def test_an_assignment_is_applied_and_then_said_to_be_carried() -> None:
    async with a_host() as host:
        host.traffic.assign(assigned())
        await asyncio.sleep(0.001)

        assert host.balancer.configs == [
            BalancerConfig(
                node_id="node-1",
                vip_network="10.92.0.0/16",
                task_network="10.88.0.0/14",
                mesh_interface="warren0",
                gateway="10.88.1.1",
            )
        ]
        assert host.carried == [7]


@in_virtual_time
async def test_an_assignment_that_says_nothing_new_of_traffic_is_carried_as_it_is() -> None:
    async with a_host() as host:
        for index in (7, 8, 9):
            host.traffic.assign(assigned(index))
            await asyncio.sleep(0.001)

        assert (len(host.balancer.configs), host.carried) == (1, [7, 8, 9])


@in_virtual_time
async def test_one_that_changes_how_services_are_reached_is_applied() -> None:
    async with a_host() as host:
        host.traffic.assign(assigned(7))
        await asyncio.sleep(0.001)
        host.traffic.assign(replace(assigned(8), tells_draining=True))
        await asyncio.sleep(0.001)

        ends = [config.ends_connections for config in host.balancer.configs]
        assert (ends, host.carried) == ([False, True], [7, 8])


@in_virtual_time
async def test_rules_are_looked_after_however_often_assignments_say_nothing_new() -> None:
    async with a_host() as host:
        for index in range(52):
            host.traffic.assign(assigned(index))
            await asyncio.sleep(0.1)

        assert (len(host.balancer.configs), host.carried[-1]) == (2, 51)


@in_virtual_time
async def test_what_could_not_be_applied_is_not_carried_until_it_is() -> None:
    async with a_host() as host:
        host.balancer.failures.extend([DriverError("no nft")] * 2)
        host.traffic.assign(assigned())
        await asyncio.sleep(1.5)
        early = list(host.carried)
        await asyncio.sleep(1)

        assert (early, host.carried) == ([], [7])


@in_virtual_time
async def test_a_task_of_this_host_that_is_unhealthy_leaves_traffic_at_once() -> None:
    async with a_host() as host:
        host.traffic.assign(assigned())
        host.reporter.put(TASK.id, READY)
        await asyncio.sleep(0.001)
        host.reporter.put(TASK.id, SICK)
        await asyncio.sleep(0.001)
        host.reporter.put(TASK.id, READY)
        await asyncio.sleep(0.001)

        assert host.balancer.endpoints == [1, 0, 1]


@in_virtual_time
async def test_after_a_start_rules_are_left_alone_until_tasks_are_known() -> None:
    async with a_host() as host:
        host.reporter.expect([TASK.id])
        host.traffic.assign(assigned())
        await asyncio.sleep(3)
        early = list(host.balancer.endpoints)
        host.reporter.put(TASK.id, SICK)
        await asyncio.sleep(0.001)

        assert (early, host.balancer.endpoints) == ([], [0])


@in_virtual_time
async def test_a_task_is_withdrawn_when_the_rules_are_without_it() -> None:
    async with a_host() as host:
        host.traffic.assign(assigned())
        await asyncio.sleep(0.001)
        host.balancer.failures.append(DriverError("no nft"))
        waiting = asyncio.create_task(host.traffic.wait_withdrawn(TASK))
        host.reporter.put(TASK.id, SICK)
        await asyncio.sleep(0.9)
        early = waiting.done()
        await asyncio.sleep(0.2)

        assert (early, waiting.done(), host.balancer.endpoints) == (False, True, [1, 0])


@in_virtual_time
async def test_after_a_start_nothing_is_withdrawn_until_the_rules_are_known() -> None:
    async with a_host() as host:
        host.reporter.expect([TASK.id])
        host.traffic.assign(replace(assigned(), services={"web": replace(WEB, endpoints=())}))
        waiting = asyncio.create_task(host.traffic.wait_withdrawn(TASK))
        await asyncio.sleep(1)
        early = waiting.done()
        host.reporter.put(TASK.id, SICK)
        await asyncio.sleep(0.001)

        assert (early, waiting.done()) == (False, True)


@in_virtual_time
async def test_rules_that_cannot_be_changed_hold_up_a_stop_for_five_seconds() -> None:
    async with a_host() as host:
        host.balancer.failures.extend([DriverError("no nft")] * 20)
        host.traffic.assign(assigned())
        begun = asyncio.get_running_loop().time()
        await host.traffic.wait_withdrawn(TASK)

        assert asyncio.get_running_loop().time() - begun == 5


@in_virtual_time
async def test_a_runtime_that_is_silent_holds_changes_up_for_five_seconds() -> None:
    async with a_host() as host:
        host.reporter.expect([TASK.id])
        host.traffic.assign(assigned())
        await asyncio.sleep(4.9)
        early = list(host.carried)
        await asyncio.sleep(0.2)

        assert (early, host.carried) == ([], [7])


@in_virtual_time
async def test_rules_are_looked_after_every_five_seconds() -> None:
    async with a_host() as host:
        host.traffic.assign(assigned())
        await asyncio.sleep(11)

        assert len(host.balancer.configs) == 3


@in_virtual_time
async def test_what_this_hosts_tasks_pass_through_touches_no_rule() -> None:
    async with a_host() as host:
        host.traffic.assign(assigned(7))
        await asyncio.sleep(0.001)
        host.reporter.put(TASK.id, replace(TASK.status, state=TaskState.PREPARING))
        await asyncio.sleep(0.001)
        host.reporter.put(TASK.id, READY)
        await asyncio.sleep(0.001)
        host.balancer.endpoints.clear()
        host.traffic.assign(assigned(8))
        await asyncio.sleep(0.001)

        assert (host.balancer.endpoints, host.carried[-1]) == ([], 8)


@in_virtual_time
async def test_rules_are_looked_after_at_once_when_the_mesh_was_made_anew() -> None:
    async with a_host() as host:
        host.traffic.assign(assigned())
        await asyncio.sleep(1)
        host.traffic.doubt()
        await asyncio.sleep(0.001)

        assert len(host.balancer.configs) == 2


@in_virtual_time
async def test_names_follow_what_is_known_of_this_hosts_tasks() -> None:
    async with a_host() as host:
        host.traffic.assign(assigned())
        await asyncio.sleep(0.001)
        before = host.resolver.ask("tasks.web.warren.internal")
        host.reporter.put(TASK.id, SICK)
        await asyncio.sleep(0.001)

        assert before == ("10.88.1.2",)
        assert host.resolver.ask("tasks.web.warren.internal") == ()
        assert host.resolver.ask("web.warren.internal") == ("10.92.0.1",)


@in_virtual_time
async def test_names_that_cannot_be_told_are_told_again_and_hold_up_no_rules() -> None:
    async with a_host() as host:
        host.resolver.failures.append(DriverError("no unbound"))
        host.traffic.assign(assigned())
        await asyncio.sleep(0.001)
        early = list(host.carried), host.resolver.ask("web.warren.internal")
        await asyncio.sleep(1)

        assert early == ([7], None)
        assert host.resolver.ask("web.warren.internal") == ("10.92.0.1",)
