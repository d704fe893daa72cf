"""`warren volume …`: directories that outlive tasks."""

import argparse
from collections.abc import Iterable
from typing import Any

from warren.cli import common, volume_backups
from warren.cli.common import Nouns, Options
from warren.model.errors import AlreadyExists, NotFound
from warren.model.manifest import parse_volume
from warren.model.units import format_bytes_short
from warren.model.views import VolumeView

HEADERS = ("NAME", "DRIVER", "NODE", "SIZE", "SHARED", "SERVICES")


def register(nouns: Nouns, shared: argparse.ArgumentParser) -> None:
    """Add the noun with its verbs."""
    verbs = common.add_noun(nouns, "volume", "directories that outlive tasks")
    verb = common.add_verb(verbs, shared, "ls", "list volumes", ls)
    common.add_stale(verb)
    verb = common.add_verb(verbs, shared, "inspect", "show volumes in full", inspect)
    verb.add_argument("volume_name", nargs="+", metavar="VOLUME")
    common.add_stale(verb)
    verb = common.add_verb(verbs, shared, "create", "create a volume", create)
    verb.add_argument("volume_name", metavar="VOLUME")
    _add_spec_options(verb)
    verb = common.add_verb(
        verbs, shared, "rm", "remove volumes that no service uses, and their data", rm
    )
    verb.add_argument("volume_name", nargs="+", metavar="VOLUME")
    verb = common.add_verb(
        verbs,
        shared,
        "release",
        "give up the node that a volume is on: it begins anew with the next task",
        release,
    )
    verb.add_argument("volume_name", metavar="VOLUME")
    verb.add_argument(
        "--node", metavar="NAME", default="", help="it is on that node, with what is there"
    )
    verb.add_argument("--dry-run", action="store_true", help="show what would change")
    volume_backups.register(verbs, shared)


def _add_spec_options(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--driver", metavar="NAME", help="local or nfs, or one of your own (local)")
    verb.add_argument(
        "--option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="of the driver; nfs: server, path, options",
    )
    verb.add_argument("--node", metavar="NAME", help="where it is; else that of its first use")
    verb.add_argument("--uid", metavar="N", help="owner of a new directory (0)")
    verb.add_argument("--gid", metavar="N", help="group of a new directory (0)")
    verb.add_argument("--mode", metavar="MODE", help="of a new directory (0755)")
    verb.add_argument(
        "--shared", action="store_true", help="more than one task at a time may write to it"
    )
    verb.add_argument("-l", "--label", action="append", default=[], metavar="KEY=VALUE")
    verb.add_argument("--dry-run", action="store_true", help="show what would change")


def ls(options: Options) -> int:
    """List volumes."""
    from warren.client import reports

    with common.client(options) as client:
        views = client.list_volumes(stale=options.stale)
    return common.show(options, [reports.volume(view) for view in views], HEADERS, rows(views))


def rows(views: Iterable[VolumeView]) -> list[tuple[str, ...]]:
    """A line for each, under HEADERS."""
    return [
        (
            view.volume.spec.name,
            view.volume.spec.driver,
            view.volume.node_name or "-",
            format_bytes_short(view.usage.size) if view.usage is not None else "-",
            "yes" if view.volume.spec.shared else "no",
            "being removed" if view.volume.removing else ", ".join(view.services) or "-",
        )
        for view in views
    ]


def inspect(options: Options) -> int:
    """Show volumes."""
    from warren.client import reports

    with common.client(options) as client:
        views = [client.get_volume(name, stale=options.stale) for name in options.volume_name]
    data = [reports.volume(view) for view in views]
    return common.show_data(options, data if len(data) > 1 else data[0])


def create(options: Options) -> int:
    """Create a volume."""
    name = options.volume_name
    spec, fields = parse_volume(manifest(options, name))
    with common.client(options) as client:
        try:
            client.get_volume(name, usage=False)
        except NotFound:
            applied = client.apply_volume(spec, fields, dry_run=options.dry_run)
        else:
            raise AlreadyExists(f"there is a volume {name} already")
    where = f" on {applied.after.node}" if applied.after.node else ""
    print(f"{name}: created{where}{' (dry run)' if options.dry_run else ''}")
    return 0


def manifest(options: Options, name: str) -> dict[str, Any]:
    """What the options say."""
    given = {
        "driver": options.driver,
        "options": common.pairs(options.option, "--option"),
        "node": options.node,
        "uid": options.uid,
        "gid": options.gid,
        "mode": options.mode,
        "shared": options.shared,
        "labels": common.pairs(options.label, "--label"),
    }
    return {"name": name, **{key: value for key, value in given.items() if value}}


def rm(options: Options) -> int:
    """Remove volumes."""
    from warren.client import volumes

    with common.client(options) as client:
        for name in options.volume_name:
            if not volumes.remove(client, name):
                raise NotFound(f"there is no volume {name}")
            print(f"{name}: removed")
    return 0


def release(options: Options) -> int:
    """Give up the node of a volume."""
    name = options.volume_name
    with common.client(options) as client:
        before, after = client.release_volume(name, options.node, dry_run=options.dry_run)
    where = f"is on {after.node_name}" if after.node_name else "goes to the node of its next task"
    kept = ""
    if before.is_local and before.node_name and before.node_name != after.node_name:
        kept = f"; what {before.node_name} has of it stays there, in {before.directory}"
    print(f"{name}: {where}{kept}{' (dry run)' if options.dry_run else ''}")
    return 0
