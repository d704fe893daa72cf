"""Mappings that are never changed in place, and of which a changed copy is cheap however large.

A small one is a plain dict, copied as a whole. From `LARGE` keys on it is a `BucketMap`: the keys
are spread over rows of buckets by a checksum that is the same in every process, and a change copies
one bucket and its row. So a state with 100,000 tasks takes a command as fast as one with a hundred,
and what changed between two of them is soon found. Who makes many changes at once makes them in a
`Draft`, which copies each bucket once.
"""

from collections.abc import ItemsView, Iterator, Mapping, ValuesView
from itertools import chain
from typing import Generic, TypeVar, overload
from zlib import crc32

V = TypeVar("V")
D = TypeVar("D")

LARGE = 512
_ROWS = 32
"""Of as many buckets each."""
_PLACES = _ROWS * _ROWS

_Rows = tuple[tuple[dict[str, V], ...], ...]


class BucketMap(Mapping[str, V]):
    """A large mapping. Made by `put`; equal to any mapping with the same items."""

    __slots__ = ("_count", "_rows")

    def __init__(self, rows: "_Rows[V]", count: int) -> None:
        self._rows = rows
        self._count = count

    def __getitem__(self, key: str) -> V:
        return self._bucket(key)[key]

    @overload
    def get(self, key: str, /) -> V | None: ...
    @overload
    def get(self, key: str, /, default: V | D) -> V | D: ...
    def get(self, key: str, /, default: V | D | None = None) -> V | D | None:
        """As of any mapping, without an exception where there is none."""
        return self._bucket(key).get(key, default)

    def __iter__(self) -> Iterator[str]:
        for bucket in self.buckets():
            yield from bucket

    def __len__(self) -> int:
        return self._count

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key in self._bucket(key)

    def values(self) -> ValuesView[V]:
        """Without looking each key up, as deciders go over all tasks again and again."""
        return _Values(self)

    def items(self) -> ItemsView[str, V]:
        """In the same way."""
        return _Items(self)

    def buckets(self) -> Iterator[Mapping[str, V]]:
        """The parts that it consists of."""
        return chain.from_iterable(self._rows)

    def __repr__(self) -> str:
        return repr(dict(self))

    def ordered(self) -> Iterator[tuple[str, V]]:
        """All items; see `ordered`."""
        for bucket in self.buckets():
            yield from sorted(bucket.items(), key=_key)

    def put(self, key: str, value: V) -> "BucketMap[V]":
        """A copy with `key` set."""
        place = _place(key)
        before = self._rows[place // _ROWS][place % _ROWS]
        return self._with(place, {**before, key: value}, key not in before)

    def without(self, key: str) -> "BucketMap[V]":
        """A copy without `key`."""
        place = _place(key)
        before = self._rows[place // _ROWS][place % _ROWS]
        if key not in before:
            return self
        return self._with(place, {k: v for k, v in before.items() if k != key}, -1)

    def updated(self, changes: Mapping[str, V | None]) -> "BucketMap[V]":
        """A copy with many keys set, and without those that have None."""
        count = self._count
        copies: dict[int, dict[str, V]] = {}
        for key, value in changes.items():
            place = crc32(key.encode()) % _PLACES  # as `_place` does, which costs a call
            bucket = copies.get(place)
            if bucket is None:
                copies[place] = bucket = self._rows[place // _ROWS][place % _ROWS].copy()
            count -= len(bucket)
            if value is None:
                bucket.pop(key, None)
            else:
                bucket[key] = value
            count += len(bucket)
        opened: dict[int, list[dict[str, V]]] = {}
        for place, bucket in copies.items():
            number = place // _ROWS
            if number not in opened:
                opened[number] = list(self._rows[number])
            opened[number][place % _ROWS] = bucket
        rows = list(self._rows)
        for number, row in opened.items():
            rows[number] = tuple(row)
        return BucketMap(tuple(rows), count)

    def changes(self, after: "BucketMap[V]") -> Iterator[tuple[str, V | None, V | None]]:
        """As `changes` of both maps."""
        for row, other_row in zip(self._rows, after._rows, strict=True):
            if row is other_row:
                continue
            for one, other in zip(row, other_row, strict=True):
                if one is other:
                    continue
                for key, value in other.items():  # as `_changes`, for buckets of one or two keys
                    was = one.get(key)
                    if was is not value:
                        yield key, was, value
                for key, was in one.items():
                    if key not in other:
                        yield key, was, None

    def _bucket(self, key: str) -> dict[str, V]:
        place = crc32(key.encode())  # as `_place` does, which costs a call
        return self._rows[place // _ROWS % _ROWS][place % _ROWS]

    def _with(self, place: int, bucket: dict[str, V], change: int) -> "BucketMap[V]":
        rows = list(self._rows)
        row = list(rows[place // _ROWS])
        row[place % _ROWS] = bucket
        rows[place // _ROWS] = tuple(row)
        return BucketMap(tuple(rows), self._count + change)


class _Values(ValuesView[V]):
    def __init__(self, mapping: BucketMap[V]) -> None:
        super().__init__(mapping)
        self._map = mapping

    def __iter__(self) -> Iterator[V]:
        return chain.from_iterable(part.values() for part in self._map.buckets())


class _Items(ItemsView[str, V]):
    def __init__(self, mapping: BucketMap[V]) -> None:
        super().__init__(mapping)
        self._map = mapping

    def __iter__(self) -> Iterator[tuple[str, V]]:
        return chain.from_iterable(part.items() for part in self._map.buckets())


def put(mapping: Mapping[str, V], key: str, value: V) -> Mapping[str, V]:
    """A copy of `mapping` with `key` set."""
    if isinstance(mapping, BucketMap):
        return mapping.put(key, value)
    if len(mapping) < LARGE:
        return {**mapping, key: value}
    return bucketed(mapping).put(key, value)


def without(mapping: Mapping[str, V], key: str) -> Mapping[str, V]:
    """A copy of `mapping` without `key`."""
    if isinstance(mapping, BucketMap):
        return mapping.without(key)
    if key not in mapping:
        return mapping
    return {k: v for k, v in mapping.items() if k != key}


def updated(mapping: Mapping[str, V], changes: Mapping[str, V | None]) -> Mapping[str, V]:
    """A copy of `mapping` with many keys set, and without those that have None."""
    if not changes:
        return mapping
    if len(changes) == 1:
        ((key, value),) = changes.items()
        return without(mapping, key) if value is None else put(mapping, key, value)
    if isinstance(mapping, BucketMap):
        return mapping.updated(changes)
    made = dict(mapping)
    for key, value in changes.items():
        if value is None:
            made.pop(key, None)
        else:
            made[key] = value
    return large(made)


class Draft(Generic[V]):
    """A mapping that is being changed, by who alone knows of it. What is read has the changes."""

    __slots__ = ("_before", "_changes")

    def __init__(self, before: Mapping[str, V]) -> None:
        self._before = before
        self._changes: dict[str, V | None] = {}

    def get(self, key: str) -> V | None:
        """As of any mapping."""
        changes = self._changes
        return changes[key] if key in changes else self._before.get(key)

    def put(self, key: str, value: V | None) -> None:
        """Set `key`; None takes it away."""
        self._changes[key] = value

    def mapping(self) -> Mapping[str, V]:
        """What has come of it."""
        return updated(self._before, self._changes)


def changes(
    before: Mapping[str, V], after: Mapping[str, V]
) -> Iterator[tuple[str, V | None, V | None]]:
    """Keys whose value came, went, or is another object, with what it was and what it is. Between
    a large mapping and one that was made from it, only what was touched is looked at."""
    if before is after:
        return iter(())
    if isinstance(before, BucketMap) and isinstance(after, BucketMap):
        return before.changes(after)
    return _changes(before, after)


def changed_keys(before: Mapping[str, V], after: Mapping[str, V]) -> Iterator[str]:
    """The keys of these changes."""
    return (key for key, _, _ in changes(before, after))


def _changes(
    before: Mapping[str, V], after: Mapping[str, V]
) -> Iterator[tuple[str, V | None, V | None]]:
    for key, value in after.items():
        was = before.get(key)
        if was is not value:
            yield key, was, value
    for key, was in before.items():
        if key not in after:
            yield key, was, None


def large(mapping: Mapping[str, V]) -> Mapping[str, V]:
    """The same items, in buckets if they are many."""
    if len(mapping) < LARGE or isinstance(mapping, BucketMap):
        return mapping
    return bucketed(mapping)


def bucketed(mapping: Mapping[str, V]) -> BucketMap[V]:
    """The same items, in buckets."""
    rows: _Rows[V] = tuple(tuple({} for _ in range(_ROWS)) for _ in range(_ROWS))
    for key, value in mapping.items():
        place = _place(key)
        rows[place // _ROWS][place % _ROWS][key] = value
    return BucketMap(rows, len(mapping))


def ordered(mapping: Mapping[str, V]) -> Iterator[tuple[str, V]]:
    """The items, in an order that the keys alone decide, without sorting all at once.

    Sorting a large mapping is one operation of the interpreter, during which no thread runs.
    """
    if isinstance(mapping, BucketMap):
        return mapping.ordered()
    return iter(sorted(mapping.items(), key=lambda item: (_place(item[0]), item[0])))


def _key(item: tuple[str, object]) -> str:
    return item[0]


def _place(key: str) -> int:
    return crc32(key.encode()) % _PLACES
