"""warren_secret, warren_config, their infos, and rotate-secret.yml with its example."""

import base64
import json
from pathlib import Path

from warren.client import connect
from warren.model.secrets import ConfigReference, ConfigSpec, SecretReference
from warren.store.sealing import Sealer

from tests.modules.conftest import ROOT, Play, task
from tests.modules.fake_manager import FakeManager
from tests.modules.test_playbooks import changed

ONE, TWO = "marker-9d0e51", "marker-b7c3aa"
QUICK = {"monitor": "0s", "parallelism": "100%"}


def opened(manager: FakeManager, name: str) -> list[bytes]:
    keys = manager.state.secret_keys
    assert keys is not None
    sealer = Sealer("c1", keys)
    return [sealer.open(name, version) for version in manager.state.secrets[name].versions]


def test_a_secret_is_kept_and_compared(play: Play, manager: FakeManager) -> None:
    coded = base64.b64encode(ONE.encode()).decode()

    played = play(
        task("warren_secret", {"name": "db", "value": ONE}, check=True),
        task("warren_secret", {"name": "db", "value": ONE, "labels": {"team": "a"}}, diff=True),
        task("warren_secret", {"name": "db", "value": ONE}, check=True),
        task("warren_secret", {"name": "db", "value_base64": coded}),
        task("warren_secret_info", {"name": "db"}),
        flags=("-vvv",),
    )

    results = played.results
    changes = [each["changed"] for each in results]
    assert changes == [True, True, False, False, False], played.output
    assert results[1]["diff"]["after"] == "name: db\nlabels.team: a\nvalue: version 1 (hidden)\n"
    assert results[4]["secrets"][0]["versions"][0]["size"] == len(ONE)
    assert opened(manager, "db") == [ONE.encode()]
    for value in (ONE, coded):
        assert value not in played.output
        assert value not in str(results)


def test_a_new_version_is_rolled_out(play: Play, manager: FakeManager, tmp_path: Path) -> None:
    file = tmp_path / "two"
    file.write_text(TWO)
    web = {"name": "web", "image": "web:1", "secrets": [{"name": "db"}], "update": QUICK}

    played = play(
        task("warren_secret", {"name": "db", "value": ONE}),
        task("warren_service", web),
        task("warren_secret", {"name": "db", "src": str(file)}, check=True),
        task("warren_secret", {"name": "db", "src": str(file)}, diff=True),
        task("warren_service", web),
        task("warren_secret", {"name": "db", "state": "absent"}),
        flags=("-vvv",),
    )

    results = played.results
    changes = [each["changed"] for each in results[:5]]
    assert changes == [True, True, True, True, False], played.output
    assert (results[3]["diff"]["before"], results[3]["diff"]["after"]) == (
        "value: version 1 (hidden)\n",
        "value: version 2 (hidden)\n",
    )
    assert [set(results[number]["rollouts"]) for number in (2, 3)] == [{"web"}, {"web"}]
    assert results[3]["secret"]["services"] == ["web"]
    assert results[5]["msg"] == "secret db is used by service web"
    assert manager.state.services["web"].spec.secrets == (SecretReference(name="db", pinned=2),)
    assert opened(manager, "db") == [ONE.encode(), TWO.encode()]
    for value in (ONE, TWO):
        assert value not in played.output
        assert value not in str(results)


def test_a_rollout_that_fails_is_why_the_task_fails(play: Play, manager: FakeManager) -> None:
    secrets = [{"name": "db"}]
    web = {"name": "web", "image": "fails:1", "secrets": secrets, "update": QUICK}

    played = play(
        task("warren_secret", {"name": "db", "value": ONE}),
        task("warren_service", {**web, "wait": False}),
        task("warren_secret", {"name": "db", "value": TWO}),
    )

    failed = played.results[2]
    assert failed["error"] == "WaitFailed"
    assert failed["msg"].startswith("web: rolled back to revision 1")
    assert failed["changed"]
    assert manager.state.services["web"].spec.secrets == (SecretReference(name="db", pinned=1),)
    assert TWO not in played.output


