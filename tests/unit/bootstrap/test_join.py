"""What joining refuses before it asks anyone. Joining itself: tests/contract/test_joining.py."""

import socket
from datetime import timedelta
from pathlib import Path

import pytest
from warren.bootstrap import join, tokens
from warren.config import Config
from warren.model.errors import InvalidInput, Unauthenticated, Unavailable
from warren.model.nodes import NodeRole, NodeSpec
from warren.model.services import Secret

WORKER = NodeSpec(name="w1")
TOKEN = tokens.new(NodeRole.WORKER, b"d" * 32, key=Secret("k"), call="c1").text()
AT_ONCE = timedelta()


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(state_dir=tmp_path / "state", advertise_address="192.0.2.1")


def test_a_workers_token_makes_no_manager(config: Config) -> None:
    node = NodeSpec(name="m2", roles=(NodeRole.MANAGER,))

    with pytest.raises(Unauthenticated) as refused:
        join.join(config, TOKEN, ["127.0.0.1"], node)

    message = "this join token admits workers, and this node is to be a manager"
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("endpoints", "sentence"),
    [
        ([], "endpoints: must name at least one manager"),
        (["m1:"], "endpoints: 'm1:' is not address:port"),
        (["m1:https"], "endpoints: 'm1:https' is not address:port"),
    ],
)
def test_endpoints_must_be_addresses(config: Config, endpoints: list[str], sentence: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        join.join(config, TOKEN, endpoints, WORKER)

    assert str(refused.value) == sentence


def test_each_endpoint_says_why_it_failed(config: Config) -> None:
    with socket.socket() as one, socket.socket() as other:
        ports = []
        for unused in (one, other):
            unused.bind(("127.0.0.1", 0))
            ports.append(unused.getsockname()[1])

        with pytest.raises(Unavailable) as refused:
            join.join(
                config, TOKEN, [f"127.0.0.1:{port}" for port in ports], WORKER, patience=AT_ONCE
            )

    assert str(refused.value) == (
        f"no manager let this host join: 127.0.0.1:{ports[0]}: connection refused; "
        f"127.0.0.1:{ports[1]}: connection refused"
    )
