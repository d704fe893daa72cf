"""A fake manager for each test, and nothing of the user's own configuration."""

from tests.modules.fake_manager_fixtures import config_dir, endpoint, manager
from tests.unit.cli.command import warren

__all__ = ["config_dir", "endpoint", "manager", "warren"]
