"""The contract of `Prober`, kept by the fake and by the real one, against real listeners."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from warren.drivers.containerd import Containerd
from warren.drivers.ports import ExecOutput, Instance, InstanceState, Prober, ProbeResult
from warren.drivers.probes import Probes
from warren.model.errors import DeadlineExceeded, DriverError, RuntimeUnavailable
from warren.model.services import ExecCheck, HealthCheck, HttpCheck, TcpCheck
from warren.testing.fake_prober import FakeProber, Listener
from warren.testing.fake_runtime import FakeRuntime

from tests.contract.orders import an_order

LOOPBACK = Instance(
    task_id="web-1-aaaaa",
    attempt=0,
    sandbox_id="s",
    container_id="c",
    state=InstanceState.RUNNING,
    address="127.0.0.1",
)
HEALTHY = ProbeResult(healthy=True)
_ANSWER = b"HTTP/1.1 %d X\r\ncontent-length: %d\r\ncontent-type: text/plain\r\n%s\r\n%s"


class Stage:
    """A prober, and what listens for it."""

    def __init__(self, prober: Prober) -> None:
        self.prober = prober
        self._servers: list[asyncio.Server] = []
        self._writers: list[asyncio.StreamWriter] = []

    async def listen(self, listener: Listener) -> int:
        """The port on which it listens."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._writers.append(writer)
            if not listener.silent:
                await _serve(listener, reader, writer)
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self._servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        if isinstance(self.prober, FakeProber):
            assert self.prober.listeners is not None
            self.prober.listeners["127.0.0.1", port] = listener
        return port

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        for writer in self._writers:
            writer.close()
        await self.prober.close()


