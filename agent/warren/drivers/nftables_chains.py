"""The layout for kernels that do not take the other: a chain for each frontend, found by a map.

Slower to load (a rule and a map per frontend). Until Linux 6.2, a chain cannot be removed so soon
after the map's element that led to it, so an empty one stays until a later change.
"""

from collections.abc import Iterator

from warren.drivers import nftables_text as text
from warren.drivers.balancer_plan import Balance, Changes, Frontend


class Chains:
    """Layout `chains`."""

    name = "chains"

    def __init__(self) -> None:
        self._left: tuple[str, ...] = ()
        """Chains that nothing leads to any more, since the change before."""

    def declarations(self) -> str:
        return _DECLARATIONS

    def flush(self) -> str:
        self._left = ()
        return ""

    def change(self, changes: Changes) -> str:
        removed = [f for f, balance in changes.before.items() if balance.shares]
        wanted = {f: balance for f, balance in changes.after.items() if balance.shares}
        unused = [name for name in self._left if name not in {_name(f) for f in wanted}]
        self._left = tuple(_name(f) for f in removed if f not in wanted)
        new = [f for f in wanted if f not in removed]
        old = [f for f in removed if f not in wanted]
        return "".join(
            (
                *(f"delete chain {text.TABLE} {name}\n" for name in unused),
                *_leads("delete", old),
                *(f"flush chain {text.TABLE} {_name(f)}\n" for f in removed),
                *(f"add chain {text.TABLE} {_name(f)}\n" for f in new),
                *(
                    rule
                    for frontend, balance in wanted.items()
                    for rule in _rules(frontend, balance)
                ),
                *_leads("add", new),
            )
        )


def _leads(verb: str, frontends: list[Frontend]) -> Iterator[str]:
    write = text.add if verb == "add" else text.delete
    yield write("virtual_chains", (_lead(f) for f in frontends if f.address))
    yield write("published_chains", (_lead(f) for f in frontends if not f.address))


def _lead(frontend: Frontend) -> str:
    return f"{text.key(frontend)} : goto {_name(frontend)}"


def _rules(frontend: Frontend, balance: Balance) -> Iterator[str]:
    """Of the chain: for pinned sources, then for everybody else."""
    number = text.SOURCE_HASH if balance.by_source else "numgen random mod 10000"
    networks = ", ".join(balance.pinned)
    ways = ((f"ip saddr {{ {networks} }} ", balance.pinned_shares), ("", balance.shares))
    for whom, shares in ways if networks else ways[1:]:
        parts = ", ".join(f"{s.first}-{s.last} : {s.address} . {s.port}" for s in shares)
        yield (
            f"add rule {text.TABLE} {_name(frontend)} {whom}meta l4proto {frontend.protocol.value} "
            f"dnat ip to {number} map {{ {parts} }}\n"
        )


def _name(frontend: Frontend) -> str:
    return "_".join(("to", frontend.address or "host", frontend.protocol.value, str(frontend.port)))


_DECLARATIONS = """\
  map virtual_chains {
    type ipv4_addr . inet_proto . inet_service : verdict
  }
  map published_chains {
    type inet_proto . inet_service : verdict
  }
  chain virtual {
    ip daddr . ip protocol . th dport vmap @virtual_chains
  }
  chain published {
    ip protocol . th dport vmap @published_chains
  }
"""
