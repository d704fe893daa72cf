"""`warren volume backup-verify`: is a volume's backup whole? It needs no cluster.

Backups are made, and restored, by backup-volume.yml and restore-volume.yml, which reach the node.
"""

import argparse
from pathlib import Path

from warren.cli import backups, common
from warren.cli.common import Nouns, Options


def register(verbs: Nouns, shared: argparse.ArgumentParser) -> None:
    """Add the verb."""
    summary = "check that a volume's backup is whole, and with its passphrase that it can be read"
    verb = common.add_verb(verbs, shared, "backup-verify", summary, verify)
    verb.add_argument("file", metavar="FILE")
    backups.add_passphrase(verb)


def verify(options: Options) -> int:
    """Check a backup. Without a passphrase, only that it is as it was written."""
    from warren.bootstrap import volume_backups

    found = volume_backups.check(Path(options.file), backups.given_passphrase(options))
    opened = found.seal is not None
    if options.output != "table":
        return common.show_data(options, {**volume_backups.described(found), "opened": opened})
    head = found.head
    print(
        f"{found.path}: volume {head.volume} on {head.node} of cluster {head.cluster} as of "
        f"{head.created_at:%Y-%m-%d %H:%M:%S} UTC, quiesce {head.quiesce}, "
        f"{backups.size(found.size_bytes)}"
    )
    print("whole, and can be restored" if opened else "whole; not opened: no passphrase given")
    return 0