def test_bad_input_is_one_clear_line(play: Play, manager: FakeManager) -> None:
    results = play(
        task("warren_secret", {"name": "db", "value": ""}),
        task("warren_secret", {"name": "db"}),
        task("warren_secret", {"name": "db", "value_base64": "*"}),
        task("warren_secret", {"name": "db", "src": "/nowhere/x"}),
        task("warren_service", {"name": "web", "image": "web:1", "secrets": [{"name": "db"}]}),
        task("warren_config", {"name": "nginx", "content": "a", "src": "/x"}),
    ).results

    assert [each["msg"] for each in results] == [
        "db.value: must not be empty",
        "db.value: is required",
        "db.value_base64: is not base64",
        "/nowhere/x: cannot read: No such file or directory",
        "web.secrets[0].name: there is no secret db",
        "parameters are mutually exclusive: content|content_base64|src",
    ]
    assert manager.state.secrets == {}


def test_a_config_shows_what_differs(play: Play, manager: FakeManager, tmp_path: Path) -> None:
    file = tmp_path / "nginx.conf"
    file.write_text("listen 80;\nname {{ node.name }};\n")
    reference = {"name": "nginx", "target": "/etc/nginx.conf", "template": True}
    web = {"name": "web", "image": "web:1", "configs": [reference], "update": QUICK}

    played = play(
        task("warren_config", {"name": "nginx", "src": str(file)}),
        task("warren_service", web),
        task("warren_config", {"name": "nginx", "content": "listen 81;"}, diff=True),
        task("warren_config", {"name": "nginx", "content": "listen 81;"}, check=True),
        task("warren_config_info", {"name": "nginx"}),
        task("warren_config", {"name": "other", "state": "absent"}),
    )

    results = played.results
    changes = [True, True, True, False, False, False]
    assert [each["changed"] for each in results] == changes, played.output
    assert results[2]["diff"]["before"] == "listen 80;\nname {{ node.name }};\n"
    assert results[2]["diff"]["after"] == "listen 81;\n"
    assert results[4]["configs"][0]["data"] == "listen 81;"
    assert manager.state.services["web"].spec.configs == (
        ConfigReference(name="nginx", target="/etc/nginx.conf", template=True, pinned=2),
    )


def test_the_playbook_rotates_with_its_example(playbook: Play, manager: FakeManager) -> None:
    example = ("-e", f"@{ROOT / 'examples' / 'secret.yml'}")

    checked = playbook("rotate-secret.yml", *example, "--check", "--diff")
    planned = dict(manager.state.secrets)
    first = playbook("rotate-secret.yml", *example)
    second = playbook("rotate-secret.yml", *example)

    assert [each.code for each in (checked, first, second)] == [0, 0, 0], first.output
    assert [changed(each.output) for each in (checked, first, second)] == [1, 1, 0]
    assert planned == {}
    assert opened(manager, "db-password") == [b"change-me-in-the-vault"]
    for played in (checked, first, second):
        assert "change-me-in-the-vault" not in played.output


def test_the_example_of_a_service_has_what_it_refers_to(
    playbook: Play, manager: FakeManager, environment: dict[str, str]
) -> None:
    values = {"secret_name": "db-password", "secret_value": ONE}
    settings = ROOT / "examples" / "shop-settings.ini"

    prepared = playbook("rotate-secret.yml", "-e", json.dumps(values))
    with connect(endpoints=[environment["WARREN_ENDPOINTS"]]) as client:
        client.apply_config(ConfigSpec(name="shop-settings"), (), settings.read_bytes())
    deployed = playbook("deploy-service.yml", "-e", f"@{ROOT / 'examples' / 'credentials.yml'}")

    assert (prepared.code, deployed.code) == (0, 0), deployed.output
    assert manager.state.services["shop"].spec.secrets[0].pinned == 1


def test_the_keys_of_secrets_are_replaced(playbook: Play, play: Play, manager: FakeManager) -> None:
    none = play(
        task("warren_secret_keys", {}),
        task("warren_secret", {"name": "db", "value": ONE}),
        task("warren_secret_keys", {"max_age": "1h"}),
        task("warren_secret_keys", {}, check=True),
    ).results
    before = manager.state.secret_keys

    played = playbook("rotate-secrets-key.yml")

    assert [each["changed"] for each in none] == [False, True, False, True]
    assert (none[0]["keys"], none[2]["keys"]["left"]) == ({}, 0)
    assert played.code == 0, played.output
    assert "1 versions were sealed anew" in played.output
    assert before is not None
    assert manager.state.secret_keys is not None
    assert manager.state.secret_keys.keys[0].id != before.keys[0].id
    assert opened(manager, "db") == [ONE.encode()]
