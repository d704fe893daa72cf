"""What the worker keeps on disk so that everything goes on with no manager reachable.

`worker/assignment.pb` is the last assignment; `worker/tasks.json` is the progress of tasks that
ended or wait for their next start, so that restarting the agent resets no backoff and repeats no
finished task. The progress of running tasks is not kept: their containers tell it.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from warren.api import convert, warren_pb2
from warren.core import restart
from warren.core.task import Progress
from warren.model.assignments import Assignment
from warren.model.errors import InvalidInput
from warren.model.tasks import TaskState, TaskStatus
from warren.worker.files import write_atomically

log = logging.getLogger(__name__)


class AssignmentFile:
    """The last assignment. Holds secrets, hence the mode."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Assignment | None:
        """The assignment, or None if there is none that can be read."""
        try:
            data = self._path.read_bytes()
            return convert.from_message(warren_pb2.Assignment.FromString(data), Assignment)
        except FileNotFoundError:
            return None
        except (OSError, DecodeError, InvalidInput) as error:
            log.warning("%s cannot be used, waiting for a manager: %s", self._path, error)
            return None

    def save(self, assignment: Assignment) -> None:
        """Keep it. A disk that refuses costs the memory of it, not the tasks."""
        try:
            write_atomically(self._path, convert.to_message(assignment).SerializeToString())
        except OSError as error:
            log.warning("cannot keep the assignment: %s", error)


class ProgressFile:
    """Progress by task id; loaded once, written at each change that must not be lost."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept = self._load()

    def get(self, task_id: str) -> Progress | None:
        """What was kept of a task."""
        return self._kept.get(task_id)

    def task_ids(self) -> frozenset[str]:
        """Tasks of which something is kept."""
        return frozenset(self._kept)

    def keep(self, task_id: str, progress: Progress) -> None:
        """Remember `progress` if losing it would matter: a task that ended or waits to restart."""
        state = progress.status.state
        if state is not TaskState.RESTARTING and not state.terminal:
            return
        progress = replace(progress, status=replace(progress.status, address=""))
        if self._kept.get(task_id) != progress:
            self._kept[task_id] = progress
            self._save()

    def forget(self, task_id: str) -> None:
        """Drop what is kept of a task."""
        if self._kept.pop(task_id, None) is not None:
            self._save()

    def _load(self) -> dict[str, Progress]:
        try:
            entries = json.loads(self._path.read_text())
            return {task_id: _progress(entry) for task_id, entry in entries.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s cannot be used, restart counts begin anew: %s", self._path, error)
            return {}

    def _save(self) -> None:
        entries = {task_id: _entry(progress) for task_id, progress in self._kept.items()}
        try:
            write_atomically(self._path, json.dumps(entries, indent=1).encode())
        except OSError as error:
            log.warning("cannot keep the progress of tasks: %s", error)


def _entry(progress: Progress) -> Mapping[str, Any]:
    status = progress.status
    return {
        "attempt": progress.attempt,
        "retry_at": progress.retry_at.isoformat() if progress.retry_at else None,
        "failures": progress.history.failures,
        "restarts": [at.isoformat() for at in progress.history.restarts],
        "state": status.state.value,
        "since": status.since.isoformat(),
        "message": status.message,
        "exit_code": status.exit_code,
        "last_log": status.last_log,
        "image_digest": status.image_digest,
    }


def _progress(entry: Mapping[str, Any]) -> Progress:
    return Progress(
        attempt=entry["attempt"],
        retry_at=datetime.fromisoformat(entry["retry_at"]) if entry["retry_at"] else None,
        history=restart.History(
            failures=entry["failures"],
            restarts=tuple(datetime.fromisoformat(at) for at in entry["restarts"]),
        ),
        status=TaskStatus(
            state=TaskState(entry["state"]),
            since=datetime.fromisoformat(entry["since"]),
            message=entry["message"],
            exit_code=entry["exit_code"],
            failures=entry["failures"],
            last_log=entry["last_log"],
            image_digest=entry["image_digest"],
        ),
    )
