"""The job that began a rollout is killed: the rollout goes on, and a second run attaches to it."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from conftest import FLEET, INVENTORY, REGISTRY, ROOT, changed_hosts, wait_until
from rollouts_under_load import versions
from warren.client.client import Client
from warren.model import manifest
from warren.model.rollouts import RolloutState
from web_under_load import SPEC, WEB, Loaded, all_nodes, loaded, web

Playbook = Callable[..., subprocess.CompletedProcess[str]]
MONITOR = "8s"
"""Four batches of so long: the second run, however slow it starts, finds the rollout under way."""


def test_a_second_run_attaches_to_the_rollout_of_a_killed_one(
    loaded: Loaded, client: Client, playbook: Playbook, tmp_path: Path
) -> None:
    service = {
        **manifest.service_to_dict(SPEC),
        "image": f"{REGISTRY}/web:2",
        "update": {"monitor": MONITOR},
    }
    file = tmp_path / "web.json"
    file.write_text(json.dumps({"service": service}))

    with loaded() as report:
        job = started("deploy-service.yml", "-e", f"@{file}")
        wait_until(lambda: client.list_rollouts(WEB, live=True), seconds=60)
        kill(job)
        begun = client.get_rollout(WEB).rollout
        again = playbook("deploy-service.yml", "-e", f"@{file}")

    assert begun.state is RolloutState.RUNNING
    assert again.returncode == 0, again.stdout
    assert changed_hosts(again.stdout) == {"localhost": 0}
    history = client.get_history(WEB).rollouts
    assert [(each.id, each.state) for each in history] == [(begun.id, RolloutState.COMPLETE)]
    assert report.failures == [], report


def started(*arguments: str) -> "subprocess.Popen[bytes]":
    """A playbook that runs."""
    return subprocess.Popen(
        ["ansible-playbook", "-i", str(INVENTORY), *arguments],
        cwd=ROOT,
        env={**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "WARREN_CONTEXT": FLEET},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def kill(job: "subprocess.Popen[bytes]") -> None:
    """With all that it has started: Ansible gives each worker a session of its own, and the module
    that waits runs in one, so a signal to the job's process group would leave it waiting."""
    for pid in [job.pid, *descendants(job.pid)]:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    job.wait()


def descendants(pid: int) -> Iterator[int]:
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):
            for child in thread.read_text().split():
                yield int(child)
                yield from descendants(int(child))
