"""Managers as real processes: they grow from one to three, and outlive each other.

Slow (seconds each), bounded by deadlines, on loopback addresses only.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from warren.model.errors import WarrenError
from warren.model.services import ServiceSpec

from tests.contract.manager_processes import Host, hosts, manager_token, members, wait_until

EVERYONE = ["m1", "m2", "m3"]


@pytest.fixture
def three(tmp_path: Path) -> Iterator[list[Host]]:
    """A cluster of three managers, grown one after the other from one."""
    with hosts(tmp_path, 3) as made:
        first, *others = made
        first.create()
        first.start()
        wait_until(first.cluster, "m1 serves")
        token = manager_token(first)
        for host in others:
            host.join(token, first)
            host.start()
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
