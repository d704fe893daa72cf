"""Fixtures of the scenarios: the client, the fleet's verbs, and waiting for a condition."""

import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from warren.client.client import Client, connect

ROOT = Path(__file__).resolve().parent.parent
FLEET = "molecule"
REGISTRY = "10.78.0.1:5000"
INVENTORY = ROOT / "inventory" / FLEET
os.environ["WARREN_CONFIG_DIR"] = str(ROOT / "inventory" / ".molecule")
"""Where the scenario's playbooks put the context; the user's own contexts are not touched."""


@pytest.fixture
def client() -> Iterator[Client]:
    with connect(context=FLEET) as connected:
        yield connected


@pytest.fixture
def fleet() -> Callable[..., str]:
    """`fleet("kill", "m3")`: a verb of the local fleet, on the scenario's hosts."""

    def call(verb: str, *arguments: str) -> str:
        command = ["python3", "-m", "tests.fleet", verb, "--name", FLEET, *arguments]
        return run(*command).stdout

    return call


@pytest.fixture
def playbook() -> Callable[..., subprocess.CompletedProcess[str]]:
    """`playbook("site.yml", "--limit", "w1")`: run one, return what it did, whatever its code."""

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["ansible-playbook", "-i", str(INVENTORY), *arguments]
        environment = {
            **os.environ,
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_FORCE_COLOR": "0",
            "ANSIBLE_NOCOLOR": "1",
            "WARREN_CONTEXT": FLEET,
        }
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)

    return call


@pytest.fixture(scope="session")
def addresses() -> dict[str, str]:
    """Underlay address of each host of the inventory, by name."""
    output = run("ansible-inventory", "-i", str(INVENTORY), "--list").stdout
    hosts = json.loads(output)["_meta"]["hostvars"]
    return {name: facts["ansible_host"] for name, facts in hosts.items()}


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)


def wait_until(condition: Callable[[], object], *, seconds: float) -> float:
    """Ask until it holds; the seconds that took. Fails with the last answer."""
    begin = time.monotonic()
    while not (answer := condition()):
        if time.monotonic() - begin > seconds:
            pytest.fail(f"not within {seconds} s: {condition}: last answer {answer!r}")
        time.sleep(0.1)
    return time.monotonic() - begin


def get(address: str, port: int = 8080) -> str:
    """The body that a GET of / answers."""
    with urllib.request.urlopen(f"http://{address}:{port}/", timeout=5) as response:
        body: bytes = response.read()
    return body.decode()


def changed_hosts(output: str) -> dict[str, int]:
    """`changed=` of each host in a play recap."""
    recap = output.rsplit("PLAY RECAP", 1)[1]
    rows = (line.split() for line in recap.splitlines() if "changed=" in line)
    return {row[0]: int(next(w for w in row if w.startswith("changed="))[8:]) for row in rows}
