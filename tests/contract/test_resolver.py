"""Name servers: the shipped fake and unbound, asked the same questions.

unbound runs in a network namespace of its own, as a child of the test instead of as a unit.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from warren.core.dns import Zone
from warren.drivers.ports import Resolver, ResolverConfig
from warren.drivers.unbound import Unbound
from warren.model.assignments import Endpoint, ServiceTraffic
from warren.model.errors import DriverError
from warren.model.services import Port
from warren.testing.fake_resolver import FakeResolver

from tests.contract import namespaces

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
    config: ResolverConfig, services: dict[str, ServiceTraffic]
) -> tuple[ResolverConfig, str]:
    """What `apply` takes."""
    return config, Zone().text(config.domain, config.listen[0], services)


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


async def test_a_zone_that_cannot_be_read_is_an_error_and_the_last_good_one_stays(
    unbound: Unbound, tmp_path: Path
) -> None:
    await unbound.apply(*given(CONFIG, {"web": WEB}))

    with pytest.raises(DriverError, match=r"unbound refused the zone warren\.internal"):
        await unbound.apply(*given(CONFIG, {"web": replace(WEB, vip="not an address")}))

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


async def test_no_answer_is_made_of_half_a_change(unbound: Unbound) -> None:
    """Two names that always change together, asked while they do."""

    def services(number: int) -> dict[str, ServiceTraffic]:
        tasks = tuple(
            Endpoint(address=f"10.88.{number}.{i}", task_id=f"t{i}", node_id="n", slot=i)
            for i in range(1, 9)
        )
        return {"web": replace(WEB, endpoints=tasks)}

    await unbound.apply(*given(CONFIG, services(1)))
    for number in range(2, 12):
        answer, _ = await asyncio.gather(
            dig("tasks.web.warren.internal"), unbound.apply(*given(CONFIG, services(number)))
        )
        assert answer is not None
        assert len(answer) == 8
        assert len({address.rpartition(".")[0] for address in answer}) == 1
