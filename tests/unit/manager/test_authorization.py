"""Who a caller is, and what callers may do."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from warren.bootstrap import certificates
from warren.manager import authorization
from warren.manager.authorization import ANYONE, MANAGER, OPERATOR, ROOT, WORKER, Caller
from warren.model.errors import PermissionDenied, Unauthenticated, Unavailable
from warren.testing.builders import NOON, a_node, a_state

from tests.unit.manager.manager_kit import AUTHORITY

CSR = certificates.signing_request(certificates.new_key(), "anything")
ANNA = Caller(name="anna, the admin", roles=frozenset({OPERATOR}))


class Call:
    """As much of a gRPC context as tells who calls."""

    def __init__(self, peer: str, pem: str = "", **metadata: str) -> None:
        self._peer, self._pem = peer, pem
        self._metadata = tuple((key.replace("_", "-"), value) for key, value in metadata.items())

    def peer(self) -> str:
        return self._peer

    def auth_context(self) -> dict[str, Iterator[bytes]]:
        return {"x509_pem_cert": iter([self._pem.encode()])} if self._pem else {}

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata


def a_certificate(*roles: str) -> str:
    return certificates.sign_node(AUTHORITY, CSR, node_id="n1", name="m1", roles=roles, now=NOON)


def caller_of(call: Call) -> Caller:
    return authorization.caller_of(call)  # type: ignore[arg-type]


def test_who_opened_the_socket_is_root() -> None:
    assert caller_of(Call("unix:/run/warren/warren.sock")) == ROOT


def test_a_certificate_says_who_calls() -> None:
    call = Call("ipv4:192.0.2.1:5", a_certificate(WORKER))

    assert caller_of(call) == Caller(name="n1", roles=frozenset({WORKER}))


def test_without_a_certificate_a_caller_is_nobody() -> None:
    assert caller_of(Call("ipv4:192.0.2.1:5")) == Caller()


def test_a_manager_vouches_for_whom_it_forwards() -> None:
    claim = authorization.claim_for(ANNA)
    call = Call("ipv4:192.0.2.1:5", a_certificate(MANAGER), warren_forwarded_for=claim)

    assert caller_of(call) == Caller(name=ANNA.name, roles=ANNA.roles, forwarded=True, via="n1")


def test_nobody_stays_nobody_when_forwarded() -> None:
    claim = authorization.claim_for(Caller())
    call = Call("ipv4:192.0.2.1:5", a_certificate(MANAGER), warren_forwarded_for=claim)

    assert caller_of(call) == Caller(forwarded=True, via="n1")


def test_a_call_has_a_name_that_is_no_other_callers() -> None:
    named = Call("unix:", warren_call="3f9c", warren_attempt="2")
    caller = caller_of(named)

    assert caller == replace(ROOT, call="3f9c", attempt=2)
    assert (caller.key(), caller.key(2)) == ("root/3f9c", "root/3f9c/2")
    assert ROOT.key() == ""


@pytest.mark.parametrize("name", ["", "with space", "x" * 65, "a/b"])
def test_a_name_that_could_be_anothers_is_none(name: str) -> None:
    assert caller_of(Call("unix:", warren_call=name, warren_attempt="2")) == ROOT


def test_a_certificate_outlives_a_role_but_opens_nothing() -> None:
    demoted = Caller(name="w1", roles=frozenset({MANAGER, WORKER}))
    state = a_state(nodes=[a_node("w1")])

    assert authorization.as_of(demoted, state) == replace(demoted, roles=frozenset({WORKER}))
    assert authorization.as_of(ANNA, state) == ANNA


@pytest.mark.parametrize(
    ("caller", "sentence"),
    [
        (
            Caller(name="gone", roles=frozenset({MANAGER})),
            "gone is not a node of this cluster: it was removed",
        ),
        (
            replace(ANNA, forwarded=True, via="gone"),
            "this manager is a manager no longer: ask another",
        ),
        (
            replace(ANNA, forwarded=True, via="w1"),
            "this manager is a manager no longer: ask another",
        ),
    ],
)
def test_who_has_left_speaks_for_nobody(caller: Caller, sentence: str) -> None:
    with pytest.raises((PermissionDenied, Unavailable)) as refused:
        authorization.as_of(caller, a_state(nodes=[a_node("w1")]))

    assert str(refused.value) == sentence


def test_a_worker_vouches_for_nobody() -> None:
    claim = authorization.claim_for(ANNA)
    call = Call("ipv4:192.0.2.1:5", a_certificate(WORKER), warren_forwarded_for=claim)

    assert caller_of(call) == Caller(name="n1", roles=frozenset({WORKER}))


@pytest.mark.parametrize(
    ("caller", "roles"),
    [(ROOT, {OPERATOR, MANAGER}), (Caller(), ANYONE), (ANNA, {OPERATOR})],
)
def test_a_role_that_is_asked_for_opens_the_door(caller: Caller, roles: set[str]) -> None:
    authorization.require(caller, roles, "Exec")


def test_another_role_does_not() -> None:
    worker = Caller(name="n1", roles=frozenset({WORKER}))

    with pytest.raises(PermissionDenied) as refused:
        authorization.require(worker, {OPERATOR, MANAGER}, "Exec")

    assert str(refused.value) == "Exec is for manager or operator; n1 is worker"


def test_nobody_needs_a_certificate_first() -> None:
    with pytest.raises(Unauthenticated) as refused:
        authorization.require(Caller(), {OPERATOR}, "Exec")

    assert str(refused.value) == "Exec needs a client certificate of this cluster"
