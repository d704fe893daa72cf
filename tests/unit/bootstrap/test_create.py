"""Creating a cluster writes everything or nothing, and what it writes is a member."""

import json
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from warren.api import convert
from warren.bootstrap import certificates, create, host_routes, leave, node_files
from warren.config import Config
from warren.core.allocator import Route
from warren.drivers import mesh_key
from warren.model.assignments import ManagerAddress
from warren.model.clusters import ClusterSpec
from warren.model.errors import AlreadyExists, FailedPrecondition, InvalidInput
from warren.model.nodes import NodeRole, NodeSpec
from warren.state.apply import apply
from warren.state.cluster import ClusterState

BOTH = (NodeRole.MANAGER, NodeRole.WORKER)
NODE = NodeSpec(name="m1", roles=BOTH)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(state_dir=tmp_path / "state", advertise_address="192.0.2.1")


def modes(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): f"{path.stat().st_mode & 0o777:o}"
        for path in sorted(directory.rglob("*"))
    }


def test_makes_the_host_the_first_manager(config: Config) -> None:
    membership = create.create_cluster(config, ClusterSpec(name="demo"), NODE, "key")

    assert node_files.read_membership(config) == membership
    assert (membership.cluster, membership.name, membership.roles) == ("demo", "m1", BOTH)
    assert membership.raft_address == "10.86.0.1:7445"
    assert membership.managers == (
        ManagerAddress(
            node_id=membership.node_id,
            name="m1",
            api="192.0.2.1:7443",
            raft="10.86.0.1:7445",
        ),
    )


def test_writes_the_certificate_and_the_first_command(config: Config) -> None:
    membership = create.create_cluster(config, ClusterSpec(name="demo"), NODE, "key")

    credentials = node_files.read_credentials(config)
    subject = certificates.subject_of(credentials.certificate)
    command = convert.command_from_bytes((config.state_dir / "raft/bootstrap.pb").read_bytes())
    state, _ = apply(ClusterState(), command)
    assert subject.name == membership.node_id
    assert subject.roles == ("manager", "worker")
    assert state.cluster is not None
    assert (state.cluster.id, state.cluster.spec.name) == (membership.cluster_id, "demo")
    assert state.cluster.ca_certificate == credentials.ca_certificate
    node = state.nodes[membership.node_id]
    assert (node.mesh.endpoint, node.mesh.public_key) == ("192.0.2.1:51820", "key")


def test_only_root_can_read_secrets(config: Config) -> None:
    create.create_cluster(config, ClusterSpec(), NODE, "key")

    assert modes(config.state_dir) == {
        "node.json": "600",
        "pki": "700",
        "pki/ca.crt": "644",
        "pki/node.crt": "644",
        "pki/node.key": "600",
        "raft": "700",
        "raft/bootstrap.pb": "600",
    }


def test_a_member_is_refused(config: Config) -> None:
    create.create_cluster(config, ClusterSpec(name="demo"), NODE, "key")
    before = node_files.read_membership(config)

    with pytest.raises(AlreadyExists, match="this host is already node m1 of cluster demo"):
        create.create_cluster(config, ClusterSpec(name="other"), NODE, "key")

    assert node_files.read_membership(config) == before


