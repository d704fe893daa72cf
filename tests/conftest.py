"""For all suites: properties are tried on the same examples each time, however slow the machine.

`HYPOTHESIS_PROFILE=explore` looks for new ones; what it finds becomes a test.
Nor do they depend on the networks of the machine.
"""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from warren.bootstrap import host_routes

settings.register_profile(
    "steady",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "explore", deadline=None, max_examples=2000, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


@pytest.fixture(autouse=True, scope="session")
def no_networks(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A cluster that is created here may have any network, whatever this machine has."""
    table = tmp_path_factory.mktemp("routes") / "route"
    table.write_text("Iface\tDestination\n")
    host_routes.TABLE = Path(table)
