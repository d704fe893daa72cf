"""warren_autolock and unlock.yml: secrets under a passphrase that no host has."""

from tests.modules.conftest import Play, task
from tests.modules.fake_manager import FakeManager
from tests.modules.test_playbooks import changed

ONE, TWO = "marker-passphrase-9c1e", "marker-passphrase-44d7"
WRONG = "unlock key: is not the one that the managers are locked with"


def test_autolock_is_turned_on_once_and_managers_are_unlocked(
    play: Play, manager: FakeManager
) -> None:
    on = {"state": "enabled", "passphrase": ONE}
    played = play(
        task("warren_autolock", on, check=True),
        task("warren_autolock", on),
        task("warren_autolock", on),
        task("warren_autolock", {"passphrase": ONE}),
        flags=("-vvv",),
    )
    manager.restart_managers("m2", "m3")
    again = play(
        task("warren_autolock", {"passphrase": TWO}),
        task("warren_autolock", {"passphrase": ONE}, check=True),
        task("warren_autolock", {"passphrase": ONE}),
        task("warren_autolock", {"passphrase": ONE}),
        flags=("-vvv",),
    )

    assert [each["changed"] for each in played.results] == [True, True, False, False]
    assert played.results[1]["autolock"]["enabled"]
    wrong, would, did, nothing = again.results
    assert wrong["msg"] == WRONG
    assert (would["changed"], would["unlocked"]) == (True, ["m2", "m3"])
    assert (did["changed"], did["unlocked"]) == (True, ["m2", "m3"])
    assert (nothing["changed"], nothing["unlocked"]) == (False, [])
    assert manager.locked() == []
    for output in (played.output, again.output, str(played.results), str(again.results)):
        assert ONE not in output
        assert TWO not in output


def test_the_passphrase_is_changed_and_autolock_turned_off(
    play: Play, manager: FakeManager
) -> None:
    change = {"state": "enabled", "passphrase": ONE, "new_passphrase": TWO}
    results = play(
        task("warren_secret", {"name": "db", "value": "x"}),
        task("warren_autolock", {"state": "enabled", "passphrase": ONE}),
        task("warren_autolock", {"state": "enabled", "passphrase": TWO}),
        task("warren_autolock", change),
        task("warren_autolock", change),
        task("warren_autolock", {"passphrase": ONE}),
        task("warren_secret", {"name": "db", "value": "x"}),
        task("warren_autolock", {"state": "disabled"}),
        task("warren_autolock", {"state": "disabled"}),
        task("warren_autolock", {"passphrase": TWO}),
    ).results

    assert results[2]["msg"] == "unlock key: is not the one that autolock is on with"
    assert [each["changed"] for each in results[3:5]] == [True, False]
    assert results[5]["msg"] == WRONG
    assert [each["changed"] for each in results[6:]] == [False, True, False, False]
    assert results[9]["autolock"] == {"enabled": False, "since": None, "managers": []}


def test_bad_passphrases_are_one_clear_line(play: Play, manager: FakeManager) -> None:
    results = play(
        task("warren_autolock", {"state": "enabled", "passphrase": "short"}),
        task("warren_autolock", {"state": "enabled"}),
    ).results

    assert [each["msg"] for each in results] == [
        "unlock key: must have at least 8 characters",
        "state is enabled but all of the following are missing: passphrase",
    ]
    assert manager.state.secret_keys is None


def test_a_locked_cluster_says_so_and_is_unlocked_by_a_playbook(
    play: Play, playbook: Play, manager: FakeManager
) -> None:
    secret = task("warren_secret", {"name": "db", "value": "x"})
    play(secret, task("warren_autolock", {"state": "enabled", "passphrase": ONE}))
    manager.restart_managers("m1", "m2", "m3")

    refused = play(secret).result
    key = ("-e", f"warren_cluster_unlock_key={ONE}")
    unlocked = playbook("unlock.yml", *key, "-vvv")
    again = playbook("unlock.yml", *key)

    assert refused["msg"] == "the leader is locked: warren cluster unlock opens it"
    assert (unlocked.code, changed(unlocked.output)) == (0, 1), unlocked.output
    assert changed(again.output) == 0
    assert manager.locked() == []
