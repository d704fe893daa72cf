"""Managers as real processes: they grow from one to three, and outlive each other.

Slow (seconds each), bounded by deadlines, on loopback addresses only.
"""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from warren.model.errors import FailedPrecondition, Unavailable, WarrenError
from warren.model.nodes import NodeRole, NodeSpec
from warren.model.services import ServiceSpec

from tests.contract.manager_processes import Host, form, hosts, members, wait_until

EVERYONE = ["m1", "m2", "m3"]


@pytest.fixture
def three(tmp_path: Path) -> Iterator[list[Host]]:
    """A cluster of three managers, grown one after the other from one."""
    with hosts(tmp_path, 3) as made:
        first = form(made)
        wait_until(lambda: members(first.cluster()) == EVERYONE, "three members")
        yield made


def apply(host: Host, name: str) -> None:
    with host.client(timeout=20.0) as client:
        client.apply_service(ServiceSpec(name=name, image="example/web:1"), ["image"])


def services(host: Host) -> list[str]:
    with host.client(timeout=20.0) as client:
        return [view.service.spec.name for view in client.list_services()]


def leader_of(made: list[Host]) -> Host:
    def found() -> Host | None:
        names = [view.leader for host in made if host.process and (view := host.cluster())]
        return next((h for h in made if h.name in names and h.process), None)

    return wait_until(found, "a living leader is known")


def test_every_manager_answers_for_the_cluster(three: list[Host]) -> None:
    apply(three[0], "first")
    apply(three[1], "second")
    apply(three[2], "third")

    answers = [services(host) for host in three]

    assert answers == [["first", "second", "third"]] * 3


def test_another_manager_leads_when_the_leader_is_killed(three: list[Host]) -> None:
    apply(three[0], "before")
    leader = leader_of(three)
    leader.kill()
    living = [host for host in three if host is not leader]

    apply(living[0], "after")

    assert [services(host) for host in living] == [["after", "before"]] * 2
    leader.start()
    wait_until(lambda: members(leader.cluster()) == EVERYONE, "it is back")
    assert services(leader) == ["after", "before"]


def test_a_leader_that_restarts_hands_over_and_fails_no_call(three: list[Host]) -> None:
    apply(three[0], "before")
    leader = leader_of(three)
    living = [host for host in three if host is not leader]
    with living[0].client(timeout=10.0) as client:
        spec = ServiceSpec(name="before", image="example/web:1", replicas=0)
        stop = threading.Thread(target=leader.terminate)
        stop.start()
        for number in range(200):
            labels = {"n": str(number)}
            client.apply_service(replace(spec, labels=labels), ["replicas", "labels"])
        stop.join()
        last = client.get_service("before").service.spec.labels

    assert last == {"n": "199"}
    assert "lead handed over to" in leader.log


def test_a_manager_without_a_majority_answers_stale_reads_only(three: list[Host]) -> None:
    apply(three[0], "kept")
    wait_until(lambda: stale_services(three[2]) == ["kept"], "m3 has it")
    for host in three[:2]:
        host.kill()

    assert stale_services(three[2]) == ["kept"]
    with three[2].client(timeout=1.5) as client, pytest.raises(Unavailable, match="majority"):
        client.list_services()


def test_a_demoted_leader_hands_over_and_stops(three: list[Host]) -> None:
    leader = leader_of(three)
    asked = next(host for host in three if host is not leader)
    with asked.client() as client:
        applied = client.apply_node(
            leader.name, NodeSpec(name="", roles=(NodeRole.WORKER,)), ["roles"]
        )
        view = client.get_cluster()

    assert applied.changed
    assert leader.name not in [manager.node.spec.name for manager in view.managers]
    assert view.leader not in ("", leader.name)
    wait_until(lambda: "a manager no longer: stopping" in leader.log, "its daemon has noticed")


def test_a_manager_that_would_be_missed_is_not_removed(three: list[Host]) -> None:
    leader = leader_of(three)
    dead, stays = (host for host in three if host is not leader)
    dead.kill()
    sentence = f"removing {stays.name} would leave 1 of 2 managers reachable, and 2 are needed"

    with leader.client() as client:
        wait_until(lambda: dead.name not in members(leader.cluster()), "it is missed")
        with pytest.raises(FailedPrecondition, match=f"^{sentence}$"):
            client.delete_node(stays.name, force=True)
        removed = client.delete_node(dead.name, force=True)
    dead.start()

    assert removed
    wait_until(lambda: "was removed" in dead.log, "it is told why it cannot come back")
    assert members(leader.cluster()) == sorted([leader.name, stays.name])


def stale_services(host: Host) -> list[str]:
    with host.client() as client:
        return [view.service.spec.name for view in client.list_services(stale=True)]


def test_the_state_survives_a_kill_of_all_managers(three: list[Host]) -> None:
    apply(three[1], "kept")
    for host in three:
        host.kill()
    for host in three:
        host.start()

    wait_until(lambda: all(members(host.cluster()) == EVERYONE for host in three), "all back")

    assert [services(host) for host in three] == [["kept"]] * 3


def test_a_manager_that_stops_in_order_hands_the_lead_over(three: list[Host]) -> None:
    leader = leader_of(three)

    status = leader.terminate()

    assert status == 0
    living = [host for host in three if host is not leader]
    assert leader_of(living) is not leader
    assert leader.log.splitlines()[-1].endswith("manager stopped")


def test_without_a_majority_the_refusal_says_so(three: list[Host]) -> None:
    three[0].kill()
    three[1].kill()

    def refusal() -> str:
        with three[2].client(timeout=1.0) as client:
            try:
                client.list_services()
            except WarrenError as error:
                return f"{type(error).__name__}: {error}"
        return ""

    expected = "Unavailable: no leader: a majority of the managers is needed"
    wait_until(lambda: refusal() == expected, "the refusal")
