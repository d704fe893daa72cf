"""Large mappings behave as small ones do."""

from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st
from warren.state import maps
from warren.state.maps import BucketMap

KEYS = st.text(max_size=3)


@given(st.lists(st.tuples(KEYS, st.none() | st.integers())))
def test_a_bucket_map_is_what_a_dict_would_be(changes: list[tuple[str, int | None]]) -> None:
    plain: dict[str, int] = {}
    large: BucketMap[int] = maps.bucketed({})
    for key, value in changes:
        if value is None:
            plain.pop(key, None)
            large = large.without(key)
        else:
            plain[key] = value
            large = large.put(key, value)

    assert large == plain
    assert plain == large
    assert (len(large), sorted(large)) == (len(plain), sorted(plain))
    assert all(key in large and large[key] == large.get(key) == plain[key] for key in plain)
    assert large.get("none of them") is None


@given(st.dictionaries(KEYS, st.integers(0, 2)), st.dictionaries(KEYS, st.integers(0, 2)))
def test_finds_what_changed_between_two(before: dict[str, int], after: dict[str, int]) -> None:
    keys = {key for key in before | after if before.get(key) != after.get(key)}

    assert set(maps.changed_keys(maps.bucketed(before), maps.bucketed(after))) == keys
    assert set(maps.changed_keys(before, maps.bucketed(after))) == keys


@given(
    st.dictionaries(KEYS, st.integers()),
    st.lists(st.tuples(KEYS, st.none() | st.integers())),
    st.booleans(),
)
def test_a_draft_is_what_its_changes_one_by_one_would_leave(
    before: dict[str, int], changes: list[tuple[str, int | None]], large: bool
) -> None:
    mapping: Mapping[str, int] = maps.bucketed(before) if large else before
    plain = dict(before)
    draft = maps.Draft(mapping)
    for key, value in changes:
        draft.put(key, value)
        if value is None:
            plain.pop(key, None)
        else:
            plain[key] = value
        assert draft.get(key) == plain.get(key)

    assert draft.mapping() == plain
    assert isinstance(draft.mapping(), BucketMap) is large
    assert mapping == before


@given(st.dictionaries(KEYS, st.integers(0, 2)), st.dictionaries(KEYS, st.integers(0, 2)))
def test_tells_what_each_change_made_of_what(before: dict[str, int], after: dict[str, int]) -> None:
    found = {
        (key, before.get(key), after.get(key))
        for key in before | after
        if before.get(key) != after.get(key)
    }

    assert set(maps.changes(maps.bucketed(before), maps.bucketed(after))) == found
    assert set(maps.changes(before, maps.bucketed(after))) == found


def test_a_change_leaves_the_mapping_before_it_as_it_was() -> None:
    before = maps.bucketed({"a": 1})

    after = before.put("a", 2).put("b", 3).without("a")

    assert (dict(before), dict(after)) == ({"a": 1}, {"b": 3})


def test_a_mapping_that_grows_large_is_put_into_buckets() -> None:
    grown: Mapping[str, int] = {}
    for number in range(2 * maps.LARGE):
        grown = maps.put(grown, str(number), number)

    assert isinstance(grown, BucketMap)
    assert grown == {str(number): number for number in range(2 * maps.LARGE)}
    assert maps.without(grown, "0").get("0") is None


@given(st.sets(st.text(max_size=3), max_size=40))
def test_the_order_of_items_is_the_keys_alone(keys: set[str]) -> None:
    plain = dict.fromkeys(sorted(keys), 1)
    grown = maps.bucketed(dict.fromkeys(sorted(keys, reverse=True), 1))

    assert list(maps.ordered(plain)) == list(maps.ordered(grown))
    assert dict(maps.ordered(grown)) == plain


def test_a_large_mapping_is_prepared_for_changes_and_a_small_one_is_left() -> None:
    small = {"a": 1}
    large = {str(number): number for number in range(maps.LARGE)}

    assert maps.large(small) is small
    assert isinstance(maps.large(large), maps.BucketMap)
    assert maps.large(large) == large
