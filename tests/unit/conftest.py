"""What no unit test may depend on: the networks of the machine that it runs on."""

from pathlib import Path

import pytest
from warren.bootstrap import host_routes


@pytest.fixture(autouse=True)
def no_networks(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    table = tmp_path_factory.getbasetemp() / "no-routes"
    table.write_text("Iface\tDestination\n")
    monkeypatch.setattr(host_routes, "TABLE", Path(table))
