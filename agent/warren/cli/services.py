"""`warren service …`: what runs on the cluster."""

import argparse
import re
import sys
from datetime import timedelta
from typing import TYPE_CHECKING

from warren.cli import common, deploying, service_options
from warren.cli.common import Nouns, Options
from warren.model import manifest
from warren.model.errors import AlreadyExists, InvalidInput, NotFound
from warren.model.services import Port, PortMode, ServiceSpec
from warren.model.tasks import Health, Task, TaskState
from warren.model.views import RevisionView, ServiceView

if TYPE_CHECKING:
    from warren.client import Client
    from warren.client.answers import LogLine

MESSAGE_WIDTH = 100


def register(nouns: Nouns, shared: argparse.ArgumentParser) -> None:
    """Add the noun with its verbs."""
    verbs = common.add_noun(nouns, "service", "what runs on the cluster")
    verb = common.add_verb(verbs, shared, "ls", "list services", ls)
    common.add_stale(verb)
    for name, summary, run in (
        ("ps", "list the tasks of services", ps),
        ("inspect", "show services in full", inspect),
    ):
        verb = common.add_verb(verbs, shared, name, summary, run)
        verb.add_argument("service", nargs="+", metavar="SERVICE")
        common.add_stale(verb)

    verb = common.add_verb(verbs, shared, "create", "create a service and wait for it", create)
    service_options.add_to_create(verb)
    deploying.add_wait_options(verb)

    verb = common.add_verb(
        verbs, shared, "update", "change a service, and wait for its rollout", update
    )
    service_options.add_to_update(verb)
    verb.add_argument("--dry-run", action="store_true", help="show what would happen")
    deploying.add_wait_options(verb)

    verb = common.add_verb(
        verbs, shared, "history", "list revisions that can be gone back to", history
    )
    verb.add_argument("service", metavar="SERVICE")
    common.add_stale(verb)

    verb = common.add_verb(verbs, shared, "scale", "change the number of tasks", scale)
    verb.add_argument("service", nargs="+", metavar="SERVICE=REPLICAS")
    deploying.add_wait_options(verb)

    verb = common.add_verb(verbs, shared, "rm", "remove services", rm)
    verb.add_argument("service", nargs="+", metavar="SERVICE")
    deploying.add_wait_options(verb)

    verb = common.add_verb(verbs, shared, "logs", "show what tasks wrote", logs)
    verb.add_argument("service", metavar="SERVICE|TASK")
    verb.add_argument("-f", "--follow", action="store_true", help="go on as more is written")
    verb.add_argument("--tail", type=int, default=0, metavar="N", help="last N lines of each task")
    verb.add_argument("-t", "--timestamps", action="store_true", help="begin lines with the time")

    verb = common.add_verb(verbs, shared, "exec", "run a command in a task", execute)
    verb.add_argument("service", metavar="SERVICE|TASK")
    verb.add_argument("command", nargs=argparse.REMAINDER, metavar="-- COMMAND …")
    verb.add_argument(
        "--exec-timeout",
        type=common.duration,
        default=timedelta(minutes=10),
        metavar="DURATION",
        help="most that the command may take (10m)",
    )


def ls(options: Options) -> int:
    """List services."""
    from warren.client import reports

    with common.client(options) as client:
        views = client.list_services(stale=options.stale)
    rows = [
        (
            view.service.spec.name,
            str(view.service.revision),
            f"{view.status.running}/{view.status.desired}",
            view.service.spec.image,
            " ".join(_port(port) for port in view.service.spec.ports),
            "running" if view.status.converged else _cut(view.status.reason),
        )
        for view in views
    ]
    data = [reports.service(view) for view in views]
    headers = ("NAME", "REVISION", "TASKS", "IMAGE", "PORTS", "STATUS")
    return common.show(options, data, headers, rows)


def ps(options: Options) -> int:
    """List tasks, wanted ones first; what is not running says why."""
    from warren.client import reports

    with common.client(options) as client:
        views = [client.get_service(name, stale=options.stale) for name in options.service]
    rows = [
        (
            task.name,
            task.id,
            node or "-",
            str(task.revision),
            task.desired.value,
            f"{task.status.state.value} {common.age(task.status.since)}",
            "-" if task.status.health is Health.NONE else task.status.health.value,
            _cut(_message(task)),
        )
        for view in views
        for task, node in zip(view.tasks, view.node_names, strict=True)
    ]
    data = [task for view in views for task in reports.tasks(view)]
    headers = ("NAME", "ID", "NODE", "REVISION", "DESIRED", "STATE", "HEALTH", "MESSAGE")
    for view in views:
        deploying.say_warnings(view)
    return common.show(options, data, headers, rows)


def inspect(options: Options) -> int:
    """Show services with their tasks."""
    from warren.client import reports

    with common.client(options) as client:
        views = [client.get_service(name, stale=options.stale) for name in options.service]
    data = [{**reports.service(view), "tasks": reports.tasks(view)} for view in views]
    return common.show_data(options, data if len(data) > 1 else data[0])


def create(options: Options) -> int:
    """Create a service that is not there."""
    manifests = service_options.manifests(options)
    with common.client(options) as client:
        specs = deploying.parse(manifests)
        for spec, _ in specs:
            try:
                client.get_service(spec.name)
            except NotFound:
                continue
            raise AlreadyExists(f"service {spec.name} exists: change it with warren apply")
        return deploying.deploy(options, client, specs)


