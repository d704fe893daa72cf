"""The name server of this host: unbound, with an auth-zone in a file. Implements `ports.Resolver`.

unbound runs as a unit of its own (roles/dns) from files that are written here, so that it answers
when the agent and all managers are dead, also after a restart of the host. A new zone is read by
`auth_zone_reload`: no question is answered from half of it. Other settings need a restart:
`reload` has stopped unbound before (NLnetLabs/unbound #1230), and `local_data` commands harm other
data in Debian 12's version (#868).

Files are in unbound's own directory: Debian's AppArmor profile lets it read nowhere else.
"""

import asyncio
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from pathlib import Path

from warren import files
from warren.drivers import commands
from warren.drivers.ports import ResolverConfig
from warren.model.errors import DriverError

DIRECTORY = Path("/var/lib/unbound/warren")
UNIT = "warren-dns.service"
_ANSWER_SECONDS = 5.0
_PAUSE = 0.02


class Unbound:
    """Writes what changed, and has it read."""

    def __init__(
        self,
        directory: Path = DIRECTORY,
        *,
        restart: Callable[[], Awaitable[None]] | None = None,
        resolv_conf: Path = Path("/etc/resolv.conf"),
    ) -> None:
        self._directory = directory
        self._restart = restart or _restart_unit
        self._resolv_conf = resolv_conf
        self._lock = asyncio.Lock()

    async def apply(self, config: ResolverConfig, zone: str) -> None:
        async with self._lock:
            settings = self._settings(config)
            before = self._read("zone")
            if zone != before:
                self._write("zone", zone)
            settings_are_new = settings != self._read("unbound.conf")
            if settings_are_new:
                self._write("unbound.conf", settings)
            if settings_are_new or not await self._is_up():
                await self._restart()
                await self._wait_up()
            elif zone != before:
                await self._reload(config.domain, before)

    async def close(self) -> None:
        """Nothing is open; it goes on answering."""

    def _settings(self, config: ResolverConfig) -> str:
        forwarders = config.forwarders or self._forwarders_of_host(config.listen)
        return settings(config, forwarders, self._directory)

    def _forwarders_of_host(self, own: tuple[str, ...]) -> tuple[str, ...]:
        try:
            text = self._resolv_conf.read_text(errors="replace")
        except OSError:
            return ()
        return tuple(address for address in name_servers(text) if address not in own)

    def _write(self, name: str, text: str) -> None:
        """What was there stays whole until the new is."""
        path = self._directory / name
        try:
            files.write_whole(path, text.encode(), mode=0o644)
        except OSError as error:
            raise DriverError(f"{path} cannot be written: {error.strerror}") from error

    def _read(self, name: str) -> str:
        try:
            return (self._directory / name).read_text()
        except FileNotFoundError:
            return ""

    async def _reload(self, domain: str, before: str) -> None:
        """A refused zone has left unbound with a part of it, so the one `before` is put back."""
        answer = await self._ask(f"auth_zone_reload {domain}")
        if answer != "ok":
            self._write("zone", before)
            await self._ask(f"auth_zone_reload {domain}")
            raise DriverError(f"unbound refused the zone {domain}: {answer}")

    async def _is_up(self) -> bool:
        try:
            return "is running" in await self._ask("status")
        except DriverError:
            return False

    async def _wait_up(self) -> None:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                while not await self._is_up():  # noqa: ASYNC110 - nothing tells when it is up
                    await asyncio.sleep(_PAUSE)
        except TimeoutError:
            raise DriverError(f"unbound does not answer; see journalctl -u {UNIT}") from None

    async def _ask(self, command: str) -> str:
        """The last line of the answer on the control socket."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                reader, writer = await asyncio.open_unix_connection(
                    self._directory / "control.sock"
                )
                try:
                    writer.write(f"UBCT1 {command}\n".encode())
                    await writer.drain()
                    answer = await reader.read()
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            raise DriverError(f"unbound does not answer: {error}") from error
        return answer.decode(errors="replace").strip().rpartition("\n")[2]


def settings(config: ResolverConfig, forwarders: tuple[str, ...], directory: Path) -> str:
    """unbound.conf. Without forwarders, unbound asks the root servers itself."""
    listen = "".join(f"  interface: {address}\n" for address in config.listen)
    allowed = (*config.allow, *(f"{address}/32" for address in config.listen), "127.0.0.0/8")
    allow = "".join(f"  access-control: {network} allow\n" for network in allowed)
    forward = "".join(f"  forward-addr: {address}\n" for address in forwarders)
    forward = f'forward-zone:\n  name: "."\n{forward}' if forward else ""
    return _SETTINGS.format(
        directory=directory, listen=listen, allow=allow, domain=config.domain, forward=forward
    )


def name_servers(resolv_conf: str) -> tuple[str, ...]:
    """The addresses in a resolv.conf that can be asked."""
    words = (line.split() for line in resolv_conf.splitlines())
    named = [line[1] for line in words if len(line) > 1 and line[0] == "nameserver"]
    return tuple(dict.fromkeys(address for address in named if _is_address(address)))


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


async def _restart_unit() -> None:
    code, _, complaint = await commands.run(("systemctl", "restart", UNIT))
    if code:
        raise DriverError(f"{UNIT} cannot be started: {complaint}")


_SETTINGS = """\
# Written by warren-worker; changes made here are lost.
server:
  directory: "{directory}"
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  log-queries: no
  do-daemonize: no
  num-threads: 1
  module-config: "iterator"
  ip-freebind: yes
  do-not-query-localhost: no
  msg-cache-size: 4m
  rrset-cache-size: 8m
  edns-buffer-size: 1232
{listen}{allow}auth-zone:
  name: "{domain}."
  zonefile: "{directory}/zone"
  for-downstream: yes
  for-upstream: no
remote-control:
  control-enable: yes
  control-interface: "{directory}/control.sock"
  control-use-cert: no
{forward}"""
