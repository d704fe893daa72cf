"""warren_mesh_info, warren_mesh_keys and rotate-mesh-keys.yml."""

from tests.modules.conftest import Play, task
from tests.modules.fake_manager import FakeManager


def test_the_mesh_is_told_as_a_matrix_with_what_is_wrong(play: Play, manager: FakeManager) -> None:
    manager.cut_links = {("m1", "m3")}

    found = play(task("warren_mesh_info", {})).result

    assert (found["changed"], found["mtu"]) == (False, 1420)
    assert [node["name"] for node in found["nodes"]] == ["m1", "m2", "m3"]
    assert [(link["source"], link["target"], link["reachable"]) for link in found["links"]] == [
        ("m1", "m2", True),
        ("m1", "m3", False),
        ("m2", "m1", True),
        ("m2", "m3", True),
        ("m3", "m1", True),
        ("m3", "m2", True),
    ]
    assert found["links"][0] == {
        "source": "m1",
        "target": "m2",
        "reachable": True,
        "latency_ms": 0.5,
        "mtu": 1420,
        "handshake_age_s": 7.0,
        "endpoint": "192.0.2.2:51820",
        "received_bytes": 0,
        "sent_bytes": 0,
    }
    assert found["problems"] == [
        "nothing comes from m1 to m3 through the mesh (endpoint 192.0.2.3:51820)"
    ]


def test_keys_that_are_old_are_replaced_once(play: Play, manager: FakeManager) -> None:
    checked, first, second = play(
        task("warren_mesh_keys", {"max_age": "1h"}, check=True),
        task("warren_mesh_keys", {"max_age": "1h"}),
        task("warren_mesh_keys", {"max_age": "1h"}),
    ).results

    assert [each["nodes"] for each in (checked, first, second)] == [
        ["m1", "m2", "m3"],
        ["m1", "m2", "m3"],
        [],
    ]
    assert [each["changed"] for each in (checked, first, second)] == [True, True, False]
    assert manager.state.nodes["m2"].mesh.public_key == "key of m2 anew"


def test_a_rotation_that_does_not_end_says_what_it_waits_for(
    play: Play, manager: FakeManager
) -> None:
    manager.keeps_rotating = True

    failed = play(task("warren_mesh_keys", {"nodes": ["m2"], "wait_timeout": 0.5})).result

    assert failed["error"] == "WaitFailed"
    assert failed["msg"] == "mesh keys: not done after 500ms: m2 has not made a new key yet"


def test_the_playbook_replaces_the_keys_of_the_nodes_that_are_named(
    playbook: Play, manager: FakeManager
) -> None:
    played = playbook("rotate-mesh-keys.yml", "-e", '{"warren_mesh_key_nodes": ["m3"]}')

    assert played.code == 0, played.output
    assert "m3 was replaced" in played.output
    assert manager.state.nodes["m3"].mesh.public_key == "key of m3 anew"
    assert manager.state.nodes["m1"].mesh.public_key == "key of m1"
