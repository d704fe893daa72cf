# Copyright (c) The Warren authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Debian packages of a bundle, resolved by apt against a minimal system of another release.

Each release has a private root for apt: own sources, own keyring, own lists, own idea of what is
installed. The state of the machine's own apt is only read, to learn which mirror it uses.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from ansible_collections.warren.core.plugins.module_utils.bundle_files import BundleError, sha256

KEYRINGS = Path("/usr/share/keyrings")
KEYRING = "debian-archive-keyring.gpg"

# What any Debian host has that Ansible can manage; the bundle leaves these out.
BASE = ("apt", "openssh-server", "python3", "systemd-sysv")

INSTALL = ("install", "--yes", "--no-install-recommends")


class PrivateApt:
    """Apt for one release and architecture, in a directory of its own."""

    def __init__(self, directory: Path, release: str, architecture: str) -> None:
        self.directory = directory
        self.release = release
        self.architecture = architecture
        self.config = directory / "apt.conf"
        self.base = ""

    def prepare(self) -> None:
        """Make the root, and fetch the lists of the release from this machine's mirror.

        The minimal system is that of the last point release: a host need not have every security
        update, and what the bundle's packages need of them is taken along.
        """
        for name in ("etc/parts", "etc/sources", "etc/preferences", "etc/trusted"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        for name in ("state/lists/partial", "cache/archives/partial"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        self._take_keyring()
        self.config.write_text(self._config(), encoding="utf-8")
        release, *updates = debian_sources(self.release)
        self._update([release])
        base = self._would_install([*self._required(), *BASE])
        self.base = self._as_installed({package[0] for package in base})
        self._update([release, *updates])
        self._set_status(self.base)

    def closure(self, names: list[str]) -> list[str]:
        """Packages, with their versions, that a minimal host lacks to install `names`."""
        return [f"{name}={version}" for name, version in self._would_install(names)]

    def download(self, packages: list[str], target: Path) -> dict[str, dict[str, Any]]:
        """Fetch the packages into `target`; what was fetched before is not fetched again."""
        archives = self.directory / "cache" / "archives"
        self._apt(*INSTALL, "--download-only", *packages)
        listing = self._apt(
            *INSTALL,
            "--print-uris",
            "--option",
            "Dir::Cache::archives=/nonexistent",
            *packages,
        )
        entries = {}
        for archive in re.findall(r"^'[^']+' (\S+\.deb) ", listing, re.MULTILINE):
            shutil.copyfile(archives / archive, target / archive)
            entries[archive] = describe(target / archive)
        if len(entries) != len(packages):
            raise BundleError(f"bundle: apt fetched {len(entries)} of {len(packages)} packages")
        return entries

    def _update(self, sources: list[str]) -> None:
        text = "\n".join(sources) + "\n"
        (self.directory / "etc" / "sources.list").write_text(text, encoding="utf-8")
        self._set_status("")
        self._apt("update", "--error-on=any")

    def _take_keyring(self) -> None:
        keyring = KEYRINGS / KEYRING
        if not keyring.exists():
            raise BundleError(f"bundle: {keyring} is missing: install debian-archive-keyring")
        shutil.copyfile(keyring, self.directory / "etc" / "trusted" / KEYRING)

    def _config(self) -> str:
        """Paths of our own; only the ways to reach a mirror are the machine's."""
        here = self.directory
        etc, state, cache = here / "etc", here / "state", here / "cache"
        own = {
            "APT::Architecture": self.architecture,
            "APT::Install-Recommends": "false",
            "APT::Sandbox::User": "root",
            "Acquire::Languages": "none",
            "Dir::State": state,
            "Dir::State::status": state / "status",
            "Dir::State::extended_states": state / "extended_states",
            "Dir::Cache": cache,
            "Dir::Etc::main": etc / "apt.conf",
            "Dir::Etc::parts": etc / "parts",
            "Dir::Etc::sourcelist": etc / "sources.list",
            "Dir::Etc::sourceparts": etc / "sources",
            "Dir::Etc::preferences": etc / "preferences.conf",
            "Dir::Etc::preferencesparts": etc / "preferences",
            "Dir::Etc::trusted": etc / "trusted.gpg",
            "Dir::Etc::trustedparts": etc / "trusted",
        }
        lines = [f'{key} "{value}";' for key, value in own.items()]
        lines.append(
            f'#clear APT::Architectures;\nAPT::Architectures {{ "{self.architecture}"; }};'
        )
        machine = run(["apt-config", "dump", "Acquire::http", "Acquire::https"])
        return "\n".join([machine.strip(), *lines]) + "\n"

    def _required(self) -> list[str]:
        available = self._cache("dumpavail")
        return sorted(
            {
                field(stanza, "Package")
                for stanza in available.split("\n\n")
                if field(stanza, "Essential") == "yes" or field(stanza, "Priority") == "required"
            }
        )

    def _as_installed(self, names: set[str]) -> str:
        stanzas: dict[str, str] = {}
        for stanza in self._cache("show", "--no-all-versions", *sorted(names)).split("\n\n"):
            if stanza.strip():
                mark = "\nStatus: install ok installed\n"
                stanzas[field(stanza, "Package")] = stanza.strip().replace("\n", mark, 1)
        return "\n\n".join(stanzas.values()) + "\n"

    def _would_install(self, names: list[str]) -> list[tuple[str, str]]:
        simulated = self._apt(*INSTALL, "--simulate", *names)
        found = re.findall(r"^Inst (\S+) (?:\[\S+\] )?\((\S+) ", simulated, re.MULTILINE)
        return sorted((name.partition(":")[0], version) for name, version in found)

    def _set_status(self, text: str) -> None:
        (self.directory / "state" / "status").write_text(text, encoding="utf-8")

    def _apt(self, *arguments: str) -> str:
        return self._run("apt-get", "-q", *arguments)

    def _cache(self, *arguments: str) -> str:
        return self._run("apt-cache", *arguments)

    def _run(self, *argv: str) -> str:
        try:
            return run(list(argv), APT_CONFIG=str(self.config))
        except BundleError as error:
            hint = ""
            if "NO_PUBKEY" in str(error) or "EXPKEYSIG" in str(error):
                hint = "; a newer debian-archive-keyring knows newer releases"
            raise BundleError(f"bundle: debs of {self.release}: {error}{hint}") from None


def index(directory: Path) -> str:
    """A package list of the .debs in a directory, which makes it a repository for apt."""
    stanzas = []
    for path in sorted(directory.glob("*.deb")):
        control = run(["dpkg-deb", "--field", str(path)]).strip()
        size, digest = path.stat().st_size, sha256(path)
        stanzas.append(f"{control}\nFilename: ./{path.name}\nSize: {size}\nSHA256: {digest}\n")
    return "\n".join(stanzas)


def debian_sources(release: str) -> list[str]:
    """Lines of a sources.list, the release itself first, on the mirrors of this machine's apt."""
    wanted = "$(ORIGIN)|$(LABEL)|$(REPO_URI)"
    listing = run(["apt-get", "indextargets", "--format", wanted, "Created-By: Packages"])
    mirrors: dict[str, str] = {}
    for line in listing.splitlines():
        origin, label, uri = line.split("|", 2)
        if origin == "Debian":
            mirrors.setdefault(label, uri)
    if "Debian" not in mirrors:
        raise BundleError(
            "bundle: apt on this machine lists no Debian archive: run `apt-get update` first"
        )
    lines = [f"deb {mirrors['Debian']} {suite} main" for suite in (release, f"{release}-updates")]
    if "Debian-Security" in mirrors:
        lines.append(f"deb {mirrors['Debian-Security']} {release}-security main")
    return lines


def describe(path: Path) -> dict[str, Any]:
    """What the manifest says of one package."""
    asked = "${Package}|${Version}|${Architecture}|${binary:Summary}"
    text = run(["dpkg-deb", "--show", f"--showformat={asked}", str(path)])
    package, version, architecture, summary = text.split("|", 3)
    return {
        "sha256": sha256(path),
        "size": path.stat().st_size,
        "package": package,
        "version": version,
        "architecture": architecture,
        "purpose": summary.strip(),
    }


def field(stanza: str, name: str) -> str:
    """One field of a stanza of a package list."""
    match = re.search(rf"^{name}: *(.*)$", stanza, re.MULTILINE)
    return match[1].strip() if match else ""


def run(argv: list[str], **environment: str) -> str:
    """Run a program to its end, and return what it printed. BundleError has its last words."""
    fixed = {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        done = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **fixed, **environment},
        )
    except FileNotFoundError:
        raise BundleError(f"{argv[0]} is not installed on the control node") from None
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or "no output").splitlines()
        errors = [line for line in lines if line.startswith(("E:", "ERROR:", "error:"))]
        reason = " ".join((errors or lines[-1:])[:3])
        raise BundleError(f"{' '.join(argv[:3])}: {reason}")
    return done.stdout
