"""Base images: a small Debian system per release, built once and copied for every host.

An image's directory is named after its recipe, so a changed recipe is a new image and an old one
is never altered. It is built beside its place and renamed into it: half an image is never used.
"""

import dataclasses
import hashlib
import os
import time
from pathlib import Path

from tests.fleet import cgroups, commands, locks, mounts
from tests.fleet.errors import FleetError

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

# What a small server has anyway. Nothing that Warren needs is added here: it brings that itself.
PACKAGES = (
    "dbus",
    "iproute2",
    "iputils-ping",
    "kmod",
    "openssh-server",
    "procps",
    "python3",
    "sudo",
    "systemd-sysv",
)

# Nspawn mounts the controllers of cgroup v1 read-only. They are the host's own, so it may write.
CGROUP_UNIT = """\
[Unit]
Description=Let this host manage its own cgroups
DefaultDependencies=no
Before=sysinit.target
ConditionPathExists=!/sys/fs/cgroup/cgroup.controllers

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh -c 'for c in /sys/fs/cgroup/*/; do mount -o remount,rw,bind "$c"; done'

[Install]
WantedBy=sysinit.target
"""

# Without machine-id, locale and time zone systemd-firstboot fails and the host is "degraded".
# An image holds no identity (keys, machine-id), and nothing about the network it was built on.
FINISH = """\
set -e
systemctl enable systemd-networkd.service fleet-cgroups.service
ln -sf /usr/share/zoneinfo/Etc/UTC /etc/localtime
echo Etc/UTC > /etc/timezone
echo LANG=C.UTF-8 > /etc/locale.conf
install -d /etc/default
echo LANG=C.UTF-8 > /etc/default/locale
install -d -m 700 /root/.ssh
rm -f /etc/ssh/ssh_host_* /etc/resolv.conf /etc/hostname
rm -f /var/lib/dbus/machine-id /var/cache/apt/*.bin /var/log/bootstrap.log
rm -rf /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
: > /etc/machine-id
: > /etc/resolv.conf
: > /etc/apt/sources.list
"""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """The base image of one Debian release."""

    release: str

    @property
    def directory(self) -> Path:
        recipe = "\n".join((self.release, *PACKAGES, CGROUP_UNIT, FINISH))
        return cache() / f"{self.release}-{hashlib.sha256(recipe.encode()).hexdigest()[:12]}"


def cache() -> Path:
    return Path(os.environ.get("WARREN_CACHE", "/var/cache/warren")) / "fleet"


def ready(release: str) -> Path:
    """The root of the release's image, built now if it is not there."""
    image = Image(release=release)
    if image.directory.is_dir():
        return image.directory
    with locks.held(f"base-{release}"):
        if not image.directory.is_dir():
            _build(image)
    return image.directory


def remove_all() -> None:
    """Remove every image; hosts are copies, and so do not miss them."""
    with locks.held("base-bookworm"), locks.held("base-trixie"):
        if cache().is_dir():
            for directory in cache().iterdir():
                mounts.remove_tree(directory)


def _build(image: Image) -> None:
    print(f"building base {image.release} (about 60 s)", flush=True)
    started = time.monotonic()
    cache().mkdir(parents=True, exist_ok=True)
    cgroups.kill(_group(image.release))  # a build whose parent was killed goes on by itself
    for leftover in cache().glob(f".{image.release}-*"):
        mounts.remove_tree(leftover)
    part = cache() / f".{image.directory.name}.part"
    _debootstrap(image.release, part)
    unit = part / "etc/systemd/system/fleet-cgroups.service"
    unit.write_text(CGROUP_UNIT, encoding="utf-8")
    commands.run(["chroot", str(part), "/bin/sh", "-c", FINISH])
    part.rename(image.directory)
    print(f"base {image.release} built in {time.monotonic() - started:.0f} s", flush=True)


def _debootstrap(release: str, target: Path) -> None:
    if not KEYRING.exists():
        raise FleetError(f"{KEYRING} is missing: install debian-archive-keyring")
    argv = ["debootstrap", "--variant=minbase", "--force-check-gpg", f"--keyring={KEYRING}"]
    argv += [f"--include={','.join(PACKAGES)}", release, str(target), mirror()]
    try:
        cgroups.run(_group(release), argv, _environment())
    except FleetError as error:
        if "unknown key" in str(error) or "KEYEXPIRED" in str(error):
            raise FleetError(
                f"base {release}: {KEYRING} does not know the key of {release}: "
                f"run `apt-get install debian-archive-keyring` for a newer one"
            ) from error
        raise FleetError(f"base {release}: {error}") from error


def _group(release: str) -> str:
    return f"warren_base_{release}"


def mirror() -> str:
    """The Debian archive that this machine's own apt uses."""
    fields = "$(ORIGIN)|$(LABEL)|$(SITE)"
    listing = commands.run(["apt-get", "indextargets", "--format", fields, "Created-By: Packages"])
    for line in listing.splitlines():
        origin, label, site = line.split("|", 2)
        if (origin, label) == ("Debian", "Debian"):
            return site
    raise FleetError("apt on this machine lists no Debian archive: run `apt-get update` first")


def _environment() -> dict[str, str]:
    """The environment for debootstrap: plain messages, and apt's proxy if apt has one."""
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    proxy = commands.run(["apt-config", "shell", "PROXY", "Acquire::http::Proxy"])
    if proxy.startswith("PROXY=") and "http_proxy" not in environment:
        environment["http_proxy"] = proxy.removeprefix("PROXY=").strip().strip("'")
    return environment
