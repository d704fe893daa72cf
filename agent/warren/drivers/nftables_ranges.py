"""The layout of choice: maps of intervals, from `frontend . number` to an endpoint.

Balancing takes three rules, however many services there are; a change names the intervals that go
and those that come. Some maps draw the number by chance, the others from the client's address.

The kernel copies a map of intervals as a whole at each change of it. So virtual addresses are
spread over many maps by their last bits: with 10,000 services a change then takes a fraction of
the time.
"""

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address

from warren.drivers import nftables_text as text
from warren.drivers.balancer_plan import Balance, Changes, Frontend

PARTS = 16
_VIRTUAL = "ip daddr . ip protocol . th dport"
_PUBLISHED = "ip protocol . th dport"
_PLACES = {
    **{f"virtual_{part}": _VIRTUAL for part in range(PARTS)},
    "published": _PUBLISHED,
}
"""Chain with its two maps, and what these are keyed by."""
_CHANCE = "numgen random mod 10000"
_NUMBERS = {"chance": _CHANCE, "source": text.SOURCE_HASH}


class Ranges:
    """Layout `ranges`."""

    name = "ranges"

    def declarations(self) -> str:
        return "".join((*map(_map, _maps()), *map(_chain, _PLACES), _spread()))

    def flush(self) -> str:
        return "".join(f"flush map {text.TABLE} {name}\n" for name in _maps())

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


def _maps() -> list[str]:
    return [f"{place}_by_{way}" for place in _PLACES for way in _NUMBERS]


def _map(name: str) -> str:
    # By source, too, the number is declared as numgen's: `nft list` of 1.0.6 crashes on a map
    # that is declared with jhash.
    return (
        f"  map {name} {{\n"
        f"    typeof {_PLACES[name.partition('_by_')[0]]} . {_CHANCE} : ip daddr . th dport\n"
        "    flags interval\n"
        "  }\n"
    )


def _chain(place: str) -> str:
    rules = (
        f"    meta l4proto {{ tcp, udp }} dnat ip to {_PLACES[place]} . {number} "
        f"map @{place}_by_{way}\n"
        for way, number in _NUMBERS.items()
    )
    return f"  chain {place} {{\n{''.join(rules)}  }}\n"


def _spread() -> str:
    """The chain that sends a virtual address to its part."""
    leads = ", ".join(f"0.0.0.{part} : goto virtual_{part}" for part in range(PARTS))
    rule = f"    ip daddr & 0.0.0.{PARTS - 1} vmap {{ {leads} }}\n"
    return f"  chain virtual {{\n{rule}  }}\n"


def _intervals(balances: Mapping[Frontend, Balance]) -> dict[str, dict[str, None]]:
    """The elements of each map, in order."""
    found: dict[str, dict[str, None]] = {}
    for frontend, balance in balances.items():
        name = f"{_place(frontend)}_by_{'source' if balance.by_source else 'chance'}"
        found.setdefault(name, {}).update(dict.fromkeys(_elements(frontend, balance)))
    return found


def _place(frontend: Frontend) -> str:
    if not frontend.address:
        return "published"
    return f"virtual_{int(IPv4Address(frontend.address)) % PARTS}"


def _elements(frontend: Frontend, balance: Balance) -> Iterator[str]:
    key = text.key(frontend)
    for first, last, address, port in balance.shares:
        yield f"{key} . {first}-{last} : {address} . {port}"
