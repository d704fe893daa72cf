"""warren_volume, warren_volume_info, and `mounts` of warren_service."""

from warren.client import connect
from warren.model.volumes import VolumeSpec

from tests.modules.conftest import ROOT, Play, task
from tests.modules.fake_manager import FakeManager

DATA = {"name": "data", "uid": 999, "mode": "0700", "labels": {"team": "a"}}


def test_a_volume_is_kept(play: Play, manager: FakeManager) -> None:
    played = play(
        task("warren_volume", DATA, check=True, diff=True),
        task("warren_volume", DATA),
        task("warren_volume", DATA, check=True),
        task("warren_volume", DATA),
        task("warren_volume", {"name": "data", "shared": True}, diff=True),
        task("warren_volume_info", {"name": "data"}),
    )

    results = played.results
    changes = [each["changed"] for each in results]
    assert changes == [True, True, False, False, True, False], played.output
    assert results[0]["diff"]["after"] == "name: data\nuid: 999\nmode: 0700\nlabels.team: a\n"
    assert results[0]["volume"] == {}
    assert results[4]["diff"]["before"] == "shared: false\n"
    assert results[4]["diff"]["after"] == "shared: true\n"
    (shown,) = results[5]["volumes"]
    assert (shown["uid"], shown["shared"], shown["node"], shown["services"]) == (999, True, "", [])
    assert manager.state.volumes["data"].spec == VolumeSpec(
        name="data", uid=999, mode="0700", labels={"team": "a"}, shared=True
    )


def test_a_volume_in_use_stays_and_one_that_is_not_goes(play: Play, manager: FakeManager) -> None:
    pg = {
        "name": "pg",
        "image": "pg:1",
        "mounts": [{"source": "data", "target": "/data"}, {"type": "tmpfs", "target": "/tmp"}],
    }
    played = play(
        task("warren_volume", DATA),
        task("warren_service", pg),
        task("warren_service", pg),
        task("warren_volume", {"name": "data", "state": "absent"}),
        task("warren_service", {"name": "pg", "state": "absent"}),
        task("warren_volume", {"name": "data", "state": "absent"}, check=True),
        task("warren_volume", {"name": "data", "state": "absent"}, diff=True),
        task("warren_volume", {"name": "data", "state": "absent"}),
    )

    results = played.results
    assert results[3]["msg"] == "volume data is used by service pg"
    changes = [each["changed"] for each in results[:3] + results[4:]]
    assert changes == [True, True, False, True, True, True, False], played.output
    assert results[6]["diff"]["before"] == "name: data\n"
    assert manager.state.volumes == {}


def test_a_volume_is_released(play: Play, manager: FakeManager) -> None:
    released = {"name": "data", "state": "released"}
    played = play(
        task("warren_volume", {"name": "data", "node": "m1"}),
        task("warren_volume", released, check=True, diff=True),
        task("warren_volume", released),
        task("warren_volume", released),
    )

    assert [each["changed"] for each in played.results] == [True, True, True, False], played.output
    assert played.results[1]["diff"]["before"] == "node: m1\n"
    assert played.results[1]["diff"]["after"] == "node: (none)\n"
    assert manager.state.volumes["data"].node_id == ""


def test_what_makes_no_sense_is_named(play: Play) -> None:
    played = play(
        task("warren_volume", {"name": "data", "driver": "nfs"}),
        task(
            "warren_service",
            {"name": "pg", "image": "pg:1", "mounts": [{"source": "none", "target": "/d"}]},
        ),
    )

    assert [each["msg"] for each in played.results] == [
        "data.options.server: is required by driver nfs",
        "pg.mounts[0].source: there is no volume none",
    ]


def test_the_example_of_a_database_has_its_volume(
    playbook: Play, manager: FakeManager, environment: dict[str, str]
) -> None:
    example = ("-e", f"@{ROOT / 'examples' / 'database.yml'}")

    without = playbook("deploy-service.yml", *example)
    with connect(endpoints=[environment["WARREN_ENDPOINTS"]]) as client:
        client.apply_volume(VolumeSpec(name="pg-data", uid=999, mode="0700"), ("uid", "mode"))
    deployed = playbook("deploy-service.yml", *example)

    assert "pg.mounts[0].source: there is no volume pg-data" in without.output
    assert deployed.code == 0, deployed.output
    volume, (running,) = manager.state.volumes["pg-data"], manager.state.tasks_of("pg")
    assert volume.node_id == running.node_id != ""
