"""`warren secret …`: versioned values that tasks are given as files. None is ever shown."""

import argparse
from datetime import timedelta

from warren.cli import common, deploying, values
from warren.cli.common import Nouns, Options
from warren.model.manifest import parse_secret


def register(nouns: Nouns, shared: argparse.ArgumentParser) -> None:
    """Add the noun with its verbs."""
    verbs = common.add_noun(nouns, "secret", "versioned values, only ever in memory of tasks")
    verb = common.add_verb(verbs, shared, "ls", "list secrets", ls)
    common.add_stale(verb)
    verb = common.add_verb(verbs, shared, "inspect", "show secrets, but for their values", inspect)
    verb.add_argument("secret_name", nargs="+", metavar="SECRET")
    common.add_stale(verb)
    verb = common.add_verb(verbs, shared, "create", "create a secret", create)
    verb.add_argument("secret_name", metavar="SECRET")
    values.add_value_options(verb)
    verb = common.add_verb(
        verbs, shared, "rotate", "give a secret another value, and roll it out", rotate
    )
    verb.add_argument("secret_name", metavar="SECRET")
    values.add_value_options(verb)
    verb = common.add_verb(
        verbs, shared, "rotate-key", "seal all secrets anew, with new keys", rotate_key
    )
    verb.add_argument(
        "--older-than",
        type=common.duration,
        default=timedelta(),
        metavar="DURATION",
        help="only if the key is of that age (0s)",
    )
    deploying.add_wait_options(verb)
    verb = common.add_verb(verbs, shared, "rm", "remove secrets that no service uses", rm)
    verb.add_argument("secret_name", nargs="+", metavar="SECRET")


def ls(options: Options) -> int:
    """List secrets."""
    from warren.client import reports

    with common.client(options) as client:
        views = client.list_secrets(stale=options.stale)
    return common.show(
        options, [reports.secret(view) for view in views], values.HEADERS, values.rows(views)
    )


def inspect(options: Options) -> int:
    """Show secrets."""
    from warren.client import reports

    with common.client(options) as client:
        views = [client.get_secret(name, stale=options.stale) for name in options.secret_name]
    data = [reports.secret(view) for view in views]
    return common.show_data(options, data if len(data) > 1 else data[0])


def create(options: Options) -> int:
    """Create a secret."""
    name = options.secret_name
    spec, fields = parse_secret(values.manifest(options, name))
    with common.client(options) as client:
        instead = "warren secret rotate gives it another value"
        values.require_new(f"secret {name}", lambda: client.get_secret(name), instead)
        value = values.read_value(options, f"value of {name}")
        applied = client.apply_secret(spec, fields, value, dry_run=options.dry_run)
    print(values.summary(name, applied, options))
    return 0


def rotate(options: Options) -> int:
    """A new version, and those who follow it."""
    name = options.secret_name
    spec, fields = parse_secret(values.manifest(options, name))
    with common.client(options) as client:
        before = client.get_secret(name)
        value = values.read_value(options, f"new value of {name}")
        applied = client.apply_secret(
            spec, fields, value, expected_version=before.version, dry_run=options.dry_run
        )
        if not options.dry_run:
            values.follow(options, client, applied.rollouts)
    print(values.summary(name, applied, options))
    return 0


def rotate_key(options: Options) -> int:
    """A new key-encryption key and new data keys; no value changes."""
    from warren.client import rotations

    with common.client(options) as client:
        if not client.rotate_secret_keys(older_than=options.older_than):
            print("no secret is sealed with a key of that age")
        elif options.detach:
            print("secrets are being sealed anew")
        else:
            view = rotations.wait_resealed(client, timeout=options.wait_timeout)
            print(f"{view.versions} versions are sealed anew")
    return 0


def rm(options: Options) -> int:
    """Remove secrets."""
    with common.client(options) as client:
        values.remove("secret", options.secret_name, client.delete_secret)
    return 0
