"""Fixtures of the tests that speak to the fake manager: a conftest imports those that it wants."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.modules.fake_manager import FakeManager

__all__ = ["config_dir", "endpoint", "manager"]


@pytest.fixture(autouse=True)
def config_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty directory of contexts, and no WARREN_ variable but that."""
    for variable in ("ENDPOINTS", "CA_CERT", "CLIENT_CERT", "CLIENT_KEY", "CONTEXT"):
        monkeypatch.delenv(f"WARREN_{variable}", raising=False)
    directory = tmp_path / "config"
    monkeypatch.setenv("WARREN_CONFIG_DIR", str(directory))
    return directory


@pytest.fixture
def manager() -> Iterator[FakeManager]:
    """Three nodes, no service. Not listening yet."""
    fake = FakeManager()
    yield fake
    fake.stop()


@pytest.fixture
def endpoint(manager: FakeManager, tmp_path: Path) -> str:
    """Its unix socket."""
    return manager.listen_unix(tmp_path / "warren.sock")
