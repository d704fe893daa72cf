"""Virtual addresses and published ports of this host, as one nftables table.

Implements `ports.Balancer`. What should be there is worked out by `balancer_plan.py` and written
down by one of two layouts (`nftables_ranges.py`, `nftables_chains.py`), chosen by a trial at the
first call. A change is one transaction of `nft -f -` that names what differs from what is there.
Rules and chains stay: were the table replaced, a packet between its old and its new hook would meet
neither, and a client would be refused. Connections that are open go on: address translation sees
only the first packet of each.

The table carries a mark, the digest of rules and contents. So a new process finds out by one
question whether all is as it should be, and then touches nothing; and rules that somebody removed
or another program flushed are found missing.

127.0.0.1 is not published: the kernel does not translate loopback addresses unless `route_localnet`
is on, which would let neighbours in. Another table's `drop` still wins over all of this; finding
those is preflight's business.
"""

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from ipaddress import IPv6Address

from warren.drivers import balancer_plan, balancer_trial, nftables_text
from warren.drivers.balancer_plan import Changes, Frontend, Plan
from warren.drivers.balancer_route import ensure_route
from warren.drivers.balancer_trial import LAYOUTS
from warren.drivers.commands import run
from warren.drivers.conntrack import Conntrack
from warren.drivers.listeners import Held, Listeners
from warren.drivers.nftables_text import TABLE, Layout, Rules
from warren.drivers.ports import BalancerConfig, HeldPort
from warren.model.assignments import ServiceTraffic
from warren.model.errors import DriverError
from warren.model.services import Protocol

log = logging.getLogger(__name__)


