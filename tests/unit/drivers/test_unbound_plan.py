"""What unbound is told, and what it answers after each command."""

import random
from collections.abc import Iterator

from warren.core import dns
from warren.drivers.unbound_plan import Change, change, in_batches, mistake
from warren.model.assignments import Endpoint, ServiceTraffic
from warren.model.services import Port

DOMAIN = "x"


def a(name: str, *addresses: str) -> tuple[str, ...]:
    return tuple(f"{name} 5 IN A {address}" for address in addresses)


def test_what_only_gains_records_is_added_to() -> None:
    before = (*a("web.x.", "10.0.0.1"), *a("tasks.web.x.", "10.1.0.1"))
    after = (*before, *a("tasks.web.x.", "10.1.0.2"), *a("2.tasks.web.x.", "10.1.0.2"))

    assert change(before, after) == Change(
        add=(*a("tasks.web.x.", "10.1.0.2"), *a("2.tasks.web.x.", "10.1.0.2"))
    )


def test_a_new_service_is_added_and_one_that_is_gone_is_taken() -> None:
    records = (*a("web.x.", "10.0.0.1"), *a("tasks.web.x.", "10.1.0.1"))

    assert change((), records) == Change(add=records)
    assert change(records, ()) == Change(take=("web.x.", "tasks.web.x."))
    assert change(records, records) == Change()


def test_a_name_that_loses_a_record_is_changed_behind_a_copy_of_it_and_of_those_above() -> None:
    web, api = a("web.x.", "10.0.0.1"), a("1.tasks.web.x.", "10.1.0.1")
    before = (*web, *a("tasks.web.x.", "10.1.0.1", "10.1.0.2"), *api)
    after = (*web, *a("tasks.web.x.", "10.1.0.1", "10.1.0.3"), *api)

    assert change(before, after) == Change(
        copy=(*web, *a("tasks.web.x.", "10.1.0.1", "10.1.0.2")),
        take=("tasks.web.x.",),
        add=a("tasks.web.x.", "10.1.0.1", "10.1.0.3"),
        uncover=("web.x.", "tasks.web.x."),
    )


def test_a_record_that_is_named_twice_is_told_once() -> None:
    assert change((), (*a("web.x.", "10.0.0.1"), *a("web.x.", "10.0.0.1"))) == Change(
        add=a("web.x.", "10.0.0.1")
    )


def test_batches_are_of_whole_services() -> None:
    changes = [Change(add=a(f"s{n}.x.", "10.0.0.1", "10.0.0.2")) for n in range(5)]

    assert [len(batch.add) for batch in in_batches(changes, 4)] == [4, 4, 2]
    assert [len(batch.add) for batch in in_batches(changes, 1)] == [2, 2, 2, 2, 2]
    assert list(in_batches([], 4)) == []


def test_what_unbound_would_refuse_is_named() -> None:
    assert mistake(a("web.x.", "10.0.0.1")) == ""
    assert mistake(a("web.x.", "here")) == "'here', for web.x., is not an address"
    assert mistake(a(f"_{'p' * 63}.x.", "10.0.0.1")) == f"_{'p' * 63}.x. is not a name"
    assert mistake(a("a.b" * 90, "10.0.0.1")) == f"{'a.b' * 90} has more than 253 characters"


class Server:
    """As unbound holds records and answers: a view before the rest."""

    def __init__(self, records: tuple[str, ...]) -> None:
        self.copies: set[str] = set()
        self.records = set(records)

    def answer(self, name: str) -> frozenset[str] | None:
        """None: no such name. A name in the view without records would be asked of others."""
        for held in (self.copies, self.records):
            known = {each.partition(" ")[0] for each in held}
            own = frozenset(each for each in held if each.startswith(f"{name} "))
            below = any(each.endswith(f".{name}") for each in known)
            assert own or not below or held is not self.copies, f"{name} is asked of others"
            if own or below:
                return own
        return None


def states(server: Server, told: Change) -> Iterator[str]:
    """Carries out one command before each step."""
    server.copies |= set(told.copy)
    yield "copied"
    server.records = {each for each in server.records if each.partition(" ")[0] not in told.take}
    yield "taken"
    server.records |= set(told.add)
    yield "added"
    server.copies = {each for each in server.copies if each.partition(" ")[0] not in told.uncover}
    yield "uncovered"


def a_service(chance: random.Random) -> ServiceTraffic:
    return ServiceTraffic(
        name="web",
        vip=chance.choice(("", "10.0.0.1", "10.0.0.2")),
        ports=tuple(
            Port(name=name, target=80) for name in ("http", "admin") if chance.random() < 0.5
        ),
        endpoints=tuple(
            Endpoint(address=f"10.1.0.{chance.randrange(4)}", task_id="", node_id="", slot=slot)
            for slot in range(chance.randrange(4))
        ),
    )


def test_between_all_commands_each_name_is_answered_as_before_or_as_after() -> None:
    for seed in range(500):
        chance = random.Random(seed)
        before, after = (dns.records(DOMAIN, a_service(chance)) for _ in range(2))
        old, new = Server(before), Server(after)
        names = {record.partition(" ")[0] for record in (*before, *after)}
        server = Server(before)
        for state in states(server, change(before, after)):
            for name in names:
                expected = {old.answer(name), new.answer(name)}
                assert server.answer(name) in expected, f"{name} when {state}, seed {seed}"
        assert server.records == set(after)
        assert server.copies == set()
