"""`warren task`: single tasks of services."""

import argparse

from warren.cli import common
from warren.cli.common import Nouns, Options


def register(nouns: Nouns, shared: argparse.ArgumentParser) -> None:
    """Add the noun."""
    verbs = common.add_noun(nouns, "task", "single tasks of services")
    verb = common.add_verb(
        verbs, shared, "stop", "stop tasks, once others have taken their places", stop
    )
    verb.add_argument("task", nargs="+", metavar="TASK", help="id, or service and slot: web.3")


def stop(options: Options) -> int:
    """Print the id of each task that is on its way out."""
    with common.client(options) as client:
        for name in options.task:
            stopped = client.stop_task(name)
            print(stopped.task_id if stopped.changed else f"{stopped.task_id} is stopping already")
    return 0
