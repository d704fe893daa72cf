"""Flows that go on to a task which is no endpoint any more, or no more at all: forgotten.

Address translation looks at the first packet of a flow, and for UDP a flow lasts as long as the
client sends from the same port: it would never learn that its endpoint has gone, nor that one has
come. So after changes all flows are compared with the rules: those of frontends that have
endpoints, that have none, and that are no more. What is right stays; nothing is flushed.

Connections of TCP must last while their task does, though it drains. Afterwards nobody answers
them, above all when a host lost its power, and for minutes they take a new connection from the
same port of the client with them. Once forgotten, what a client sends goes to another task, which
does not know the connection: a reset tells the client. If it has not been answered yet, its next
try begins a connection. A task that was given up for lost may run, because its agent alone is
dead: as long as it answers, its connections stay.
"""

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Set
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
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
_ESTABLISHED = re.compile(r"^tcp +6 +(\d+) ESTABLISHED src=.* src=(\S+) dst=", re.MULTILINE)
_ESTABLISHED_SECONDS = Path("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established")
"""How long an open connection is remembered after its last packet. It is a few minutes only, once
something was sent that is not acknowledged."""
ANSWERS_SECONDS = 3
"""A task that acknowledged something within this time is there. Less than the shortest time after
which a host without power is missed."""


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
        """Forget flows of UDP that go where they should not any more; how many kinds there were."""
        flows = set(_flows(await self._list(Protocol.UDP)))
        if not flows:
            return 0
        found = stale(flows, config, endpoints, await local_addresses())
        await self._forget(found, Protocol.UDP)
        return len(found)

    async def end_connections(
        self, config: BalancerConfig, is_there: Callable[[str], bool]
    ) -> bool:
        """Forget connections of TCP to tasks that are not there any more; whether none are left.
        Those of a task that answers all the same are."""
        printed = await self._list(Protocol.TCP)
        flows = set(_flows(printed))
        if not flows:
            return True
        answer = answering(printed, _established_seconds())
        found = dangling(flows, config, is_there, await local_addresses())
        left = {flow for flow in found if flow.answerer in answer}
        await self._forget(found - left, Protocol.TCP)
        return not left

    async def _list(self, protocol: Protocol) -> str:
        code, printed, complaint = await run((self._command, "-L", "-p", protocol.value))
        if code:
            raise DriverError(f"cannot list flows: {complaint}")
        return printed

    async def _forget(self, kinds: Set[Flow], protocol: Protocol) -> None:
        """All flows of these kinds. That none was left (exit code 1) is as well."""
        for flow in sorted(kinds):
            to = ("--orig-dst", flow.destination, "--orig-port-dst", str(flow.port))
            of = ("--reply-src", flow.answerer)
            await run((self._command, "-D", "-p", protocol.value, *to, *of))
        if kinds:
            name = protocol.value.upper()
            log.info("flows of %s to tasks that have gone: %d kinds forgotten", name, len(kinds))


def _flows(printed: str) -> Iterable[Flow]:
    return (
        Flow(match[1], int(match[2]), match[3], int(match[4])) for match in _FLOW.finditer(printed)
    )


def _established_seconds() -> int:
    try:
        return int(_ESTABLISHED_SECONDS.read_text())
    except (OSError, ValueError) as error:
        raise DriverError(f"cannot read how long connections are remembered: {error}") from error


def answering(printed: str, established_seconds: int) -> set[str]:
    """Who acknowledged all that was sent on a connection, the last of it just now."""
    since = established_seconds - ANSWERS_SECONDS
    return {match[2] for match in _ESTABLISHED.finditer(printed) if int(match[1]) >= since}


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


def dangling(
    flows: Iterable[Flow],
    config: BalancerConfig,
    is_there: Callable[[str], bool],
    local: Set[str],
) -> set[Flow]:
    """Connections that were sent to a task which is not there any more."""
    vips, tasks = IPv4Network(config.vip_network), IPv4Network(config.task_network)
    return {
        flow
        for flow in flows
        if not is_there(flow.answerer)
        and IPv4Address(flow.answerer) in tasks
        and flow.answerer != flow.destination
        and (flow.destination in local or IPv4Address(flow.destination) in vips)
    }
