"""Containers by the Container Runtime Interface: containerd 1.6 to 2.x, CRI-O.

Implements `ports.Runtime` over the runtime's unix socket. One attempt at a task is one container in
a sandbox, which the next attempt uses again while it is alive; both are labelled, and nothing about
them is kept here but a cache of what cannot change any more. Decides nothing about tasks: when to
start, restart or remove is `core/task.py`.

Runtimes reserve a sandbox's name (name, namespace, uid, attempt) before they make it, and keep the
reservation when the caller gives up. So the uid names the task's attempt, and CRI's own `attempt`
counts our tries: a name that is still held is looked up by label, adopted if it runs what was
asked for, removed if not, and the next try has a fresh name.
"""

import asyncio
import json
import math
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import grpc

from warren.drivers import (
    cgroups,
    cri_errors,
    cri_instances,
    cri_orders,
    cri_pb2_grpc,
    processes,
)
from warren.drivers import cri_pb2 as cri
from warren.drivers.ports import ExecOutput, Instance, InstanceState, StartOrder
from warren.model import registries
from warren.model.errors import DriverError, ImageUnavailable, RuntimeUnavailable, WarrenError
from warren.model.services import PullPolicy, RegistryAuth

_CALL = 10.0
"""Seconds for calls that only read."""
_CHANGE = 60.0
"""Seconds for calls that start or remove processes, on a host that is busy."""
_PULL = 1800.0
_CONCURRENT_CHANGES = 8
"""More at once only wait inside the runtime, where their deadlines already run."""
_NAME_TRIES = 3
_NETWORK_TRIES = 50
_NETWORK_PAUSE = 0.1
_STARTING_TRIES = 50
_STARTING_PAUSE = 0.2
_CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", 16 * 2**20),  # the runtime's own limit; lists grow
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
)


