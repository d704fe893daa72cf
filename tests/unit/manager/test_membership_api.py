"""Who may join, as what, and what a host gets that joins; tokens and certificates with it."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from warren.api import convert, warren_pb2
from warren.bootstrap import certificates, tokens
from warren.manager.authorization import ROOT, Caller
from warren.manager.certificates_api import CertificatesApi
from warren.manager.membership_api import MembershipApi
from warren.manager.tokens_api import TokensApi
from warren.model.errors import (
    Conflict,
    InvalidInput,
    PermissionDenied,
    Unavailable,
    WarrenError,
)
from warren.model.nodes import NodeMesh, NodeRole, NodeSpec
from warren.model.services import Secret
from warren.state.commands import AddNode, Command
from warren.testing.builders import NOON, a_node

from tests.unit.manager.manager_kit import AUTHORITY, BOTH, M1, Kit, a_cluster_state, a_kit

ANONYMOUS = Caller()
KEY = certificates.new_key()
CSR = certificates.signing_request(KEY, "w1")
DIGEST = certificates.digest(AUTHORITY.certificate)


@pytest.fixture
async def kit() -> AsyncIterator[Kit]:
    async with a_kit() as made:
        yield made


async def a_token(kit: Kit, role: NodeRole = NodeRole.WORKER) -> str:
    request = warren_pb2.CreateJoinTokenRequest(
        role=warren_pb2.NodeRole.Value(f"NODE_ROLE_{role.name}")
    )
    return (await TokensApi(kit.context).create_join_token(request, ROOT)).token


def a_request(token: str, name: str = "w1", **values: object) -> warren_pb2.JoinRequest:
    defaults: dict[str, object] = {
        "token": token,
        "csr": CSR,
        "spec": convert.to_message(NodeSpec(name=name)),
        "public_key": f"key of {name}",
        "endpoint": "192.0.2.9",
    }
    return warren_pb2.JoinRequest(**{**defaults, **values})  # type: ignore[arg-type]


def as_manager(name: str) -> warren_pb2.NodeSpec:
    spec: warren_pb2.NodeSpec = convert.to_message(NodeSpec(name=name, roles=BOTH))
    return spec


async def join(kit: Kit, request: warren_pb2.JoinRequest) -> warren_pb2.JoinResponse:
    return await MembershipApi(kit.context).join(request, ANONYMOUS)


async def refusal(kit: Kit, request: warren_pb2.JoinRequest) -> str:
    """The class and the sentence of the error; nothing may be left behind."""
    nodes = kit.state.nodes
    with pytest.raises(WarrenError) as refused:
        await join(kit, request)
    assert kit.state.nodes == nodes
    return f"{type(refused.value).__name__}: {refused.value}"


async def test_a_worker_joins(kit: Kit) -> None:
    answer = await join(kit, a_request(await a_token(kit)))

    node = kit.state.nodes[answer.node.id]
    subject = certificates.subject_of(answer.certificate)
    assert node.spec == NodeSpec(name="w1")
    assert node.mesh == NodeMesh(
        public_key="key of w1",
        endpoint="192.0.2.9:51820",
        address="10.86.0.2",
        subnet="10.88.0.0/24",
    )
    assert node.description.address == "192.0.2.9"
    assert (subject.name, subject.roles) == (node.id, ("worker",))
    assert answer.ca_certificate == AUTHORITY.certificate
    assert [manager.api for manager in answer.managers] == ["192.0.2.1:7443"]


async def test_a_manager_gets_a_certificate_for_both_roles(kit: Kit) -> None:
    token = await a_token(kit, NodeRole.MANAGER)

    answer = await join(kit, a_request(token, "m2", spec=as_manager("m2")))

    assert certificates.subject_of(answer.certificate).roles == ("manager", "worker")
    assert [manager.name for manager in answer.managers] == ["m1"]


async def test_a_managers_token_admits_workers_too(kit: Kit) -> None:
    answer = await join(kit, a_request(await a_token(kit, NodeRole.MANAGER)))

    assert answer.node.spec.name == "w1"


async def test_joining_twice_gives_the_same_node(kit: Kit) -> None:
    token = await a_token(kit)
    first = await join(kit, a_request(token))

    second = await join(kit, a_request(token))

    assert second.node.id == first.node.id
    assert len(kit.state.nodes) == 2


async def test_hosts_that_join_at_once_get_different_places(kit: Kit) -> None:
    """One reads before the other writes: it reads again."""
    token = await a_token(kit)
    propose, others = kit.context.store.commit, [a_node("w2", number=2)]

    async def commit(command: Command) -> object:
        if others:
            await propose(AddNode(node=others.pop()))
        return await propose(command)

    kit.context.store.commit = commit  # type: ignore[method-assign, assignment]
    await join(kit, a_request(token))

    addresses = {node.spec.name: node.mesh.address for node in kit.state.nodes.values()}
    assert addresses == {"m1": "10.86.0.1", "w2": "10.86.0.2", "w1": "10.86.0.3"}


async def test_it_gives_up_when_others_are_always_first(kit: Kit) -> None:
    token = await a_token(kit)

    async def commit(command: Command) -> object:
        raise Conflict("taken")

    kit.context.store.commit = commit  # type: ignore[method-assign, assignment]

    assert await refusal(kit, a_request(token)) == "Conflict: taken"


async def test_refuses_a_mistyped_token(kit: Kit) -> None:
    token = await a_token(kit)
    mistyped = token[:-1] + ("0" if token[-1] != "0" else "1")

    assert await refusal(kit, a_request(mistyped)) == (
        "InvalidInput: join token: is mistyped: check digits do not match"
    )


async def test_refuses_an_expired_token(kit: Kit) -> None:
    token = await a_token(kit)
    kit.clock.advance(timedelta(hours=24))

    assert await refusal(kit, a_request(token)) == (
        f"Unauthenticated: join token {tokens.parse(token).id} expired at "
        "2026-06-02 12:00 UTC: make a new one"
    )


async def test_refuses_a_revoked_token(kit: Kit) -> None:
    token = await a_token(kit)
    await TokensApi(kit.context).delete_join_token(
        warren_pb2.DeleteJoinTokenRequest(id=tokens.parse(token).id), ROOT
    )

    assert await refusal(kit, a_request(token)) == (
        "Unauthenticated: cluster warren does not know this join token: revoked, or long expired"
    )


async def test_refuses_a_token_of_another_cluster(kit: Kit) -> None:
    token = tokens.new(NodeRole.WORKER, b"d" * 32, key=Secret("k"), call="c1").text()

    assert await refusal(kit, a_request(token)) == (
        "Unauthenticated: this join token is of another cluster than warren"
    )


async def test_refuses_a_manager_with_a_workers_token(kit: Kit) -> None:
    token = await a_token(kit)

    assert await refusal(kit, a_request(token, "m2", spec=as_manager("m2"))) == (
        f"Unauthenticated: join token {tokens.parse(token).id} admits workers, "
        "and m2 is to be a manager"
    )


async def test_refuses_a_token_made_to_look_like_a_managers(kit: Kit) -> None:
    worker = tokens.parse(await a_token(kit))
    forged = tokens.Token(role=NodeRole.MANAGER, ca_digest=worker.ca_digest, secret=worker.secret)

    assert await refusal(kit, a_request(forged.text(), "m2", spec=as_manager("m2"))) == (
        f"Unauthenticated: join token {worker.id} was altered: it is of another role"
    )


async def test_refuses_a_name_that_another_host_has(kit: Kit) -> None:
    token = await a_token(kit)
    await join(kit, a_request(token))

    assert await refusal(kit, a_request(token, public_key="another")) == (
        "AlreadyExists: a node named w1 is in the cluster, with another mesh key: "
        "remove it first (warren node rm w1), or give this host another name"
    )


async def test_refuses_to_make_a_worker_a_manager_by_joining_again(kit: Kit) -> None:
    token = await a_token(kit, NodeRole.MANAGER)
    await join(kit, a_request(token))

    assert await refusal(kit, a_request(token, spec=as_manager("w1"))) == (
        "AlreadyExists: w1 is in the cluster already, as worker"
    )


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"csr": "nonsense"}, "csr: is not a certificate signing request in PEM"),
        ({"public_key": ""}, "public_key: must not be empty"),
        ({"endpoint": "w1"}, "endpoint: 'w1' is not an IPv4 address"),
        (
            {"spec": convert.to_message(NodeSpec(name="w1", roles=()))},
            "roles: must name manager, worker, or both",
        ),
    ],
)
async def test_refuses_what_cannot_be_a_node(
    kit: Kit, values: dict[str, Any], sentence: str
) -> None:
    request = a_request(await a_token(kit), **values)

    assert await refusal(kit, request) == f"InvalidInput: {sentence}"


async def test_lists_tokens_without_their_text(kit: Kit) -> None:
    token = tokens.parse(await a_token(kit))

    answer = await TokensApi(kit.context).list_join_tokens(warren_pb2.ListJoinTokensRequest(), ROOT)

    assert [(each.id, each.token) for each in answer.tokens] == [(token.id, "")]
    assert token.secret_hash == kit.state.tokens[token.id].secret_hash


@pytest.mark.parametrize("seconds", [-5, 366 * 86400])
async def test_a_token_lasts_a_sensible_time(kit: Kit, seconds: int) -> None:
    request = warren_pb2.CreateJoinTokenRequest(role=warren_pb2.NODE_ROLE_WORKER)
    request.expires_in.FromTimedelta(timedelta(seconds=seconds))

    with pytest.raises(InvalidInput, match="expires_in: must be more than nothing"):
        await TokensApi(kit.context).create_join_token(request, ROOT)


async def test_a_token_is_for_some_role(kit: Kit) -> None:
    with pytest.raises(InvalidInput, match="role: must be manager or worker"):
        await TokensApi(kit.context).create_join_token(warren_pb2.CreateJoinTokenRequest(), ROOT)


async def test_a_node_renews_its_own_certificate(kit: Kit) -> None:
    caller = Caller(name="m1", roles=frozenset({"worker"}))

    answer = await CertificatesApi(kit.context).renew_certificate(
        warren_pb2.RenewCertificateRequest(csr=CSR), caller
    )

    subject = certificates.subject_of(answer.certificate)
    assert (subject.name, subject.roles) == ("m1", ("manager", "worker"))
    assert certificates.renew_at(answer.certificate) > NOON + timedelta(days=59)


async def test_a_removed_node_renews_nothing(kit: Kit) -> None:
    caller = Caller(name="gone", roles=frozenset({"worker"}))

    with pytest.raises(PermissionDenied, match="gone is not a node of cluster warren"):
        await CertificatesApi(kit.context).renew_certificate(
            warren_pb2.RenewCertificateRequest(csr=CSR), caller
        )


async def test_an_operator_gets_a_certificate_and_where_to_call(kit: Kit) -> None:
    answer = await CertificatesApi(kit.context).issue_operator_certificate(
        warren_pb2.IssueOperatorCertificateRequest(csr=CSR, name="anna"), ROOT
    )

    assert certificates.subject_of(answer.certificate).roles == ("operator",)
    assert (list(answer.endpoints), answer.cluster) == (["192.0.2.1:7443"], "warren")


@pytest.mark.parametrize("name", ["", "x" * 64, "anna,manager", "-"])
async def test_an_operators_name_is_plain(kit: Kit, name: str) -> None:
    with pytest.raises(InvalidInput, match="name: must be 1 to 63 letters"):
        await CertificatesApi(kit.context).issue_operator_certificate(
            warren_pb2.IssueOperatorCertificateRequest(csr=CSR, name=name), ROOT
        )


async def test_a_manager_that_does_not_listen_is_not_counted_on() -> None:
    lost = a_node("m2", roles=BOTH)
    lost = replace(lost, mesh=replace(lost.mesh, address="127.0.0.2"))
    async with a_kit(a_cluster_state(nodes=[M1, lost], raft_port=1)) as kit:
        caller = Caller(name="m2", roles=frozenset({"manager"}))

        with pytest.raises(Unavailable) as refused:
            await MembershipApi(kit.context).add_member(
                warren_pb2.AddMemberRequest(node_id="m2"), caller
            )

        assert str(refused.value) == "m2 does not answer at 127.0.0.2:1 in the mesh yet"
        assert kit.log.status().members == ("10.86.0.1:7445",)


@pytest.mark.parametrize(("node_id", "caller"), [("m1", "m2"), ("gone", "gone")])
async def test_a_manager_speaks_for_itself_alone(kit: Kit, node_id: str, caller: str) -> None:
    with pytest.raises(PermissionDenied, match="is not a node of cluster warren"):
        await MembershipApi(kit.context).add_member(
            warren_pb2.AddMemberRequest(node_id=node_id),
            Caller(name=caller, roles=frozenset({"manager"})),
        )


async def test_a_member_is_not_added_again(kit: Kit) -> None:
    answer = await MembershipApi(kit.context).add_member(
        warren_pb2.AddMemberRequest(node_id="m1"),
        Caller(name="m1", roles=frozenset({"manager"})),
    )

    assert [manager.name for manager in answer.managers] == ["m1"]
