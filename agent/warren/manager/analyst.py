"""The leader's loop that makes the analyses of rollouts, and records what came of them.

`core/analyses.py` says which are due. It is woken by a change of the state, by the end of one, or
when the next one is due; each runs aside, one at a time per name, and ends with the leadership.
"""

import asyncio
import logging
from datetime import datetime, timedelta

from warren.core import analyses
from warren.core.analyses import Check
from warren.drivers.ports import Examiner, ProbeResult
from warren.manager.cluster import ManagerContext
from warren.manager.sessions import Sessions
from warren.model.errors import DeadlineExceeded, WarrenError
from warren.model.rollouts import AnalysisRecord
from warren.model.units import format_duration
from warren.state.commands import RecordAnalysis

logger = logging.getLogger(__name__)

AGAIN_AFTER = timedelta(seconds=1)
"""Where nothing was learnt, because a worker is not connected or the result was not stored."""


class Analyst:
    """Carries due analyses out."""

    def __init__(self, context: ManagerContext, sessions: Sessions, examiner: Examiner) -> None:
        self._context = context
        self._sessions = sessions
        self._examiner = examiner

    async def run(self) -> None:
        """Until cancelled."""
        running: dict[tuple[str, str], asyncio.Task[None]] = {}
        async with asyncio.TaskGroup() as group:
            while True:
                count = self._context.store.changes.count
                now = self._context.now()
                due, wake_at = analyses.due(self._context.store.state, now)
                running = {key: task for key, task in running.items() if not task.done()}
                for check in due:
                    if check.key not in running:
                        running[check.key] = group.create_task(self._carry_out(check))
                await self._wait(count, list(running.values()), wake_at)

    async def _wait(
        self, changes: int, running: list["asyncio.Task[None]"], wake_at: datetime | None
    ) -> None:
        change = asyncio.create_task(self._context.store.changes.wait_newer(changes))
        timeout = None
        if wake_at is not None:
            timeout = max(0.0, (wake_at - self._context.now()).total_seconds())
        try:
            await asyncio.wait(
                [change, *running], timeout=timeout, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            change.cancel()

    async def _carry_out(self, check: Check) -> None:
        """One analysis, and its result in the log. Not before the next is due is it over."""
        result = await self._result(check)
        if not result.known:
            logger.info("%s of %s: %s", check.name, check.service, result.output)
            await asyncio.sleep(AGAIN_AFTER.total_seconds())
            return
        now = self._context.now()
        before = check.before or AnalysisRecord(name=check.name, checked_at=now)
        record = analyses.taken(before, good=result.healthy, output=result.output, now=now)
        command = RecordAnalysis(service=check.service, rollout_id=check.rollout_id, record=record)
        try:
            await self._context.store.propose(command)
        except WarrenError as error:
            logger.warning("could not record %s of %s: %s", check.name, check.service, error)
            await asyncio.sleep(AGAIN_AFTER.total_seconds())

    async def _result(self, check: Check) -> ProbeResult:
        analysis = check.analysis
        if analysis.exec is None:
            return await self._examiner.examine(analysis, check.task.status.address, check.port)
        session = self._sessions.get(check.task.node_id)
        if session is None:
            output = f"the worker of {check.task.name} is not connected"
            return ProbeResult(healthy=False, output=output, known=False)
        command = " ".join(analysis.exec.command)
        try:
            answer = await session.execute(check.task.id, analysis.exec.command, analysis.timeout)
        except DeadlineExceeded:
            late = format_duration(analysis.timeout)
            return ProbeResult(healthy=False, output=f"exec {command}: no end within {late}")
        except WarrenError as error:
            return ProbeResult(healthy=False, output=str(error), known=False)
        if answer.exit_code == 0:
            return ProbeResult(healthy=True)
        written = (answer.stdout + answer.stderr).decode(errors="replace").strip().splitlines()
        last = f": {written[-1]}" if written else ""
        told = f"exec {command}: exit code {answer.exit_code}{last}"
        return ProbeResult(healthy=False, output=told[:500])
