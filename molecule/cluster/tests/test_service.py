"""What deploy-service.yml made run."""

import subprocess
import uuid
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from conftest import changed_hosts, get, wait_until
from testinfra.host import Host
from warren.client.client import Client
from warren.client.waits import wait_service_gone
from warren.model.services import ResourceLimits, Resources, RestartPolicy, ServiceSpec
from warren.model.tasks import TaskState

IMAGE = "10.78.0.1:5000/hello:1"
Playbook = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def scratch(client: Client) -> Iterator[str]:
    """A service name of the test's own; the service is gone afterwards."""
    name = f"scratch-{uuid.uuid4().hex[:6]}"
    yield name
    if any(view.service.spec.name == name for view in client.list_services()):
        client.delete_service(name)
        wait_service_gone(client, name, timeout=timedelta(seconds=60))


def test_three_tasks_run_on_three_nodes(client: Client) -> None:
    view = client.get_service("hello")

    assert view.status.converged
    assert [task.status.state for task in view.tasks[:3]] == [TaskState.RUNNING] * 3
    assert len(set(view.node_names[:3])) == 3


def test_every_host_answers_on_the_published_port(addresses: dict[str, str]) -> None:
    for address in addresses.values():
        assert get(address).startswith("hello from hello")


def test_a_host_answers_itself_too(host: Host, addresses: dict[str, str]) -> None:
    address = addresses[host.check_output("hostname")]

    body = host.check_output(
        "python3 -c 'import urllib.request as u;"
        f'print(u.urlopen("http://{address}:8080/", timeout=5).read().decode())\''
    )

    assert body.startswith("hello from hello")


def test_requests_reach_all_tasks_from_one_host(addresses: dict[str, str]) -> None:
    answers = {get(addresses["w2"]) for _ in range(60)}

    assert len(answers) == 3


@pytest.mark.parametrize(
    ("files", "value"),
    [
        (("memory/memory.limit_in_bytes", "memory.max"), "67108864"),
        (("cpu/cpu.cfs_quota_us", "cpu.max"), "50000"),
    ],
)
def test_limits_reach_the_container(client: Client, files: tuple[str, ...], value: str) -> None:
    """The first file is of control groups v1, the second of v2."""
    paths = " ".join(f"/sys/fs/cgroup/{file}" for file in files)
    command = ("busybox", "sh", "-c", f"busybox cat {paths} 2> /dev/null; true")

    done = client.execute("hello.1", command, timeout=timedelta(seconds=10))

    assert done.stdout.decode().split()[:1] == [value]


def test_the_process_limit_reaches_the_container(client: Client) -> None:
    """In control groups v1 it is set above the container's own group, so it is tried, not read."""
    many = "for i in 1 2 3 4; do for j in 1 2 3 4 5 6 7 8 9; do busybox sleep 2 & done; done; wait"

    done = client.execute("hello.1", ("busybox", "sh", "-c", many), timeout=timedelta(seconds=20))

    assert "can't fork" in done.stderr.decode()


def test_a_second_deployment_changes_nothing(playbook: Playbook) -> None:
    variables = ("-e", "@examples/hello/service.yml", "-e", "registry=10.78.0.1:5000")

    first = playbook("deploy-service.yml", *variables)
    again = playbook("deploy-service.yml", *variables)

    assert (first.returncode, again.returncode) == (0, 0), again.stdout
    assert changed_hosts(again.stdout) == {"localhost": 0}


def test_check_mode_tells_the_change_and_makes_none(playbook: Playbook, client: Client) -> None:
    before = client.get_service("hello").service
    variables = ("-e", "@examples/hello/service.yml", "-e", "registry=10.78.0.1:5000")

    run = playbook("deploy-service.yml", *variables, "-e", "version=2", "--check", "--diff")

    assert run.returncode == 0, run.stdout
    assert changed_hosts(run.stdout) == {"localhost": 1}
    assert "hello:2" in run.stdout
    assert client.get_service("hello").service == before


def test_a_process_that_ends_is_restarted_in_place(client: Client) -> None:
    task = client.get_service("hello").tasks[0]

    client.execute(task.id, ["busybox", "kill", "-9", "1"], timeout=timedelta(seconds=5))
    client.execute(task.id, ["busybox", "killall", "busybox"], timeout=timedelta(seconds=5))

    def restarted() -> bool:
        now = client.get_service("hello").tasks[0]
        return now.status.state is TaskState.RUNNING and now.status.since > task.status.since

    wait_until(restarted, seconds=15)
    assert client.get_service("hello").tasks[0].node_id == task.node_id


def test_a_service_that_cannot_run_fails_with_its_own_last_log_line(
    playbook: Playbook, scratch: str
) -> None:
    command = "[busybox, sh, -c, 'echo KeyError: DATABASE_URL; exit 3']"
    service = f"{{service: {{name: {scratch}, image: '{IMAGE}', command: {command}}}}}"

    run = playbook("deploy-service.yml", "-e", service)

    assert run.returncode != 0
    assert "exit code 3" in run.stdout
    assert "KeyError: DATABASE_URL" in run.stdout


def test_restarts_end_when_the_policy_says_so(client: Client, scratch: str) -> None:
    policy = RestartPolicy(delay=timedelta(milliseconds=100), max_attempts=2)
    spec = ServiceSpec(name=scratch, image=IMAGE, command=("busybox", "false"), restart=policy)

    client.apply_service(spec, ("name", "image", "command", "restart"))

    wait_until(
        lambda: client.get_service(scratch).tasks[0].status.state is TaskState.FAILED, seconds=20
    )
    status = client.get_service(scratch).tasks[0].status
    assert (status.exit_code, status.failures) == (1, 3)


def test_a_task_over_its_memory_limit_says_so(client: Client, scratch: str) -> None:
    limits = Resources(limits=ResourceLimits(memory=8 * 2**20))  # type: ignore[arg-type]
    eat = ("busybox", "sh", "-c", "x=1; while true; do x=$x$x; done")
    spec = ServiceSpec(name=scratch, image=IMAGE, command=eat, resources=limits)

    client.apply_service(spec, ("name", "image", "command", "resources"))

    # The runtime may tell of the exit before it tells why: then the next attempt says so.
    wait_until(lambda: "memory" in client.get_service(scratch).status.reason, seconds=30)
