"""The command line: which faults, for how long, on which hosts; exit code 1 if anything was lost.

make chaos MINUTES=5      faults for five minutes, on a fleet of its own
make chaos PLAN=counted   so many of each fault as docs/raft.md promises; about 25 minutes
make calm MINUTES=60      no faults and busy processors: no elections either
tools/chaos.py --reuse NAME …    on a fleet with a cluster that is there already, and stays
"""

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path

from warren.client.connection import Connection, Wanted, resolve

from tests.chaos import calm, cluster, figures, plan
from tests.chaos.cluster import ROOT, say
from tests.chaos.figures import Report
from tests.chaos.hosts import Hosts
from tests.chaos.plan import Kind
from tests.chaos.run import Run

COUNTED = {
    "leader_kills": 100,
    "all_kills": 10,
    "cuts": 30,
    "stops": 20,
    "full_disks": 4,
    "torn_tails": 4,
}
EVIDENCE = ROOT / "dist" / "chaos"


def main() -> int:
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    name = options.reuse or ("calm" if options.calm else "chaos")
    os.environ.setdefault("WARREN_CONFIG_DIR", str(ROOT / "inventory" / f".{name}"))
    hosts_are = contextlib.nullcontext() if options.reuse else cluster.own(name, keep=options.keep)
    with hosts_are:
        hosts, connection = Hosts(name), resolve(Wanted(context=name))
        if options.calm:
            return _calm(hosts, connection, options.calm, options.share)
        return _hurt(hosts, connection, options)


def _calm(hosts: Hosts, connection: Connection, minutes: float, share: float) -> int:
    say(f"{minutes:g} minutes of calm")
    seen = calm.watch(hosts, connection, minutes, share)
    print(calm.render(seen), flush=True)
    if not seen.passed:
        keep_evidence(hosts, EVIDENCE / f"calm-{time.time():.0f}", {"calm": asdict(seen)})
    return 0 if seen.passed else 1


def _hurt(hosts: Hosts, connection: Connection, options: argparse.Namespace) -> int:
    counts = _counts(options)
    chance = random.Random(f"plan {options.seed}")
    run = Run(hosts, connection, options.seed)
    fillable = hosts.have_small_disks()
    if sum(counts.values()):
        kinds = plan.counted(counts, chance)
        if not fillable and set(kinds) & set(plan.FULL_DISKS):
            sys.exit("chaos: these hosts have no small disks to fill: --full-disks 0")
        bound = plan.seconds_max(kinds)
        say(f"{len(kinds)} faults, seed {options.seed}, at most {bound / 60:.0f} min")
        report = run.carry_out(kinds, total=len(kinds), seconds=bound)
    else:
        possible = tuple(kind for kind in Kind if fillable or kind not in plan.FULL_DISKS)
        say(f"{options.minutes:g} minutes of faults, seed {options.seed}")
        faults = plan.endless(possible, chance)
        report = run.carry_out(faults, total=None, seconds=options.minutes * 60)
    print(figures.render(report), flush=True)
    if report.failures or figures.slow(report.outcomes):
        keep_evidence(hosts, EVIDENCE / f"seed-{report.seed}-{time.time():.0f}", evidence(report))
    return 1 if report.failures else 0


def _counts(options: argparse.Namespace) -> dict[Kind, int]:
    """How many of each kind; of nothing any, when the time is what counts."""
    given = {
        name: value
        for name in COUNTED
        if (value := getattr(options, name)) is not None or options.plan == "counted"
    }
    wanted = {name: COUNTED[name] if value is None else value for name, value in given.items()}
    return {
        Kind.LEADER_KILLED: wanted.get("leader_kills", 0),
        Kind.ALL_KILLED: wanted.get("all_kills", 0),
        **plan.of_group(plan.CUTS, wanted.get("cuts", 0)),
        Kind.STOPPED: wanted.get("stops", 0),
        **plan.of_group(plan.FULL_DISKS, wanted.get("full_disks", 0)),
        Kind.TORN: wanted.get("torn_tails", 0),
    }


def evidence(report: Report) -> dict[str, object]:
    """All that is known of a run, as data for JSON."""
    return {
        "seed": report.seed,
        "failures": report.failures,
        "outcomes": [{**asdict(outcome), "kind": outcome.kind.name} for outcome in report.outcomes],
        "history": [
            {**asdict(operation), "kind": operation.kind.name} for operation in report.history
        ],
    }


def keep_evidence(hosts: Hosts, directory: Path, known: dict[str, object]) -> None:
    """What a failure can be understood from, before the hosts are gone."""
    directory.mkdir(parents=True)
    (directory / "run.json").write_text(json.dumps(known))
    for host, text in hosts.run_all(
        "journalctl -u warren-manager --no-pager -o short-precise", check=False
    ).items():
        (directory / f"{host}.log").write_text(text)
    say(f"what is known of it is in {directory}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="chaos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=5.0, help="of faults (default 5)")
    parser.add_argument("--plan", choices=["counted"], help=f"counted: {_described(COUNTED)}")
    for name in COUNTED:
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N")
    parser.add_argument("--calm", type=float, metavar="MINUTES", help="no faults, busy processors")
    parser.add_argument(
        "--share",
        type=float,
        default=calm.SHARE,
        help="of each processor that --calm takes away (0.5); 0 if something else keeps them busy",
    )
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument(
        "--reuse", metavar="FLEET", help="a fleet with a cluster of its name, which stays"
    )
    parser.add_argument("--keep", action="store_true", help="leave the hosts up")
    return parser.parse_args()


def _described(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())


if __name__ == "__main__":
    sys.exit(main())
