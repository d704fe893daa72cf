"""Runs the real modules through ansible, on this machine, against a manager in memory."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.modules.fake_manager import FakeManager
from tests.modules.fake_manager_fixtures import manager
from tests.modules.jobs import Job

__all__ = ["manager"]

ROOT = Path(__file__).parents[2]


@dataclass
class Played:
    """One run of ansible-playbook: what each task returned, and all that was printed."""

    code: int
    results: list[dict[str, Any]]
    output: str

    @property
    def result(self) -> dict[str, Any]:
        """What the first task returned."""
        return self.results[0]


Play = Callable[..., Played]
StartPlaybook = Callable[..., Job]


def task(name: str, options: dict[str, Any], **keywords: Any) -> dict[str, Any]:
    """A task with one of our modules; `check` is short for both `check_mode` and `diff`."""
    if keywords.pop("check", False):
        keywords |= {"check_mode": True, "diff": True}
    return {f"warren.core.{name}": options, **keywords}


@pytest.fixture
def environment(manager: FakeManager, tmp_path: Path) -> dict[str, str]:
    """The environment of a user whose variables point to that manager."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("WARREN_")}
    return {
        **kept,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_LOCAL_TEMP": str(tmp_path / "tmp"),
        "ANSIBLE_LOCALHOST_WARNING": "false",
        "ANSIBLE_INVENTORY_UNPARSED_WARNING": "false",
        "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
        "ANSIBLE_CALLBACK_RESULT_FORMAT": "json",
        "HOME": str(tmp_path),
        "WARREN_CONFIG_DIR": str(tmp_path / "config"),
        "WARREN_ENDPOINTS": manager.listen_unix(tmp_path / "warren.sock"),
    }


@pytest.fixture
def play(environment: dict[str, str], tmp_path: Path) -> Play:
    """Runs tasks, one after another in one play, as starting ansible is what costs."""

    def run(*tasks: dict[str, Any], flags: tuple[str, ...] = ()) -> Played:
        playbook = tmp_path / "playbook.yml"
        file = tmp_path / "results.json"
        names = [f"result_{number}" for number in range(len(tasks))]
        steps: list[dict[str, Any]] = [
            {**each, "register": name, "ignore_errors": True}
            for each, name in zip(tasks, names, strict=True)
        ]
        content = f"{{{{ [{', '.join(names)}] | to_json }}}}"
        steps.append({"ansible.builtin.copy": {"content": content, "dest": str(file)}})
        playbook.write_text(yaml.safe_dump([_local_play(steps)]))
        done = _ansible_playbook(environment, str(playbook), *flags)
        output = done.stdout + done.stderr
        assert file.exists(), output
        return Played(done.returncode, json.loads(file.read_text()), output)

    return run


@pytest.fixture
def start_playbook(environment: dict[str, str]) -> Iterator[StartPlaybook]:
    """Starts a playbook of the project, which goes on beside the test."""
    started: list[Job] = []

    def start(name: str, *flags: str) -> Job:
        job = Job(_command(str(ROOT / name), *flags), environment, ROOT)
        started.append(job)
        return job

    yield start
    for job in started:
        job.kill()


@pytest.fixture
def playbook(environment: dict[str, str]) -> Play:
    """Runs a playbook of the project: `playbook("deploy-service.yml", "-e", "…")`."""

    def play(name: str, *flags: str) -> Played:
        done = _ansible_playbook(environment, str(ROOT / name), *flags)
        return Played(done.returncode, [], done.stdout + done.stderr)

    return play


def _local_play(tasks: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "hosts": "localhost",
        "connection": "local",
        "gather_facts": False,
        "vars": {"ansible_python_interpreter": sys.executable},
        "tasks": tasks,
    }


def _ansible_playbook(
    environment: dict[str, str], *words: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        _command(*words),
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def _command(*words: str) -> list[str]:
    return [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "localhost,", *words]
