"""Images on their way to this host: tasks that want the same one wait for the same pull.

One that is here needs no registry, and so no credentials: those that a secret holds are asked for
when they are needed, in the version that counts then.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from warren.drivers.ports import Runtime
from warren.model.errors import CredentialsRefused, ImageUnavailable
from warren.model.services import PullPolicy, RegistryAuth, TaskTemplate
from warren.worker.task_files import TaskFiles

_Key = tuple[str, PullPolicy, RegistryAuth | None]


@dataclass(slots=True)
class _Pull:
    job: asyncio.Task[str]
    waiting: int = field(default=0)


class Images:
    """Shares pulls. A pull lives as long as somebody waits for it."""

    def __init__(self, runtime: Runtime, files: TaskFiles) -> None:
        self._runtime = runtime
        self._files = files
        self._pulls: dict[_Key, _Pull] = {}

    async def ensure(self, template: TaskTemplate, waiting: Callable[[str], None]) -> str:
        """The image's digest, once it is here; `waiting` hears what it waits for. Raises what the
        runtime raises, and FailedPrecondition for credentials that cannot be used."""
        secret, policy = template.registry_secret, template.pull
        if not secret or policy is PullPolicy.NEVER:
            return await self._shared((template.image, policy, template.registry_auth))
        if policy is PullPolicy.MISSING:
            with suppress(ImageUnavailable):
                return await self._shared((template.image, PullPolicy.NEVER, None))
        await self._files.wait_credentials(template, waiting)
        try:
            return await self._shared((template.image, policy, self._files.credentials(template)))
        except CredentialsRefused as error:
            raise ImageUnavailable(f"{error} of secret {secret}") from error

    async def _shared(self, key: _Key) -> str:
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
