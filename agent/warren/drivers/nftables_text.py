"""The nftables table of the balancer as text: what both layouts of it have in common.

A layout says how a frontend finds its endpoint: `nftables_ranges.py` with one map of intervals,
`nftables_chains.py` with a chain per frontend. Here is all around it: hooks, refusals, sources.

A packet to a frontend that got no endpoint is refused in the filter hooks, at once. If the frontend
does have endpoints, the packet is dropped instead: kernels before 6.17 can miss, for a moment, an
interval that is just being replaced, and a first packet that was dropped is sent again, while a
refusal is final.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from warren.drivers.balancer_plan import Balance, Changes, Frontend
from warren.drivers.ports import BalancerConfig

TABLE = "ip warren"
SOURCE_HASH = "jhash ip saddr mod 10000 seed 0x77617272"
"""With a seed of ours all hosts choose the same endpoint for a client."""
_AT_ONCE = 500
"""Elements in a statement. Where one is too long for a netlink message, nft 1.0.6 cuts it wrongly
and the kernel refuses it: `File exists`, or `No buffer space available`."""


class Layout(Protocol):
    """One way to write the rules down."""

    name: str

    def declarations(self) -> str:
        """The maps, and the chains `virtual` and `published`, within the table."""

    def flush(self) -> str:
        """Empty what is declared, and begin again. No text: only a table made anew will do."""

    def change(self, changes: Changes) -> str:
        """From one plan to the next, but for what both layouts have."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The table with all rules and empty maps, in place of any other."""

    text: str
    contents: str
    """Name of a set, made from the rules: a table that has it has these rules. Within it stands
    the mark of all else that is in the table. (To list a set costs nft 4 ms, to list a chain or to
    get an element 400 ms with 10,000 services: it reads the whole table then.)"""


def rules(config: BalancerConfig, layout: Layout) -> Rules:
    """As the configuration and the layout want them."""
    text = _TABLE.format(
        declarations=layout.declarations(),
        vips=config.vip_network,
        tasks=config.task_network,
        mesh=config.mesh_interface,
        others=", ".join(("127.0.0.0/8", "169.254.0.0/16", *filter(None, (config.gateway,)))),
    )
    contents = f"contents_{hashlib.sha256(text.encode()).hexdigest()[:16]}"
    return Rules(f"{text}add set {TABLE} {contents} {{ type ipv6_addr; }}\n", contents)


def flush(layout: Layout, contents: str) -> str:
    """Empty the maps and sets of a table that is ours."""
    if not (own := layout.flush()):
        return ""
    common = (("map", "unmatched"), ("set", "served"), ("set", "hairpin"), ("set", contents))
    return own + "".join(f"flush {kind} {TABLE} {name}\n" for kind, name in common)


def change(layout: Layout, changes: Changes, *, contents: str, marks: tuple[str, str]) -> str:
    """From one plan to the next, as one transaction. `marks`: of each; the first is empty if there
    is none yet. What goes is named first: what comes may be in its place."""
    before, after = marks
    return "".join(
        (
            delete(contents, (before,) if before else ()),
            delete("hairpin", (f"{address} . {address}" for address in changes.local_before)),
            delete("served", _served(changes.before)),
            delete("unmatched", _unmatched(changes.before)),
            layout.change(changes),
            add("unmatched", _unmatched(changes.after)),
            add("served", _served(changes.after)),
            add("hairpin", (f"{address} . {address}" for address in sorted(changes.local_after))),
            add(contents, (after,)),
        )
    )


def add(name: str, elements: Iterable[str]) -> str:
    """nft refuses an empty list of elements."""
    return _elements("add", name, elements)


def delete(name: str, elements: Iterable[str]) -> str:
    """Elements that are there."""
    return _elements("delete", name, elements)


def key(frontend: Frontend) -> str:
    """Of a frontend, in maps that have an entry for each."""
    own = f"{frontend.protocol.value} . {frontend.port}"
    return f"{frontend.address} . {own}" if frontend.address else own


def _elements(verb: str, name: str, elements: Iterable[str]) -> str:
    every = tuple(elements)
    return "".join(
        f"{verb} element {TABLE} {name} {{\n  {text}\n}}\n"
        for text in (",\n  ".join(some) for some in _cut(every))
    )


def _cut(elements: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for first in range(0, len(elements), _AT_ONCE):
        yield elements[first : first + _AT_ONCE]


def _served(balances: Mapping[Frontend, Balance]) -> Iterable[str]:
    return (key(f) for f, balance in balances.items() if f.address and balance.shares)


def _unmatched(balances: Mapping[Frontend, Balance]) -> Iterable[str]:
    return (
        f"{key(f)} : {'drop' if balance.shares else 'goto refuse'}"
        for f, balance in balances.items()
        if not f.address
    )


# A refusal looks at new connections only: the host's own may use any port as their source.
# Masqueraded is: what a task sends to itself; what a published port sends to another host, whose
# answer must come back here; what anybody but a task sends to a virtual address on another host;
# and what tasks send to the world.
_TABLE = """\
add table ip warren
delete table ip warren
table ip warren {{
{declarations}
  set served {{
    type ipv4_addr . inet_proto . inet_service
  }}
  map unmatched {{
    type inet_proto . inet_service : verdict
  }}
  set hairpin {{
    type ipv4_addr . ipv4_addr
  }}
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    ip daddr {vips} goto virtual
    ip daddr {{ {others} }} return
    fib daddr type local goto published
  }}
  chain output {{
    type nat hook output priority -100; policy accept;
    ip daddr {vips} goto virtual
    ip daddr {{ {others} }} return
    fib daddr type local goto published
  }}
  chain postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    ct status dnat ip saddr . ip daddr @hairpin masquerade fully-random
    ct status dnat oifname "{mesh}" ct original ip daddr != {vips} masquerade fully-random
    ct status dnat oifname "{mesh}" ip saddr != {tasks} masquerade fully-random
    ip saddr {tasks} ip daddr != {tasks} oifname != "{mesh}" masquerade fully-random
  }}
  chain input {{
    type filter hook input priority filter; policy accept;
    ip daddr {vips} goto unserved
    ip daddr {{ {others} }} return
    ct state new ip protocol . th dport vmap @unmatched
  }}
  chain output_refusals {{
    type filter hook output priority filter; policy accept;
    ip daddr {vips} goto unserved
  }}
  chain forward_refusals {{
    type filter hook forward priority filter; policy accept;
    ip daddr {vips} goto unserved
  }}
  chain unserved {{
    ip daddr . ip protocol . th dport @served drop
    goto refuse
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
