"""Which flows go where they should not any more, and which ports a process holds."""

from pathlib import Path

import pytest
from warren.drivers.balancer_plan import Frontend
from warren.drivers.conntrack import Flow, answering, dangling, stale
from warren.drivers.listeners import Listeners
from warren.drivers.ports import BalancerConfig
from warren.model.services import Protocol

CONFIG = BalancerConfig(
    node_id="n1",
    vip_network="10.92.0.0/16",
    task_network="10.88.0.0/14",
    mesh_interface="warren0",
    gateway="10.88.1.1",
)
NODE, TASK, GONE = "192.0.2.1", "10.88.1.2", "10.88.2.2"
ENDPOINTS = {
    Frontend("10.92.0.1", Protocol.UDP, 53): {(TASK, 5353)},
    Frontend("", Protocol.UDP, 53): {(TASK, 5353)},
    Frontend("10.92.0.2", Protocol.UDP, 53): set[tuple[str, int]](),
}


@pytest.mark.parametrize(
    ("flow", "expected"),
    [
        (Flow("10.92.0.1", 53, TASK, 5353), False),
        (Flow("10.92.0.1", 53, GONE, 5353), True),
        (Flow("10.92.0.1", 53, TASK, 5354), True),  # the target is another port now
        (Flow("10.92.0.2", 53, TASK, 5353), True),  # nobody is there
        (Flow("10.92.0.9", 53, TASK, 5353), True),  # the service is no more
        (Flow(NODE, 53, TASK, 5353), False),
        (Flow(NODE, 53, GONE, 5353), True),
        (Flow(NODE, 53, NODE, 53), True),  # began before the port was published
        (Flow(NODE, 54, TASK, 5353), True),  # not published any more
        (Flow(NODE, 54, NODE, 54), False),  # a server of the host's own
        (Flow(NODE, 54, "172.17.0.2", 54), False),  # translated by somebody else
        (Flow("192.0.2.9", 53, "192.0.2.9", 53), False),  # to somebody else
    ],
)
def test_finds_flows_that_would_not_begin_like_this(flow: Flow, expected: bool) -> None:
    assert (flow in stale([flow], CONFIG, ENDPOINTS, {NODE, "10.88.1.1"})) is expected


@pytest.mark.parametrize(
    ("flow", "expected"),
    [
        (Flow("10.92.0.1", 80, TASK, 8080), False),
        (Flow("10.92.0.1", 80, GONE, 8080), True),
        (Flow(NODE, 80, TASK, 8080), False),
        (Flow(NODE, 80, GONE, 8080), True),
        (Flow(NODE, 22, NODE, 22), False),  # the host's own
        (Flow(NODE, 80, "172.17.0.2", 80), False),  # translated by somebody else
        (Flow(GONE, 8080, GONE, 8080), False),  # straight to the task
        (Flow("192.0.2.9", 80, "192.0.2.9", 80), False),  # to somebody else
    ],
)
def test_finds_connections_to_tasks_that_have_gone(flow: Flow, expected: bool) -> None:
    found = dangling([flow], CONFIG, {TASK}.__contains__, {NODE, "10.88.1.1"})

    assert (flow in found) is expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("431999 ESTABLISHED", {TASK}),
        ("431997 ESTABLISHED", {TASK}),
        ("431996 ESTABLISHED", set()),
        ("299 ESTABLISHED", set()),  # something was sent, and is not acknowledged
        ("119 SYN_SENT", set()),
        ("119 TIME_WAIT", set()),
    ],
)
def test_finds_tasks_that_answer(said: str, expected: set[str]) -> None:
    printed = (
        f"tcp      6 {said} src=192.0.2.9 dst={NODE} sport=40001 dport=80 "
        f"src={TASK} dst=192.0.2.9 sport=8080 dport=40001 [ASSURED] mark=0 use=1\n"
        f"tcp      6 100 TIME_WAIT src=192.0.2.9 dst={NODE} sport=40002 dport=80 "
        f"src={GONE} dst=192.0.2.9 sport=8080 dport=40002 [ASSURED] mark=0 use=1\n"
    )

    assert answering(printed, 432_000) == expected


def a_proc(root: Path, **tables: str) -> Path:
    """A /proc in which process 812, sshd, has the socket 4711."""
    header = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
    for directory in ("net", "sys/net/ipv4", "812/fd"):
        (root / directory).mkdir(parents=True)
    (root / "sys/net/ipv4/ip_local_port_range").write_text("32768\t60999\n")
    (root / "812/comm").write_text("sshd\n")
    (root / "812/fd/3").symlink_to("socket:[4711]")
    for table, lines in tables.items():
        (root / "net" / table).write_text(header + lines)
    return root


def a_socket(address: str, port: int, state: str = "0A", inode: int = 4711) -> str:
    return (
        f"   0: {address}:{port:04X} {'0' * len(address)}:0000 {state} 00000000:00000000 "
        f"00:00000000 00000000     0        0 {inode} 1\n"
    )


@pytest.mark.parametrize(
    ("tables", "protocol", "holder"),
    [
        ({"tcp": a_socket("00000000", 22)}, Protocol.TCP, "sshd (pid 812)"),
        ({"tcp6": a_socket("0" * 32, 22)}, Protocol.TCP, "sshd (pid 812)"),
        ({"tcp": a_socket("010200C0", 22)}, Protocol.TCP, "sshd (pid 812)"),
        ({"tcp": a_socket("00000000", 22, inode=9)}, Protocol.TCP, "the kernel"),
        ({"udp": a_socket("00000000", 22, "07")}, Protocol.UDP, "sshd (pid 812)"),
        ({"tcp": a_socket("0100007F", 22)}, Protocol.TCP, None),  # loopback
        ({"tcp": a_socket("0101580A", 22)}, Protocol.TCP, None),  # the gateway of tasks
        ({"tcp": a_socket("3556FEA9", 22)}, Protocol.TCP, None),  # the name server of the host
        ({"tcp6": a_socket("0" * 24 + "01000000", 22)}, Protocol.TCP, None),  # ::1
        ({"tcp": a_socket("00000000", 22, "01")}, Protocol.TCP, None),  # a connection
        ({"tcp": a_socket("00000000", 23)}, Protocol.TCP, None),
        ({"udp": a_socket("00000000", 22, "07")}, Protocol.TCP, None),
    ],
)
async def test_finds_who_holds_a_port(
    tmp_path: Path, tables: dict[str, str], protocol: Protocol, holder: str | None
) -> None:
    listeners = Listeners(a_proc(tmp_path, **tables))

    held = await listeners.held({(protocol, 22)}, besides="10.88.1.1")

    assert held == ({(protocol, 22): holder} if holder else {})


async def test_a_question_from_a_passing_port_holds_nothing(tmp_path: Path) -> None:
    listeners = Listeners(a_proc(tmp_path, udp=a_socket("00000000", 40000, "07")))

    assert await listeners.held({(Protocol.UDP, 40000)}, besides="") == {}
