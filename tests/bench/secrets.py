"""What a thousand secrets cost managers: `python -m tests.bench.secrets [--autolock]`.

Three managers as processes on loopback, on one disk, and a client on the leader's socket: memory
before and after the secrets are there, and how long all of them take to be sealed anew. On a busy
machine the processor time counts, which each manager spent.
"""

import argparse
import os
import tempfile
import time
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

from warren.bootstrap import autolock
from warren.client import Client, rotations
from warren.model.secrets import SecretSpec
from warren.model.services import Secret

from tests.contract.manager_processes import SPEC, Host, form, hosts, members, wait_until

SIZE = 1024
PASSPHRASE = Secret("correct horse battery")
PATIENCE = timedelta(minutes=10)
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Of one process, until now."""

    resident_mb: float
    processor_s: float


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--secrets", type=int, default=1000)
    parser.add_argument("--autolock", action="store_true", help="with the keys under a passphrase")
    options = parser.parse_args()
    spec = replace(SPEC, api_port=22443, join_port=22444, raft_port=22445)
    with tempfile.TemporaryDirectory() as name, hosts(Path(name), 3, spec=spec) as made:
        first = form(made)
        wait_until(lambda: len(members(first.cluster())) == 3, "three managers", deadline=120)
        with first.client(timeout=60) as client:
            measure(client, made, options.secrets, locked=options.autolock)


def measure(client: Client, managers: list[Host], count: int, *, locked: bool) -> None:
    """All figures."""
    put(client, "first")
    if locked:
        autolock.turn_on(client, PASSPHRASE)
        rotations.wait_resealed(client, timeout=PATIENCE)
    before = [usage(host) for host in managers]
    began = time.perf_counter()
    for number in range(count - 1):
        put(client, f"secret-{number}")
    time.sleep(2)  # what was left for later is done
    after = [usage(host) for host in managers]
    took = time.perf_counter() - began - 2
    print(f"{count} secrets of {SIZE} bytes created in {took:.1f} s")
    show("resident memory, more than before, MB", [a.resident_mb for a in grown(before, after)])
    show("… processor time of it, s", [a.processor_s for a in grown(before, after)])

    began = time.perf_counter()
    assert client.rotate_secret_keys()
    view = rotations.wait_resealed(client, timeout=PATIENCE)
    took = time.perf_counter() - began
    rotated = [usage(host) for host in managers]
    assert view.versions == count
    print(f"all sealed anew in {took:.2f} s (target 5 s, in steps of 0.3 s as clients look)")
    show("… processor time of it, s", [a.processor_s for a in grown(after, rotated)])
    show("resident memory, more than at first, MB", [a.resident_mb for a in grown(before, rotated)])


def put(client: Client, name: str) -> None:
    client.apply_secret(SecretSpec(name=name), ("name",), os.urandom(SIZE))


def usage(host: Host) -> Usage:
    assert host.process is not None
    directory = Path("/proc") / str(host.process.pid)
    words = (directory / "stat").read_text().rpartition(")")[2].split()
    pages = int((directory / "statm").read_text().split()[1])
    return Usage(
        resident_mb=pages * _PAGE / 1e6, processor_s=(int(words[11]) + int(words[12])) / _TICKS
    )


def grown(before: list[Usage], after: list[Usage]) -> list[Usage]:
    return [
        Usage(
            resident_mb=new.resident_mb - old.resident_mb,
            processor_s=new.processor_s - old.processor_s,
        )
        for old, new in zip(before, after, strict=True)
    ]


def show(what: str, values: list[float]) -> None:
    """The leader's first."""
    print(f"{what:44}{', '.join(f'{value:.2f}' for value in values)}")


if __name__ == "__main__":
    main()