class Nftables:
    """Writes what changed, and everything when somebody else removed it."""

    def __init__(
        self,
        command: Sequence[str] = ("nft",),
        *,
        conntrack: Conntrack | None = None,
        layout: str = "",
        pause_s: float = 1.0,
    ) -> None:
        """Without a `layout`, the first that passes its trial on this host is taken. `pause_s`:
        between two looks at all connections, of which a busy host has many."""
        self._command = tuple(command)
        self._conntrack = conntrack or Conntrack()
        self._listeners = Listeners()
        self._layout = LAYOUTS[layout]() if layout else None
        self._config: BalancerConfig | None = None
        self._rules = Rules("", "")
        self._plan = Plan("")
        self._digest = 0
        """Of the plan."""
        self._is_in_kernel = False
        """What the kernel has is the plan, as far as we know."""
        self._installed: frozenset[Frontend] = frozenset()
        """Published ports that the kernel has: a process that comes later does not get them."""
        self._held: dict[Frontend, str] = {}
        self._had_udp = True
        """Flows of UDP may be there: at first, those of an earlier process."""
        self._may_dangle = True
        """Connections to tasks that have gone may be there: likewise."""
        self._looked_at = -pause_s
        """When they were looked for, by the loop's clock."""
        self._pause_s = pause_s
        self._trouble_with_flows = ""
        self._lock = asyncio.Lock()

    @property
    def layout(self) -> str:
        """Name of the layout in use; empty before the first call of `apply`."""
        return self._layout.name if self._layout is not None else ""

    async def apply(
        self, config: BalancerConfig, services: Mapping[str, ServiceTraffic]
    ) -> tuple[HeldPort, ...]:
        async with self._lock:
            layout = self._layout or await self._choose_layout(config)
            if config != self._config:
                await self._begin(config, layout)
            await self._find_held(config, services)
            changes = self._plan.change(services, frozenset(self._held))
            mark, self._digest = self._mark, self._digest + balancer_plan.digest(changes)
            try:
                if not self._is_in_kernel or not changes:
                    await self._look_after(config, layout)
                else:
                    await self._change(layout, changes, mark)
            except BaseException:
                self._is_in_kernel = False
                raise
            self._installed = self._plan.published(services) - self._held.keys()
            await self._tidy_flows(config, changes)
            return self._report()

    async def close(self) -> None:
        """Nothing is open; the rules stay."""

    async def _choose_layout(self, config: BalancerConfig) -> Layout:
        """The one that is in use, or the first that works."""
        complaints = []
        for name, layout in LAYOUTS.items():
            rules = nftables_text.rules(config, layout())
            if await self._contents(rules) is not None:
                self._layout = layout()
                return self._layout
            complaint = await balancer_trial.attempt(name, self._command)
            if not complaint:
                log.info("balancer: layout %s", name)
                self._layout = layout()
                return self._layout
            log.warning("balancer: layout %s does not work on this host: %s", name, complaint)
            complaints.append(f"layout {name}: {complaint}")
        raise DriverError(f"nftables of this host cannot balance: {'; '.join(complaints)}")

    async def _begin(self, config: BalancerConfig, layout: Layout) -> None:
        """With other rules than before, or at the start."""
        self._config, self._is_in_kernel = config, False
        self._rules = nftables_text.rules(config, layout)
        self._plan, self._held = Plan(config.node_id), {}
        self._digest = 0
        self._installed = await self._published_in_kernel()

    async def _find_held(
        self, config: BalancerConfig, services: Mapping[str, ServiceTraffic]
    ) -> None:
        """Ports that processes of this host hold are left to them, but for those that we have:
        who comes later does not get what is in use. Only others are looked for, as a look costs the
        kernel a walk through all connections."""
        missing = self._plan.published(services) - self._installed
        found: Mapping[Held, str] = {}
        if missing:
            wanted = {(frontend.protocol, frontend.port) for frontend in missing}
            found = await self._listeners.held(wanted, besides=config.gateway)
        known = self._held
        self._held = {Frontend("", *port): holder for port, holder in found.items()}
        for frontend in self._held.keys() - known.keys():
            port = f"{frontend.port}/{frontend.protocol.value}"
            log.warning("published port %s is left to %s", port, self._held[frontend])

    async def _look_after(self, config: BalancerConfig, layout: Layout) -> None:
        """Nothing changed, or what the kernel has is not known: look, and load all if need be."""
        await ensure_route(config)
        contents = await self._contents(self._rules)
        if contents is None or self._mark not in contents.split():
            await self._load(layout, has_rules=contents is not None)
        self._is_in_kernel = True

    async def _change(self, layout: Layout, changes: Changes, before: str) -> None:
        text = nftables_text.change(
            layout, changes, contents=self._rules.contents, marks=(before, self._mark)
        )
        code, _, complaint = await self._nft("-f", "-", text=text)
        if code:
            log.warning("balancer: a change was refused, all is loaded anew: %s", complaint)
            contents = await self._contents(self._rules)
            await self._load(layout, has_rules=contents is not None)

    async def _load(self, layout: Layout, *, has_rules: bool) -> None:
        """Everything as one transaction; rules and chains stay, if they are what they should be."""
        name = self._rules.contents
        empty = nftables_text.flush(layout, name)
        begin = (empty if has_rules else "") or self._rules.text
        everything = nftables_text.change(
            layout, self._plan.everything(), contents=name, marks=("", self._mark)
        )
        code, _, complaint = await self._nft("-f", "-", text=begin + everything)
        if code:
            raise DriverError(f"nftables refused the rules: {complaint}")

    @property
    def _mark(self) -> str:
        """Stands in the table for all that is in it."""
        return str(IPv6Address(self._digest % 2**128))

    async def _contents(self, rules: Rules) -> str | None:
        """The listing of the set with the mark; None if the table is not made from these rules."""
        code, printed, _ = await self._nft("list", "set", *TABLE.split(), rules.contents)
        return printed if code == 0 else None

    async def _published_in_kernel(self) -> frozenset[Frontend]:
        """By an earlier process, or under other rules."""
        code, printed, _ = await self._nft("-j", "list", "map", *TABLE.split(), "unmatched")
        if code:
            return frozenset()
        found = next(item["map"] for item in json.loads(printed)["nftables"] if "map" in item)
        keys = (key["concat"] for key, _ in found.get("elem", ()))
        return frozenset(Frontend("", Protocol(protocol), port) for protocol, port in keys)

    async def _tidy_flows(self, config: BalancerConfig, changes: Changes) -> None:
        """What goes wrong holds up nothing else: the rules are in place."""
        trouble = ""
        try:
            await self._reconcile_datagrams(config, changes)
            await self._end_connections(config, changes)
        except DriverError as error:
            trouble = str(error)
        if trouble and trouble != self._trouble_with_flows:
            log.warning("balancer: flows may go to tasks that have gone: %s", trouble)
        self._trouble_with_flows = trouble

    async def _reconcile_datagrams(self, config: BalancerConfig, changes: Changes) -> None:
        """After changes to UDP, and now and then: a flow may have begun just before a change."""
        changed = any(f.protocol is Protocol.UDP for f in (*changes.before, *changes.after))
        if not changed and (changes or not self._had_udp):
            return
        endpoints = self._plan.udp()
        await self._conntrack.reconcile(config, endpoints)
        self._had_udp = bool(endpoints)

    async def _end_connections(self, config: BalancerConfig, changes: Changes) -> None:
        """What is left when it is too early, the next call does, a few seconds from now at most."""
        self._may_dangle |= bool(changes.gone)
        now = asyncio.get_running_loop().time()
        if not config.ends_connections or not self._may_dangle:
            return
        if now - self._looked_at < self._pause_s:
            return
        self._looked_at = now
        self._may_dangle = not await self._conntrack.end_connections(config, self._plan.has)

    def _report(self) -> tuple[HeldPort, ...]:
        return tuple(
            HeldPort(
                service=self._plan.holder(frontend),
                port=frontend.port,
                protocol=frontend.protocol,
                holder=holder,
            )
            for frontend, holder in sorted(self._held.items(), key=_place)
            if self._plan.holder(frontend)
        )

    async def _nft(self, *arguments: str, text: str = "") -> tuple[int, str, str]:
        return await run((*self._command, *arguments), text)


def _place(item: tuple[Frontend, str]) -> tuple[int, str]:
    return item[0].port, item[0].protocol.value
