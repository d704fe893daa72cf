"""Orders for tests: only what matters to a test is named."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from warren.drivers.ports import StartOrder
from warren.model.services import TaskTemplate
from warren.model.tasks import Task, TaskState, TaskStatus

from tests.contract.images import BUSYBOX

_NOW = datetime(2026, 1, 1, tzinfo=UTC)

# Those that wait for a signal say when they are ready for it.
SLEEPS = ("sh", "-c", "trap 'exit 143' TERM; echo ready; sleep 3600 & wait")
STUBBORN = ("sh", "-c", "trap '' TERM; echo ready; while :; do sleep 3600; done")
TAKES_USR1 = ("sh", "-c", "trap 'exit 7' USR1; echo ready; sleep 3600 & wait")
FAILS = ("sh", "-c", "exit 3")
SPEAKS = ("sh", "-c", "echo one; echo two; exit 0")


def an_order(
    log_dir: Path,
    *,
    task: str = "web-1-aaaaa",
    attempt: int = 0,
    sandbox_id: str = "",
    **template: Any,
) -> StartOrder:
    """Of the task `<service>-<slot>-<random>`, which sleeps if nothing else is said."""
    service, slot, _ = task.rsplit("-", 2)
    template.setdefault("image", BUSYBOX)
    template.setdefault("command", SLEEPS)
    return StartOrder(
        task=Task(
            id=task,
            service=service,
            slot=int(slot),
            revision=1,
            template=TaskTemplate(**template),
            created_at=_NOW,
            status=TaskStatus(state=TaskState.ASSIGNED, since=_NOW),
        ),
        attempt=attempt,
        sandbox_id=sandbox_id,
        node_name="n1",
        log_path=log_dir / task / f"{attempt}.log",
    )
