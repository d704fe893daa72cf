"""Joining and calling over real TLS: who gets in, and in which words others are kept out."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import pytest
from warren import files
from warren.api import status, warren_pb2, warren_pb2_grpc
from warren.bootstrap import certificates, join, node_files, tokens
from warren.bootstrap.certificates import Authority
from warren.bootstrap.node_files import Credentials
from warren.client import Client
from warren.client.connection import Connection
from warren.client.connection import Credentials as ClientCredentials
from warren.model.errors import (
    InvalidInput,
    PermissionDenied,
    Unauthenticated,
    Unavailable,
)
from warren.model.nodes import NodeRole, NodeSpec
from warren.model.services import ServiceSpec

from tests.contract.manager_processes import (
    SPEC,
    Host,
    hosts,
    manager_token,
    members,
    wait_until,
)

API = SPEC.api_port


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Host, Host]]:
    """A cluster of m1, which leads, and m2, which joined with a token."""
    with hosts(tmp_path_factory.mktemp("joining"), 2) as (first, second):
        first.create()
        first.start()
        wait_until(first.cluster, "m1 serves")
        second.join(manager_token(first), first)
        second.start()
        wait_until(lambda: members(second.cluster()) == ["m1", "m2"], "two members")
        yield first, second


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[Host]:
    """A host without a cluster. It has m3's address."""
    host = Host(tmp_path, 3)
    yield host
    host.kill()


def an_operator(host: Host) -> Credentials:
    """As `IssueOperatorCertificate` on the host's socket makes one."""
    key = certificates.new_key()
    with host.client() as client:
        issued = client.issue_operator_certificate(
            certificates.signing_request(key, "anna"), "anna"
        )
    return Credentials(
        ca_certificate=issued.ca_certificate, certificate=issued.certificate, key=key
    )


def a_client(host: Host, credentials: Credentials) -> Client:
    connection = Connection(
        endpoints=(f"{host.address}:{API}",),
        credentials=ClientCredentials(
            ca_cert=credentials.ca_certificate,
            client_cert=credentials.certificate,
            client_key=credentials.key,
        ),
        source="test",
    )
    return Client(connection, timeout=10.0)


def a_channel(host: Host, credentials: Credentials) -> grpc.Channel:
    return grpc.secure_channel(
        f"{host.address}:{API}",
        grpc.ssl_channel_credentials(
            credentials.ca_certificate.encode(),
            credentials.key.encode(),
            credentials.certificate.encode(),
        ),
        (("grpc.ssl_target_name_override", "manager.warren"),),
    )


def test_an_operator_is_served_by_any_manager(pair: tuple[Host, Host]) -> None:
    anna = an_operator(pair[1])

    names = []
    for host in pair:
        with a_client(host, anna) as client:
            names.append([view.node.spec.name for view in client.list_nodes()])

    assert names == [["m1", "m2"]] * 2


def test_a_follower_passes_on_who_asked(pair: tuple[Host, Host]) -> None:
    with a_client(pair[1], an_operator(pair[0])) as client:
        client.apply_service(ServiceSpec(name="web", image="example/web:1"), ["image"])

    assert "service web created by anna" in pair[0].log


def test_a_follower_passes_on_a_stream_and_its_end(pair: tuple[Host, Host]) -> None:
    with pair[1].client() as client:
        client.apply_service(ServiceSpec(name="api", image="example/api:1"), ["image"])
        watch = client.watch_service("api", timeout=10.0)

        first = next(watch)
        client.delete_service("api")
        rest = list(watch)

    assert (first.service.removing, rest[-1].service.removing if rest else True) == (False, True)


def test_a_follower_passes_on_refusals_as_they_are(pair: tuple[Host, Host]) -> None:
    with pair[1].client() as client, pytest.raises(InvalidInput) as refused:
        client.apply_service(
            ServiceSpec(name="web", image="example/web:1", replicas=-1), ["image", "replicas"]
        )

    assert refused.value.path == "web.replicas"


def test_a_worker_may_not_do_what_users_do(pair: tuple[Host, Host], stranger: Host) -> None:
    with pair[0].client() as client:
        token = client.create_join_token(NodeRole.WORKER, timedelta(hours=1)).token
    endpoints = [f"{host.address}:{SPEC.join_port}" for host in reversed(pair)]
    join.join(stranger.config, token, endpoints, NodeSpec(name="w1"))

    with (
        a_client(pair[0], node_files.read_credentials(stranger.config)) as client,
        pytest.raises(PermissionDenied, match="ListNodes is for manager or operator"),
    ):
        client.list_nodes()


def test_a_follower_sends_workers_to_the_leader(pair: tuple[Host, Host]) -> None:
    credentials = node_files.read_credentials(pair[1].config)
    hello = warren_pb2.WorkerMessage(hello=warren_pb2.Hello())
    with a_channel(pair[1], credentials) as channel:
        session = warren_pb2_grpc.DispatcherStub(channel).Session(iter([hello]), timeout=10)

        with pytest.raises(grpc.RpcError) as refused:
            next(iter(session))

    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert refused.value.details() == f"m1 leads, at {pair[0].address}:{API}"
    told = refused.value.trailing_metadata()
    leaders = [str(entry.value) for entry in told if entry.key == status.LEADER_KEY]
    assert leaders == [f"{pair[0].address}:{API}"]


