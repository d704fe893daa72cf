"""What the contract suites share: private namespaces, a private containerd, and both runtimes."""

import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from warren.drivers.cni import CniNetwork
from warren.drivers.containerd import Containerd
from warren.drivers.ports import ExecOutput, Runtime
from warren.model.errors import DeadlineExceeded
from warren.testing.fake_runtime import FakeRuntime, Program
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

from tests.contract import images, namespaces, orders, private_containerd
from tests.contract.balanced_network import Network
from tests.contract.private_containerd import PrivateContainerd

CLUSTER = "contract"
STARTS_MEMBERS = frozenset(
    f"test_{name}"
    for name in ("autolock", "joining", "log_under_fire", "managers", "managers_refuse")
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling:
    """Of tests to workers, when there are several."""
    return WholeFiles(config, log)


class WholeFiles(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """A worker takes whole files, whose tests share what is slow to build, and one worker takes all
    that start members as processes: two clusters at once would disturb each other's elections."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return "members" if Path(file).stem in STARTS_MEMBERS else file


@pytest.fixture(scope="package", autouse=True)
def private_network() -> Iterator[None]:
    """A network namespace for all that this process tests: addresses, ports and rules that tests
    name are its own, so several runs, or workers of one, do not meet."""
    namespaces.require("ip")
    with namespaces.own_network():
        yield


@pytest.fixture(scope="module")
def balanced_network(private_network: None) -> Iterator[Network]:
    """A node and its neighbours."""
    namespaces.require("nft", "conntrack", "ip")
    with namespaces.own_network(), ExitStack() as stack:
        built = Network(stack)
        built.build()
        yield built


@pytest.fixture
def no_rules(balanced_network: Network) -> Iterator[None]:
    """The node has no rules of ours, and will have none after the test."""
    yield
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    subprocess.run(["conntrack", "-F"], check=True, capture_output=True)


@pytest.fixture(scope="package")
def containerd(
    private_network: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[PrivateContainerd]:
    """A running containerd without any network yet."""
    with private_containerd.running(tmp_path_factory.mktemp("containerd")) as running:
        yield running


@pytest.fixture
async def real_runtime(containerd: PrivateContainerd) -> AsyncIterator[Containerd]:
    """The real driver, on a containerd in which nothing is left when the test ends."""
    network = CniNetwork(containerd.cni_config_dir, leases_dir=containerd.leases_dir)
    await network.configure("10.88.1.0/24", 1420)
    runtime = Containerd(
        containerd.endpoint, cluster_id=CLUSTER, cgroup_parent=containerd.cgroup_parent
    )
    yield runtime
    for instance in await runtime.instances():
        await runtime.remove(instance)
    await runtime.close()


@pytest.fixture(params=["fake", "real"])
def runtime(request: pytest.FixtureRequest) -> Runtime:
    """Both, one after the other, with the test image present."""
    if request.param == "real":
        real: Containerd = request.getfixturevalue("real_runtime")
        return real
    fake = FakeRuntime(images=[images.BUSYBOX])
    fake.local_images.add(images.BUSYBOX)
    fake.programs = {
        orders.SLEEPS: Program(output=("ready",)),
        orders.STUBBORN: Program(output=("ready",), ignores_stop_signal=True),
        orders.TAKES_USR1: Program(output=("ready",), stop_exit_code=7),
        orders.FAILS: Program(exit_code=3),
        orders.SPEAKS: Program(exit_code=0, output=("one", "two")),
    }
    fake.outputs = {
        ("sh", "-c", "echo out; echo err >&2; exit 5"): ExecOutput(
            stdout=b"out\n", stderr=b"err\n", exit_code=5
        ),
        ("sleep", "60"): DeadlineExceeded("sleep did not end in time"),
    }
    return fake


@pytest.fixture
def log_dir(tmp_path: Path) -> Path:
    """Where tasks log to."""
    return tmp_path / "logs"