@pytest.mark.parametrize(
    ("spec", "node", "sentence"),
    [
        ({}, NodeSpec(name="M_1", roles=BOTH), "name: 'M_1' is not a DNS label"),
        ({}, NodeSpec(name="m1"), "roles: the first node must be a manager"),
        ({}, NodeSpec(name="m1", roles=()), "roles: must name manager, worker, or both"),
        ({"name": "De Mo"}, NODE, "cluster.name: 'De Mo' is not a DNS label"),
        ({"mesh_network": "10.88.0.0/16"}, NODE, "cluster.mesh_network: overlaps"),
        ({"mesh_network": "ten"}, NODE, "cluster.mesh_network: 'ten' is not an IPv4 network"),
        (
            {"task_network": "192.0.0.0/14"},
            NODE,
            "cluster.task_network: 192.0.0.0/14 holds this host's own address 192.0.2.1",
        ),
    ],
)
def test_bad_settings_leave_nothing_behind(
    config: Config, spec: dict[str, str], node: NodeSpec, sentence: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        create.create_cluster(config, ClusterSpec(**spec), node, "key")  # type: ignore[arg-type]

    assert str(refused.value).startswith(sentence)
    assert not config.state_dir.exists()


def test_a_host_without_an_address_is_refused(tmp_path: Path) -> None:
    config = Config(state_dir=tmp_path / "state")

    with pytest.raises(InvalidInput) as refused:
        create.create_cluster(config, ClusterSpec(), NODE, "key")

    assert str(refused.value) == "advertise_address: '' is not an IPv4 address of this host"


def test_what_an_interrupted_attempt_left_is_overwritten(config: Config) -> None:
    create.create_cluster(config, ClusterSpec(name="first"), NODE, "key")
    (config.state_dir / "raft/journal").write_text("old")
    (config.state_dir / ".joining").mkdir()
    node_files.membership_path(config).unlink()

    create.create_cluster(config, ClusterSpec(name="second"), NODE, "key")

    assert not (config.state_dir / "raft/journal").exists()
    assert not (config.state_dir / ".joining").exists()


def test_leaving_keeps_the_mesh_key_alone(config: Config) -> None:
    key = mesh_key.public_key(config.mesh_key_path)
    create.create_cluster(config, ClusterSpec(), NODE, key)

    assert leave.leave(config)
    assert not leave.leave(config)

    assert list(modes(config.state_dir)) == ["mesh.key"]
    assert mesh_key.public_key(config.mesh_key_path) == key


def test_the_mesh_key_is_made_once(config: Config) -> None:
    first = mesh_key.public_key(config.mesh_key_path)

    second = mesh_key.public_key(config.mesh_key_path)

    assert first == second
    assert modes(config.state_dir) == {"mesh.key": "600"}
    assert len(first) == 44


def test_the_public_key_is_that_of_wg_pubkey(config: Config) -> None:
    """The pair of RFC 7748, 6.1 (Alice)."""
    config.state_dir.mkdir()
    private = "dwdtCnMYpX08FsFyUbJmRd9ML4frwJkqsXf7pR25LCo="
    (config.state_dir / "mesh.key").write_text(private + "\n")

    public = mesh_key.public_key(config.mesh_key_path)

    assert public == "hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo="


def test_a_damaged_node_json_is_named(config: Config) -> None:
    config.state_dir.mkdir()
    node_files.membership_path(config).write_text("{}")

    with pytest.raises(FailedPrecondition, match=r"node\.json cannot be understood"):
        node_files.read_membership(config)


def test_the_managers_are_refreshed_only_when_they_changed(config: Config) -> None:
    membership = create.create_cluster(config, ClusterSpec(), NODE, "key")
    path = node_files.membership_path(config)
    more = ManagerAddress(node_id="n2", name="m2", api="192.0.2.2:7443", raft="10.86.0.2:7445")
    before = path.stat().st_ino

    node_files.write_managers(config, membership.managers)
    node_files.write_managers(config, ())
    unchanged = path.stat().st_ino
    node_files.write_managers(config, (*membership.managers, more))

    assert unchanged == before
    refreshed = node_files.read_membership(config)
    assert refreshed is not None
    assert refreshed.managers == (*membership.managers, more)


def test_what_another_version_wrote_into_node_json_is_no_hindrance(config: Config) -> None:
    membership = create.create_cluster(config, ClusterSpec(name="demo"), NODE, "key")
    path = node_files.membership_path(config)
    path.write_text(json.dumps({**json.loads(path.read_text()), "of_another_version": 1}))

    assert node_files.read_membership(config) == membership


def test_reads_the_networks_of_the_host(tmp_path: Path) -> None:
    table = tmp_path / "route"
    table.write_text(
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
        "eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "docker0\t00035C0A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
        "veth1\t0201580A\t00000000\t0005\t0\t0\t0\tFFFFFFFF\t0\t0\t0\n"
    )

    assert host_routes.read(table) == (
        Route(network=IPv4Network("0.0.0.0/0"), interface="eth0", direct=False),
        Route(network=IPv4Network("10.92.3.0/24"), interface="docker0", direct=True),
    )
