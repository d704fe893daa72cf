"""Name servers: the shipped fake and unbound, asked the same questions.

unbound runs in a network namespace of its own, as a child of the test instead of as a unit.
"""

import asyncio
import shutil
import signal
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from warren.core.dns import Names
from warren.drivers import unbound as driver
from warren.drivers.ports import Resolver, ResolverConfig
from warren.drivers.unbound import Unbound
from warren.model.assignments import Endpoint, ServiceTraffic
from warren.model.errors import DriverError
from warren.model.services import Port
from warren.state import maps
from warren.testing.fake_resolver import FakeResolver

from tests.contract import namespaces
from tests.contract.questions import AAAA, SRV, A, Answer, Asker

ADDRESS = "10.88.1.1"
CONFIG = ResolverConfig(domain="warren.internal", listen=(ADDRESS,), allow=("10.88.0.0/14",))
WEB = ServiceTraffic(
    name="web",
    vip="10.92.0.7",
    ports=(Port(name="http", target=8080),),
    endpoints=(
        Endpoint(address="10.88.1.2", task_id="web-1-a", node_id="n1", slot=1),
        Endpoint(address="10.88.2.3", task_id="web-2-b", node_id="n2", slot=2),
    ),
)
Ask = Callable[..., Awaitable[tuple[str, ...] | None]]


def given(
    config: ResolverConfig, services: Mapping[str, ServiceTraffic]
) -> tuple[ResolverConfig, Mapping[str, tuple[str, ...]]]:
    """What `apply` takes."""
    return config, Names().of(config.domain, services)


