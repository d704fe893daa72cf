"""Instances as the runtime lists them, read by label. Used by `containerd.py` alone.

A reading is two calls, whatever the number of tasks. The lists lack addresses, times and exit
codes, so those are asked for one by one, once: a sandbox's address and an ended container's status
never change, and a running one's start does not either.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime

import grpc

from warren.drivers import cri_errors, cri_orders, cri_pb2_grpc
from warren.drivers import cri_pb2 as cri
from warren.drivers.ports import Instance, InstanceState, StartOrder

_CALL = 10.0


class Reader:
    """Finds the instances of one cluster on this host."""

    def __init__(
        self, runtime: "Callable[[], cri_pb2_grpc.RuntimeServiceAsyncStub]", cluster_id: str
    ) -> None:
        self._runtime = runtime
        self._cluster_id = cluster_id
        self._addresses: dict[str, str] = {}
        self._statuses: dict[str, cri.ContainerStatus] = {}

    async def read(self) -> tuple[Instance, ...]:
        """Every instance, by task and attempt."""
        labels = {cri_orders.CLUSTER: self._cluster_id}
        sandboxes, containers = await asyncio.gather(
            self._sandboxes(labels), self._containers(labels)
        )
        self._forget_all_but({item.id for item in sandboxes}, {item.id for item in containers})
        return await self._instances(sandboxes, containers)

    async def find(self, order: StartOrder) -> Instance | None:
        """What runs for exactly this order, if anything does; its sandbox may be older."""
        wanted = cri_orders.labels(order, self._cluster_id)
        sandboxes, containers = await asyncio.gather(
            self._sandboxes(cri_orders.labels_of_task(order, self._cluster_id)),
            self._containers(wanted),
        )
        used = {item.pod_sandbox_id for item in containers}
        own = tuple(item for item in sandboxes if item.id in used)
        found = await self._instances(own, containers)
        return found[0] if found else None

    async def sandboxes_of(self, order: StartOrder) -> tuple[str, ...]:
        """Ids of all sandboxes made for the task's attempt, whatever their template was."""
        labels = cri_orders.labels_of_attempt(order, self._cluster_id)
        return tuple(item.id for item in await self._sandboxes(labels))

    async def containers_of(self, order: StartOrder) -> tuple[cri.Container, ...]:
        """All containers of the task's attempt."""
        return await self._containers(cri_orders.labels_of_attempt(order, self._cluster_id))

    async def is_ready(self, sandbox_id: str) -> bool:
        """The sandbox is alive: containers can be made in it."""
        request = cri.PodSandboxStatusRequest(pod_sandbox_id=sandbox_id)
        try:
            answer = await self._runtime().PodSandboxStatus(request, timeout=_CALL)
        except grpc.aio.AioRpcError as error:
            if not cri_errors.is_not_found(error):
                raise
            return False
        return answer.status.state == cri.SANDBOX_READY

    async def is_shared(self, sandbox_id: str, container_id: str) -> bool:
        """There are other containers in the sandbox."""
        request = cri.ListContainersRequest(filter=cri.ContainerFilter(pod_sandbox_id=sandbox_id))
        answer = await self._runtime().ListContainers(request, timeout=_CALL)
        return any(item.id != container_id for item in answer.containers)

    async def address(self, sandbox_id: str) -> str:
        """IPv4 address of the sandbox."""
        if sandbox_id not in self._addresses:
            request = cri.PodSandboxStatusRequest(pod_sandbox_id=sandbox_id)
            answer = await self._runtime().PodSandboxStatus(request, timeout=_CALL)
            self._addresses[sandbox_id] = answer.status.network.ip
        return self._addresses[sandbox_id]

    async def status(self, container_id: str) -> cri.ContainerStatus:
        """The container's status now."""
        request = cri.ContainerStatusRequest(container_id=container_id)
        answer = await self._runtime().ContainerStatus(request, timeout=_CALL)
        self._statuses[container_id] = answer.status
        return answer.status

    def forget(self, sandbox_id: str, container_id: str) -> None:
        """They are removed."""
        self._addresses.pop(sandbox_id, None)
        self._statuses.pop(container_id, None)

    async def _instances(
        self, sandboxes: Iterable[cri.PodSandbox], containers: Iterable[cri.Container]
    ) -> tuple[Instance, ...]:
        """One for each container, and one for each sandbox that has none."""
        known = {item.id: item for item in sandboxes}
        empty = known.keys() - {item.pod_sandbox_id for item in containers}
        found = await asyncio.gather(
            *(
                self._instance(known[item.pod_sandbox_id], item)
                if item.pod_sandbox_id in known
                else self._orphan(item)
                for item in containers
            )
        )
        bare = (
            replace(_broken(known[key].labels, key), message="its container is missing")
            for key in empty
        )
        return tuple(sorted((*found, *bare), key=lambda i: (i.task_id, i.attempt, i.sandbox_id)))

    async def _sandboxes(self, labels: Mapping[str, str]) -> tuple[cri.PodSandbox, ...]:
        request = cri.ListPodSandboxRequest(filter=cri.PodSandboxFilter(label_selector=labels))
        answer = await self._runtime().ListPodSandbox(request, timeout=_CALL)
        return tuple(answer.items)

    async def _containers(self, labels: Mapping[str, str]) -> tuple[cri.Container, ...]:
        request = cri.ListContainersRequest(filter=cri.ContainerFilter(label_selector=labels))
        answer = await self._runtime().ListContainers(request, timeout=_CALL)
        return tuple(answer.containers)

    async def _instance(self, sandbox: cri.PodSandbox, container: cri.Container) -> Instance:
        """The attempt is the container's: the sandbox may have served one before."""
        broken = replace(_broken(container.labels, sandbox.id), container_id=container.id)
        ready = sandbox.state == cri.SANDBOX_READY
        try:
            status = await self._cached_status(container)
            address = await self.address(sandbox.id) if ready else ""
        except grpc.aio.AioRpcError as error:
            if not cri_errors.is_not_found(error):
                raise
            return replace(broken, message="it was removed meanwhile")
        if status.state == cri.CONTAINER_RUNNING and not ready:
            return replace(broken, message="its sandbox is dead")
        if status.state == cri.CONTAINER_CREATED:
            return replace(broken, message="its container was never started")
        return instance(
            task_id=broken.task_id,
            attempt=broken.attempt,
            sandbox_id=sandbox.id,
            status=status,
            address=address,
        )

    async def _orphan(self, container: cri.Container) -> Instance:
        broken = _broken(container.labels, container.pod_sandbox_id)
        return replace(broken, container_id=container.id, message="its sandbox is missing")

    async def _cached_status(self, container: cri.Container) -> cri.ContainerStatus:
        cached = self._statuses.get(container.id)
        if cached is not None and cached.state == container.state:
            return cached
        return await self.status(container.id)

    def _forget_all_but(self, sandbox_ids: set[str], container_ids: set[str]) -> None:
        for sandbox_id in self._addresses.keys() - sandbox_ids:
            del self._addresses[sandbox_id]
        for container_id in self._statuses.keys() - container_ids:
            del self._statuses[container_id]


