"""Options of `warren service create` and `update`, and the manifest that they stand for.

They are parsed by the manifest's parser like any other, so what is refused here is refused in the
same words as in a file.
"""

import argparse
import re
from typing import Any

from warren.cli import common, deploying, update_options
from warren.cli.common import Options
from warren.model import manifest
from warren.model.errors import InvalidInput
from warren.model.services import ServiceSpec

KINDS_OF_CHECK = ("http", "tcp", "exec")


def add_to_create(parser: argparse.ArgumentParser) -> None:
    """Add them to `create`."""
    parser.add_argument("name", nargs="?", metavar="NAME")
    parser.add_argument("image", nargs="?", metavar="IMAGE")
    parser.add_argument("args", nargs="*", metavar="ARG", help="arguments of the process")
    parser.add_argument("-f", "--file", metavar="FILE", help="manifest, instead of options")
    _add_shared(parser)


def add_to_update(parser: argparse.ArgumentParser) -> None:
    """Add them to `update`."""
    parser.add_argument("service", metavar="SERVICE")
    parser.add_argument("--image", metavar="IMAGE")
    parser.add_argument("--arg", action="append", default=[], metavar="ARG", dest="args")
    parser.add_argument("--env-rm", action="append", default=[], metavar="KEY")
    parser.add_argument("--label-rm", action="append", default=[], metavar="KEY")
    _add_shared(parser)
    update_options.add_removals_to(parser)


def _add_shared(parser: argparse.ArgumentParser) -> None:
    tasks = parser.add_argument_group("tasks")
    tasks.add_argument("--replicas", metavar="N", help="number of tasks (1)")
    tasks.add_argument(
        "--mode", metavar="replicated|global", help="global: one task on each node, for life"
    )
    tasks.add_argument("-e", "--env", action="append", default=[], metavar="KEY=VALUE")
    tasks.add_argument("--command", metavar="WORD", help="replaces the image's entrypoint")
    tasks.add_argument("-u", "--user", metavar="USER[:GROUP]")
    tasks.add_argument("-w", "--working-dir", metavar="DIRECTORY")
    tasks.add_argument("--stop-signal", metavar="SIGNAL")
    tasks.add_argument("--stop-grace-period", metavar="DURATION")
    tasks.add_argument(
        "--drain-delay",
        metavar="DURATION",
        help="after the last new connection, before the stop (2s)",
    )
    tasks.add_argument("--pull", metavar="missing|always|never")
    tasks.add_argument(
        "--registry-secret", metavar="NAME", help="secret that the image is pulled with"
    )
    ports = parser.add_argument_group("ports")
    form = "[PUBLISHED:]TARGET[/udp]"
    ports.add_argument("-p", "--publish", action="append", default=[], metavar=form)
    ports.add_argument(
        "--publish-host",
        action="append",
        default=[],
        metavar=form,
        help="the same, on the nodes that run a task only",
    )
    ports.add_argument("--affinity", metavar="none|source", help="connections of one client stay")
    health = parser.add_argument_group("health: of the first three, one")
    health.add_argument("--health-http", metavar="PATH", help="such as /healthz")
    health.add_argument("--health-tcp", action="store_true", help="a connection is accepted")
    health.add_argument("--health-command", metavar="COMMAND", help="exits with 0, in the task")
    health.add_argument("--health-port", metavar="PORT", help="of the first TCP port, if not given")
    health.add_argument("--health-header", action="append", default=[], metavar="NAME=VALUE")
    health.add_argument("--health-status", metavar="STATUSES", help="expected (200-399)")
    health.add_argument("--health-interval", metavar="DURATION", help="between checks (5s)")
    health.add_argument("--health-timeout", metavar="DURATION", help="of one check (2s)")
    health.add_argument("--health-retries", metavar="N", help="bad ones until unhealthy (3)")
    health.add_argument("--health-start-period", metavar="DURATION", help="bad ones do not count")
    health.add_argument("--health-threshold", metavar="N", help="good ones until healthy (1)")
    resources = parser.add_argument_group("resources")
    resources.add_argument("--limit-memory", metavar="SIZE", help="such as 256MiB")
    resources.add_argument("--limit-cpus", metavar="N", help="such as 0.5")
    resources.add_argument("--limit-pids", metavar="N")
    resources.add_argument("--reserve-memory", metavar="SIZE")
    resources.add_argument("--reserve-cpus", metavar="N")
    where = parser.add_argument_group("placement, restarts, labels")
    where.add_argument(
        "--constraint", action="append", default=[], metavar="TEXT", help="node.labels.a == b"
    )
    where.add_argument("--max-per-node", metavar="N")
    where.add_argument("--restart-condition", metavar="any|on_failure|none")
    where.add_argument("--restart-delay", metavar="DURATION")
    where.add_argument("--restart-max-attempts", metavar="N")
    where.add_argument("-l", "--label", action="append", default=[], metavar="KEY=VALUE")
    files = parser.add_argument_group("files")
    form = "NAME[,target=PATH][,mode=0400][,uid=N][,gid=N][,version=N][,follow=false]"
    files.add_argument(
        "--secret", action="append", default=[], metavar=form, help="under /run/secrets"
    )
    files.add_argument(
        "--config",
        action="append",
        default=[],
        metavar=f"{form}[,template=true]",
        help="anywhere, or under /run/configs",
    )
    update_options.add_to(parser)


