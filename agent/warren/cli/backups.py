"""`warren cluster backup` and `backup-verify`.

The passphrase comes from a file or from WARREN_BACKUP_PASSPHRASE: on the command line everybody on
the machine could read it.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from warren.cli import common
from warren.cli.common import Nouns, Options

if TYPE_CHECKING:
    from warren.bootstrap.backups import Checked
    from warren.model.services import Secret


def register(verbs: Nouns, shared: argparse.ArgumentParser) -> None:
    """Add both verbs. For `backup`, `-o` is the file to write, so it has no form of output."""
    summary = "write the cluster's state to an encrypted file"
    verb = verbs.add_parser("backup", help=summary, description=summary)
    verb.set_defaults(run=save)
    common.add_connection(verb.add_argument_group("where"))
    verb.add_argument("-o", "--output", dest="file", required=True, metavar="FILE")
    add_passphrase(verb)

    summary = "check that a backup is whole, and with its passphrase that it can be restored"
    verb = common.add_verb(verbs, shared, "backup-verify", summary, verify)
    verb.add_argument("file", metavar="FILE")
    add_passphrase(verb)


def save(options: Options) -> int:
    """Take a backup."""
    from warren.bootstrap import backups

    passphrase = backups.passphrase_from(options.passphrase_file)
    with common.client(options) as client:
        made = backups.save(client, Path(options.file), passphrase)
    print(f"{made.path}: {_described(made)}, {size(made.size_bytes)}")
    return 0


def verify(options: Options) -> int:
    """Check a backup. Without a passphrase, only that it is as it was written."""
    from warren.bootstrap import backups

    found = backups.check(Path(options.file), given_passphrase(options))
    if options.output != "table":
        return common.show_data(options, {**backups.described(found), "opened": found.opened})
    print(f"{found.path}: {_described(found)}, {size(found.size_bytes)}")
    print(
        "whole, and can be restored" if found.opened else "whole; not opened: no passphrase given"
    )
    return 0


def given_passphrase(options: Options) -> "Secret | None":
    """Of the file or the environment, where either is."""
    import os

    from warren.bootstrap import backups

    given = options.passphrase_file or os.environ.get(backups.PASSPHRASE_VARIABLE)
    return backups.passphrase_from(options.passphrase_file) if given else None


def add_passphrase(verb: argparse.ArgumentParser) -> None:
    """Add the option."""
    verb.add_argument(
        "--passphrase-file",
        default="",
        metavar="FILE",
        help="file that holds the passphrase (WARREN_BACKUP_PASSPHRASE)",
    )


def _described(found: "Checked") -> str:
    head = found.head
    return (
        f"cluster {head.cluster} as of {head.created_at:%Y-%m-%d %H:%M:%S} UTC, index "
        f"{head.index}, {_count(head.nodes, 'node')}, {_count(head.services, 'service')}"
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def size(size_bytes: int) -> str:
    """For people."""
    return f"{size_bytes / 1024:.0f} KiB" if size_bytes < 1 << 20 else f"{size_bytes >> 20} MiB"
