"""`warren cluster …`: the cluster itself, and the tokens that let hosts join."""

import argparse
import socket
from datetime import timedelta

from warren.cli import autolock, backups, common, nodes
from warren.cli.common import Nouns, Options
from warren.model.errors import NotFound
from warren.model.manifest import parse_cluster, parse_node
from warren.model.nodes import NodeRole
from warren.model.units import format_bytes_short, format_duration
from warren.model.views import ClusterView, NodeView

MEMBER_HEADERS = (
    "MANAGER",
    "RAFT",
    "TERM",
    "COMMIT",
    "APPLIED",
    "LAG",
    "JOURNAL",
    "SNAPSHOT",
    "SYNC P50/P99",
    "ELECTIONS",
)
ROLES = [role.value for role in NodeRole]


def register(nouns: Nouns, shared: argparse.ArgumentParser) -> None:
    """Add the noun with its verbs."""
    verbs = common.add_noun(nouns, "cluster", "the cluster itself")
    verb = common.add_verb(verbs, shared, "info", "show the cluster at a glance", info)
    common.add_stale(verb)

    verb = common.add_verb(verbs, shared, "init", "create a cluster on this host", init)
    verb.add_argument("--name", default="warren", metavar="CLUSTER")
    verb.add_argument("--node-name", metavar="NODE", help="this host's name in it (its hostname)")
    verb.add_argument("--role", action="append", default=[], choices=ROLES, help="(both)")
    verb.add_argument("--mesh-network", metavar="CIDR")
    verb.add_argument("--task-network", metavar="CIDR")

    backups.register(verbs, shared)
    autolock.register(verbs, shared)

    tokens = common.add_noun(verbs, "join-token", "tokens that let hosts join")
    verb = common.add_verb(tokens, shared, "create", "make a token and print it", create_token)
    verb.add_argument("--role", choices=ROLES, default="worker", help="(worker)")
    verb.add_argument(
        "--expires",
        type=common.duration,
        default=timedelta(hours=24),
        metavar="DURATION",
        help="time for which it admits (24h)",
    )
    common.add_verb(tokens, shared, "ls", "list tokens, without their text", list_tokens)
    verb = common.add_verb(tokens, shared, "rm", "revoke tokens", remove_tokens)
    verb.add_argument("token", nargs="+", metavar="ID")


def info(options: Options) -> int:
    """Show the cluster at a glance."""
    from warren.client import reports

    with common.client(options) as client:
        view = client.get_cluster(stale=options.stale, members=True)
    if options.output != "table":
        return common.show_data(options, reports.cluster(view))
    rows = _facts(view)
    width = max(len(name) for name, _ in rows) + 1
    for name, value in rows:
        print(f"{name + ':':{width}} {value}")
    print()
    common.print_table(MEMBER_HEADERS, [_member(each) for each in view.managers])
    return 0


def init(options: Options) -> int:
    """Create a cluster whose first manager is this host."""
    from warren import config
    from warren.bootstrap.create import create_cluster
    from warren.drivers import mesh_key

    settings = {
        "name": options.name,
        "mesh_network": options.mesh_network,
        "task_network": options.task_network,
    }
    spec, _ = parse_cluster(settings)
    node, _ = parse_node(
        {
            "name": options.node_name or socket.gethostname().partition(".")[0].lower(),
            "roles": options.role or ROLES,
        }
    )
    configuration = config.load()
    membership = create_cluster(
        configuration, spec, node, mesh_key.public_key(configuration.mesh_key_path)
    )
    print(f"{membership.cluster}: created, with {membership.name} as its first manager")
    common.say(f"start it: systemctl enable --now {nodes.units_of(membership.roles)}")
    return 0


def create_token(options: Options) -> int:
    """Make a token; nobody can read it again."""
    from warren.client import reports

    with common.client(options) as client:
        made = client.create_join_token(NodeRole(options.role), options.expires)
    if options.output != "table":
        return common.show_data(options, reports.join_token(made))
    print(made.token)
    return 0


def list_tokens(options: Options) -> int:
    """List tokens."""
    from warren.client import reports

    with common.client(options) as client:
        tokens = client.list_join_tokens()
    rows = [
        (token.id, token.role.value, token.expires_at.isoformat(" ", "minutes")) for token in tokens
    ]
    data = [reports.join_token(token) for token in tokens]
    return common.show(options, data, ("ID", "ROLE", "EXPIRES"), rows)


def remove_tokens(options: Options) -> int:
    """Revoke tokens."""
    with common.client(options) as client:
        for token_id in options.token:
            if not client.delete_join_token(token_id):
                raise NotFound(f"there is no join token {token_id}")
            print(token_id)
    return 0


def _member(view: NodeView) -> tuple[str, ...]:
    """A manager's part in the replicated log. `-`: it did not say."""
    name, member = view.node.spec.name, view.member
    if member is None:
        return (name, "not a member", *["-"] * (len(MEMBER_HEADERS) - 2))
    role = "leader" if view.leader else "follower" if member.voter else "learner"
    if not member.answered:
        state = role if view.reachable else "unreachable"
        return (name, state, *["-"] * 3, str(member.lag), *["-"] * 4)
    p50, p99 = (time / timedelta(milliseconds=1) for time in (member.sync_p50, member.sync_p99))
    return (
        name,
        role,
        str(member.term),
        str(member.commit_index),
        str(member.applied_index),
        str(member.lag),
        format_bytes_short(member.journal_bytes),
        format_bytes_short(member.snapshot_bytes),
        f"{p50:.2f}/{p99:.2f} ms",
        str(member.elections_won),
    )


def _autolock(view: ClusterView) -> str:
    if not view.autolock:
        return "off"
    found = [(each.node.spec.name, each.member) for each in view.managers]
    locked = [name for name, member in found if member is not None and member.locked]
    silent = [name for name, member in found if member is None or not member.answered]
    words = [f"locked: {', '.join(locked)}"] if locked else []
    words += [f"not known: {', '.join(silent)}"] if silent else []
    return f"on, {'; '.join(words) or 'all managers are unlocked'}"


def _facts(view: ClusterView) -> list[tuple[str, str]]:
    managers = ", ".join(
        each.node.spec.name + ("" if each.reachable else " (unreachable)") for each in view.managers
    )
    return [
        ("Cluster", f"{view.spec.name} ({view.id})"),
        ("Leader", view.leader or "none"),
        ("Managers", managers),
        ("Nodes", f"{view.nodes_ready} of {view.nodes} ready"),
        ("Autolock", _autolock(view)),
        ("Services", f"{view.services} with {view.tasks_running} running tasks"),
        ("Mesh network", view.spec.mesh_network),
        ("Task network", f"{view.spec.task_network}, /{view.spec.task_subnet_prefix} per node"),
        ("A node is down after", format_duration(view.spec.node_down_after)),
        ("Term, index", f"{view.term}, {view.index}"),
        ("CA", f"sha256:{view.ca_digest}"),
        ("Version", view.warren),
    ]
