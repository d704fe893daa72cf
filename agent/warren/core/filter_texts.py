"""How a filter says what it found of all nodes."""


def counted(count: int, total: int, whole: str, part: tuple[str, str]) -> str:
    """`whole (3 of 3)` when all are refused, else `1 is …` or `2 are …`."""
    if count == total:
        return f"{whole} ({count} of {total})"
    return f"{count} {part[0] if count == 1 else part[1]}"
