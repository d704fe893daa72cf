"""Laws of the roles that ansible-lint does not know: names, and one description per variable."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

ROLES = Path(__file__).resolve().parents[3] / "roles"
NAMES = sorted(path.name for path in ROLES.iterdir() if path.is_dir())


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text()) if path.exists() else None


def described(role: str) -> dict[str, Any]:
    specs = load(ROLES / role / "meta/argument_specs.yml")["argument_specs"]
    return {name: option for spec in specs.values() for name, option in spec["options"].items()}


@pytest.mark.parametrize("role", NAMES)
def test_every_variable_of_a_role_is_described_and_has_the_described_default(role: str) -> None:
    options = described(role)
    promised = {name: option["default"] for name, option in options.items() if "default" in option}
    defaults = load(ROLES / role / "defaults/main.yml")

    own = {name: value for name, value in defaults.items() if name in options}

    assert set(defaults) - set(options) <= {"warren_node_name"}
    assert {name: tidy(value) for name, value in own.items()} == {
        name: tidy(value) for name, value in promised.items()
    }


@pytest.mark.parametrize("role", NAMES)
def test_public_names_begin_with_warren_and_inner_ones_with_the_role(role: str) -> None:
    public = load(ROLES / role / "defaults/main.yml")
    inner = load(ROLES / role / "vars/main.yml") or {}
    tasks = "\n".join(path.read_text() for path in (ROLES / role / "tasks").glob("*.yml"))
    registered = re.findall(r"register: (\S+)", tasks)

    assert [name for name in public if not name.startswith("warren_")] == []
    assert [name for name in (*inner, *registered) if not name.startswith(f"__{role}_")] == []


def test_a_variable_that_roles_share_has_the_same_default_in_all_of_them() -> None:
    found: dict[str, set[str]] = {}
    for role in NAMES:
        for name, value in load(ROLES / role / "defaults/main.yml").items():
            found.setdefault(name, set()).add(str(tidy(value)))

    assert {name: values for name, values in found.items() if len(values) > 1} == {}


def test_every_module_of_the_api_is_in_the_action_group() -> None:
    root = ROLES.parent
    group = load(root / "meta/runtime.yml")["action_groups"]["warren"]
    ours = {
        path.stem
        for path in (root / "plugins/modules").glob("*.py")
        if "warren.core.connection" in path.read_text()
    }

    assert set(group) == ours


def tidy(value: Any) -> Any:
    """Folded text may end in a newline, and says the same without."""
    return value.strip() if isinstance(value, str) else value


@pytest.mark.parametrize("role", NAMES)
def test_every_variable_is_in_the_documentation(role: str) -> None:
    text = (ROLES.parent / "docs/roles.md").read_text()

    assert [name for name in described(role) if f"`{name}`" not in text] == []
