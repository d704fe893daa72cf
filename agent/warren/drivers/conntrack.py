"""Flows of UDP that go on to an endpoint which is none any more: forgotten by the kernel.

Address translation looks at the first packet of a flow, and for UDP a flow lasts as long as the
client sends from the same port: it would never learn that its endpoint has gone, nor that one has
come. So after changes all flows are compared with the rules: those of frontends that have
endpoints, that have none, and that are no more. What is right stays; nothing is flushed. TCP is
left alone: its connections end by themselves, and must last until then.
"""

import logging
import re
from collections.abc import Iterable, Mapping, Set
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from warren.drivers.balancer_plan import Frontend
from warren.drivers.balancer_route import local_addresses
from warren.drivers.commands import run
from warren.drivers.ports import BalancerConfig
from warren.model.errors import DriverError
from warren.model.services import Protocol

log = logging.getLogger(__name__)

Endpoints = Mapping[Frontend, Set[tuple[str, int]]]

_FLOW = re.compile(
    r"src=\S+ dst=(\S+) sport=\d+ dport=(\d+) .*?src=(\S+) dst=\S+ sport=(\d+) dport=\d+"
)


class Flow(NamedTuple):
    """What a client sends to, and who answers it."""

    destination: str
    port: int
    answerer: str
    answerer_port: int


class Conntrack:
    """By the program `conntrack`, because it filters in C: a busy host has many flows."""

    def __init__(self, command: str = "conntrack") -> None:
        self._command = command

    async def reconcile(self, config: BalancerConfig, endpoints: Endpoints) -> int:
        """Forget the flows that go where they should not any more; how many kinds there were."""
        flows = set(await self._flows())
        if not flows:
            return 0
        found = stale(flows, config, endpoints, await local_addresses())
        for flow in sorted(found):
            await self._forget(flow)
        if found:
            log.info("flows of UDP to endpoints that have gone: %d kinds forgotten", len(found))
        return len(found)

    async def _flows(self) -> Iterable[Flow]:
        code, printed, complaint = await run((self._command, "-L", "-p", "udp"))
        if code:
            raise DriverError(f"cannot list flows: {complaint}")
        return (
            Flow(match[1], int(match[2]), match[3], int(match[4]))
            for match in _FLOW.finditer(printed)
        )

    async def _forget(self, flow: Flow) -> None:
        """All flows of this kind. That none was left (exit code 1) is as well."""
        filters = ("--orig-dst", flow.destination, "--orig-port-dst", str(flow.port))
        await run((self._command, "-D", "-p", "udp", *filters, "--reply-src", flow.answerer))


def stale(
    flows: Iterable[Flow], config: BalancerConfig, endpoints: Endpoints, local: Set[str]
) -> set[Flow]:
    """Flows that a new packet would not begin like this. `local`: addresses of this host."""
    vips, tasks = IPv4Network(config.vip_network), IPv4Network(config.task_network)
    found = set()
    for flow in flows:
        destination = IPv4Address(flow.destination)
        target = (flow.answerer, flow.answerer_port)
        if destination in vips:
            right = endpoints.get(Frontend(flow.destination, Protocol.UDP, flow.port), ())
        elif flow.destination in local:
            published = endpoints.get(Frontend("", Protocol.UDP, flow.port))
            translated = flow.answerer != flow.destination
            if published is None and not (translated and IPv4Address(flow.answerer) in tasks):
                continue  # a flow of the host's own, or translated by somebody else
            right = published or ()
        else:
            continue
        if target not in right:
            found.add(flow)
    return found
