"""What a manager says of itself to a monitor, and how it is asked."""

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from warren.api import exposition
from warren.api.exposition import Metric, Sample
from warren.api.metrics_server import MetricsServer
from warren.manager import metrics
from warren.model.nodes import NodeState
from warren.store.log import LogMetrics, LogStatus, MemberMetrics
from warren.testing.builders import a_node, a_state

LOG = LogMetrics(
    node_id="m1",
    term=3,
    last_index=120,
    commit_index=118,
    applied_index=117,
    snapshot_index=100,
    snapshot_bytes=2048,
    journal_bytes=4096,
    sync_p50=timedelta(microseconds=150),
    sync_p99=timedelta(milliseconds=2),
    elections_won=1,
    snapshots_written=4,
    members=(
        MemberMetrics(
            node_id="m2",
            address="10.86.0.2:7445",
            voter=True,
            match_index=110,
            lag_entries=10,
            silent_for=timedelta(milliseconds=40),
        ),
        MemberMetrics(
            node_id="m3",
            address="10.86.0.3:7445",
            voter=False,
            match_index=0,
            lag_entries=120,
            silent_for=timedelta.max,
        ),
    ),
)


def test_a_metric_is_a_paragraph() -> None:
    metric = Metric(
        name="warren_x",
        kind="gauge",
        help="Of x.",
        samples=(
            Sample(labels={"a": 'say "hi"\\\n', "b": "1"}, value=0.25),
            Sample(labels={}, value=3),
        ),
    )

    assert exposition.render([metric]) == (
        "# HELP warren_x Of x.\n"
        "# TYPE warren_x gauge\n"
        'warren_x{a="say \\"hi\\"\\\\\\n",b="1"} 0.25\n'
        "warren_x 3\n"
    )


def test_every_figure_of_the_log_is_there() -> None:
    state = a_state(nodes=[a_node("m1"), a_node("w1", number=2, state=NodeState.DOWN)])
    status = LogStatus(leader="10.86.0.1:7445", is_leader=True, term=3)

    figures = metrics.of_manager(LOG, status, state, version="0.1.0", locked=True)
    text = exposition.render(figures)

    lines = [line for line in text.splitlines() if not line.startswith("#")]
    assert lines[:25] == [
        'warren_info{version="0.1.0"} 1',
        "warren_secrets_locked 1",
        "warren_raft_is_leader 1",
        "warren_raft_has_leader 1",
        "warren_raft_in_trouble 0",
        "warren_raft_term 3",
        "warren_raft_last_index 120",
        "warren_raft_commit_index 118",
        "warren_raft_applied_index 117",
        "warren_raft_snapshot_index 100",
        "warren_raft_snapshot_bytes 2048",
        "warren_raft_journal_bytes 4096",
        "warren_raft_elections_won_total 1",
        "warren_raft_snapshots_written_total 4",
        'warren_raft_sync_seconds{quantile="0.5"} 0.00015',
        'warren_raft_sync_seconds{quantile="0.99"} 0.002',
        'warren_raft_member_voter{node_id="m2"} 1',
        'warren_raft_member_voter{node_id="m3"} 0',
        'warren_raft_member_match_index{node_id="m2"} 110',
        'warren_raft_member_match_index{node_id="m3"} 0',
        'warren_raft_member_lag_entries{node_id="m2"} 10',
        'warren_raft_member_lag_entries{node_id="m3"} 120',
        'warren_raft_member_silent_seconds{node_id="m2"} 0.04',
        'warren_raft_member_silent_seconds{node_id="m3"} 86400',
        'warren_nodes{state="unknown"} 0',
    ]
    assert 'warren_nodes{state="down"} 1' in lines
    assert lines[-1] == "warren_services 0"


async def ask(path: Path, request: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(request)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET /metrics HTTP/1.1", b"HTTP/1.1 200 OK"),
        (b"GET /metrics?x=1 HTTP/1.0", b"HTTP/1.1 200 OK"),
        (b"GET / HTTP/1.1", b"HTTP/1.1 404 Not Found"),
        (b"POST /metrics HTTP/1.1", b"HTTP/1.1 405 Method Not Allowed"),
        (b"nonsense", b""),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1", b""),
    ],
)
async def test_answers_one_question_and_no_other(
    tmp_path: Path, request_line: bytes, status: bytes
) -> None:
    async def text() -> str:
        return "warren_x 1\n"

    server, path = MetricsServer(text), tmp_path / "run/metrics.sock"
    await server.start_unix(path)
    mode = path.stat().st_mode & 0o777
    answer = await ask(path, request_line + b"\r\nHost: x\r\n\r\n")
    await server.stop()

    assert mode == 0o600
    assert answer.partition(b"\r\n")[0] == status
    assert answer.endswith(b"\r\n\r\nwarren_x 1\n") == (status == b"HTTP/1.1 200 OK")
    assert not path.exists()
