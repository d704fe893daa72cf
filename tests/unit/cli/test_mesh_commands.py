"""`warren mesh status` and `warren node rotate-key`, as their users see them."""

import json
from collections.abc import Callable

import pytest
from warren.cli.main import main

from tests.modules.fake_manager import FakeManager

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def warren(
    endpoint: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    monkeypatch.setenv("WARREN_ENDPOINTS", endpoint)

    def run(*words: str) -> tuple[int, str, str]:
        code = main(words)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run


def test_status_is_a_table_of_all_ways(warren: Run) -> None:
    code, out, err = warren("mesh", "status")

    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "FROM  ADDRESS    ENDPOINT         MTU   TO m1  TO m2  TO m3",
        "m1    10.86.0.1  192.0.2.1:51820  1420  ·      0.5ms  0.5ms",
        "m2    10.86.0.2  192.0.2.2:51820  1420  0.5ms  ·      0.5ms",
        "m3    10.86.0.3  192.0.2.3:51820  1420  0.5ms  0.5ms  ·",
    ]


def test_status_fails_when_something_is_wrong_and_names_it(
    warren: Run, manager: FakeManager
) -> None:
    manager.cut_links = {("m2", "m1")}

    code, out, err = warren("mesh", "status", "-o", "json")

    assert code == 1
    assert err == "nothing comes from m2 to m1 through the mesh (endpoint 192.0.2.1:51820)\n"
    assert json.loads(out)["links"][2]["reachable"] is False


def test_keys_are_replaced_and_waited_for(warren: Run, manager: FakeManager) -> None:
    code, out, _ = warren("node", "rotate-key", "--all")

    assert (code, out) == (0, "m1: has a new key\nm2: has a new key\nm3: has a new key\n")
    assert manager.state.nodes["m1"].mesh.public_key == "key of m1 anew"


def test_keys_are_not_waited_for_if_told_so(warren: Run, manager: FakeManager) -> None:
    manager.keeps_rotating = True

    code, out, _ = warren("node", "rotate-key", "m2", "--wait-timeout", "0s")

    assert (code, out) == (0, "m2: rotating\n")


def test_whose_key_must_be_said(warren: Run) -> None:
    code, _, err = warren("node", "rotate-key")

    assert (code, err) == (1, "warren: node: name nodes, or say --all\n")
