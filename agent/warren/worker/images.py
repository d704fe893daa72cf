"""Images on their way to this host: tasks that want the same one wait for the same pull."""

import asyncio
from dataclasses import dataclass, field

from warren.drivers.ports import Runtime
from warren.model.services import PullPolicy, RegistryAuth, TaskTemplate

_Key = tuple[str, PullPolicy, RegistryAuth | None]


@dataclass(slots=True)
class _Pull:
    job: asyncio.Task[str]
    waiting: int = field(default=0)


class Images:
    """Shares pulls. A pull lives as long as somebody waits for it."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._pulls: dict[_Key, _Pull] = {}

    async def ensure(self, template: TaskTemplate) -> str:
        """The image's digest, once it is here. Raises what the runtime raises."""
        key = (template.image, template.pull, template.registry_auth)
        pull = self._pulls.get(key)
        if pull is None or pull.job.done():
            pull = self._pulls[key] = _Pull(asyncio.create_task(self._runtime.ensure_image(*key)))
        pull.waiting += 1
        try:
            return await asyncio.shield(pull.job)
        finally:
            pull.waiting -= 1
            if not pull.waiting:
                pull.job.cancel()
                if self._pulls.get(key) is pull:
                    del self._pulls[key]