async def _serve(
    listener: Listener, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    if listener.closes:
        return
    if listener.stammers:
        writer.write(b"what?\r\n\r\n")
        return
    lines = head.split("\r\n")
    path = lines[0].split(" ")[1]
    sent = dict(line.split(": ", 1) for line in lines[1:] if line)
    missing = {name: value for name, value in listener.wants.items() if sent.get(name) != value}
    status = 400 if missing else listener.statuses.get(path, 404)
    elsewhere = b"location: http://127.0.0.1:1/\r\n" if 300 <= status < 400 else b""
    body = listener.body.encode()
    writer.write(_ANSWER % (status, len(body), elsewhere, body))


@pytest.fixture(params=["fake", "real"])
async def stage(request: pytest.FixtureRequest) -> AsyncIterator[Stage]:
    """Both, one after the other."""
    if request.param == "real":
        stage = Stage(Probes(FakeRuntime()))
    else:
        fake = FakeProber()
        fake.listeners = {}
        stage = Stage(fake)
    yield stage
    await stage.close()


def http(**values: Any) -> HealthCheck:
    """An HTTP check that has no patience."""
    return HealthCheck(http=HttpCheck(**values), timeout=timedelta(milliseconds=300))


async def output(stage: Stage, check: HealthCheck, port: int) -> str:
    """What is wrong, without the port that chance has given."""
    result = await stage.prober.probe(check, LOOPBACK, port)
    assert not result.healthy
    assert result.known
    return result.output.replace(f":{port}", ":PORT")


async def test_an_expected_status_is_healthy(stage: Stage) -> None:
    port = await stage.listen(Listener(statuses={"/healthz": 200, "/gone": 404}))

    for check in (http(path="/healthz"), http(path="/gone", status="200,404-405")):
        assert await stage.prober.probe(check, LOOPBACK, port) == HEALTHY


async def test_the_checks_own_port_comes_before_that_of_the_service(stage: Stage) -> None:
    port = await stage.listen(Listener(statuses={"/": 200}))

    assert await stage.prober.probe(http(port=port), LOOPBACK, 1) == HEALTHY
    check = HealthCheck(tcp=TcpCheck(port=port))
    assert await stage.prober.probe(check, LOOPBACK, 1) == HEALTHY


async def test_another_status_is_told_with_what_the_task_says_to_it(stage: Stage) -> None:
    plain = await stage.listen(Listener(statuses={"/healthz": 503}))
    speaking = await stage.listen(
        Listener(statuses={"/healthz": 503}, body="no \tdatabase\nTraceback")
    )

    assert await output(stage, http(path="/healthz"), plain) == (
        "GET /healthz on 127.0.0.1:PORT: 503"
    )
    assert await output(stage, http(path="/healthz"), speaking) == (
        "GET /healthz on 127.0.0.1:PORT: 503: no database"
    )


async def test_what_is_told_has_one_line_and_an_end(stage: Stage) -> None:
    port = await stage.listen(Listener(statuses={"/": 500}, body="\x1b[31m" + "x" * 20_000))

    told = await output(stage, http(), port)

    assert told.startswith("GET / on 127.0.0.1:PORT: 500: [31mxxx")
    assert len(told) <= 500


async def test_a_redirection_is_not_followed(stage: Stage) -> None:
    port = await stage.listen(Listener(statuses={"/": 302}))

    assert await stage.prober.probe(http(), LOOPBACK, port) == HEALTHY
    assert await output(stage, http(status="200"), port) == "GET / on 127.0.0.1:PORT: 302"


async def test_headers_are_sent_and_the_host_may_be_another(stage: Stage) -> None:
    wants = {"host": "web.example", "x-probe": "yes"}
    port = await stage.listen(Listener(statuses={"/": 200}, wants=wants))

    assert await stage.prober.probe(http(headers=wants), LOOPBACK, port) == HEALTHY
    assert await output(stage, http(), port) == "GET / on 127.0.0.1:PORT: 400"


async def test_a_task_that_accepts_and_never_answers_is_given_up(stage: Stage) -> None:
    port = await stage.listen(Listener(silent=True))

    began = time.monotonic()
    told = await output(stage, http(path="/healthz"), port)

    assert told == "GET /healthz on 127.0.0.1:PORT: no answer within 300ms"
    assert time.monotonic() - began < 5


async def test_a_task_that_closes_or_speaks_no_http_is_told(stage: Stage) -> None:
    closing = await stage.listen(Listener(closes=True))
    stammering = await stage.listen(Listener(stammers=True))

    assert await output(stage, http(), closing) == (
        "GET / on 127.0.0.1:PORT: the connection was closed without an answer"
    )
    assert await output(stage, http(), stammering) == (
        "GET / on 127.0.0.1:PORT: the answer is not HTTP"
    )


async def test_a_port_on_which_nothing_listens_refuses(stage: Stage) -> None:
    check = HealthCheck(tcp=TcpCheck())

    assert await output(stage, check, 1) == "TCP connection to 127.0.0.1:PORT: connection refused"
    assert await output(stage, http(), 1) == "GET / on 127.0.0.1:PORT: connection refused"


async def test_a_tcp_check_asks_for_no_more_than_a_connection(stage: Stage) -> None:
    port = await stage.listen(Listener(silent=True))

    assert await stage.prober.probe(HealthCheck(tcp=TcpCheck()), LOOPBACK, port) == HEALTHY


@pytest.mark.alone
async def test_hundred_checks_that_hang_delay_no_other(stage: Stage) -> None:
    silent = await stage.listen(Listener(silent=True))
    fine = await stage.listen(Listener(statuses={"/": 200}))
    patient = HealthCheck(http=HttpCheck(), timeout=timedelta(seconds=60))
    if isinstance(stage.prober, FakeProber):
        stage.prober.hold["hung-1-aaaaa"] = asyncio.Event()
    hung = Instance(task_id="hung-1-aaaaa", attempt=0, sandbox_id="h", address="127.0.0.1",
                    state=InstanceState.RUNNING)  # fmt: skip
    hanging = [asyncio.create_task(stage.prober.probe(patient, hung, silent)) for _ in range(100)]

    began = time.monotonic()
    assert await stage.prober.probe(http(), LOOPBACK, fine) == HEALTHY
    assert time.monotonic() - began < 5

    for task in hanging:
        task.cancel()
    await asyncio.wait(hanging)


# ------------------------------------------------------------------ commands


class Inside:
    """A prober, and a task whose container its commands run in."""

    def __init__(self, prober: Prober, start: Callable[[], Awaitable[Instance]]) -> None:
        self.prober = prober
        self._start = start

    async def run(self, *command: str, seconds: float = 5) -> ProbeResult:
        check = HealthCheck(exec=ExecCheck(command=command), timeout=timedelta(seconds=seconds))
        return await self.prober.probe(check, await self._start(), 0)


async def loopback() -> Instance:
    """Stands for a task where commands are only pretended."""
    return LOOPBACK


@pytest.fixture(params=["fake", "real"])
def inside(request: pytest.FixtureRequest, log_dir: Path) -> Inside:
    """Both, one after the other."""
    if request.param == "fake":
        fake = FakeProber()
        fake.outputs = {
            FAILS: ExecOutput(stdout=b"one\n", stderr=b"two\nthree\n\n", exit_code=2),
            MISSING: DriverError('exec: "absent": executable file not found in $PATH'),
            HANGS: DeadlineExceeded("it did not end in time"),
        }
        return Inside(fake, loopback)
    runtime: Containerd = request.getfixturevalue("real_runtime")
    return Inside(Probes(runtime), lambda: runtime.start(an_order(log_dir)))


FAILS = ("sh", "-c", "echo one; printf 'two\\nthree\\n\\n' >&2; exit 2")
MISSING = ("absent",)
HANGS = ("sleep", "1234")


async def test_a_command_that_succeeds_is_healthy(inside: Inside) -> None:
    assert await inside.run("sh", "-c", "exit 0") == HEALTHY


async def test_a_command_that_fails_is_told_with_its_last_line(inside: Inside) -> None:
    assert await inside.run(*FAILS) == ProbeResult(
        healthy=False,
        output=r"exec sh -c echo one; printf 'two\nthree\n\n' >&2; exit 2: exit code 2: three",
    )


async def test_a_command_that_is_not_there_is_told(inside: Inside) -> None:
    told = await inside.run(*MISSING)

    assert told.output.startswith("exec absent: ")
    assert "executable file not found" in told.output


async def test_a_command_that_hangs_is_given_up(inside: Inside) -> None:
    assert await inside.run(*HANGS, seconds=0.3) == ProbeResult(
        healthy=False, output="exec sleep 1234: did not end within 300ms"
    )


async def test_a_command_that_hangs_is_killed(real_runtime: Containerd, log_dir: Path) -> None:
    started = await real_runtime.start(an_order(log_dir))
    check = HealthCheck(exec=ExecCheck(command=HANGS), timeout=timedelta(seconds=3))

    probe = asyncio.create_task(Probes(real_runtime).probe(check, started, 0))
    async with asyncio.timeout(10):
        while "sleep 1234" not in await _processes(real_runtime, started):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    await probe

    async with asyncio.timeout(10):
        while "sleep 1234" in await _processes(real_runtime, started):  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_a_runtime_that_does_not_answer_says_nothing_of_the_task() -> None:
    runtime = FakeRuntime()
    runtime.fail_next("execute", RuntimeUnavailable("the container runtime does not answer"))
    fake = FakeProber()
    fake.outputs["true",] = RuntimeUnavailable("the container runtime does not answer")

    for prober in (Probes(runtime), fake):
        assert await Inside(prober, loopback).run("true") == ProbeResult(
            healthy=False, output="the container runtime does not answer", known=False
        )


async def _processes(runtime: Containerd, instance: Instance) -> str:
    """The command lines of all processes in the container."""
    show = ["sh", "-c", "cat /proc/[0-9]*/cmdline"]
    answer = await runtime.execute(instance, show, timedelta(seconds=10))
    return answer.stdout.decode().replace("\0", " ")