class Containerd:
    """Runtime over CRI. One per process; made outside or inside of the event loop."""

    def __init__(
        self,
        endpoint: str = "unix:///run/containerd/containerd.sock",
        *,
        cluster_id: str,
        cgroup_parent: str = "/warren",
        cgroup_root: Path = Path("/sys/fs/cgroup"),
    ) -> None:
        self._endpoint = endpoint
        self._cluster_id = cluster_id
        self._cgroups = cgroups.TaskCgroups(parent=cgroup_parent, root=cgroup_root)
        self._seccomp = Path("/proc/sys/kernel/seccomp").exists()
        self._channel: grpc.aio.Channel | None = None
        self._starting: set[tuple[str, int]] = set()
        self._unfinished: set[asyncio.Task[Instance]] = set()
        self._reader = cri_instances.Reader(self._runtime, cluster_id)
        self._changes = asyncio.Semaphore(_CONCURRENT_CHANGES)

    async def version(self) -> str:
        with cri_errors.translated("ask the runtime for its version"):
            answer = await self._runtime().Version(cri.VersionRequest(version="v1"), timeout=_CALL)
        return f"{answer.runtime_name} {answer.runtime_version.removeprefix('v')}"

    async def instances(self) -> tuple[Instance, ...]:
        starting = frozenset(self._starting)
        with cri_errors.translated("list containers"):
            found = await self._reader.read()
        return tuple(
            cri_instances.as_starting(instance)
            if (instance.task_id, instance.attempt) in starting | self._starting
            else instance
            for instance in found
        )

    async def ensure_image(self, image: str, policy: PullPolicy, auth: RegistryAuth | None) -> str:
        if policy is not PullPolicy.ALWAYS:
            digest = await self._image_digest(image)
            if digest:
                return digest
            if policy is PullPolicy.NEVER:
                raise ImageUnavailable(f"image {image} is not on this node and pull is never")
        request = cri.PullImageRequest(image=cri.ImageSpec(image=image))
        if auth is not None:
            request.auth.username, request.auth.password = auth.username, auth.password
            # Only to this host: a mirror of the registry, or where it leads to, is not sent them.
            request.auth.server_address = registries.server_address(image)
        try:
            pulled = await self._images().PullImage(request, timeout=_PULL)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                raise RuntimeUnavailable(f"cannot pull {image}: no container runtime") from error
            details = error.details() or ""
            raise cri_errors.image_unavailable(image, details, anonymous=auth is None) from error
        return await self._image_digest(image) or pulled.image_ref

    async def start(self, order: StartOrder) -> Instance:
        key = (order.task.id, order.attempt)
        self._starting.add(key)
        try:
            async with self._changes:
                return await self._start_whole(order)
        finally:
            self._starting.discard(key)

    async def stop(self, instance: Instance, *, signal: str, grace: timedelta) -> None:
        if not instance.container_id:
            return
        deadline = grace
        if signal and grace > timedelta():
            # Field `stop_signal` is known to the newest runtimes only, and StopContainer would
            # send the image's signal on top of this one. So: signal, wait, and only then kill.
            number = processes.signal_number(signal)
            pid = await self._pid(instance)
            if pid:
                await processes.signal_and_wait(pid, number, grace)
            deadline = timedelta()
        seconds = math.ceil(deadline.total_seconds())
        request = cri.StopContainerRequest(container_id=instance.container_id, timeout=seconds)
        with cri_errors.translated(f"stop {instance.task_id}"):
            await _absent_is_fine(self._runtime().StopContainer(request, timeout=seconds + _CHANGE))

    async def remove(self, instance: Instance) -> None:
        async with self._changes:
            with cri_errors.translated(f"remove {instance.task_id}"):
                if await self._is_shared(instance):
                    await self._remove_container(instance.container_id)
                else:
                    await self._remove(instance.sandbox_id, instance.container_id)
        self._cgroups.clean(instance.task_id)

    async def execute(
        self, instance: Instance, command: Sequence[str], timeout: timedelta
    ) -> ExecOutput:
        seconds = max(1, math.ceil(timeout.total_seconds()))
        request = cri.ExecSyncRequest(
            container_id=instance.container_id, cmd=command, timeout=seconds
        )
        with cri_errors.translated(f"run {command[0]} in {instance.task_id}"):
            try:
                answer = await self._runtime().ExecSync(request, timeout=seconds + _CALL)
            except grpc.aio.AioRpcError as error:
                if cri_errors.is_not_running(error):
                    raise DriverError(f"task {instance.task_id} is not running") from error
                raise
        return ExecOutput(stdout=answer.stdout, stderr=answer.stderr, exit_code=answer.exit_code)

    async def reopen_log(self, instance: Instance) -> None:
        request = cri.ReopenContainerLogRequest(container_id=instance.container_id)
        with cri_errors.translated(f"reopen the log of {instance.task_id}"):
            await self._runtime().ReopenContainerLog(request, timeout=_CALL)

    async def close(self) -> None:
        if self._unfinished:
            await asyncio.wait(self._unfinished)
        if self._channel is not None:
            await self._channel.close(grace=None)
            self._channel = None

    async def _start_whole(self, order: StartOrder) -> Instance:
        """Start to the end, also when cancelled: then take away what was started.

        A call that is dropped in the middle leaves the runtime busy with its remains for seconds,
        in which they can neither be used nor removed.
        """
        start = asyncio.create_task(self._start(order))
        self._unfinished.add(start)
        start.add_done_callback(self._unfinished.discard)
        try:
            return await asyncio.shield(start)
        except asyncio.CancelledError:
            await asyncio.wait([start])
            if start.exception() is None:  # else it has cleaned up
                await self._clean_up(order)
            raise

    async def _start(self, order: StartOrder) -> Instance:
        task = order.task
        self._cgroups.prepare(task.id, task.template.resources)
        order.log_path.parent.mkdir(parents=True, exist_ok=True)
        host = cri_orders.HostFacts(
            cluster_id=self._cluster_id,
            cgroup_parent=self._cgroups.name(task.id),
            unified=self._cgroups.unified(task.template.resources),
            seccomp=self._seccomp,
        )
        try:
            with cri_errors.translated(f"start {task.name}"):
                sandbox = await self._reuse_sandbox(order, host) or await self._run_sandbox(
                    order, host
                )
                if isinstance(sandbox, Instance):
                    return sandbox
                return await self._run_container(order, host, *sandbox)
        except (WarrenError, grpc.aio.AioRpcError):
            await self._clean_up(order)
            raise

    async def _reuse_sandbox(
        self, order: StartOrder, host: cri_orders.HostFacts
    ) -> tuple[str, cri.PodSandboxConfig] | Instance | None:
        """The sandbox that the order names, if it is alive, or what an earlier try has started."""
        if not order.sandbox_id:
            return None
        found = await self._reader.find(order)
        if found is not None and found.state is not InstanceState.BROKEN:
            return found  # an attempt runs once
        if found is not None:
            await self._remove_attempt(order)
        if not await self._reader.is_ready(order.sandbox_id):
            return None
        return order.sandbox_id, cri_orders.sandbox(order, host, attempt=0)

    async def _run_sandbox(
        self, order: StartOrder, host: cri_orders.HostFacts
    ) -> tuple[str, cri.PodSandboxConfig] | Instance:
        """A new sandbox, or the instance that an earlier try has already started."""
        for attempt in range(_NAME_TRIES):
            config = cri_orders.sandbox(order, host, attempt=attempt)
            try:
                return await self._run_named_sandbox(config), config
            except grpc.aio.AioRpcError as error:
                if not cri_errors.is_name_reserved(error):
                    raise
            found = await self._reader.find(order)
            if found is not None and found.state is not InstanceState.BROKEN:
                return found  # an attempt runs once
            await self._remove_attempt(order)
        raise DriverError(f"cannot start {order.task.name}: its sandbox's name is still in use")

    async def _run_named_sandbox(self, config: cri.PodSandboxConfig) -> str:
        request = cri.RunPodSandboxRequest(config=config)
        for _ in range(_NETWORK_TRIES):
            try:
                answer = await self._runtime().RunPodSandbox(request, timeout=_CHANGE)
            except grpc.aio.AioRpcError as error:
                if not cri_errors.is_network_missing(error):
                    raise
                await asyncio.sleep(_NETWORK_PAUSE)  # the runtime watches the directory itself
            else:
                return answer.pod_sandbox_id
        raise RuntimeUnavailable("the container runtime found no CNI configuration")

    async def _run_container(
        self,
        order: StartOrder,
        host: cri_orders.HostFacts,
        sandbox_id: str,
        config: cri.PodSandboxConfig,
    ) -> Instance:
        runtime = self._runtime()
        request = cri.CreateContainerRequest(
            pod_sandbox_id=sandbox_id,
            config=cri_orders.container(order, host),
            sandbox_config=config,
        )
        created, address = await asyncio.gather(
            runtime.CreateContainer(request, timeout=_CHANGE), self._reader.address(sandbox_id)
        )
        container_id = created.container_id
        await runtime.StartContainer(
            cri.StartContainerRequest(container_id=container_id), timeout=_CHANGE
        )
        status = await self._reader.status(container_id)
        return cri_instances.instance(
            task_id=order.task.id,
            attempt=order.attempt,
            sandbox_id=sandbox_id,
            status=status,
            address=address,
        )

    async def _clean_up(self, order: StartOrder) -> None:
        """After a failed start. Its own failure is not the news: the reaper sees what is left."""
        with suppress(grpc.aio.AioRpcError):
            await self._remove_attempt(order)
        self._cgroups.clean(order.task.id)

    async def _remove_attempt(self, order: StartOrder) -> None:
        """All that was made for the attempt; a sandbox that it has from another one stays."""
        for container in await self._reader.containers_of(order):
            await self._remove_container(container.id)
        for sandbox_id in await self._reader.sandboxes_of(order):
            await self._remove(sandbox_id, "")

    async def _is_shared(self, instance: Instance) -> bool:
        """Another attempt has a container in its sandbox."""
        if not instance.sandbox_id or not instance.container_id:
            return False
        return await self._reader.is_shared(instance.sandbox_id, instance.container_id)

    async def _remove(self, sandbox_id: str, container_id: str) -> None:
        runtime = self._runtime()
        if sandbox_id:
            stop = cri.StopPodSandboxRequest(pod_sandbox_id=sandbox_id)
            await _absent_is_fine(runtime.StopPodSandbox(stop, timeout=_CHANGE))
            await self._remove_sandbox(cri.RemovePodSandboxRequest(pod_sandbox_id=sandbox_id))
        if container_id:
            # Gone with its sandbox, unless the sandbox was lost before it.
            await self._remove_container(container_id)
        self._reader.forget(sandbox_id, container_id)

    async def _remove_container(self, container_id: str) -> None:
        request = cri.RemoveContainerRequest(container_id=container_id)
        await _absent_is_fine(self._runtime().RemoveContainer(request, timeout=_CHANGE))
        self._reader.forget("", container_id)

    async def _remove_sandbox(self, request: cri.RemovePodSandboxRequest) -> None:
        """Wait for the runtime while it gives up a start that its caller dropped."""
        for _ in range(_STARTING_TRIES):
            try:
                return await _absent_is_fine(
                    self._runtime().RemovePodSandbox(request, timeout=_CHANGE)
                )
            except grpc.aio.AioRpcError as error:
                if not cri_errors.is_still_starting(error):
                    raise
                await asyncio.sleep(_STARTING_PAUSE)
        raise RuntimeUnavailable("the container runtime is still starting what is to be removed")

    async def _pid(self, instance: Instance) -> int:
        """Of the container's first process, 0 if it has none. Only the verbose answer tells."""
        request = cri.ContainerStatusRequest(container_id=instance.container_id, verbose=True)
        with cri_errors.translated(f"stop {instance.task_id}"):
            try:
                answer = await self._runtime().ContainerStatus(request, timeout=_CALL)
            except grpc.aio.AioRpcError as error:
                if cri_errors.is_not_found(error):
                    return 0
                raise
        if answer.status.state != cri.CONTAINER_RUNNING:
            return 0
        return int(json.loads(answer.info.get("info", "{}")).get("pid", 0))

    async def _image_digest(self, image: str) -> str:
        """Empty when the image is not here."""
        request = cri.ImageStatusRequest(image=cri.ImageSpec(image=image))
        with cri_errors.translated(f"look for image {image}"):
            answer = await self._images().ImageStatus(request, timeout=_CALL)
        if not answer.image.id:
            return ""
        return cri_instances.digest((*answer.image.repo_digests, answer.image.id)[0])

    def _runtime(self) -> "cri_pb2_grpc.RuntimeServiceAsyncStub":
        return cri_pb2_grpc.RuntimeServiceStub(self._open())

    def _images(self) -> "cri_pb2_grpc.ImageServiceAsyncStub":
        return cri_pb2_grpc.ImageServiceStub(self._open())

    def _open(self) -> grpc.aio.Channel:
        if self._channel is None:
            self._channel = grpc.aio.insecure_channel(self._endpoint, options=_CHANNEL_OPTIONS)
        return self._channel


async def _absent_is_fine(call: Awaitable[object]) -> None:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        if not cri_errors.is_not_found(error):
            raise
