#!/usr/bin/env python3
"""Send requests at a steady rate, and say what became of each. Needs the standard library alone.

    generator.py --rate 500 --mode new --seconds 10 http://10.92.0.5/ http://10.78.0.11:8080/

Open loop: a request is due every 1/rate seconds, whether or not earlier ones were answered, so a
stall shows as what it is. Targets take turns. `new` makes a connection for each request; `keep`
keeps connections and uses them again. When a kept connection turns out to have been closed before
one byte of an answer came, the request is sent once more on a new one, as every HTTP client does
(RFC 9110, 9.2.2); those are counted as `resent`.

Ends after --seconds, or when standard input ends; prints one JSON object:
`sent, ok, resent, failures [{at, target, mode, reason}], by_body {body: count}, latency_ms {p50,
p99, max}, began, ended` (times are seconds since 1970, so runs on several hosts can be compared).
"""

import argparse
import asyncio
import json
import resource
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class Tally:
    """What became of the requests."""

    sent: int = 0
    ok: int = 0
    resent: int = 0
    failures: list[dict[str, object]] = field(default_factory=list)
    by_body: Counter[str] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    began: float = 0.0
    ended: float = 0.0

    def summary(self) -> dict[str, object]:
        ordered = sorted(self.latencies) or [0.0]
        return {
            "sent": self.sent,
            "ok": self.ok,
            "resent": self.resent,
            "failures": self.failures,
            "by_body": dict(self.by_body),
            "latency_ms": {
                "p50": round(ordered[len(ordered) // 2] * 1000, 2),
                "p99": round(ordered[len(ordered) * 99 // 100] * 1000, 2),
                "max": round(ordered[-1] * 1000, 2),
            },
            "began": self.began,
            "ended": self.ended,
        }


class Closed(Exception):
    """The other side had closed a kept connection before any byte of an answer."""


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Target:
    """One URL, with the connections to it that are idle."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname, f"{url} has no host"
        self.url = url
        self.host, self.port = parts.hostname, parts.port or 80
        self.head = f"GET {parts.path or '/'} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        self.idle: list[Connection] = []

    async def get(self, *, keep: bool) -> tuple[str, bool]:
        """The body, and whether the request was sent twice."""
        if not keep:
            connection = await self._connect()
            return await self._exchange(connection, keep=False), False
        if self.idle:
            try:
                return await self._exchange(self.idle.pop(), keep=True), False
            except Closed:
                return await self._exchange(await self._connect(), keep=True), True
        return await self._exchange(await self._connect(), keep=True), False

    async def _connect(self) -> Connection:
        return await asyncio.open_connection(self.host, self.port)

    async def _exchange(self, connection: Connection, *, keep: bool) -> str:
        reader, writer = connection
        reuse = False
        try:
            ending = "" if keep else "Connection: close\r\n"
            writer.write(f"{self.head}{ending}\r\n".encode())
            status, headers = await _read_head(reader)
            body = await _read_body(reader, headers)
            reuse = keep and headers.get("connection", "").lower() != "close"
            if not 200 <= status < 400:
                raise OSError(f"status {status}")
            return body.strip()
        finally:
            if reuse:
                self.idle.append(connection)
            else:
                writer.close()


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    try:
        first = await reader.readline()
    except ConnectionResetError as error:
        raise Closed("reset") from error
    if not first:
        raise Closed("closed")
    headers: dict[str, str] = {}
    while (line := await reader.readline()) not in (b"\r\n", b"\n", b""):
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    return int(first.split()[1]), headers


async def _read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> str:
    if "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    else:
        body = await reader.read()
    return body.decode("utf-8", "replace")


class Generator:
    """Requests at a rate, until told to stop."""

    def __init__(self, targets: list[str], *, rate: float, keep: bool, timeout: float) -> None:
        self._targets = [Target(url) for url in targets]
        self._interval = 1 / rate
        self._keep = keep
        self._timeout = timeout
        self.tally = Tally()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop` is set; then waits for the answers that are still due."""
        loop = asyncio.get_running_loop()
        running: set[asyncio.Task[None]] = set()
        begin = loop.time()
        self.tally.began = time.time()
        while not stop.is_set():
            due = begin + self.tally.sent * self._interval
            if (delay := due - loop.time()) > 0:
                await asyncio.sleep(delay)
                continue
            target = self._targets[self.tally.sent % len(self._targets)]
            self.tally.sent += 1
            task = asyncio.create_task(self._one(target))
            running.add(task)
            task.add_done_callback(running.discard)
            if self.tally.sent % 50 == 0:
                await asyncio.sleep(0)
        await asyncio.gather(*running)
        self.tally.ended = time.time()

    async def _one(self, target: Target) -> None:
        at, begin = time.time(), time.perf_counter()
        try:
            async with asyncio.timeout(self._timeout):
                body, resent = await target.get(keep=self._keep)
        except (OSError, TimeoutError, Closed, EOFError, ValueError, IndexError) as error:
            reason = f"{type(error).__name__}: {error}".rstrip(": ")
            mode = "keep" if self._keep else "new"
            failure = {"at": at, "target": target.url, "mode": mode, "reason": reason}
            self.tally.failures.append(failure)
            return
        self.tally.ok += 1
        self.tally.resent += resent
        self.tally.by_body[body] += 1
        self.tally.latencies.append(time.perf_counter() - begin)


def _allow_many_files() -> None:
    """A stall makes requests pile up, and each has a connection."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _main(options: argparse.Namespace) -> Tally:
    generator = Generator(
        options.targets,
        rate=options.rate,
        keep=options.mode == "keep",
        timeout=options.timeout,
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    if options.seconds:
        loop.call_later(options.seconds, stop.set)
    else:
        loop.add_reader(sys.stdin, stop.set)
    await generator.run(stop)
    return generator.tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="+", metavar="URL")
    parser.add_argument("--rate", type=float, default=500.0, help="requests a second")
    parser.add_argument("--mode", choices=("new", "keep"), default="new")
    parser.add_argument("--seconds", type=float, default=0.0, help="0: until standard input ends")
    parser.add_argument("--timeout", type=float, default=5.0, help="seconds for one request")
    _allow_many_files()
    print(json.dumps(asyncio.run(_main(parser.parse_args())).summary()))


if __name__ == "__main__":
    main()
