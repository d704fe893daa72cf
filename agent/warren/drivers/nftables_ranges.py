"""The layout of choice: four maps of intervals, from `frontend . number` to an endpoint.

Balancing takes two rules, however many services there are; a change names the intervals that go and
those that come. Half of the maps draw the number by chance, half from the client's address.
"""

from collections.abc import Iterator, Mapping

from warren.drivers import nftables_text as text
from warren.drivers.balancer_plan import Balance, Changes, Frontend

# In the maps by source, too, the type of the number is written as numgen's: `nft list` of 1.0.6
# crashes on a map that is declared with jhash.
_VIRTUAL = "ip daddr . ip protocol . th dport"
_PUBLISHED = "ip protocol . th dport"
_MAPS = {
    "virtual_by_chance": _VIRTUAL,
    "virtual_by_source": _VIRTUAL,
    "published_by_chance": _PUBLISHED,
    "published_by_source": _PUBLISHED,
}
_CHANCE = "numgen random mod 10000"


class Ranges:
    """Layout `ranges`."""

    name = "ranges"

    def declarations(self) -> str:
        maps = "".join(
            f"  map {name} {{\n"
            f"    typeof {key} . {_CHANCE} : ip daddr . th dport\n"
            "    flags interval\n"
            "  }\n"
            for name, key in _MAPS.items()
        )
        return f"{maps}{_chain('virtual', _VIRTUAL)}{_chain('published', _PUBLISHED)}"

    def flush(self) -> str:
        return "".join(f"flush map {text.TABLE} {name}\n" for name in _MAPS)

    def change(self, changes: Changes) -> str:
        """Only the intervals that differ: of three endpoints, one that stays may stay untouched."""
        before, after = _intervals(changes.before), _intervals(changes.after)
        gone = (
            text.delete(name, (i for i in intervals if i not in after.get(name, {})))
            for name, intervals in before.items()
        )
        come = (
            text.add(name, (i for i in intervals if i not in before.get(name, {})))
            for name, intervals in after.items()
        )
        return "".join((*gone, *come))


def _chain(name: str, key: str) -> str:
    lines = (
        f"    meta l4proto {{ tcp, udp }} dnat ip to {key} . {number} map @{name}_by_{way}\n"
        for way, number in (("chance", _CHANCE), ("source", text.SOURCE_HASH))
    )
    return f"  chain {name} {{\n{''.join(lines)}  }}\n"


def _intervals(balances: Mapping[Frontend, Balance]) -> dict[str, dict[str, None]]:
    """The elements of each map, in order."""
    found: dict[str, dict[str, None]] = {}
    for frontend, balance in balances.items():
        kind = "virtual" if frontend.address else "published"
        name = f"{kind}_by_{'source' if balance.by_source else 'chance'}"
        found.setdefault(name, {}).update(dict.fromkeys(_elements(frontend, balance)))
    return found


def _elements(frontend: Frontend, balance: Balance) -> Iterator[str]:
    key = text.key(frontend)
    for first, last, address, port in balance.shares:
        yield f"{key} . {first}-{last} : {address} . {port}"
