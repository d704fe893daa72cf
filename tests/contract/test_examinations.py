"""Analyses of rollouts against servers that really listen."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from warren.drivers.examinations import Examinations, judge
from warren.drivers.ports import ProbeResult
from warren.model.checks import HttpCheck
from warren.model.rollouts import Analysis, PrometheusQuery


@asynccontextmanager
async def listening(status: str, body: str) -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode())
        writer.write(body.encode())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


def prometheus(port: int, **bounds: float) -> Analysis:
    query = PrometheusQuery(url=f"http://127.0.0.1:{port}", query="rate(errors[1m])", **bounds)
    return Analysis(prometheus=query, timeout=timedelta(seconds=2))


def vector(*values: str) -> str:
    series = ",".join(f'{{"metric":{{}},"value":[1,"{value}"]}}' for value in values)
    return f'{{"status":"success","data":{{"resultType":"vector","result":[{series}]}}}}'


@pytest.mark.parametrize(
    ("status", "healthy", "output"),
    [("200 OK", True, ""), ("503 Busy", False, "GET /ready on 127.0.0.1:{port}: 503: {{}}")],
)
async def test_http_is_judged_by_its_status(status: str, healthy: bool, output: str) -> None:
    async with listening(status, "{}") as port:
        analysis = Analysis(http=HttpCheck(path="/ready"))

        result = await Examinations().examine(analysis, "127.0.0.1", port)

        assert result == ProbeResult(healthy=healthy, output=output.format(port=port))


@pytest.mark.parametrize(
    ("body", "bounds", "output"),
    [
        (vector("0.001", "0.004"), {"max": 0.01}, ""),
        (vector("0.001", "0.02"), {"max": 0.01}, "rate(errors[1m]) is 0.02, above 0.01"),
        (vector("3"), {"min": 5.0}, "rate(errors[1m]) is 3, below 5"),
        (vector("NaN"), {"max": 1.0}, "rate(errors[1m]) is nan, above 1"),
        (vector(), {"max": 1.0}, "rate(errors[1m]) has no value"),
        (
            '{"data":{"resultType":"scalar","result":[1,"0.5"]}}',
            {"min": 0.0, "max": 1.0},
            "",
        ),
        ("nonsense", {"max": 1.0}, None),
        ('{"data":{}}', {"max": 1.0}, None),
    ],
)
async def test_every_value_of_a_query_must_be_within_its_bounds(
    body: str, bounds: dict[str, float], output: str | None
) -> None:
    async with listening("200 OK", body) as port:
        result = await Examinations().examine(prometheus(port, **bounds), "", 0)

        assert result.healthy is (output == "")
        if output:
            assert result.output == f"prometheus: {output}"


async def test_a_query_that_is_refused_says_why() -> None:
    async with listening("400 Bad", '{"error":"parse error at char 3"}') as port:
        result = await Examinations().examine(prometheus(port, max=1.0), "", 0)

        told = f"prometheus: http://127.0.0.1:{port} answers 400: parse error at char 3"
        assert result == ProbeResult(healthy=False, output=told)


async def test_nobody_who_listens_is_bad() -> None:
    async with listening("200 OK", "") as port:
        pass

    result = await Examinations().examine(prometheus(port, max=1.0), "", 0)

    assert not result.healthy
    assert "refused" in result.output.lower()


async def test_who_does_not_speak_http_is_bad() -> None:
    async def stammer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"+PONG\r\n")
        writer.close()

    server = await asyncio.start_server(stammer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]

        result = await Examinations().examine(prometheus(port, max=1.0), "", 0)

    told = f"prometheus: http://127.0.0.1:{port} does not answer as HTTP does"
    assert result == ProbeResult(healthy=False, output=told)


def test_a_number_that_is_none_is_within_no_bounds() -> None:
    query = PrometheusQuery(url="http://x", query="q", min=0.0)

    assert judge(query, [float("nan")]) == "q is nan, below 0"
