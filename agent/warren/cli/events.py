"""`warren events`: what has happened, as one manager has seen it."""

import argparse
import json
from datetime import timedelta

from warren.cli import common
from warren.cli.common import Nouns, Options


def register(nouns: Nouns, shared: argparse.ArgumentParser) -> None:
    """Add the command."""
    verb = common.add_verb(nouns, shared, "events", "show what has happened", events)
    verb.add_argument("-f", "--follow", action="store_true", help="go on as more happens")
    verb.add_argument("--service", default="", metavar="SERVICE", help="only of this one")
    verb.add_argument(
        "--since",
        type=common.duration,
        default=timedelta(),
        metavar="DURATION",
        help="only of the last while, such as 10m (all that is kept)",
    )


def events(options: Options) -> int:
    """One line for each, as it comes; with `-o json` an object."""
    from warren.client import reports

    with common.client(options) as client:
        for event in client.events(
            service=options.service, since=options.since, follow=options.follow
        ):
            data = reports.event(event)
            if options.output == "table":
                print(f"{data['at']}  {event.message}", flush=True)
            else:
                print(json.dumps(data, ensure_ascii=False), flush=True)
    return 0
