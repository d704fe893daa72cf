"""A host or a caller that may not: tokens, certificates."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conftest import wait_until
from warren.bootstrap import certificates
from warren.bootstrap.join import join
from warren.client.client import Client, connect
from warren.config import Config
from warren.model.errors import WarrenError
from warren.model.nodes import NodeRole, NodeSpec


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Of a would-be node on this side of the network, with files of its own."""
    return Config(
        state_dir=tmp_path / "state", run_dir=tmp_path / "run", advertise_address="10.78.0.1"
    )


def try_to_join(config: Config, token: str, endpoint: str, role: NodeRole) -> str:
    """The sentence that refuses it. Nothing of a membership may be left."""
    with pytest.raises(WarrenError) as refusal:
        join(config, token, (endpoint,), NodeSpec(name="intruder", roles=(role,)))
    assert not (config.state_dir / "node.json").exists()
    return str(refusal.value)


@pytest.fixture
def endpoint(addresses: dict[str, str]) -> str:
    return f"{addresses['m1']}:7444"


def test_an_expired_token_is_refused(client: Client, config: Config, endpoint: str) -> None:
    token = client.create_join_token(NodeRole.WORKER, timedelta(seconds=1))

    wait_until(lambda: datetime.now(UTC) > token.expires_at, seconds=5)

    sentence = try_to_join(config, token.token, endpoint, NodeRole.WORKER)

    assert "expired" in sentence


def test_a_worker_token_admits_no_manager(client: Client, config: Config, endpoint: str) -> None:
    token = client.create_join_token(NodeRole.WORKER, timedelta(minutes=1))

    sentence = try_to_join(config, token.token, endpoint, NodeRole.MANAGER)

    client.delete_join_token(token.id)
    assert "worker" in sentence
    assert "manager" in sentence


def test_a_mistyped_token_is_found_before_any_connection(client: Client, config: Config) -> None:
    token = client.create_join_token(NodeRole.WORKER, timedelta(minutes=1))
    client.delete_join_token(token.id)
    typo = token.token[:-8] + ("a" if token.token[-8] != "a" else "b") + token.token[-7:]

    sentence = try_to_join(config, typo, "192.0.2.1:1", NodeRole.WORKER)

    assert "mistyped" in sentence


def test_a_deleted_token_is_unknown(client: Client, config: Config, endpoint: str) -> None:
    token = client.create_join_token(NodeRole.WORKER, timedelta(minutes=1))
    client.delete_join_token(token.id)

    sentence = try_to_join(config, token.token, endpoint, NodeRole.WORKER)

    assert "token" in sentence
    assert [view.node.spec.name for view in client.list_nodes()].count("intruder") == 0


def test_a_certificate_of_another_cluster_is_explained(
    tmp_path: Path, addresses: dict[str, str]
) -> None:
    paths = another_clusters_credentials(tmp_path)

    with (
        connect(endpoints=(f"{addresses['m1']}:7443",), timeout=5, **paths) as stranger,
        pytest.raises(WarrenError) as refusal,
    ):
        stranger.get_cluster()

    assert f"{addresses['m1']}:7443" in str(refusal.value)
    assert "another cluster" in str(refusal.value)


def another_clusters_credentials(directory: Path) -> dict[str, str]:
    """Files of an operator whom a CA of the same kind, but not this one, has certified."""
    now = datetime.now(UTC)
    authority = certificates.create_authority("0" * 16, "elsewhere", now)
    key = certificates.new_key()
    request = certificates.signing_request(key, "stranger")
    certificate = certificates.sign_operator(authority, request, name="stranger", now=now)
    contents = {"ca_cert": authority.certificate, "client_cert": certificate, "client_key": key}
    for name, content in contents.items():
        (directory / name).write_text(content)
    return {name: str(directory / name) for name in contents}
