"""Hosts of their own for the scenarios in which managers are lost, replaced, upgraded, restored."""

import json
import os
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from conftest import ROOT, run, wait_until
from warren.client.client import Client, connect
from warren.model.errors import WarrenError
from warren.model.services import ServiceSpec
from warren.model.views import ClusterView

from tests.fleet import fleets

FLEET, SUBNET = "recovery", "10.83.2"
HOSTS = ("m1", "m2", "m3")
ADDRESSES = tuple(f"{SUBNET}.{number}" for number in (11, 12, 13))
PASSPHRASE = "correct horse battery"
INVENTORY = ROOT / "inventory" / FLEET
IMAGE = f"{SUBNET}.1:5000/hello:1"
VARIABLES = f"""---
warren_cluster_name: {FLEET}
warren_bundle: {ROOT}/bundle
warren_containerd_registries:
  - host: {SUBNET}.1:5000
    insecure: true
"""


def fleet(verb: str, *words: str) -> str:
    return run("python3", "-m", "tests.fleet", verb, "--name", FLEET, *words).stdout


def on_host(host: str, command: str) -> str:
    return run("python3", "-m", "tests.fleet", "ssh", "--name", FLEET, host, command).stdout


def new_hosts() -> None:
    """Three bare hosts and a registry, in place of any before."""
    fleet("down")
    boot(*HOSTS)
    run("python3", "-m", "tests.fleet", "registry", "up", "--name", FLEET)
    run("examples/hello/build.sh", f"{SUBNET}.1:5000", "1")
    write_inventory(INVENTORY, *HOSTS)


def boot(*hosts: str) -> None:
    """Hosts that are new get their files; those that are there stay as they are."""
    fleet("up", "--names", ",".join(hosts), "--subnet", f"{SUBNET}.0/24")


def lose(host: str) -> None:
    """Cut its power, and its disk is gone as well: `boot` makes another of the same name."""
    fleet("kill", host)
    shutil.rmtree(fleets.existing(FLEET).host(host).root)


def write_inventory(directory: Path, *hosts: str) -> None:
    """All of them managers and workers."""
    names = ",".join(hosts)
    fleet("inventory", "--out", str(directory), "--managers", names, "--workers", names)
    (directory / "group_vars").mkdir(exist_ok=True)
    (directory / "group_vars/all.yml").write_text(VARIABLES)


def environment() -> dict[str, str]:
    return {
        **os.environ,
        "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
        "WARREN_CONTEXT": FLEET,
        "WARREN_BACKUP_PASSPHRASE": PASSPHRASE,
    }


def playbook(
    name: str, *words: str, inventory: Path = INVENTORY
) -> subprocess.CompletedProcess[str]:
    command = ["ansible-playbook", "-i", str(inventory), name, *words]
    return subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True)


def play(name: str, *words: str, inventory: Path = INVENTORY) -> str:
    """The output of a playbook that must succeed."""
    done = playbook(name, *words, inventory=inventory)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    return done.stdout


@contextmanager
def three_managers() -> Iterator[None]:
    """A cluster with a service on all of its hosts; gone afterwards, whatever happens."""
    try:
        new_hosts()
        play("bundle.yml")
        play("site.yml")
        ports = [{"name": "http", "target": 8080, "published": 8080}]
        spec = {"name": "hello", "image": IMAGE, "replicas": 3, "ports": ports}
        play("deploy-service.yml", "-e", json.dumps({"service": spec}))
        yield
    finally:
        fleet("down")


def wait_managers(client: Client, *names: str) -> ClusterView:
    """The cluster, when these are its managers and all of them take part."""
    views: list[ClusterView] = []

    def there() -> bool:
        try:
            views.append(client.get_cluster())
        except WarrenError:
            return False
        found = {m.node.spec.name: m.reachable for m in views[-1].managers}
        return found == dict.fromkeys(names, True)

    wait_until(there, seconds=60)
    return views[-1]


class Visitor(threading.Thread):
    """Asks the service on every host, over and over, and counts."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.answered = 0
        self.refused: list[str] = []
        self._leaves = threading.Event()

    def run(self) -> None:
        while not self._leaves.wait(0.05):
            for address in ADDRESSES:
                try:
                    with urllib.request.urlopen(f"http://{address}:8080/", timeout=3) as page:
                        page.read()
                    self.answered += 1
                except (urllib.error.URLError, OSError) as error:
                    self.refused.append(f"{address}: {error}")

    def leave(self) -> None:
        self._leaves.set()
        self.join()


def write_during(work: Callable[[], object]) -> list[tuple[int, float]]:
    """Change a service all the time while `work` runs: what was acknowledged, and when."""
    acknowledged: list[tuple[int, float]] = []
    ends = threading.Event()

    def write() -> None:
        with connect(context=FLEET) as writer:
            while not ends.is_set():
                number = len(acknowledged)
                spec = ServiceSpec(name="load", image=IMAGE, replicas=0, env={"N": str(number)})
                writer.apply_service(spec, ["image", "replicas", "env"])
                acknowledged.append((number, time.time()))

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    wait_until(lambda: len(acknowledged) > 20, seconds=20)
    try:
        work()
    finally:
        ends.set()
        thread.join()
    return acknowledged
