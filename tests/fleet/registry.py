"""A container registry for a fleet: Debian's docker-registry, on the bridge, over plain http.

The program is taken out of its package into the cache, and not installed: installed, it would
also run as a service of this machine, on the very port.
"""

import hashlib
import json
import shutil
import signal
import time
import urllib.error
import urllib.request
from pathlib import Path

from tests.fleet import base, cgroups, commands, fleets, locks, mounts
from tests.fleet.errors import FleetError
from tests.fleet.fleets import Fleet

PORT = 5000


def address(fleet: Fleet) -> str:
    return f"{fleet.gateway}:{PORT}"


def start(fleet: Fleet, account: str | None) -> str:
    """Start the registry, or leave it be if it already runs that way; says where it is."""
    config = _write_config(fleet, account)
    mark = hashlib.sha256(json.dumps([config, account]).encode()).hexdigest()
    if is_running(fleet):
        if (_directory(fleet) / "mark").read_text(encoding="ascii") == mark:
            return condition(fleet)
        stop(fleet)
    quiet = ["env", "OTEL_TRACES_EXPORTER=none"]
    argv = [*quiet, str(program()), "serve", str(_directory(fleet) / "config.yml")]
    cgroups.start(_group(fleet), argv, _directory(fleet) / "log")
    (_directory(fleet) / "mark").write_text(mark, encoding="ascii")
    _wait_answers(fleet)
    return condition(fleet)


def stop(fleet: Fleet) -> None:
    cgroups.signal_all(cgroups.processes(_group(fleet)), signal.SIGTERM)
    cgroups.wait_empty(_group(fleet), timeout_s=5)
    cgroups.kill(_group(fleet))


def is_running(fleet: Fleet) -> bool:
    return bool(cgroups.processes(_group(fleet)))


def condition(fleet: Fleet) -> str:
    if not is_running(fleet):
        return "off"
    return f"up at {address(fleet)}" if _answers(fleet) else "running, does not answer"


def render_config(fleet: Fleet, *, with_account: bool) -> str:
    """The registry's configuration. It is YAML, of which JSON is a part."""
    directory = _directory(fleet)
    config: dict[str, object] = {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {
            "filesystem": {"rootdirectory": str(directory / "storage")},
            "delete": {"enabled": True},
        },
        "http": {"addr": address(fleet), "secret": f"fleet-{fleet.name}"},
    }
    if with_account:
        htpasswd = {"realm": f"fleet {fleet.name}", "path": str(directory / "htpasswd")}
        config["auth"] = {"htpasswd": htpasswd}
    return json.dumps(config, indent=2) + "\n"


def _write_config(fleet: Fleet, account: str | None) -> str:
    (_directory(fleet) / "storage").mkdir(parents=True, exist_ok=True)
    if account is not None:
        user, colon, password = account.partition(":")
        if not (user and colon and password):
            raise FleetError("--htpasswd: want USER:PASSWORD")
        digest = commands.run(["mkpasswd", "--method=bcrypt", "--stdin"], text_in=password)
        line = f"{user}:{digest.strip()}\n"
        fleets.write_atomically(_directory(fleet) / "htpasswd", line, mode=0o600)
    config = render_config(fleet, with_account=account is not None)
    fleets.write_atomically(_directory(fleet) / "config.yml", config)
    return config


def program() -> Path:
    """The registry's program, fetched with apt the first time."""
    directory = base.cache() / "docker-registry"
    program = directory / "usr/bin/docker-registry"
    with locks.held("docker-registry"):
        if not program.exists():
            print("fetching docker-registry", flush=True)
            part = base.cache() / ".docker-registry.part"
            mounts.remove_tree(part)
            part.mkdir(parents=True)
            script = 'cd "$1" && apt-get download -q docker-registry && dpkg-deb -x *.deb .'
            commands.run(["sh", "-c", script, "sh", str(part)])
            shutil.rmtree(directory, ignore_errors=True)
            part.rename(directory)
    return program


def _answers(fleet: Fleet) -> bool:
    url = f"http://{address(fleet)}/v2/"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=2):
            return True
    except urllib.error.HTTPError as error:
        return error.code == 401
    except OSError:
        return False


def _wait_answers(fleet: Fleet) -> None:
    deadline = time.monotonic() + 10
    while not _answers(fleet):
        if not is_running(fleet) or time.monotonic() > deadline:
            stop(fleet)
            log = _directory(fleet) / "log"
            raise FleetError(f"registry at {address(fleet)} does not start; see {log}")
        time.sleep(0.05)


def _directory(fleet: Fleet) -> Path:
    return fleet.directory / "registry"


def _group(fleet: Fleet) -> str:
    return f"warren-{fleet.name}-registry"