class Running:
    """An unbound that the driver can restart."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.process: asyncio.subprocess.Process | None = None
        self.starts = 0

    async def restart(self) -> None:
        await self.kill()
        self.starts += 1
        self.process = await asyncio.create_subprocess_exec(
            "unbound", "-d", "-c", str(self.directory / "unbound.conf"),
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip

    async def wait_answering(self) -> None:
        def once() -> bool:
            try:
                with Asker(ADDRESS, patience=0.2) as asker:
                    return asker.ask(CONFIG.domain).code == 0
            except OSError:
                return False

        async with asyncio.timeout(10):
            while not await asyncio.to_thread(once):  # noqa: ASYNC110 - nothing tells
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(signal.SIGKILL)
            await self.process.wait()


@pytest.fixture
async def running(private_network: None, tmp_path: Path) -> AsyncIterator[Running]:
    namespaces.require("unbound", "dig")
    namespaces.run(f"ip address replace {ADDRESS}/32 dev lo")
    namespaces.run(f"chmod 0755 {tmp_path}")
    found = Running(tmp_path)
    yield found
    await found.kill()


@pytest.fixture
def unbound(running: Running, tmp_path: Path) -> Unbound:
    return Unbound(tmp_path, restart=running.restart, resolv_conf=tmp_path / "resolv.conf")


@pytest.fixture(params=["fake", "real"])
def resolver(request: pytest.FixtureRequest) -> Resolver:
    if request.param == "fake":
        return FakeResolver()
    real: Unbound = request.getfixturevalue("unbound")
    return real


@pytest.fixture
def ask(resolver: Resolver) -> Ask:
    """`await ask(name, type)`: sorted values; `()` if there is none; None for NXDOMAIN."""

    async def of_fake(name: str, kind: str = "A") -> tuple[str, ...] | None:
        assert isinstance(resolver, FakeResolver)
        return resolver.ask(name, kind)

    return of_fake if isinstance(resolver, FakeResolver) else dig


async def dig(name: str, kind: str = "A") -> tuple[str, ...] | None:
    process = await asyncio.create_subprocess_exec(
        "dig", f"@{ADDRESS}", "+tries=1", "+time=2", "+noall", "+answer", "+comments", name, kind,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output = (await process.communicate())[0].decode()
    if "status: NXDOMAIN" in output:
        return None
    assert "status: NOERROR" in output, output
    lines = (line.split(maxsplit=4) for line in output.splitlines() if line[:1] not in (";", ""))
    return tuple(sorted(line[4] for line in lines if line[3] == kind))


async def test_a_service_is_found_by_its_name_tasks_and_ports(resolver: Resolver, ask: Ask) -> None:
    await resolver.apply(*given(CONFIG, {"web": WEB}))

    assert await ask("web.warren.internal") == ("10.92.0.7",)
    assert await ask("tasks.web.warren.internal") == ("10.88.1.2", "10.88.2.3")
    assert await ask("2.tasks.web.warren.internal") == ("10.88.2.3",)
    assert await ask("_http._tcp.web.warren.internal", "SRV") == ("0 0 8080 web.warren.internal.",)
    assert await ask("_http._tcp.tasks.web.warren.internal", "SRV") == (
        "0 0 8080 1.tasks.web.warren.internal.",
        "0 0 8080 2.tasks.web.warren.internal.",
    )


@pytest.mark.parametrize("kind", ["AAAA", "HTTPS", "MX"])
async def test_other_types_of_a_name_that_exists_are_empty_and_not_denied(
    resolver: Resolver, ask: Ask, kind: str
) -> None:
    await resolver.apply(*given(CONFIG, {"web": WEB}))

    assert await ask("web.warren.internal", kind) == ()


async def test_a_name_between_others_exists_and_an_unknown_one_does_not(
    resolver: Resolver, ask: Ask
) -> None:
    await resolver.apply(*given(CONFIG, {"web": WEB}))

    assert await ask("_tcp.web.warren.internal") == ()
    assert await ask("shop.warren.internal") is None


async def test_a_change_is_answered_at_once(resolver: Resolver, ask: Ask) -> None:
    await resolver.apply(*given(CONFIG, {"web": WEB}))
    fewer = replace(WEB, endpoints=WEB.endpoints[:1])

    await resolver.apply(
        *given(CONFIG, {"web": fewer, "api": replace(WEB, name="api", vip="10.92.0.8")})
    )

    assert await ask("tasks.web.warren.internal") == ("10.88.1.2",)
    assert await ask("api.warren.internal") == ("10.92.0.8",)


async def test_a_service_without_endpoints_keeps_its_names(resolver: Resolver, ask: Ask) -> None:
    await resolver.apply(*given(CONFIG, {"web": replace(WEB, endpoints=())}))

    assert await ask("web.warren.internal") == ("10.92.0.7",)
    assert await ask("tasks.web.warren.internal") == ()


async def test_changes_of_services_do_not_restart_unbound_and_other_settings_do(
    unbound: Unbound, running: Running
) -> None:
    await unbound.apply(*given(CONFIG, {"web": WEB}))
    await unbound.apply(*given(CONFIG, {}))
    await unbound.apply(*given(CONFIG, {"web": WEB}))
    assert running.starts == 1

    await unbound.apply(*given(replace(CONFIG, domain="shop.example"), {"web": WEB}))

    assert running.starts == 2
    assert await dig("web.shop.example") == ("10.92.0.7",)


async def test_answers_stay_when_the_agent_is_gone_and_when_it_is_back(
    unbound: Unbound, running: Running, tmp_path: Path
) -> None:
    await unbound.apply(*given(CONFIG, {"web": WEB}))
    await unbound.close()
    assert await dig("web.warren.internal") == ("10.92.0.7",)

    again = Unbound(tmp_path, restart=running.restart, resolv_conf=tmp_path / "resolv.conf")
    await again.apply(*given(CONFIG, {"web": WEB}))

    assert running.starts == 1


async def test_an_unbound_that_died_is_started_and_knows_what_it_knew(
    unbound: Unbound, running: Running
) -> None:
    await unbound.apply(*given(CONFIG, {"web": WEB}))
    await running.kill()

    await unbound.apply(*given(CONFIG, {"web": WEB}))

    assert await dig("web.warren.internal") == ("10.92.0.7",)


async def test_a_name_that_cannot_be_said_is_an_error_stays_as_it_was_and_harms_no_other(
    unbound: Unbound, running: Running
) -> None:
    api = replace(WEB, name="api", vip="10.92.0.8")
    await unbound.apply(*given(CONFIG, {"web": WEB, "api": api}))
    bad, moved = replace(WEB, vip="not an address"), replace(api, vip="10.92.0.9")

    for _ in range(2):
        with pytest.raises(DriverError, match=r"names of service web .* 'not an address'"):
            await unbound.apply(*given(CONFIG, {"web": bad, "api": moved}))

    assert await dig("web.warren.internal") == ("10.92.0.7",)
    assert await dig("api.warren.internal") == ("10.92.0.9",)
    assert running.starts == 1


async def test_a_name_that_cannot_be_said_does_not_keep_unbound_from_starting(
    unbound: Unbound,
) -> None:
    long = replace(WEB, ports=(Port(name="p" * 63, target=80),))

    with pytest.raises(DriverError, match=r"names of service web .* is not a name"):
        await unbound.apply(*given(CONFIG, {"web": long, "api": replace(WEB, name="api")}))

    assert await dig("api.warren.internal") == ("10.92.0.7",)
    assert await dig("web.warren.internal") is None


async def test_what_is_told_to_unbound_is_known_to_the_next_one_and_to_the_next_agent(
    unbound: Unbound, running: Running, tmp_path: Path
) -> None:
    """Without a restart of unbound by the agent, after one of its own."""
    moved = {"web": replace(WEB, vip="10.92.0.9"), "api": replace(WEB, name="api")}
    await unbound.apply(*given(CONFIG, {"web": WEB}))
    await unbound.apply(*given(CONFIG, moved))
    await running.restart()
    again = Unbound(tmp_path, restart=running.restart, resolv_conf=tmp_path / "resolv.conf")
    await running.wait_answering()
    found = await dig("web.warren.internal"), await dig("api.warren.internal")

    await again.apply(*given(CONFIG, {"web": WEB}))

    assert found == (("10.92.0.9",), ("10.92.0.7",))
    assert await dig("web.warren.internal") == ("10.92.0.7",)
    assert await dig("api.warren.internal") is None
    assert running.starts == 2


async def test_an_agent_that_died_while_it_told_of_a_change_leaves_nothing_wrong(
    unbound: Unbound, running: Running, tmp_path: Path
) -> None:
    await unbound.apply(*given(CONFIG, {"web": WEB}))
    shutil.copytree(tmp_path, tmp_path / "before", ignore=shutil.ignore_patterns("control.sock"))
    await unbound.apply(*given(CONFIG, {"web": replace(WEB, vip="10.92.0.9")}))
    shutil.copytree(tmp_path / "before", tmp_path, dirs_exist_ok=True)
    (tmp_path / "changing").touch()

    again = Unbound(tmp_path, restart=running.restart, resolv_conf=tmp_path / "resolv.conf")
    await again.apply(*given(CONFIG, {"web": WEB}))

    assert await dig("web.warren.internal") == ("10.92.0.7",)
    assert not (tmp_path / "changing").exists()


async def test_unbound_is_restarted_when_changes_have_cost_it_too_much_memory(
    unbound: Unbound, running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    await unbound.apply(*given(CONFIG, {"web": WEB}))
    await unbound.apply(*given(CONFIG, {"web": WEB}))
    before = running.starts

    monkeypatch.setattr(driver, "MEMORY_BYTES_GROWN_MAX", -1 << 40)
    await unbound.apply(*given(CONFIG, {"web": WEB}))

    assert (before, running.starts) == (1, 2)
    assert await dig("web.warren.internal") == ("10.92.0.7",)


async def test_other_names_are_asked_of_the_hosts_own_name_servers(
    running: Running, tmp_path: Path
) -> None:
    """Another unbound stands for them, on 127.0.0.5."""
    outside_dir = tmp_path / "outside"
    outside_dir.mkdir()
    outside_running = Running(outside_dir)
    outside = Unbound(outside_dir, restart=outside_running.restart, resolv_conf=tmp_path / "none")
    (tmp_path / "resolv.conf").write_text(f"nameserver {ADDRESS}\nnameserver 127.0.0.5\n")
    inside = Unbound(tmp_path, restart=running.restart, resolv_conf=tmp_path / "resolv.conf")
    try:
        await outside.apply(
            *given(
                ResolverConfig(domain="example.org", listen=("127.0.0.5",), allow=()), {"web": WEB}
            )
        )
        await inside.apply(*given(CONFIG, {"web": WEB}))

        assert await dig("web.example.org") == ("10.92.0.7",)
        assert await dig("web.warren.internal") == ("10.92.0.7",)
    finally:
        await outside_running.kill()


def tasks_in(subnet: int, slots: int) -> tuple[Endpoint, ...]:
    """One endpoint in each slot, all of one subnet."""
    return tuple(
        Endpoint(address=f"10.88.{subnet}.{slot}", task_id=f"t{slot}", node_id="n", slot=slot)
        for slot in range(1, slots + 1)
    )


class Watched:
    """Asks again and again, in a thread, and remembers the different answers to each question."""

    def __init__(self, *questions: tuple[str, int]) -> None:
        self.questions = questions
        self.answers: dict[tuple[str, int], set[Answer]] = {each: set() for each in questions}
        self.rounds = 0
        self._over = threading.Event()

    def run(self) -> None:
        with Asker(ADDRESS) as asker:
            while not self._over.is_set():
                for name, kind in self.questions:
                    self.answers[name, kind].add(asker.ask(f"{name}.{CONFIG.domain}", kind))
                self.rounds += 1

    def stop(self) -> None:
        self._over.set()


async def watch_changes(
    unbound: Unbound, watched: Watched, changes: Iterable[Mapping[str, ServiceTraffic]]
) -> None:
    names = Names()
    watching = asyncio.create_task(asyncio.to_thread(watched.run))
    try:
        for services in changes:
            await unbound.apply(CONFIG, names.of(CONFIG.domain, services))
            whole = watched.rounds + 2  # the next round has begun already
            async with asyncio.timeout(10):
                while watched.rounds < whole:  # noqa: ASYNC110 - a thread counts
                    await asyncio.sleep(0.0002)
    finally:
        watched.stop()
        await watching


async def test_no_answer_is_missing_or_of_half_a_change_while_one_name_in_a_thousand_changes(
    unbound: Unbound, running: Running
) -> None:
    def services(subnet: int) -> Mapping[str, ServiceTraffic]:
        web = replace(WEB, vip=f"10.92.{subnet}.7", endpoints=tasks_in(subnet, 8))
        return maps.put(others, "web", web)

    others = maps.large(
        {f"s{n}": replace(WEB, name=f"s{n}", vip=f"10.93.{n // 250}.{n % 250}") for n in range(999)}
    )
    await unbound.apply(*given(CONFIG, services(1)))
    watched = Watched(
        ("web", A), ("web", AAAA), ("tasks.web", A), ("tasks.web", AAAA), ("3.tasks.web", A),
        ("_tcp.web", A), ("_http._tcp.web", SRV), ("_http._tcp.tasks.web", SRV),
        ("s7", A), ("tasks.s8", A), ("s9", AAAA), ("unknown", A),
    )  # fmt: skip

    await watch_changes(unbound, watched, (services(2 + number % 200) for number in range(200)))

    nothing, subnets = Answer(code=0, count=0), range(1, 202)
    possible = {
        ("web", A): {Answer(code=0, count=1, addresses=(f"10.92.{n}.7",)) for n in subnets},
        ("web", AAAA): {nothing},
        ("tasks.web", A): {
            Answer(code=0, count=8, addresses=tuple(f"10.88.{n}.{i}" for i in range(1, 9)))
            for n in subnets
        },
        ("tasks.web", AAAA): {nothing},
        ("3.tasks.web", A): {Answer(code=0, count=1, addresses=(f"10.88.{n}.3",)) for n in subnets},
        ("_tcp.web", A): {nothing},
        ("_http._tcp.web", SRV): {Answer(code=0, count=1)},
        ("_http._tcp.tasks.web", SRV): {Answer(code=0, count=8)},
        ("s7", A): {Answer(code=0, count=1, addresses=("10.93.0.7",))},
        ("tasks.s8", A): {Answer(code=0, count=2, addresses=("10.88.1.2", "10.88.2.3"))},
        ("s9", AAAA): {nothing},
        ("unknown", A): {Answer(code=3, count=0)},
    }
    impossible = {each: found - possible[each] for each, found in watched.answers.items()}
    assert impossible == {each: set() for each in possible}
    assert len(watched.answers["web", A]) > 100
    assert running.starts == 1


async def test_endpoints_and_ports_that_come_and_go_leave_no_name_unanswered(
    unbound: Unbound,
) -> None:
    shapes = (
        WEB,
        replace(WEB, endpoints=()),
        replace(WEB, vip="", endpoints=tasks_in(3, 5)),
        replace(WEB, ports=()),
        replace(WEB, ports=(Port(name="http", target=81), Port(name="admin", target=82))),
    )
    await unbound.apply(*given(CONFIG, {"web": WEB}))
    watched = Watched(("web", A), ("tasks.web", A), ("tasks.web", AAAA), ("web", SRV))

    await watch_changes(unbound, watched, ({"web": shapes[n % len(shapes)]} for n in range(100)))

    codes = {each: {answer.code for answer in found} for each, found in watched.answers.items()}
    assert codes == {each: {0} for each in watched.questions}


async def test_thousands_of_services_change_at_once_and_no_answer_is_missing(
    unbound: Unbound,
) -> None:
    def services(subnet: int) -> Mapping[str, ServiceTraffic]:
        return {
            f"s{n}": replace(WEB, name=f"s{n}", endpoints=tasks_in(subnet, 2)) for n in range(2000)
        }

    await unbound.apply(*given(CONFIG, services(1)))
    watched = Watched(("tasks.s7", A), ("tasks.s1999", A))

    await watch_changes(unbound, watched, (services(2), services(3)))

    possible = {
        Answer(code=0, count=2, addresses=(f"10.88.{n}.1", f"10.88.{n}.2")) for n in (1, 2, 3)
    }
    assert watched.answers == dict.fromkeys(watched.questions, possible)
