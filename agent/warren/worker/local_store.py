"""What the worker remembers of its tasks, so that a restart of the agent changes nothing of them.

`worker/tasks.json` is the progress of tasks that ended by themselves or wait for their next start:
so a new agent resets no backoff and repeats no finished task, also after a reboot.
`worker/verdicts.json` is what health checks said of running tasks: so a new agent takes no healthy
one out of traffic; and the end of those that were stopped. A reboot ends the first, and the others
stay stopped by their assignment, so it is not forced to the disk, which would hold up the starts
and the checks of others. The rest of running tasks is not kept: their containers tell it.
"""

import json
import logging
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from warren.core import health, restart
from warren.core import task as law
from warren.core.task import Progress
from warren.files import write_whole
from warren.model.tasks import Health, TaskState, TaskStatus

log = logging.getLogger(__name__)

_LASTING = (TaskState.RESTARTING, TaskState.COMPLETE, TaskState.FAILED)
"""States that nothing but this host's disk would tell after a reboot."""


class ProgressFile:
    """Progress by task id; loaded once, written at each change that must not be lost."""

    def __init__(self, path: Path) -> None:
        self._ends = _Entries(path, durable=True)
        self._verdicts = _Entries(path.with_name("verdicts.json"), durable=False)

    def get(self, task_id: str) -> Progress | None:
        """What was kept of a task: of a verdict and an end the later."""
        end, verdict = self._ends.kept.get(task_id), self._verdicts.kept.get(task_id)
        if end is None or verdict is None:
            return end or verdict
        stopped = verdict.status.state.terminal
        over = end.status.state.terminal or (end.attempt > verdict.attempt and not stopped)
        return end if over else verdict

    def task_ids(self) -> frozenset[str]:
        """Tasks of which something is kept."""
        return frozenset(self._ends.kept) | frozenset(self._verdicts.kept)

    def keep(self, task_id: str, progress: Progress) -> None:
        """Remember what of it must not be lost."""
        kept = law.kept(progress)
        if kept is None:
            return
        lasting = kept.status.state in _LASTING
        (self._ends if lasting else self._verdicts).put(task_id, kept)

    def forget(self, task_id: str) -> None:
        """Drop what is kept of a task."""
        self._ends.drop(task_id)
        self._verdicts.drop(task_id)


class _Entries:
    """One of the files, with its entries as text: a change of one is no work for the others."""

    def __init__(self, path: Path, *, durable: bool) -> None:
        self._path = path
        self._durable = durable
        self.kept = self._load()
        self._texts = {task_id: _text(progress) for task_id, progress in self.kept.items()}

    def put(self, task_id: str, progress: Progress) -> None:
        if self.kept.get(task_id) != progress:
            self.kept[task_id] = progress
            self._texts[task_id] = _text(progress)
            self._save()

    def drop(self, task_id: str) -> None:
        if self.kept.pop(task_id, None) is not None:
            del self._texts[task_id]
            self._save()

    def _load(self) -> dict[str, Progress]:
        try:
            entries = json.loads(self._path.read_text())
            return {task_id: _progress(entry) for task_id, entry in entries.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("%s cannot be used, its tasks begin anew: %s", self._path, error)
            return {}

    def _save(self) -> None:
        entries = (f"{json.dumps(task_id)}: {text}" for task_id, text in self._texts.items())
        text = "{" + ",\n".join(entries) + "}\n"
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_whole(self._path, text.encode(), durable=self._durable)
        except OSError as error:
            log.warning("cannot keep the progress of tasks: %s", error)


def _text(progress: Progress) -> str:
    return json.dumps(_entry(progress))


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
        "health_output": status.health_output,
        "checks": _checks_entry(progress.checks),
    }


def _checks_entry(checks: health.Record) -> Mapping[str, Any] | None:
    """A verdict; of one that is still open nothing is kept."""
    if checks.since is None:
        return None
    return {
        "health": checks.health.value,
        "since": checks.since.isoformat(),
        "bad": checks.bad,
        "output": checks.output,
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
            health_output=entry.get("health_output", ""),
        ),
        checks=_checks(entry.get("checks")),
    )


def _checks(entry: Mapping[str, Any] | None) -> health.Record:
    if entry is None:
        return health.Record()
    verdict = Health(entry["health"])
    return health.Record(
        health=verdict,
        since=datetime.fromisoformat(entry["since"]),
        been_good=verdict is Health.HEALTHY,
        bad=entry["bad"],
        output=entry["output"],
    )
