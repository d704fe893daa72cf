"""The name server of this host: unbound, with the names of services as local data. Implements
`ports.Resolver`.

unbound runs as a unit of its own (roles/dns) from files that are written here, so that it answers
when the agent and all managers are dead, also after a restart of the host. It is told what changes
over its control socket, by the commands of `unbound_plan.py`; the files follow. They are many, so
that a change writes a small one, and are not synced: who starts the host starts the worker too,
which puts right what a power cut took.

While the file `changing` is there, unbound may know something else than the files. Who finds it, or
finds unbound with other settings, writes all files anew and restarts it: that costs a pause, and no
wrong answer. So does, now and then, memory: unbound frees that of local data only when it ends
(about 2 KB for each change of three addresses).

`reload` has stopped unbound before (NLnetLabs/unbound #1230). In Debian 12's version zones that are
added by command harm others (#868), so none is; and it reads the end of a command for ever if it
ends without its last line, so a command is handed to the kernel in one piece.

Files are in unbound's own directory: Debian's AppArmor profile lets it read nowhere else.
"""

import asyncio
import os
import re
import socket
import zlib
from collections.abc import Awaitable, Callable, Iterable, Mapping
from ipaddress import ip_address
from pathlib import Path

from warren import files
from warren.drivers import commands, unbound_plan
from warren.drivers.ports import ResolverConfig
from warren.model.errors import DriverError
from warren.state import maps

DIRECTORY = Path("/var/lib/unbound/warren")
UNIT = "warren-dns.service"
PIECES = 64
MEMORY_BYTES_GROWN_MAX = 64 << 20
"""Above twice what unbound had at its start: 50 MB with 10,000 services of three tasks."""
_LINES_MAX = 500
_COMMAND_BYTES_MAX = 4 << 20
_ANSWER_SECONDS = 5.0
_PAUSE = 0.02


class _Told:
    """What unbound knows of services, in the pieces that are files."""

    def __init__(self) -> None:
        self.pieces: tuple[dict[str, tuple[str, ...]], ...] = tuple({} for _ in range(PIECES))
        self.as_wished: Mapping[str, tuple[str, ...]] | None = None
        """The last wish, if nothing of it was refused."""
        self.memory_bytes = 0
        """What unbound had when it had started."""

    def of(self, service: str) -> tuple[str, ...]:
        return self.pieces[_piece(service)].get(service, ())

    def put(self, service: str, records: tuple[str, ...]) -> None:
        if records:
            self.pieces[_piece(service)][service] = records
        else:
            self.pieces[_piece(service)].pop(service, None)

    def differing(self, names: Mapping[str, tuple[str, ...]]) -> list[str]:
        """Services of which it knows something else."""
        if self.as_wished is None:
            looked_at: Iterable[str] = {*names, *(name for piece in self.pieces for name in piece)}
        else:
            looked_at = maps.changed_keys(self.as_wished, names)
        return sorted(name for name in looked_at if names.get(name, ()) != self.of(name))


