"""The leader makes analyses that are due, and records what came of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from warren.drivers.ports import ProbeResult
from warren.manager.analyst import Analyst
from warren.manager.sessions import Sessions
from warren.model.checks import ExecCheck, HttpCheck
from warren.model.rollouts import (
    Analysis,
    AnalysisRecord,
    RolloutPhase,
    Strategy,
    UpdatePolicy,
)
from warren.model.services import Port
from warren.state.cluster import ClusterState
from warren.testing.builders import a_node, a_task, an_update

from tests.unit.manager.manager_kit import Kit, a_cluster_state, a_kit


class ScriptedExaminer:
    """Answers one after another, and remembers what it was asked."""

    def __init__(self, *results: ProbeResult) -> None:
        self.results = list(results)
        self.asked: list[tuple[str, int]] = []

    async def examine(self, analysis: Analysis, address: str, port: int) -> ProbeResult:
        self.asked.append((address, port))
        if not self.results:
            await asyncio.Event().wait()
        return self.results.pop(0)


def a_trial(smoke: Analysis) -> ClusterState:
    policy = UpdatePolicy(strategy=Strategy.BLUE_GREEN, smoke=smoke)
    rollout = {"phase": RolloutPhase.TRIAL, "weight": 0, "batch": (1,)}
    web = an_update(update=policy, rollout=rollout, ports=(Port(target=8080),))
    tasks = [a_task(1, "w1"), a_task(1, "w1", revision=2, address="10.88.1.9")]
    return a_cluster_state(services=[web], nodes=[a_node("w1")], tasks=tasks)


@asynccontextmanager
async def analysing(state: ClusterState, examiner: ScriptedExaminer) -> AsyncIterator[Kit]:
    async with a_kit(state) as kit:
        loop = asyncio.create_task(Analyst(kit.context, Sessions(), examiner).run())
        try:
            yield kit
        finally:
            loop.cancel()
            with pytest.raises(asyncio.CancelledError):
                await loop


async def records(kit: Kit, bad: int = 0, good: int = 0) -> tuple[AnalysisRecord, ...]:
    """Once there is such a record."""
    async with asyncio.timeout(10):
        while True:
            count = kit.context.store.changes.count
            found = kit.state.services["web"].rollouts[-1].analyses
            if any((record.bad, record.good) == (bad, good) for record in found):
                return found
            await kit.context.store.changes.wait_newer(count)


async def test_a_good_one_is_recorded_with_its_time() -> None:
    examiner = ScriptedExaminer(ProbeResult(healthy=True))
    async with analysing(a_trial(Analysis(http=HttpCheck())), examiner) as kit:
        (record,) = await records(kit, good=1)

        assert (record.name, record.output) == ("smoke check", "")
        assert examiner.asked[0] == ("10.88.1.9", 8080)


async def test_a_bad_one_is_repeated_after_the_interval() -> None:
    bad = ProbeResult(healthy=False, output="GET /: 503")
    smoke = Analysis(http=HttpCheck(), interval=timedelta(milliseconds=10))
    examiner = ScriptedExaminer(bad, bad)
    async with analysing(a_trial(smoke), examiner) as kit:
        kit_now = kit.context.now()
        (record,) = await records(kit, bad=1)

        assert record.output == "GET /: 503"
        assert record.checked_at >= kit_now


async def test_a_command_whose_worker_is_away_teaches_nothing() -> None:
    smoke = Analysis(exec=ExecCheck(command=("/bin/check",)))
    async with analysing(a_trial(smoke), ScriptedExaminer()) as kit:
        for _ in range(20):
            await asyncio.sleep(0)

        assert kit.state.services["web"].rollouts[-1].analyses == ()
