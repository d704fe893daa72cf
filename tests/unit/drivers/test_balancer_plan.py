"""Who is behind which address and port, with which share; and what changes between two plans."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st
from warren.drivers import balancer_plan
from warren.drivers.balancer_plan import Balance, Changes, Frontend, Plan, Share
from warren.model.assignments import Endpoint, PinnedSources, ServiceTraffic
from warren.model.services import Affinity, Port, PortMode, Protocol
from warren.state import maps

HERE, THERE = "10.88.1.2", "10.88.2.2"
WEB = Frontend("10.92.0.1", Protocol.TCP, 8080)
PUBLISHED = Frontend("", Protocol.TCP, 80)
NOTHING: frozenset[Frontend] = frozenset()
NETWORKS = ("10.0.0.7/32", "192.0.2.0/24")


def an_endpoint(address: str, weight: int = 100) -> Endpoint:
    node_id = "here" if address.startswith("10.88.1.") else "there"
    return Endpoint(address=address, task_id=address, node_id=node_id, slot=1, weight=weight)


def a_service(
    *addresses: str,
    name: str = "web",
    vip: str = "10.92.0.1",
    affinity: Affinity = Affinity.NONE,
    **port: object,
) -> ServiceTraffic:
    values: dict[str, object] = {"target": 8080, "published": 80, **port}
    return ServiceTraffic(
        name=name,
        vip=vip,
        ports=(Port(**values),),  # type: ignore[arg-type] # as the test says
        affinity=affinity,
        endpoints=tuple(an_endpoint(address) for address in addresses),
    )


def pinned(web: ServiceTraffic, weights: dict[str, int], theirs: str = "") -> ServiceTraffic:
    """The service with these weights; the endpoint at `theirs` is for pinned sources."""
    return replace(
        web,
        endpoints=tuple(
            replace(e, weight=weights[e.address], pinned=e.address == theirs) for e in web.endpoints
        ),
        pin=PinnedSources(networks=NETWORKS, revision=2),
    )


def services(*every: ServiceTraffic) -> dict[str, ServiceTraffic]:
    return {service.name: service for service in every}


def whole(address: str, *, by_source: bool = False) -> Balance:
    return Balance((Share(0, 9999, address, 8080),), by_source)


def ranges(*weights: int) -> list[tuple[int, int]]:
    endpoints = [an_endpoint(f"10.88.2.{n}", weight) for n, weight in enumerate(weights)]
    return [(share.first, share.last) for share in balancer_plan.shares(endpoints, 80)]


def test_equal_weights_make_equal_shares() -> None:
    assert ranges(100, 100, 100) == [(0, 3332), (3333, 6665), (6666, 9999)]


def test_weights_are_exact_to_one_part_in_ten_thousand() -> None:
    assert ranges(700, 299, 1) == [(0, 6999), (7000, 9989), (9990, 9999)]


def test_without_weight_there_is_no_share_while_others_have_some() -> None:
    assert ranges(0, 5, 0) == [(0, 9999)]
    assert ranges(0, 0) == [(0, 4999), (5000, 9999)]
    assert ranges() == []


@given(st.lists(st.integers(0, 1000), max_size=40))
def test_shares_adjoin_and_cover_the_whole_range(weights: list[int]) -> None:
    numbers = [n for first, last in ranges(*weights) for n in range(first, last + 1)]

    assert numbers == (list(range(10_000)) if weights else [])


def test_a_service_answers_at_its_address_and_on_its_published_port() -> None:
    changes = Plan("here").change(services(a_service(HERE)), NOTHING)

    assert changes == Changes(
        after={WEB: whole(HERE), PUBLISHED: whole(HERE)}, local_after=frozenset({HERE})
    )


def test_in_mode_host_the_port_leads_to_tasks_of_this_host() -> None:
    plan = Plan("here")

    changes = plan.change(services(a_service(HERE, THERE, mode=PortMode.HOST)), NOTHING)

    assert changes.after[PUBLISHED] == whole(HERE)
    assert len(changes.after[WEB].shares) == 2


def test_in_mode_host_the_port_is_nothing_to_a_host_without_tasks() -> None:
    changes = Plan("here").change(services(a_service(THERE, mode=PortMode.HOST)), NOTHING)

    assert set(changes.after) == {WEB}


def test_pinned_sources_have_the_endpoints_that_are_theirs() -> None:
    """Also with weight 0, where all others have none of them."""
    web = pinned(a_service(HERE, THERE), {HERE: 100, THERE: 0}, theirs=THERE)

    changes = Plan("here").change(services(web), NOTHING)

    balance = whole(HERE)._replace(pinned=NETWORKS, pinned_shares=whole(THERE).shares)
    assert changes.after == {WEB: balance, PUBLISHED: balance}


def test_pinned_sources_without_an_endpoint_are_as_all_others() -> None:
    nobodys = pinned(a_service(HERE), {HERE: 100})
    elsewhere = pinned(
        a_service(HERE, THERE, mode=PortMode.HOST), {HERE: 100, THERE: 0}, theirs=THERE
    )

    assert Plan("here").change(services(nobodys), NOTHING).after == {
        WEB: whole(HERE),
        PUBLISHED: whole(HERE),
    }
    assert Plan("here").change(services(elsewhere), NOTHING).after[PUBLISHED] == whole(HERE)


def test_what_is_pinned_makes_another_digest() -> None:
    weights = {HERE: 100, THERE: 0}
    digests = {
        balancer_plan.digest(Plan("here").change(services(web), NOTHING))
        for web in (
            pinned(a_service(HERE, THERE), weights, theirs=THERE),
            pinned(a_service(HERE, THERE), weights, theirs=HERE),
            pinned(a_service(HERE, THERE), weights),
        )
    }

    assert len(digests) == 3


def test_only_what_differs_changes() -> None:
    plan = Plan("here")
    web, shop = a_service(HERE), a_service(THERE, name="shop", vip="10.92.0.2", published=0)
    plan.change(services(web, shop), NOTHING)

    changes = plan.change(
        services(replace(web), a_service(HERE, name="shop", vip="", published=81)), NOTHING
    )

    other = Frontend("10.92.0.2", Protocol.TCP, 8080)
    assert changes == Changes(
        before={other: whole(THERE)},
        after={Frontend("", Protocol.TCP, 81): whole(HERE)},
        gone=frozenset({THERE}),
    )


def test_a_task_is_gone_when_it_neither_receives_nor_drains() -> None:
    plan = Plan("here")
    plan.change(services(a_service(HERE, THERE)), NOTHING)

    drains = plan.change(
        services(replace(a_service(THERE), draining=(an_endpoint(HERE),))), NOTHING
    )
    was_there = plan.has(HERE)
    ended = plan.change(services(a_service(THERE)), NOTHING)

    assert (drains.gone, was_there) == (frozenset(), True)
    assert ended == Changes(gone=frozenset({HERE}))
    assert (bool(ended), plan.has(HERE), plan.has(THERE)) == (False, False, True)


def test_affinity_makes_another_balance() -> None:
    plan = Plan("here")
    plan.change(services(a_service(THERE, published=0)), NOTHING)

    sticky = a_service(THERE, published=0, affinity=Affinity.SOURCE)
    changes = plan.change(services(sticky), NOTHING)

    assert changes.before == {WEB: whole(THERE)}
    assert changes.after == {WEB: whole(THERE, by_source=True)}


def test_of_two_that_claim_a_port_the_first_by_name_has_it_until_it_goes() -> None:
    plan = Plan("here")
    web, shop = a_service(HERE), a_service(THERE, name="shop", vip="10.92.0.2")

    both = plan.change(services(web, shop), NOTHING)
    one = plan.change(services(web), NOTHING)

    assert both.after[PUBLISHED] == whole(THERE)
    assert one.after == {PUBLISHED: whole(HERE)}


def test_an_address_that_moves_to_another_service_stays_local() -> None:
    plan = Plan("here")
    plan.change(services(a_service(HERE)), NOTHING)

    both = plan.change(
        services(a_service(HERE), a_service(HERE, name="b", vip="10.92.0.2", published=0)),
        NOTHING,
    )
    one = plan.change(services(a_service(HERE, name="b", vip="10.92.0.2", published=0)), NOTHING)
    none = plan.change({}, NOTHING)

    assert (both.local_after, one.local_before) == (frozenset(), frozenset())
    assert none.local_before == {HERE}


def test_what_is_blocked_is_left_out_until_it_is_free() -> None:
    plan = Plan("here")
    web = services(a_service(HERE))

    blocked = plan.change(web, frozenset({PUBLISHED}))
    free = plan.change(web, NOTHING)

    assert set(blocked.after) == {WEB}
    assert free == Changes(after={PUBLISHED: whole(HERE)})
    assert plan.published(web) == {PUBLISHED}
    assert plan.holder(PUBLISHED) == "web"


def test_tells_all_endpoints_of_udp_those_without_weight_too() -> None:
    plan = Plan("here")
    web = a_service(HERE, THERE, protocol=Protocol.UDP)
    web = replace(web, endpoints=(web.endpoints[0], replace(web.endpoints[1], weight=0)))

    plan.change(services(web), NOTHING)
    before = plan.udp()
    plan.change({}, NOTHING)

    both = frozenset({(HERE, 8080), (THERE, 8080)})
    assert before == {
        Frontend("10.92.0.1", Protocol.UDP, 8080): both,
        Frontend("", Protocol.UDP, 80): both,
    }
    assert plan.udp() == {}


ADDRESSES = st.lists(st.sampled_from([HERE, THERE, "10.88.1.3"]), unique=True, max_size=3)
SERVICES = st.dictionaries(
    st.sampled_from(["a", "b", "c"]),
    st.tuples(ADDRESSES, st.sampled_from([0, 80, 81]), st.sampled_from(PortMode)),
)


@given(st.lists(st.tuples(SERVICES, st.booleans()), max_size=6))
def test_changes_add_up_to_the_plan(
    steps: list[tuple[dict[str, tuple[list[str], int, PortMode]], bool]],
) -> None:
    """Applied one after another they make what a plan from nothing makes; digests, too."""
    plan, digest = Plan("here"), 0
    there: dict[Frontend, Balance] = {}
    local: set[str] = set()
    for wanted, blocks in steps:
        given = maps.bucketed(
            {
                name: a_service(
                    *addresses, name=name, vip=f"10.92.0.{ord(name)}", published=port, mode=mode
                )
                for name, (addresses, port, mode) in wanted.items()
            }
        )
        blocked = frozenset({PUBLISHED}) if blocks else NOTHING
        changes = plan.change(given, blocked)
        for frontend, balance in changes.before.items():
            assert there.pop(frontend) == balance
        assert not there.keys() & changes.after.keys()
        there.update(changes.after)
        assert changes.local_before <= local
        local = (local - changes.local_before) | changes.local_after
        digest += balancer_plan.digest(changes)

        fresh = Plan("here").change(dict(given), blocked)
        assert there == fresh.after
        assert local == fresh.local_after
        assert digest == balancer_plan.digest(fresh)
        assert plan.everything() == fresh