class Unbound:
    """Tells unbound what changed, and keeps it on disk."""

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
        self._told: _Told | None = None
        """None: to be found out from the files."""
        self._changing = directory / "changing"

    async def apply(self, config: ResolverConfig, names: Mapping[str, tuple[str, ...]]) -> None:
        async with self._lock:
            settings = self._settings(config)
            told, self._told = self._told or self._read_told(config.domain), None
            fits = told is not None and settings == self._read("unbound.conf")
            process = await self._process()
            if told is None or not fits or process is None or _has_grown(process, told):
                told, mistakes = await self._begin(settings, names)
            else:
                mistakes = await self._change(told, process, names)
            told.as_wished = None if mistakes else names
            self._told = told
            if mistakes:
                raise DriverError("; ".join(mistakes))

    async def close(self) -> None:
        """Nothing is open; it goes on answering."""

    async def _begin(
        self, settings: str, names: Mapping[str, tuple[str, ...]]
    ) -> tuple[_Told, tuple[str, ...]]:
        """From nothing; and what is wrong with names that were left out."""
        told = _Told()
        mistakes = {name: unbound_plan.mistake(records) for name, records in names.items()}
        for name, records in names.items():
            if not mistakes[name]:
                told.put(name, records)
        self._mark_changing()
        self._write_pieces(told, range(PIECES))
        self._write("unbound.conf", settings)
        await self._restart()
        told.memory_bytes = _memory_bytes(await self._wait_up())
        self._write("memory", str(told.memory_bytes))
        self._changing.unlink()
        return told, _complaints(mistakes)

    async def _change(
        self, told: _Told, process: int, names: Mapping[str, tuple[str, ...]]
    ) -> tuple[str, ...]:
        """What differs; and what is wrong with names that stay as they are."""
        differing = told.differing(names)
        mistakes = {name: unbound_plan.mistake(names.get(name, ())) for name in differing}
        good = [name for name in differing if not mistakes[name]]
        if not good:
            return _complaints(mistakes)
        self._mark_changing()
        changes = (unbound_plan.change(told.of(name), names.get(name, ())) for name in good)
        for batch in unbound_plan.in_batches(changes, _LINES_MAX):
            await self._tell(batch)
        if await self._process() != process:
            raise DriverError("unbound was restarted while it was told of changes")
        for name in good:
            told.put(name, names.get(name, ()))
        self._write_pieces(told, {_piece(name) for name in good})
        self._changing.unlink()
        return _complaints(mistakes)

    async def _tell(self, change: unbound_plan.Change) -> None:
        for command, lines in (
            ("view_local_datas copies", change.copy),
            ("local_datas_remove", change.take),
            ("local_datas", change.add),
            ("view_local_datas_remove copies", change.uncover),
        ):
            if lines:
                answer = await self._ask(command, lines)
                if f" {len(lines)} " not in answer:
                    raise DriverError(f"unbound refused to change names: {answer}")

    def _settings(self, config: ResolverConfig) -> str:
        forwarders = config.forwarders or self._forwarders_of_host(config.listen)
        return settings(config, forwarders, self._directory)

    def _forwarders_of_host(self, own: tuple[str, ...]) -> tuple[str, ...]:
        try:
            text = self._resolv_conf.read_text(errors="replace")
        except OSError:
            return ()
        return tuple(address for address in name_servers(text) if address not in own)

    def _read_told(self, domain: str) -> _Told | None:
        """What the files say, if they say what unbound knows."""
        if self._changing.exists():
            return None
        told = _Told()
        memory = self._read("memory")
        told.memory_bytes = int(memory) if memory.isdecimal() else 0
        for number in range(PIECES):
            text = self._read(_piece_name(number))
            if not text:
                return None
            for service, records in _by_service(text, domain).items():
                told.put(service, records)
        return told

    def _write_pieces(self, told: _Told, numbers: Iterable[int]) -> None:
        for number in numbers:
            piece = sorted(told.pieces[number].items())
            lines = (f"local-data: '{record}'\n" for _, records in piece for record in records)
            self._write(_piece_name(number), "server:\n" + "".join(lines))

    def _mark_changing(self) -> None:
        try:
            self._changing.touch()
        except OSError as error:
            raise DriverError(f"{self._changing} cannot be made: {error.strerror}") from error

    def _write(self, name: str, text: str) -> None:
        """What was there stays whole until the new is."""
        path = self._directory / name
        try:
            files.write_whole(path, text.encode(), mode=0o644, durable=False)
        except OSError as error:
            raise DriverError(f"{path} cannot be written: {error.strerror}") from error

    def _read(self, name: str) -> str:
        try:
            return (self._directory / name).read_text(errors="replace")
        except FileNotFoundError:
            return ""

    async def _process(self) -> int | None:
        """The id of unbound's process; None if it does not answer."""
        try:
            found = re.search(r"\(pid (\d+)\) is running", await self._ask("status"))
        except DriverError:
            return None
        return None if found is None else int(found[1])

    async def _wait_up(self) -> int:
        """The id of its process."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                while (process := await self._process()) is None:  # noqa: ASYNC110 - nothing tells
                    await asyncio.sleep(_PAUSE)
        except TimeoutError:
            raise DriverError(f"unbound does not answer; see journalctl -u {UNIT}") from None
        return process

    async def _ask(self, command: str, lines: Iterable[str] = ()) -> str:
        """The last line of the answer on the control socket."""
        data = "".join(f"{line}\n" for line in (f"UBCT1 {command}", *lines))
        if lines:
            data += _END
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                reader, writer = await asyncio.open_unix_connection(
                    self._directory / "control.sock"
                )
                try:
                    # Were it written in two, and this process killed between them, see above.
                    writer.get_extra_info("socket").setsockopt(
                        socket.SOL_SOCKET, socket.SO_SNDBUF, _COMMAND_BYTES_MAX
                    )
                    writer.write(data.encode())
                    await writer.drain()
                    answer = await reader.read()
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            raise DriverError(f"unbound does not answer: {error}") from error
        return answer.decode(errors="replace").strip().rpartition("\n")[2]


def _piece(service: str) -> int:
    return zlib.crc32(service.encode()) % PIECES


def _piece_name(number: int) -> str:
    return f"names-{number:02}.conf"


def _by_service(text: str, domain: str) -> dict[str, tuple[str, ...]]:
    """Of a piece: the label before the domain is the service's."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        kind, _, record = line.partition(" ")
        if kind == "local-data:":
            record = record.strip("'")
            name = record.partition(" ")[0].removesuffix(f".{domain}.")
            found.setdefault(name.rpartition(".")[2], []).append(record)
    return {service: tuple(records) for service, records in found.items()}


