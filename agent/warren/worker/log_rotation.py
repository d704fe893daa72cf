"""Keeps the logs of running tasks from filling the disk: at most three files of 10 MiB each.

A full file is renamed and the runtime told to begin another. If it cannot, the file gets its name
back: a log that grows is better than one that nobody finds.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from warren.drivers.ports import Runtime
from warren.model.errors import WarrenError
from warren.model.instances import Instance
from warren.worker import task_logs

log = logging.getLogger(__name__)

SIZE_MAX_BYTES = 10 * 2**20
CHECK_SECONDS = 5.0


class LogRotation:
    """Watches the logs of what runs."""

    def __init__(
        self, log_dir: Path, runtime: Runtime, running: Callable[[], Sequence[Instance]]
    ) -> None:
        self._log_dir = log_dir
        self._runtime = runtime
        self._running = running

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            for instance in self._running():
                await self._check(instance)

    async def _check(self, instance: Instance) -> None:
        path = task_logs.path_of(self._log_dir, instance.task_id, instance.attempt)
        try:
            if path.stat().st_size <= SIZE_MAX_BYTES:
                return
            task_logs.rotate(path)
            try:
                await self._runtime.reopen_log(instance)
            except WarrenError as error:
                log.warning("cannot rotate the log of task %s: %s", instance.task_id, error)
                task_logs.unrotate(path)
        except FileNotFoundError:
            return
        except OSError as error:
            log.warning("cannot rotate the log of task %s: %s", instance.task_id, error)
