"""A cluster to hurt, on hosts of its own: from nothing, and gone afterwards.

What a manager keeps is on a small file system of its own (ext4 in a file), so that it can be filled
without harm to others; it is the machine's disk all the same, so syncs cost what they cost.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.chaos.hosts import STATE
from tests.fleet import fleets, locks

ROOT = Path(__file__).resolve().parents[2]
SUBNETS = {"chaos": "10.83.0.0/24", "calm": "10.83.1.0/24"}
"""Fleets of their own, so that there may be calm beside chaos."""
HOSTS = ("m1", "m2", "m3")
DISK_MB = 128


@contextlib.contextmanager
def own(name: str, *, keep: bool) -> Iterator[None]:
    """Three managers from the bundle. What an earlier run left is removed first."""
    with locks.held(f"{name}-run"):
        try:
            build(name)
            yield
        finally:
            if not keep:
                fleet("down", name)


def build(name: str) -> None:
    say("bundle")
    command("ansible-playbook", "bundle.yml")
    say("hosts")
    fleet("down", name)
    words = ("--hosts", str(len(HOSTS)), "--release", "trixie", "--subnet", SUBNETS[name])
    fleet("up", name, *words)
    for host in HOSTS:
        give_small_disk(name, host)
    inventory = ROOT / "inventory" / name
    fleet("inventory", name, "--out", str(inventory))
    values = {"warren_cluster_name": name, "warren_bundle": str(ROOT / "bundle")}
    (inventory / "group_vars").mkdir(parents=True, exist_ok=True)
    (inventory / "group_vars" / "all.yml").write_text(json.dumps(values))
    say("cluster")
    command("ansible-playbook", "-i", str(inventory), "site.yml")


def give_small_disk(name: str, host: str) -> None:
    """Mounted from outside, while the host is off: a host has no loop devices."""
    fleet("stop", name, host)
    root = fleets.existing(name).host(host).root
    image, place = root.parent / "disk.img", root / STATE.lstrip("/")
    place.mkdir(mode=0o700, parents=True)
    command("truncate", "--size", f"{DISK_MB}M", str(image))
    command("mkfs.ext4", "-q", "-m", "0", "-E", "root_owner=0:0", str(image))
    command("mount", "-o", "loop", str(image), str(place))
    (place / "lost+found").rmdir()
    place.chmod(0o700)
    fleet("start", name, host)


def fleet(verb: str, name: str, *arguments: str) -> str:
    return command("python3", "-m", "tests.fleet", verb, "--name", name, *arguments)


def command(*words: str) -> str:
    """What it printed; the run ends with its output when it fails."""
    environment = {**os.environ, "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg")}
    done = subprocess.run(
        words, capture_output=True, text=True, cwd=ROOT, env=environment, check=False
    )
    if done.returncode:
        print(done.stdout[-3000:], done.stderr[-3000:], sep="\n", file=sys.stderr)
        sys.exit(f"chaos: {' '.join(words)} failed with exit code {done.returncode}")
    return done.stdout


def say(text: str) -> None:
    print(f"chaos: {text}", file=sys.stderr, flush=True)
