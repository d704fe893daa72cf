"""Virtual addresses: one for each service, from the cluster's pool, for life.

The search for a free one begins at a place that the name decides: so the address of a service that
was removed is not soon another's, while clients and caches may still use it, and a service that is
made anew most likely gets the one that it had.
"""

import zlib
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Network

from warren.core.decisions import Decision
from warren.model.errors import FailedPrecondition
from warren.model.services import Service
from warren.state.cluster import ClusterState
from warren.state.commands import SetServiceVip


def decide(state: ClusterState, among: Iterable[str] | None = None) -> Decision:
    """An address for every service without one, as long as there are any. `among`: names of the
    services to look at, if not all."""
    names = state.services if among is None else among
    services = (state.services[name] for name in names if name in state.services)
    without = [service for service in services if not service.vip and not service.removing]
    if state.cluster is None or not without:
        return Decision()
    pool = _pool(state.cluster.spec.vip_network)
    taken = {service.vip for service in state.services.values() if service.vip}
    commands: list[SetServiceVip] = []
    for service in sorted(without, key=lambda service: service.spec.name):
        vip = _free(pool, taken, service.spec.name)
        if vip is None:
            break
        taken.add(vip)
        commands.append(SetServiceVip(name=service.spec.name, vip=vip))
    return Decision(commands=tuple(commands))


def check_room(state: ClusterState) -> None:
    """FailedPrecondition if there is no address for one more service."""
    if shortage := _shortage(state):
        raise FailedPrecondition(shortage)


def explain_none(state: ClusterState, service: Service) -> str:
    """Why the service has no address; empty if it has one, or is about to get it."""
    return "" if service.vip else _shortage(state)


def size(vip_network: str) -> int:
    """How many services can have an address."""
    return _size(_pool(vip_network))


def _shortage(state: ClusterState) -> str:
    if state.cluster is None:
        return ""
    pool = _pool(state.cluster.spec.vip_network)
    if len(state.services) < _size(pool):
        return ""
    count = _size(pool)
    addresses = f"{count} {'address' if count == 1 else 'addresses'}"
    return f"vip_network {pool} is full: its {addresses} belong to other services"


@lru_cache(maxsize=8)
def _pool(vip_network: str) -> IPv4Network:
    return IPv4Network(vip_network)


def _size(pool: IPv4Network) -> int:
    """Without the addresses of the network itself and of broadcasts."""
    return pool.num_addresses - 2 if pool.prefixlen < 31 else pool.num_addresses


def _free(pool: IPv4Network, taken: set[str], name: str) -> str | None:
    first = 1 if pool.prefixlen < 31 else 0
    count = _size(pool)
    if len(taken) >= count:
        return None
    start = zlib.crc32(name.encode()) % count
    places = (first + (start + step) % count for step in range(count))
    return next((vip for place in places if (vip := str(pool[place])) not in taken), None)
