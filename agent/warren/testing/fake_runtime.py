"""A container runtime in memory, for tests of what stands on `drivers.ports.Runtime`.

It passes the contract tests of the real driver (tests/contract/test_runtime.py). Nothing happens
by itself: a process runs until the test ends it with `exit`, or its `Program` says that it ends at
once. Ids, addresses and order are the same in every run.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network

from warren.drivers.ports import ExecOutput, Instance, InstanceState, StartOrder
from warren.model.errors import (
    CredentialsRefused,
    DeadlineExceeded,
    DriverError,
    ImageUnavailable,
    WarrenError,
)
from warren.model.services import PullPolicy, RegistryAuth, TaskTemplate

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """How the process of a container behaves. The default runs until it is stopped."""

    exit_code: int | None = None
    """It ends with this as soon as it is started."""
    output: tuple[str, ...] = ()
    """Lines on standard output, written to the log as it starts."""
    stop_exit_code: int = 143
    """What it ends with when it gets its stop signal."""
    ignores_stop_signal: bool = False
    """It must be killed, after the whole grace."""


class FakeRuntime:
    """Runtime in memory. Tests read and write its public attributes freely."""

    def __init__(
        self,
        *,
        now: Callable[[], datetime] = lambda: _EPOCH,
        subnet: str = "10.88.1.0/24",
        images: Sequence[str] | None = None,
    ) -> None:
        """`images` are what the registries have; None means that every image exists."""
        self.now = now
        self.registry: set[str] | None = None if images is None else set(images)
        self.credentials: dict[str, RegistryAuth] = {}
        """By image: what its registry demands. Others accept anyone."""
        self.local_images: set[str] = set()
        self.pulls: list[str] = []
        """Every image that was pulled, in order."""
        self.programs: dict[tuple[str, ...], Program] = {}
        """By command and arguments, or by the image alone as `(image,)`."""
        self.outputs: dict[tuple[str, ...], ExecOutput | WarrenError] = {}
        """What `execute` answers, by command; others succeed without a word."""
        self.orders: list[StartOrder] = []
        """Every start that was asked for, failed ones too."""
        self.stops: list[tuple[str, str, timedelta]] = []
        """Task id, signal and grace of every stop."""
        self.failures: dict[str, deque[WarrenError]] = {}
        self.hold: dict[str, asyncio.Event] = {}
        """By method: it waits for the event before it does anything."""
        self._instances: dict[tuple[str, int], Instance] = {}
        self._programs: dict[tuple[str, int], Program] = {}
        self._addresses = [str(a) for a in IPv4Network(subnet).hosts()][1:]
        self._used: dict[str, str] = {}
        """Addresses by sandbox."""
        self._dead: set[str] = set()
        """Sandboxes that are there and serve no further container."""
        self._serial = 0

    def fail_next(self, method: str, *errors: WarrenError) -> None:
        """The next calls of `method` raise `errors`, one each."""
        self.failures.setdefault(method, deque()).extend(errors)

    def exit(self, task_id: str, code: int, *, message: str = "") -> Instance:
        """The process of the task's newest instance ends now, by itself."""
        key = max(key for key in self._instances if key[0] == task_id)
        return self._end(key, code, message)

    def lose(self, task_id: str) -> None:
        """The task's sandboxes die with all that is in them, as after a reboot."""
        for key in [key for key in self._instances if key[0] == task_id]:
            self._dead.add(self._instances[key].sandbox_id)
            if self._instances[key].state is InstanceState.RUNNING:
                self._instances[key] = replace(
                    self._instances[key], state=InstanceState.BROKEN, message="sandbox is dead"
                )

    async def version(self) -> str:
        await self._enter("version")
        return "fake 1.0"

    async def instances(self) -> tuple[Instance, ...]:
        await self._enter("instances")
        return tuple(self._instances[key] for key in sorted(self._instances))

    async def ensure_image(self, image: str, policy: PullPolicy, auth: RegistryAuth | None) -> str:
        await self._enter("ensure_image")
        if policy is PullPolicy.NEVER and image not in self.local_images:
            raise ImageUnavailable(f"image {image} is not on this node and pull is never")
        if policy is PullPolicy.ALWAYS or image not in self.local_images:
            self._pull(image, auth)
        return _digest(image)

    async def start(self, order: StartOrder) -> Instance:
        self.orders.append(order)
        await self._enter("start")
        key = (order.task.id, order.attempt)
        if key in self._instances:
            return self._instances[key]
        if order.task.template.image not in self.local_images:
            raise ImageUnavailable(f"image {order.task.template.image} is not on this node")
        self._serial += 1
        sandbox_id = self._sandbox(order)
        self._instances[key] = Instance(
            task_id=order.task.id,
            attempt=order.attempt,
            sandbox_id=sandbox_id,
            container_id=f"container-{self._serial}",
            state=InstanceState.RUNNING,
            address=self._used[sandbox_id],
            started_at=self.now(),
            image_digest=_digest(order.task.template.image),
        )
        self._run(key, order, self._program(order.task.template))
        return self._instances[key]

    async def stop(self, instance: Instance, *, signal: str, grace: timedelta) -> None:
        await self._enter("stop")
        self.stops.append((instance.task_id, signal, grace))
        key = (instance.task_id, instance.attempt)
        known = self._instances.get(key)
        if known is None or known.state is not InstanceState.RUNNING:
            return
        program = self._programs[key]
        killed = program.ignores_stop_signal or grace <= timedelta()
        self._end(key, 137 if killed else program.stop_exit_code, "")

    async def remove(self, instance: Instance) -> None:
        await self._enter("remove")
        self._instances.pop((instance.task_id, instance.attempt), None)
        if any(i.sandbox_id == instance.sandbox_id for i in self._instances.values()):
            return
        self._dead.discard(instance.sandbox_id)
        address = self._used.pop(instance.sandbox_id, None)
        if address is not None:
            self._addresses.append(address)

    async def execute(
        self, instance: Instance, command: Sequence[str], timeout: timedelta
    ) -> ExecOutput:
        await self._enter("execute")
        known = self._instances.get((instance.task_id, instance.attempt))
        if known is None or known.state is not InstanceState.RUNNING:
            raise DriverError(f"task {instance.task_id} is not running")
        output = self.outputs.get(tuple(command), ExecOutput(stdout=b"", stderr=b"", exit_code=0))
        if isinstance(output, WarrenError):
            raise output
        if timeout <= timedelta():
            raise DeadlineExceeded(f"{' '.join(command)} did not end within {timeout}")
        return output

    async def reopen_log(self, instance: Instance) -> None:
        await self._enter("reopen_log")
        known = self._instances.get((instance.task_id, instance.attempt))
        if known is None or known.state is not InstanceState.RUNNING:
            raise DriverError(f"task {instance.task_id} is not running")
        newest = (o for o in reversed(self.orders) if o.task.id == instance.task_id)
        next(o for o in newest if o.attempt == instance.attempt).log_path.touch()

    async def close(self) -> None:
        """Nothing to let go of; instances stay."""

    async def _enter(self, method: str) -> None:
        if method in self.hold:
            await self.hold[method].wait()
        if self.failures.get(method):
            raise self.failures[method].popleft()

    def _pull(self, image: str, auth: RegistryAuth | None) -> None:
        registry = image.partition("/")[0]
        if image in self.credentials and auth != self.credentials[image]:
            wants = "wants credentials" if auth is None else "refused the credentials"
            kind = ImageUnavailable if auth is None else CredentialsRefused
            raise kind(f"image {image} cannot be pulled: registry {registry} {wants}")
        if self.registry is not None and image not in self.registry:
            raise ImageUnavailable(f"image {image} does not exist in its registry")
        self.pulls.append(image)
        self.local_images.add(image)

    def _sandbox(self, order: StartOrder) -> str:
        """The one that the order names, if it is alive, or a new one with an address."""
        if order.sandbox_id in self._used and order.sandbox_id not in self._dead:
            return order.sandbox_id
        if not self._addresses:
            raise DriverError("no address is free in the node's task subnet")
        sandbox_id = f"sandbox-{self._serial}"
        self._used[sandbox_id] = self._addresses.pop(0)
        return sandbox_id

    def _program(self, template: TaskTemplate) -> Program:
        command = (*template.command, *template.args)
        return self.programs.get(command) or self.programs.get((template.image,)) or Program()

    def _run(self, key: tuple[str, int], order: StartOrder, program: Program) -> None:
        self._programs[key] = program
        if program.output:
            order.log_path.parent.mkdir(parents=True, exist_ok=True)
            stamp = self.now().isoformat().replace("+00:00", "Z")
            lines = (f"{stamp} stdout F {line}\n" for line in program.output)
            order.log_path.write_text("".join(lines))
        if program.exit_code is not None:
            self._end(key, program.exit_code, "")

    def _end(self, key: tuple[str, int], code: int, message: str) -> Instance:
        self._instances[key] = replace(
            self._instances[key],
            state=InstanceState.EXITED,
            exit_code=code,
            finished_at=self.now(),
            message=message or ("Completed" if code == 0 else "Error"),
        )
        return self._instances[key]


def _digest(image: str) -> str:
    return "sha256:" + (image.encode().hex() * 64)[:64]
