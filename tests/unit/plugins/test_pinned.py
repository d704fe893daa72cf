"""The replicated log's library is one of known bytes, wherever the agent is installed."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from ansible_collections.warren.core.plugins.module_utils import bundle_wheels
from ansible_collections.warren.core.plugins.module_utils.bundle_files import BundleError
from ansible_collections.warren.core.plugins.modules import warren_venv
from warren.store.raft import shell

ROOT = Path(__file__).resolve().parents[3]
AGENT = ROOT / "agent"


def test_the_pin_has_a_hash_and_is_the_version_that_the_engine_is_made_for() -> None:
    pins = [line for line in bundle_wheels.pinned(AGENT).splitlines() if line[:1] not in "#"]
    project = tomllib.loads((AGENT / "pyproject.toml").read_text())["project"]

    (pin,) = pins
    assert re.fullmatch(rf"pysyncobj=={shell.PINNED} --hash=sha256:[0-9a-f]{{64}}", pin)
    assert f"pysyncobj=={shell.PINNED}" in project["optional-dependencies"]["daemon"]


def test_nothing_else_installs_it_without_its_hash() -> None:
    for name in ("requirements/dev.in", "requirements/dev.txt"):
        lines = (ROOT / name).read_text().splitlines()
        assert not [line for line in lines if line.lower().startswith("pysyncobj")], name
    assert "--require-hashes -r agent/pinned.txt" in (ROOT / "Makefile").read_text()


def test_a_bundle_is_not_built_from_other_bytes(tmp_path: Path) -> None:
    agent, other = an_agent_that_pins(tmp_path, "0" * 64)

    with pytest.raises(BundleError, match="HASH"):
        bundle_wheels._build(
            str(agent / bundle_wheels.PINNED),
            tmp_path / "out",
            "--no-index",
            f"--find-links={other}",
            "--require-hashes",
            "--requirement",
        )


def test_a_host_installs_the_pinned_packages_by_their_hashes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(warren_venv, "_run", lambda argv, **_: ran.append(argv))
    environment = tmp_path / "venv"
    environment.mkdir()
    monkeypatch.setattr(warren_venv.shutil, "rmtree", lambda *_, **__: None)

    warren_venv.make(environment, None, "warren[daemon]", "a==1 --hash=sha256:00")

    python = str(environment / "bin" / "python")
    pinned = str(environment / "pinned.txt")
    assert ran == [
        [sys.executable, "-m", "venv", str(environment)],
        [python, "-m", "pip", "install", "--no-deps", "--require-hashes", "-r", pinned],
        [python, "-m", "pip", "install", "warren[daemon]"],
    ]
    assert Path(pinned).read_text() == "a==1 --hash=sha256:00"


def an_agent_that_pins(directory: Path, digest: str) -> tuple[Path, Path]:
    """Sources that pin a package, and a directory that has another package of that name."""
    agent, index, sources = directory / "agent", directory / "index", directory / "sources"
    for made in (agent, index, sources):
        made.mkdir()
    (agent / bundle_wheels.PINNED).write_text(f"other==1 --hash=sha256:{digest}\n")
    (sources / "other.py").write_text("")
    (sources / "setup.py").write_text(
        "from setuptools import setup\nsetup(name='other', version='1', py_modules=['other'])\n"
    )
    subprocess.run(
        [sys.executable, "setup.py", "-q", "sdist", "-d", str(index)],
        cwd=sources,
        check=True,
        capture_output=True,
    )
    return agent, index
