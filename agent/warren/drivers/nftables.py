"""Published ports of this host and the way out of the task network, as one nftables table.

Implements `ports.Publisher`. A single interval map holds every endpoint of every port, keyed by
`protocol . port . random`: balancing needs one rule, whatever the number of ports, and a change is
one transaction that replaces the elements of our sets. Rules and chains stay: were the table
replaced, a packet between its old and its new hook would meet neither, and a client would be
refused (about one in a thousand changes under load). Connections that are open go on: address
translation sees only the first packet of each.

A port without endpoints is refused at once. 127.0.0.1 is not published: the kernel does not
translate loopback addresses unless `route_localnet` is on, which would let neighbours in.
Another table's `drop` still wins over all of this; finding those is preflight's business.

Flows of UDP stay with an endpoint that has gone, until conntrack forgets them (30 s of silence):
reconciling conntrack comes with virtual addresses.
"""

import asyncio
import hashlib
from collections.abc import Iterable, Iterator, Sequence

from warren.model.assignments import Endpoint, PublishedPort
from warren.model.errors import DriverError
from warren.model.services import PortMode

_SHARES = 10_000
"""Into how many parts a port's traffic is cut: weights are exact to 1/10000."""
_KEY = f"ip protocol . th dport . numgen random mod {_SHARES}"
_TIMEOUT = 30.0


class Nftables:
    """Writes what changed, and everything when somebody else removed it."""

    def __init__(self, command: Sequence[str] = ("nft",)) -> None:
        self._command = tuple(command)
        self._applied = ""
        self._lock = asyncio.Lock()

    async def apply(
        self,
        ports: tuple[PublishedPort, ...],
        *,
        task_network: str,
        mesh_interface: str,
        node_id: str,
    ) -> None:
        rules = table(task_network=task_network, mesh_interface=mesh_interface)
        wanted = elements(ports, node_id=node_id)
        async with self._lock:
            present = await self._is_present(rules)
            if present and self._applied == wanted:
                return
            self._applied = ""  # unknown, should this be interrupted
            failure = await self._run("-f", "-", text=wanted) if present else "absent"
            if failure:
                failure = await self._run("-f", "-", text=rules + wanted)
            if failure:
                raise DriverError(f"nftables refused the published ports: {failure}")
            self._applied = wanted

    async def close(self) -> None:
        """Nothing is open; the rules stay."""

    async def _is_present(self, rules: str) -> bool:
        """Our table is there, made from these very rules, maybe by an earlier process.

        `nft flush ruleset`, or a restart of nftables.service, takes it along.
        """
        return not await self._run("list", "chain", "ip", "warren", _layout(rules))

    async def _run(self, *arguments: str, text: str = "") -> str:
        """First line of what nft complained of; empty when it succeeded."""
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
        except FileNotFoundError as error:
            raise DriverError("nft is not installed on this node") from error
        try:
            async with asyncio.timeout(_TIMEOUT):
                _, errors = await process.communicate(text.encode())
        except BaseException as error:
            process.kill()
            await process.wait()
            if isinstance(error, TimeoutError):
                raise DriverError(f"nft did not end within {_TIMEOUT:.0f} s") from error
            raise
        if process.returncode == 0:
            return ""
        return next(iter(errors.decode(errors="replace").splitlines()), "no reason given")


def table(*, task_network: str, mesh_interface: str) -> str:
    """The table with all rules and empty sets, replacing any other. Names its own layout."""
    rules = _TABLE.format(key=_KEY, tasks=task_network, mesh=mesh_interface)
    return f"{rules}add chain ip warren {_layout(rules)}\n"


def elements(ports: tuple[PublishedPort, ...], *, node_id: str) -> str:
    """All that is in our sets, as one transaction. The same input gives the same text."""
    answering = {port: _endpoints(port, node_id) for port in sorted(ports, key=_port_key)}
    local = {
        endpoint.address
        for endpoints in answering.values()
        for endpoint in endpoints
        if endpoint.node_id == node_id
    }
    parts = (line for port, found in answering.items() for line in _parts(port, found))
    refused = (_port_key(port) for port, found in answering.items() if not found)
    hairpin = (f"{address} . {address}" for address in sorted(local))
    return (
        "flush map ip warren endpoints\n"
        "flush set ip warren refused\n"
        "flush set ip warren hairpin\n"
        f"{_addition('endpoints', parts)}{_addition('refused', refused)}"
        f"{_addition('hairpin', hairpin)}"
    )


def _endpoints(port: PublishedPort, node_id: str) -> tuple[Endpoint, ...]:
    """Those that this node sends connections to, in a fixed order."""
    here = (e for e in port.endpoints if port.mode is PortMode.MESH or e.node_id == node_id)
    return tuple(sorted(here, key=lambda e: (e.address, e.port)))


def _parts(port: PublishedPort, endpoints: tuple[Endpoint, ...]) -> Iterator[str]:
    """Equal, adjoining parts of the range of random numbers, one per endpoint."""
    bounds = [index * _SHARES // len(endpoints) for index in range(len(endpoints))] + [_SHARES]
    for endpoint, first, end in zip(endpoints, bounds, bounds[1:], strict=False):
        yield f"{_port_key(port)} . {first}-{end - 1} : {endpoint.address} . {endpoint.port}"


def _port_key(port: PublishedPort) -> str:
    return f"{port.protocol.value} . {port.published}"


def _addition(name: str, lines: Iterable[str]) -> str:
    """nft refuses an empty list of elements."""
    text = ",\n  ".join(lines)
    return f"add element ip warren {name} {{\n  {text}\n}}\n" if text else ""


def _layout(rules: str) -> str:
    """Name of an empty chain that tells which rules the table was made from."""
    own = rules.partition("add chain ")[0]
    return f"layout_{hashlib.sha256(own.encode()).hexdigest()[:16]}"


# A refusal looks at new connections only: the host's own may use any port as their source.
_TABLE = """\
add table ip warren
delete table ip warren
table ip warren {{
  map endpoints {{
    typeof {key} : ip daddr . th dport
    flags interval
  }}
  set refused {{
    type inet_proto . inet_service
  }}
  set hairpin {{
    type ipv4_addr . ipv4_addr
  }}
  chain balance {{
    ip daddr 127.0.0.0/8 return
    meta l4proto {{ tcp, udp }} dnat ip to {key} map @endpoints
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    fib daddr type local jump balance
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    fib daddr type local jump balance
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ct status dnat oifname "{mesh}" masquerade fully-random
    ct status dnat ip saddr . ip daddr @hairpin masquerade fully-random
    ip saddr {tasks} ip daddr != {tasks} oifname != "{mesh}" masquerade fully-random
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    ct state new ip protocol . th dport @refused jump refuse
  }}
  chain refuse {{
    meta l4proto tcp reject with tcp reset
    reject with icmp type port-unreachable
  }}
  chain forward {{
    type filter hook forward priority mangle; policy accept;
    oifname "{mesh}" tcp flags syn tcp option maxseg size set rt mtu
    ip daddr {tasks} tcp flags syn tcp option maxseg size set rt mtu
  }}
}}
"""
