"""The client against a manager in memory: calls, failover, and what it says when nobody serves."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from warren.api import warren_pb2
from warren.bootstrap import certificates
from warren.client import Client, connect
from warren.client.answers import Executed, ServiceDeleted
from warren.client.connection import Connection, Credentials
from warren.model.errors import (
    FailedPrecondition,
    InvalidInput,
    NotFound,
    Unavailable,
    WarrenError,
)
from warren.model.nodes import Availability, NodeRole, NodeSpec
from warren.model.services import Port, ServiceSpec
from warren.model.views import Change

from tests.modules.fake_manager import FakeManager

WEB = ServiceSpec(name="web", image="web:1", replicas=3)


@pytest.fixture
def client(endpoint: str) -> Iterator[Client]:
    with connect(endpoints=[endpoint], timeout=5.0) as connected:
        yield connected


def test_an_apply_answers_what_it_changed(client: Client) -> None:
    client.apply_service(WEB, ("image", "replicas"))

    applied = client.apply_service(ServiceSpec(name="web", image="", replicas=5), ("replicas",))

    assert applied.changed
    assert applied.changes == (Change(path="replicas", before="3", after="5"),)
    assert applied.after.image == "web:1"
    assert client.get_service("web").status.running == 5


def test_a_dry_run_changes_nothing(client: Client) -> None:
    applied = client.apply_service(WEB, ("image",), dry_run=True)

    assert applied.changed
    assert client.list_services() == ()


def test_an_error_arrives_as_it_was_raised(client: Client) -> None:
    with pytest.raises(NotFound, match=r"^there is no service web$"):
        client.get_service("web")


def test_a_refused_field_arrives_with_its_path(client: Client) -> None:
    twice = ServiceSpec(
        name="web",
        image="web:1",
        ports=(Port(target=1, published=80), Port(target=2, published=80)),
    )

    with pytest.raises(InvalidInput) as refusal:
        client.apply_service(twice, ("image", "ports"))

    assert refusal.value.path == "web.ports[1].published"
    assert str(refusal.value).startswith("web.ports[1].published: 80/tcp is published by")


def test_a_service_can_be_deleted_once(client: Client) -> None:
    client.apply_service(WEB, ("image",))

    deleted = client.delete_service("web")

    assert deleted == ServiceDeleted(changed=True, plan=("slot 1  -task on m1",))
    assert client.delete_service("web") == ServiceDeleted(changed=False, plan=())


def test_nodes_are_read_and_changed(client: Client) -> None:
    drained = NodeSpec(name="m2", availability=Availability.DRAIN)

    applied = client.apply_node("m2", drained, ("availability",))

    assert applied.changes == (Change(path="availability", before="active", after="drain"),)
    assert [view.node.spec.name for view in client.list_nodes()] == ["m1", "m2", "m3"]
    assert client.get_node("m2").node.spec.availability is Availability.DRAIN


def test_a_node_that_is_there_needs_force(client: Client) -> None:
    with pytest.raises(FailedPrecondition, match="use force"):
        client.delete_node("m3")

    assert client.delete_node("m3", force=True)


def test_join_tokens_are_made_listed_and_revoked(client: Client) -> None:
    made = client.create_join_token(NodeRole.WORKER, timedelta(hours=1))

    assert made.token == "warren-1-w-text"
    assert made.expires_at - made.created_at > timedelta(minutes=59)
    assert [token.id for token in client.list_join_tokens()] == [made.id]
    assert client.delete_join_token(made.id)
    assert client.list_join_tokens() == ()


def test_the_cluster_is_read_at_a_glance(client: Client) -> None:
    view = client.get_cluster()

    assert (view.spec.name, view.leader, view.nodes_ready) == ("demo", "m1", 3)


def test_logs_come_line_by_line(client: Client, manager: FakeManager) -> None:
    client.apply_service(WEB, ("image",))
    manager.log_lines = [
        warren_pb2.LogLine(task_id="web-1-abcde", line=text) for text in (b"one", b"two")
    ]

    assert [line.line for line in client.logs(service="web", tail=1)] == [b"two"]


def test_a_command_in_a_task_is_not_repeated(client: Client, manager: FakeManager) -> None:
    manager.unavailable = 1

    with pytest.raises(Unavailable, match="no leader is known"):
        client.execute("web", ["true"], timeout=timedelta(seconds=1))

    assert manager.calls == ["Exec"]
    assert client.execute("web", ["true"], timeout=timedelta(seconds=1)) == Executed(
        stdout=b"hello\n", stderr=b"", exit_code=0, task_id=""
    )


def test_other_calls_wait_for_a_leader(client: Client, manager: FakeManager) -> None:
    manager.unavailable = 2

    assert client.get_cluster().leader == "m1"
    assert manager.calls == ["GetCluster"] * 3


def test_waiting_for_a_leader_ends_with_the_timeout(endpoint: str, manager: FakeManager) -> None:
    manager.unavailable = 1000

    with (
        connect(endpoints=[endpoint], timeout=0.5) as client,
        pytest.raises(Unavailable, match=r"^no leader is known$"),
    ):
        client.get_cluster()


def test_the_next_manager_is_asked_when_one_is_away(endpoint: str, tmp_path: Path) -> None:
    away = f"unix://{tmp_path}/away.sock"

    with connect(endpoints=[away, endpoint], timeout=5.0) as client:
        assert client.get_cluster().leader == "m1"


def test_says_of_each_manager_why_it_does_not_answer(tmp_path: Path) -> None:
    refused = f"127.0.0.1:{_unused_port()}"
    away = f"unix://{tmp_path}/away.sock"
    credentials = _operator(certificates.create_authority("c1", "demo", _now()))

    with (
        Client(_connection(credentials, refused, away)) as client,
        pytest.raises(Unavailable) as no,
    ):
        client.get_cluster()

    assert str(no.value) == f"{refused}: connection refused; {away}: no such file or directory"


# ---------------------------------------------------------------- TLS


def test_speaks_mutual_tls_with_a_manager(manager: FakeManager) -> None:
    endpoint = manager.listen_tls(manager.authority)

    with Client(_connection(_operator(manager.authority), endpoint)) as client:
        assert client.get_cluster().leader == "m1"


def test_a_manager_of_another_cluster_is_recognised(manager: FakeManager) -> None:
    endpoint = manager.listen_tls(manager.authority)
    other = certificates.create_authority("c2", "other", _now())

    error = _failure(_connection(_operator(other), endpoint))

    assert str(error) == (
        f"{endpoint}: its certificate is not signed by the CA of context demo (another cluster?)"
    )


def test_a_certificate_from_another_cluster_is_recognised(manager: FakeManager) -> None:
    endpoint = manager.listen_tls(manager.authority)
    foreign = _operator(certificates.create_authority("c2", "other", _now()))
    mixed = Credentials(
        ca_cert=manager.authority.certificate,
        client_cert=foreign.client_cert,
        client_key=foreign.client_key,
    )

    error = _failure(_connection(mixed, endpoint))

    assert str(error) == (
        f"{endpoint}: our certificate (context demo) is not signed by its CA: of another cluster?"
    )


def test_an_expired_certificate_is_recognised(manager: FakeManager) -> None:
    endpoint = manager.listen_tls(manager.authority)
    expired = _operator(manager.authority, now=_now() - timedelta(days=400))

    error = _failure(_connection(expired, endpoint))

    assert str(error) == f"{endpoint}: our certificate (context demo) has expired"


def test_a_key_that_is_no_key_is_recognised(manager: FakeManager) -> None:
    endpoint = manager.listen_tls(manager.authority)
    good = _operator(manager.authority)
    broken = Credentials(ca_cert=good.ca_cert, client_cert=good.client_cert, client_key="nonsense")

    error = _failure(_connection(broken, endpoint))

    assert str(error).startswith(f"{endpoint}: the certificate, key or CA of context demo cannot")


def test_a_port_that_speaks_no_tls_is_recognised() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"127.0.0.1:{server.getsockname()[1]}"
        greeter = threading.Thread(target=_greet_all, args=(server,))
        greeter.start()
        credentials = _operator(certificates.create_authority("c1", "demo", _now()))

        error = _failure(_connection(credentials, endpoint), timeout=0.5)
        server.shutdown(socket.SHUT_RDWR)
        greeter.join()

    assert str(error) == f"{endpoint}: TLS failed (WRONG_VERSION_NUMBER)"


def _greet_all(server: socket.socket) -> None:
    connections = []
    with suppress(OSError):
        while True:
            connections.append(server.accept()[0])
            connections[-1].sendall(b"220 a mail server\r\n")
    for connection in connections:
        connection.close()


def _failure(connection: Connection, timeout: float = 5.0) -> WarrenError:
    with Client(connection, timeout=timeout) as client, pytest.raises(Unavailable) as failure:
        client.get_cluster()
    return failure.value


def _connection(credentials: Credentials, *endpoints: str) -> Connection:
    return Connection(endpoints=endpoints, credentials=credentials, source="context demo")


def _operator(authority: certificates.Authority, now: datetime | None = None) -> Credentials:
    key = certificates.new_key()
    request = certificates.signing_request(key, "op")
    return Credentials(
        ca_cert=authority.certificate,
        client_cert=certificates.sign_operator(authority, request, name="op", now=now or _now()),
        client_key=key,
    )


def _unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def _now() -> datetime:
    return datetime.now(UTC)
