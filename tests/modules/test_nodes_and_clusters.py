"""warren_node, warren_cluster, their _info modules and warren_context."""

import json
from pathlib import Path
from typing import Any

import pytest
from warren.bootstrap import certificates
from warren.model.nodes import NodeRole

from tests.modules.conftest import Play, task
from tests.modules.fake_manager import FakeManager


@pytest.fixture
def host(tmp_path: Path) -> str:
    """Configuration of a host whose state lives in the test's directory."""
    path = tmp_path / "warren.toml"
    path.write_text(
        f'state_dir = "{tmp_path}/lib"\nrun_dir = "{tmp_path}/run"\n'
        'advertise_address = "127.0.0.1"\n'
    )
    return str(path)


def test_labels_are_set_once(play: Play, manager: FakeManager) -> None:
    wanted = {"name": "m1", "labels": {"zone": "north"}}

    played = play(
        task("warren_node", wanted, check=True),
        task("warren_node", {**wanted, "wait": True}),
        task("warren_node", wanted),
    )

    assert [each["changed"] for each in played.results] == [True, True, False]
    assert "+labels.zone: north" in played.output
    assert played.result["node"]["labels"] == {"zone": "north"}
    assert manager.state.nodes["m1"].spec.labels == {"zone": "north"}


def test_a_node_that_is_not_there_is_named(play: Play) -> None:
    refused = play(task("warren_node", {"name": "m9", "availability": "drain"})).result

    assert refused["msg"] == "there is no node m9"


def test_a_node_is_removed_once(play: Play, manager: FakeManager) -> None:
    gone = {"name": "m3", "state": "absent", "force": True}

    refused, first, second, left = play(
        task("warren_node", {**gone, "force": False}),
        task("warren_node", gone),
        task("warren_node", gone),
        task("warren_node_info", {}),
    ).results

    assert refused["error"] == "FailedPrecondition"
    assert (first["changed"], second["changed"]) == (True, False)
    assert [(n["name"], n["state"], n["leader"]) for n in left["nodes"]] == [
        ("m1", "ready", True),
        ("m2", "ready", False),
    ]


def test_a_wrong_token_is_refused_before_anything_is_done(
    play: Play, host: str, tmp_path: Path
) -> None:
    options: dict[str, Any] = {
        "name": "w1",
        "state": "joined",
        "manager_endpoints": ["127.0.0.1"],
        "config": host,
    }

    short, other, missing = play(
        task("warren_node", {**options, "token": "warren-1-w-abc"}),
        task("warren_node", {**options, "token": "hello"}),
        task("warren_node", options),
    ).results

    assert short["msg"].startswith("join token: is mistyped or cut off")
    assert other["msg"].startswith("join token: is not a join token")
    assert missing["msg"] == "this host is no member, and token is missing to join one"
    assert not (tmp_path / "lib").exists()


def test_a_cluster_is_created_once_and_left_once(play: Play, host: str) -> None:
    create = {"name": "demo", "node_name": "m1", "config": host}
    leave = {"state": "left", "config": host}

    played = play(
        task("warren_cluster", create, check=True),
        task("warren_cluster_info", {"local": True}),
        task("warren_cluster", create),
        task("warren_node", {"name": "m1", "state": "joined", "config": host}),
        task("warren_node", leave),
        task("warren_node", leave),
    )

    checked, _, created, member, left, left_again = played.results
    assert (checked["changed"], checked["created"]) == (True, True)
    assert (created["changed"], created["created"]) == (True, True)
    assert "+name: demo" in played.output
    assert created["cluster"]["name"] == "demo"
    assert len(created["cluster"]["ca_digest"]) == 64
    assert member["changed"] is False
    assert member["membership"]["roles"] == ["manager", "worker"]
    assert (left["changed"], left_again["changed"]) == (True, False)


def test_settings_are_compared_with_the_live_cluster(play: Play) -> None:
    wanted = {"node_down_after": "10s"}

    played = play(
        task("warren_cluster", wanted, check=True),
        task("warren_cluster", wanted),
        task("warren_cluster", wanted),
        task("warren_cluster", {"node_down_after": "soon"}),
        task("warren_cluster_info", {}),
    )

    *changes, refused, read = played.results
    assert [each["changed"] for each in changes] == [True, True, False]
    assert "-node_down_after: 6s\n+node_down_after: 10s" in played.output
    assert changes[0]["cluster"]["node_down_after"] == "10s"
    assert refused["msg"].startswith("cluster.node_down_after: 'soon' is not a duration")
    assert read["cluster"]["node_down_after"] == "10s"
    assert [each["name"] for each in read["cluster"]["managers"]] == ["m1", "m2", "m3"]


def test_tokens_are_made_but_not_in_check_mode(play: Play, manager: FakeManager) -> None:
    wanted = {"join_tokens": [{"role": "manager", "expires_in": "1h"}]}

    checked, made = play(
        task("warren_cluster", wanted, check=True), task("warren_cluster", wanted)
    ).results

    assert (checked["changed"], checked["join_tokens"]) == (True, [])
    assert made["join_tokens"][0]["token"] == "warren-1-w-text"
    assert [token.role for token in manager.state.tokens.values()] == [NodeRole.MANAGER]


def test_a_context_is_requested_signed_and_kept(
    play: Play, manager: FakeManager, tmp_path: Path
) -> None:
    digest = certificates.digest(manager.authority.certificate).hex()
    request = {"name": "demo", "state": "requested", "ca_digest": digest}
    keep = {
        "name": "demo",
        "certificate": "{{ result_2.operator.certificate }}",
        "ca_certificate": "{{ result_2.operator.ca_certificate }}",
        "endpoints": "{{ result_2.operator.endpoints }}",
    }

    played = play(
        task("warren_context", request),
        task("warren_context", request),
        task("warren_cluster", {"operator_csr": "{{ result_1.csr }}"}),
        task("warren_context", keep, check=True),
        task("warren_context", keep),
        task("warren_context", keep),
        task("warren_context", request),
        task("warren_context", {**request, "ca_digest": "00"}),
    )

    file = tmp_path / "config" / "contexts" / "demo.yml"
    first, second, _, checked, kept, again, later, other = played.results
    assert (first["changed"], first["needed"]) == (True, True)
    assert (second["changed"], second["needed"]) == (False, True)
    assert [each["changed"] for each in (checked, kept, again)] == [True, True, False]
    assert (later["needed"], later["csr"], later["changed"]) == (False, "", False)
    assert other["needed"]
    assert file.stat().st_mode & 0o777 == 0o600
    assert "PRIVATE KEY" in file.read_text()
    assert "PRIVATE KEY" not in played.output + json.dumps(played.results)
    assert (tmp_path / "config" / "current-context").read_text() == "demo\n"


def test_a_certificate_for_another_key_is_refused(play: Play) -> None:
    csr = certificates.signing_request(certificates.new_key(), "op")
    keep = {
        "name": "demo",
        "certificate": "{{ result_0.operator.certificate }}",
        "ca_certificate": "{{ result_0.operator.ca_certificate }}",
        "endpoints": "{{ result_0.operator.endpoints }}",
    }

    _, refused = play(
        task("warren_cluster", {"operator_csr": csr}), task("warren_context", keep)
    ).results

    assert refused["msg"] == "certificate: is not for the key that is here"
