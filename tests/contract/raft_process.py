"""One member of a real log as a process, driven by lines of JSON on its standard streams.

`python -m tests.contract.raft_process DIRECTORY NUMBER PORT`; certificates are in DIRECTORY/pki.
The state machine is a set of registers. Each request has an id, and each answer names it.
"""

import asyncio
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

from warren.model.errors import DeadlineExceeded, WarrenError
from warren.store.log import LogMember
from warren.store.raft.compaction import Limits
from warren.store.raft.engine import RaftLog

from tests.contract.raft_members import Pki, a_config, address, node_id

TIMEOUT = timedelta(seconds=2)


class Registers:
    """Values by key; `applied` counts commands, so that a repetition shows."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.applied = 0

    def apply(self, command: bytes) -> bytes:
        self.applied += 1
        key, value = json.loads(command)
        self.values[key] = value
        return str(self.applied).encode()

    def snapshot(self) -> Iterator[bytes]:
        return iter([json.dumps([self.applied, self.values]).encode()])

    def restore(self, snapshot: bytes) -> None:
        self.applied, self.values = json.loads(snapshot) if snapshot else (0, {})

    def digest(self) -> str:
        """Equal on members that applied the same."""
        data = json.dumps([self.applied, sorted(self.values.items())]).encode()
        return hashlib.sha256(data).hexdigest()[:16]


class Member:
    """The process, as a test sees it."""

    def __init__(self, directory: Path, number: int, port: int) -> None:
        self.directory, self.number, self.port = directory, number, port
        self.process: subprocess.Popen[str] | None = None
        self._answers: dict[int, dict[str, Any]] = {}
        self._arrived = threading.Condition()
        self._last = 0

    def start(self) -> None:
        """Start it, in the environment of this process."""
        log = (self.directory / f"{self.number}.log").open("a")
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tests.contract.raft_process",
                str(self.directory),
                str(self.number),
                str(self.port),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            bufsize=1,
        )
        log.close()
        threading.Thread(target=self._read, args=(self.process,), daemon=True).start()

    def kill(self) -> None:
        """kill -9."""
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()
        self.process = None
        with self._arrived:
            self._arrived.notify_all()

    def signal(self, number: signal.Signals) -> None:
        """SIGSTOP or SIGCONT."""
        if self.process is not None:
            self.process.send_signal(number)

    def ask(self, request: dict[str, Any], timeout: float = 3.0) -> dict[str, Any] | None:
        """Its answer; None when there is none."""
        process = self.process
        with self._arrived:
            self._last += 1
            number = self._last
        try:
            if process is None or process.stdin is None:
                return None
            process.stdin.write(json.dumps({**request, "id": number}) + "\n")
        except (OSError, ValueError):
            return None
        with self._arrived:
            self._arrived.wait_for(
                lambda: number in self._answers or self.process is not process, timeout
            )
            return self._answers.pop(number, None)

    def _read(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                answer = json.loads(line)
                with self._arrived:
                    self._answers[answer["id"]] = answer
                    self._arrived.notify_all()
        except ValueError:
            pass  # it was killed in the middle of a line, or its streams are closed


async def _serve(directory: Path, number: int, port: int) -> None:
    loop = asyncio.get_running_loop()
    registers = Registers()
    pki = Pki(directory / "pki", None)  # type: ignore[arg-type]  # certificates exist already
    limits = Limits(snapshot_entries=2000, tail_entries=500)
    config = a_config(directory, number, pki, port=port, limits=limits)

    def fail(reason: str) -> None:
        print(f"fatal: {reason}", file=sys.stderr, flush=True)
        os._exit(3)

    log = RaftLog(config, on_failure=fail)
    await log.start(registers)
    reader = asyncio.StreamReader(limit=1 << 24)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with asyncio.TaskGroup() as group:
        while line := await reader.readline():
            group.create_task(_answer(log, registers, json.loads(line)))
    await log.stop()


async def _answer(log: RaftLog, registers: Registers, request: dict[str, Any]) -> None:
    try:
        answer = await _do(log, registers, request)
    except DeadlineExceeded as error:
        answer = {"unknown": error.message}
    except WarrenError as error:
        answer = {"refused": error.message}
    sys.stdout.write(json.dumps({**answer, "id": request["id"]}) + "\n")
    sys.stdout.flush()


async def _do(log: RaftLog, registers: Registers, request: dict[str, Any]) -> dict[str, Any]:
    match request["do"]:
        case "write":
            command = json.dumps([request["key"], request["value"]]).encode()
            outcome = await log.propose(command, TIMEOUT, key=request.get("once", ""))
            return {"done": outcome.decode()}
        case "read":
            await log.read_barrier(TIMEOUT)
            return {"value": registers.values.get(request["key"])}
        case "add":
            number = request["number"]
            member = LogMember(node_id=node_id(number), address=address(number, request["port"]))
            await log.add_member(member, timedelta(seconds=10))
            return {}
        case "transfer":
            began = time.monotonic()
            await log.transfer_leadership(TIMEOUT)
            return {"seconds": time.monotonic() - began}
        case "status":
            status = log.status()
            return {
                "leads": status.is_leader,
                "leader": status.leader,
                "term": status.term,
                "reachable": len(status.reachable),
                "applied": registers.applied,
                "digest": registers.digest(),
            }
        case _:
            raise ValueError(request)


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
