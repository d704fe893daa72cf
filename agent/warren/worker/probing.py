"""The health checks of one running task, one after another, each at its time.

Every task has a loop of its own, so that a check that hangs delays those of no other. What a result
means and when the next check is due is `core/health.py`'s; here is only the waiting. A result of
which nothing was learnt, because the container runtime does not answer, is not told.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from warren.core import health
from warren.core import task as law
from warren.drivers.ports import Instance, Prober, ProbeResult
from warren.model.services import HealthCheck

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is checked, and how."""

    check: HealthCheck
    instance: Instance
    port: int
    """Stands for a port of 0 in the check."""


class Probing:
    """Follows one task from attempt to attempt; ends with its task group."""

    def __init__(
        self,
        prober: Prober,
        group: asyncio.TaskGroup,
        *,
        now: Callable[[], datetime],
        record: Callable[[], health.Record],
        checked: Callable[[law.Checked], None],
    ) -> None:
        self._prober = prober
        self._group = group
        self._now = now
        self._record = record
        self._checked = checked
        self._subject: Subject | None = None
        self._loop: asyncio.Task[None] | None = None

    def follow(self, subject: Subject | None) -> None:
        """Check this from now on; None: nothing."""
        if subject == self._subject:
            return
        self._subject = subject
        if self._loop is not None:
            self._loop.cancel()
            self._loop = None
        if subject is not None:
            self._loop = self._group.create_task(self._check(subject))

    async def _check(self, subject: Subject) -> None:
        instance, check = subject.instance, subject.check
        begun_at = self._now()
        started_at = instance.started_at or begun_at
        due = health.first_at(check, self._record(), instance.task_id, started_at, begun_at)
        while due is not None:
            await asyncio.sleep((due - self._now()).total_seconds())
            begun_at = self._now()
            result = await self._probe(subject)
            if result.known:
                self._tell(instance.attempt, started_at, result)
            due = health.next_at(check, self._record(), instance.task_id, started_at, begun_at)

    def _tell(self, attempt: int, started_at: datetime, result: ProbeResult) -> None:
        outcome = health.Outcome(healthy=result.healthy, output=result.output, at=self._now())
        self._checked(law.Checked(attempt=attempt, started_at=started_at, outcome=outcome))

    async def _probe(self, subject: Subject) -> ProbeResult:
        try:
            return await self._prober.probe(subject.check, subject.instance, subject.port)
        except Exception as error:
            # A bug in a driver must not end the tasks.
            log.exception("task %s: its health check failed to run", subject.instance.task_id)
            return ProbeResult(healthy=False, output=str(error), known=False)
