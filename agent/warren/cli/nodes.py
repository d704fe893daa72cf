"""`warren node …`: the hosts of the cluster."""

import argparse
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from warren.cli import common
from warren.cli.common import Nouns, Options
from warren.model import units
from warren.model.errors import InvalidInput, NotFound
from warren.model.manifest import parse_node
from warren.model.nodes import Availability, HeldPort, NodeRole
from warren.model.views import NodeView

if TYPE_CHECKING:
    from warren.client import Client


def register(nouns: Nouns, shared: argparse.ArgumentParser) -> None:
    """Add the noun with its verbs."""
    verbs = common.add_noun(nouns, "node", "the hosts of the cluster")
    verb = common.add_verb(verbs, shared, "ls", "list nodes", ls)
    common.add_stale(verb)

    verb = common.add_verb(verbs, shared, "inspect", "show nodes in full", inspect)
    verb.add_argument("node", nargs="+", metavar="NODE")
    common.add_stale(verb)

    verb = common.add_verb(verbs, shared, "update", "change labels or availability", update)
    verb.add_argument("node", metavar="NODE")
    verb.add_argument("--label-add", action="append", default=[], metavar="KEY=VALUE")
    verb.add_argument("--label-rm", action="append", default=[], metavar="KEY")
    verb.add_argument("--availability", choices=[each.value for each in Availability])
    verb.add_argument("--weight", metavar="N", help="of its tasks in traffic, 0 to 1000 (100)")
    verb.add_argument(
        "--mesh-keepalive",
        metavar="DURATION",
        help="how often it speaks to silent peers; 0s: never",
    )

    verb = common.add_verb(verbs, shared, "promote", "make nodes managers", promote)
    verb.add_argument("node", nargs="+", metavar="NODE")
    verb = common.add_verb(verbs, shared, "demote", "make managers plain workers", demote)
    verb.add_argument("node", nargs="+", metavar="NODE")

    verb = common.add_verb(
        verbs, shared, "rotate-key", "replace mesh keys, one node after another", rotate_key
    )
    verb.add_argument("node", nargs="*", metavar="NODE")
    verb.add_argument("--all", action="store_true", help="every node")
    verb.add_argument(
        "--older-than",
        type=common.duration,
        default=timedelta(),
        metavar="DURATION",
        help="only keys of that age (0s)",
    )
    verb.add_argument(
        "--wait-timeout",
        type=common.duration,
        default=timedelta(minutes=10),
        metavar="DURATION",
        help="until all are replaced (10m); 0s: do not wait",
    )

    verb = common.add_verb(verbs, shared, "rm", "remove nodes from the cluster", rm)
    verb.add_argument("node", nargs="+", metavar="NODE")
    verb.add_argument("--force", action="store_true", help="also a node that is still there")

    verb = common.add_verb(verbs, shared, "join", "join this host to a cluster", join)
    verb.add_argument("token", metavar="TOKEN", help="as cluster join-token create prints it")
    verb.add_argument("manager", nargs="+", metavar="MANAGER", help="host or host:port")
    verb.add_argument("--name", required=True, metavar="NODE", help="its name in the cluster")
    verb.add_argument(
        "--role",
        action="append",
        default=[],
        choices=[role.value for role in NodeRole],
        help="may stand twice (worker)",
    )
    verb.add_argument("--label", action="append", default=[], metavar="KEY=VALUE")


def ls(options: Options) -> int:
    """List nodes."""
    from warren.client import reports

    with common.client(options) as client:
        views = client.list_nodes(stale=options.stale)
    headers = (
        "NAME",
        "ROLES",
        "STATE",
        "AVAILABILITY",
        "TASKS",
        "CPUS",
        "MEMORY",
        "ADDRESS",
        "MESSAGE",
    )
    return common.show(
        options, [reports.node(view) for view in views], headers, [_row(view) for view in views]
    )


def inspect(options: Options) -> int:
    """Show nodes."""
    from warren.client import reports

    with common.client(options) as client:
        data = [reports.node(client.get_node(name, stale=options.stale)) for name in options.node]
    return common.show_data(options, data if len(data) > 1 else data[0])


