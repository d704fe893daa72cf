"""Analyses of rollouts from a manager: HTTP against new tasks, and questions to Prometheus.

Implements `ports.Examiner`. What came of one is data; what follows from it is decided by
`core/analyses.py` and `core/failures.py`.
"""

import asyncio
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from warren.drivers import probe_texts as texts
from warren.drivers.ports import ProbeResult
from warren.drivers.probes import Probes
from warren.model.checks import HealthCheck
from warren.model.instances import Instance, InstanceState
from warren.model.rollouts import Analysis, PrometheusQuery
from warren.model.units import format_duration

_ANSWER_MAX = 2**20


class Examinations:
    """Examiner. One per manager."""

    def __init__(self) -> None:
        self._probes = Probes(None)

    async def examine(self, analysis: Analysis, address: str, port: int) -> ProbeResult:
        if analysis.prometheus is None:
            check = HealthCheck(http=analysis.http, timeout=analysis.timeout)
            task = Instance(
                task_id="",
                attempt=0,
                sandbox_id="",
                state=InstanceState.RUNNING,
                address=address,
            )
            return await self._probes.probe(check, task, port)
        seconds = analysis.timeout.total_seconds()
        try:
            async with asyncio.timeout(seconds):
                trouble = await asyncio.to_thread(_ask, analysis.prometheus, seconds)
        except TimeoutError:
            trouble = f"no answer within {format_duration(analysis.timeout)}"
        if not trouble:
            return ProbeResult(healthy=True)
        return ProbeResult(healthy=False, output=texts.on_one_line(f"prometheus: {trouble}"))


def _ask(query: PrometheusQuery, timeout_s: float) -> str:
    """What is wrong; empty text if nothing is. Blocks."""
    address = f"{query.url.rstrip('/')}/api/v1/query?{urlencode({'query': query.query})}"
    try:
        with urllib.request.urlopen(address, timeout=timeout_s) as answer:
            data = json.loads(answer.read(_ANSWER_MAX))
    except urllib.error.HTTPError as error:
        return f"{query.url} answers {error.code}{_reason(error)}"
    except http.client.HTTPException:
        return f"{query.url} does not answer as HTTP does"
    except (OSError, ValueError) as error:
        return f"{query.url}: {getattr(error, 'reason', error)}"
    try:
        values = [float(value) for value in _values(data["data"])]
    except (KeyError, TypeError, ValueError, IndexError):
        return f"{query.url} does not answer as Prometheus does"
    return judge(query, values)


def _reason(error: urllib.error.HTTPError) -> str:
    """`: parse error …`, as Prometheus says it."""
    try:
        told = json.loads(error.read(_ANSWER_MAX)).get("error", "")
    except (OSError, ValueError, AttributeError):
        return ""
    return f": {told}" if told else ""


def _values(data: dict[str, Any]) -> Iterator[str]:
    """Of a scalar, or the newest of every series."""
    if data["resultType"] == "scalar":
        yield data["result"][1]
        return
    if data["resultType"] != "vector":
        raise ValueError(data["resultType"])
    for series in data["result"]:
        yield series["value"][1]


def judge(query: PrometheusQuery, values: list[float]) -> str:
    """What is wrong with the values; empty text if nothing is. NaN is within no bounds."""
    if not values:
        return f"{query.query} has no value"
    for value in values:
        if query.max is not None and not value <= query.max:
            return f"{query.query} is {value:g}, above {query.max:g}"
        if query.min is not None and not value >= query.min:
            return f"{query.query} is {value:g}, below {query.min:g}"
        if value != value:
            return f"{query.query} is not a number"
    return ""