def manifests(options: Options) -> list[Any]:
    """The manifests in the file, or the one that the options describe."""
    if options.file:
        if options.name:
            raise InvalidInput("stands beside --file, which has all", path="NAME")
        return deploying.read_manifests(options.file)
    if not options.name or not options.image:
        raise InvalidInput("NAME and IMAGE are needed, or --file")
    return [_without_nothing(_manifest(options, options.name))]


def changed_manifest(options: Options, before: ServiceSpec) -> dict[str, Any]:
    """Only what the options change of a service. Settings that belong together keep those that
    were not named, as do env and labels; lists are replaced."""
    given = _without_nothing(_manifest(options, before.name))
    now = manifest.service_to_dict(before)
    if any(kind in given.get("health", {}) for kind in KINDS_OF_CHECK):
        kept = now.get("health") or {}
        now["health"] = {key: kept[key] for key in kept if key not in KINDS_OF_CHECK}
    for key, removed in (("env", options.env_rm), ("labels", options.label_rm)):
        if removed:
            kept = {k: v for k, v in now.get(key, {}).items() if k not in removed}
            now[key], given[key] = kept, given.get(key, {})
    update, removes = now.get("update") or {}, options.no_smoke or options.no_analysis
    if removes or "update" in given:
        given.setdefault("update", {})
        now["update"] = update_options.kept(update, given["update"], options)
    return {key: _laid_over(now.get(key), value) for key, value in given.items()}


def _laid_over(before: Any, given: Any) -> Any:
    if not isinstance(before, dict) or not isinstance(given, dict):
        return given
    laid = {key: _laid_over(before.get(key), value) for key, value in given.items()}
    return {**before, **laid}


def _manifest(options: Options, name: str) -> dict[str, Any]:
    return {
        "name": name,
        "image": options.image,
        "args": options.args,
        "command": [options.command] if options.command else None,
        "env": common.pairs(options.env, "--env"),
        "user": options.user,
        "working_dir": options.working_dir,
        "mode": options.mode,
        "replicas": options.replicas,
        "ports": [
            *(_port(text, "mesh") for text in options.publish),
            *(_port(text, "host") for text in options.publish_host),
        ],
        "affinity": options.affinity,
        "health": _health(options),
        "drain_delay": options.drain_delay,
        "resources": {
            "limits": {
                "memory": options.limit_memory,
                "cpus": options.limit_cpus,
                "pids": options.limit_pids,
            },
            "reservations": {"memory": options.reserve_memory, "cpus": options.reserve_cpus},
        },
        "placement": {
            "constraints": options.constraint,
            "max_per_node": options.max_per_node,
        },
        "restart": {
            "condition": options.restart_condition,
            "delay": options.restart_delay,
            "max_attempts": options.restart_max_attempts,
        },
        "pull": options.pull,
        "registry_secret": options.registry_secret,
        "stop_signal": options.stop_signal,
        "stop_grace_period": options.stop_grace_period,
        "labels": common.pairs(options.label, "--label"),
        "secrets": [_reference(text, "--secret") for text in options.secret],
        "configs": [_reference(text, "--config") for text in options.config],
        "update": update_options.manifest(options),
    }


def _port(text: str, mode: str) -> dict[str, Any]:
    match = re.fullmatch(r"(?:(\d+):)?(\d+)(?:/(\w+))?", text)
    if match is None:
        raise InvalidInput(f"{text!r} is not [PUBLISHED:]TARGET[/udp]", path="--publish")
    return {"published": match[1], "target": match[2], "protocol": match[3], "mode": mode}


def _reference(text: str, option: str) -> dict[str, Any]:
    """A reference to a secret or config; what it may say, the manifest's parser knows."""
    name, *settings = text.split(",")
    values: dict[str, Any] = common.pairs(settings, option)
    words = {"true": True, "false": False}
    return {"name": name, **{key: words.get(value, value) for key, value in values.items()}}


def _health(options: Options) -> dict[str, Any]:
    """More than one kind is refused by the cluster, in the words that it has for manifests."""
    http = {
        "path": options.health_http,
        "port": options.health_port,
        "headers": common.pairs(options.health_header, "--health-header"),
        "status": options.health_status,
    }
    return {
        "http": http if options.health_http else None,
        "tcp": {"port": options.health_port or "0"} if options.health_tcp else None,
        "exec": {"command": common.words(options.health_command, "--health-command")},
        "interval": options.health_interval,
        "timeout": options.health_timeout,
        "retries": options.health_retries,
        "start_period": options.health_start_period,
        "success_threshold": options.health_threshold,
    }


def _without_nothing(value: Any) -> Any:
    """Without what was not said, so that the manifest has only what was."""
    if not isinstance(value, dict):
        return value
    kept = {key: _without_nothing(item) for key, item in value.items()}
    return {key: item for key, item in kept.items() if item not in (None, [], {})}