def _complaints(mistakes: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(
        f"names of service {service} are not answered as they should be: {mistake}"
        for service, mistake in mistakes.items()
        if mistake
    )


def _has_grown(process: int, told: _Told) -> bool:
    """Names that came are a reason too: once, as it is measured again when it has started."""
    return _memory_bytes(process) > 2 * told.memory_bytes + MEMORY_BYTES_GROWN_MAX


def _memory_bytes(process: int) -> int:
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def settings(config: ResolverConfig, forwarders: tuple[str, ...], directory: Path) -> str:
    """unbound.conf. Without forwarders, unbound asks the root servers itself."""
    listen = "".join(f"  interface: {address}\n" for address in config.listen)
    allowed = (*config.allow, *(f"{address}/32" for address in config.listen), "127.0.0.0/8")
    allow = "".join(
        f"  access-control: {network} allow\n  access-control-view: {network} copies\n"
        for network in allowed
    )
    forward = "".join(f"  forward-addr: {address}\n" for address in forwarders)
    forward = f'forward-zone:\n  name: "."\n{forward}' if forward else ""
    return _SETTINGS.format(
        directory=directory,
        listen=listen,
        allow=allow,
        domain=config.domain,
        start=_START.format(domain=config.domain),
        pieces="".join(f'include: "{directory}/{_piece_name(n)}"\n' for n in range(PIECES)),
        forward=forward,
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
  so-rcvbuf: 4m
  so-sndbuf: 4m
  msg-cache-size: 4m
  rrset-cache-size: 8m
  edns-buffer-size: 1232
{listen}{allow}  local-zone: "{domain}." static
  local-data: '{start}'
remote-control:
  control-enable: yes
  control-interface: "{directory}/control.sock"
  control-use-cert: no
view:
  name: copies
  view-first: yes
  local-zone: "{domain}." transparent
  local-data: '{start}'
{forward}{pieces}"""
_START = "{domain}. 5 IN SOA ns.{domain}. hostmaster.{domain}. 1 3600 600 2147483647 5"
"""What makes a domain of it: answers that deny carry it, and are good for 5 seconds too."""
_END = "\x04\n"