def instance(
    *, task_id: str, attempt: int, sandbox_id: str, status: cri.ContainerStatus, address: str
) -> Instance:
    """One of our instances from its container's status."""
    exited = status.state == cri.CONTAINER_EXITED
    # The runtime notes a start after the fact: a short process may have ended "before" it.
    finished_at = max(status.finished_at, status.started_at)
    return Instance(
        task_id=task_id,
        attempt=attempt,
        sandbox_id=sandbox_id,
        container_id=status.id,
        state=_STATES.get(status.state, InstanceState.BROKEN),
        address=address,
        exit_code=status.exit_code if exited else None,
        started_at=_time(status.started_at),
        finished_at=_time(finished_at) if exited else None,
        message=": ".join(part for part in (status.reason, status.message) if part),
        image_digest=digest(status.image_ref),
    )


def as_starting(instance: Instance) -> Instance:
    """As seen while its start is under way: nothing about it is final or broken yet."""
    return Instance(
        task_id=instance.task_id,
        attempt=instance.attempt,
        sandbox_id=instance.sandbox_id,
        container_id=instance.container_id,
        state=InstanceState.CREATED,
    )


def digest(reference: str) -> str:
    """`sha256:…` of `registry/image@sha256:…`, or of an image id."""
    return reference.rpartition("@")[2]


_STATES = {
    cri.CONTAINER_CREATED: InstanceState.CREATED,
    cri.CONTAINER_RUNNING: InstanceState.RUNNING,
    cri.CONTAINER_EXITED: InstanceState.EXITED,
}


def _broken(labels: Mapping[str, str], sandbox_id: str) -> Instance:
    attempt = labels.get(cri_orders.ATTEMPT, "")
    return Instance(
        task_id=labels.get(cri_orders.TASK, ""),
        attempt=int(attempt) if attempt.isdecimal() else 0,
        sandbox_id=sandbox_id,
        state=InstanceState.BROKEN,
    )


def _time(nanoseconds: int) -> datetime | None:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC) if nanoseconds else None
