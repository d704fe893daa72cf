"""`warren config …`: versioned texts that tasks are given as files."""

import argparse
import sys

from warren.cli import common, values
from warren.cli.common import Nouns, Options
from warren.model.errors import NotFound
from warren.model.manifest import parse_config


def register(nouns: Nouns, shared: argparse.ArgumentParser) -> None:
    """Add the noun with its verbs."""
    verbs = common.add_noun(nouns, "config", "versioned files of services")
    verb = common.add_verb(verbs, shared, "ls", "list configs", ls)
    common.add_stale(verb)
    verb = common.add_verb(verbs, shared, "inspect", "show configs in full", inspect)
    verb.add_argument("config_name", nargs="+", metavar="CONFIG")
    common.add_stale(verb)
    verb = common.add_verb(verbs, shared, "cat", "print a config as it is", cat)
    verb.add_argument("config_name", metavar="CONFIG")
    verb.add_argument("--version", type=int, default=0, metavar="N", help="not the newest")
    common.add_stale(verb)
    verb = common.add_verb(verbs, shared, "create", "create a config", create)
    verb.add_argument("config_name", metavar="CONFIG")
    values.add_value_options(verb)
    verb = common.add_verb(verbs, shared, "update", "change a config, and roll it out", update)
    verb.add_argument("config_name", metavar="CONFIG")
    values.add_value_options(verb)
    verb = common.add_verb(verbs, shared, "rm", "remove configs that no service uses", rm)
    verb.add_argument("config_name", nargs="+", metavar="CONFIG")


def ls(options: Options) -> int:
    """List configs."""
    from warren.client import reports

    with common.client(options) as client:
        views = client.list_configs(stale=options.stale)
    data = [{k: v for k, v in reports.config(view).items() if k != "data"} for view in views]
    return common.show(options, data, values.HEADERS, values.rows(views))


def inspect(options: Options) -> int:
    """Show configs."""
    from warren.client import reports

    with common.client(options) as client:
        views = [client.get_config(name, stale=options.stale) for name in options.config_name]
    data = [reports.config(view) for view in views]
    return common.show_data(options, data if len(data) > 1 else data[0])


def cat(options: Options) -> int:
    """Print what a task would be given, but for what is filled in."""
    with common.client(options) as client:
        view = client.get_config(options.config_name, stale=options.stale)
    number = options.version or view.versions[-1].number
    found = next((each for each in view.versions if each.number == number), None)
    if found is None:
        has = ", ".join(str(each.number) for each in view.versions)
        raise NotFound(f"config {options.config_name} has no version {number}, it has {has}")
    sys.stdout.buffer.write(found.data)
    return 0


def create(options: Options) -> int:
    """Create a config."""
    name = options.config_name
    spec, fields = parse_config(values.manifest(options, name))
    with common.client(options) as client:
        instead = "warren config update changes it"
        values.require_new(f"config {name}", lambda: client.get_config(name), instead)
        value = values.read_value(options, f"text of {name}")
        applied = client.apply_config(spec, fields, value, dry_run=options.dry_run)
    print(values.summary(name, applied, options))
    return 0


def update(options: Options) -> int:
    """A new version, and those who follow it."""
    name = options.config_name
    spec, fields = parse_config(values.manifest(options, name))
    with common.client(options) as client:
        before = client.get_config(name)
        value = values.read_value(options, f"new text of {name}")
        applied = client.apply_config(
            spec, fields, value, expected_version=before.version, dry_run=options.dry_run
        )
        if not options.dry_run:
            values.follow(options, client, applied.rollouts)
    print(values.summary(name, applied, options))
    return 0


def rm(options: Options) -> int:
    """Remove configs."""
    with common.client(options) as client:
        values.remove("config", options.config_name, client.delete_config)
    return 0
