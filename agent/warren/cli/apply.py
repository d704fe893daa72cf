"""`warren apply -f FILE`: services from manifests, the same that deploy-service.yml takes."""

import argparse

from warren.cli import common, deploying
from warren.cli.common import Nouns, Options


def register(nouns: Nouns, shared: argparse.ArgumentParser) -> None:
    """Add the command."""
    verb = common.add_verb(nouns, shared, "apply", "run services from a file", apply)
    verb.add_argument("-f", "--file", required=True, metavar="FILE", help="YAML, - for stdin")
    verb.add_argument("--dry-run", action="store_true", help="show what would happen")
    deploying.add_wait_options(verb)


def apply(options: Options) -> int:
    """Bring the services to what the file says."""
    specs = deploying.parse(deploying.read_manifests(options.file))
    with common.client(options) as client:
        if options.dry_run:
            return deploying.dry_run(options, client, specs)
        return deploying.deploy(options, client, specs)
