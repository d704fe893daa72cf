"""`warren secret` and `warren config`, against a manager in memory."""

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from warren.model.secrets import ConfigReference, SecretReference
from warren.model.services import ServiceSpec

from tests.modules.fake_manager import FakeManager
from tests.unit.cli.command import Ran, Run

MARKER = "marker-7e21c0"


def typed(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    """Standard input that is no terminal."""
    stdin = SimpleNamespace(buffer=io.BytesIO(data), isatty=lambda: False)
    monkeypatch.setattr("sys.stdin", stdin)


def test_a_secret_is_created_from_a_file_rotated_from_stdin_and_removed(
    warren: Run, manager: FakeManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "value"
    file.write_bytes(b"\0one\n")

    created = warren("secret", "create", "db", "--from-file", str(file), "-l", "team=a")
    typed(monkeypatch, b"two")
    rotated = warren("secret", "rotate", "db")
    typed(monkeypatch, b"two")
    again = warren("secret", "rotate", "db", "--from-file", "-")
    removed = warren("secret", "rm", "db")

    assert created == Ran(0, "db: created, version 1\n", "")
    assert rotated == Ran(0, "db: changed, version 2\n", "")
    assert again == Ran(0, "db: unchanged, version 2\n", "")
    assert removed == Ran(0, "db: removed\n", "")
    assert manager.state.secrets == {}


def test_a_service_names_the_secret_that_it_is_pulled_with(
    warren: Run, manager: FakeManager
) -> None:
    value = f'{{"username": "deploy", "password": "{MARKER}"}}'
    early = warren("service", "create", "web", "web:1", "--registry-secret", "registry")
    warren("secret", "create", "registry", "--from-literal", value)

    created = warren("service", "create", "web", "web:1", "--registry-secret", "registry")
    shown = warren("service", "inspect", "web")
    malformed = warren("secret", "rotate", "registry", "--from-literal", MARKER)
    kept = warren("secret", "rm", "registry")

    assert early.err == "warren: web.registry_secret: there is no secret registry\n"
    assert created.code == 0, created.err
    assert yaml.safe_load(shown.out)["registry_secret"] == "registry"
    assert malformed.err.startswith("warren: registry.value: is no JSON, and credentials of a")
    assert kept.err == "warren: secret registry is used by service web\n"
    assert MARKER not in shown.out + malformed.err
    assert manager.state.services["web"].spec.registry_secret == "registry"


def test_rotating_rolls_out_those_who_follow_and_waits_for_them(
    warren: Run, manager: FakeManager
) -> None:
    warren("secret", "create", "db", "--from-literal", "one")
    created = warren("service", "create", "web", "web:1", "--secret", "db,target=p,mode=0440")

    dry = warren("secret", "rotate", "db", "--from-literal", "two", "--dry-run")
    rotated = warren("secret", "rotate", "db", "--from-literal", "two")

    assert created.code == 0, created.err
    assert dry == Ran(0, "db: changed, version 2, rolls out web (dry run)\n", "")
    assert (rotated.code, rotated.out) == (0, "db: changed, version 2, rolled out web\n")
    service = manager.state.services["web"]
    assert service.spec.secrets == (SecretReference(name="db", target="p", mode="0440", pinned=2),)
    assert service.live_rollout is None


def test_no_command_shows_a_value(warren: Run, manager: FakeManager) -> None:
    warren("secret", "create", "db", "--from-literal", MARKER)
    manager.put(
        ServiceSpec(name="web", image="web:1", secrets=(SecretReference(name="db", pinned=1),))
    )

    runs = [
        warren("secret", "ls"),
        warren("secret", "inspect", "db"),
        warren("secret", "rotate", "db", "--from-literal", MARKER),
        warren("secret", "inspect", "db", "-o", "json"),
        warren("service", "inspect", "web"),
        warren("secret", "rm", "db"),
    ]

    assert runs[0].out == (
        "NAME  VERSION  KEPT  CHANGED  SERVICES\ndb    1        1     1s       web\n"
    )
    shown = yaml.safe_load(runs[1].out)
    assert (shown["version"], shown["services"]) == (1, ["web"])
    assert runs[-1] == Ran(1, "", "warren: secret db is used by service web\n")
    assert not [run for run in runs if MARKER in run.out + run.err]


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (("secret", "create", "db", "--from-literal", ""), "db.value: must not be empty"),
        (("secret", "create", "db", "--from-file", "/nowhere/x"), "/nowhere/x: cannot read"),
        (("secret", "rotate", "db", "--from-literal", "x"), "there is no secret db"),
        (("secret", "rm", "db"), "there is no secret db"),
        (("config", "cat", "nginx"), "there is no config nginx"),
        (("secret", "create", "D", "--from-literal", "x"), "secret.name: 'D' is not a DNS label"),
        (
            ("service", "create", "web", "web:1", "--secret", "db"),
            "web.secrets[0].name: there is no secret db",
        ),
        (
            ("service", "create", "web", "web:1", "--secret", "db,mode=256"),
            "web.secrets[0].mode: '256' is not a file mode in quotes",
        ),
    ],
)
def test_bad_input_is_one_clear_line(
    warren: Run, manager: FakeManager, words: tuple[str, ...], refusal: str
) -> None:
    ran = warren(*words)

    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith(f"warren: {refusal}")
    assert ran.err.count("\n") == 1
    assert manager.state.secrets == {}


def test_a_secret_is_created_once(warren: Run, manager: FakeManager) -> None:
    warren("secret", "create", "db", "--from-literal", "one")

    again = warren("secret", "create", "db", "--from-literal", "two")

    refusal = "warren: secret db exists: warren secret rotate gives it another value\n"
    assert again == Ran(1, "", refusal)


def test_a_config_can_be_read(warren: Run, manager: FakeManager) -> None:
    warren("config", "create", "nginx", "--from-literal", "one\n")
    updated = warren("config", "update", "nginx", "--from-literal", "two\n")
    created = warren(
        "service", "create", "web", "web:1", "--config", "nginx,target=/etc/n,template=true"
    )

    assert updated == Ran(0, "nginx: changed, version 2\n", "")
    assert warren("config", "cat", "nginx") == Ran(0, "two\n", "")
    assert warren("config", "cat", "nginx", "--version", "1") == Ran(0, "one\n", "")
    assert yaml.safe_load(warren("config", "inspect", "nginx").out)["data"] == "two\n"
    refusal = "warren: config nginx has no version 9, it has 1, 2\n"
    assert warren("config", "cat", "nginx", "--version", "9") == Ran(1, "", refusal)
    assert created.code == 0, created.err
    assert manager.state.services["web"].spec.configs == (
        ConfigReference(name="nginx", target="/etc/n", template=True, pinned=2),
    )


def test_the_keys_of_secrets_are_replaced(warren: Run, manager: FakeManager) -> None:
    assert warren("secret", "rotate-key") == Ran(
        0, "no secret is sealed with a key of that age\n", ""
    )
    warren("secret", "create", "db", "--from-literal", "one")
    before = manager.state.secret_keys

    assert warren("secret", "rotate-key") == Ran(0, "1 versions are sealed anew\n", "")

    assert before is not None
    assert manager.state.secret_keys is not None
    assert [each.id for each in manager.state.secret_keys.keys] != [each.id for each in before.keys]


def test_names_of_secrets_are_completed(warren: Run, manager: FakeManager) -> None:
    warren("secret", "create", "db", "--from-literal", "one")

    assert warren("__complete", "secret", "rm", "").out == "db\n"