def update(options: Options) -> int:
    """Change what the options name, and nothing else."""
    with common.client(options) as client:
        before = client.get_service(options.service).service
        changed = service_options.changed_manifest(options, before.spec)
        if set(changed) == {"name"}:
            raise InvalidInput("nothing to change was given: warren service update --help")
        spec, fields = manifest.parse_service(changed, partial=True)
        if options.dry_run:
            return deploying.dry_run(options, client, [(spec, fields)])
        applied = client.apply_service(spec, fields, expected_version=before.version)
        return deploying.follow(options, client, [applied])


def history(options: Options) -> int:
    """List revisions, newest first, with what became of each."""
    from warren.client import reports

    with common.client(options) as client:
        found = client.get_history(options.service, stale=options.stale)
    rows = [
        (
            str(each.revision.number),
            each.revision.template.image,
            common.age(each.revision.created_at),
            str(each.tasks),
            _fate(each),
            _cut(each.revision.reason),
        )
        for each in found.revisions
    ]
    headers = ("REVISION", "IMAGE", "AGE", "TASKS", "STATUS", "REASON")
    return common.show(options, reports.history(found), headers, rows)


def _fate(view: RevisionView) -> str:
    if view.current:
        return "current"
    if view.revision.reason:
        return "rolled back"
    return "kept"


def scale(options: Options) -> int:
    """Change replicas, and nothing else."""
    wanted = common.pairs(options.service, "service")
    specs = []
    for name, replicas in wanted.items():
        if not re.fullmatch(r"\d+", replicas):
            raise InvalidInput(f"{replicas!r} is not a number of tasks", path=f"{name}.replicas")
        specs.append((ServiceSpec(name=name, image="", replicas=int(replicas)), ("replicas",)))
    with common.client(options) as client:
        for name in wanted:
            client.get_service(name)  # before the first of several is changed
        return deploying.deploy(options, client, specs)


def rm(options: Options) -> int:
    """Remove services, and wait until their tasks have stopped."""
    from warren.client import waits

    with common.client(options) as client:
        for name in options.service:
            client.get_service(name)
        for name in options.service:
            client.delete_service(name)
        for name in options.service if not options.detach else ():
            waits.wait_service_gone(client, name, timeout=options.wait_timeout)
    for name in options.service:
        print(name)
    return 0


def logs(options: Options) -> int:
    """Print lines as they come; those of several tasks begin with the task's name."""

    def lines(client: "Client", *, service: str, task: str, width: int) -> None:
        for line in client.logs(
            service=service, task=task, follow=options.follow, tail=options.tail
        ):
            _print_line(options, line, width)

    name = options.service
    with common.client(options) as client:
        view = _service(client, name)
        if view is None:
            try:
                lines(client, service="", task=name, width=0)
            except NotFound:
                raise NotFound(f"there is no service and no task {name}") from None
        else:
            width = max((len(task.name) for task in view.tasks), default=0)
            lines(client, service=name, task="", width=width if len(view.tasks) > 1 else 0)
    return 0


def execute(options: Options) -> int:
    """Run a command in a running task; its exit code is ours."""
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        raise InvalidInput("is missing: warren service exec NAME -- COMMAND", path="command")
    with common.client(options) as client:
        done = client.execute(options.service, command, timeout=options.exec_timeout)
    for stream, data in ((sys.stdout, done.stdout), (sys.stderr, done.stderr)):
        stream.buffer.write(data)
        stream.flush()
    return done.exit_code


def _service(client: "Client", name: str) -> ServiceView | None:
    """The service of that name; None for what may be a task's name or id."""
    try:
        return client.get_service(name)
    except NotFound:
        return None


def _print_line(options: Options, line: "LogLine", width: int) -> None:
    text = line.line.decode(errors="replace")
    if options.timestamps:
        text = f"{line.time.isoformat(timespec='milliseconds').replace('+00:00', 'Z')} {text}"
    if width:
        text = f"{_task_name(line.task_id).ljust(width)} | {text}"
    print(text, file=sys.stderr if line.stderr else sys.stdout, flush=True)


def _task_name(task_id: str) -> str:
    """`web.3` for `web-3-k3x7q`."""
    service, slot, _ = task_id.rsplit("-", 2)
    return f"{service}.{slot}"


def _message(task: Task) -> str:
    status = task.status
    if status.state is TaskState.RUNNING:
        return status.message or status.health_output
    text = status.message
    if not text and status.exit_code is not None:
        text = f"exit code {status.exit_code}"
    if status.last_log and status.last_log not in text:
        text = f"{text}; last log line: {status.last_log}" if text else status.last_log
    return text


def _port(port: Port) -> str:
    target = f"{port.target}/{port.protocol.value}"
    if not port.published:
        return target
    mode = " (host)" if port.mode is PortMode.HOST else ""
    return f"{port.published}->{target}{mode}"


def _cut(text: str) -> str:
    """On one line that fits; `inspect` has it all."""
    text = " ".join(text.split())
    return text if len(text) <= MESSAGE_WIDTH else f"{text[: MESSAGE_WIDTH - 1]}…"
