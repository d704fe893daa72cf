"""The layout of choice: maps of intervals, from `frontend . number` to an endpoint.

Balancing takes three rules, however many services there are; a change names the intervals that go
and those that come. Some maps draw the number by chance, the others from the client's address.

The kernel copies a map of intervals as a whole at each change of it. So virtual addresses are
spread over many maps by their last bits: with 10,000 services a change then takes a fraction of
the time.

A frontend with pinned sources is in maps of its own, which are asked after all others, so that a
connection to any other frontend never comes that far: a set tells whose client is pinned, and so
which of two maps is for it. (Not one map with the client in its key: nft does not remember what
the fields of a key of five are, and then takes no number for the last.)
"""

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address

from warren.drivers import nftables_text as text
from warren.drivers.balancer_plan import Balance, Changes, Frontend, Share

PARTS = 16
_KEYS = {"virtual": "ip daddr . ip protocol . th dport", "published": "ip protocol . th dport"}
"""What frontends of each kind are found by."""
_PLACES = {
    **{f"virtual_{part}": "virtual" for part in range(PARTS)},
    "published": "published",
    **{f"{whose}_{kind}": kind for kind in _KEYS for whose in ("pinned", "others")},
}
"""Chain with its two maps, and the kind of the frontends there."""
_CHANCE = "numgen random mod 10000"
_NUMBERS = {"chance": _CHANCE, "source": text.SOURCE_HASH}
_Elements = dict[str, dict[str, None]]
"""Those of each map and set, in order."""


class Ranges:
    """Layout `ranges`."""

    name = "ranges"

    def declarations(self) -> str:
        # A chain stands after those that it leads to.
        ends = [place for place in _PLACES if _is_of_trials(place)]
        others = [place for place in _PLACES if place not in ends]
        maps = "".join(map(_map, _maps()))
        sets = "".join(map(_set, _KEYS))
        chains = "".join((*map(_chain, ends), *map(_trial, _KEYS), *map(_chain, others)))
        return f"{maps}{sets}{chains}{_spread()}"

    def flush(self) -> str:
        maps = (f"flush map {text.TABLE} {name}\n" for name in _maps())
        sets = (f"flush set {text.TABLE} {_clients(kind)}\n" for kind in _KEYS)
        return "".join((*maps, *sets))

    def change(self, changes: Changes) -> str:
        """Only the elements that differ: of three endpoints, one that stays may stay untouched."""
        before, after = _elements(changes.before), _elements(changes.after)
        gone = (
            text.delete(name, (e for e in elements if e not in after.get(name, {})))
            for name, elements in before.items()
        )
        come = (
            text.add(name, (e for e in elements if e not in before.get(name, {})))
            for name, elements in after.items()
        )
        return "".join((*gone, *come))


def _maps() -> list[str]:
    return [f"{place}_by_{way}" for place in _PLACES for way in _NUMBERS]


def _map(name: str) -> str:
    # By source, too, the number is declared as numgen's: `nft list` of 1.0.6 crashes on a map
    # that is declared with jhash.
    key = _KEYS[_PLACES[name.partition("_by_")[0]]]
    return (
        f"  map {name} {{\n"
        f"    typeof {key} . {_CHANCE} : ip daddr . th dport\n"
        "    flags interval\n"
        "  }\n"
    )


def _set(kind: str) -> str:
    return (
        f"  set {_clients(kind)} {{\n"
        f"    typeof ip saddr . {_KEYS[kind]}\n"
        "    flags interval\n"
        "  }\n"
    )


def _clients(kind: str) -> str:
    """The set of pinned sources, each with a frontend."""
    return f"pinned_clients_{kind}"


def _chain(place: str) -> str:
    kind = _PLACES[place]
    rules = (
        f"    meta l4proto {{ tcp, udp }} dnat ip to {_KEYS[kind]} . {number} "
        f"map @{place}_by_{way}\n"
        for way, number in _NUMBERS.items()
    )
    further = "" if _is_of_trials(place) else f"    goto trials_{kind}\n"
    return f"  chain {place} {{\n{''.join(rules)}{further}  }}\n"


def _trial(kind: str) -> str:
    """The chain for frontends with pinned sources."""
    rule = f"    ip saddr . {_KEYS[kind]} @{_clients(kind)} goto pinned_{kind}\n"
    return f"  chain trials_{kind} {{\n{rule}    goto others_{kind}\n  }}\n"


def _is_of_trials(place: str) -> bool:
    return place.startswith(("pinned_", "others_"))


def _spread() -> str:
    """The chain that sends a virtual address to its part."""
    leads = ", ".join(f"0.0.0.{part} : goto virtual_{part}" for part in range(PARTS))
    rule = f"    ip daddr & 0.0.0.{PARTS - 1} vmap {{ {leads} }}\n"
    return f"  chain virtual {{\n{rule}  }}\n"


def _elements(balances: Mapping[Frontend, Balance]) -> _Elements:
    found: _Elements = {}
    for frontend, balance in balances.items():
        key, kind = text.key(frontend), "virtual" if frontend.address else "published"
        way = "source" if balance.by_source else "chance"
        if balance.pinned:
            clients = (f"{network} . {key}" for network in balance.pinned)
            found.setdefault(_clients(kind), {}).update(dict.fromkeys(clients))
            _put(found, f"pinned_{kind}_by_{way}", key, balance.pinned_shares)
            _put(found, f"others_{kind}_by_{way}", key, balance.shares)
        else:
            _put(found, f"{_place(frontend)}_by_{way}", key, balance.shares)
    return found


def _put(found: _Elements, name: str, key: str, shares: tuple[Share, ...]) -> None:
    found.setdefault(name, {}).update(dict.fromkeys(_intervals(key, shares)))


def _place(frontend: Frontend) -> str:
    if not frontend.address:
        return "published"
    return f"virtual_{int(IPv4Address(frontend.address)) % PARTS}"


def _intervals(key: str, shares: tuple[Share, ...]) -> Iterator[str]:
    for first, last, address, port in shares:
        yield f"{key} . {first}-{last} : {address} . {port}"
