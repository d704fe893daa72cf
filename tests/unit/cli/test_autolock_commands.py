"""`warren cluster autolock` and `warren cluster unlock`, against a manager in memory."""

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from warren.bootstrap import autolock
from warren.store import passphrases
from warren.store.passphrases import Cost

from tests.modules.fake_manager import FakeManager
from tests.unit.cli.command import Ran, Run

ONE, TWO = "correct horse 41", "battery staple 7"
WRONG = "warren: unlock key: is not the one that the managers are locked with\n"


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trying a passphrase costs next to nothing."""
    monkeypatch.setattr(passphrases, "USUAL", Cost(log_n=1, r=1, p=1))


def piped(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Standard input that is no terminal."""
    stdin = io.StringIO(text)
    monkeypatch.setattr("sys.stdin", SimpleNamespace(readline=stdin.readline, isatty=lambda: False))


def typed(monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[str]:
    """A terminal; answers what was asked."""
    left, asked = list(answers), []

    def ask(prompt: str) -> str:
        asked.append(prompt)
        return left.pop(0)

    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("warren.cli.autolock.getpass", ask)
    return asked


def test_autolock_is_turned_on_managers_are_unlocked_and_it_is_turned_off(
    warren: Run, manager: FakeManager, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key"
    file.write_text(f"{ONE}\n")
    warren("secret", "create", "db", "--from-literal", "x")

    turned_on = warren("cluster", "autolock", "on", "--key-file", str(file))
    again = warren("cluster", "autolock", "on", "--key-file", str(file))
    manager.restart_managers("m1", "m3")
    refused = warren("secret", "rotate", "db", "--from-literal", "y")
    piped(monkeypatch, f"{TWO}\n")
    wrong = warren("cluster", "unlock")
    piped(monkeypatch, f"{ONE}\n")
    unlocked = warren("cluster", "unlock", "--key-file", "-")
    nobody = warren("cluster", "unlock", "--key-file", str(file))
    turned_off = warren("cluster", "autolock", "off")
    off = warren("cluster", "unlock")

    assert turned_on == Ran(0, "autolock is on; secrets are being sealed anew\n", "")
    assert (again.code, again.err) == (1, f"warren: {autolock.IS_ON}\n")
    locked = "warren: the leader is locked: warren cluster unlock opens it\n"
    assert (refused.code, refused.err) == (1, locked)
    assert (wrong.code, wrong.err) == (1, WRONG)
    assert unlocked == Ran(0, "unlocked: m1, m3\n", "")
    assert nobody == Ran(0, "no manager is locked\n", "")
    assert turned_off == Ran(0, "autolock is off\n", "")
    assert off == Ran(0, "autolock is off: no manager is locked\n", "")


def test_the_passphrase_is_typed_twice_and_changed(
    warren: Run, manager: FakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed(monkeypatch, ONE, TWO)
    differ = warren("cluster", "autolock", "on")
    asked = typed(monkeypatch, ONE, ONE)
    turned_on = warren("cluster", "autolock", "on")
    typed(monkeypatch, TWO, TWO, TWO)
    wrong = warren("cluster", "autolock", "rotate")
    piped(monkeypatch, f"{ONE}\n{TWO}\n")
    changed = warren("cluster", "autolock", "rotate")
    manager.restart_managers("m2")
    piped(monkeypatch, f"{ONE}\n")
    old = warren("cluster", "unlock")
    piped(monkeypatch, f"{TWO}\n")
    new = warren("cluster", "unlock")

    assert (differ.code, differ.err) == (1, "warren: unlock key: the two are not the same\n")
    assert asked == ["unlock key: ", "again: "]
    assert turned_on.code == 0
    assert (wrong.code, wrong.err) == (1, WRONG)
    assert changed == Ran(0, "the passphrase is changed; secrets are being sealed anew\n", "")
    assert (old.code, old.err) == (1, WRONG)
    assert new == Ran(0, "unlocked: m2\n", "")


def test_the_cluster_shows_whether_it_is_on(
    warren: Run, manager: FakeManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = warren("cluster", "info")
    piped(monkeypatch, f"{ONE}\n")
    warren("cluster", "autolock", "on")

    after = warren("cluster", "info")

    assert "\nAutolock:             off\n" in f"\n{before.out}"
    assert "\nAutolock:             on" in f"\n{after.out}"


def test_a_short_or_missing_passphrase_is_refused(
    warren: Run, manager: FakeManager, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    piped(monkeypatch, "short\n")
    short = warren("cluster", "autolock", "on")
    piped(monkeypatch, "\n")
    empty = warren("cluster", "autolock", "on")
    missing = warren("cluster", "autolock", "on", "--key-file", str(tmp_path / "none"))

    least = passphrases.LENGTH_MIN
    assert [each.err for each in (short, empty, missing)] == [
        f"warren: unlock key: must have at least {least} characters\n",
        "warren: unlock key: must not be empty\n",
        f"warren: {tmp_path}/none: cannot be read: No such file or directory\n",
    ]
    assert manager.state.secret_keys is None
