"""`replace` for records that are changed by the thousand: that of `dataclasses`, in half the time.

For frozen dataclasses with slots, such as the model's, commands, and the state. It copies slots and
calls no `__init__`, so a dataclass with a `__post_init__` is not for it.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import replace as replace
else:
    from collections.abc import Callable
    from dataclasses import fields
    from functools import cache
    from operator import attrgetter

    def replace(record: Any, /, **changes: Any) -> Any:
        """A copy of the record with some fields changed. AttributeError if it has no such field."""
        kind = type(record)
        setters, values = _slots(kind)
        made = object.__new__(kind)
        for put, value in zip(setters, values(record), strict=True):
            put(made, value)
        for name, value in changes.items():
            getattr(kind, name).__set__(made, value)
        return made

    @cache
    def _slots(kind: type) -> tuple[tuple[Callable[..., None], ...], Callable[[Any], tuple]]:
        """What sets the fields of such records, and what reads all of them at once."""
        names = [each.name for each in fields(kind)]
        assert len(names) > 1, "attrgetter of one name gives no tuple"
        return tuple(getattr(kind, name).__set__ for name in names), attrgetter(*names)