def update(options: Options) -> int:
    """Change what is wanted of a node."""
    with common.client(options) as client:
        before = client.get_node(options.node).node
        manifest: dict[str, Any] = {"name": before.spec.name}
        if options.label_add or options.label_rm:
            labels = {**before.spec.labels, **common.pairs(options.label_add, "--label-add")}
            manifest["labels"] = {k: v for k, v in labels.items() if k not in options.label_rm}
        if options.availability:
            manifest["availability"] = options.availability
        if options.weight:
            manifest["weight"] = options.weight
        if options.mesh_keepalive:
            manifest["mesh_keepalive"] = options.mesh_keepalive
        spec, fields = parse_node(manifest)
        applied = client.apply_node(options.node, spec, fields, expected_version=before.version)
    print(f"{options.node}: {'changed' if applied.changed else 'unchanged'}")
    return 0


def promote(options: Options) -> int:
    """Make nodes managers, one after another; each counts when its daemon has caught up."""
    with common.client(options) as client:
        for name in options.node:
            before = client.get_node(name).node.spec.roles
            if _set_roles(client, name, (NodeRole.MANAGER, *before)):
                common.say(f"start it on {name}: systemctl enable --now warren-manager")
    return 0


def demote(options: Options) -> int:
    """Make managers plain workers, one after another. A leader hands over first."""
    with common.client(options) as client:
        for name in options.node:
            _set_roles(client, name, (NodeRole.WORKER,))
    return 0


def _set_roles(client: "Client", name: str, roles: tuple[NodeRole, ...]) -> bool:
    spec, fields = parse_node({"name": name, "roles": sorted({role.value for role in roles})})
    changed = client.apply_node(name, spec, fields).changed
    print(f"{name}: {'changed' if changed else 'unchanged'}")
    return changed


def rotate_key(options: Options) -> int:
    """Have the cluster replace mesh keys, and wait for it."""
    if bool(options.node) == options.all:
        raise InvalidInput("name nodes, or say --all", path="node")
    with common.client(options) as client:
        names = client.rotate_keys(options.node, older_than=options.older_than)
        if not options.wait_timeout:
            for name in names:
                print(f"{name}: rotating")
            return 0
        from warren.client import rotations

        rotations.wait_rotated(
            client,
            names,
            timeout=options.wait_timeout,
            on_progress=lambda name: print(f"{name}: has a new key", flush=True),
        )
    return 0


def rm(options: Options) -> int:
    """Remove nodes from the cluster."""
    with common.client(options) as client:
        for name in options.node:
            if not client.delete_node(name, force=options.force):
                raise NotFound(f"there is no node {name}")
            print(name)
    return 0


def join(options: Options) -> int:
    """Join this host; its daemons find the rest on disk."""
    from warren import config
    from warren.bootstrap.join import join as join_cluster

    spec, _ = parse_node(
        {
            "name": options.name,
            "roles": options.role or [NodeRole.WORKER.value],
            "labels": common.pairs(options.label, "--label"),
        }
    )
    membership = join_cluster(
        config.load(),
        options.token,
        options.manager,
        spec,
        patience=timedelta(seconds=max(options.timeout, 60.0)),
    )
    print(f"{membership.name}: joined cluster {membership.cluster} as {membership.mesh_address}")
    common.say(f"start it: systemctl enable --now {units_of(membership.roles)}")
    return 0


def units_of(roles: tuple[NodeRole, ...]) -> str:
    """The daemons of a node: a worker everywhere, a manager on managers."""
    return "warren-manager warren-worker" if NodeRole.MANAGER in roles else "warren-worker"


def _row(view: NodeView) -> tuple[str, ...]:
    node = view.node
    roles = ",".join(role.value for role in node.spec.roles)
    memory = units.format_bytes_short
    return (
        node.spec.name,
        f"{roles} (leader)" if view.leader else roles,
        f"{node.status.state.value} {common.age(node.status.since)}",
        node.spec.availability.value,
        str(view.tasks),
        f"{view.reserved_cpus:g}/{node.description.cpus:g}",
        f"{memory(view.reserved_memory)}/{memory(node.description.memory)}",
        node.description.address or node.mesh.endpoint.rpartition(":")[0],
        "; ".join((*filter(None, (node.status.message,)), *map(_held, node.held_ports))),
    )


def _held(port: HeldPort) -> str:
    return f"port {port.port}/{port.protocol.value} of {port.service} is held by {port.holder}"
