"""deploy-service.yml and remove-service.yml, from a file to a running service."""

import json
import re
import sys
from pathlib import Path

import pytest
from warren.model.services import ServiceSpec

from tests.modules.conftest import ROOT, Play
from tests.modules.fake_manager import FakeManager


def changed(output: str) -> int:
    """The count in the recap."""
    found = re.search(r"changed=(\d+)", output)
    assert found is not None, output
    return int(found[1])


def test_a_service_file_is_deployed_then_found_unchanged(
    playbook: Play, manager: FakeManager, tmp_path: Path
) -> None:
    file = tmp_path / "web.yml"
    file.write_text("service:\n  name: web\n  image: 'web:{{ version }}'\n  replicas: 2\n")
    flags = ("-e", f"@{file}", "-e", "version=3")

    checked = playbook("deploy-service.yml", *flags, "--check", "--diff")
    before = dict(manager.state.services)
    first = playbook("deploy-service.yml", *flags)
    second = playbook("deploy-service.yml", *flags)

    assert [p.code for p in (checked, first, second)] == [0, 0, 0], checked.output
    assert [changed(p.output) for p in (checked, first, second)] == [1, 1, 0]
    assert before == {}
    assert "web: would be created" in checked.output
    assert "+image: web:3" in checked.output
    assert "web: changed, 2 of 2 tasks run" in first.output
    assert manager.state.services["web"].spec.image == "web:3"


def test_the_examples_are_valid(playbook: Play, manager: FakeManager) -> None:
    secret = playbook("rotate-secret.yml", "-e", f"@{ROOT}/examples/registry.yml")
    assert secret.code == 0, secret.output
    for example in ("web.yml", "shop.yml", "exporter.yml"):
        path = ROOT / "examples" / example

        played = playbook("deploy-service.yml", "-e", f"@{path}", "--check")

        assert played.code == 0, played.output


def test_an_unknown_key_fails_with_its_path(playbook: Play, tmp_path: Path) -> None:
    file = tmp_path / "web.yml"
    file.write_text("service: {name: web, image: w, ports: [{targt: 1}]}\n")

    played = playbook("deploy-service.yml", "-e", f"@{file}")

    assert played.code != 0
    assert "web.ports[0].targt: unknown key (did you mean target?)" in played.output


def test_a_file_without_services_is_refused(playbook: Play) -> None:
    played = playbook("deploy-service.yml")

    assert played.code != 0
    assert "services: is empty" in played.output


def test_a_service_is_removed_once(playbook: Play, manager: FakeManager) -> None:
    manager.put(ServiceSpec(name="web", image="web:1"))

    first = playbook("remove-service.yml", "-e", "service_name=web")
    second = playbook("remove-service.yml", "-e", "service_name=web")

    assert [changed(p.output) for p in (first, second)] == [1, 0]
    assert manager.state.services == {}


@pytest.mark.parametrize(
    ("limit", "code", "sentence"),
    [
        (("--limit", "m1"), 2, "m2, m3 were left out: a recovery must see every manager"),
        ((), 2, "none of m1, m2, m3 is a manager that can be reached"),
    ],
)
def test_a_recovery_looks_at_every_manager_or_at_none(
    playbook: Play, tmp_path: Path, limit: tuple[str, ...], code: int, sentence: str
) -> None:
    """A manager that is left out may lead: going on without it would make two clusters."""
    inventory = tmp_path / "hosts.yml"
    hosts = {
        name: {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
        for name in ("m1", "m2", "m3")
    }
    inventory.write_text(json.dumps({"warren_managers": {"hosts": hosts}}))

    played = playbook("recover.yml", "-i", str(inventory), *limit)

    assert (played.code, sentence in " ".join(played.output.split())) == (code, True), played.output