def test_the_leader_gives_a_worker_its_assignment(pair: tuple[Host, Host]) -> None:
    credentials = node_files.read_credentials(pair[1].config)
    over = threading.Event()

    def messages() -> Iterator[warren_pb2.WorkerMessage]:
        yield warren_pb2.WorkerMessage(hello=warren_pb2.Hello())
        yield warren_pb2.WorkerMessage(status=warren_pb2.StatusReport())
        over.wait()

    with a_channel(pair[0], credentials) as channel:
        session = warren_pb2_grpc.DispatcherStub(channel).Session(messages(), timeout=10)

        first = next(iter(session))
        over.set()

    assert [peer.name for peer in first.assignment.peers if peer.name == "m1"] == ["m1"]
    assert [manager.name for manager in first.assignment.managers] == ["m1", "m2"]


def test_without_a_certificate_one_may_only_join(pair: tuple[Host, Host]) -> None:
    ca = node_files.read_credentials(pair[0].config).ca_certificate
    options = (("grpc.ssl_target_name_override", "manager.warren"),)
    with grpc.secure_channel(
        f"{pair[0].address}:{SPEC.join_port}", grpc.ssl_channel_credentials(ca.encode()), options
    ) as channel:
        stub = warren_pb2_grpc.ControlStub(channel)

        with pytest.raises(grpc.RpcError) as refused:
            stub.ListNodes(warren_pb2.ListNodesRequest(), timeout=10)

    error = status.error_from_rpc(refused.value)
    assert isinstance(error, Unauthenticated)
    assert str(error) == "ListNodes needs a client certificate of this cluster"


def test_a_certificate_of_another_cluster_is_refused_and_noted(
    pair: tuple[Host, Host], stranger: Host
) -> None:
    stranger.create()
    theirs = node_files.read_credentials(stranger.config)
    ours = node_files.read_credentials(pair[0].config)
    mixed = Credentials(
        ca_certificate=ours.ca_certificate, certificate=theirs.certificate, key=theirs.key
    )

    with a_client(pair[0], mixed) as client, pytest.raises(Unavailable):
        client.list_nodes()

    wait_until(lambda: "CERTIFICATE_VERIFY_FAILED" in pair[0].log, "the refusal is logged")


def test_a_token_of_another_cluster_stops_before_anything_is_sent(
    pair: tuple[Host, Host], stranger: Host
) -> None:
    other = certificates.create_authority("other", "other", datetime.now(UTC))

    with pytest.raises(Unauthenticated) as refused:
        stranger.join(a_token_of(other), pair[0])

    assert str(refused.value) == (
        f"{pair[0].address}:{SPEC.join_port} belongs to another cluster than this join token: "
        "its CA has another digest"
    )
    assert node_files.read_membership(stranger.config) is None


def a_token_of(authority: Authority) -> str:
    digest = certificates.digest(authority.certificate)
    return tokens.new(NodeRole.MANAGER, digest, key=authority.key, call="c1").text()


def test_a_mistyped_token_stops_before_any_connection(stranger: Host) -> None:
    token = a_token_of(certificates.create_authority("other", "other", datetime.now(UTC)))
    mistyped = token[:-1] + ("0" if token[-1] != "0" else "1")

    with pytest.raises(InvalidInput) as refused:
        stranger.join(mistyped, stranger)

    assert str(refused.value) == "join token: is mistyped: check digits do not match"


def test_joining_again_after_an_interruption_gives_the_same_node(
    pair: tuple[Host, Host], stranger: Host
) -> None:
    token = manager_token(pair[0])
    node = NodeSpec(name="again")
    endpoints = [f"{pair[1].address}:{SPEC.join_port}"]
    first = join.join(stranger.config, token, endpoints, node)
    node_files.membership_path(stranger.config).unlink()

    second = join.join(stranger.config, token, endpoints, node)

    assert (second.node_id, second.mesh_address) == (first.node_id, first.mesh_address)


def test_a_renewed_certificate_is_served_without_a_restart(pair: tuple[Host, Host]) -> None:
    config = pair[0].config
    credentials = node_files.read_credentials(config)
    before = join.served_chain(f"{pair[0].address}:{SPEC.join_port}")
    with a_channel(pair[0], credentials) as channel:
        stub = warren_pb2_grpc.ManagersStub(channel)
        csr = certificates.signing_request(credentials.key, "m1")
        renewed = stub.RenewCertificate(warren_pb2.RenewCertificateRequest(csr=csr), timeout=10)

    own = node_files.pki_path(config) / "node.crt"
    files.write_whole(own, renewed.certificate.encode(), mode=0o644)

    after = join.served_chain(f"{pair[0].address}:{SPEC.join_port}")
    assert certificates.pem_from_der(before[0]) == credentials.certificate
    assert certificates.pem_from_der(after[0]) == renewed.certificate
    assert [certificates.pem_from_der(chain[1]) for chain in (before, after)] == [
        credentials.ca_certificate
    ] * 2
